//! Views, writer and validator against `prost`, which decodes and encodes whole structs.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1 as common;
use opentelemetry_proto::tonic::common::v1::any_value::Value as ProstValue;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1 as trace;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use prost::Message;
use spanloom_wire::otlp::{
    Attributes, AttributesWriter, DEPTH_MAX, InvalidOtlp, SpanKind, SpanWriter, StatusCode,
    TracesView, TracesWriter, Value, validate,
};
use spanloom_wire::{InvalidId, SpanId, Timestamp, TraceId};

use crate::requests::{request, writable_request};

proptest! {
    #[test]
    fn views_show_what_prost_encoded(request in request()) {
        let bytes = request.encode_to_vec();
        let n_spans = spans(&request).count();
        prop_assert_eq!(validate(&bytes).map(|summary| summary.n_spans), Ok(n_spans));
        // Bytes, not structs: NaN is not equal to itself.
        prop_assert_eq!(seen_by_views(&bytes).encode_to_vec(), shown(request).encode_to_vec());
        prop_assert_eq!(TracesView::new(&bytes).spans().count(), n_spans);
    }

    #[test]
    fn prost_decodes_what_the_writer_wrote(request in writable_request()) {
        let bytes = written(&request);
        let decoded = ExportTraceServiceRequest::decode(&bytes[..]).unwrap();
        prop_assert_eq!(shown(decoded).encode_to_vec(), shown(request).encode_to_vec());
        prop_assert!(validate(&bytes).is_ok());
    }

    #[test]
    fn requests_concatenate(first in request(), second in request()) {
        let mut bytes = first.encode_to_vec();
        second.encode(&mut bytes).unwrap();
        let mut both = first;
        both.resource_spans.extend(second.resource_spans);
        prop_assert_eq!(validate(&bytes).unwrap().n_spans, spans(&both).count());
        prop_assert_eq!(seen_by_views(&bytes).encode_to_vec(), shown(both).encode_to_vec());
    }

    #[test]
    fn a_damaged_request_is_judged_as_prost_judges_it(
        request in request(),
        damage in vec((any::<Index>(), any::<u8>(), 0..3), 1..4),
    ) {
        let mut bytes = request.encode_to_vec();
        bytes.truncate(2048);
        for (at, byte, how) in damage {
            let at = at.index(bytes.len() + 1);
            match how {
                0 => bytes.insert(at, byte),
                _ if at == bytes.len() => {}
                1 => bytes[at] = byte,
                _ => drop(bytes.remove(at)),
            }
        }
        check_judgement(&bytes)?;
    }

    #[test]
    fn arbitrary_bytes_are_judged_as_prost_judges_them(bytes in vec(any::<u8>(), 0..256)) {
        check_judgement(&bytes)?;
    }
}

proptest! {
    // Each case is thousands of requests.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_request_cut_anywhere_is_judged_as_prost_judges_it(request in request()) {
        let bytes = request.encode_to_vec();
        // Long requests hold long texts: there every 97th place will do.
        let step = if bytes.len() > 4096 { 97 } else { 1 };
        for end in (0..bytes.len()).step_by(step) {
            let cut = &bytes[..end];
            seen_by_views(cut);
            prop_assert_eq!(
                validate(cut).is_ok(), ExportTraceServiceRequest::decode(cut).is_ok(), "cut at {}", end,
            );
        }
    }
}

/// The same verdict as `prost`, but for what the documentation of [`validate`] names.
fn check_judgement(bytes: &[u8]) -> Result<(), TestCaseError> {
    seen_by_views(bytes);
    let prost = ExportTraceServiceRequest::decode(bytes);
    match validate(bytes) {
        Ok(summary) => {
            let request = prost.map_err(|why| TestCaseError::fail(format!("prost: {why}")))?;
            prop_assert_eq!(summary.n_spans, spans(&request).count());
        }
        Err(
            InvalidOtlp::TraceId(_)
            | InvalidOtlp::SpanId(_)
            | InvalidOtlp::ParentSpanId
            | InvalidOtlp::Depth
            | InvalidOtlp::Group,
        ) => {}
        Err(why) => prop_assert!(prost.is_err(), "prost accepts what has {}", why),
    }
    Ok(())
}

