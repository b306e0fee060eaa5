//! Which spans are made, and what is kept of them.

use opentelemetry::trace::{
    Link, Span as _, SpanContext, SpanKind, TraceContextExt, TraceFlags, TraceId, TraceState,
    Tracer as _, TracerProvider as _,
};
use opentelemetry::{Array, Context, KeyValue, Value};
use spanloom::testing::Sink;
use spanloom::{Guard, opentelemetry};

fn start(variables: &[(&'static str, &'static str)]) -> (Guard, Sink) {
    let sink = Sink::default();
    let variables = variables.to_vec();
    let lookup = move |name: &str| {
        let found = variables.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    let guard = spanloom::builder()
        .environment(lookup)
        .exporter(sink.clone())
        .start()
        .unwrap();
    (guard, sink)
}

fn caller() -> Context {
    let state = TraceState::default();
    let span = SpanContext::new(1.into(), 2.into(), TraceFlags::SAMPLED, true, state);
    Context::new().with_remote_span_context(span)
}

#[test]
fn a_disabled_sdk_makes_no_spans_and_keeps_the_callers_context() {
    let (guard, sink) = start(&[("OTEL_SDK_DISABLED", "true")]);
    let caller = caller();
    let mut span = guard
        .tracer_provider()
        .tracer("test")
        .start_with_context("one", &caller);
    assert_eq!(span.span_context(), caller.span().span_context());
    assert!(!span.is_recording());
    span.end();
    guard.shutdown().unwrap();
    assert!(sink.spans().is_empty());
}

#[test]
fn without_an_exporter_spans_have_ids_all_the_same() {
    let (guard, sink) = start(&[("OTEL_TRACES_EXPORTER", "none")]);
    let span = guard.tracer_provider().tracer("test").start("one");
    assert!(span.span_context().is_sampled() && span.span_context().is_valid());
    drop(span);
    guard.shutdown().unwrap();
    assert!(sink.spans().is_empty());
}

#[test]
fn a_child_of_an_unsampled_parent_is_not_recorded_but_has_an_id() {
    let (guard, sink) = start(&[("OTEL_TRACES_SAMPLER", "parentbased_always_off")]);
    let tracer = guard.tracer_provider().tracer("test");
    let parent = Context::new().with_span(tracer.start("parent"));
    let child = tracer.start_with_context("child", &parent);
    let parent = parent.span().span_context().clone();
    assert!(child.span_context().is_valid());
    assert_eq!(child.span_context().trace_id(), parent.trace_id());
    assert_ne!(child.span_context().span_id(), parent.span_id());
    assert!(!child.span_context().is_sampled());
    guard.flush().unwrap();
    assert!(sink.spans().is_empty());
}

#[test]
fn a_consistent_sampler_writes_its_threshold_and_children_keep_it() {
    let (guard, sink) = start(&[
        ("OTEL_TRACES_SAMPLER", "parentbased_consistent_probability"),
        ("OTEL_TRACES_SAMPLER_ARG", "0.5"),
    ]);
    let tracer = guard.tracer_provider().tracer("test");
    // One of 64 traces at least is sampled, but for one run in 2^64.
    for _ in 0..64 {
        tracer.in_span("root", |_| tracer.in_span("child", |_| ()));
    }
    guard.flush().unwrap();
    assert!(!sink.spans().is_empty());
    for span in sink.spans() {
        assert_eq!(span.span_context.trace_state().header(), "ot=th:8");
    }
}

#[test]
fn counts_and_lengths_are_limited_everywhere() {
    let (guard, sink) = start(&[
        ("OTEL_ATTRIBUTE_COUNT_LIMIT", "2"),
        ("OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT", "1"),
        ("OTEL_LINK_ATTRIBUTE_COUNT_LIMIT", "1"),
        ("OTEL_SPAN_EVENT_COUNT_LIMIT", "1"),
        ("OTEL_SPAN_LINK_COUNT_LIMIT", "1"),
        ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "3"),
    ]);
    let long = || {
        vec![
            KeyValue::new("a", "\u{e4}bcdef"),
            KeyValue::new("b", "wxyz"),
        ]
    };
    let tracer = guard.tracer_provider().tracer("test");
    let link = || Link::new(caller().span().span_context().clone(), long(), 0);
    let mut span = tracer
        .span_builder("one")
        .with_links(vec![link(), link()])
        .start(&tracer);
    span.set_attributes(long());
    span.set_attribute(KeyValue::new("c", 1));
    span.add_event("first", long());
    span.add_event("second", long());
    span.end();
    let texts = Value::Array(Array::String(vec!["12345".into(), "1".into()]));
    tracer
        .span_builder("two")
        .with_attributes([KeyValue::new("list", texts)])
        .start(&tracer)
        .end();
    guard.flush().unwrap();
    let [one, two] = &sink.spans()[..] else {
        panic!("two spans")
    };
    assert_eq!(
        one.attributes,
        [KeyValue::new("a", "\u{e4}bc"), KeyValue::new("b", "wxy")]
    );
    assert_eq!(one.dropped_attributes_count, 1);
    assert_eq!((one.events.events.len(), one.events.dropped_count), (1, 1));
    assert_eq!(
        one.events.events[0].attributes,
        [KeyValue::new("a", "\u{e4}bc")]
    );
    assert_eq!((one.links.links.len(), one.links.dropped_count), (1, 1));
    assert_eq!(
        one.links.links[0].attributes,
        [KeyValue::new("a", "\u{e4}bc")]
    );
    let texts = Value::Array(Array::String(vec!["123".into(), "1".into()]));
    assert_eq!(two.attributes, [KeyValue::new("list", texts)]);
}

#[test]
fn a_span_knows_what_the_program_and_the_environment_say_about_the_process() {
    let collector = spanloom::testing::FakeCollector::start().unwrap();
    let endpoint = collector.http_endpoint();
    let guard = spanloom::builder()
        .service_name("from the program")
        .resource_attribute(KeyValue::new("service.version", "1.2"))
        .resource_attribute(KeyValue::new("team", "red"))
        .environment(move |name| match name {
            "OTEL_EXPORTER_OTLP_ENDPOINT" => Some(endpoint.clone()),
            "OTEL_RESOURCE_ATTRIBUTES" => Some("team=blue,service.name=listed".to_owned()),
            _ => None,
        })
        .start()
        .unwrap();
    let tracer = guard.tracer_provider().tracer("test");
    tracer
        .span_builder("one")
        .with_kind(SpanKind::Producer)
        .start(&tracer)
        .end();
    guard.shutdown().unwrap();
    assert_eq!(collector.tree(&[]), "listed PRODUCER one\n");
    let received = collector.received().remove(0).request;
    let resource = received.resource_spans[0].resource.clone().unwrap();
    let attributes = format!("{:?}", resource.attributes);
    assert!(
        attributes.contains("blue") && !attributes.contains("red"),
        "{attributes}"
    );
    assert!(
        attributes.contains("1.2") && attributes.contains("telemetry.distro"),
        "{attributes}"
    );
    assert_ne!(
        received.resource_spans[0].scope_spans[0].spans[0].trace_id,
        TraceId::INVALID.to_bytes()
    );
}
