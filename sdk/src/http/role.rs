//! Which side of which protocol a span is on: what it is called, and what it takes for an error.

use std::borrow::Cow;
use std::net::SocketAddr;

use ::http::uri::Authority;
use ::http::{HeaderMap, Request, StatusCode, header};
use opentelemetry::trace::{SpanBuilder, SpanKind, Status, TraceContextExt};
use opentelemetry::{Context, KeyValue};

use crate::percent;

use super::{method_attributes, protocol_version, redact_query, span_name, status_attributes};

/// One of the four.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Role {
    HttpServer,
    HttpClient,
    GrpcServer,
    GrpcClient,
}

/// Names of gRPC's status codes, by their number.
const GRPC_CODES: [&str; 17] = [
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

/// The codes that say that the server is at fault.
const GRPC_SERVER_ERRORS: [&str; 6] = [
    "UNKNOWN",
    "DEADLINE_EXCEEDED",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
];

impl Role {
    pub(crate) fn is_server(self) -> bool {
        matches!(self, Self::HttpServer | Self::GrpcServer)
    }

    pub(crate) fn is_grpc(self) -> bool {
        matches!(self, Self::GrpcServer | Self::GrpcClient)
    }

    /// The span as it is known when the request is.
    pub(crate) fn span<B>(self, request: &Request<B>) -> SpanBuilder {
        let mut attributes = Vec::with_capacity(12);
        let name = match self {
            Self::GrpcServer | Self::GrpcClient => {
                let method = grpc_method(request.uri().path());
                attributes.push(KeyValue::new("rpc.system.name", "grpc"));
                attributes.push(KeyValue::new("rpc.method", method.clone()));
                Cow::Owned(method)
            }
            Self::HttpServer => http_server(request, &mut attributes),
            Self::HttpClient => http_client(request, &mut attributes),
        };
        let uri = request.uri();
        let host = request
            .headers()
            .get(header::HOST)
            .and_then(|host| host.to_str().ok());
        if let Some(authority) = host.or_else(|| uri.authority().map(Authority::as_str)) {
            server_attributes(authority, &mut attributes);
        }
        if let Some(peer) = peer(request) {
            attributes.push(KeyValue::new("network.peer.address", peer.ip().to_string()));
            attributes.push(KeyValue::new("network.peer.port", i64::from(peer.port())));
        }
        let kind = if self.is_server() {
            SpanKind::Server
        } else {
            SpanKind::Client
        };
        SpanBuilder::from_name(name)
            .with_kind(kind)
            .with_attributes(attributes)
    }

    /// Whether a status of HTTP is this side's error: a client takes every refusal for one.
    pub(crate) fn is_error_status(self, status: u16) -> bool {
        status >= 500 || (!self.is_server() && status >= 400)
    }

    /// Whether a code of gRPC is this side's error.
    pub(crate) fn is_error_code(self, code: &str) -> bool {
        match self {
            Self::GrpcServer => GRPC_SERVER_ERRORS.contains(&code),
            _ => !matches!(code, "OK" | ""),
        }
    }

    /// Writes the status of an HTTP response into its span.
    pub(crate) fn record_status(self, context: &Context, status: StatusCode) {
        let span = context.span();
        if !span.is_recording() {
            return;
        }
        let is_error = self.is_error_status(status.as_u16());
        span.set_attributes(status_attributes(status, is_error));
        if is_error {
            // The conventions want no description where the status code says it all.
            span.set_status(Status::error(""));
        }
    }

    /// The name of the status in the trailers of a gRPC call.
    pub(crate) fn code(self, trailers: &HeaderMap) -> Option<&'static str> {
        let code = trailers.get("grpc-status").filter(|_| self.is_grpc())?;
        let code = code
            .to_str()
            .ok()
            .and_then(|code| code.parse::<usize>().ok());
        let name = code.and_then(|code| GRPC_CODES.get(code).copied());
        Some(name.unwrap_or("UNKNOWN"))
    }

    /// Writes the status of a gRPC call into its span.
    pub(crate) fn record_code(self, context: &Context, code: &'static str, trailers: &HeaderMap) {
        let span = context.span();
        if !span.is_recording() {
            return;
        }
        span.set_attribute(KeyValue::new("rpc.response.status_code", code));
        if self.is_error_code(code) {
            let message = trailers
                .get("grpc-message")
                .and_then(|message| message.to_str().ok())
                .and_then(percent::decode);
            span.set_attribute(KeyValue::new("error.type", code));
            span.set_status(Status::error(message.unwrap_or_default()));
        }
        if self == Self::GrpcServer && code == "UNIMPLEMENTED" {
            // Anybody can ask for any name; as the name of a span it would never end.
            span.set_attribute(KeyValue::new("rpc.method", "_OTHER"));
            span.update_name("grpc");
        }
    }
}

