//! SERVER spans for tower services, axum routers among them.
//!
//! The layer stands on any `tower::Service` from [`http::Request`] to
//! [`http::Response`]. On an axum router (with `Router::layer`, so that the
//! route is known) the span is named after the route: `GET /orders/{id}`.

mod server;

pub use server::{ServerFuture, ServerLayer, ServerService};

pub use crate::http::TracedBody;
