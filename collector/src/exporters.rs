//! How spans go out. Each exporter delivers one batch at a time per call, and says how it went.

pub mod debug;
pub mod grpc_client;
pub mod otlp_grpc;
pub mod otlp_http;
pub mod retry;
pub mod store;
