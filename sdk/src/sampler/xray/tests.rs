//! A daemon of ours answers, over a real socket.

use std::sync::Mutex;

use axum::Json;
use axum::extract::State as AxumState;
use axum::routing::post;
use opentelemetry::trace::{Span as _, Tracer as _, TracerProvider as _};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use super::*;
use crate::builder;
use crate::testing::Sink;

/// What the daemon was told.
type Told = Arc<Mutex<Vec<Value>>>;

/// Answers as long as the runtime lives: rules on two pages, and a rate of 1 for the rule `dear`.
fn serve() -> (Runtime, String, Told) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let told = Told::default();
    let app = axum::Router::new()
        .route("/GetSamplingRules", post(rules))
        .route("/SamplingTargets", post(targets))
        .with_state(Arc::clone(&told));
    runtime.spawn(async move { axum::serve(listener, app).await });
    (runtime, address, told)
}

async fn rules(Json(question): Json<Value>) -> Json<Value> {
    let record = |name, priority, path, kind| {
        json!({ "SamplingRule": { "RuleName": name, "Priority": priority, "FixedRate": 0.0,
            "ReservoirSize": 0, "ServiceName": "*", "ServiceType": kind, "Host": "*",
            "HTTPMethod": "*", "URLPath": path, "ResourceARN": "*", "Version": 1 } })
    };
    Json(match question["NextToken"].as_str() {
        None => json!({ "SamplingRuleRecords": [record("Default", 10000, "*", "*")],
                        "NextToken": "second" }),
        Some(_) => {
            json!({ "SamplingRuleRecords": [record("dear", 1, "/dear/*", "AWS::EC2::Instance")] })
        }
    })
}

async fn targets(AxumState(told): AxumState<Told>, Json(question): Json<Value>) -> Json<Value> {
    told.lock().unwrap().push(question);
    Json(json!({ "SamplingTargetDocuments": [{ "RuleName": "dear", "FixedRate": 1.0 }] }))
}

#[test]
fn the_daemons_rules_decide_and_it_is_told_what_they_did() {
    let (_runtime, address, told) = serve();
    let lookup = move |name: &str| match name {
        "OTEL_TRACES_SAMPLER" => Some("parentbased_xray".to_owned()),
        "OTEL_RESOURCE_ATTRIBUTES" => Some("cloud.platform=aws_ec2".to_owned()),
        "OTEL_TRACES_SAMPLER_ARG" => Some(format!("endpoint={address},polling_interval=0.01")),
        _ => None,
    };
    let sink = Sink::default();
    let guard = builder()
        .environment(lookup)
        .exporter(sink.clone())
        .start()
        .unwrap();
    let tracer = guard.tracer_provider().tracer("test");
    let is_sampled = |path: &'static str| {
        let span = tracer.span_builder("GET");
        let span = span.with_attributes([KeyValue::new("url.path", path)]);
        tracer.build(span).span_context().is_sampled()
    };
    let deadline = Instant::now() + Duration::from_secs(20);
    // The fallback lets some of these through; only the rules let ten in a row.
    while !(0..10).all(|_| is_sampled("/dear/7")) {
        assert!(Instant::now() < deadline, "the rules have no effect");
        std::thread::yield_now();
    }
    assert!((0..100).all(|_| !is_sampled("/cheap")));
    let count = |name: &str| {
        let told = told.lock().unwrap();
        let all = told
            .iter()
            .flat_map(|told| list(told, "SamplingStatisticsDocuments"));
        let dear = all.filter(|document| document["RuleName"] == "dear");
        dear.filter_map(|document| document[name].as_u64())
            .sum::<u64>()
    };
    while count("SampledCount") < 10 {
        assert!(Instant::now() < deadline, "the daemon is told nothing");
        std::thread::yield_now();
    }
    assert!(count("RequestCount") >= count("SampledCount"));
}

#[test]
fn without_a_daemon_one_a_second_and_five_in_a_hundred_are_sampled() {
    let sampler = XraySampler::new();
    let sampled = |n: u128| {
        let id = TraceId::from(n << 54 | 1 << 100);
        let result = sampler.should_sample(None, id, "GET", &SpanKind::Server, &[], &[]);
        result.decision == decision(true)
    };
    assert!(sampled(1023), "the first one");
    // Spread evenly over the bits that decide; a slow machine may let in one more a second.
    let n_kept = (0..1000).filter(|n| sampled(*n)).count();
    assert!((45..=60).contains(&n_kept), "{n_kept}");
}

#[test]
fn rules_that_nobody_confirms_are_forgotten_after_an_hour() {
    let sampler = XraySampler::new();
    let now = Instant::now();
    let none = json!({ "SamplingRule": { "RuleName": "none", "FixedRate": 0.0 } });
    let service = Service::of(&Resource::builder_empty().build(), "cart".to_owned());
    sampler.replace(&[none], &service, now);
    let rate = |after: u64| {
        let (_, _, rate) = sampler.decide(Asked(&[]), now + Duration::from_secs(after));
        rate
    };
    assert_eq!([rate(0), rate(3599), rate(3600)], [0.0, 0.0, FALLBACK_RATE]);
}
