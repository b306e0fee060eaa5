//! What HTTP servers and clients have in common: names and attributes by the stable
//! [HTTP semantic conventions], and a body that knows when it ends.
//!
//! [HTTP semantic conventions]: https://opentelemetry.io/docs/specs/semconv/http/http-spans/

mod body;
mod call;
mod role;

use std::borrow::Cow;

use ::http::{Method, StatusCode, Version};
use opentelemetry::KeyValue;

pub use body::TracedBody;
pub(crate) use call::Call;
pub(crate) use role::Role;

/// The method as it may be used in names and attributes: one of the known ones, or `_OTHER`, so
/// that a client cannot make up names without end.
pub(crate) fn known_method(method: &Method) -> &'static str {
    match method.as_str() {
        "CONNECT" => "CONNECT",
        "DELETE" => "DELETE",
        "GET" => "GET",
        "HEAD" => "HEAD",
        "OPTIONS" => "OPTIONS",
        "PATCH" => "PATCH",
        "POST" => "POST",
        "PUT" => "PUT",
        "QUERY" => "QUERY",
        "TRACE" => "TRACE",
        _ => "_OTHER",
    }
}

/// `http.request.method`, and the original when it is not a known one.
pub(crate) fn method_attributes(method: &Method, attributes: &mut Vec<KeyValue>) {
    let known = known_method(method);
    attributes.push(KeyValue::new("http.request.method", known));
    if known == "_OTHER" {
        let original = method.as_str().to_owned();
        attributes.push(KeyValue::new("http.request.method_original", original));
    }
}

/// `{method} {route}`, or what is known of it. `_OTHER` is spelled `HTTP` in a name.
pub(crate) fn span_name(method: &Method, route: Option<&str>) -> Cow<'static, str> {
    let method = match known_method(method) {
        "_OTHER" => "HTTP",
        known => known,
    };
    match route {
        Some(route) => Cow::Owned(format!("{method} {route}")),
        None => Cow::Borrowed(method),
    }
}

/// The value of `network.protocol.version`.
pub(crate) fn protocol_version(version: Version) -> Option<&'static str> {
    match version {
        Version::HTTP_09 => Some("0.9"),
        Version::HTTP_10 => Some("1.0"),
        Version::HTTP_11 => Some("1.1"),
        Version::HTTP_2 => Some("2"),
        Version::HTTP_3 => Some("3"),
        _ => None,
    }
}

/// `http.response.status_code`, and `error.type` when the status is an error.
pub(crate) fn status_attributes(status: StatusCode, is_error: bool) -> Vec<KeyValue> {
    let code = i64::from(status.as_u16());
    let mut attributes = vec![KeyValue::new("http.response.status_code", code)];
    if is_error {
        attributes.push(KeyValue::new("error.type", status.as_str().to_owned()));
    }
    attributes
}

/// The query with the values of signing parameters hidden, as the conventions ask.
pub(crate) fn redact_query(query: &str) -> Cow<'_, str> {
    const SECRET: [&str; 4] = ["AWSAccessKeyId", "Signature", "sig", "X-Goog-Signature"];
    let key = |pair: &str| {
        pair.split('=')
            .next()
            .is_some_and(|key| SECRET.contains(&key))
    };
    if !query.split('&').any(key) {
        return Cow::Borrowed(query);
    }
    let pairs = query.split('&').map(|pair| match pair.split_once('=') {
        Some((name, _)) if SECRET.contains(&name) => format!("{name}=REDACTED"),
        _ => pair.to_owned(),
    });
    Cow::Owned(pairs.collect::<Vec<_>>().join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_methods_share_one_name_and_keep_their_spelling() {
        let method = Method::from_bytes(b"BREW").unwrap();
        let mut attributes = Vec::new();
        method_attributes(&method, &mut attributes);
        assert_eq!(span_name(&method, Some("/pot")), "HTTP /pot");
        assert_eq!(
            attributes,
            [
                KeyValue::new("http.request.method", "_OTHER"),
                KeyValue::new("http.request.method_original", "BREW"),
            ]
        );
    }

    #[test]
    fn signatures_in_a_query_are_hidden() {
        assert_eq!(redact_query("a=1&b"), "a=1&b");
        assert_eq!(
            redact_query("a=1&sig=s3cr&Signature=x=y"),
            "a=1&sig=REDACTED&Signature=REDACTED"
        );
    }
}
