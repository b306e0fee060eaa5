//! The SDK as programs use it: over real sockets, on every flavour of runtime.

#![expect(clippy::unwrap_used, reason = "a test stops at its first surprise")]

mod amqp;
mod child;
mod export;
mod grpc;
mod http;
mod kafka;
mod logs;
mod messaging;
mod metrics;
mod nats;
mod presets;
mod process;
mod redis;
mod spans;
mod sqlx;
mod task;
mod tls;
mod upstream;
