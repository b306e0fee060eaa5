//! What travels through a mesh, and nothing else: ids, trace context, baggage, what samplers write
//! into it, and OTLP spans as bytes.
//!
//! This crate builds for `wasm32-wasip1` and for native targets. It has no dependencies, does no
//! I/O, reads no clock and draws no random numbers: callers bring those. Nothing in it panics on
//! foreign input.
//!
//! ```
//! use spanloom_wire::otlp::{SpanKind, TracesView, TracesWriter, validate};
//! use spanloom_wire::{SpanId, Timestamp, TraceId};
//!
//! let mut request = Vec::new();
//! TracesWriter::new(&mut request).resource_spans(|resource_spans| {
//!     resource_spans.resource(|resource| resource.attribute("service.name", "cart"));
//!     resource_spans.scope_spans(|scope_spans| {
//!         scope_spans.span(|span| {
//!             span.trace_id(TraceId::from_bytes([1; 16]).unwrap());
//!             span.span_id(SpanId::from_bytes([2; 8]).unwrap());
//!             span.name("GET /cart/{id}");
//!             span.kind(SpanKind::Server);
//!             span.start(Timestamp::from_nanos(1));
//!             span.end(Timestamp::from_nanos(2));
//!         });
//!     });
//! });
//!
//! assert_eq!(validate(&request).unwrap().n_spans, 1);
//! let span = TracesView::new(&request).spans().next().unwrap().span;
//! assert_eq!(span.name, "GET /cart/{id}");
//! ```

// The filter runs this inside Envoy, where a panic takes a worker's whole VM down.
#![cfg_attr(
    not(test),
    warn(
        clippy::indexing_slicing,
        clippy::panic,
        clippy::expect_used,
        clippy::unreachable
    )
)]

pub mod baggage;
pub mod context;
pub mod otlp;
pub mod sampling;

mod id;
mod percent;
mod time;

pub use id::{InvalidId, SpanId, TraceId};
pub use time::Timestamp;
