//! Which spans meet which query.

use std::time::Duration;

use spanloom_wire::otlp::{AttributesWriter, SpanWriter, TracesView, TracesWriter, WriteValue};
use spanloom_wire::{SpanId, Timestamp};

use super::*;

/// A request with one span of service `cart`, made by `write`.
fn request(write: impl FnOnce(&mut SpanWriter<'_>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    TracesWriter::new(&mut bytes).resource_spans(|resource_spans| {
        resource_spans.resource(|resource| {
            resource.attribute("service.name", "cart");
            resource.attribute("zone", "b");
        });
        resource_spans.scope_spans(|scope_spans| {
            scope_spans.scope("http", "1.2");
            scope_spans.span(|span| {
                span.trace_id(TraceId::from_bytes([1; 16]).unwrap());
                span.span_id(SpanId::from_bytes([2; 8]).unwrap());
                span.name("GET /cart");
                span.start(Timestamp::from_nanos(1_000));
                span.end(Timestamp::from_nanos(1_500));
                write(span);
            });
        });
    });
    bytes
}

fn any() -> TraceQuery {
    TraceQuery {
        service: None,
        operation: None,
        attributes: Vec::new(),
        start: TimeRange::ALL,
        duration_min: None,
        duration_max: None,
        n_traces_max: 1,
    }
}

fn asked(attributes: &[(&str, &str)]) -> TraceQuery {
    let attributes = attributes
        .iter()
        .map(|&(k, v)| (k.to_owned(), v.to_owned()))
        .collect();
    TraceQuery {
        attributes,
        ..any()
    }
}

#[track_caller]
fn check(request: &[u8], query: &TraceQuery, expected: bool) {
    let matcher = SpanMatcher::new(query);
    let span = TracesView::new(request).spans().next().unwrap();
    assert_eq!(matcher.matches(&span), expected, "{query:?}");
}

#[test]
fn fields_are_matched_exactly() {
    let request = request(|_| {});
    let name = |name: &str| Some(name.to_owned());
    check(&request, &any(), true);
    check(
        &request,
        &TraceQuery {
            service: name("cart"),
            ..any()
        },
        true,
    );
    check(
        &request,
        &TraceQuery {
            service: name("car"),
            ..any()
        },
        false,
    );
    check(
        &request,
        &TraceQuery {
            operation: name("GET /cart"),
            ..any()
        },
        true,
    );
    check(
        &request,
        &TraceQuery {
            operation: name("GET"),
            ..any()
        },
        false,
    );
}

#[test]
fn times_and_durations_are_inclusive() {
    let request = request(|_| {});
    let range = |start, end| TimeRange {
        start: Timestamp::from_nanos(start),
        end: Timestamp::from_nanos(end),
    };
    check(
        &request,
        &TraceQuery {
            start: range(1_000, 1_000),
            ..any()
        },
        true,
    );
    check(
        &request,
        &TraceQuery {
            start: range(1_001, 2_000),
            ..any()
        },
        false,
    );
    check(
        &request,
        &TraceQuery {
            start: range(0, 999),
            ..any()
        },
        false,
    );
    let nanos = |nanos| Some(Duration::from_nanos(nanos));
    check(
        &request,
        &TraceQuery {
            duration_min: nanos(500),
            ..any()
        },
        true,
    );
    check(
        &request,
        &TraceQuery {
            duration_min: nanos(501),
            ..any()
        },
        false,
    );
    check(
        &request,
        &TraceQuery {
            duration_max: nanos(500),
            ..any()
        },
        true,
    );
    check(
        &request,
        &TraceQuery {
            duration_max: nanos(499),
            ..any()
        },
        false,
    );
}

#[test]
fn error_asks_for_the_status() {
    let failed = request(|span| span.status(StatusCode::Error, "no"));
    let fine = request(|span| span.status(StatusCode::Ok, ""));
    let unset = request(|span| span.attributes(|list| list.attribute("error", true)));
    for yes in ["true", "1"] {
        check(&failed, &asked(&[("error", yes)]), true);
        check(&fine, &asked(&[("error", yes)]), false);
        check(&unset, &asked(&[("error", yes)]), false);
    }
    check(&failed, &asked(&[("error", "false")]), false);
    check(&fine, &asked(&[("error", "false")]), true);
    check(&unset, &asked(&[("error", "false")]), true);
    check(&failed, &asked(&[("error", "perhaps")]), false);

    check(&failed, &asked(&[("span.status", "error")]), true);
    check(&fine, &asked(&[("span.status", "OK")]), true);
    check(&unset, &asked(&[("span.status", "UNSET")]), true);
    check(&fine, &asked(&[("span.status", "ERROR")]), false);
}

