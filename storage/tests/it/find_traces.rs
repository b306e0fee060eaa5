//! Searching: the 25 cases of Jaeger's storage acceptance suite, and what they leave out.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link, SpanKind};
use opentelemetry_proto::tonic::trace::v1::{Span, Status};
use spanloom_storage::{TimeRange, TraceQuery};
use spanloom_wire::Timestamp;

use crate::fixtures::{
    SECOND, THEN, any, attribute, ids, request, request_of, resource_of, span, spans_in, text,
    trace_id,
};
use crate::suite::Store;

/// A query and the traces that it must find, each as the request that brings it.
struct Case {
    name: &'static str,
    query: TraceQuery,
    traces: Vec<Bytes>,
}

/// The four attributes that the suite asks for; `place` is `tag` or `attribute`.
fn four(place: &str) -> Vec<KeyValue> {
    let key = |i| format!("sameplace{place}{i}");
    vec![
        text(&key(1), "sameplacevalue"),
        attribute(&key(2), Value::IntValue(123)),
        attribute(&key(3), Value::DoubleValue(72.5)),
        attribute(&key(4), Value::BoolValue(true)),
    ]
}

/// The same, as a query has them.
fn four_asked(place: &str) -> Vec<(String, String)> {
    ["sameplacevalue", "123", "72.5", "true"]
        .iter()
        .zip(1..)
        .map(|(value, i)| (format!("sameplace{place}{i}"), (*value).to_owned()))
        .collect()
}

fn event(attributes: Vec<KeyValue>) -> Event {
    Event {
        time_unix_nano: THEN,
        attributes,
        ..Event::default()
    }
}

/// The trace of case `n`: one span of so many nanoseconds, with the four attributes in `places`.
fn fixture(n: u64, operation: &str, duration: u64, places: Places) -> Bytes {
    let [
        mut on_span,
        mut on_resource,
        mut in_event,
        mut in_scope,
        mut in_link,
    ]: [Vec<KeyValue>; 5] = Default::default();
    let mut events = vec![event(vec![attribute(
        "blob",
        Value::BytesValue(vec![0, 0, 48, 57]),
    )])];
    match places {
        Places::Nowhere => {}
        Places::Span => on_span = four("tag"),
        Places::Event => in_event = four("tag"),
        Places::Resource => on_resource = four("tag"),
        Places::Spread => {
            let mut tags = four("tag").into_iter();
            on_resource.extend(tags.next());
            in_event.extend(tags.next());
            on_span.extend(tags);
        }
        Places::Scope => in_scope = four("attribute"),
        Places::Link => in_link = four("attribute"),
    }
    events.push(event(in_event));
    let mut span = Span {
        end_time_unix_nano: THEN + duration,
        attributes: on_span,
        events,
        ..span(n, n, operation)
    };
    if matches!(places, Places::Link) {
        in_link.push(text("opentracing.ref_type", "child_of"));
        in_link.push(attribute("blob", Value::BytesValue(vec![0, 0, 48, 57])));
        let link = |attributes| Link {
            trace_id: trace_id(0xff).to_bytes().to_vec(),
            span_id: vec![0xff; 8],
            attributes,
            ..Link::default()
        };
        span.links = vec![
            link(in_link),
            link(vec![text("opentracing.ref_type", "follows_from")]),
        ];
    }
    let scope = InstrumentationScope {
        name: "testing-library".to_owned(),
        version: "1.1.1".to_owned(),
        attributes: in_scope,
        ..InstrumentationScope::default()
    };
    request_of(resource_of(&service(n), on_resource), scope, vec![span])
}

#[derive(Clone, Copy)]
enum Places {
    Nowhere,
    Span,
    Event,
    Resource,
    Spread,
    Scope,
    Link,
}

fn service(n: u64) -> String {
    format!("query{n:02}-service")
}

