//! A trace as Jaeger's UI reads it, written straight from views of the stored bytes.
//!
//! The rules are those of the OpenTelemetry collector's Jaeger translator followed by Jaeger's
//! `uimodel` converter: what OTLP keeps in fields becomes tags, parents and links become references,
//! events become logs, resources become processes. Jaeger's `flags` are left out, as there: bit 1
//! means "debug" in Jaeger and "random trace id" in OTLP.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use spanloom_storage::Trace;
use spanloom_wire::otlp::{
    Attributes, DEPTH_MAX, KeyValue, Link, Resource, Scope, Span, SpanInContext, StatusCode,
    TracesView, Value,
};
use spanloom_wire::{SpanId, Timestamp, TraceId};

use crate::json::JsonWriter;
use crate::trace::{Distinct, service_name};

/// Appends one object of `data`. Unless `raw`, attributes are sorted and a span that stands twice
/// with the same content is written once.
pub(super) fn write_trace(json: &mut JsonWriter, trace: &Trace, raw: bool) {
    let mut processes = Processes::default();
    let mut distinct = Distinct::default();
    json.begin_object();
    json.key("traceID");
    trace_id(json, trace.id);
    json.key("spans");
    json.begin_array();
    for span in TracesView::new(&trace.traces_data).spans() {
        if raw || distinct.insert(&span) {
            write_span(json, &span, trace.id, processes.number(span.resource), raw);
        }
    }
    json.end_array();
    json.key("processes");
    json.begin_object();
    for (resource, number) in processes.resources.iter().zip(1..) {
        json.key(&process_id(number));
        json.begin_object();
        json.key("serviceName");
        json.string(service_name(*resource));
        json.key("tags");
        json.begin_array();
        let tags = resource
            .attributes()
            .filter(|tag| tag.key != "service.name");
        attributes(json, tags, raw);
        json.end_array();
        json.end_object();
    }
    json.end_object();
    json.key("warnings");
    json.null();
    json.end_object();
}

/// A trace id as Jaeger prints it: 16 digits where the upper half is zero, else 32.
pub(super) fn trace_id(json: &mut JsonWriter, id: TraceId) {
    let hex = id.to_string();
    json.string(hex.strip_prefix("0000000000000000").unwrap_or(&hex));
}

/// Resources by content, numbered in the order of their first span.
#[derive(Default)]
struct Processes<'a> {
    numbers: HashMap<&'a [u8], usize>,
    resources: Vec<Resource<'a>>,
}

impl<'a> Processes<'a> {
    fn number(&mut self, resource: Resource<'a>) -> usize {
        *self.numbers.entry(resource.as_bytes()).or_insert_with(|| {
            self.resources.push(resource);
            self.resources.len()
        })
    }
}

fn process_id(number: usize) -> String {
    format!("p{number}")
}

fn write_span(
    json: &mut JsonWriter,
    SpanInContext { scope, span, .. }: &SpanInContext<'_>,
    id: TraceId,
    process_number: usize,
    raw: bool,
) {
    json.begin_object();
    json.key("traceID");
    trace_id(json, id);
    json.key("spanID");
    span_id(json, span.span_id);
    json.key("operationName");
    json.string(span.name);
    json.key("references");
    references(json, span, id);
    json.key("startTime");
    json.unsigned(span.start.as_micros());
    json.key("duration");
    json.unsigned(Timestamp::from_nanos(span.end.since(span.start).as_nanos() as u64).as_micros());
    json.key("tags");
    json.begin_array();
    tags(json, span, *scope, raw);
    json.end_array();
    json.key("logs");
    logs(json, span, raw);
    json.key("processID");
    json.string(&process_id(process_number));
    json.key("warnings");
    json.null();
    json.end_object();
}

/// The parent first, since that is where backends look for it, then the links. A link to the parent
/// says what kind of parent it is.
fn references(json: &mut JsonWriter, span: &Span<'_>, id: TraceId) {
    let is_parent = |link: &Link<'_>| {
        link.trace_id == Some(id) && link.span_id.is_some() && link.span_id == span.parent_span_id
    };
    json.begin_array();
    if let Some(parent) = span.parent_span_id {
        let link = span.links().filter(is_parent).last();
        let ref_type = link.map_or("CHILD_OF", |link| ref_type(&link));
        reference(json, ref_type, id, parent);
    }
    for link in span.links().filter(|link| !is_parent(link)) {
        // A link that points nowhere has no place in Jaeger's model.
        if let (Some(trace_id), Some(span_id)) = (link.trace_id, link.span_id) {
            reference(json, ref_type(&link), trace_id, span_id);
        }
    }
    json.end_array();
}