#[test]
fn values_nest_to_the_bound_and_libraries_still_read_them() {
    let request = |n_levels| {
        let mut value = common::AnyValue {
            value: Some(ProstValue::BoolValue(true)),
        };
        for _ in 1..n_levels {
            let values = vec![common::KeyValue {
                value: Some(value),
                ..Default::default()
            }];
            value = common::AnyValue {
                value: Some(ProstValue::KvlistValue(common::KeyValueList { values })),
            };
        }
        // An event's attribute is the deepest place for a value.
        let attribute = common::KeyValue {
            value: Some(value),
            ..Default::default()
        };
        let event = trace::span::Event {
            attributes: vec![attribute],
            ..Default::default()
        };
        let span = trace::Span {
            trace_id: vec![1; 16],
            span_id: vec![1; 8],
            events: vec![event],
            ..Default::default()
        };
        let scope_spans = vec![trace::ScopeSpans {
            spans: vec![span],
            ..Default::default()
        }];
        let resource_spans = vec![trace::ResourceSpans {
            scope_spans,
            ..Default::default()
        }];
        ExportTraceServiceRequest { resource_spans }.encode_to_vec()
    };
    let deepest = request(DEPTH_MAX);
    assert!(validate(&deepest).is_ok());
    assert!(ExportTraceServiceRequest::decode(&deepest[..]).is_ok());
    assert_eq!(validate(&request(DEPTH_MAX + 1)), Err(InvalidOtlp::Depth));
}

#[test]
fn numbers_of_more_than_64_bits_are_refused() {
    // Field 100, unknown to everyone, with a varint of ten bytes.
    let number = |last| [&[0xa0, 0x06][..], &[0xff; 9], &[last]].concat();
    assert!(validate(&number(0x01)).is_ok());
    assert_eq!(validate(&number(0x02)), Err(InvalidOtlp::Varint));
    assert_eq!(validate(&number(0x81)), Err(InvalidOtlp::Varint));
}

#[test]
fn each_fault_has_its_name() {
    let request = |change: fn(&mut trace::Span)| {
        let mut span = trace::Span {
            trace_id: vec![1; 16],
            span_id: vec![1; 8],
            ..Default::default()
        };
        change(&mut span);
        let scope_spans = vec![trace::ScopeSpans {
            spans: vec![span],
            ..Default::default()
        }];
        let resource_spans = vec![trace::ResourceSpans {
            scope_spans,
            ..Default::default()
        }];
        ExportTraceServiceRequest { resource_spans }.encode_to_vec()
    };
    let fault = |change| validate(&request(change)).err();
    assert_eq!(fault(|_| {}), None);
    assert_eq!(
        fault(|span| span.parent_span_id = vec![0; 8]),
        None,
        "zeros say: a root"
    );
    let trace_id = |why| Some(InvalidOtlp::TraceId(why));
    assert_eq!(
        fault(|span| span.trace_id.clear()),
        trace_id(InvalidId::Length)
    );
    assert_eq!(
        fault(|span| span.trace_id.truncate(8)),
        trace_id(InvalidId::Length)
    );
    assert_eq!(
        fault(|span| span.trace_id.fill(0)),
        trace_id(InvalidId::Zero)
    );
    let span_id = |why| Some(InvalidOtlp::SpanId(why));
    assert_eq!(
        fault(|span| span.span_id.clear()),
        span_id(InvalidId::Length)
    );
    assert_eq!(
        fault(|span| span.span_id.push(1)),
        span_id(InvalidId::Length)
    );
    assert_eq!(fault(|span| span.span_id.fill(0)), span_id(InvalidId::Zero));
    let parent = Some(InvalidOtlp::ParentSpanId);
    assert_eq!(fault(|span| span.parent_span_id = vec![1; 16]), parent);

    let mut not_utf8 = request(|span| span.name = "name".to_owned());
    let at = not_utf8
        .windows(4)
        .position(|text| text == b"name")
        .unwrap();
    not_utf8[at] = 0xff;
    assert_eq!(validate(&not_utf8), Err(InvalidOtlp::Utf8));
    assert_eq!(validate(&[0x0a, 1]), Err(InvalidOtlp::Truncated));
    assert_eq!(
        validate(&[0x08, 1]),
        Err(InvalidOtlp::WireType),
        "a number for a message"
    );
    assert_eq!(
        validate(&[0x0f]),
        Err(InvalidOtlp::WireType),
        "a wire type of 7"
    );
    assert_eq!(validate(&[0x02, 0]), Err(InvalidOtlp::FieldNumber));
}

#[test]
fn groups_are_refused() {
    let group = [0x0b | 0x10, 0x0c | 0x10];
    assert_eq!(validate(&group), Err(InvalidOtlp::Group));
    assert!(ExportTraceServiceRequest::decode(&group[..]).is_ok());
}

fn spans(request: &ExportTraceServiceRequest) -> impl Iterator<Item = &trace::Span> {
    let scope_spans = request
        .resource_spans
        .iter()
        .flat_map(|group| &group.scope_spans);
    scope_spans.flat_map(|group| &group.spans)
}

