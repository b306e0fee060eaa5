//! Which spans are made, and what is kept of them.

use std::time::{Duration, SystemTime};

use opentelemetry::trace::{
    Link, Span as _, SpanContext, SpanKind, Status, TraceContextExt, TraceFlags, TraceId,
    TraceState, Tracer as _, TracerProvider as _,
};
use opentelemetry::{Array, Context, KeyValue, Value};
use opentelemetry_sdk::trace::{SamplingDecision, SamplingResult, ShouldSample};
use spanloom::testing::Sink;
use spanloom::{Guard, opentelemetry, opentelemetry_sdk};

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

/// Decides by name, once with each decision.
#[derive(Clone, Debug)]
struct ByName;

impl ShouldSample for ByName {
    fn should_sample(
        &self,
        _parent: Option<&Context>,
        _trace_id: TraceId,
        name: &str,
        _kind: &SpanKind,
        _attributes: &[KeyValue],
        _links: &[Link],
    ) -> SamplingResult {
        let decision = match name {
            "recorded" => SamplingDecision::RecordOnly,
            "dropped" => SamplingDecision::Drop,
            _ => SamplingDecision::RecordAndSample,
        };
        let attributes = vec![KeyValue::new("by", "name")];
        SamplingResult {
            decision,
            attributes,
            trace_state: "a=b".parse().unwrap(),
        }
    }
}

#[test]
fn a_sampler_of_the_program_decides_and_what_is_only_recorded_is_not_exported() {
    let sink = Sink::default();
    let builder = spanloom::builder()
        .environment(|_| None)
        .exporter(sink.clone());
    let guard = builder.sampler(ByName).start().unwrap();
    let tracer = guard.tracer_provider().tracer("test");
    let mut recorded = tracer.start("recorded");
    assert!(recorded.is_recording() && !recorded.span_context().is_sampled());
    recorded.end();
    assert!(!tracer.start("dropped").is_recording());
    tracer.start("sampled").end();
    guard.flush().unwrap();
    assert_eq!(sink.tree(&["by"]), "INTERNAL sampled by=name\n");
    assert_eq!(sink.spans()[0].span_context.trace_state().header(), "a=b");
}

#[test]
fn the_sampler_of_the_environment_is_stronger_than_the_programs() {
    let sink = Sink::default();
    let lookup = |name: &str| (name == "OTEL_TRACES_SAMPLER").then(|| "always_on".to_owned());
    let builder = spanloom::builder()
        .environment(lookup)
        .exporter(sink.clone());
    let guard = builder.sampler(ByName).start().unwrap();
    guard
        .tracer_provider()
        .tracer("test")
        .start("dropped")
        .end();
    guard.flush().unwrap();
    assert_eq!(sink.tree(&["by"]), "INTERNAL dropped\n");
}

#[test]
fn a_span_obeys_the_rules_of_the_specification() {
    let (guard, sink) = start(&[]);
    let tracer = guard.tracer_provider().tracer("test");
    let mut span = tracer.start("before");
    span.update_name("after");
    span.set_attribute(KeyValue::new("key", 1));
    span.set_attribute(KeyValue::new("key", 2));
    span.set_status(Status::error("first"));
    span.set_status(Status::Unset);
    let context = span.span_context().clone();
    let end = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
    span.end_with_timestamp(end);
    assert_eq!(span.span_context(), &context);
    // All of this comes too late.
    span.set_status(Status::Ok);
    span.set_attribute(KeyValue::new("late", 1));
    span.end();
    drop(span);
    drop(tracer.start("dropped"));
    guard.flush().unwrap();
    assert_eq!(
        sink.tree(&["key", "late"]),
        "INTERNAL after key=2 ERROR: first\nINTERNAL dropped\n"
    );
    assert_eq!(sink.spans()[0].end_time, end);
    assert_eq!(sink.spans()[0].attributes.len(), 1);
    assert_eq!(sink.spans()[0].instrumentation_scope.name(), "test");
}

#[test]
fn after_the_end_requests_keep_the_trace_of_their_caller() {
    let (guard, sink) = start(&[]);
    let tracer = guard.tracer_provider().tracer("test");
    guard.shutdown().unwrap();
    let caller = caller();
    let span = tracer.start_with_context("late", &caller);
    assert_eq!(span.span_context(), caller.span().span_context());
    drop(span);
    assert!(sink.spans().is_empty());
}

#[test]
fn suppressed_telemetry_makes_no_spans() {
    let (guard, sink) = start(&[]);
    let tracer = guard.tracer_provider().tracer("test");
    let suppressed = caller().with_telemetry_suppressed();
    assert!(
        !tracer
            .start_with_context("one", &suppressed)
            .span_context()
            .is_valid()
    );
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
