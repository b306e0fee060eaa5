//! From ended spans to the collector: a bounded queue, and one thread that empties it.

mod batch;
mod otlp;

pub(crate) use batch::BatchProcessor;
pub(crate) use otlp::exporter;
