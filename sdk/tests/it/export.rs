//! Spans arrive: over both protocols, from every runtime, and the guard tells the truth about it.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use opentelemetry::trace::{Span as _, TraceContextExt, Tracer as _, TracerProvider as _};
use spanloom::testing::Sink;
use spanloom::{Error, Guard, opentelemetry};

use crate::collector::Collector;

fn start(endpoint: String) -> Guard {
    let lookup = move |name: &str| match name {
        "OTEL_SERVICE_NAME" => Some("cart".to_owned()),
        "OTEL_EXPORTER_OTLP_ENDPOINT" => Some(endpoint.clone()),
        "OTEL_EXPORTER_OTLP_PROTOCOL" if endpoint.ends_with("#grpc") => Some("grpc".to_owned()),
        _ => None,
    };
    spanloom::builder().environment(lookup).start().unwrap()
}

fn over_grpc(collector: &Collector) -> Guard {
    start(format!("http://{}#grpc", collector.grpc))
}

fn make_span(guard: &Guard, name: &'static str) {
    guard.tracer_provider().tracer("test").start(name).end();
}

#[test]
fn spans_arrive_over_grpc_without_any_runtime() {
    let collector = Collector::start();
    let guard = over_grpc(&collector);
    make_span(&guard, "one");
    guard.flush().unwrap();
    assert_eq!(collector.spans(), ["cart: one"]);
    make_span(&guard, "two");
    drop(guard);
    assert_eq!(collector.spans(), ["cart: one", "cart: two"]);
}

#[test]
fn spans_arrive_over_http() {
    let collector = Collector::start();
    let guard = start(format!("http://{}", collector.http));
    make_span(&guard, "one");
    guard.shutdown().unwrap();
    assert_eq!(collector.spans(), ["cart: one"]);
}

#[tokio::test(flavor = "current_thread")]
async fn a_flush_works_on_the_only_thread_of_a_runtime() {
    let collector = Collector::start();
    let guard = over_grpc(&collector);
    make_span(&guard, "one");
    guard.flush().unwrap();
    guard.shutdown().unwrap();
    assert_eq!(collector.spans(), ["cart: one"]);
    tokio::task::spawn_blocking(|| drop(collector))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_flush_works_in_a_task_of_a_runtime_with_one_worker() {
    let collector = Collector::start();
    let guard = over_grpc(&collector);
    let task = tokio::spawn(async move {
        make_span(&guard, "one");
        guard.shutdown().unwrap();
    });
    task.await.unwrap();
    assert_eq!(collector.spans(), ["cart: one"]);
    tokio::task::spawn_blocking(|| drop(collector))
        .await
        .unwrap();
}

#[test]
fn without_a_collector_it_starts_and_says_that_spans_were_lost() {
    // Bound and closed again: nobody listens there.
    let nobody = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let guard = start(format!("http://{nobody}#grpc"));
    make_span(&guard, "one");
    assert!(matches!(guard.flush(), Err(Error::NotDelivered(_))));
    // Upstream forgets here that its last export failed.
    assert!(matches!(guard.shutdown(), Err(Error::NotDelivered(_))));
}

#[test]
fn a_collector_that_never_answers_holds_the_end_no_longer_than_allowed() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let guard = spanloom::builder()
        .environment(move |name| (name == "OTEL_EXPORTER_OTLP_ENDPOINT").then(|| endpoint.clone()))
        .flush_timeout(Duration::from_millis(50))
        .start()
        .unwrap();
    make_span(&guard, "one");
    let before = Instant::now();
    assert!(matches!(guard.shutdown(), Err(Error::NotDelivered(_))));
    assert!(
        before.elapsed() < Duration::from_secs(2),
        "{:?}",
        before.elapsed()
    );
}

#[test]
fn an_endpoint_that_is_no_url_is_an_error_at_the_start() {
    let lookup = |name: &str| (name == "OTEL_EXPORTER_OTLP_ENDPOINT").then(|| ":// ".to_owned());
    let error = spanloom::builder().environment(lookup).start().unwrap_err();
    assert!(
        error.to_string().contains("OTEL_EXPORTER_OTLP_ENDPOINT"),
        "{error}"
    );
}

#[test]
fn a_disabled_sdk_makes_no_spans_and_keeps_the_callers_context() {
    let sink = Sink::default();
    let lookup = |name: &str| (name == "OTEL_SDK_DISABLED").then(|| "true".to_owned());
    let guard = spanloom::builder()
        .environment(lookup)
        .exporter(sink.clone())
        .start()
        .unwrap();
    let caller = opentelemetry::Context::new().with_remote_span_context(
        opentelemetry::trace::SpanContext::new(
            1.into(),
            2.into(),
            opentelemetry::trace::TraceFlags::SAMPLED,
            true,
            opentelemetry::trace::TraceState::default(),
        ),
    );
    let tracer = guard.tracer_provider().tracer("test");
    let span = tracer.start_with_context("one", &caller);
    assert_eq!(span.span_context(), caller.span().span_context());
    assert!(!span.is_recording());
    drop(span);
    guard.shutdown().unwrap();
    assert!(sink.spans().is_empty());
}

#[test]
fn a_child_of_an_unsampled_parent_is_not_recorded_but_has_an_id() {
    let sink = Sink::default();
    let lookup =
        |name: &str| (name == "OTEL_TRACES_SAMPLER").then(|| "parentbased_always_off".to_owned());
    let guard = spanloom::builder()
        .environment(lookup)
        .exporter(sink.clone())
        .start()
        .unwrap();
    let tracer = guard.tracer_provider().tracer("test");
    let parent = opentelemetry::Context::new().with_span(tracer.start("parent"));
    let child = tracer.start_with_context("child", &parent);
    let parent = parent.span().span_context().clone();
    assert!(child.span_context().is_valid());
    assert_eq!(child.span_context().trace_id(), parent.trace_id());
    assert_ne!(child.span_context().span_id(), parent.span_id());
    assert!(!child.span_context().is_sampled());
    guard.flush().unwrap();
    assert!(sink.spans().is_empty());
}
