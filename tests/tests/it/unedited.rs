//! `examples/unedited`: a program without a line about tracing, built by `cargo spanloom`.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;

use anyhow::Result;
use spanloom_tests::lab::Sink;
use spanloom_wire::otlp::{SpanKind, TracesView};
use xtask::artifacts::Artifacts;
use xtask::mesh::{Leash, Process};
use xtask::{http, wait};

/// A running program and where it listens.
fn start(
    leash: &Arc<Leash>,
    artifacts: &Artifacts,
    name: &str,
    arguments: &[&str],
    collector: SocketAddr,
) -> Result<(Process, SocketAddr)> {
    let file = leash.folder().join(format!("{name}.address"));
    let mut command = Command::new(artifacts.service(name));
    command.arg("--address-file").arg(&file).args(arguments);
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{collector}"));
    command.env("OTEL_BSP_SCHEDULE_DELAY", "50");
    let mut process = Process::spawn(leash, name, &mut command)?;
    let address = process.wait_for("the address", || {
        Ok(fs::read_to_string(&file).unwrap_or_default().parse().ok())
    })?;
    Ok((process, address))
}

/// Kind and name of each span in the order of their start, and `parent` where one names the caller's.
fn outline(sink: &Sink, caller: &str) -> Vec<String> {
    let mut spans = Vec::new();
    for request in sink.requests() {
        for one in TracesView::new(&request).spans() {
            let span = one.span;
            let parent = span.parent_span_id.map(|id| id.to_string());
            let mark = if parent.as_deref() == Some(caller) {
                ", the caller's child"
            } else {
                ""
            };
            let kind = match span.kind {
                SpanKind::Server => "SERVER",
                SpanKind::Client => "CLIENT",
                _ => "INTERNAL",
            };
            spans.push((span.start, format!("{kind} {}{mark}", span.name)));
        }
    }
    spans.sort();
    spans.into_iter().map(|(_, line)| line).collect()
}

#[test]
fn a_program_that_nobody_edited_joins_the_trace_of_its_caller() {
    let artifacts = Artifacts::build().unwrap();
    let leash = Leash::new().unwrap();
    let sink = Sink::start().unwrap();
    sink.keep_requests();
    let collector = sink.address();
    let (stock, upstream) = start(&leash, &artifacts, "stock", &[], collector).unwrap();
    let upstream = format!("http://{upstream}");
    let arguments = ["--upstream", &*upstream];
    let (delivery, address) = start(&leash, &artifacts, "delivery", &arguments, collector).unwrap();

    let caller = "b7ad6b7169203331";
    let traceparent = format!("00-0af7651916cd43dd8448eb211c80319c-{caller}-01");
    let url = format!("http://{address}/deliveries/tea");
    let answer = http::get(&url, &[("traceparent", &*traceparent)]).unwrap();
    assert_eq!(answer.body, r#"{"days":1,"item":"tea","left":7}"#);

    wait::until("the spans", || Ok((sink.n_spans() >= 4).then_some(()))).unwrap();
    assert_eq!(
        outline(&sink, caller),
        [
            "SERVER GET /deliveries/{item}, the caller's child",
            "INTERNAL promise",
            "INTERNAL left_in_stock",
            "CLIENT GET",
        ]
    );
    delivery.stop().unwrap();
    stock.stop().unwrap();
}