#[test]
fn kind_and_scope_are_fields_too() {
    let request = request(|span| span.kind(SpanKind::Server));
    check(&request, &asked(&[("span.kind", "server")]), true);
    check(&request, &asked(&[("span.kind", "SERVER")]), true);
    check(&request, &asked(&[("span.kind", "client")]), false);
    check(
        &request,
        &asked(&[("scope.name", "http"), ("scope.version", "1.2")]),
        true,
    );
    check(
        &request,
        &asked(&[("scope.name", "http"), ("scope.version", "1.3")]),
        false,
    );
    check(&request, &asked(&[("scope.name", "grpc")]), false);
}

#[test]
fn each_attribute_may_be_in_another_place() {
    let request = request(|span| {
        span.attributes(|list| list.attribute("on.span", "1"));
        span.event(Timestamp::default(), "first", |list| {
            list.attribute("on.event", "2");
        });
        span.event(Timestamp::default(), "second", |list| {
            list.attribute("on.other", "3");
        });
        let (trace, other) = (TraceId::from_bytes([9; 16]), SpanId::from_bytes([9; 8]));
        span.link(trace.unwrap(), other.unwrap(), |link| {
            link.attributes(|list| list.attribute("on.link", "4"));
        });
    });
    let everywhere = [
        ("on.span", "1"),
        ("on.event", "2"),
        ("on.other", "3"),
        ("on.link", "4"),
        ("zone", "b"),
    ];
    check(&request, &asked(&everywhere), true);
    for (key, _) in everywhere {
        check(&request, &asked(&[(key, "other")]), false);
    }
    check(&request, &asked(&[("resource.zone", "b")]), true);
    check(&request, &asked(&[("resource.on.span", "1")]), false);
    check(&request, &asked(&[("absent", "")]), false);
}

#[test]
fn values_are_compared_by_their_text_form() {
    #[track_caller]
    fn value(value: impl WriteValue, equal: &[&str], other: &[&str]) {
        let request = request(|span| {
            span.attributes(|list: &mut AttributesWriter<'_>| list.attribute("key", value));
        });
        for text in equal {
            check(&request, &asked(&[("key", text)]), true);
        }
        for text in other {
            check(&request, &asked(&[("key", text)]), false);
        }
    }
    value("7", &["7"], &["07", "\"7\"", ""]);
    value("", &[""], &["x"]);
    value(7_i64, &["7"], &["07", "+7", "7.0"]);
    value(
        i64::MIN,
        &["-9223372036854775808"],
        &["-9223372036854775807"],
    );
    value(72.5, &["72.5", "7.25e1"], &["72"]);
    value(
        1e21,
        &["1e+21", "1e21", "1000000000000000000000"],
        &["1e20"],
    );
    value(f64::NAN, &["NaN"], &["0", ""]);
    value(true, &["true"], &["false", "1", "True"]);
    value(&b"\x00\x0009"[..], &["AAAwOQ=="], &["AAAwOQ", "00003039"]);
    value(
        &["a\"b", "\n\u{1}"][..],
        &[r#"["a\"b","\n\u0001"]"#],
        &["a\"b", "[]"],
    );
    value(&[1.5, 1e-7, 2e22][..], &["[1.5,1e-7,2e+22]"], &["[1.5]"]);
    value(&[&[1_i64, 2][..], &[]][..], &["[[1,2],[]]"], &["[1,2]"]);
}

#[test]
fn values_that_nest_without_end_do_not_exhaust_the_stack() {
    // Each level: `AnyValue.array_value` (field 5) with `ArrayValue.values` (field 1) in it.
    let mut nested = Vec::new();
    for _ in 0..5_000 {
        for tag in [1 << 3 | 2, 5 << 3 | 2] {
            let mut outer = vec![tag];
            spanloom_wire::otlp::put_varint(&mut outer, nested.len() as u64);
            outer.append(&mut nested);
            nested = outer;
        }
    }
    struct Raw(Vec<u8>);
    impl WriteValue for Raw {
        fn write(self, out: &mut Vec<u8>) {
            out.extend_from_slice(&self.0);
        }
    }
    let request = request(|span| span.attributes(|list| list.attribute("key", Raw(nested))));
    check(&request, &asked(&[("key", "[]")]), false);
}

#[test]
fn a_map_is_json_with_sorted_keys() {
    use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, KeyValueList, any_value};
    use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, TracesData};
    use prost::Message as _;

    let pair = |key: &str, value| KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value }),
        ..KeyValue::default()
    };
    let map = any_value::Value::KvlistValue(KeyValueList {
        values: vec![
            pair("b", Some(any_value::Value::IntValue(2))),
            pair("a", None),
        ],
    });
    let span = Span {
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        attributes: vec![pair("key", Some(map))],
        ..Span::default()
    };
    let scope_spans = vec![ScopeSpans {
        spans: vec![span],
        ..ScopeSpans::default()
    }];
    let resource_spans = vec![ResourceSpans {
        scope_spans,
        ..ResourceSpans::default()
    }];
    let request = TracesData { resource_spans }.encode_to_vec();
    check(&request, &asked(&[("key", r#"{"a":null,"b":2}"#)]), true);
    check(&request, &asked(&[("key", r#"{"b":2,"a":null}"#)]), false);
}
