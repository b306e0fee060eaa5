//! `init` for a whole process: its log lines, and the bridge from `tracing`.

use opentelemetry::trace::Tracer as _;
use spanloom::testing::Sink;
use spanloom::{Error, LogFormat, opentelemetry};

use crate::child::{is_program, run};

fn line<'a>(text: &'a str, word: &str) -> &'a str {
    text.lines().find(|line| line.contains(word)).expect(text)
}

#[test]
fn log_lines_carry_the_ids_of_their_span_in_both_formats() {
    let json = run("logs::program", &[]);
    let inside = line(&json, "inside");
    let ids = inside.split_once(r#""trace_id":""#).expect(inside).1;
    assert_eq!(ids.find('"'), Some(32), "{inside}");
    assert!(
        ids.contains(r#""span_id":""#) && inside.ends_with(r#""}"#),
        "{inside}"
    );
    assert!(!line(&json, "outside").contains("trace_id"), "{json}");

    let text = run("logs::program", &[("TEXT", "1")]);
    let ids = line(&text, "inside")
        .split_once(" trace_id=")
        .expect(&text)
        .1;
    assert_eq!(
        ids.len(),
        "4bf92f3577b34da6a3ce929d0e0e4736 span_id=00f067aa0ba902b7".len()
    );
}

#[test]
fn spans_of_tracing_and_of_opentelemetry_nest_in_each_other() {
    let text = run("logs::program", &[]);
    let tree = text.split_once("tree:\n").expect(&text).1;
    let expected = "INTERNAL work\n  INTERNAL by the API\n    INTERNAL deep inside\nend";
    assert!(tree.starts_with(expected), "{text}");
}

#[test]
fn a_variable_that_makes_no_sense_is_reported_in_the_log() {
    let text = run("logs::program", &[("OTEL_TRACES_SAMPLER", "sometimes")]);
    assert!(line(&text, "sometimes").contains("WARN"), "{text}");
}

#[test]
fn spans_go_to_the_console_when_that_is_asked_for() {
    let text = run(
        "logs::console_program",
        &[("OTEL_TRACES_EXPORTER", "console")],
    );
    let span = line(&text, "span Internal");
    assert!(
        span.contains(r#""for the console""#) && span.contains("status=Unset"),
        "{text}"
    );
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the variable says which format to show"
)]
fn program() {
    if !is_program() {
        return;
    }
    let format = if std::env::var_os("TEXT").is_some() {
        LogFormat::Text
    } else {
        LogFormat::Json
    };
    let sink = Sink::default();
    let tracing = spanloom::builder()
        .log_format(format)
        .exporter(sink.clone())
        .init()
        .unwrap();
    tracing::info!("outside");
    tracing::info_span!("work").in_scope(|| {
        tracing::info!("inside");
        opentelemetry::global::tracer("test").in_span("by the API", |_| {
            tracing::info_span!("deep inside").in_scope(|| ());
        });
        tracing::info_span!(target: "h2", "a frame").in_scope(|| ());
    });
    assert!(matches!(spanloom::init(), Err(Error::Subscriber(_))));
    tracing.flush().unwrap();
    println!("tree:\n{}end", sink.tree(&[]));
}

#[test]
fn console_program() {
    if !is_program() {
        return;
    }
    let _tracing = spanloom::builder()
        .log_format(LogFormat::Off)
        .init()
        .unwrap();
    opentelemetry::global::tracer("test").in_span("for the console", |_| ());
}
