//! `OTEL_TRACES_EXPORTER=console`: one line a span, for a first look without a collector. And
//! `none`.

use std::io::{self, Write};

use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{SpanData, SpanExporter};

/// Writes spans to standard output.
#[derive(Debug)]
pub(crate) struct Console;

impl SpanExporter for Console {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        write(&mut io::stdout().lock(), &batch)
            .map_err(|error| OTelSdkError::InternalFailure(error.to_string()))
    }
}

/// Throws spans away.
#[derive(Debug)]
pub(crate) struct Nowhere;

impl SpanExporter for Nowhere {
    async fn export(&self, _batch: Vec<SpanData>) -> OTelSdkResult {
        Ok(())
    }
}

fn write(out: &mut impl Write, batch: &[SpanData]) -> io::Result<()> {
    for span in batch {
        let context = &span.span_context;
        let took = span
            .end_time
            .duration_since(span.start_time)
            .unwrap_or_default();
        writeln!(
            out,
            "span {:?} {:?} took={took:?} trace_id={} span_id={} parent_id={} status={:?}",
            span.span_kind,
            span.name,
            context.trace_id(),
            context.span_id(),
            span.parent_span_id,
            span.status,
        )?;
    }
    out.flush()
}
