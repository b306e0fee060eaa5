//! A request through four services and their Envoys, and what the Jaeger API then has of it.

use anyhow::{Context, Result};
use serde_json::Value;
use spanloom_tests::{mesh, not_run, start};
use xtask::jaeger::{Maker, Span, Trace};
use xtask::mesh::{self, Mesh};
use xtask::wait;

/// Sends a request, marked with `mark` in its query, and returns the status of the answer and the
/// id of the trace that the first proxy continued or started for it.
fn send(mesh: &Mesh, path: &str, mark: &str, headers: &[(&str, &str)]) -> Result<(u16, String)> {
    let path = format!("{path}?mark={mark}");
    let response = mesh.get(&path, headers)?;
    let entry = wait::until("the access log", || {
        let log = mesh.sidecar("frontend").access_log()?;
        Ok(log.into_iter().find(|line| line["path"] == path))
    })?;
    Ok((response.status, traceparent(&entry)?.trace_id))
}

/// What a request carried when it left a proxy.
struct Traceparent {
    trace_id: String,
    span_id: String,
    flags: String,
}

/// Reads the `traceparent` in a line of an access log.
fn traceparent(line: &Value) -> Result<Traceparent> {
    let text = line["traceparent"]
        .as_str()
        .context("the request left without traceparent")?;
    let [version, trace_id, span_id, flags] = text.split('-').collect::<Vec<_>>()[..] else {
        anyhow::bail!("not four fields: {text}");
    };
    anyhow::ensure!(version == "00" && trace_id.len() == 32, "malformed: {text}");
    Ok(Traceparent {
        trace_id: trace_id.to_owned(),
        span_id: span_id.to_owned(),
        flags: flags.to_owned(),
    })
}

/// The line that a service's Envoy logged for a trace's request to `cluster`, with `app` for the
/// way in and `next` for the way out.
fn logged(mesh: &Mesh, service: &str, cluster: &str, trace_id: &str) -> Result<Value> {
    wait::until("the access log", || {
        let log = mesh.sidecar(service).access_log()?;
        let is_meant = |line: &Value| {
            line["cluster"] == cluster
                && traceparent(line).is_ok_and(|header| header.trace_id == trace_id)
        };
        Ok(log.into_iter().find(is_meant))
    })
}

/// One line a span, children indented: who made it, its kind, its name, and whether it failed.
fn outline(trace: &Trace) -> String {
    fn add(trace: &Trace, span: &Span, depth: usize, lines: &mut Vec<String>) {
        let by = span.maker();
        let error = if span.is_error() { " !" } else { "" };
        let Span {
            service, operation, ..
        } = span;
        let kind = span.kind();
        lines.push(format!(
            "{:1$}{service} {by} {kind} {operation}{error}",
            "",
            2 * depth
        ));
        for child in trace.children(Some(&span.id)) {
            add(trace, child, depth + 1, lines);
        }
    }
    let mut lines = Vec::new();
    for root in trace.children(None).chain(trace.orphans()) {
        add(trace, root, 0, &mut lines);
    }
    lines.join("\n")
}

const WHOLE: &str = "\
frontend filter server GET
  frontend sdk server GET /checkout/{item}
    frontend sdk internal price the basket
    frontend sdk client GET
      frontend filter client GET
        checkout filter server GET
          checkout filter client GET
            delivery filter server GET
              delivery auto server GET /deliveries/{item}
                delivery auto internal promise
                  delivery auto internal left_in_stock
                    delivery auto client GET
                      delivery filter client GET
                        stock filter server GET";

const WHOLE_AND_FAILED: &str = "\
frontend filter server GET !
  frontend sdk server GET /checkout/{item} !
    frontend sdk internal price the basket
    frontend sdk client GET !
      frontend filter client GET !
        checkout filter server GET !
          checkout filter client GET !
            delivery filter server GET !
              delivery auto server GET /deliveries/{item} !
                delivery auto internal promise !
                  delivery auto internal left_in_stock !
                    delivery auto client GET !
                      delivery filter client GET !
                        stock filter server GET !";

/// The trace as soon as it has as many spans as `outline` has lines.
fn wait_for(mesh: &Mesh, trace_id: &str, outline: &str) -> Result<Trace> {
    mesh.jaeger().wait_for(trace_id, |trace| {
        trace.spans.len() >= outline.lines().count()
    })
}

#[test]
fn a_request_is_one_trace_across_all_services() {
    let Some(mesh) = mesh() else { return };
    let (status, id) = send(mesh, mesh::ORDER, "one-trace", &[]).unwrap();
    assert_eq!(status, 200);
    let trace = wait_for(mesh, &id, WHOLE).unwrap();
    assert_eq!(outline(&trace), WHOLE);
    assert!(trace.is_whole(), "{trace}");
    assert_eq!(
        mesh.jaeger().services().unwrap(),
        ["checkout", "delivery", "frontend", "stock"]
    );
}

