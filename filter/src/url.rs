//! Pieces of `:path` and `:authority`, with credentials taken out.

use std::borrow::Cow;

/// What stands in for a credential (HTTP semantic conventions).
const REDACTED: &str = "REDACTED";

/// Query parameters whose values are credentials (the same conventions).
const SECRET_PARAMETERS: &[&str] = &[
    "AWSAccessKeyId",
    "Signature",
    "X-Amz-Credential",
    "X-Amz-Security-Token",
    "X-Amz-Signature",
    "X-Goog-Signature",
    "sig",
];

/// A request target as its path and its query, without the question mark.
pub(crate) fn split_target(target: &str) -> (&str, Option<&str>) {
    match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    }
}

/// A query without the values of credentials. `also` names more parameters to redact.
pub(crate) fn redact_query<'a>(query: &'a str, also: &[String]) -> Cow<'a, str> {
    let is_secret = |parameter: &str| {
        let name = parameter
            .split_once('=')
            .map_or(parameter, |(name, _)| name);
        SECRET_PARAMETERS.contains(&name) || also.iter().any(|secret| secret == name)
    };
    if !query.split('&').any(is_secret) {
        return Cow::Borrowed(query);
    }
    let mut redacted = String::with_capacity(query.len());
    for (i, parameter) in query.split('&').enumerate() {
        if i > 0 {
            redacted.push('&');
        }
        match parameter.split_once('=') {
            Some((name, _)) if is_secret(parameter) => {
                redacted.push_str(name);
                redacted.push('=');
                redacted.push_str(REDACTED);
            }
            _ => redacted.push_str(parameter),
        }
    }
    Cow::Owned(redacted)
}

/// An authority without its user information.
pub(crate) fn without_userinfo(authority: &str) -> &str {
    authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host)
}

/// An authority with its user information redacted, as `url.full` carries it.
pub(crate) fn redact_authority(authority: &str) -> Cow<'_, str> {
    match authority.rsplit_once('@') {
        Some((_, host)) => Cow::Owned(format!("{REDACTED}:{REDACTED}@{host}")),
        None => Cow::Borrowed(authority),
    }
}

/// `host:port`, `[v6]:port`, `host` or `v6` as host and port.
pub(crate) fn split_host_port(authority: &str) -> (&str, Option<u16>) {
    let (host, port) = match authority.rsplit_once(':') {
        // More colons without brackets: an IPv6 address without a port.
        Some((host, _)) if host.contains(':') && !host.ends_with(']') => (authority, None),
        Some((host, port)) => match port.parse() {
            Ok(port) => (host, Some(port)),
            Err(_) => (authority, None),
        },
        None => (authority, None),
    };
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    (bare.unwrap_or(host), port)
}

/// The port that a scheme stands for.
pub(crate) fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn hosts_and_ports_are_split() {
        for (authority, host, port) in [
            ("cart:8080", "cart", Some(8080)),
            ("cart", "cart", None),
            ("10.0.0.1:80", "10.0.0.1", Some(80)),
            ("[::1]:80", "::1", Some(80)),
            ("[::1]", "::1", None),
            ("::1", "::1", None),
            ("cart:http", "cart:http", None),
            ("cart:99999", "cart:99999", None),
            ("", "", None),
        ] {
            assert_eq!(split_host_port(authority), (host, port), "{authority}");
        }
    }

    #[test]
    fn credentials_are_redacted_in_place() {
        let also = ["token".to_owned()];
        assert_eq!(
            redact_query("a=1&sig=x&b&token=y&c=sig", &also),
            "a=1&sig=REDACTED&b&token=REDACTED&c=sig"
        );
        assert!(matches!(
            redact_query("a=1&signed=2&sig2=3", &[]),
            Cow::Borrowed(_)
        ));
        assert_eq!(
            redact_authority("me:pw@cart:80"),
            "REDACTED:REDACTED@cart:80"
        );
        assert_eq!(without_userinfo("me:p@w@cart:80"), "cart:80");
    }

    proptest! {
        #[test]
        fn arbitrary_queries_keep_their_other_parameters(query in "[a-z=&%?sig]{0,40}") {
            let redacted = redact_query(&query, &[]);
            prop_assert_eq!(redacted.split('&').count(), query.split('&').count());
        }
    }
}
