//! Spans for gRPC over tower, which is what tonic is.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use tonic::transport::{Channel, Server};
//!
//! let server = Server::builder().layer(spanloom::grpc::ServerLayer::new());
//!
//! let channel = Channel::from_static("http://stock:50051").connect_lazy();
//! let layer = spanloom::grpc::ClientLayer::new().with_server("stock", 50051);
//! let channel = tower::Layer::layer(&layer, channel);
//! // let client = StockClient::new(channel);
//! # Ok(())
//! # }
//! ```
//!
//! A span is named after its method, `shop.Stock/Count`, and ends with the call: a streaming call
//! with its last message. Its status comes from the trailers, by the [gRPC conventions]: a server's
//! span is an error for the codes that are the server's fault, a client's for all but `OK`.
//!
//! [gRPC conventions]: https://opentelemetry.io/docs/specs/semconv/rpc/grpc/

use std::sync::Arc;

use ::tower::Layer;

use crate::http::Role;
use crate::tower::{TracedService, Tracing};
use crate::trace::TracerProvider;

/// Gives each call a SERVER span that continues the caller's trace.
#[derive(Clone, Debug)]
pub struct ServerLayer {
    tracing: Arc<Tracing>,
}

/// Gives each call a CLIENT span, and its context to the server.
#[derive(Clone, Debug)]
pub struct ClientLayer {
    tracing: Arc<Tracing>,
}

impl Default for ServerLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl Default for ClientLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl ServerLayer {
    /// Spans go to the provider that [`init`](crate::init) installs, before or after this call.
    #[must_use]
    pub fn new() -> Self {
        Self {
            tracing: Tracing::new("spanloom::grpc::server", Role::GrpcServer),
        }
    }

    /// Spans go to this provider instead.
    #[must_use]
    pub fn with_tracer_provider(mut self, provider: &TracerProvider) -> Self {
        Arc::make_mut(&mut self.tracing).spans.fix(provider);
        self
    }
}

impl ClientLayer {
    /// Spans go to the provider that [`init`](crate::init) installs, before or after this call.
    #[must_use]
    pub fn new() -> Self {
        Self {
            tracing: Tracing::new("spanloom::grpc::client", Role::GrpcClient),
        }
    }

    /// What spans and figures say of the server (`server.address`, `server.port`) where a request
    /// does not: tonic's `Channel` gives a request its address only below this layer. The client's
    /// own `with_origin` serves as well.
    #[must_use]
    pub fn with_server(mut self, address: impl Into<Arc<str>>, port: u16) -> Self {
        Arc::make_mut(&mut self.tracing).server = Some((address.into(), port));
        self
    }

    /// Spans go to this provider instead.
    #[must_use]
    pub fn with_tracer_provider(mut self, provider: &TracerProvider) -> Self {
        Arc::make_mut(&mut self.tracing).spans.fix(provider);
        self
    }
}

impl<S> Layer<S> for ServerLayer {
    type Service = TracedService<S>;

    fn layer(&self, inner: S) -> TracedService<S> {
        TracedService::new(inner, &self.tracing)
    }
}

impl<S> Layer<S> for ClientLayer {
    type Service = TracedService<S>;

    fn layer(&self, inner: S) -> TracedService<S> {
        TracedService::new(inner, &self.tracing)
    }
}
