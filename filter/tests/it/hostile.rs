//! Requests, properties and answers that nobody sane sends: no trap, no change of what is not ours,
//! and valid OTLP all the same.

use proptest::prelude::*;

use crate::otlp::spans;
use crate::sim::{
    CONTEXT, Direction, Exchange, Pairs, Process, Reply, Value, Worker, without_context,
};

/// Every reader of foreign bytes that the filter has.
const CURIOUS: &str = r#"{
    "semconv": "dup",
    "propagation": {
        "extract": ["b3", "b3multi", "jaeger", "datadog", "xray", "grpc-trace-bin", "tracecontext"],
        "inject": ["tracecontext", "b3multi", "jaeger", "datadog", "xray", "grpc-trace-bin"]
    },
    "sampling": {
        "on_remote": "resample",
        "by_request_id": true,
        "keep_errors": true,
        "rules": [{"path": "/a*b*c", "host": "*.x", "headers": {"x-a": "*"}, "ratio": 0.5}]
    },
    "route": {"templates": ["/cart/{id}"]},
    "attributes": {
        "request_headers": ["x-a", "cookie"],
        "response_headers": ["x-a"],
        "bytes_max": 64,
        "custom": [
            {"key": "a", "property": "xds.route_name"},
            {"key": "b", "baggage": "user"},
            {"key": "c", "response_header": "x-a"}
        ]
    }
}"#;

/// Headers that the filter reads, besides those of trace contexts.
const NAMES: &[&str] = &[
    ":method",
    ":path",
    ":scheme",
    ":authority",
    "baggage",
    "content-type",
    "user-agent",
    "x-forwarded-for",
    "x-request-id",
    "x-a",
    "cookie",
    "grpc-status",
    "grpc-message",
    ":status",
    "retry-after",
    "grpc-status-details-bin",
];

const PROPERTIES: &[&str] = &[
    "connection_id",
    "response.code",
    "response.flags",
    "response.code_details",
    "response.size",
    "request.size",
    "request.protocol",
    "request.time",
    "response.grpc_status",
    "xds.route_name",
    "xds.cluster_name",
    "source.address",
    "destination.port",
    "upstream.address",
    "upstream.request_attempt_count",
];

/// Any bytes that a header may have, or something that looks like a value at first.
fn value() -> impl Strategy<Value = Vec<u8>> {
    let text = |pattern| prop::string::string_regex(pattern).unwrap();
    prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 0..80),
        2 => text("[0-9a-f]{2}-[0-9a-f]{31,33}-[0-9a-f]{15,17}-[0-9a-f]{2}.{0,3}").prop_map(String::into_bytes),
        2 => text("([0-9a-f]{16}:){2}0?:[0-9]|[0-9a-f]{32}-[0-9a-f]{16}(-[01d])?|(Root=1-[0-9a-f]{8}-[0-9a-f]{24};?|Parent=[0-9a-f]{16};?|=;){0,4}").prop_map(String::into_bytes),
        2 => text("([a-z]{0,3}[=:;,/?#@%&]{1,2}[ -~]{0,4}){0,12}").prop_map(String::into_bytes),
        1 => text("[0-9]{0,25}").prop_map(String::into_bytes),
        1 => text("application/grpc(\\+proto)?").prop_map(String::into_bytes),
        1 => text("[A-Za-z0-9+/=]{0,60}").prop_map(String::into_bytes),
        1 => (0u8.., 1000..100_000usize).prop_map(|(byte, n)| vec![byte.max(1); n]),
    ]
}

fn headers(n_max: usize) -> impl Strategy<Value = Pairs> {
    let known = prop::sample::select([NAMES, CONTEXT].concat());
    let known = known.prop_map(|name| name.as_bytes().to_vec());
    let name = prop_oneof![8 => known, 1 => prop::collection::vec(33u8.., 1..40)];
    prop::collection::vec((name, value()), 0..n_max)
}

