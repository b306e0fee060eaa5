//! The `debug` exporter: writes spans to the log, in three lengths.

use std::fmt::Write;

use async_trait::async_trait;
use spanloom_wire::otlp::{Attributes, Span, SpanInContext, TracesView, Value};

use crate::pipeline::{Batch, Exporter};
use crate::reason::Failure;

/// No batch writes much more than this: a large one would bury the log.
const DETAILS_BYTES_MAX: usize = 256 << 10;

/// How much is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verbosity {
    /// One line a batch: how many spans.
    #[default]
    Basic,
    /// One line a span.
    Normal,
    /// Every field.
    Detailed,
}

/// Writes batches to the log.
pub struct DebugExporter {
    id: String,
    verbosity: Verbosity,
}

impl DebugExporter {
    /// An exporter that names itself `id` in its lines.
    pub const fn new(id: String, verbosity: Verbosity) -> Self {
        Self { id, verbosity }
    }
}

#[async_trait]
impl Exporter for DebugExporter {
    async fn export(&self, batch: &Batch) -> Result<u64, Failure> {
        let n_resources = TracesView::new(&batch.request).resource_spans().count();
        let details = match self.verbosity {
            Verbosity::Basic => String::new(),
            Verbosity::Normal => lines(&batch.request),
            Verbosity::Detailed => everything(&batch.request),
        };
        tracing::info!(
            exporter = self.id,
            n_resources,
            n_spans = batch.n_spans,
            "traces{details}"
        );
        Ok(0)
    }
}

/// A line a span: service, name, ids, duration, attributes. Foreign text is quoted and escaped, so
/// that a span cannot forge a line of the log.
fn lines(request: &[u8]) -> String {
    let mut out = String::new();
    for SpanInContext { resource, span, .. } in TracesView::new(request).spans() {
        if is_full(&mut out) {
            break;
        }
        let service = resource.service_name().unwrap_or_default();
        let _ = write!(out, "\n{service:?} {:?} {}", span.name, id(span.trace_id));
        let _ = write!(
            out,
            " {} {:?}",
            id(span.span_id),
            span.end.since(span.start)
        );
        for attribute in span.attributes() {
            let _ = write!(out, " {:?}={}", attribute.key, shown(attribute.value));
        }
    }
    out
}

/// Every field of every span, a line each.
fn everything(request: &[u8]) -> String {
    let mut out = String::new();
    for group in TracesView::new(request).resource_spans() {
        out.push_str("\nresource");
        attributes(&mut out, 1, group.resource().attributes());
        for group in group.scope_spans() {
            let scope = group.scope();
            let _ = write!(out, "\n  scope {:?} {:?}", scope.name, scope.version);
            attributes(&mut out, 2, scope.attributes());
            for span in group.spans() {
                if is_full(&mut out) {
                    return out;
                }
                whole_span(&mut out, &span);
            }
        }
    }
    out
}

/// Whether a batch has said enough; the rest of it is left out, and that is said.
fn is_full(out: &mut String) -> bool {
    let is_full = out.len() > DETAILS_BYTES_MAX;
    if is_full {
        out.push_str("\n(more spans are left out)");
    }
    is_full
}

fn whole_span(out: &mut String, span: &Span<'_>) {
    let _ = write!(out, "\n    span {:?} ({:?})", span.name, span.kind);
    let _ = write!(
        out,
        "\n      trace {} span {}",
        id(span.trace_id),
        id(span.span_id)
    );
    let _ = write!(
        out,
        " parent {} flags {:#x}",
        id(span.parent_span_id),
        span.flags
    );
    let _ = write!(
        out,
        "\n      start {} end {}",
        span.start.as_nanos(),
        span.end.as_nanos()
    );
    let _ = write!(
        out,
        "\n      status {:?} {:?}",
        span.status_code, span.status_message
    );
    attributes(out, 3, span.attributes());
    for event in span.events() {
        let _ = write!(
            out,
            "\n      event {:?} at {}",
            event.name,
            event.time.as_nanos()
        );
        attributes(out, 4, event.attributes());
    }
    for link in span.links() {
        let _ = write!(
            out,
            "\n      link {} {}",
            id(link.trace_id),
            id(link.span_id)
        );
        attributes(out, 4, link.attributes());
    }
}

fn attributes(out: &mut String, depth: usize, attributes: Attributes<'_>) {
    for attribute in attributes {
        let _ = write!(out, "\n{:1$}", "", 2 * depth);
        let _ = write!(out, "{:?} = {}", attribute.key, shown(attribute.value));
    }
}

fn id(id: Option<impl std::fmt::Display>) -> String {
    id.map_or_else(|| "-".to_owned(), |id| id.to_string())
}

/// A value for people. Nesting is bounded by the validator's
/// [`DEPTH_MAX`](spanloom_wire::otlp::DEPTH_MAX).
fn shown(value: Value<'_>) -> String {
    match value {
        Value::Empty => "-".to_owned(),
        Value::Str(text) => format!("{text:?}"),
        Value::Bool(truth) => truth.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Double(number) => number.to_string(),
        Value::Bytes(bytes) => format!("{} bytes", bytes.len()),
        Value::Array(values) => {
            format!("[{}]", values.map(shown).collect::<Vec<_>>().join(", "))
        }
        Value::Map(pairs) => {
            let pairs = pairs.map(|pair| format!("{:?}: {}", pair.key, shown(pair.value)));
            format!("{{{}}}", pairs.collect::<Vec<_>>().join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use spanloom_wire::otlp::{SpanKind, StatusCode, TracesWriter};
    use spanloom_wire::{SpanId, Timestamp, TraceId};

    use super::*;

    fn request() -> Vec<u8> {
        let mut request = Vec::new();
        TracesWriter::new(&mut request).resource_spans(|group| {
            group.resource(|resource| resource.attribute("service.name", "cart"));
            group.scope_spans(|group| {
                group.scope("filter", "0.1");
                group.span(|span| {
                    span.trace_id(TraceId::from_bytes([1; 16]).unwrap());
                    span.span_id(SpanId::from_bytes([2; 8]).unwrap());
                    span.name("GET /cart\nforged");
                    span.kind(SpanKind::Server);
                    span.start(Timestamp::from_nanos(1_000));
                    span.end(Timestamp::from_nanos(2_500_000));
                    span.status(StatusCode::Error, "boom");
                    span.event(Timestamp::from_nanos(1_500), "retry", |attributes| {
                        attributes.attribute("n", 1_i64);
                    });
                    let other = SpanId::from_bytes([3; 8]).unwrap();
                    span.link(TraceId::from_bytes([1; 16]).unwrap(), other, |_| {});
                    span.attributes(|attributes| {
                        attributes.attribute("http.status", 500_i64);
                        attributes.attribute("tags", &["a\nb", "c"][..]);
                        attributes.attribute("raw", &b"\x00"[..]);
                    });
                });
            });
        });
        request
    }

    #[test]
    fn a_line_a_span() {
        assert_snapshot!(lines(&request()));
    }

    #[test]
    fn every_field() {
        assert_snapshot!(everything(&request()));
    }
}
