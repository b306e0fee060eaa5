//! How spans come in. Each protocol reads a request into OTLP bytes, within the byte budget, and
//! gives them to its [`Intake`](crate::pipeline::Intake).

pub mod body;
pub mod otlp_grpc;
pub mod otlp_http;
pub mod otlp_json;
