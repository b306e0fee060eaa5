//! How spans get to the collector, and what becomes of them when they do not.

use crate::otlp::{partial_success, spans};
use crate::sim::{Direction, Exchange, Process, Reply, Worker, first};

/// Ticks ten times a second, so that the pauses of retries show.
const FINE: &str = r#"{"batch": {"interval_ms": 100}}"#;

/// google.rpc.Status { code: 14, details: [RetryInfo { retry_delay: 2.5 s }] }
const RETRY_INFO: &str =
    "CA4aNgoodHlwZS5nb29nbGVhcGlzLmNvbS9nb29nbGUucnBjLlJldHJ5SW5mbxIKCggIAhCAyrXuAQ";

struct Scene {
    worker: Worker,
    root: u32,
}

impl Scene {
    /// A worker with `n` finished spans.
    fn with_spans(configuration: &str, n: u32) -> Self {
        let mut worker = Worker::new(&Process::new());
        let root = worker.root(configuration, Direction::Inbound);
        let mut scene = Self { worker, root };
        scene.serve(n);
        scene
    }

    fn serve(&mut self, n: u32) {
        for _ in 0..n {
            self.worker.serve(self.root, Exchange::get("/"));
        }
    }

    /// The statistic after the next tick has told it.
    fn metric(&mut self, name: &str) -> u64 {
        self.worker.tick(self.root);
        self.worker.process().metric(name)
    }
}

#[test]
fn a_batch_leaves_on_the_tick_as_otlp_over_grpc() {
    let mut scene = Scene::with_spans("", 3);
    scene.worker.advance_ms(900);
    assert!(scene.worker.calls().is_empty());
    scene.worker.advance_ms(100);
    let call = scene.worker.only_call();
    assert_eq!(call.cluster, "otel_collector");
    let path = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
    assert_eq!(first(&call.headers, ":path"), Some(path));
    assert_eq!(first(&call.headers, "te"), Some("trailers"));
    assert_eq!(spans(&call).len(), 3);
    scene.worker.answer(call.token, Reply::grpc_ok(&[]));
    assert_eq!(scene.metric("spanloom.spans_exported"), 3);
    assert!(scene.worker.calls().is_empty());
}

