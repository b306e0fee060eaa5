//! Arbitrary OTLP requests, as `prost` structs.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, EntityRef, InstrumentationScope, KeyValue, KeyValueList,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

/// Requests that a collector has to accept, in every shape that the schema allows.
pub(crate) fn request() -> impl Strategy<Value = ExportTraceServiceRequest> {
    request_of(any_value().boxed())
}

/// Requests that hold only what the writer can write.
pub(crate) fn writable_request() -> impl Strategy<Value = ExportTraceServiceRequest> {
    let texts = vec(".{0,8}".prop_map(Value::StringValue), 0..3);
    let numbers = vec(any::<i64>().prop_map(Value::IntValue), 0..3);
    let array = prop_oneof![texts, numbers].prop_map(|values| {
        let values = values
            .into_iter()
            .map(|value| AnyValue { value: Some(value) })
            .collect();
        Value::ArrayValue(ArrayValue { values })
    });
    let value = prop_oneof![plain_value(), array].prop_map(|value| AnyValue { value: Some(value) });
    request_of(value.boxed())
}

fn request_of(value: BoxedStrategy<AnyValue>) -> impl Strategy<Value = ExportTraceServiceRequest> {
    vec(resource_spans(value), 0..3)
        .prop_map(|resource_spans| ExportTraceServiceRequest { resource_spans })
}

fn resource_spans(value: BoxedStrategy<AnyValue>) -> impl Strategy<Value = ResourceSpans> {
    let resource = (
        attributes(value.clone()),
        any::<u32>(),
        vec(entity_ref(), 0..2),
    )
        .prop_map(
            |(attributes, dropped_attributes_count, entity_refs)| Resource {
                attributes,
                dropped_attributes_count,
                entity_refs,
            },
        );
    (
        option::of(resource),
        vec(scope_spans(value), 0..3),
        ".{0,8}",
    )
        .prop_map(|(resource, scope_spans, schema_url)| ResourceSpans {
            resource,
            scope_spans,
            schema_url,
        })
}

fn entity_ref() -> impl Strategy<Value = EntityRef> {
    let keys = || vec(".{0,8}", 0..2);
    (".{0,8}", ".{0,8}", keys(), keys()).prop_map(
        |(schema_url, r#type, id_keys, description_keys)| EntityRef {
            schema_url,
            r#type,
            id_keys,
            description_keys,
        },
    )
}

fn scope_spans(value: BoxedStrategy<AnyValue>) -> impl Strategy<Value = ScopeSpans> {
    let scope = (".{0,8}", ".{0,8}", attributes(value.clone()), any::<u32>()).prop_map(
        |(name, version, attributes, dropped_attributes_count)| InstrumentationScope {
            name,
            version,
            attributes,
            dropped_attributes_count,
        },
    );
    (option::of(scope), vec(span(value), 0..3), ".{0,8}").prop_map(|(scope, spans, schema_url)| {
        ScopeSpans {
            scope,
            spans,
            schema_url,
        }
    })
}

fn span(value: BoxedStrategy<AnyValue>) -> impl Strategy<Value = Span> {
    let ids = (
        id::<16>(),
        id::<8>(),
        prop_oneof![Just(Vec::new()), id::<8>(), Just(vec![0; 8])],
    );
    let plain = (
        ".{0,16}",
        ".{0,40}",
        enumeration(),
        any::<u32>(),
        any::<u64>(),
        any::<u64>(),
    );
    let dropped = any::<[u32; 3]>();
    let events = vec(event(value.clone()), 0..3);
    let links = vec(link(value.clone()), 0..3);
    let status = (".{0,8}", enumeration()).prop_map(|(message, code)| Status { message, code });
    let lists = (attributes(value), events, links, option::of(status));
    (ids, plain, dropped, lists).prop_map(
        |(
            (trace_id, span_id, parent_span_id),
            (trace_state, name, kind, flags, start_time_unix_nano, end_time_unix_nano),
            [
                dropped_attributes_count,
                dropped_events_count,
                dropped_links_count,
            ],
            (attributes, events, links, status),
        )| Span {
            trace_id,
            span_id,
            trace_state,
            parent_span_id,
            flags,
            name,
            kind,
            start_time_unix_nano,
            end_time_unix_nano,
            attributes,
            dropped_attributes_count,
            events,
            dropped_events_count,
            links,
            dropped_links_count,
            status,
        },
    )
}

fn event(value: BoxedStrategy<AnyValue>) -> impl Strategy<Value = Event> {
    (any::<u64>(), ".{0,8}", attributes(value), any::<u32>()).prop_map(
        |(time_unix_nano, name, attributes, dropped_attributes_count)| Event {
            time_unix_nano,
            name,
            attributes,
            dropped_attributes_count,
        },
    )
}

fn link(value: BoxedStrategy<AnyValue>) -> impl Strategy<Value = Link> {
    (
        id::<16>(),
        id::<8>(),
        ".{0,16}",
        attributes(value),
        any::<u32>(),
        any::<u32>(),
    )
        .prop_map(
            |(trace_id, span_id, trace_state, attributes, dropped_attributes_count, flags)| Link {
                trace_id,
                span_id,
                trace_state,
                attributes,
                dropped_attributes_count,
                flags,
            },
        )
}

fn attributes(value: BoxedStrategy<AnyValue>) -> impl Strategy<Value = Vec<KeyValue>> {
    let attribute = (".{0,16}", value).prop_map(|(key, value)| KeyValue {
        key,
        value: Some(value),
        ..KeyValue::default()
    });
    vec(attribute, 0..4)
}

fn any_value() -> impl Strategy<Value = AnyValue> {
    let leaf = option::of(plain_value()).prop_map(|value| AnyValue { value });
    leaf.prop_recursive(4, 12, 3, |inner| {
        let pair = (".{0,8}", option::of(inner.clone())).prop_map(|(key, value)| KeyValue {
            key,
            value,
            ..KeyValue::default()
        });
        prop_oneof![
            vec(inner, 0..3).prop_map(|values| Value::ArrayValue(ArrayValue { values })),
            vec(pair, 0..3).prop_map(|values| Value::KvlistValue(KeyValueList { values })),
        ]
        .prop_map(|value| AnyValue { value: Some(value) })
    })
}

fn plain_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        // Lengths of one, two and three bytes.
        ".{0,16}".prop_map(Value::StringValue),
        prop_oneof![120..140usize, 16_380..16_390usize]
            .prop_map(|n| Value::StringValue("x".repeat(n))),
        any::<bool>().prop_map(Value::BoolValue),
        any::<i64>().prop_map(Value::IntValue),
        any::<u64>().prop_map(|bits| Value::DoubleValue(f64::from_bits(bits))),
        vec(any::<u8>(), 0..16).prop_map(Value::BytesValue),
    ]
}

fn id<const N: usize>() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), N).prop_filter("ids are not all zero", |id| {
        id.iter().any(|byte| *byte != 0)
    })
}

/// Mostly numbers that the schema names, sometimes others.
fn enumeration() -> impl Strategy<Value = i32> {
    prop_oneof![4 => 0..7, 1 => any::<i32>()]
}
