//! Roots, workers and configurations: what begins, ends and is shared.

use std::collections::BTreeSet;

use crate::otlp::spans;
use crate::sim::{Direction, Exchange, Process, Reply, Worker};

#[test]
fn both_directions_of_a_sidecar_share_one_batch() {
    let mut worker = Worker::new(&Process::new());
    let inbound = worker.root("", Direction::Inbound);
    let outbound = worker.root("", Direction::Outbound);
    worker.serve(inbound, Exchange::get("/in"));
    worker.serve(outbound, Exchange::get("/out"));
    worker.advance_ms(1000);
    let call = worker.only_call();
    assert_eq!(call.context_id, inbound, "the first root exports");
    let kinds: Vec<i32> = spans(&call).iter().map(|span| span.span.kind).collect();
    assert_eq!(kinds, [2, 3]);
}

#[test]
fn another_root_takes_over_when_the_exporting_one_ends() {
    let mut worker = Worker::new(&Process::new());
    let inbound = worker.root("", Direction::Inbound);
    let outbound = worker.root("", Direction::Outbound);
    worker.serve(inbound, Exchange::get("/"));
    worker.advance_ms(1000);
    let under_way = worker.only_call();
    worker.serve(outbound, Exchange::get("/"));

    let is_done = worker.end_root(inbound);
    assert!(!is_done, "the call would die with its root");
    worker.answer(under_way.token, Reply::grpc_ok(&[]));
    assert!(
        !worker.is_alive(inbound),
        "the answer was all that it stayed for"
    );

    worker.advance_ms(1000);
    let call = worker.only_call();
    assert_eq!(call.context_id, outbound);
    worker.answer(call.token, Reply::grpc_ok(&[]));
    worker.tick(outbound);
    assert_eq!(worker.process().metric("spanloom.spans_exported"), 2);
}

#[test]
fn the_last_root_drains_before_it_ends() {
    let mut worker = Worker::new(&Process::new());
    let root = worker.root("", Direction::Inbound);
    worker.serve(root, Exchange::get("/"));
    assert!(!worker.end_root(root), "it has spans");
    let call = worker.only_call();
    assert_eq!(spans(&call).len(), 1);
    worker.answer(call.token, Reply::grpc_ok(&[]));
    assert!(!worker.is_alive(root));
    let process = worker.process();
    assert_eq!(process.metric("spanloom.spans_accepted"), 1);
    assert_eq!(process.metric("spanloom.spans_exported"), 1);
}

#[test]
fn a_drain_ends_though_the_collector_is_dead() {
    let mut worker = Worker::new(&Process::new());
    let root = worker.root("", Direction::Inbound);
    worker.serve(root, Exchange::get("/"));
    assert!(!worker.end_root(root));
    worker.advance_ms(6000);
    assert!(!worker.is_alive(root));
    let process = worker.process();
    assert_eq!(process.metric("spanloom.spans_dropped.shutdown"), 1);
    assert!(worker.calls().is_empty());
}

/// Its calls die with it, and whether they arrived nobody knows: better twice than never.
#[test]
fn what_a_root_could_not_finish_another_one_sends_again() {
    let mut worker = Worker::new(&Process::new());
    let inbound = worker.root("", Direction::Inbound);
    let outbound = worker.root("", Direction::Outbound);
    worker.serve(inbound, Exchange::get("/"));
    worker.advance_ms(1000);
    let body = worker.only_call().body;
    assert!(!worker.end_root(inbound));
    worker.advance_ms(6000);
    assert!(!worker.is_alive(inbound), "it does not wait for ever");
    let again = worker.only_call();
    assert_eq!(again.context_id, outbound);
    assert_eq!(again.body, body);
}

#[test]
fn a_root_without_spans_ends_at_once() {
    let mut worker = Worker::new(&Process::new());
    let root = worker.root("", Direction::Inbound);
    assert!(worker.end_root(root));
}

#[test]
fn a_new_configuration_replaces_the_old_one_without_loss() {
    let mut worker = Worker::new(&Process::new());
    let old = worker.root(r#"{"service_name": "old"}"#, Direction::Inbound);
    worker.serve(old, Exchange::get("/"));
    // Envoy brings the new root before the old one goes.
    let new = worker.root(r#"{"service_name": "new"}"#, Direction::Inbound);
    assert!(
        worker.end_root(old),
        "the new root exports what the old one left"
    );
    worker.serve(new, Exchange::get("/"));
    worker.advance_ms(1000);
    let spans = spans(&worker.only_call());
    let names: BTreeSet<_> = spans
        .iter()
        .map(|span| span.resource("service.name"))
        .collect();
    assert_eq!(names, BTreeSet::from([Some("new"), Some("old")]));
}

#[test]
fn two_workers_never_draw_the_same_ids() {
    let process = Process::new();
    let mut ids = BTreeSet::new();
    let mut workers: Vec<_> = (0..3).map(|_| Worker::new(&process)).collect();
    for worker in &mut workers {
        let root = worker.root("", Direction::Inbound);
        for _ in 0..100 {
            worker.serve(root, Exchange::get("/"));
        }
        worker.advance_ms(1000);
        for span in spans(&worker.only_call()) {
            assert!(ids.insert(span.trace_id()) && ids.insert(span.span_id()));
        }
    }
    assert_eq!(ids.len(), 3 * 100 * 2);
}

#[test]
fn workers_count_under_one_name() {
    let process = Process::new();
    for _ in 0..2 {
        let mut worker = Worker::new(&process);
        let root = worker.root("", Direction::Inbound);
        worker.serve(root, Exchange::get("/"));
        worker.tick(root);
    }
    assert_eq!(process.metric("spanloom.spans_accepted"), 2);
    assert_eq!(process.metric("spanloom.heartbeat"), 2);
}

/// Envoy tries each configuration in a VM that it throws away without a word.
#[test]
fn a_canary_leaves_nothing_behind() {
    let process = Process::new();
    let mut canary = Worker::new(&process);
    canary.root("", Direction::Unspecified);
    drop(canary);
    assert_eq!(process.metrics_under("spanloom."), 0);
    assert!(process.log().is_empty());
}

#[test]
fn a_wrong_configuration_passes_requests_through_with_one_line() {
    let process = Process::new();
    let mut worker = Worker::new(&process);
    let wrong = r#"{"sampling": {"ration": 1}, "batch": {"spans_max": "many"}}"#;
    let root = worker.root(wrong, Direction::Inbound);
    for _ in 0..3 {
        let exchange = Exchange::get("/");
        let served = worker.serve(root, exchange.clone());
        assert_eq!(served.request, exchange.request);
        worker.refuse(root, exchange);
    }
    worker.advance_ms(5000);
    assert!(worker.calls().is_empty());
    let log = process.log();
    assert_eq!(log.len(), 1, "{log:?}");
    assert!(log[0].contains("sampling.ration") && log[0].contains("batch.spans_max"));
    assert_eq!(process.metric("spanloom.configuration_errors"), 1);
    assert!(worker.end_root(root));
}

#[test]
fn a_wrong_configuration_does_not_stop_the_right_one_beside_it() {
    let mut worker = Worker::new(&Process::new());
    let wrong = worker.root("[]", Direction::Inbound);
    let right = worker.root("", Direction::Outbound);
    worker.serve(wrong, Exchange::get("/"));
    worker.serve(right, Exchange::get("/"));
    worker.advance_ms(1000);
    let call = worker.only_call();
    assert_eq!(call.context_id, right);
    assert_eq!(spans(&call).len(), 1);
}
