//! Programs that `cargo spanloom` built: `examples/unedited`, without a line about tracing, and the
//! shop's `frontend`, which uses the SDK.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use anyhow::Result;
use spanloom_tests::lab::Sink;
use xtask::artifacts::Artifacts;
use xtask::mesh::{Leash, Process};
use xtask::{http, wait};

use crate::outline::outline;

/// A running program and where it listens.
fn start(
    leash: &Arc<Leash>,
    program: &Path,
    arguments: &[&str],
    collector: SocketAddr,
) -> Result<(Process, SocketAddr)> {
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    let file = leash.folder().join(format!("{name}.address"));
    let mut command = Command::new(program);
    command.arg("--address-file").arg(&file).args(arguments);
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{collector}"));
    command.env("OTEL_BSP_SCHEDULE_DELAY", "50");
    let mut process = Process::spawn(leash, &name, &mut command)?;
    let address = process.wait_for("the address", || {
        Ok(fs::read_to_string(&file).unwrap_or_default().parse().ok())
    })?;
    Ok((process, address))
}

const CALLER: &str = "b7ad6b7169203331";

/// Sends a request as a part of the caller's trace; the body of the answer.
fn get(address: SocketAddr, path: &str) -> Result<String> {
    let traceparent = format!("00-0af7651916cd43dd8448eb211c80319c-{CALLER}-01");
    let url = format!("http://{address}{path}");
    Ok(http::get(&url, &[("traceparent", &*traceparent)])?.body)
}

/// Waits for that many spans, and for no more.
fn wait_for(sink: &Sink, expected: &str) {
    let n_spans = expected.lines().count() as u64;
    wait::until(
        "the spans",
        || Ok((sink.n_spans() >= n_spans).then_some(())),
    )
    .unwrap_or_else(|error| panic!("{error:#}\n{}", outline(sink, Some(CALLER))));
    assert_eq!(outline(sink, Some(CALLER)), expected);
}

#[test]
fn a_program_that_nobody_edited_joins_the_trace_of_its_caller() {
    let artifacts = Artifacts::build().unwrap();
    let leash = Leash::new().unwrap();
    let sink = Sink::start().unwrap();
    sink.keep_requests();
    let start = |name: &str, arguments: &[&str]| {
        start(&leash, &artifacts.service(name), arguments, sink.address()).unwrap()
    };
    let (stock, at) = start("stock", &[]);
    let (delivery, at) = start("delivery", &["--upstream", &format!("http://{at}")]);

    let answer = get(at, "/deliveries/tea").unwrap();
    assert_eq!(answer, r#"{"days":1,"item":"tea","left":7}"#);
    wait_for(
        &sink,
        "\
delivery spanloom-hook SERVER GET /deliveries/{item}
  delivery spanloom-hook INTERNAL promise
    delivery spanloom-hook INTERNAL left_in_stock
      delivery spanloom-hook CLIENT GET
",
    );
    delivery.stop().unwrap();
    stock.stop().unwrap();
}

#[test]
fn a_program_with_the_sdk_exports_all_spans_by_the_sdk_and_none_twice() {
    let artifacts = Artifacts::build().unwrap();
    let frontend = artifacts.build_frontend().unwrap();
    let leash = Leash::new().unwrap();
    let sink = Sink::start().unwrap();
    sink.keep_requests();
    let start = |program: &Path, arguments: &[&str]| {
        start(&leash, program, arguments, sink.address()).unwrap()
    };
    let (stock, at) = start(&artifacts.service("stock"), &[]);
    let upstream = format!("http://{at}");
    let (delivery, at) = start(&artifacts.service("delivery"), &["--upstream", &*upstream]);
    let upstream = format!("http://{at}");
    let (checkout, at) = start(&artifacts.service("checkout"), &["--upstream", &*upstream]);
    let (frontend, at) = start(&frontend, &["--upstream", &format!("http://{at}")]);

    get(at, "/checkout/tea").unwrap();
    wait_for(
        &sink,
        "\
frontend opentelemetry SERVER GET /checkout/{item}
  frontend opentelemetry INTERNAL checkout
    frontend opentelemetry INTERNAL price the basket
    frontend opentelemetry CLIENT GET
      delivery spanloom-hook SERVER GET /deliveries/{item}
        delivery spanloom-hook INTERNAL promise
          delivery spanloom-hook INTERNAL left_in_stock
            delivery spanloom-hook CLIENT GET
",
    );
    for program in [frontend, checkout, delivery, stock] {
        program.stop().unwrap();
    }
}

#[test]
fn a_query_that_the_sdk_traces_has_one_span() {
    // The example's own test compares all of its spans, one for each query.
    let artifacts = Artifacts::build().unwrap();
    artifacts
        .test_with_spans_of_drivers("sqlx-service")
        .unwrap();
}
