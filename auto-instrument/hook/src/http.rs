//! HTTP requests as spans, by OpenTelemetry's semantic conventions. Rules call this with what they
//! read from the library's own request types.

use std::borrow::Cow;
use std::cell::RefCell;

use crate::context::{self, Note};
use crate::current::{current, with_current};
use crate::span::{Kind, Span};

/// The methods whose names are safe as span names; any other is `_OTHER` (a client chooses it).
const METHODS: [&str; 10] = [
    "GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "CONNECT", "TRACE", "QUERY",
];

/// What a rule tells of a request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Request<'a> {
    /// The method as it stands in the request line.
    pub method: &'a str,
    /// `http` or `https`; empty when unknown.
    pub scheme: &'a str,
    /// Host with an optional port, from the target or the `Host` header; empty when unknown.
    pub authority: &'a str,
    /// The path without query.
    pub path: &'a str,
    /// The query without `?`.
    pub query: Option<&'a str>,
    /// The protocol version as `HTTP/1.1`.
    pub version: &'a str,
    /// `traceparent` as it arrived, or as the program has set it on a request that it makes.
    pub traceparent: Option<&'a str>,
    /// `tracestate` as it arrived (servers only).
    pub tracestate: Option<&'a str>,
    /// The `Content-Type` header: tells gRPC from plain HTTP.
    pub content_type: Option<&'a str>,
    /// The `User-Agent` header.
    pub user_agent: Option<&'a str>,
}

impl<'a> Request<'a> {
    fn known_method(&self) -> Option<&'static str> {
        METHODS.into_iter().find(|known| *known == self.method)
    }

    /// Service and method when this is gRPC.
    fn grpc(&self) -> Option<(&'a str, &'a str)> {
        let is_grpc = self
            .content_type
            .is_some_and(|kind| kind.starts_with("application/grpc"));
        self.path
            .strip_prefix('/')
            .filter(|_| is_grpc)?
            .split_once('/')
    }

    fn describe(&self, span: &mut Span) {
        if !span.is_recording() {
            return;
        }
        if let Some((_, _)) = self.grpc() {
            span.rename(self.path.trim_start_matches('/').to_owned());
            span.set("rpc.system.name", "grpc");
            span.set("rpc.method", self.path.trim_start_matches('/').to_owned());
        } else {
            span.set(
                "http.request.method",
                self.known_method().unwrap_or("_OTHER"),
            );
            if self.known_method().is_none() {
                span.set("http.request.method_original", self.method.to_owned());
            }
        }
        let (host, port) = split_authority(self.authority);
        if !host.is_empty() {
            span.set("server.address", host.to_owned());
        }
        let default_port = match self.scheme {
            "http" => Some(80),
            "https" => Some(443),
            _ => None,
        };
        if let Some(port) = port.or(default_port.filter(|_| !host.is_empty())) {
            span.set("server.port", port);
        }
        if let Some(version) = self.version.strip_prefix("HTTP/") {
            span.set(
                "network.protocol.version",
                version.trim_end_matches(".0").to_owned(),
            );
        }
        if let Some(agent) = self.user_agent {
            span.set("user_agent.original", agent.to_owned());
        }
    }
}

/// Host and port of `host:port`, `[v6]:port`, `host`; user information is left out.
fn split_authority(authority: &str) -> (&str, Option<u16>) {
    let authority = authority.rsplit('@').next().unwrap_or(authority);
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => match port.parse() {
            Ok(port) => (host.trim_matches(['[', ']']), Some(port)),
            Err(_) => (authority, None),
        },
        _ => (authority.trim_matches(['[', ']']), None),
    }
}

/// Begins the span of a request that this process answers.
pub fn server(scope: &'static str, request: Request<'_>) -> Span {
    let name = Cow::Borrowed(request.known_method().unwrap_or("HTTP"));
    let (parent, state) = (request.traceparent, request.tracestate);
    let mut span = Span::remote_child(scope, Kind::Server, name, parent, state);
    request.describe(&mut span);
    if span.is_recording() && request.grpc().is_none() {
        span.set("url.path", request.path.to_owned());
        span.set(
            "url.scheme",
            if request.scheme == "https" {
                "https"
            } else {
                "http"
            },
        );
        if let Some(query) = request.query {
            span.set("url.query", redact(query));
        }
    }
    span
}

/// Begins the span of a request that this process makes.
pub fn client(scope: &'static str, request: Request<'_>) -> Span {
    if is_export(request.path) && current().is_none() {
        return Span::none();
    }
    if request.traceparent.is_some_and(is_of_foreign_client) {
        return Span::none();
    }
    let name = Cow::Borrowed(request.known_method().unwrap_or("HTTP"));
    let mut span = Span::child(scope, Kind::Client, name);
    request.describe(&mut span);
    if span.is_recording() && request.grpc().is_none() {
        let (host, port) = split_authority(request.authority);
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        let query = request
            .query
            .map(|query| format!("?{}", redact(query)))
            .unwrap_or_default();
        let host = if host.contains(':') {
            format!("[{host}]")
        } else {
            host.to_owned()
        };
        let (scheme, path) = (request.scheme, request.path);
        span.set("url.full", format!("{scheme}://{host}{port}{path}{query}"));
    }
    span
}

/// Whether a tracing library in the program has made the span of this request: its current span is
/// the one that the request's header names.
fn is_of_foreign_client(traceparent: &str) -> bool {
    let named = context::parse_traceparent(traceparent).map(|parent| parent.span_id);
    with_current(|span| span.is_foreign() && Some(span.span_id) == named).unwrap_or(false)
}

