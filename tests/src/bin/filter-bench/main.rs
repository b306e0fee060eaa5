//! What tracing adds to a request in a real Envoy: our filter beside the native OpenTelemetry tracer.
//!
//! One Envoy process a case, one worker each, the same requests to the same upstream, the same sink.
//! A round is cut in slices of 500 requests, the cases take turns slice by slice and another one
//! begins each time, so that a slow second of the machine hits all of them. A case's figure is the CPU
//! time of its Envoy process over a round, export included, divided by the round's requests; the added
//! cost is that less the round's figure without tracing.
//!
//! The native tracer runs with its defaults (flush at 5 spans or 5 s), the filter with its own. No
//! request carries trace context, so every sampling decision is the proxy's. Two more cases are modules
//! that do next to nothing: no WebAssembly filter can cost less. One more is the native tracer with the
//! five tags that Istio configures.

mod bare;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Parser;
use serde_json::json;

use spanloom_tests::lab::{Delivery, Envoy, EnvoyOptions, Sink, Tracing, load};

/// Measures CPU microseconds a request added by tracing.
#[derive(Parser)]
struct Args {
    /// The Envoy binary.
    #[arg(long)]
    envoy: PathBuf,
    /// The built filter module.
    #[arg(long)]
    module: PathBuf,
    /// How many measured rounds.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// How many requests a case gets in a round.
    #[arg(long, default_value_t = 15_000)]
    requests: usize,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
}

/// The cases of a round; the first is the baseline of all.
const CASES: [(&str, Who, f64); 10] = [
    ("no tracing", Who::Nobody, 0.0),
    ("filter 100 %", Who::Filter, 100.0),
    ("native 100 %", Who::Native, 100.0),
    ("filter 1 %", Who::Filter, 1.0),
    ("native 1 %", Who::Native, 1.0),
    ("filter 0 %", Who::Filter, 0.0),
    ("native 0 %", Who::Native, 0.0),
    ("a bare module", Who::Bare(bare::NO_CALLBACKS), 0.0),
    ("one header", Who::Bare(bare::ONE_HEADER), 0.0),
    ("native, istio", Who::NativeInIstio, 100.0),
];

