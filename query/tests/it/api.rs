//! Jaeger's HTTP API.

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList,
};
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{Span, Status};
use serde_json::json;

use crate::harness::{NOW_NS, app, attribute, get, request, request_of, span, text};

#[tokio::test]
async fn services_are_listed_and_counted() {
    let app = app(vec![
        request("stock", vec![span(1, 1, 0, "GET")]),
        request("cart", vec![span(1, 2, 1, "GET")]),
    ])
    .await;
    let answer = get(&app, "/api/services").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(
        answer.body,
        r#"{"data":["cart","stock"],"total":2,"limit":0,"offset":0,"errors":null}"#
    );
}

#[tokio::test]
async fn an_empty_store_has_an_empty_list_of_services() {
    let answer = get(&app(vec![]).await, "/api/services").await;
    assert_eq!(
        answer.body,
        r#"{"data":[],"total":0,"limit":0,"offset":0,"errors":null}"#
    );
}

#[tokio::test]
async fn operations_come_as_names_and_with_kinds() {
    let client = Span {
        kind: 3,
        ..span(1, 2, 1, "GET /")
    };
    let unspecified = Span {
        kind: 0,
        ..span(1, 3, 1, "work")
    };
    let app = app(vec![request(
        "my/cart",
        vec![span(1, 1, 0, "GET /"), client, unspecified],
    )])
    .await;

    let names = get(&app, "/api/services/my%2Fcart/operations").await;
    assert_eq!(names.json()["data"], json!(["GET /", "work"]));
    assert_eq!(names.json()["total"], 2);

    let operations = get(&app, "/api/operations?service=my%2Fcart").await;
    let expected = json!([
        {"name": "GET /", "spanKind": "client"},
        {"name": "GET /", "spanKind": "server"},
        {"name": "work", "spanKind": ""},
    ]);
    assert_eq!(operations.json()["data"], expected);
    assert_eq!(operations.json()["total"], 3);

    let servers = get(&app, "/api/operations?service=my%2Fcart&spanKind=server").await;
    assert_eq!(
        servers.json()["data"],
        json!([{"name": "GET /", "spanKind": "server"}])
    );
    let unheard_of = get(&app, "/api/operations?service=my%2Fcart&spanKind=sidecar").await;
    assert_eq!(unheard_of.json()["data"], json!([]));
}

#[tokio::test]
async fn errors_are_json_in_plain_text_with_a_newline() {
    let app = app(vec![]).await;
    let answer = get(&app, "/api/operations").await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
    let expected = concat!(
        r#"{"data":null,"total":0,"limit":0,"offset":0,"#,
        r#""errors":[{"code":400,"msg":"parameter 'service' is required"}]}"#,
        "\n"
    );
    assert_eq!(answer.body, expected);

    let cases = [
        ("/api/traces", 400, "parameter 'service' is required"),
        (
            "/api/traces?service=a&limit=0",
            400,
            "invalid parameter: limit must be greater than 0",
        ),
        (
            "/api/traces?service=a&raw=maybe",
            400,
            "unable to parse param 'raw': ",
        ),
        ("/api/traces?traceID=xyz", 400, "invalid trace id: "),
        ("/api/traces/xyz", 400, "invalid trace id: "),
        ("/api/traces/0", 400, "invalid trace id: "),
        (
            "/api/traces/1?start=soon",
            400,
            "unable to parse param 'start': ",
        ),
        ("/api/traces/1", 404, "trace not found"),
    ];
    for (path, status, message) in cases {
        let answer = get(&app, path).await;
        assert_eq!(answer.status, status, "{path}");
        let error = &answer.json()["errors"][0];
        assert_eq!(error["code"], status, "{path}");
        assert!(
            error["msg"].as_str().unwrap().starts_with(message),
            "{path}: {error}"
        );
    }
}

#[tokio::test]
async fn an_unknown_endpoint_is_a_plain_404() {
    let app = app(vec![]).await;
    for path in ["/api", "/api/", "/api/nothing", "/api/traces/1/spans"] {
        let answer = get(&app, path).await;
        assert_eq!(
            (answer.status.as_u16(), answer.body.as_str()),
            (404, "404 page not found\n")
        );
        assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
    }
}

