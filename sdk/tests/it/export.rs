//! Spans arrive: over every protocol, from every runtime, and the guard tells the truth about it.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use opentelemetry::trace::{Span as _, Tracer as _, TracerProvider as _};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use spanloom::testing::{FakeCollector, Sink};
use spanloom::tower::ServerLayer;
use spanloom::{Error, Guard, LogFormat, opentelemetry, opentelemetry_sdk};
use tokio::sync::Notify;

use crate::child::{is_program, run};

fn start(variables: &[(&'static str, String)]) -> Guard {
    let variables = variables.to_vec();
    let lookup = move |name: &str| match name {
        "OTEL_SERVICE_NAME" => Some("cart".to_owned()),
        name => variables
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value.clone()),
    };
    spanloom::builder().environment(lookup).start().unwrap()
}

fn to(endpoint: String, protocol: &str) -> Guard {
    start(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol.to_owned()),
    ])
}

fn over_grpc(collector: &FakeCollector) -> Guard {
    to(collector.grpc_endpoint(), "grpc")
}

fn make_span(guard: &Guard, name: &'static str) {
    guard.tracer_provider().tracer("test").start(name).end();
}

#[test]
fn spans_arrive_over_grpc_without_any_runtime() {
    let collector = FakeCollector::start().unwrap();
    let guard = over_grpc(&collector);
    make_span(&guard, "one");
    guard.flush().unwrap();
    assert_eq!(collector.tree(&[]), "cart INTERNAL one\n");
    make_span(&guard, "two");
    drop(guard);
    assert_eq!(
        collector.tree(&[]),
        "cart INTERNAL one\ncart INTERNAL two\n"
    );
}

#[test]
fn spans_arrive_over_http_in_both_encodings() {
    let collector = FakeCollector::start().unwrap();
    for (protocol, content_type) in [
        ("http/protobuf", "application/x-protobuf"),
        ("http/json", "application/json"),
    ] {
        let guard = to(collector.http_endpoint(), protocol);
        make_span(&guard, "one");
        guard.shutdown().unwrap();
        let received = collector.received().pop().unwrap();
        assert_eq!(received.headers["content-type"], content_type);
    }
    assert_eq!(
        collector.tree(&[]),
        "cart INTERNAL one\ncart INTERNAL one\n"
    );
}

#[test]
fn headers_and_compression_reach_the_collector_over_every_protocol() {
    let collector = FakeCollector::start().unwrap();
    for (endpoint, protocol, encoding) in [
        (collector.grpc_endpoint(), "grpc", "grpc-encoding"),
        (
            collector.http_endpoint(),
            "http/protobuf",
            "content-encoding",
        ),
    ] {
        let guard = start(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol.to_owned()),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip".to_owned()),
            (
                "OTEL_EXPORTER_OTLP_HEADERS",
                "x-tenant=web%20shop".to_owned(),
            ),
        ]);
        make_span(&guard, "one");
        guard.shutdown().unwrap();
        let received = collector.received().pop().unwrap();
        assert_eq!(received.headers["x-tenant"], "web shop", "{protocol}");
        assert_eq!(received.headers[encoding], "gzip", "{protocol}");
    }
    assert_eq!(collector.n_spans(), 2);
}

