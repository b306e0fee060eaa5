//! The spans of the program, as a collector sees them.

use spanloom_wire::otlp::SpanKind;

use crate::app::{App, exclusively, folder};
use crate::sink::Span;

fn named<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    spans
        .iter()
        .find(|span| span.name == name)
        .unwrap_or_else(|| panic!("no span {name}: {spans:#?}"))
}

/// Name and kind of a span and of those above it.
fn ancestry(spans: &[Span], name: &str) -> Vec<String> {
    let mut span = named(spans, name);
    let mut names = Vec::new();
    loop {
        names.push(format!("{:?} {}", span.kind, span.name));
        match spans
            .iter()
            .find(|other| Some(&other.id) == span.parent.as_ref())
        {
            Some(parent) => span = parent,
            None => return names,
        }
    }
}

/// Line and column of a text in the program's original.
fn place(text: &str) -> (usize, usize) {
    let source = std::fs::read_to_string(folder().join("front/src/main.rs")).unwrap();
    let mut lines = source.lines().enumerate();
    lines
        .find_map(|(line, content)| Some((line + 1, content.find(text)? + 1)))
        .unwrap()
}

#[test]
fn a_request_is_one_trace_through_tasks_and_over_http() {
    let _one = exclusively();
    let app = App::start(&[]);
    let parent = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\ntracestate: a=b\r\n";
    assert_eq!(app.get("/hello/bolt", parent), "hello bolt: 40 -a-b");
    let spans = app
        .sink
        .wait_for_all(&["GET /hello/{name}", "GET /stock/{item}"]);
    assert_eq!(
        ancestry(&spans, "total"),
        [
            "Internal total",
            "Internal count",
            "Internal count",
            "Server GET /stock/{item}",
            "Client GET",
            "Internal ask",
            "Internal hello",
            "Server GET /hello/{name}",
        ]
    );
    let server = named(&spans, "GET /hello/{name}");
    assert_eq!(server.parent.as_deref(), Some("b7ad6b7169203331"));
    assert!(
        spans
            .iter()
            .all(|span| span.trace_id == "0af7651916cd43dd8448eb211c80319c")
    );
    assert!(
        spans
            .iter()
            .all(|span| span.state == "a=b" && span.service == "front")
    );
    assert_eq!(server.attributes["http.response.status_code"], "200");
    assert_eq!(server.attributes["url.path"], "/hello/bolt");
    let client = named(&spans, "GET");
    assert!(client.attributes["url.full"].ends_with("/stock/bolt"));
    assert_eq!(client.attributes["http.response.status_code"], "200");
    let ask = named(&spans, "ask");
    assert_eq!(ask.attributes["code.function.name"], "front::ask");
    assert_eq!(ask.attributes["code.file.path"], "front/src/main.rs");
    assert!(named(&spans, "join").attributes["code.file.path"].ends_with("old/src/lib.rs"));
}

#[test]
fn a_runtimes_threads_are_in_nobodys_trace() {
    let _one = exclusively();
    let app = App::start(&[]);
    assert_eq!(app.get("/apart", ""), "apart");
    let spans = app.sink.wait_for_all(&["GET /apart"]);
    let names: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
    assert!(!names.contains(&"parked"), "{names:?}");
}

#[test]
fn errors_and_panics_mark_their_spans_and_keep_their_places() {
    let _one = exclusively();
    let app = App::start(&[]);
    app.get("/fail", "");
    app.get("/boom", "");
    let spans = app.sink.wait_for_all(&["GET /fail", "GET /boom"]);
    let server = named(&spans, "GET /fail");
    assert!(server.is_error && server.attributes["error.type"] == "503");
    assert!(named(&spans, "refuse").attributes["error.type"].ends_with("stock::Refused"));
    assert_eq!(ancestry(&spans, "Warehouse::ask").len(), 5);
    let boom = named(&spans, "boom");
    assert!(boom.is_error && boom.attributes["error.type"] == "panic");
    assert!(named(&spans, "GET /boom").is_error);
    let (_, text) = app.stop("-TERM");
    let (line, column) = place("empty[at])");
    assert!(
        text.contains(&format!("panicked at front/src/main.rs:{line}:{column}:")),
        "{text}"
    );
}

#[test]
fn code_sees_its_own_place() {
    let _one = exclusively();
    let app = App::start(&[]);
    let (line, _) = place("file!()");
    assert!(
        app.get("/where", "")
            .starts_with(&format!("front/src/main.rs:{line}:"))
    );
}

#[test]
fn a_signal_flushes_and_then_ends_the_program_as_it_would() {
    let _one = exclusively();
    let app = App::start(&[("OTEL_BSP_SCHEDULE_DELAY", "3600000")]);
    app.get("/where", "");
    assert!(app.sink.spans().is_empty());
    let sink = app.sink.clone();
    let (signal, _) = app.stop("-TERM");
    assert_eq!(signal, Some(15));
    let spans = sink.spans();
    assert!(
        spans.iter().any(|span| span.name == "GET /where"),
        "{spans:#?}"
    );
}

#[test]
fn an_unsampled_trace_is_passed_on_and_not_exported() {
    let _one = exclusively();
    let app = App::start(&[]);
    app.get(
        "/hello/nut",
        "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00\r\n",
    );
    app.get("/where", "");
    let spans = app.sink.wait_for_all(&["GET /where"]);
    assert!(
        spans
            .iter()
            .all(|span| span.trace_id != "0af7651916cd43dd8448eb211c80319c"),
        "{spans:#?}"
    );
}

#[test]
fn a_traces_budget_is_kept_and_what_it_refused_is_said() {
    let _one = exclusively();
    let app = App::start(&[("SPANLOOM_TRACE_SPANS_MAX", "2")]);
    app.get("/hello/nut", "");
    let spans = app.sink.wait_for_all(&["GET /hello/{name}"]);
    let server = named(&spans, "GET /hello/{name}");
    // The program asks itself, and each request that arrives brings its own budget.
    assert_eq!(named(&spans, "hello").parent.as_ref(), Some(&server.id));
    assert_eq!(server.attributes["spanloom.trace.spans_refused"], "3");
}

#[test]
fn switches_work_when_the_program_runs() {
    let _one = exclusively();
    let app = App::start(&[("SPANLOOM_FUNCTIONS", "off")]);
    app.get("/hello/nut", "");
    let spans = app.sink.wait_for_all(&["GET /hello/{name}"]);
    assert!(
        spans.iter().all(|span| span.kind != SpanKind::Internal),
        "{spans:#?}"
    );

    let app = App::start(&[("SPANLOOM_OFF", "hyper-util")]);
    app.get("/hello/nut", "");
    let spans = app.sink.wait_for_all(&["GET /hello/{name}"]);
    assert!(
        spans.iter().all(|span| span.kind != SpanKind::Client),
        "{spans:#?}"
    );
}

#[test]
fn programs_on_hyper_0_14_are_traced_as_well() {
    let _one = exclusively();
    let app = App::start(&[]);
    assert_eq!(app.get("/elder", ""), "the elder at /age");
    let spans = app.sink.wait_for_all(&["GET /elder"]);
    assert_eq!(
        ancestry(&spans, "answer"),
        [
            "Internal answer",
            "Server GET",
            "Client GET",
            "Internal first",
            "Internal ask",
            "Internal elder",
            "Server GET /elder",
        ]
    );
    let answered = spans
        .iter()
        .find(|span| span.kind == SpanKind::Server && span.name == "GET");
    let answered = &answered.unwrap().attributes;
    assert_eq!(answered["url.path"], "/age");
    assert_eq!(answered["http.response.status_code"], "200");
}