fn ref_type(link: &Link<'_>) -> &'static str {
    match link.attributes().get("opentracing.ref_type") {
        Some(Value::Str("child_of")) => "CHILD_OF",
        _ => "FOLLOWS_FROM",
    }
}

fn reference(json: &mut JsonWriter, ref_type: &str, in_trace: TraceId, to_span: SpanId) {
    json.begin_object();
    json.key("refType");
    json.string(ref_type);
    json.key("traceID");
    trace_id(json, in_trace);
    json.key("spanID");
    span_id(json, Some(to_span));
    json.end_object();
}

fn span_id(json: &mut JsonWriter, id: Option<SpanId>) {
    json.string(&id.map(|id| id.to_string()).unwrap_or_default());
}

fn tags(json: &mut JsonWriter, span: &Span<'_>, scope: Scope<'_>, raw: bool) {
    optional_tag(json, "otel.scope.name", scope.name);
    optional_tag(json, "otel.scope.version", scope.version);
    attributes(json, span.attributes(), raw);
    optional_tag(json, "span.kind", span.kind.name());
    match span.status_code {
        StatusCode::Unset => {}
        StatusCode::Ok => optional_tag(json, "otel.status_code", "OK"),
        StatusCode::Error => {
            optional_tag(json, "otel.status_code", "ERROR");
            tag(json, "error", &Value::Bool(true));
        }
    }
    optional_tag(json, "otel.status_description", span.status_message);
    optional_tag(json, "w3c.tracestate", span.trace_state);
}

fn logs(json: &mut JsonWriter, span: &Span<'_>, raw: bool) {
    json.begin_array();
    for event in span.events() {
        json.begin_object();
        json.key("timestamp");
        json.unsigned(event.time.as_micros());
        json.key("fields");
        json.begin_array();
        if event.attributes().get("event").is_none() {
            optional_tag(json, "event", event.name);
        }
        attributes(json, event.attributes(), raw);
        json.end_array();
        json.end_object();
    }
    json.end_array();
}

fn attributes<'a>(json: &mut JsonWriter, tags: impl Iterator<Item = KeyValue<'a>>, raw: bool) {
    if raw {
        tags.for_each(|attribute| tag(json, attribute.key, &attribute.value));
        return;
    }
    let mut sorted: Vec<KeyValue<'_>> = tags.collect();
    sorted.sort_by_key(|attribute| attribute.key);
    for attribute in &sorted {
        tag(json, attribute.key, &attribute.value);
    }
}

fn optional_tag(json: &mut JsonWriter, key: &str, text: &str) {
    if !text.is_empty() {
        tag(json, key, &Value::Str(text));
    }
}

fn tag(json: &mut JsonWriter, key: &str, value: &Value<'_>) {
    let type_name = match value {
        Value::Bool(_) => "bool",
        Value::Int(_) => "int64",
        Value::Double(_) => "float64",
        Value::Bytes(_) => "binary",
        Value::Str(_) | Value::Empty | Value::Array(_) | Value::Map(_) => "string",
    };
    json.begin_object();
    json.key("key");
    json.string(key);
    json.key("type");
    json.string(type_name);
    json.key("value");
    match value {
        Value::Empty => json.string(""),
        Value::Array(_) | Value::Map(_) => json.string(&value_as_json(value)),
        _ => plain_value(json, value, 0),
    }
    json.end_object();
}

/// A value as the text of its JSON form, as Jaeger keeps lists and maps.
pub(crate) fn value_as_json(value: &Value<'_>) -> String {
    let mut json = JsonWriter::new(false);
    plain_value(&mut json, value, 0);
    String::from_utf8(json.take()).expect("JSON of text is text")
}

/// The recursion ends at the depth that validation allows, whatever the bytes say.
fn plain_value(json: &mut JsonWriter, value: &Value<'_>, depth: usize) {
    match value {
        Value::Empty => json.null(),
        Value::Str(text) => json.string(text),
        Value::Bool(value) => json.bool(*value),
        Value::Int(number) => json.integer(*number),
        Value::Double(number) => json.double(*number),
        Value::Bytes(bytes) => json.string(&STANDARD.encode(bytes)),
        Value::Array(_) | Value::Map(_) if depth >= DEPTH_MAX => json.null(),
        Value::Array(values) => {
            json.begin_array();
            values
                .clone()
                .for_each(|value| plain_value(json, &value, depth + 1));
            json.end_array();
        }
        Value::Map(pairs) => map(json, pairs.clone(), depth),
    }
}

fn map(json: &mut JsonWriter, pairs: Attributes<'_>, depth: usize) {
    json.begin_object();
    for pair in pairs {
        json.key(pair.key);
        plain_value(json, &pair.value, depth + 1);
    }
    json.end_object();
}

#[cfg(test)]
mod tests {
    use spanloom_wire::otlp::{TracesWriter, WriteValue};

    use super::*;

    /// Lists in lists, this many levels of them.
    struct Nested(usize);

    impl WriteValue for Nested {
        fn write(self, out: &mut Vec<u8>) {
            let mut value = Vec::new();
            for _ in 0..self.0 {
                let mut list = Vec::new();
                for message in [0x0a, 0x2a] {
                    list.clear();
                    list.push(message);
                    spanloom_wire::otlp::put_varint(&mut list, value.len() as u64);
                    list.append(&mut value);
                    std::mem::swap(&mut list, &mut value);
                }
            }
            out.extend_from_slice(&value);
        }
    }

    #[test]
    fn values_are_followed_to_the_depth_that_validation_allows() {
        let mut bytes = Vec::new();
        TracesWriter::new(&mut bytes).resource_spans(|resource_spans| {
            resource_spans.resource(|resource| resource.attribute("deep", Nested(2_000)));
            resource_spans.scope_spans(|scope_spans| scope_spans.span(|_| {}));
        });
        let span = TracesView::new(&bytes).spans().next().unwrap();
        let text = value_as_json(&span.resource.attributes().get("deep").unwrap());
        assert_eq!(
            text,
            format!("{}null{}", "[".repeat(DEPTH_MAX), "]".repeat(DEPTH_MAX))
        );
    }
}
