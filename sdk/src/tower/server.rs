//! The server layer, its service and its future.

use std::any::Any;
use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, ready};

use ::http::uri::Authority;
use ::http::{HeaderName, HeaderValue, Request, Response, header};
use ::http_body::Body;
use ::tower::{Layer, Service};
use opentelemetry::trace::{SpanBuilder, SpanKind, Status, TraceContextExt};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::HeaderExtractor;
use pin_project_lite::pin_project;

use crate::http::{self, TracedBody, fail};
use crate::trace::{SpanSource, TracerProvider};

/// Gives each request a SERVER span that continues the caller's trace.
///
/// The span ends with the response's body, so a stream that takes a minute is a minute long. A
/// status of 500 or more, an error of the service and a panic mark it as failed; a panic goes on
/// its way afterwards.
#[derive(Clone, Debug)]
pub struct ServerLayer {
    shared: Arc<Shared>,
}

#[derive(Clone, Debug)]
struct Shared {
    spans: SpanSource,
    sends_traceresponse: bool,
}

impl Default for ServerLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl ServerLayer {
    /// Spans go to the provider that [`init`](crate::init) installs, before or after this call.
    #[must_use]
    pub fn new() -> Self {
        let spans = SpanSource::installed("spanloom::tower::server");
        Self {
            shared: Arc::new(Shared {
                spans,
                sends_traceresponse: false,
            }),
        }
    }

    /// Spans go to this provider instead.
    #[must_use]
    pub fn with_tracer_provider(mut self, provider: &TracerProvider) -> Self {
        Arc::make_mut(&mut self.shared).spans.fix(provider);
        self
    }

    /// Tells callers the span's ids in the header `traceresponse` of [Trace Context level 2], so
    /// that a browser or a tester can find the trace of a response.
    ///
    /// [Trace Context level 2]: https://www.w3.org/TR/trace-context-2/#traceresponse-header
    #[must_use]
    pub fn with_traceresponse(mut self) -> Self {
        Arc::make_mut(&mut self.shared).sends_traceresponse = true;
        self
    }
}

impl<S> Layer<S> for ServerLayer {
    type Service = ServerService<S>;

    fn layer(&self, inner: S) -> ServerService<S> {
        ServerService {
            inner,
            shared: Arc::clone(&self.shared),
        }
    }
}

/// A service inside a [`ServerLayer`].
#[derive(Clone, Debug)]
pub struct ServerService<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S, RequestBody, ResponseBody> Service<Request<RequestBody>> for ServerService<S>
where
    S: Service<Request<RequestBody>, Response = Response<ResponseBody>, Error: fmt::Display>,
    ResponseBody: Body<Error: Into<Box<dyn StdError + Send + Sync>>>,
{
    type Response = Response<TracedBody<ResponseBody>>;
    type Error = S::Error;
    type Future = ServerFuture<S::Future>;

    fn poll_ready(&mut self, task: &mut TaskContext<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(task)
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        let caller = self
            .shared
            .spans
            .extract(&HeaderExtractor(request.headers()));
        let context = self.shared.spans.start(span(&request), &caller);
        let attached = context.clone().attach();
        let inner = self.inner.call(request);
        drop(attached);
        ServerFuture {
            inner,
            span: Some(context),
            sends_traceresponse: self.shared.sends_traceresponse,
        }
    }
}