/// The table of the acceptance suite, case by case. Durations are nanoseconds there too.
fn cases() -> Vec<Case> {
    const NO_LIMIT: (u64, u64) = (0, 0);
    const UP_TO_2: (u64, u64) = (0, 2_000);
    const UP_TO_1: (u64, u64) = (0, 1_000);
    const ABOUT_5: (u64, u64) = (4_500, 5_500);
    let rows = [
        ("tags on the span", false, NO_LIMIT, 1_000, Places::Span),
        ("tags in one event", false, NO_LIMIT, 1_000, Places::Event),
        (
            "tags in the resource",
            false,
            NO_LIMIT,
            1_000,
            Places::Resource,
        ),
        (
            "tags in different places",
            false,
            NO_LIMIT,
            1_000,
            Places::Spread,
        ),
        ("a trace over two days", false, NO_LIMIT, 0, Places::Nowhere),
        ("operation", true, NO_LIMIT, 1_000, Places::Nowhere),
        ("operation, at most", true, UP_TO_2, 1_000, Places::Nowhere),
        ("operation, between", true, ABOUT_5, 5_000, Places::Nowhere),
        ("between", false, ABOUT_5, 5_000, Places::Nowhere),
        ("at most", false, UP_TO_1, 1_000, Places::Nowhere),
        ("service alone", false, NO_LIMIT, 1_000, Places::Nowhere),
        ("tags, operation", true, NO_LIMIT, 1_000, Places::Span),
        (
            "tags, operation, at most",
            true,
            UP_TO_2,
            1_000,
            Places::Span,
        ),
        (
            "tags, operation, between",
            true,
            ABOUT_5,
            5_000,
            Places::Span,
        ),
        ("tags, between", false, ABOUT_5, 5_000, Places::Span),
        ("tags, at most", false, UP_TO_1, 1_000, Places::Span),
        (
            "spread tags, operation",
            true,
            NO_LIMIT,
            1_000,
            Places::Spread,
        ),
        (
            "spread tags, operation, at most",
            true,
            UP_TO_2,
            1_000,
            Places::Spread,
        ),
        (
            "spread tags, operation, between",
            true,
            ABOUT_5,
            5_000,
            Places::Spread,
        ),
        (
            "spread tags, between",
            false,
            ABOUT_5,
            5_000,
            Places::Spread,
        ),
        (
            "spread tags, at most",
            false,
            UP_TO_1,
            1_000,
            Places::Spread,
        ),
        ("several traces", false, NO_LIMIT, 0, Places::Nowhere),
        (
            "scope name and version",
            false,
            NO_LIMIT,
            1_000,
            Places::Span,
        ),
        ("scope attributes", false, NO_LIMIT, 1_000, Places::Scope),
        ("link attributes", false, NO_LIMIT, 1_000, Places::Link),
    ];
    type Row = (&'static str, bool, (u64, u64), u64, Places);
    let case = |(n, (name, by_operation, (min, max), duration, places)): (u64, Row)| {
        let operation = format!("query{n:02}-operation");
        let limit = |nanos: u64| (nanos > 0).then(|| Duration::from_nanos(nanos));
        let mut query = TraceQuery {
            service: Some(service(n)),
            operation: by_operation.then(|| operation.clone()),
            attributes: match places {
                Places::Nowhere => Vec::new(),
                Places::Scope | Places::Link => four_asked("attribute"),
                _ => four_asked("tag"),
            },
            start: from_to(THEN, THEN + 2 * 60 * 60 * SECOND),
            duration_min: limit(min),
            duration_max: limit(max),
            n_traces_max: 1000,
        };
        let traces = match n {
            5 => {
                query.start = from_to(MIDNIGHT + 31 * SECOND, MIDNIGHT + 451 * SECOND);
                vec![two_days()]
            }
            22 => [221, 222, 223]
                .map(|id| request(&service(22), vec![span(id, 1, "several")]))
                .into(),
            _ => vec![fixture(n, &operation, duration, places)],
        };
        Case {
            name,
            query,
            traces,
        }
    };
    (1..).zip(rows).map(case).collect()
}

/// 2017-01-26 00:00 UTC.
const MIDNIGHT: u64 = 1_485_388_800 * SECOND;

/// Case 5: one span on the day before, one within the window.
fn two_days() -> Bytes {
    let at = |id, time| Span {
        start_time_unix_nano: time,
        end_time_unix_nano: time + 1_000,
        ..span(5, id, "midnight")
    };
    let spans = vec![at(1, MIDNIGHT - 60 * SECOND), at(2, MIDNIGHT + 60 * SECOND)];
    request(&service(5), spans)
}

fn from_to(start: u64, end: u64) -> TimeRange {
    TimeRange {
        start: Timestamp::from_nanos(start),
        end: Timestamp::from_nanos(end),
    }
}

/// The query with one condition changed so that nothing meets it, for each condition it has.
fn spoilt(query: &TraceQuery) -> Vec<TraceQuery> {
    let mut spoilt = vec![
        TraceQuery {
            service: Some("another".to_owned()),
            ..query.clone()
        },
        TraceQuery {
            start: from_to(0, THEN / 2),
            ..query.clone()
        },
        TraceQuery {
            start: from_to(2 * THEN, u64::MAX),
            ..query.clone()
        },
        TraceQuery {
            n_traces_max: 0,
            ..query.clone()
        },
    ];
    if query.operation.is_some() {
        spoilt.push(TraceQuery {
            operation: Some("another".to_owned()),
            ..query.clone()
        });
    }
    if let Some(min) = query.duration_min {
        spoilt.push(TraceQuery {
            duration_min: Some(min * 2),
            ..query.clone()
        });
    }
    if query.duration_max.is_some() {
        let none = Some(Duration::from_nanos(999));
        spoilt.push(TraceQuery {
            duration_min: None,
            duration_max: none,
            ..query.clone()
        });
    }
    for i in 0..query.attributes.len() {
        let mut other_value = query.clone();
        other_value.attributes[i].1.push('1');
        let mut other_key = query.clone();
        other_key.attributes[i].0.push('1');
        spoilt.extend([other_value, other_key]);
    }
    spoilt
}

pub(crate) async fn jaegers_25_cases(store: Arc<impl Store>) {
    let cases = cases();
    assert_eq!(cases.len(), 25);
    for case in &cases {
        for trace in &case.traces {
            store.write(trace.clone()).await.unwrap();
        }
    }
    for Case {
        name,
        query,
        traces,
    } in cases
    {
        let found = store.find_traces(&query).await.unwrap();
        let mut found: Vec<_> = found
            .iter()
            .map(|trace| spans_in(&trace.traces_data))
            .collect();
        let mut expected: Vec<_> = traces.iter().map(|trace| spans_in(trace)).collect();
        found.sort();
        expected.sort();
        assert_eq!(found, expected, "{name}");
        for query in spoilt(&query) {
            let found = store.find_traces(&query).await.unwrap();
            assert!(
                found.is_empty(),
                "{name}: {query:?} finds {:?}",
                ids(&found)
            );
        }
    }
}

pub(crate) async fn one_span_must_meet_every_condition(store: Arc<impl Store>) {
    // Two spans of one trace, each with half of what is asked for.
    let half = |id, key: &str| Span {
        attributes: vec![text(key, "yes")],
        ..span(1, id, "half")
    };
    store
        .write(request("halves", vec![half(1, "left"), half(2, "right")]))
        .await
        .unwrap();
    let asked = |keys: &[&str]| TraceQuery {
        attributes: keys
            .iter()
            .map(|&key| (key.to_owned(), "yes".to_owned()))
            .collect(),
        ..any()
    };
    assert_eq!(store.find_traces(&asked(&["left"])).await.unwrap().len(), 1);
    assert_eq!(
        store.find_traces(&asked(&["right"])).await.unwrap().len(),
        1
    );
    assert!(
        store
            .find_traces(&asked(&["left", "right"]))
            .await
            .unwrap()
            .is_empty()
    );

    // The service of one span with the operation of another.
    store
        .write(request("other", vec![span(1, 3, "whole")]))
        .await
        .unwrap();
    let query = TraceQuery {
        service: Some("halves".to_owned()),
        operation: Some("whole".to_owned()),
        ..any()
    };
    assert!(store.find_traces(&query).await.unwrap().is_empty());

    // An attribute of all services, and no service asked for.
    let cross = |trace, service: &str| {
        let attributes = vec![text("cross.service", "yes")];
        request(
            service,
            vec![Span {
                attributes,
                ..span(trace, 1, "cross")
            }],
        )
    };
    store.write(cross(2, "one")).await.unwrap();
    store.write(cross(3, "two")).await.unwrap();
    let found = store.find_traces(&asked(&["cross.service"])).await.unwrap();
    assert_eq!(ids(&found), [trace_id(3), trace_id(2)]);
}

pub(crate) async fn the_latest_come_first_and_no_more_than_asked_for(store: Arc<impl Store>) {
    let at = |trace, name: &str, time: u64| Span {
        start_time_unix_nano: THEN + time,
        ..span(trace, time + 1, name)
    };
    // Trace 1 has the very latest span, but not the latest that matches.
    let spans = [
        at(1, "other", 100),
        at(3, "asked", 30),
        at(1, "asked", 10),
        at(4, "asked", 30),
        at(2, "asked", 20),
        at(2, "asked", 5),
    ];
    for span in spans {
        store.write(request("order", vec![span])).await.unwrap();
    }
    let query = |n_traces_max| TraceQuery {
        operation: Some("asked".to_owned()),
        n_traces_max,
        ..any()
    };
    let found = store.find_traces(&query(10)).await.unwrap();
    assert_eq!(ids(&found), [4, 3, 2, 1].map(trace_id));
    let found = store.find_traces(&query(3)).await.unwrap();
    assert_eq!(ids(&found), [4, 3, 2].map(trace_id));
    assert!(store.find_traces(&query(0)).await.unwrap().is_empty());

    // The same when the attributes decide.
    let with_attribute = |n| TraceQuery {
        attributes: vec![("resource.service.name".to_owned(), "order".to_owned())],
        ..query(n)
    };
    let found = store.find_traces(&with_attribute(3)).await.unwrap();
    assert_eq!(ids(&found), [4, 3, 2].map(trace_id));
}

pub(crate) async fn reserved_keys_ask_for_fields(store: Arc<impl Store>) {
    let status = |code| {
        Some(Status {
            code,
            ..Status::default()
        })
    };
    let failed = Span {
        status: status(2),
        kind: SpanKind::Server.into(),
        ..span(1, 1, "a")
    };
    let fine = Span {
        status: status(1),
        kind: SpanKind::Client.into(),
        ..span(2, 1, "a")
    };
    let unset = Span {
        attributes: vec![text("error", "true")],
        ..span(3, 1, "a")
    };
    let scope = |name: &str| InstrumentationScope {
        name: name.to_owned(),
        version: format!("{name}-1"),
        ..InstrumentationScope::default()
    };
    for (span, zone) in [(failed, "a"), (fine, "b"), (unset, "c")] {
        let resource = resource_of("cart", vec![text("zone", zone)]);
        store
            .write(request_of(resource, scope(zone), vec![span]))
            .await
            .unwrap();
    }
    let cases = [
        ("error", "true", vec![1]),
        ("error", "false", vec![3, 2]),
        ("error", "maybe", vec![]),
        ("span.status", "ERROR", vec![1]),
        ("span.status", "ok", vec![2]),
        ("span.status", "unset", vec![3]),
        ("span.kind", "server", vec![1]),
        ("span.kind", "Client", vec![2]),
        ("span.kind", "unknown", vec![3]),
        ("scope.name", "b", vec![2]),
        ("scope.version", "c-1", vec![3]),
        ("resource.zone", "a", vec![1]),
        ("resource.error", "true", vec![]),
    ];
    for (key, value, expected) in cases {
        let attributes = vec![(key.to_owned(), value.to_owned())];
        let found = store
            .find_traces(&TraceQuery {
                attributes,
                ..any()
            })
            .await
            .unwrap();
        let expected: Vec<_> = expected.into_iter().map(trace_id).collect();
        assert_eq!(ids(&found), expected, "{key}={value}");
    }
}