fn properties() -> impl Strategy<Value = Vec<(&'static str, Value)>> {
    let value = prop_oneof![
        any::<i64>().prop_map(Value::Int),
        (-2i64..700).prop_map(Value::Int),
        value().prop_map(Value::Bytes),
    ];
    prop::collection::vec((prop::sample::select(PROPERTIES), value), 0..20)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn arbitrary_requests_do_no_harm(
        requests in prop::collection::vec((headers(30), headers(10), headers(5), properties()), 1..6),
        is_curious: bool,
        is_refused: bool,
    ) {
        let process = Process::new();
        let mut worker = Worker::new(&process);
        let configuration = if is_curious { CURIOUS } else { "" };
        let root = worker.root(configuration, Direction::Inbound);
        prop_assert!(process.log().is_empty(), "{:?}", process.log());
        for (request, response, trailers, properties) in requests {
            let mut exchange = Exchange::get("/");
            exchange.request = request;
            exchange.response = response;
            exchange.trailers = trailers;
            for (name, value) in properties {
                exchange = exchange.property(name, value);
            }
            let served = match is_refused {
                true => worker.refuse(root, exchange.clone()),
                false => worker.serve(root, exchange.clone()),
            };
            prop_assert_eq!(without_context(&served.request), without_context(&exchange.request));
            prop_assert_eq!(served.response, exchange.response);
        }
        worker.advance_ms(1000);
        for call in worker.calls() {
            prop_assert!(spans(&call).iter().all(|span| span.span.trace_id.len() == 16));
        }
    }

    #[test]
    fn arbitrary_answers_do_no_harm(
        replies in prop::collection::vec((headers(6), headers(6), value()), 1..6),
        is_http: bool,
    ) {
        let protocol = if is_http { "http" } else { "grpc" };
        let configuration = format!(r#"{{"exporter": {{"protocol": "{protocol}"}}}}"#);
        let mut worker = Worker::new(&Process::new());
        let root = worker.root(&configuration, Direction::Inbound);
        for (headers, trailers, body) in replies {
            worker.serve(root, Exchange::get("/"));
            worker.advance_ms(1000);
            if let Some(call) = worker.calls().pop() {
                worker.answer(call.token, Reply { headers, body, trailers });
            }
        }
        worker.end_root(root);
        worker.advance_ms(10_000);
        prop_assert!(!worker.is_alive(root));
        let process = worker.process();
        let n_gone = process.metric("spanloom.spans_exported")
            + process.metrics_under("spanloom.spans_dropped");
        prop_assert_eq!(process.metric("spanloom.spans_accepted"), n_gone);
    }
}

#[test]
fn a_request_of_as_many_headers_as_envoy_takes_passes() {
    let mut worker = Worker::new(&Process::new());
    let root = worker.root(CURIOUS, Direction::Inbound);
    let mut exchange = Exchange::get("/");
    for i in 0..1000 {
        exchange = exchange.header(&format!("x-{i}"), vec![0xff; 1000]);
    }
    for _ in 0..3 {
        let served = worker.serve(root, exchange.clone());
        assert_eq!(
            without_context(&served.request),
            without_context(&exchange.request)
        );
    }
    worker.advance_ms(1000);
    assert_eq!(spans(&worker.only_call()).len(), 3);
}

#[test]
fn requests_without_end_to_a_dead_collector_cost_bounded_memory() {
    let process = Process::new();
    let mut worker = Worker::new(&process);
    let root = worker.root(
        r#"{"exporter": {"buffer_bytes_max": 262144}}"#,
        Direction::Inbound,
    );
    let mut flood = |n: u32| {
        for i in 0..n {
            let target = format!("/{}", "a".repeat(500 + i as usize % 500));
            worker.serve(root, Exchange::get(&target));
            if i % 50 == 0 {
                worker.advance_ms(1000);
            }
        }
        worker.n_memory_pages()
    };
    let n_full = flood(1500);
    let n_after = flood(1500);
    assert_eq!(n_full, n_after);
    assert!(process.metric("spanloom.spans_dropped.buffer_full") > 0);
}

#[test]
fn many_streams_at_once_that_never_get_a_response_end() {
    let mut worker = Worker::new(&Process::new());
    let root = worker.root("", Direction::Inbound);
    let streams: Vec<u32> = (0..200)
        .map(|_| worker.begin(root, Exchange::get("/")))
        .collect();
    for stream in streams {
        worker.end(stream);
    }
    worker.advance_ms(1000);
    assert_eq!(spans(&worker.only_call()).len(), 200);
    assert_eq!(worker.process().metric("spanloom.spans_accepted"), 200);
}
