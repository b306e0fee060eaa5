//! Against the protobuf library's structs: the same spans by both ways.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use proptest::prelude::*;
use prost::Message;
use serde_json::{Value, json};
use spanloom_wire::otlp::validate;

use super::to_protobuf;

fn decoded(json: &Value) -> ExportTraceServiceRequest {
    let protobuf = to_protobuf(json.to_string().as_bytes()).unwrap();
    ExportTraceServiceRequest::decode(protobuf).unwrap()
}

fn in_envelope(span: Value) -> Value {
    json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": [span] }] }] })
}

fn span(span: Value) -> Span {
    decoded(&in_envelope(span)).resource_spans[0].scope_spans[0].spans[0].clone()
}

fn value(value: Value) -> Option<Any> {
    let span = span(json!({ "attributes": [{ "key": "k", "value": value }] }));
    span.attributes[0].value.clone().unwrap().value
}

fn refusal(json: &str) -> String {
    to_protobuf(json.as_bytes()).unwrap_err().message
}

#[test]
fn every_field_of_a_span_arrives() {
    let span = span(json!({
        "traceId": "0AF7651916cd43dd8448eb211c80319c", "spanId": "b7ad6b7169203331",
        "parentSpanId": "00f067aa0ba902b7", "traceState": "a=b", "name": "GET /", "kind": 2,
        "startTimeUnixNano": "1700000000000000001", "endTimeUnixNano": 1_700_000_000_000_000_002_u64,
        "attributes": [{ "key": "k", "value": { "stringValue": "v" } }],
        "droppedAttributesCount": 1, "droppedEventsCount": 2, "droppedLinksCount": 3,
        "events": [{ "timeUnixNano": "5", "name": "e", "droppedAttributesCount": 4,
            "attributes": [{ "key": "k", "value": { "boolValue": false } }] }],
        "links": [{ "traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": "b7ad6b7169203331",
            "traceState": "c=d", "flags": 256, "droppedAttributesCount": 5 }],
        "status": { "code": 2, "message": "no" }, "flags": 257,
    }));
    assert_eq!(span.trace_id[..3], [0x0a, 0xf7, 0x65]);
    assert_eq!(span.span_id.len(), 8);
    assert_eq!(span.parent_span_id[1], 0xf0);
    assert_eq!(
        (span.trace_state.as_str(), span.name.as_str(), span.kind),
        ("a=b", "GET /", 2)
    );
    assert_eq!(span.start_time_unix_nano, 1_700_000_000_000_000_001);
    assert_eq!(span.end_time_unix_nano, 1_700_000_000_000_000_002);
    assert_eq!(span.attributes.len(), 1);
    assert_eq!(span.dropped_attributes_count, 1);
    assert_eq!(
        (span.dropped_events_count, span.dropped_links_count),
        (2, 3)
    );
    assert_eq!(span.events[0].time_unix_nano, 5);
    assert_eq!(span.events[0].name, "e");
    assert_eq!(span.events[0].attributes.len(), 1);
    assert_eq!(span.events[0].dropped_attributes_count, 4);
    assert_eq!(span.links[0].trace_state, "c=d");
    assert_eq!(
        (span.links[0].flags, span.links[0].dropped_attributes_count),
        (256, 5)
    );
    let status = span.status.unwrap();
    assert_eq!(
        (status.code, status.message.as_str(), span.flags),
        (2, "no", 257)
    );
}

#[test]
fn resource_scope_and_schemas_arrive() {
    let request = decoded(&json!({ "resourceSpans": [{
        "resource": { "attributes": [{ "key": "service.name", "value": { "stringValue": "cart" } }],
            "droppedAttributesCount": 7 },
        "schemaUrl": "r",
        "scopeSpans": [{ "scope": { "name": "s", "version": "1", "droppedAttributesCount": 8,
            "attributes": [{ "key": "a", "value": { "intValue": 1 } }] },
            "schemaUrl": "s", "spans": [] }],
    }]}));
    let group = &request.resource_spans[0];
    let resource = group.resource.as_ref().unwrap();
    assert_eq!(
        (resource.attributes.len(), resource.dropped_attributes_count),
        (1, 7)
    );
    assert_eq!(group.schema_url, "r");
    let scope = group.scope_spans[0].scope.as_ref().unwrap();
    assert_eq!((scope.name.as_str(), scope.version.as_str()), ("s", "1"));
    assert_eq!(
        (scope.attributes.len(), scope.dropped_attributes_count),
        (1, 8)
    );
    assert_eq!(group.scope_spans[0].schema_url, "s");
}

#[test]
fn values_of_every_type_arrive_and_defaults_stay_present() {
    assert_eq!(
        value(json!({ "stringValue": "" })),
        Some(Any::StringValue(String::new()))
    );
    assert_eq!(
        value(json!({ "boolValue": false })),
        Some(Any::BoolValue(false))
    );
    assert_eq!(
        value(json!({ "intValue": "-9223372036854775808" })),
        Some(Any::IntValue(i64::MIN))
    );
    assert_eq!(value(json!({ "intValue": 0 })), Some(Any::IntValue(0)));
    assert_eq!(value(json!({ "intValue": 1e3 })), Some(Any::IntValue(1000)));
    assert_eq!(
        value(json!({ "doubleValue": 3 })),
        Some(Any::DoubleValue(3.0))
    );
    assert_eq!(
        value(json!({ "doubleValue": "-Infinity" })),
        Some(Any::DoubleValue(f64::NEG_INFINITY))
    );
    let nan = value(json!({ "doubleValue": "NaN" }));
    assert!(matches!(nan, Some(Any::DoubleValue(number)) if number.is_nan()));
    assert_eq!(
        value(json!({ "bytesValue": "AP8=" })),
        Some(Any::BytesValue(vec![0, 255]))
    );
    assert_eq!(value(json!({})), None);
    let Some(Any::ArrayValue(array)) =
        value(json!({ "arrayValue": { "values": [{ "intValue": 1 }, { "stringValue": "b" }] } }))
    else {
        panic!("an array");
    };
    assert_eq!(array.values.len(), 2);
    let Some(Any::KvlistValue(list)) = value(json!({ "kvlistValue": { "values": [
        { "key": "k", "value": { "boolValue": true } }] } }))
    else {
        panic!("a list of pairs");
    };
    assert_eq!(list.values[0].key, "k");
}