#[tokio::test]
async fn a_search_returns_whole_traces() {
    let app = app(vec![
        request("cart", vec![span(1, 1, 0, "GET /")]),
        request("stock", vec![span(1, 2, 1, "GET /items")]),
        request("stock", vec![span(2, 3, 0, "GET /items")]),
    ])
    .await;
    let answer = get(&app, "/api/traces?service=cart").await.json();
    assert_eq!(answer["total"], 0);
    assert_eq!(answer["data"].as_array().unwrap().len(), 1);
    assert_eq!(answer["data"][0]["traceID"], "0000000000000001");
    assert_eq!(answer["data"][0]["spans"].as_array().unwrap().len(), 2);

    let none = get(&app, "/api/traces?service=cart&operation=POST").await;
    assert_eq!(
        none.body,
        r#"{"data":[],"total":0,"limit":0,"offset":0,"errors":null}"#
    );
    let limited = get(&app, "/api/traces?service=stock&limit=1").await.json();
    assert_eq!(limited["data"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_search_looks_where_its_times_say_in_any_unit() {
    let app = app(vec![request("cart", vec![span(1, 1, 0, "GET /")])]).await;
    let start = NOW_NS - 20_000_000_000;
    for unit in [1, 1_000, 1_000_000] {
        for (end, n_found) in [(NOW_NS, 1), (NOW_NS - 15_000_000_000, 0)] {
            let path = format!(
                "/api/traces?service=cart&start={}&end={}",
                start / unit,
                end / unit
            );
            let answer = get(&app, &path).await.json();
            assert_eq!(answer["data"].as_array().unwrap().len(), n_found, "{path}");
        }
    }
}

#[tokio::test]
async fn several_traces_are_got_by_their_ids() {
    let app = app(vec![request(
        "cart",
        vec![span(1, 1, 0, "a"), span(2, 2, 0, "b")],
    )])
    .await;
    let answer = get(&app, "/api/traces?traceID=2&traceID=77&traceID=1").await;
    assert_eq!(answer.status, 200);
    let answer = answer.json();
    assert_eq!(answer["data"][0]["traceID"], "0000000000000002");
    assert_eq!(answer["data"][1]["traceID"], "0000000000000001");
    let errors = json!([{"msg": "trace not found", "traceID": "0000000000000077"}]);
    assert_eq!(answer["errors"], errors);
}

#[tokio::test]
async fn a_trace_is_got_by_any_spelling_of_its_id() {
    let app = app(vec![request("cart", vec![span(0xabc, 1, 0, "a")])]).await;
    for id in [
        "abc",
        "00000ABC",
        "00000000000000000000000000000abc",
        "AAAAAAAAAAAAAAAAAAAKvA==",
    ] {
        let answer = get(&app, &format!("/api/traces/{id}")).await;
        assert_eq!(
            answer.json()["data"][0]["traceID"],
            "0000000000000abc",
            "{id}"
        );
    }
    let slashes = u128::from_be_bytes([0xff; 16]);
    let app = self::app(vec![request("cart", vec![span(slashes, 1, 0, "a")])]).await;
    let answer = get(
        &app,
        "/api/traces/%2F%2F%2F%2F%2F%2F%2F%2F%2F%2F%2F%2F%2F%2F%2F%2F%2F%2F%2F%2F%2Fw==",
    )
    .await;
    assert_eq!(
        answer.json()["data"][0]["traceID"],
        "ffffffffffffffffffffffffffffffff"
    );
}

/// Every kind of value, in every place where Jaeger's shape differs from OTLP's.
fn full_span() -> Span {
    let any = |value| AnyValue { value: Some(value) };
    let list = Value::ArrayValue(ArrayValue {
        values: vec![
            any(Value::IntValue(1)),
            any(Value::StringValue("two".into())),
            AnyValue { value: None },
        ],
    });
    let map = Value::KvlistValue(KeyValueList {
        values: vec![
            text("a", "\"quoted\""),
            attribute("b", Value::BytesValue(vec![0xff, 0x00])),
        ],
    });
    let link = |trace: u128, span: u64, attributes: Vec<KeyValue>| Link {
        trace_id: trace.to_be_bytes().to_vec(),
        span_id: span.to_be_bytes().to_vec(),
        attributes,
        ..Link::default()
    };
    Span {
        trace_state: "ot=th:0".into(),
        flags: 0x301,
        attributes: vec![
            text("string", "line\nbreak \u{2764}"),
            attribute("bool", Value::BoolValue(false)),
            attribute("int", Value::IntValue(-42)),
            attribute("int.great", Value::IntValue(1 << 53)),
            attribute("double", Value::DoubleValue(0.1)),
            attribute("double.nan", Value::DoubleValue(f64::NAN)),
            attribute("bytes", Value::BytesValue(vec![1, 2, 255])),
            attribute("list", list),
            attribute("map", map),
            KeyValue {
                key: "empty".into(),
                ..KeyValue::default()
            },
        ],
        events: vec![
            Event {
                time_unix_nano: NOW_NS - 9_999_000_000,
                name: "retry".into(),
                attributes: vec![attribute("attempt", Value::IntValue(2))],
                ..Event::default()
            },
            Event {
                time_unix_nano: NOW_NS - 9_998_000_000,
                name: "its name is said by an attribute".into(),
                attributes: vec![text("event", "timeout")],
                ..Event::default()
            },
        ],
        links: vec![
            link(2, 0x22, vec![]),
            link(3, 0x33, vec![text("opentracing.ref_type", "child_of")]),
            link(0, 0, vec![]),
        ],
        status: Some(Status {
            code: 2,
            message: "no upstream".into(),
        }),
        ..span(
            0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c,
            0xb7ad_6b71_6920_3331,
            0x11,
            "GET /cart",
        )
    }
}

#[tokio::test]
async fn a_trace_has_jaegers_shape() {
    let trace = 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c;
    let resource = vec![
        text("service.name", "cart"),
        text("host.name", "a"),
        attribute("process.pid", Value::IntValue(7)),
    ];
    let mut first = request_of(resource.clone(), vec![full_span()]);
    first.resource_spans[0].scope_spans[0].scope = Some(InstrumentationScope {
        name: "spanloom-filter".into(),
        version: "0.1.0".into(),
        ..InstrumentationScope::default()
    });
    let ok = Status {
        code: 1,
        message: String::new(),
    };
    let child = Span {
        kind: 1,
        status: Some(ok),
        ..span(trace, 0x12, 0x11, "price")
    };
    let child_of_link = Span {
        kind: 0,
        links: vec![Link {
            trace_id: trace.to_be_bytes().to_vec(),
            span_id: 0x11_u64.to_be_bytes().to_vec(),
            ..Link::default()
        }],
        ..span(trace, 0x14, 0x11, "follows its parent")
    };
    let app = app(vec![
        first,
        request_of(resource, vec![child]),
        request_of(vec![], vec![span(trace, 0x13, 0x12, "of no resource")]),
        request_of(vec![text("host.name", "b")], vec![child_of_link]),
    ])
    .await;
    let answer = get(
        &app,
        "/api/traces/0af7651916cd43dd8448eb211c80319c?prettyPrint=true",
    )
    .await;
    insta::assert_snapshot!(answer.body);
}

#[tokio::test]
async fn pretty_and_plain_answers_say_the_same() {
    let app = app(vec![request("cart", vec![full_span()])]).await;
    let plain = get(&app, "/api/traces?service=cart").await;
    let pretty = get(&app, "/api/traces?service=cart&prettyPrint=true").await;
    assert!(!plain.body.contains('\n'));
    assert!(pretty.body.starts_with("{\n    \"data\": ["));
    assert_eq!(plain.json(), pretty.json());
    assert_eq!(
        get(&app, "/api/traces?service=cart&prettyPrint=false")
            .await
            .body,
        plain.body
    );
}

#[tokio::test]
async fn repeated_spans_are_shown_once_unless_raw_but_twins_stay() {
    let twin = Span {
        kind: 3,
        ..span(1, 1, 0, "shared id")
    };
    let once = request("cart", vec![span(1, 1, 0, "shared id"), twin]);
    let app = app(vec![once.clone(), once]).await;
    for (path, n_spans) in [("/api/traces/1", 2), ("/api/traces/1?raw=true", 4)] {
        let answer = get(&app, path).await.json();
        assert_eq!(
            answer["data"][0]["spans"].as_array().unwrap().len(),
            n_spans,
            "{path}"
        );
    }
}

#[tokio::test]
async fn attributes_are_sorted_unless_raw() {
    let span = Span {
        attributes: vec![text("b", "1"), text("a", "2")],
        ..span(1, 1, 0, "x")
    };
    let app = app(vec![request("cart", vec![span])]).await;
    for (path, first) in [("/api/traces/1", "a"), ("/api/traces/1?raw=1", "b")] {
        let answer = get(&app, path).await.json();
        assert_eq!(
            answer["data"][0]["spans"][0]["tags"][0]["key"], first,
            "{path}"
        );
    }
}

/// What Jaeger's own fixture `otlp2jaeger-in.json` becomes in `otlp2jaeger-out.json`.
#[tokio::test]
async fn jaegers_own_fixture_becomes_what_jaeger_says() {
    let trace = 0x83a9_efd1_5c1c_98a9_77e0_711c_c93e_e28b;
    let span = Span {
        start_time_unix_nano: 1_706_678_909_209_712_000,
        end_time_unix_nano: 1_706_678_909_209_835_000,
        attributes: vec![
            text("net.peer.ip", "1.2.3.4"),
            text("peer.service", "telemetrygen-client"),
        ],
        status: Some(Status::default()),
        ..span(
            trace,
            0xe127_af99_e3b3_e074,
            0x9095_41b9_2cf0_5311,
            "okey-dokey-0",
        )
    };
    let mut request = request("telemetrygen", vec![span]);
    request.resource_spans[0].scope_spans[0].scope = Some(InstrumentationScope {
        name: "telemetrygen".into(),
        ..Default::default()
    });
    let answer = get(
        &app(vec![request]).await,
        "/api/traces/83a9efd15c1c98a977e0711cc93ee28b",
    )
    .await;
    let tag = |key, value| json!({"key": key, "type": "string", "value": value});
    let expected = json!({
        "data": [{
            "traceID": "83a9efd15c1c98a977e0711cc93ee28b",
            "spans": [{
                "traceID": "83a9efd15c1c98a977e0711cc93ee28b",
                "spanID": "e127af99e3b3e074",
                "operationName": "okey-dokey-0",
                "references": [{
                    "refType": "CHILD_OF",
                    "traceID": "83a9efd15c1c98a977e0711cc93ee28b",
                    "spanID": "909541b92cf05311",
                }],
                "startTime": 1_706_678_909_209_712_u64,
                "duration": 123,
                "tags": [
                    tag("otel.scope.name", "telemetrygen"),
                    tag("net.peer.ip", "1.2.3.4"),
                    tag("peer.service", "telemetrygen-client"),
                    tag("span.kind", "server"),
                ],
                "logs": [],
                "processID": "p1",
                "warnings": null,
            }],
            "processes": {"p1": {"serviceName": "telemetrygen", "tags": []}},
            "warnings": null,
        }],
        "total": 0,
        "limit": 0,
        "offset": 0,
        "errors": null,
    });
    assert_eq!(answer.json(), expected);
}

#[tokio::test]
async fn many_traces_make_one_document() {
    let spans = (1..=300).map(|n| span(n, 1, 0, &"long name ".repeat(30)));
    let app = app(vec![request("cart", spans.collect())]).await;
    let answer = get(&app, "/api/traces?service=cart&limit=1000").await;
    assert!(answer.body.len() > 64 * 1024);
    assert_eq!(answer.json()["data"].as_array().unwrap().len(), 300);
}

#[tokio::test]
async fn no_origin_is_invited_to_read_traces() {
    let app = app(vec![request("cart", vec![span(1, 1, 0, "a")])]).await;
    let answer = get(&app, "/api/traces/1").await;
    assert_eq!(answer.header("access-control-allow-origin"), "");
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    assert_eq!(answer.header("cache-control"), "no-store");
}
