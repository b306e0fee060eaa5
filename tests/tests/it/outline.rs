//! The spans that arrived at a sink, as a text that a test can compare.

use spanloom_tests::lab::Sink;
use spanloom_wire::Timestamp;
use spanloom_wire::otlp::{SpanKind, TracesView, Value};

/// A span as far as these tests look at it.
struct Seen {
    start: Timestamp,
    id: String,
    parent: Option<String>,
    /// Service, SDK, kind and name.
    line: String,
}

fn seen(sink: &Sink) -> Vec<Seen> {
    let mut spans = Vec::new();
    for request in sink.requests() {
        for one in TracesView::new(&request).spans() {
            let kind = match one.span.kind {
                SpanKind::Server => "SERVER",
                SpanKind::Client => "CLIENT",
                SpanKind::Producer => "PRODUCER",
                SpanKind::Consumer => "CONSUMER",
                _ => "INTERNAL",
            };
            let service = one.resource.service_name().unwrap_or_default();
            let sdk = one.resource.attributes().find_map(|pair| match pair.value {
                Value::Str(name) if pair.key == "telemetry.sdk.name" => Some(name),
                _ => None,
            });
            let sdk = sdk.unwrap_or_default();
            spans.push(Seen {
                start: one.span.start,
                id: one
                    .span
                    .span_id
                    .map(|id| id.to_string())
                    .unwrap_or_default(),
                parent: one.span.parent_span_id.map(|id| id.to_string()),
                line: format!("{service} {sdk} {kind} {}", one.span.name),
            });
        }
    }
    spans.sort_by_key(|span| span.start);
    spans
}

/// The spans below a caller's, or those of whole traces: a line each by their start, children
/// indented.
pub(crate) fn outline(sink: &Sink, caller: Option<&str>) -> String {
    fn add(spans: &[Seen], parent: Option<&str>, depth: usize, lines: &mut String) {
        for span in spans.iter().filter(|span| span.parent.as_deref() == parent) {
            lines.push_str(&format!("{:1$}{2}\n", "", 2 * depth, span.line));
            add(spans, Some(&span.id), depth + 1, lines);
        }
    }
    let mut lines = String::new();
    add(&seen(sink), caller, 0, &mut lines);
    lines
}
