//! Each format in and out, and what callers say between the lines.

use std::collections::HashMap;

use opentelemetry::baggage::BaggageExt;
use opentelemetry::trace::{Span as _, Tracer as _, TracerProvider as _};

use super::*;
use crate::testing::Sink;
use crate::{Guard, builder};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

fn headers_of(list: &[(&str, &str)]) -> HashMap<String, String> {
    list.iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn extract_from(format: Format, list: &[(&str, &str)]) -> SpanContext {
    let propagator = Propagator::new(vec![format], false);
    let context = propagator.extract_with_context(&Context::new(), &headers_of(list));
    context.span().span_context().clone()
}

#[test]
fn every_format_comes_back_as_it_was_sent() {
    let sent = SpanContext::new(
        TraceId::from_hex(TRACE).unwrap(),
        SpanId::from_hex(SPAN).unwrap(),
        TraceFlags::SAMPLED,
        true,
        TraceState::default(),
    );
    for format in Format::ALL
        .into_iter()
        .filter(|format| *format != Format::GrpcTraceBin)
    {
        let propagator = Propagator::new(vec![format], false);
        let mut headers = HashMap::new();
        let context = Context::new().with_remote_span_context(sent.clone());
        propagator.inject_context(&context, &mut headers);
        assert!(
            headers
                .keys()
                .all(|name| propagator.fields().any(|field| field == name))
        );
        let received = propagator.extract_with_context(&Context::new(), &headers);
        assert_eq!(
            received.span().span_context(),
            &sent,
            "{format:?}: {headers:?}"
        );
    }
}

#[test]
fn the_first_valid_format_of_the_list_counts() {
    let propagator = Propagator::new(vec![Format::TraceContext, Format::B3], true);
    let headers = headers_of(&[
        ("traceparent", "broken"),
        ("b3", &format!("{TRACE}-{SPAN}-1")),
        ("baggage", "tenant=blue"),
    ]);
    let context = propagator.extract_with_context(&Context::new(), &headers);
    assert_eq!(context.span().span_context().span_id().to_string(), SPAN);
    assert_eq!(context.baggage().get("tenant").unwrap().as_str(), "blue");
    let two = headers_of(&[
        ("traceparent", &format!("00-{TRACE}-00000000000000aa-01")),
        ("b3", &format!("{TRACE}-{SPAN}-1")),
    ]);
    let context = propagator.extract_with_context(&Context::new(), &two);
    assert_eq!(
        context.span().span_context().span_id().to_string(),
        "00000000000000aa"
    );
}

#[test]
fn w3c_keeps_the_random_flag_and_the_tracestate() {
    let parent = format!("00-{TRACE}-{SPAN}-03");
    let list = [("traceparent", parent.as_str()), ("tracestate", "a=1,b=2")];
    let context = extract_from(Format::TraceContext, &list);
    assert_eq!(context.trace_flags().to_u8(), 3);
    let mut headers = HashMap::new();
    let propagator = Propagator::new(vec![Format::TraceContext], false);
    let context = Context::new().with_remote_span_context(context);
    propagator.inject_context(&context, &mut headers);
    assert_eq!(headers, headers_of(&list));
}

fn start(sampler: &'static str) -> (Guard, Sink) {
    let sink = Sink::default();
    let lookup = move |name: &str| match name {
        "OTEL_TRACES_SAMPLER" => Some(sampler.to_owned()),
        "OTEL_PROPAGATORS" => Some("b3,xray".to_owned()),
        _ => None,
    };
    (
        builder()
            .environment(lookup)
            .exporter(sink.clone())
            .start()
            .unwrap(),
        sink,
    )
}

/// The context of a span that is started for a request with this header.
fn started(guard: &Guard, name: &str, value: &str) -> SpanContext {
    let propagator = Propagator::new(vec![Format::B3, Format::XRay], false);
    let caller = propagator.extract_with_context(&Context::new(), &headers_of(&[(name, value)]));
    let tracer = guard.tracer_provider().tracer("test");
    tracer
        .start_with_context("span", &caller)
        .span_context()
        .clone()
}

#[test]
fn a_deferred_decision_is_ours() {
    let deferred = format!("{TRACE}-{SPAN}");
    for (sampler, expected) in [
        ("parentbased_always_on", true),
        ("parentbased_always_off", false),
    ] {
        let (guard, _sink) = start(sampler);
        let span = started(&guard, "b3", &deferred);
        assert_eq!(span.trace_id().to_string(), TRACE);
        assert_eq!(span.is_sampled(), expected, "{sampler}");
    }
}

#[test]
fn a_decision_without_a_trace_is_followed() {
    let (guard, _sink) = start("parentbased_always_on");
    assert!(!started(&guard, "b3", "0").is_sampled());
    let (guard, _sink) = start("parentbased_always_off");
    assert!(started(&guard, "b3", "1").is_sampled());
    assert!(started(&guard, "b3", "d").is_sampled());
}

#[test]
fn a_trace_that_a_load_balancer_began_keeps_its_id() {
    let (guard, sink) = start("parentbased_always_on");
    let root = "Root=1-5759e988-bd862e3fe1be46a994272793";
    let span = started(&guard, "x-amzn-trace-id", root);
    assert_eq!(
        span.trace_id().to_string(),
        "5759e988bd862e3fe1be46a994272793"
    );
    guard.flush().unwrap();
    assert_eq!(sink.spans()[0].parent_span_id, SpanId::INVALID);
    // The next trace has an id of its own again.
    assert_ne!(started(&guard, "x", "").trace_id(), span.trace_id());
}