#[test]
fn a_batch_leaves_as_otlp_over_http() {
    let mut scene = Scene::with_spans(r#"{"exporter": {"protocol": "http"}}"#, 3);
    scene.worker.advance_ms(1000);
    let call = scene.worker.only_call();
    assert_eq!(first(&call.headers, ":path"), Some("/v1/traces"));
    assert_eq!(spans(&call).len(), 3);
    scene.worker.answer(call.token, Reply::http(200, &[], &[]));
    assert_eq!(scene.metric("spanloom.spans_exported"), 3);
}

#[test]
fn a_full_batch_does_not_wait_for_the_tick() {
    let mut scene = Scene::with_spans(r#"{"batch": {"spans_max": 4}}"#, 9);
    let sizes: Vec<usize> = scene
        .worker
        .calls()
        .iter()
        .map(|call| spans(call).len())
        .collect();
    assert_eq!(sizes, [4, 4]);
    // Though a stream's end filled the batch, the call is the root's: it does not die with the stream.
    let owners: Vec<u32> = scene
        .worker
        .calls()
        .iter()
        .map(|call| call.context_id)
        .collect();
    assert_eq!(owners, [scene.root; 2]);
    assert_eq!(scene.metric("spanloom.spans_accepted"), 9);
}

#[test]
fn a_retry_waits_longer_each_time() {
    let mut scene = Scene::with_spans(FINE, 2);
    scene.worker.advance_ms(100);
    let body = scene.worker.only_call().body;
    for (at_least_ms, at_most_ms) in [(500, 1500), (1000, 3000), (2000, 6000)] {
        let token = scene.worker.only_call().token;
        scene.worker.answer(token, Reply::grpc(14, &[]));
        scene.worker.advance_ms(at_least_ms - 100);
        assert!(scene.worker.calls().is_empty(), "{at_least_ms}: too early");
        scene.worker.advance_ms(at_most_ms - at_least_ms + 300);
        assert_eq!(scene.worker.only_call().body, body, "the same spans again");
    }
    let token = scene.worker.only_call().token;
    scene.worker.answer(token, Reply::grpc_ok(&[]));
    assert_eq!(scene.metric("spanloom.spans_exported"), 2);
    assert_eq!(scene.metric("spanloom.export_retries"), 3);
    assert_eq!(scene.metric("spanloom.export_requests"), 4);
}

#[test]
fn the_server_s_word_on_when_to_come_again_is_honoured() {
    let http = r#"{"batch": {"interval_ms": 100}, "exporter": {"protocol": "http"}}"#;
    let details = [("grpc-status-details-bin", RETRY_INFO)];
    for (configuration, reply, pause_ms) in [
        (FINE, Reply::grpc(14, &details), 2500),
        (FINE, Reply::grpc(8, &details), 2500),
        (http, Reply::http(429, &[("retry-after", "7")], &[]), 7000),
    ] {
        let mut scene = Scene::with_spans(configuration, 1);
        scene.worker.advance_ms(100);
        let token = scene.worker.only_call().token;
        scene.worker.answer(token, reply);
        scene.worker.advance_ms(pause_ms - 100);
        assert!(scene.worker.calls().is_empty(), "{pause_ms}: too early");
        scene.worker.advance_ms(200);
        assert_eq!(scene.worker.calls().len(), 1, "{pause_ms}: too late");
    }
}

#[test]
fn what_the_server_refuses_is_not_sent_again() {
    for reply in [
        Reply::grpc(3, &[]),
        Reply::grpc(8, &[]),
        Reply::http(400, &[], b"no"),
    ] {
        let mut scene = Scene::with_spans("", 2);
        scene.worker.advance_ms(1000);
        let token = scene.worker.only_call().token;
        scene.worker.answer(token, reply);
        scene.worker.advance_ms(600_000);
        assert!(scene.worker.calls().is_empty());
        assert_eq!(scene.metric("spanloom.spans_dropped.refused"), 2);
    }
}

#[test]
fn spans_that_the_server_rejects_are_counted() {
    let mut scene = Scene::with_spans("", 5);
    scene.worker.advance_ms(1000);
    let token = scene.worker.only_call().token;
    let reply = Reply::grpc_ok(&partial_success(2, "too old"));
    scene.worker.answer(token, reply);
    assert_eq!(scene.metric("spanloom.spans_exported"), 3);
    assert_eq!(scene.metric("spanloom.spans_dropped.rejected"), 2);
    let log = scene.worker.process().log();
    assert!(log.iter().any(|line| line.contains("too old")), "{log:?}");
}

#[test]
fn a_call_that_times_out_is_tried_again() {
    let mut scene = Scene::with_spans(FINE, 1);
    scene.worker.advance_ms(100);
    let first_token = scene.worker.only_call().token;
    scene.worker.advance_ms(10_000);
    assert!(scene.worker.calls().is_empty(), "the host gave up");
    scene.worker.advance_ms(1600);
    let second = scene.worker.only_call();
    assert_ne!(second.token, first_token);
    scene.worker.answer(second.token, Reply::grpc_ok(&[]));
    assert_eq!(scene.metric("spanloom.spans_exported"), 1);
}

#[test]
fn a_call_that_the_host_forgets_holds_no_place_for_ever() {
    let mut scene = Scene::with_spans("", 1);
    scene.worker.advance_ms(1000);
    let lost = scene.worker.only_call().token;
    scene.worker.forget(lost);
    scene.worker.advance_ms(30_000);
    let tokens: Vec<u32> = scene.worker.calls().iter().map(|call| call.token).collect();
    assert_eq!(tokens.len(), 2, "the lost one and its repetition");
    scene.worker.answer(tokens[1], Reply::grpc_ok(&[]));
    // An answer that nobody waits for any more changes nothing.
    scene.worker.answer(lost, Reply::grpc(3, &[]));
    assert_eq!(scene.metric("spanloom.spans_exported"), 1);
    assert_eq!(
        scene
            .worker
            .process()
            .metrics_under("spanloom.spans_dropped"),
        0
    );
}

#[test]
fn a_dead_collector_costs_a_batch_after_its_time() {
    let configuration = r#"{"exporter": {"retry": {"elapsed_ms_max": 60000}}}"#;
    let mut scene = Scene::with_spans(configuration, 3);
    for _ in 0..200 {
        scene.worker.advance_ms(1000);
        for call in scene.worker.calls() {
            scene.worker.answer(call.token, Reply::nothing());
        }
    }
    assert_eq!(scene.metric("spanloom.spans_dropped.retries_exhausted"), 3);
    assert!(scene.worker.calls().is_empty());
    let log = scene.worker.process().log();
    assert_eq!(log.len(), 1, "one line when exports begin to fail: {log:?}");
}

#[test]
fn a_missing_cluster_is_counted_and_named_once() {
    let process = Process::new();
    process.set_cluster("otel_collector", false);
    let mut worker = Worker::new(&process);
    let root = worker.root("", Direction::Inbound);
    worker.serve(root, Exchange::get("/"));
    worker.advance_ms(120_000);
    let n_requests = process.metric("spanloom.export_requests");
    assert!(
        (3..20).contains(&n_requests),
        "it does not spin: {n_requests}"
    );
    assert_eq!(
        process.metric("spanloom.export_cluster_missing"),
        n_requests
    );
    let log = process.log();
    assert_eq!(log.len(), 1, "{log:?}");
    assert!(log[0].contains("otel_collector"), "{log:?}");

    process.set_cluster("otel_collector", true);
    let token = worker.advance_to_call().token;
    worker.answer(token, Reply::grpc_ok(&[]));
    worker.tick(root);
    assert_eq!(process.metric("spanloom.spans_exported"), 1);
    assert_eq!(process.log().len(), 2, "and once that it works again");
}

#[test]
fn a_cluster_without_hosts_fails_in_the_middle_of_the_call() {
    let mut scene = Scene::with_spans(FINE, 1);
    scene.worker.process().set_healthy_hosts(false);
    scene.worker.advance_ms(5000);
    assert!(scene.worker.calls().is_empty());
    scene.worker.process().set_healthy_hosts(true);
    let token = scene.worker.advance_to_call().token;
    scene.worker.answer(token, Reply::grpc_ok(&[]));
    assert_eq!(scene.metric("spanloom.spans_exported"), 1);
}

#[test]
fn spans_for_which_there_is_no_room_are_counted() {
    let configuration = r#"{"exporter": {"buffer_bytes_max": 65536}}"#;
    let mut scene = Scene::with_spans(configuration, 600);
    let n_dropped = scene.metric("spanloom.spans_dropped.buffer_full");
    assert!(n_dropped > 0);
    for call in scene.worker.calls() {
        scene.worker.answer(call.token, Reply::grpc_ok(&[]));
    }
    assert_eq!(scene.metric("spanloom.spans_exported"), 600 - n_dropped);
    // There is room again.
    scene.serve(10);
    assert_eq!(
        scene.metric("spanloom.spans_dropped.buffer_full"),
        n_dropped
    );
}

#[test]
fn few_calls_are_under_way_at_once() {
    let mut scene = Scene::with_spans(r#"{"batch": {"spans_max": 1}}"#, 20);
    assert_eq!(scene.worker.calls().len(), 4);
    let mut n_seen = 0;
    while let Some(call) = scene.worker.calls().first() {
        n_seen += spans(call).len();
        scene.worker.answer(call.token, Reply::grpc_ok(&[]));
        assert!(scene.worker.calls().len() <= 4);
    }
    assert_eq!(n_seen, 20, "each answer makes place for the next batch");
}

#[test]
fn compressed_requests_say_so_and_are_smaller() {
    for protocol in ["grpc", "http"] {
        let of = |compression: &str| {
            let configuration = format!(
                r#"{{"exporter": {{"protocol": "{protocol}", "compression": "{compression}"}}}}"#
            );
            let mut scene = Scene::with_spans(&configuration, 100);
            scene.worker.advance_ms(1000);
            scene.worker.only_call()
        };
        let (plain, gzip) = (of("none"), of("gzip"));
        let encoding = match protocol {
            "grpc" => "grpc-encoding",
            _ => "content-encoding",
        };
        assert_eq!(first(&plain.headers, encoding), None);
        assert_eq!(first(&gzip.headers, encoding), Some("gzip"));
        assert_eq!(spans(&gzip).len(), 100);
        let (n_plain, n_gzip) = (plain.body.len(), gzip.body.len());
        println!("{protocol}: {n_gzip} bytes of {n_plain}");
        assert!(n_gzip * 3 < n_plain, "{n_gzip} of {n_plain}");
    }
}
