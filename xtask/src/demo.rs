//! `cargo xtask demo`: a request goes through real Envoys, and its trace is there to look at.
#![expect(
    clippy::print_stdout,
    reason = "the trace and the address are the result"
)]

use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use xtask::artifacts::Artifacts;
use xtask::jaeger::Trace;
use xtask::mesh::{self, Mesh};
use xtask::parts;
use xtask::step::{note, step};
use xtask::wait;

/// Sends one request and prints its trace; fails unless the trace is whole.
pub(crate) fn once() -> Result<()> {
    let mesh = start()?;
    let trace = step("sending a request and waiting for its trace", || {
        send(&mesh, mesh::ORDER)?;
        find_whole_trace(&mesh).inspect_err(|_| {
            note(&format!("the logs are in {}", mesh.keep_logs().display()));
        })
    })?;
    println!("{trace}");
    println!("page: {}", mesh.jaeger().page(&trace.id));
    step("stopping everything", || mesh.stop())
}

/// Sends a request each second until Ctrl-C.
pub(crate) fn stay() -> Result<()> {
    let stop = stop_signal()?;
    let mut mesh = start()?;
    let trace = step("sending requests", || {
        send(&mesh, mesh::ORDER)?;
        find_whole_trace(&mesh)
    })?;
    println!("{trace}");
    println!("this trace:   {}", mesh.jaeger().page(&trace.id));
    println!("all traces:   {}", mesh.jaeger().front_page());
    println!(
        "send your own: curl http://{}{}",
        mesh.entry()?,
        mesh::ORDER
    );
    println!("one request a second goes on, each tenth fails; Ctrl-C stops everything");
    for count in 1_u64.. {
        match stop.recv_timeout(Duration::from_secs(1)) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => break,
        }
        mesh.check_alive()?;
        let failing = count.is_multiple_of(10);
        send(
            &mesh,
            if failing {
                mesh::FAILING_ORDER
            } else {
                mesh::ORDER
            },
        )?;
    }
    step("stopping everything", || mesh.stop())
}

fn start() -> Result<Mesh> {
    let artifacts = Artifacts::build()?;
    let envoy = parts::envoy()?;
    step(
        "starting the collector, four services and their Envoys",
        || Mesh::start(&artifacts, &envoy),
    )
}

fn send(mesh: &Mesh, path: &str) -> Result<()> {
    let response = mesh.get(path, &[])?;
    let expected = if path == mesh::FAILING_ORDER {
        502
    } else {
        200
    };
    if response.status != expected {
        bail!(
            "{path} was answered with {}: {}",
            response.status,
            response.body
        );
    }
    Ok(())
}

/// The latest trace, found as a person would find it: by the name of the service that the request
/// reached first.
fn find_whole_trace(mesh: &Mesh) -> Result<Trace> {
    let jaeger = mesh.jaeger();
    let first = wait::until("a trace of the request", || {
        Ok(jaeger
            .find(mesh::SERVICES[0], "limit=1")?
            .into_iter()
            .next())
    })?;
    jaeger.wait_for(&first.id, mesh::is_order_whole)
}

/// Hears of Ctrl-C and of a polite kill.
fn stop_signal() -> Result<Receiver<()>> {
    let mut signals = Signals::new([SIGINT, SIGTERM]).context("cannot handle signals")?;
    let (sender, receiver) = sync_channel(1);
    thread::spawn(move || {
        for _ in signals.forever() {
            // The second Ctrl-C finds the channel full, and that is fine: we are stopping.
            let _ = sender.try_send(());
        }
    });
    Ok(receiver)
}
