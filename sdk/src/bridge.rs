//! From `tracing` spans to OpenTelemetry spans, for `#[instrument]` and for libraries that use it.
//!
//! The bridge costs several times what a span of the OpenTelemetry API costs, and it has traps, which
//! the crate's documentation lists.

use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;

use crate::trace::Tracer;

/// Transports that describe themselves in `tracing` spans, frame by frame. Their connections
/// outlive requests and belong to none.
const QUIET: [&str; 6] = [
    "h2",
    "hyper",
    "hyper_util",
    "tonic",
    "tower",
    "opentelemetry",
];

pub(crate) fn layer<S>(tracer: Tracer) -> impl Layer<S> + Send + Sync
where
    S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
{
    tracing_opentelemetry::layer()
        .with_tracer(tracer)
        .with_filter(filter_fn(is_wanted))
}

fn is_wanted(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target();
    let root = target.split("::").next().unwrap_or(target);
    *metadata.level() <= Level::INFO && !QUIET.contains(&root)
}