/// The span as it is known when the request arrives.
fn span<B>(request: &Request<B>) -> SpanBuilder {
    let route = route(request);
    let uri = request.uri();
    let mut attributes = Vec::with_capacity(12);
    http::method_attributes(request.method(), &mut attributes);
    attributes.push(KeyValue::new("url.path", uri.path().to_owned()));
    // The sidecar in front speaks plain HTTP to us; what the client spoke it says itself.
    attributes.push(KeyValue::new(
        "url.scheme",
        uri.scheme_str().unwrap_or("http").to_owned(),
    ));
    if let Some(query) = uri.query() {
        let query = http::redact_query(query).into_owned();
        attributes.push(KeyValue::new("url.query", query));
    }
    if let Some(route) = route {
        attributes.push(KeyValue::new("http.route", route.to_owned()));
    }
    let host = request
        .headers()
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    if let Some(authority) = host.or_else(|| uri.authority().map(Authority::as_str)) {
        server_attributes(authority, &mut attributes);
    }
    if let Some(version) = http::protocol_version(request.version()) {
        attributes.push(KeyValue::new("network.protocol.version", version));
    }
    if let Some(agent) = request
        .headers()
        .get(header::USER_AGENT)
        .and_then(|a| a.to_str().ok())
    {
        attributes.push(KeyValue::new("user_agent.original", agent.to_owned()));
    }
    if let Some(peer) = peer(request) {
        attributes.push(KeyValue::new("network.peer.address", peer.ip().to_string()));
        attributes.push(KeyValue::new("network.peer.port", i64::from(peer.port())));
    }
    SpanBuilder::from_name(http::span_name(request.method(), route))
        .with_kind(SpanKind::Server)
        .with_attributes(attributes)
}

/// `server.address` and `server.port` from `host`, `host:port` or `[v6]:port`.
fn server_attributes(authority: &str, attributes: &mut Vec<KeyValue>) {
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

pin_project! {
    /// Resolves to the response, whose body carries the span on.
    #[derive(Debug)]
    pub struct ServerFuture<F> {
        #[pin]
        inner: F,
        span: Option<Context>,
        sends_traceresponse: bool,
    }

    impl<F> PinnedDrop for ServerFuture<F> {
        fn drop(this: Pin<&mut Self>) {
            if let Some(span) = this.project().span.take() {
                fail(&span, "cancelled", "the request was dropped before its response");
                span.span().end();
            }
        }
    }
}

impl<F, B, E> Future for ServerFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body<Error: Into<Box<dyn StdError + Send + Sync>>>,
    E: fmt::Display,
{
    type Output = Result<Response<TracedBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let attached = this.span.clone().map(Context::attach);
        let polled = catch_unwind(AssertUnwindSafe(|| this.inner.poll(task)));
        drop(attached);
        let polled = polled.unwrap_or_else(|panic| {
            if let Some(span) = this.span.take() {
                record_panic(&span, panic.as_ref());
            }
            resume_unwind(panic)
        });
        let result = ready!(polled);
        let Some(context) = this.span.take() else {
            unreachable!("a future is not polled after it is ready");
        };
        Poll::Ready(match result {
            Ok(response) => Ok(on_response(response, context, *this.sends_traceresponse)),
            Err(error) => {
                fail(&context, "_OTHER", error.to_string());
                context.span().end();
                Err(error)
            }
        })
    }
}

fn on_response<B>(
    mut response: Response<B>,
    context: Context,
    sends_traceresponse: bool,
) -> Response<TracedBody<B>>
where
    B: Body<Error: Into<Box<dyn StdError + Send + Sync>>>,
{
    let span = context.span();
    let is_error = response.status().is_server_error();
    span.set_attributes(http::status_attributes(response.status(), is_error));
    if is_error {
        // The conventions want no description where the status code says it all.
        span.set_status(Status::error(""));
    }
    if sends_traceresponse && let Some(value) = traceresponse(&context) {
        response
            .headers_mut()
            .insert(HeaderName::from_static("traceresponse"), value);
    }
    response.map(|body| TracedBody::new(body, context))
}

fn traceresponse(context: &Context) -> Option<HeaderValue> {
    let span = context.span();
    let span = span.span_context();
    if !span.is_valid() {
        return None;
    }
    let flags = span.trace_flags().to_u8();
    let value = format!("00-{}-{}-{flags:02x}", span.trace_id(), span.span_id());
    HeaderValue::try_from(value).ok()
}

fn record_panic(context: &Context, panic: &(dyn Any + Send)) {
    let message = panic.downcast_ref::<&str>().copied().map(Cow::Borrowed);
    let message = message.or_else(|| panic.downcast_ref::<String>().cloned().map(Cow::Owned));
    let message = message.unwrap_or(Cow::Borrowed("a panic without a message"));
    let span = context.span();
    span.add_event(
        "exception",
        vec![
            KeyValue::new("exception.type", "panic"),
            KeyValue::new("exception.message", message.clone()),
        ],
    );
    fail(context, "panic", message);
    span.end();
}