/// Who makes spans.
#[derive(Clone, Copy)]
enum Who {
    Nobody,
    Filter,
    Native,
    /// With the tags that Istio adds to each span; the filter says the same once a batch.
    NativeInIstio,
    /// A module of these parts that makes none.
    Bare(&'static str),
}

/// How many requests a case gets before the next case's turn.
const SLICE: usize = 500;

/// How many connections keep one request in flight each.
const N_CONNECTIONS: usize = 8;

/// After a round's requests, until every exporter has sent what it holds: longer than the native
/// tracer's flush interval of 5 s.
const SETTLE: Duration = Duration::from_millis(5_500);

struct Case {
    name: &'static str,
    percent: f64,
    envoy: Envoy,
    listener: SocketAddr,
    /// CPU milliseconds of its Envoy when it was ready.
    cpu_at_ready_ms: f64,
    /// CPU microseconds a request, one entry a round.
    cost_us: Vec<f64>,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<ExitCode> {
    let args = Args::parse();
    let upstream = load::start_upstream().await?;
    let sink = Sink::start()?;
    let folder = tempfile::tempdir()?;
    let mut cases = Vec::new();
    for (name, who, percent) in CASES {
        let tracing = tracing(&args, folder.path(), name, who, percent)?;
        let mut options = EnvoyOptions::new(tracing, sink.address());
        options.app = upstream;
        let envoy = Envoy::start(&args.envoy, &options).with_context(|| format!("start {name}"))?;
        cases.push(Case {
            name,
            percent,
            listener: envoy.listener("inbound")?,
            cpu_at_ready_ms: envoy.cpu_us()? / 1_000.0,
            envoy,
            cost_us: Vec::new(),
        });
    }

    // Warm caches and connections, and see that each case does what it is here for.
    for case in &cases {
        let before = sink.n_spans();
        load::run(case.listener, N_CONNECTIONS, 1_000).await?;
        tokio::time::sleep(SETTLE).await;
        check_spans(case, sink.n_spans() - before, 1_000)?;
    }
    let rss_start_kib: Vec<_> = cases.iter().map(|case| case.envoy.rss_kib()).collect();

    for round in 0..args.rounds {
        let before_us: Vec<_> = cases
            .iter()
            .map(|case| case.envoy.cpu_us())
            .collect::<Result<_>>()?;
        let n_slices = args.requests.div_ceil(SLICE);
        for slice in 0..n_slices {
            for turn in 0..cases.len() {
                let case = &cases[(slice + turn) % cases.len()];
                load::run(case.listener, N_CONNECTIONS, SLICE).await?;
            }
        }
        // All cases settle at once: an idle Envoy costs next to nothing.
        tokio::time::sleep(SETTLE).await;
        for (case, before_us) in cases.iter_mut().zip(before_us) {
            let used_us = case.envoy.cpu_us()? - before_us;
            case.cost_us.push(used_us / (n_slices * SLICE) as f64);
        }
        let figures: Vec<_> = cases
            .iter()
            .map(|case| format!("{:.1}", case.cost_us[round]))
            .collect();
        note(&format!(
            "round {}: {} us a request",
            round + 1,
            figures.join(" ")
        ));
    }

    report(&args, &cases, &rss_start_kib)
}

fn tracing(args: &Args, folder: &Path, name: &str, who: Who, percent: f64) -> Result<Tracing> {
    let module = match who {
        Who::Nobody => return Ok(Tracing::None),
        Who::Native | Who::NativeInIstio => {
            return Ok(Tracing::Native {
                percent,
                has_istio_tags: matches!(who, Who::NativeInIstio),
            });
        }
        Who::Filter => args.module.clone(),
        Who::Bare(parts) => bare::write(folder, name, parts)?,
    };
    Ok(Tracing::Filter {
        module,
        configuration: json!({
            "service_name": "orders",
            "sampling": { "ratio": percent / 100.0 }
        }),
        delivery: Delivery::Inline,
    })
}

/// A case that exports nothing, or that samples what it should not, measures something else.
fn check_spans(case: &Case, n_spans: u64, n_requests: u64) -> Result<()> {
    let expected = match case.percent {
        100.0 => n_requests..=n_requests,
        0.0 => 0..=0,
        _ => 1..=n_requests / 20,
    };
    if expected.contains(&n_spans) {
        return Ok(());
    }
    bail!(
        "{}: {n_requests} requests gave {n_spans} spans, expected {expected:?}",
        case.name
    )
}

fn report(args: &Args, cases: &[Case], rss_start_kib: &[u64]) -> Result<ExitCode> {
    let base = &cases[0];
    let added = |case: &Case| -> Vec<f64> {
        case.cost_us
            .iter()
            .zip(&base.cost_us)
            .map(|(cost, base)| cost - base)
            .collect()
    };
    let ratio = |ours: &Case, native: &Case| median(&added(ours)) / median(&added(native));
    let module_bytes = std::fs::metadata(&args.module)?.len();
    let n_requests = args.rounds * args.requests;
    let growth_kib = cases[1].envoy.rss_kib().saturating_sub(rss_start_kib[1]);
    let figures = [
        Figure::at_most(
            "added at 100 %, filter / native",
            ratio(&cases[1], &cases[2]),
            0.6,
            "x",
        ),
        Figure::info(
            "the same, native as Istio configures it",
            ratio(&cases[1], &cases[9]),
            "x",
        ),
        Figure::at_most(
            "added at 1 %, filter / native",
            ratio(&cases[3], &cases[4]),
            0.5,
            "x",
        ),
        Figure::info(
            "added at 0 %, filter / native",
            ratio(&cases[5], &cases[6]),
            "x",
        ),
        Figure::info(
            "a bare module / native at 1 %",
            ratio(&cases[7], &cases[4]),
            "x",
        ),
        Figure::info(
            "one header by a module / native at 1 %",
            ratio(&cases[8], &cases[4]),
            "x",
        ),
        Figure::at_most("module size", module_bytes as f64 / 1024.0, 400.0, "KiB"),
        Figure::info(
            "load: CPU over an envoy without it",
            cases[1].cpu_at_ready_ms - cases[0].cpu_at_ready_ms,
            "ms",
        ),
        Figure::info("memory growth at 100 %", growth_kib as f64, "KiB"),
    ];
    let holds = figures.iter().all(Figure::holds);
    if args.json {
        let rows: Vec<_> = cases
            .iter()
            .map(|case| {
                json!({
                    "case": case.name,
                    "us_per_request": spread(&case.cost_us),
                    "added_us_per_request": spread(&added(case)),
                    "rss_kib": case.envoy.rss_kib(),
                })
            })
            .collect();
        let figures: Vec<_> = figures.iter().map(Figure::to_json).collect();
        say(
            &json!({ "cases": rows, "figures": figures, "requests": n_requests, "holds": holds })
                .to_string(),
        );
    } else {
        say(&format!(
            "\n{:<14} {:>26} {:>26} {:>9}",
            "case", "us/request med (min-max)", "added med (min-max)", "RSS MiB"
        ));
        for case in cases {
            say(&format!(
                "{:<14} {:>26} {:>26} {:>9.1}",
                case.name,
                shown(&case.cost_us),
                shown(&added(case)),
                case.envoy.rss_kib() as f64 / 1024.0
            ));
        }
        say(&format!(
            "\n{:<38} {:>10} {:>8}  holds  ({n_requests} requests a case)",
            "figure", "", "bar"
        ));
        for figure in &figures {
            say(&figure.to_string());
        }
    }
    Ok(if holds {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// A measured number and what was promised of it.
struct Figure {
    name: &'static str,
    value: f64,
    at_most: Option<f64>,
    unit: &'static str,
}

impl Figure {
    fn at_most(name: &'static str, value: f64, bar: f64, unit: &'static str) -> Self {
        Self {
            name,
            value,
            at_most: Some(bar),
            unit,
        }
    }

    fn info(name: &'static str, value: f64, unit: &'static str) -> Self {
        Self {
            name,
            value,
            at_most: None,
            unit,
        }
    }

    fn holds(&self) -> bool {
        self.at_most.is_none_or(|bar| self.value <= bar)
    }

    fn to_json(&self) -> serde_json::Value {
        json!({ "figure": self.name, "value": self.value, "unit": self.unit,
                "at_most": self.at_most, "holds": self.holds() })
    }
}

impl std::fmt::Display for Figure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let value = format!("{:.2} {}", self.value, self.unit);
        let (bar, holds) = match self.at_most {
            Some(bar) => (format!("<= {bar}"), if self.holds() { "yes" } else { "NO" }),
            None => (String::new(), "-"),
        };
        write!(f, "{:<38} {value:>10} {bar:>8}  {holds}", self.name)
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

fn spread(values: &[f64]) -> serde_json::Value {
    let min = values.iter().copied().fold(f64::INFINITY, f64::min);
    let max = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    json!({ "median": median(values), "min": min, "max": max })
}

fn shown(values: &[f64]) -> String {
    let min = values.iter().copied().fold(f64::INFINITY, f64::min);
    let max = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    format!("{:.1} ({min:.1}-{max:.1})", median(values))
}

#[expect(clippy::print_stdout, reason = "the report is this program's output")]
fn say(line: &str) {
    println!("{line}");
}

#[expect(clippy::print_stderr, reason = "progress, apart from the report")]
fn note(line: &str) {
    eprintln!("{line}");
}
