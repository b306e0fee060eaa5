//! The filter never harms traffic: whatever comes in, whatever the collector does, however it is
//! configured, requests are answered, memory stays bounded, and every lost span is counted.

use serde_json::{Value, json};
use spanloom_tests::lab::{Delivery, EnvoyOptions, Lab, Mood, Sink, Tracing};
use xtask::wait;

/// A lab with this configuration of the filter; `None` without Envoy, which the test then says.
fn lab(configuration: Value, sink: &Sink) -> Option<Lab> {
    let Some((envoy, module)) = spanloom_tests::envoy_and_filter().expect("a built filter") else {
        spanloom_tests::not_run("Envoy: cargo xtask parts envoy");
        return None;
    };
    let tracing = Tracing::Filter {
        module,
        configuration,
        delivery: Delivery::Inline,
    };
    Some(Lab::start(&envoy, EnvoyOptions::new(tracing, sink.address())).expect("an Envoy"))
}

fn quick() -> Value {
    json!({ "batch": { "interval_ms": 20 } })
}

fn check_passes(lab: &Lab, headers: &[(&str, &[u8])]) {
    let outcome = lab.send(headers, 1).expect("an answer");
    assert_eq!(outcome.answer.status(), 200);
    assert_eq!(outcome.calls.len(), 1);
}

fn stat(lab: &Lab, name: &str) -> u64 {
    let stats = lab.envoy().stats(name).expect("statistics");
    stats
        .into_iter()
        .find(|(n, _)| n == name)
        .map_or(0, |(_, value)| value)
}

fn wait_for(lab: &Lab, name: &str, wanted: impl Fn(u64) -> bool) -> u64 {
    lab.envoy()
        .wait_for_stat(&format!("wasmcustom.spanloom.{name}"), wanted)
        .expect("a count")
}

#[test]
fn hostile_headers_pass_and_make_valid_spans() {
    let sink = Sink::start().expect("a sink");
    let Some(lab) = lab(quick(), &sink) else {
        return;
    };
    let all_bytes: Vec<u8> = (1..=255)
        .filter(|byte| ![b'\n', b'\r'].contains(byte))
        .collect();
    let long = vec![b'x'; 80 * 1024];
    let many: Vec<String> = (0..1000).map(|i| format!("x-header-{i}")).collect();
    let mut hostile: Vec<Vec<(&str, &[u8])>> = vec![
        vec![
            ("user-agent", &[0xff, 0xfe, 0x80]),
            ("x-request-id", &[0xc3]),
        ],
        vec![
            ("x-forwarded-for", &all_bytes[127..]),
            ("referer", &all_bytes[127..]),
        ],
        vec![("user-agent", &long)],
        vec![("tracestate", &long), ("traceparent", &long[..1000])],
        vec![
            ("user-agent", b"a"),
            ("user-agent", b"b"),
            ("baggage", b"=;,=,,;"),
            ("baggage", b""),
        ],
        vec![("traceparent", b""), ("tracestate", b",,,,")],
        vec![
            ("grpc-timeout", b"-1"),
            ("content-type", b"application/grpc;;;"),
        ],
    ];
    hostile.push(many.iter().map(|name| (name.as_str(), &b"v"[..])).collect());
    let n_requests = hostile.len() as u64;
    for headers in hostile {
        check_passes(&lab, &headers);
    }
    wait::until("all spans", || {
        Ok((sink.n_spans() >= 2 * n_requests).then_some(()))
    })
    .expect("spans");
    assert_eq!(sink.n_invalid(), 0);
    assert_eq!(stat(&lab, "wasmcustom.spanloom.host_errors"), 0);
}

#[test]
fn a_wrong_configuration_lets_requests_pass_and_is_counted() {
    for configuration in [
        json!({ "sampling": { "ratoi": 1 } }),
        json!(17),
        json!({ "batch": [] }),
    ] {
        let sink = Sink::start().expect("a sink");
        let Some(lab) = lab(configuration, &sink) else {
            return;
        };
        check_passes(&lab, &[]);
        // One root for each listener; the main thread's VM and the canary count as well.
        wait_for(&lab, "configuration_errors", |n| n >= 2);
        assert_eq!(sink.n_spans(), 0);
    }
}

#[test]
fn a_missing_cluster_lets_requests_pass_and_is_counted() {
    let sink = Sink::start().expect("a sink");
    let mut configuration = quick();
    configuration["exporter"] = json!({ "protocol": "grpc", "cluster": "nowhere" });
    let Some(lab) = lab(configuration, &sink) else {
        return;
    };
    check_passes(&lab, &[]);
    wait_for(&lab, "export_cluster_missing", |n| n > 0);
    check_passes(&lab, &[]);
}

/// While the collector is in this mood requests pass; when it is well again, every span is either
/// there or counted as dropped, for the reason named here if spans are lost at all.
fn check_mood(protocol: &str, mood: Mood, reason: Option<&str>) {
    let sink = Sink::start().expect("a sink");
    let cluster = if protocol == "grpc" {
        "otel_collector"
    } else {
        "otel_collector_http"
    };
    let mut configuration = quick();
    configuration["exporter"] = json!({
        "protocol": protocol, "cluster": cluster, "timeout_ms": 200,
        "retry": { "initial_ms": 10, "interval_ms_max": 50 }
    });
    let Some(lab) = lab(configuration, &sink) else {
        return;
    };
    sink.set_mood(mood);
    for _ in 0..5 {
        check_passes(&lab, &[]);
    }
    match reason {
        Some(reason) => {
            wait_for(&lab, &format!("spans_dropped.{reason}"), |n| n == 10);
            assert_eq!(sink.n_spans(), 0);
        }
        None => {
            wait_for(&lab, "export_retries", |n| n > 0);
            sink.set_mood(Mood::Accept);
            wait_for(&lab, "spans_exported", |n| n == 10);
            assert!(sink.n_spans() >= 10);
        }
    }
}

#[test]
fn an_overloaded_collector_is_tried_again() {
    check_mood("grpc", Mood::Unavailable, None);
    check_mood("http", Mood::Unavailable, None);
}

#[test]
fn a_silent_collector_is_tried_again() {
    check_mood("grpc", Mood::Silent, None);
    check_mood("http", Mood::Silent, None);
}

#[test]
fn a_refusing_collector_is_not_tried_again() {
    check_mood("grpc", Mood::Refuse, Some("refused"));
    check_mood("http", Mood::Refuse, Some("refused"));
}

#[test]
fn a_collector_that_answers_garbage_has_taken_the_spans() {
    let sink = Sink::start().expect("a sink");
    let Some(lab) = lab(quick(), &sink) else {
        return;
    };
    sink.set_mood(Mood::Garbage);
    for _ in 0..5 {
        check_passes(&lab, &[]);
    }
    wait_for(&lab, "spans_exported", |n| n == 10);
    assert_eq!(sink.n_spans(), 10);
}
