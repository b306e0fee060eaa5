//! Spans for HTTP over tower: SERVER spans for services and axum routers, CLIENT spans for clients.
//!
//! The layers stand on any `tower::Service` from [`http::Request`] to
//! [`http::Response`]. A span ends with the response's body, so a stream that
//! takes a minute is a minute long. Errors of the service and panics mark it as failed; a panic
//! goes on its way afterwards. gRPC has layers of its own, in [`grpc`](crate::grpc).

mod service;

use std::sync::Arc;

use ::tower::Layer;

use crate::http::Role;
use crate::trace::TracerProvider;

pub(crate) use service::Tracing;
pub use service::{ResponseFuture, TracedService};

pub use crate::http::TracedBody;

/// Gives each request a SERVER span that continues the caller's trace.
///
/// On an axum router (with `Router::layer`, so that the route is known) the span is named after
/// the route: `GET /orders/{id}`. A status of 500 or more is an error.
#[derive(Clone, Debug)]
pub struct ServerLayer {
    tracing: Arc<Tracing>,
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
        Self {
            tracing: Tracing::new("spanloom::tower::server", Role::HttpServer),
        }
    }

    /// Spans go to this provider instead.
    #[must_use]
    pub fn with_tracer_provider(mut self, provider: &TracerProvider) -> Self {
        Arc::make_mut(&mut self.tracing).spans.fix(provider);
        self
    }

    /// Tells callers the span's ids in the header `traceresponse` of [Trace Context level 2], so
    /// that a browser or a tester can find the trace of a response.
    ///
    /// [Trace Context level 2]: https://www.w3.org/TR/trace-context-2/#traceresponse-header
    #[must_use]
    pub fn with_traceresponse(mut self) -> Self {
        Arc::make_mut(&mut self.tracing).sends_traceresponse = true;
        self
    }
}

impl<S> Layer<S> for ServerLayer {
    type Service = TracedService<S>;

    fn layer(&self, inner: S) -> TracedService<S> {
        TracedService::new(inner, &self.tracing)
    }
}

/// Gives each request a CLIENT span, and its context to the server.
///
/// A status of 400 or more is an error: to a client every refusal is.
#[derive(Clone, Debug)]
pub struct ClientLayer {
    tracing: Arc<Tracing>,
}

impl Default for ClientLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl ClientLayer {
    /// Spans go to the provider that [`init`](crate::init) installs, before or after this call.
    #[must_use]
    pub fn new() -> Self {
        Self {
            tracing: Tracing::new("spanloom::tower::client", Role::HttpClient),
        }
    }

    /// Spans go to this provider instead.
    #[must_use]
    pub fn with_tracer_provider(mut self, provider: &TracerProvider) -> Self {
        Arc::make_mut(&mut self.tracing).spans.fix(provider);
        self
    }
}

impl<S> Layer<S> for ClientLayer {
    type Service = TracedService<S>;

    fn layer(&self, inner: S) -> TracedService<S> {
        TracedService::new(inner, &self.tracing)
    }
}