#[test]
fn an_error_is_marked_on_the_spans_that_saw_it() {
    let Some(mesh) = mesh() else { return };
    let (status, id) = send(mesh, mesh::FAILING_ORDER, "failing", &[]).unwrap();
    assert_eq!(status, 502);
    let trace = wait_for(mesh, &id, WHOLE_AND_FAILED).unwrap();
    assert_eq!(outline(&trace), WHOLE_AND_FAILED);
    let statuses = trace
        .spans
        .iter()
        .filter(|span| span.maker() == Maker::Filter)
        .map(|span| {
            span.tags
                .get("http.response.status_code")
                .and_then(Value::as_i64)
                .unwrap_or_default()
        });
    // On the way in: the proxies of the frontend, of the checkout and of the delivery twice, then
    // that of the stock.
    let statuses = statuses.collect::<Vec<_>>();
    assert_eq!(statuses, [502, 502, 502, 502, 502, 500, 500]);
}

#[test]
fn a_callers_trace_goes_on_and_its_tracestate_arrives() {
    let Some(mesh) = mesh() else { return };
    let (trace_id, parent) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
    let traceparent_in = format!("00-{trace_id}-{parent}-01");
    let headers = [
        ("traceparent", &*traceparent_in),
        ("tracestate", "rojo=1,congo=t61"),
    ];
    let (status, id) = send(mesh, mesh::ORDER, "continued", &headers).unwrap();
    assert_eq!((status, &*id), (200, trace_id));
    let trace = wait_for(mesh, &id, WHOLE).unwrap();
    assert_eq!(outline(&trace), WHOLE);
    // Only the client knows the client's own span.
    let orphans: Vec<_> = trace
        .orphans()
        .filter_map(|span| span.parent.as_deref())
        .collect();
    assert_eq!(orphans, [parent]);
    let arrived = logged(mesh, "stock", "app", &id).unwrap();
    assert!(
        arrived["tracestate"]
            .as_str()
            .unwrap()
            .ends_with("rojo=1,congo=t61"),
        "{arrived}"
    );
}

#[test]
fn the_header_that_leaves_a_proxy_names_the_proxys_span() {
    let Some(mesh) = mesh() else { return };
    let (_, id) = send(mesh, mesh::ORDER, "header", &[]).unwrap();
    let trace = wait_for(mesh, &id, WHOLE).unwrap();
    for (service, cluster, kind) in [
        ("frontend", "app", "server"),
        ("frontend", "next", "client"),
        ("checkout", "app", "server"),
        ("checkout", "next", "client"),
        ("delivery", "app", "server"),
        ("delivery", "next", "client"),
        ("stock", "app", "server"),
    ] {
        let header = traceparent(&logged(mesh, service, cluster, &id).unwrap()).unwrap();
        let span = trace.spans.iter().find(|span| span.id == header.span_id);
        let span = span.unwrap_or_else(|| panic!("{service}: no span {}", header.span_id));
        assert_eq!(span.maker(), Maker::Filter);
        assert_eq!((&*span.service, span.kind()), (service, kind));
    }
}

#[test]
fn an_unsampled_request_is_passed_on_and_not_exported() {
    let Some(mesh) = mesh() else { return };
    let unsampled = "0af7651916cd43dd8448eb211c80319c";
    let header = format!("00-{unsampled}-b7ad6b7169203331-00");
    let (status, id) = send(mesh, mesh::ORDER, "unsampled", &[("traceparent", &header)]).unwrap();
    assert_eq!((status, &*id), (200, unsampled));
    let arrived = traceparent(&logged(mesh, "stock", "app", unsampled).unwrap()).unwrap();
    assert_eq!(arrived.flags, "00");

    // Spans leave each proxy in order: when those of a later request are there, nothing of the
    // earlier one is still on its way.
    let (_, later) = send(mesh, mesh::ORDER, "after-unsampled", &[]).unwrap();
    wait_for(mesh, &later, WHOLE).unwrap();
    assert!(mesh.jaeger().trace(unsampled).unwrap().is_none());
}

#[test]
fn a_malformed_traceparent_starts_a_new_trace() {
    let Some(mesh) = mesh() else { return };
    for (mark, header) in [
        (
            "no-hex",
            "00-zzf7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ),
        (
            "zero-id",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        ),
        (
            "too-short",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b71-01",
        ),
        (
            "version-ff",
            "ff-1af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ),
    ] {
        let headers = [("traceparent", header), ("tracestate", "rojo=1")];
        let (status, id) = send(mesh, mesh::ORDER, mark, &headers).unwrap();
        assert_eq!(status, 200);
        assert!(!header.contains(&id), "{mark} was continued");
        let trace = wait_for(mesh, &id, WHOLE).unwrap();
        assert_eq!(outline(&trace), WHOLE);
        assert!(trace.is_whole(), "{trace}");
        // A state without its trace means nothing.
        let arrived = logged(mesh, "stock", "app", &id).unwrap();
        let state = arrived["tracestate"].as_str().unwrap_or_default();
        assert!(!state.contains("rojo"), "{mark}: {arrived}");
    }
}

#[test]
fn a_mesh_that_is_asked_to_stop_ends_well_and_leaves_nothing() {
    let Some(mesh) = start().unwrap() else {
        return not_run("Envoy: cargo xtask parts envoy");
    };
    let (_, id) = send(&mesh, mesh::ORDER, "before-stop", &[]).unwrap();
    wait_for(&mesh, &id, WHOLE).unwrap();
    let folder = mesh.folder().to_owned();
    mesh.stop().unwrap();
    assert!(!folder.exists());
}