/// Telemetry on its way out, from another tracing library in the program, is not work of its own.
fn is_export(path: &str) -> bool {
    path.starts_with("/opentelemetry.proto.collector.")
        || ["/v1/traces", "/v1/metrics", "/v1/logs"]
            .iter()
            .any(|end| path.ends_with(end))
}

/// The values of signed URLs that the semantic conventions ask to hide.
fn redact(query: &str) -> String {
    const SECRET: [&str; 4] = ["AWSAccessKeyId", "Signature", "sig", "X-Goog-Signature"];
    let shown = query.split('&').map(|pair| match pair.split_once('=') {
        Some((key, _)) if SECRET.contains(&key) => format!("{key}=REDACTED"),
        _ => pair.to_owned(),
    });
    shown.collect::<Vec<_>>().join("&")
}

/// Notes a response's status. A server failed from 500 on, a client from 400 on.
pub fn responded(span: &mut Span, kind: Kind, status: u16) {
    if !span.is_recording() {
        return;
    }
    span.set("http.response.status_code", status);
    if status >= 500 || (status >= 400 && kind == Kind::Client) {
        span.fail(status.to_string());
    }
}

/// Notes a `grpc-status` header or trailer. Which codes a server answers for: see the
/// conventions' table (`UNKNOWN`, `DEADLINE_EXCEEDED`, `UNIMPLEMENTED`, `INTERNAL`,
/// `UNAVAILABLE`, `DATA_LOSS`).
pub fn grpc_responded(span: &mut Span, kind: Kind, status: Option<&str>) {
    const NAMES: [&str; 17] = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];
    let Some(code) = status.and_then(|text| text.trim().parse::<usize>().ok()) else {
        return;
    };
    let name = NAMES.get(code).copied().unwrap_or("UNKNOWN");
    span.set("rpc.response.status_code", name);
    let failed = match kind {
        Kind::Server => matches!(code, 2 | 4 | 12 | 13 | 14 | 15) || code > 16,
        _ => code != 0,
    };
    if failed {
        span.fail(name);
    }
}

/// Names the route of the current request, for the server span of its trace.
pub fn route(template: &str) {
    with_current(|current| current.trace.set_note(Note::Route, template));
}

/// Notes the `grpc-status` trailer of the current request's answer.
pub fn trailers(status: Option<&str>) {
    if let Some(status) = status {
        with_current(|current| current.trace.set_note(Note::GrpcStatus, status));
    }
}

/// Marks a request whose client span an outer layer has made and whose headers are set.
#[derive(Clone, Copy, Debug)]
pub struct Traced;

thread_local! {
    static PENDING: RefCell<Span> = const { RefCell::new(Span::none()) };
}

/// Leaves a server span for the connection code that this thread runs next; see [`pending`].
pub fn set_pending(span: Span) {
    // A span that cannot be left ends here, short but whole.
    let _ = PENDING.try_with(|slot| slot.try_borrow_mut().map(|mut slot| *slot = span));
}

/// Takes the span that [`set_pending`] left on this thread.
pub fn pending() -> Span {
    PENDING
        .try_with(|slot| {
            slot.try_borrow_mut()
                .map(|mut slot| std::mem::take(&mut *slot))
                .ok()
        })
        .ok()
        .flatten()
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_split() {
        assert_eq!(split_authority("a.b:81"), ("a.b", Some(81)));
        assert_eq!(split_authority("[::1]:81"), ("::1", Some(81)));
        assert_eq!(split_authority("[::1]"), ("::1", None));
        assert_eq!(split_authority("user:pass@h"), ("h", None));
        assert_eq!(split_authority(""), ("", None));
    }

    #[test]
    fn secrets_do_not_leave_in_urls() {
        assert_eq!(redact("a=1&sig=abc&b"), "a=1&sig=REDACTED&b");
    }

    #[test]
    fn a_made_up_method_does_not_become_a_name() {
        let request = Request {
            method: "EVIL-1234",
            path: "/",
            ..Request::default()
        };
        assert_eq!(request.known_method(), None);
    }

    #[test]
    fn grpc_is_told_by_its_content_type() {
        let mut request = Request {
            path: "/shop.Cart/Get",
            ..Request::default()
        };
        assert_eq!(request.grpc(), None);
        request.content_type = Some("application/grpc+proto");
        assert_eq!(request.grpc(), Some(("shop.Cart", "Get")));
    }

    #[test]
    fn telemetry_on_its_way_out_starts_no_trace() {
        let export = Request {
            method: "POST",
            path: "/v1/traces",
            ..Request::default()
        };
        assert!(!client("test", export).is_recording());
        let work = Request {
            method: "POST",
            path: "/v1/orders",
            ..Request::default()
        };
        assert!(client("test", work).is_recording());
    }

    #[test]
    fn a_request_that_another_library_traces_gets_no_second_span() {
        let (trace_id, span_id) = (7_u128.to_be_bytes(), 9_u64.to_be_bytes());
        let _theirs = context::enter_foreign(Some((trace_id, span_id, true)), "", None);
        let sends = |span_id: u64| {
            let header = format!("00-{:032x}-{span_id:016x}-01", 7);
            let request = Request {
                method: "GET",
                traceparent: Some(&header),
                ..Request::default()
            };
            client("test", request).is_recording()
        };
        assert!(!sends(9));
        assert!(sends(8));
    }

    #[test]
    fn a_pending_span_is_taken_once() {
        set_pending(Span::root("test", Kind::Server, "x"));
        assert!(pending().is_recording());
        assert!(!pending().is_recording());
    }
}
