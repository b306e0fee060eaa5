//! The presets, as whole programs and as tests use them.

use opentelemetry::trace::{Span as _, Tracer as _, TracerProvider as _};
use spanloom::{opentelemetry, testing};

use crate::child::{is_program, run};

#[test]
fn a_program_in_development_shows_its_spans_and_readable_lines() {
    let text = run("presets::development_program", &[]);
    let spans: Vec<_> = text
        .lines()
        .filter(|line| line.starts_with("span "))
        .collect();
    assert_eq!(spans.len(), 1, "{text}");
    let line = text.lines().find(|line| line.contains("kneading"));
    let line = line.expect(&text);
    assert!(
        line.contains(" trace_id=") && !line.starts_with('{'),
        "{line}"
    );
}

#[test]
fn a_program_in_development_leaves_the_word_to_the_environment() {
    let variables = [("OTEL_TRACES_EXPORTER", "none"), ("RUST_LOG", "off")];
    let text = run("presets::development_program", &variables);
    assert!(
        !text.contains("span ") && !text.contains("kneading"),
        "{text}"
    );
}

#[test]
fn development_program() {
    if is_program() {
        let _tracing = spanloom::development().init().unwrap();
        opentelemetry::global::tracer("test").in_span("bake", |_| tracing::info!("kneading"));
    }
}

#[test]
fn a_program_in_production_writes_json_even_without_a_collector() {
    let text = run("presets::production_program", &[]);
    let line = text.lines().find(|line| line.contains("kneading"));
    let line = line.expect(&text);
    assert!(
        line.starts_with('{') && line.contains(r#""trace_id":""#),
        "{line}"
    );
    assert!(!text.contains("span Internal"), "{text}");
}

#[test]
fn production_program() {
    if is_program() {
        let tracing = spanloom::production().flush_timeout(std::time::Duration::ZERO);
        let _tracing = tracing.init().unwrap();
        opentelemetry::global::tracer("test").in_span("bake", |_| tracing::info!("kneading"));
    }
}

#[test]
fn a_test_sees_a_span_as_soon_as_it_has_ended_and_only_its_own() {
    let (tracing, sink) = testing::start();
    let (_other, others) = testing::start();
    let mut span = tracing.tracer_provider().tracer("test").start("bake");
    assert_eq!(sink.tree(&[]), "");
    span.end();
    assert_eq!(sink.tree(&[]), "INTERNAL bake\n");
    assert_eq!(others.spans().len(), 0);
    tracing.shutdown().unwrap();
}

#[test]
fn a_test_may_choose_its_environment() {
    let sink = testing::Sink::default();
    let lookup = |name: &str| (name == "OTEL_TRACES_SAMPLER").then(|| "always_off".to_owned());
    let tracing = testing::builder(&sink).environment(lookup).start().unwrap();
    tracing.tracer_provider().tracer("test").start("bake").end();
    assert_eq!(sink.spans().len(), 0);
}
