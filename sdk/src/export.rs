//! From ended spans to the collector: a bounded queue, and one thread that empties it.

mod batch;
mod console;
mod limit;
mod otlp;
mod tls;

pub(crate) use batch::BatchProcessor;
pub(crate) use console::Console;
pub(crate) use otlp::exporter;