#[test]
fn null_is_absent_and_unknown_members_are_ignored() {
    let span = span(
        json!({ "name": null, "events": null, "madeUp": { "deep": [1, {}] },
        "trace_id": "0af7651916cd43dd8448eb211c80319c" }),
    );
    assert_eq!(span, Span::default());
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    assert_eq!(
        refusal(&in_envelope(json!({ "kind": "SPAN_KIND_SERVER" })).to_string()),
        "the body is not valid OTLP/JSON: invalid type: string \"SPAN_KIND_SERVER\", \
         expected a number of 32 bits at line 1 column 69"
    );
    for (json, expected) in [
        ("", "EOF"),
        ("[]", "expected an object"),
        ("{} x", "trailing characters"),
        (r#"{"resourceSpans":{}}"#, "expected an array of objects"),
        (r#"{"resourceSpans":[1]}"#, "expected an object"),
        ("{\"resourceSpans\":[", "EOF"),
    ] {
        let message = refusal(json);
        assert!(message.contains(expected), "{json}: {message}");
    }
    for span in [
        json!({ "traceId": "xyz" }),
        json!({ "traceId": "0" }),
        json!({ "traceId": 5 }),
        json!({ "name": 5 }),
        json!({ "startTimeUnixNano": "-1" }),
        json!({ "startTimeUnixNano": 1.5 }),
        json!({ "flags": 4_294_967_296_u64 }),
        json!({ "attributes": [{ "key": "k", "value": { "bytesValue": "%" } }] }),
        json!({ "attributes": [{ "key": "k", "value": { "intValue": "1x" } }] }),
        json!({ "attributes": [{ "key": "k", "value": { "boolValue": "true" } }] }),
    ] {
        to_protobuf(in_envelope(span.clone()).to_string().as_bytes()).expect_err(&span.to_string());
    }
}

#[test]
fn hostile_depth_is_an_error_and_not_a_stack_overflow() {
    let deep = format!("{{\"resourceSpans\":{}", "[".repeat(1_000_000));
    assert!(to_protobuf(deep.as_bytes()).is_err());
    let deep = format!("{{\"unknown\":{}", "{\"a\":".repeat(1_000_000));
    assert!(to_protobuf(deep.as_bytes()).is_err());
}

/// Attribute values of any shape, as the library's structs and as JSON.
fn any_value() -> impl Strategy<Value = (AnyValue, Value)> {
    let leaf = prop_oneof![
        ".{0,20}".prop_map(|v| (Any::StringValue(v.clone()), json!({ "stringValue": v }))),
        any::<bool>().prop_map(|v| (Any::BoolValue(v), json!({ "boolValue": v }))),
        any::<i64>().prop_map(|v| (Any::IntValue(v), json!({ "intValue": v.to_string() }))),
        any::<i64>().prop_map(|v| (Any::IntValue(v), json!({ "intValue": v }))),
        (-1e9..1e9).prop_map(|v: f64| (Any::DoubleValue(v), json!({ "doubleValue": v }))),
    ]
    .prop_map(|(value, json)| (AnyValue { value: Some(value) }, json));
    leaf.prop_recursive(3, 20, 4, |inner| {
        prop::collection::vec(inner, 0..4).prop_map(|values| {
            let (values, json): (Vec<_>, Vec<_>) = values.into_iter().unzip();
            let array = opentelemetry_proto::tonic::common::v1::ArrayValue { values };
            let value = AnyValue {
                value: Some(Any::ArrayValue(array)),
            };
            (value, json!({ "arrayValue": { "values": json } }))
        })
    })
}

proptest! {
    #[test]
    fn json_and_protobuf_say_the_same(
        attributes in prop::collection::vec((".{0,10}", any_value()), 0..6),
        name in ".{0,30}", start in any::<u64>(), kind in 0i32..6
    ) {
        let json = span(json!({
            "name": name, "kind": kind, "startTimeUnixNano": start.to_string(),
            "attributes": attributes.iter()
                .map(|(key, (_, value))| json!({ "key": key, "value": value }))
                .collect::<Vec<_>>(),
        }));
        let structs = Span {
            name,
            kind,
            start_time_unix_nano: start,
            attributes: attributes
                .into_iter()
                .map(|(key, (value, _))| KeyValue { key, value: Some(value), ..Default::default() })
                .collect(),
            ..Default::default()
        };
        prop_assert_eq!(json, structs);
    }

    #[test]
    fn arbitrary_bytes_never_panic_and_give_framing_that_is_whole(
        bytes in prop::collection::vec(any::<u8>(), 0..200)
    ) {
        if let Ok(protobuf) = to_protobuf(&bytes) {
            prop_assert_eq!(validate(&protobuf).map(|summary| summary.n_spans), Ok(0));
        }
    }
}