/// `/shop.Stock/Count` without its first slash.
fn grpc_method(path: &str) -> String {
    path.strip_prefix('/').unwrap_or(path).to_owned()
}

fn http_server<B>(request: &Request<B>, attributes: &mut Vec<KeyValue>) -> Cow<'static, str> {
    let (uri, route) = (request.uri(), route(request));
    method_attributes(request.method(), attributes);
    attributes.push(KeyValue::new("url.path", uri.path().to_owned()));
    // The sidecar in front speaks plain HTTP to us; what the client spoke it says itself.
    let scheme = match uri.scheme_str() {
        Some(scheme) => Cow::Owned(scheme.to_owned()),
        None => Cow::Borrowed("http"),
    };
    attributes.push(KeyValue::new("url.scheme", scheme));
    if let Some(query) = uri.query() {
        attributes.push(KeyValue::new("url.query", redact_query(query).into_owned()));
    }
    if let Some(route) = route {
        attributes.push(KeyValue::new("http.route", route.to_owned()));
    }
    if let Some(version) = protocol_version(request.version()) {
        attributes.push(KeyValue::new("network.protocol.version", version));
    }
    let agent = request.headers().get(header::USER_AGENT);
    if let Some(agent) = agent.and_then(|agent| agent.to_str().ok()) {
        attributes.push(KeyValue::new("user_agent.original", agent.to_owned()));
    }
    span_name(request.method(), route)
}

fn http_client<B>(request: &Request<B>, attributes: &mut Vec<KeyValue>) -> Cow<'static, str> {
    let uri = request.uri();
    method_attributes(request.method(), attributes);
    let mut url = String::with_capacity(64);
    if let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) {
        url.push_str(scheme);
        url.push_str("://");
        let host = authority.as_str();
        // What stands before an @ are a name and a password.
        url.push_str(host.rsplit_once('@').map_or(host, |(_, host)| host));
    }
    url.push_str(uri.path());
    if let Some(query) = uri.query() {
        url.push('?');
        url.push_str(&redact_query(query));
    }
    attributes.push(KeyValue::new("url.full", url));
    // Without a template of the path a name with the path in it would have too many values.
    span_name(request.method(), None)
}

/// `server.address` and `server.port` from `host`, `host:port` or `[v6]:port`.
fn server_attributes(authority: &str, attributes: &mut Vec<KeyValue>) {
    let authority = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse::<u16>().ok()),
        _ => (authority, None),
    };
    attributes.push(KeyValue::new("server.address", host.to_owned()));
    if let Some(port) = port {
        attributes.push(KeyValue::new("server.port", i64::from(port)));
    }
}

#[cfg(feature = "axum")]
fn route<B>(request: &Request<B>) -> Option<&str> {
    request
        .extensions()
        .get::<axum::extract::MatchedPath>()
        .map(axum::extract::MatchedPath::as_str)
}

#[cfg(not(feature = "axum"))]
fn route<B>(_request: &Request<B>) -> Option<&str> {
    None
}

#[cfg(feature = "axum")]
fn peer<B>(request: &Request<B>) -> Option<SocketAddr> {
    request
        .extensions()
        .get::<axum::extract::ConnectInfo<SocketAddr>>()
        .map(|info| info.0)
}

#[cfg(not(feature = "axum"))]
fn peer<B>(_request: &Request<B>) -> Option<SocketAddr> {
    None
}
