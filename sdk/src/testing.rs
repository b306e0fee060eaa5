//! A kit for tests of traced programs: places for spans, and a picture of a trace.
//!
//! [`Sink`] takes spans inside the process, [`FakeCollector`] over real sockets. Both draw what
//! they got as a [tree](Sink::tree) without ids and times, to be compared with a text:
//!
//! ```
//! use opentelemetry::trace::{Tracer, TracerProvider};
//! use spanloom::{opentelemetry, testing::Sink};
//!
//! let sink = Sink::default();
//! let tracing = spanloom::builder().environment(|_| None).exporter(sink.clone()).start()?;
//!
//! let tracer = tracing.tracer_provider().tracer("docs");
//! tracer.in_span("bake", |_| tracer.in_span("knead", |_| ()));
//!
//! tracing.flush()?;
//! assert_eq!(sink.tree(&[]), "INTERNAL bake\n  INTERNAL knead\n");
//! # Ok::<(), spanloom::Error>(())
//! ```

mod collector;
mod sink;
mod tree;

pub use collector::{FakeCollector, Received};
pub use sink::Sink;