/// The request as views can show it: absent and empty messages are one, and so are unknown and
/// unspecified enumerations, and zero ids and none; some counts nobody asks for are not shown.
fn shown(mut request: ExportTraceServiceRequest) -> ExportTraceServiceRequest {
    for resource_spans in &mut request.resource_spans {
        let resource = resource_spans.resource.get_or_insert_default();
        resource.dropped_attributes_count = 0;
        resource.entity_refs.clear();
        shown_attributes(&mut resource.attributes);
        for scope_spans in &mut resource_spans.scope_spans {
            let scope = scope_spans.scope.get_or_insert_default();
            scope.dropped_attributes_count = 0;
            shown_attributes(&mut scope.attributes);
            scope_spans.spans.iter_mut().for_each(shown_span);
        }
    }
    request
}

fn shown_span(span: &mut trace::Span) {
    if span.parent_span_id == [0; 8] {
        span.parent_span_id.clear();
    }
    span.kind = trace::span::SpanKind::try_from(span.kind).map_or(0, i32::from);
    let status = span.status.get_or_insert_default();
    status.code = trace::status::StatusCode::try_from(status.code).map_or(0, i32::from);
    shown_attributes(&mut span.attributes);
    for event in &mut span.events {
        event.dropped_attributes_count = 0;
        shown_attributes(&mut event.attributes);
    }
    for link in &mut span.links {
        link.dropped_attributes_count = 0;
        shown_attributes(&mut link.attributes);
    }
}

fn shown_attributes(attributes: &mut [common::KeyValue]) {
    for attribute in attributes {
        shown_value(attribute.value.get_or_insert_default());
    }
}

fn shown_value(value: &mut common::AnyValue) {
    match &mut value.value {
        Some(ProstValue::ArrayValue(array)) => array.values.iter_mut().for_each(shown_value),
        Some(ProstValue::KvlistValue(map)) => shown_attributes(&mut map.values),
        _ => {}
    }
}

/// Walks everything that views show and builds structs of it.
fn seen_by_views(bytes: &[u8]) -> ExportTraceServiceRequest {
    let resource_spans = TracesView::new(bytes).resource_spans().map(|group| {
        let attributes = seen_attributes(group.resource().attributes());
        let scope_spans = group.scope_spans().map(|group| {
            let scope = group.scope();
            trace::ScopeSpans {
                scope: Some(common::InstrumentationScope {
                    name: scope.name.to_owned(),
                    version: scope.version.to_owned(),
                    attributes: seen_attributes(scope.attributes()),
                    dropped_attributes_count: 0,
                }),
                spans: group.spans().map(|span| seen_span(&span)).collect(),
                schema_url: group.schema_url().to_owned(),
            }
        });
        trace::ResourceSpans {
            resource: Some(Resource {
                attributes,
                ..Default::default()
            }),
            scope_spans: scope_spans.collect(),
            schema_url: group.schema_url().to_owned(),
        }
    });
    ExportTraceServiceRequest {
        resource_spans: resource_spans.collect(),
    }
}

fn seen_span(span: &spanloom_wire::otlp::Span<'_>) -> trace::Span {
    let events = span.events().map(|event| trace::span::Event {
        time_unix_nano: event.time.as_nanos(),
        name: event.name.to_owned(),
        attributes: seen_attributes(event.attributes()),
        dropped_attributes_count: 0,
    });
    let links = span.links().map(|link| trace::span::Link {
        trace_id: trace_id_bytes(link.trace_id),
        span_id: span_id_bytes(link.span_id),
        trace_state: link.trace_state.to_owned(),
        attributes: seen_attributes(link.attributes()),
        dropped_attributes_count: 0,
        flags: link.flags,
    });
    trace::Span {
        trace_id: trace_id_bytes(span.trace_id),
        span_id: span_id_bytes(span.span_id),
        trace_state: span.trace_state.to_owned(),
        parent_span_id: span_id_bytes(span.parent_span_id),
        flags: span.flags,
        name: span.name.to_owned(),
        kind: span.kind.number().into(),
        start_time_unix_nano: span.start.as_nanos(),
        end_time_unix_nano: span.end.as_nanos(),
        attributes: seen_attributes(span.attributes()),
        dropped_attributes_count: span.dropped_attributes_count,
        events: events.collect(),
        dropped_events_count: span.dropped_events_count,
        links: links.collect(),
        dropped_links_count: span.dropped_links_count,
        status: Some(trace::Status {
            message: span.status_message.to_owned(),
            code: span.status_code.number().into(),
        }),
    }
}

fn seen_attributes(attributes: Attributes<'_>) -> Vec<common::KeyValue> {
    attributes
        .map(|attribute| common::KeyValue {
            key: attribute.key.to_owned(),
            value: Some(seen_value(attribute.value)),
            ..Default::default()
        })
        .collect()
}