#[tokio::test(flavor = "current_thread")]
async fn a_flush_works_on_the_only_thread_of_a_runtime() {
    let collector = FakeCollector::start().unwrap();
    let guard = over_grpc(&collector);
    make_span(&guard, "one");
    guard.flush().unwrap();
    guard.shutdown().unwrap();
    assert_eq!(collector.n_spans(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_flush_works_in_a_task_of_a_runtime_with_one_worker() {
    let collector = FakeCollector::start().unwrap();
    let guard = over_grpc(&collector);
    let task = tokio::spawn(async move {
        make_span(&guard, "one");
        guard.shutdown().unwrap();
    });
    task.await.unwrap();
    assert_eq!(collector.n_spans(), 1);
}

#[test]
fn a_full_batch_is_sent_without_waiting_for_the_clock() {
    let sink = Sink::default();
    let lookup = |name: &str| match name {
        "OTEL_BSP_SCHEDULE_DELAY" => Some("0".to_owned()),
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE" => Some("4".to_owned()),
        _ => None,
    };
    let guard = spanloom::builder()
        .environment(lookup)
        .exporter(sink.clone())
        .start()
        .unwrap();
    for _ in 0..4 {
        make_span(&guard, "one");
    }
    let deadline = Instant::now() + Duration::from_secs(10);
    while sink.spans().len() < 4 {
        assert!(Instant::now() < deadline, "the batch was not sent");
        std::thread::yield_now();
    }
}

#[test]
fn without_a_collector_it_starts_and_says_that_spans_were_lost() {
    // Bound and closed again: nobody listens there.
    let nobody = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let guard = to(format!("http://{nobody}"), "grpc");
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
    assert!(matches!(guard.flush(), Err(Error::NotDelivered(_))));
    assert!(matches!(guard.shutdown(), Err(Error::NotDelivered(_))));
    assert!(
        before.elapsed() < Duration::from_secs(2),
        "{:?}",
        before.elapsed()
    );
}

/// Without them each would take ten seconds or more, and a flush gives up after five.
#[test]
fn an_export_ends_at_each_of_its_limits() {
    for (limit, protocol, makes) in [
        (
            "OTEL_EXPORTER_OTLP_TIMEOUT",
            "grpc",
            make_span as fn(&Guard, _),
        ),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "http/protobuf", make_span),
        ("OTEL_BSP_EXPORT_TIMEOUT", "grpc", make_span),
        ("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "grpc", measure),
        (
            "OTEL_EXPORTER_OTLP_METRICS_TIMEOUT",
            "http/protobuf",
            measure,
        ),
        ("OTEL_METRIC_EXPORT_TIMEOUT", "grpc", measure),
    ] {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", silent.local_addr().unwrap());
        let of_metrics = limit.contains("METRIC");
        let exporter = |is_wanted: bool| if is_wanted { "otlp" } else { "none" }.to_owned();
        let guard = start(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol.to_owned()),
            ("OTEL_TRACES_EXPORTER", exporter(!of_metrics)),
            ("OTEL_METRICS_EXPORTER", exporter(of_metrics)),
            ("OTEL_BSP_SCHEDULE_DELAY", "0".to_owned()),
            (limit, "30".to_owned()),
        ]);
        makes(&guard, "one");
        let before = Instant::now();
        guard.flush().unwrap_err();
        let taken = before.elapsed();
        let at_the_limit = Duration::from_millis(20)..Duration::from_secs(4);
        assert!(
            at_the_limit.contains(&taken),
            "{limit} {protocol}: {taken:?}"
        );
    }
}

fn measure(guard: &Guard, _name: &'static str) {
    let layer = ServerLayer::new().with_tracer_provider(guard.tracer_provider());
    crate::metrics::request_through(layer);
}

/// An exporter that waits until it is let go.
#[derive(Clone, Debug, Default)]
struct Gate {
    is_reached: Arc<AtomicBool>,
    is_open: Arc<Notify>,
    sink: Sink,
}

impl SpanExporter for Gate {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.is_reached.store(true, Ordering::Release);
        self.is_open.notified().await;
        self.is_open.notify_one();
        self.sink.export(batch).await
    }
}

#[test]
fn a_full_queue_drops_what_comes_and_says_how_many() {
    let text = run(
        "export::queue_program",
        &[
            ("OTEL_BSP_MAX_QUEUE_SIZE", "7"),
            ("OTEL_BSP_SCHEDULE_DELAY", "0"),
        ],
    );
    let warning = text.lines().find(|line| line.contains("queue was full"));
    let warning = warning.unwrap_or_else(|| panic!("{text}"));
    assert!(
        warning.contains("WARN") && warning.contains("\"n_spans_total\":93"),
        "{text}"
    );
    assert!(text.contains("exported: 14"), "{text}");
}

#[test]
fn queue_program() {
    if !is_program() {
        return;
    }
    let gate = Gate::default();
    let tracing = spanloom::builder()
        .exporter(gate.clone())
        .log_format(LogFormat::Json);
    let tracing = tracing.init().unwrap();
    let tracer = tracing.tracer_provider().tracer("test");
    // A batch is no larger than the queue, so this fills one, and the export waits with it.
    for _ in 0..7 {
        tracer.start("one").end();
    }
    let deadline = Instant::now() + Duration::from_secs(10);
    while !gate.is_reached.load(Ordering::Acquire) {
        assert!(Instant::now() < deadline, "the batch was not sent");
        std::thread::yield_now();
    }
    for _ in 0..100 {
        tracer.start("one").end();
    }
    gate.is_open.notify_one();
    tracing.flush().unwrap();
    println!("exported: {}", gate.sink.spans().len());
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
