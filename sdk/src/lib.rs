//! Spans of a Rust service, in the traces of its mesh, with one line.
//!
//! ```no_run
//! # async fn handler() {}
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let _tracing = spanloom::init()?;
//!
//!     let app = axum::Router::new()
//!         .route("/orders/{id}", axum::routing::get(handler))
//!         .layer(spanloom::tower::ServerLayer::new());
//!     let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
//!     axum::serve(listener, app).await?;
//!     Ok(())
//! }
//! ```
//!
//! [`init`] reads the `OTEL_*` variables, which an operator may inject, and sets up everything
//! that a program otherwise writes by hand: an exporter on a thread of its own, the propagators,
//! the bridge that turns `tracing` spans (`#[tracing::instrument]`) into OpenTelemetry spans, and
//! log lines that carry the ids of the current trace. The [`Guard`] that it returns sends what is
//! left when the program ends. Programs with or without a runtime may call it, on any flavour of
//! runtime, and no collector has to be there yet.
//!
//! [`tower::ServerLayer`] gives each request to a tower or axum service a SERVER span that
//! continues the trace of the sidecar in front of it. [`tower::ClientLayer`] and
//! [`reqwest::SendTraced`] give each outgoing request a CLIENT span and send its context along;
//! [`grpc`] does both for tonic, [`task`] takes the context to other tasks and threads, and
//! [`process`] to other processes. The features `rdkafka`, `lapin` and `async-nats` do the same for
//! messages over Kafka, RabbitMQ and NATS; `sqlx` and `redis` give each query and command a CLIENT
//! span. All of them stand on the OpenTelemetry API rather than on `tracing` spans, which cost several
//! times as much. The feature `testing` adds a kit for tests of traced programs.
//!
//! On wish all of them measure how long requests, queries and messages take, and export histograms
//! whose buckets point to spans: [`Builder::metrics`].
//!
//! **Spans of `tracing`** become OpenTelemetry spans and nest with those of the API, but five traps
//! come along, with `tracing` itself or with the bridge:
//!
//! - They cost several times as much, unsampled ones, too: see the README's table.
//! - One starts in OpenTelemetry when it is first entered. The sampler sees the fields that were set
//!   until then, and `set_parent` inside an `#[instrument]`ed body comes too late.
//! - One ends at its last exit, not when its last handle is dropped.
//! - `u64`, `usize` and 128-bit fields arrive as strings: cast to `i64` to keep a number.
//! - Events within become events of the span. Here those do that are `INFO` or worse, and the frames
//!   of `h2`, `hyper` and their like make no spans, as their connections outlive every request.
//!
//! What this crate is not: an API of its own. Spans are made with [`opentelemetry`] or `tracing`.
//! The OpenTelemetry crates keep their state in globals, so two versions of them in one program do
//! not see each other; use the ones that are re-exported here.

#[cfg(feature = "lapin")]
pub mod amqp;
pub mod grpc;
#[cfg(feature = "rdkafka")]
pub mod kafka;
#[cfg(any(feature = "async-nats", feature = "lapin", feature = "rdkafka"))]
pub mod messaging;
#[cfg(feature = "async-nats")]
pub mod nats;
pub mod process;
#[cfg(feature = "redis")]
pub mod redis;
#[cfg(feature = "reqwest")]
pub mod reqwest;
#[cfg(feature = "sqlx")]
pub mod sqlx;
pub mod task;
#[cfg(feature = "testing")]
pub mod testing;
pub mod tower;

mod bridge;
mod builder;
#[cfg(any(feature = "redis", feature = "sqlx"))]
mod db;
mod error;
mod export;
mod guard;
mod http;
mod log;
mod metrics;
mod panic;
mod percent;
mod preset;
mod propagator;
mod resource;
mod sampler;
mod settings;
mod trace;

pub use builder::Builder;
pub use error::Error;
pub use guard::Guard;
pub use log::LogFormat;
pub use opentelemetry;
pub use opentelemetry_sdk;
pub use trace::{Span, Tracer, TracerProvider};

/// Starts tracing as the environment says. Keep the guard until the end of `main`.
///
/// # Errors
///
/// As for [`Builder::init`].
pub fn init() -> Result<Guard, Error> {
    builder().init()
}

/// Starts with the defaults of [`init`], to be changed before [`Builder::init`].
pub fn builder() -> Builder {
    Builder::default()
}

/// For a person in front of a terminal: readable log lines, every trace, and spans on standard
/// output until `OTEL_EXPORTER_OTLP_ENDPOINT` names a collector. What exactly is set stands in a
/// table at [`Builder`].
///
/// ```no_run
/// let _tracing = spanloom::development().service_name("shop").init()?;
/// # Ok::<(), spanloom::Error>(())
/// ```
pub fn development() -> Builder {
    Builder::with_preset(preset::Preset::DEVELOPMENT)
}

/// For a container below a sidecar: JSON log lines, the caller's sampling decision, short batches
/// and bounded texts. What exactly is set stands in a table at [`Builder`].
///
/// ```no_run
/// let _tracing = spanloom::production().service_name("shop").init()?;
/// # Ok::<(), spanloom::Error>(())
/// ```
pub fn production() -> Builder {
    Builder::with_preset(preset::Preset::PRODUCTION)
}
