//! The SDK as programs use it: over real sockets, on every flavour of runtime.

#![expect(clippy::unwrap_used, reason = "a test stops at its first surprise")]

mod child;
mod export;
mod grpc;
mod http;
mod logs;
mod metrics;
mod presets;
mod spans;
mod task;
mod tls;
mod upstream;
