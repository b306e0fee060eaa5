//! From ended spans to the collector: a bounded queue, and one thread that empties it.

mod console;
mod limit;
mod otlp;
mod queue;
mod thread;
mod tls;

pub(crate) use console::{Console, Nowhere};
pub(crate) use otlp::exporter;
pub(crate) use thread::{Beside, ExportThread};
