//! Spans lost at 100,000 spans a second, with default settings, over OTLP/gRPC to a collector in
//! the same process, which decodes all of them on the same cores.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;
use opentelemetry::trace::{Tracer, TracerProvider};
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::trace::SdkTracerProvider;
use spanloom::testing::FakeCollector;

use crate::Figure;

const SPANS_PER_SECOND: u64 = 100_000;
const N_SPANS: u64 = 300_000;
const BURST_SPANS_MAX: u64 = 500;

pub(crate) fn measure() -> Result<Vec<Figure>> {
    Ok(vec![ours()?, upstreams()?])
}

fn ours() -> Result<Figure> {
    let collector = FakeCollector::start()?;
    let endpoint = collector.grpc_endpoint();
    let lookup = move |name: &str| match name {
        "OTEL_EXPORTER_OTLP_ENDPOINT" => Some(endpoint.clone()),
        "OTEL_EXPORTER_OTLP_PROTOCOL" => Some("grpc".to_owned()),
        _ => None,
    };
    let guard = spanloom::builder().environment(lookup).start()?;
    let per_second = load(&guard.tracer_provider().tracer("b"));
    guard.shutdown()?;
    Ok(figure("spanloom", per_second, &collector, Some(0.0)))
}

/// The baseline: upstream's processor and exporter, on a runtime that keeps clear of the load.
fn upstreams() -> Result<Figure> {
    let collector = FakeCollector::start()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let inside = runtime.enter();
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(collector.grpc_endpoint())
        .build()?;
    drop(inside);
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .build();
    let per_second = load(&provider.tracer("b"));
    provider.shutdown()?;
    Ok(figure("opentelemetry", per_second, &collector, None))
}

fn figure(
    system: &str,
    per_second: f64,
    collector: &FakeCollector,
    at_most: Option<f64>,
) -> Figure {
    Figure {
        name: format!("{system}: lost of {N_SPANS} at {per_second:.0} spans/s, OTLP/gRPC"),
        value: (N_SPANS - collector.n_spans() as u64) as f64,
        unit: "spans",
        at_most,
    }
}

/// Makes the spans, and returns how many a second it was in the end.
fn load<T: Tracer>(tracer: &T) -> f64 {
    let start = Instant::now();
    let mut n_made = 0;
    while n_made < N_SPANS {
        let due = start.elapsed().as_micros() as u64 * SPANS_PER_SECOND / 1_000_000;
        // What a busy machine kept us from making is not made up for all at once: that would be
        // another load than the one in the name.
        let due = due.min(n_made + BURST_SPANS_MAX).min(N_SPANS);
        for _ in n_made..due {
            drop(tracer.start("child"));
        }
        n_made = n_made.max(due);
        pause();
    }
    N_SPANS as f64 / start.elapsed().as_secs_f64()
}

#[expect(
    clippy::disallowed_methods,
    reason = "the pace of the load is a time, not a state"
)]
fn pause() {
    sleep(Duration::from_millis(1));
}