fn seen_value(value: Value<'_>) -> common::AnyValue {
    let value = match value {
        Value::Empty => None,
        Value::Str(text) => Some(ProstValue::StringValue(text.to_owned())),
        Value::Bool(truth) => Some(ProstValue::BoolValue(truth)),
        Value::Int(number) => Some(ProstValue::IntValue(number)),
        Value::Double(number) => Some(ProstValue::DoubleValue(number)),
        Value::Bytes(bytes) => Some(ProstValue::BytesValue(bytes.to_owned())),
        Value::Array(values) => Some(ProstValue::ArrayValue(common::ArrayValue {
            values: values.map(seen_value).collect(),
        })),
        Value::Map(pairs) => Some(ProstValue::KvlistValue(common::KeyValueList {
            values: seen_attributes(pairs),
        })),
    };
    common::AnyValue { value }
}

fn trace_id_bytes(id: Option<TraceId>) -> Vec<u8> {
    id.map(|id| id.to_bytes().to_vec()).unwrap_or_default()
}

fn span_id_bytes(id: Option<SpanId>) -> Vec<u8> {
    id.map(|id| id.to_bytes().to_vec()).unwrap_or_default()
}

/// The request as the writer writes it.
fn written(request: &ExportTraceServiceRequest) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut traces = TracesWriter::new(&mut bytes);
    for group in &request.resource_spans {
        traces.resource_spans(|out| {
            if let Some(resource) = &group.resource {
                out.resource(|out| write_attributes(out, &resource.attributes));
            }
            for group in &group.scope_spans {
                out.scope_spans(|out| {
                    if let Some(scope) = &group.scope {
                        out.scope_bytes(&scope.encode_to_vec());
                    }
                    for span in &group.spans {
                        out.span(|out| write_span(out, span));
                    }
                    out.schema_url(&group.schema_url);
                });
            }
            out.schema_url(&group.schema_url);
        });
    }
    bytes
}

fn write_span(out: &mut SpanWriter<'_>, span: &trace::Span) {
    out.trace_id(TraceId::from_slice(&span.trace_id).expect("a trace id"));
    out.span_id(SpanId::from_slice(&span.span_id).expect("a span id"));
    out.trace_state(&span.trace_state);
    if let Ok(id) = SpanId::from_slice(&span.parent_span_id) {
        out.parent_span_id(id);
    }
    out.name(&span.name);
    out.kind(SpanKind::from_number(span.kind as u32));
    out.start(Timestamp::from_nanos(span.start_time_unix_nano));
    out.end(Timestamp::from_nanos(span.end_time_unix_nano));
    out.attributes(|out| write_attributes(out, &span.attributes));
    out.dropped_attributes_count(span.dropped_attributes_count);
    for event in &span.events {
        let time = Timestamp::from_nanos(event.time_unix_nano);
        out.event(time, &event.name, |out| {
            write_attributes(out, &event.attributes);
        });
    }
    out.dropped_events_count(span.dropped_events_count);
    for link in &span.links {
        let trace_id = TraceId::from_slice(&link.trace_id).expect("a trace id");
        out.link(
            trace_id,
            SpanId::from_slice(&link.span_id).expect("a span id"),
            |out| {
                out.trace_state(&link.trace_state);
                out.attributes(|out| write_attributes(out, &link.attributes));
                out.flags(link.flags);
            },
        );
    }
    out.dropped_links_count(span.dropped_links_count);
    if let Some(status) = &span.status {
        out.status(StatusCode::from_number(status.code as u32), &status.message);
    }
    out.flags(span.flags);
}

fn write_attributes(out: &mut AttributesWriter<'_>, attributes: &[common::KeyValue]) {
    for common::KeyValue { key, value, .. } in attributes {
        let value = value
            .as_ref()
            .and_then(|value| value.value.as_ref())
            .expect("a value");
        match value {
            ProstValue::StringValue(text) => out.attribute(key, &text[..]),
            ProstValue::BoolValue(truth) => out.attribute(key, *truth),
            ProstValue::IntValue(number) => out.attribute(key, *number),
            ProstValue::DoubleValue(number) => out.attribute(key, *number),
            ProstValue::BytesValue(bytes) => out.attribute(key, &bytes[..]),
            ProstValue::ArrayValue(array) => {
                let texts: Vec<&str> = array.values.iter().filter_map(text).collect();
                let numbers: Vec<i64> = array.values.iter().filter_map(number).collect();
                if texts.is_empty() {
                    out.attribute(key, &numbers[..]);
                } else {
                    out.attribute(key, &texts[..]);
                }
            }
            other => panic!("the writer does not write {other:?}"),
        }
    }
}

fn text(value: &common::AnyValue) -> Option<&str> {
    match &value.value {
        Some(ProstValue::StringValue(text)) => Some(text),
        _ => None,
    }
}

fn number(value: &common::AnyValue) -> Option<i64> {
    match &value.value {
        Some(ProstValue::IntValue(number)) => Some(*number),
        _ => None,
    }
}
