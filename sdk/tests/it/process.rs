//! A trace that goes on in a process that another one starts.

use std::process::Command;

use opentelemetry::Context;
use opentelemetry::baggage::BaggageExt;
use opentelemetry::trace::{TraceContextExt, Tracer};
use spanloom::process::CommandTraced;
use spanloom::testing::Sink;
use spanloom::{Guard, LogFormat, opentelemetry};

use crate::child::{is_program, run};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn init(sink: &Sink) -> Guard {
    let builder = spanloom::builder().log_format(LogFormat::Off);
    builder.exporter(sink.clone()).init().unwrap()
}

fn value<'a>(text: &'a str, name: &str) -> &'a str {
    let mut lines = text.lines().filter_map(|line| line.split_once('='));
    let found = lines.find(|(known, _)| *known == name);
    found.unwrap_or_else(|| panic!("{name}: {text}")).1
}

#[test]
fn a_process_is_in_the_trace_of_the_one_that_started_it() {
    let text = run(
        "process::outer_program",
        &[
            ("TRACEPARENT", &format!("00-{TRACE}-00f067aa0ba902b7-01")),
            ("TRACESTATE", "shop=corner"),
            ("BAGGAGE", "order=7"),
        ],
    );
    assert_eq!(value(&text, "outer trace"), TRACE);
    assert_eq!(value(&text, "outer parent"), "00f067aa0ba902b7");
    let inner = format!("{TRACE} {} shop", value(&text, "outer span"));
    assert_eq!(
        value(&text, "inner"),
        format!("{inner}=corner order 7 remote")
    );
    // As tokio starts it, and as nobody's.
    assert_eq!(
        value(&text, "tokio"),
        format!("{inner}=corner order 7 remote")
    );
    let nobody = "00000000000000000000000000000000 0000000000000000  none local";
    assert_eq!(value(&text, "alone"), nobody);
}

#[test]
fn the_variables_are_those_of_the_format_that_is_asked_for() {
    let text = run(
        "process::inner_program",
        &[
            ("OTEL_PROPAGATORS", "b3multi"),
            ("X_B3_TRACEID", TRACE),
            ("X_B3_SPANID", "00f067aa0ba902b7"),
            ("X_B3_SAMPLED", "1"),
            (
                "TRACEPARENT",
                "00-11111111111111111111111111111111-1111111111111111-01",
            ),
        ],
    );
    assert!(value(&text, "context").starts_with(TRACE), "{text}");
}

#[tokio::test]
async fn outer_program() {
    if !is_program() {
        return;
    }
    let sink = Sink::default();
    let tracing = init(&sink);
    let arguments = ["--exact", "process::inner_program", "--nocapture"];
    let exe = std::env::current_exe().unwrap();
    let tell = |name: &str, output: std::process::Output| {
        let text = String::from_utf8(output.stdout).unwrap();
        println!("{name}={}", value(&text, "context"));
    };
    let alone = Command::new(&exe).args(arguments).traced().output();
    tell("alone", alone.unwrap());
    let mut with_tokio = tokio::process::Command::new(&exe);
    {
        let _started = spanloom::process::context().attach();
        opentelemetry::global::tracer("test").in_span("outer", |_| {
            let inner = Command::new(&exe).args(arguments).traced().output();
            tell("inner", inner.unwrap());
            with_tokio.args(arguments).traced();
        });
    }
    tell("tokio", with_tokio.output().await.unwrap());
    tracing.flush().unwrap();
    let span = sink.spans().remove(0);
    println!("outer trace={}", span.span_context.trace_id());
    println!("outer span={}", span.span_context.span_id());
    println!("outer parent={}", span.parent_span_id);
}

#[test]
fn inner_program() {
    if !is_program() {
        return;
    }
    let _tracing = init(&Sink::default());
    let context = spanloom::process::context();
    let span = context.span();
    let span = span.span_context();
    let order = context.baggage().get("order").map(ToString::to_string);
    println!(
        "context={} {} {} {} {}",
        span.trace_id(),
        span.span_id(),
        span.trace_state().header(),
        order.map_or("none".to_owned(), |order| format!("order {order}")),
        if span.is_remote() { "remote" } else { "local" },
    );
    assert!(!Context::current().has_active_span());
}
