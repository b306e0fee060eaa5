//! What the collector costs, in spans per CPU-second of its process, beside two relays measured in
//! the same run: one that decodes and encodes every span, as most collectors do, and one that
//! passes bytes through and looks at nothing, which is the floor.
//!
//! ```text
//! collector-bench --spanloom target/release/spanloom [--json] [--rounds 3] [--seconds 4]
//! ```
//!
//! Four targets take OTLP over gRPC from the same closed loop (4 connections, 4 requests in flight
//! on each): `spanloom` forwarding, `spanloom` with its embedded store, and the relays, which are
//! this same program started again. Rounds are interleaved, so that a machine that drifts drifts
//! for all. A target's CPU time is read from the system when it has settled, before the load and
//! after it, so that what it left for later counts.

mod load;
mod relays;
mod report;
mod target;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::report::{Report, Sample};
use crate::target::{Kind, Target};

/// Spans in a request: what an SDK sends, and what a batching collector or Envoy sends.
const BATCHES: [usize; 2] = [100, 512];

/// Before anything is counted: connections, allocators and caches get warm.
const WARM_UP: Duration = Duration::from_millis(700);

/// The command line.
#[derive(Parser)]
#[command(
    about = "Measures the collector beside two relays",
    subcommand_negates_reqs = true
)]
struct Arguments {
    /// The release binary to measure.
    #[arg(long, required = true)]
    spanloom: Option<PathBuf>,
    /// Print JSON rather than a table.
    #[arg(long)]
    json: bool,
    /// How often everything is measured; the median counts.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// How long each measurement loads its target.
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    #[command(subcommand)]
    relay: Option<Relay>,
}

#[derive(Subcommand)]
enum Relay {
    /// Decodes and encodes every span.
    RelayProst {
        /// Where to: `host:port`.
        #[arg(long)]
        to: String,
    },
    /// Passes bytes through.
    RelayRaw {
        /// Where to: `host:port`.
        #[arg(long)]
        to: String,
    },
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    match arguments.relay {
        // One thread each: the cheapest way to run them, so the hardest to beat.
        Some(Relay::RelayProst { to }) => one_thread(relays::prost(&to))?,
        Some(Relay::RelayRaw { to }) => one_thread(relays::raw(&to))?,
        None => {
            let spanloom = arguments.spanloom.unwrap_or_default();
            let seconds = Duration::from_secs(arguments.seconds);
            let report = one_thread(measure(spanloom, arguments.rounds, seconds))?;
            report.print(arguments.json);
            return Ok(if report.holds() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            });
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn one_thread<T>(run: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(run)
}

async fn measure(spanloom: PathBuf, rounds: usize, seconds: Duration) -> Result<Report> {
    let sink = relays::sink().await?;
    let mut report = Report::default();
    for _ in 0..rounds {
        for kind in Kind::ALL {
            let target = Target::start(kind, &spanloom, sink).await?;
            for n_spans in BATCHES {
                load::run(target.address(), n_spans, WARM_UP).await?;
                let before = target.settled_cpu().await?;
                let n_acked = load::run(target.address(), n_spans, seconds).await?;
                let cpu = target.settled_cpu().await? - before;
                let peak_rss_kib = target.peak_rss_kib()?;
                report.add(
                    kind,
                    n_spans,
                    Sample {
                        n_acked,
                        cpu,
                        peak_rss_kib,
                    },
                );
            }
        }
    }
    Ok(report)
}
