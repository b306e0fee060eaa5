//! Whom a request's trace context comes from, and whom it goes to.

use crate::otlp::spans;
use crate::sim::{Direction, Exchange, Process, Worker, first};

const SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const UNSAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

fn worker(configuration: &str) -> (Worker, u32) {
    let mut worker = Worker::new(&Process::new());
    let root = worker.root(configuration, Direction::Inbound);
    (worker, root)
}

#[test]
fn a_caller_s_trace_is_continued() {
    let (mut worker, root) = worker("");
    let exchange = Exchange::get("/")
        .header("traceparent", SAMPLED)
        .header("tracestate", "vendor=1");
    let served = worker.serve(root, exchange);
    worker.advance_ms(1000);

    let span = spans(&worker.only_call()).remove(0);
    assert_eq!(span.trace_id(), "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(span.parent_span_id(), "b7ad6b7169203331");
    assert_eq!(span.span.trace_state, "vendor=1");
    let sent = format!("00-{}-{}-01", span.trace_id(), span.span_id());
    assert_eq!(first(&served.request, "traceparent"), Some(&*sent));
    assert_eq!(first(&served.request, "tracestate"), Some("vendor=1"));
    assert_eq!(served.n_route_cache_clears, 1, "tracestate is untouched");
}

#[test]
fn a_broken_context_starts_a_trace_anew() {
    for broken in [
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "nonsense",
        "",
    ] {
        let (mut worker, root) = worker("");
        let exchange = Exchange::get("/")
            .header("traceparent", broken)
            .header("tracestate", "vendor=1");
        let served = worker.serve(root, exchange);
        worker.advance_ms(1000);

        let span = spans(&worker.only_call()).remove(0);
        assert_ne!(span.trace_id(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(span.parent_span_id(), "");
        let sent = format!("00-{}-{}-03", span.trace_id(), span.span_id());
        assert_eq!(first(&served.request, "traceparent"), Some(&*sent));
        assert_eq!(first(&served.request, "tracestate"), None, "{broken}");
        worker.advance_ms(1000);
        assert_eq!(worker.process().metric("spanloom.context_restarted"), 1);
    }
}

#[test]
fn two_contexts_are_none() {
    let (mut worker, root) = worker("");
    let other = UNSAMPLED.replace("b7ad", "c7ad");
    let exchange = Exchange::get("/")
        .header("traceparent", SAMPLED)
        .header("traceparent", &other);
    let served = worker.serve(root, exchange);
    let mut sent = served.request.iter();
    assert_eq!(
        sent.by_ref()
            .filter(|pair| pair.0 == b"traceparent")
            .count(),
        1
    );
    worker.advance_ms(1000);
    let span = spans(&worker.only_call()).remove(0);
    assert_ne!(span.trace_id(), "0af7651916cd43dd8448eb211c80319c");
}

#[test]
fn an_unsampled_trace_goes_on_and_is_not_exported() {
    let (mut worker, root) = worker("");
    let exchange = Exchange::get("/").header("traceparent", UNSAMPLED);
    let served = worker.serve(root, exchange);
    assert_eq!(first(&served.request, "traceparent"), Some(UNSAMPLED));
    worker.advance_ms(5000);
    assert!(worker.calls().is_empty());
    assert_eq!(worker.process().metric("spanloom.spans_accepted"), 0);
}

#[test]
fn a_new_trace_that_is_not_sampled_says_so() {
    let (mut worker, root) = worker(r#"{"sampling": {"ratio": 0}}"#);
    let exchange = Exchange::get("/").header("tracestate", "orphan=1");
    let served = worker.serve(root, exchange);
    let sent = first(&served.request, "traceparent").unwrap();
    assert!(sent.starts_with("00-") && sent.ends_with("-02"), "{sent}");
    assert_eq!(first(&served.request, "tracestate"), None);
    worker.advance_ms(5000);
    assert!(worker.calls().is_empty());
}

#[test]
fn an_observer_changes_no_header() {
    let (mut worker, root) = worker(r#"{"mode": "observe"}"#);
    let exchange = Exchange::get("/").header("traceparent", SAMPLED);
    let served = worker.serve(root, exchange.clone());
    assert_eq!(served.request, exchange.request);
    assert_eq!(served.n_route_cache_clears, 0);
    worker.advance_ms(1000);
    let span = spans(&worker.only_call()).remove(0);
    assert_eq!(span.parent_span_id(), "b7ad6b7169203331");
}

#[test]
fn no_request_has_envoy_look_for_the_route_more_than_twice() {
    let configuration = r#"{"sampling": {"ratio": 0.5, "on_remote": "resample"}}"#;
    let (mut worker, root) = worker(configuration);
    for i in 0..50u32 {
        let parent = format!("00-0af7651916cd43dd8448eb211c{i:06x}-b7ad6b7169203331-01");
        let exchange = Exchange::get("/")
            .header("traceparent", parent)
            .header("tracestate", "a=1,ot=th:8");
        let served = worker.serve(root, exchange);
        assert!(served.n_route_cache_clears <= 2, "{served:?}");
    }
}

#[test]
fn a_response_names_the_span_if_asked_to() {
    let (mut worker, root) = worker(r#"{"propagation": {"traceresponse": true}}"#);
    let served = worker.serve(root, Exchange::get("/"));
    let sent = first(&served.request, "traceparent");
    assert!(sent.is_some());
    assert_eq!(first(&served.response, "traceresponse"), sent);
}
