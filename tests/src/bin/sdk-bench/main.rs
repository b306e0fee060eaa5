//! What a span costs the thread that makes it: our SDK beside plain `opentelemetry`,
//! `tracing-opentelemetry` and `fastrace`, in one run; and what the HTTP layer costs a request.
//!
//! A span here is started below an active parent and ended, without attributes. Every system hands
//! its sampled spans to an exporter that throws them away, through the batching that it has; the
//! queues are large enough that nothing is dropped while the clock runs, and are emptied between
//! rounds. The cases take turns within a round, so that a slow second of the machine hits all of
//! them, and a case's figure is its best round: what disturbs only adds.

mod layers;
mod loss;
mod systems;

use std::fmt;
use std::thread;
use std::time::Instant;

use anyhow::{Result, bail};
use clap::Parser;
use serde_json::{Value, json};

use systems::{Decision, System};

/// Measures nanoseconds a span and a request, and spans lost under load.
#[derive(Parser)]
struct Args {
    /// How many measured rounds.
    #[arg(long, default_value_t = 50)]
    rounds: usize,
    /// How many spans a thread makes in a round.
    #[arg(long, default_value_t = 20_000)]
    spans: usize,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let systems = systems::all()?;
    let n_cores = thread::available_parallelism()?.get();
    let mut rows = Vec::new();
    for decision in [Decision::Sampled, Decision::Unsampled, Decision::Disabled] {
        for n_threads in [1, n_cores] {
            rows.push(measure(&args, &systems, decision, n_threads));
        }
    }
    let mut figures = ratios(&systems, &rows);
    figures.extend(layers::measure(args.rounds)?);
    figures.extend(loss::measure()?);
    report(&args, &systems, &rows, &figures)
}

/// The figures of all systems for one decision and number of threads.
struct Row {
    decision: Decision,
    n_threads: usize,
    best_ns: Vec<f64>,
}

fn measure(args: &Args, systems: &[System], decision: Decision, n_threads: usize) -> Row {
    let mut best_ns = vec![f64::INFINITY; systems.len()];
    // The first round fills caches and buffers and does not count.
    for round in 0..=args.rounds {
        for turn in 0..systems.len() {
            let index = (turn + round) % systems.len();
            let system = &systems[index];
            let ns = nanoseconds_a_span(system, decision, n_threads, args.spans);
            (system.flush)();
            if round > 0 {
                best_ns[index] = best_ns[index].min(ns);
            }
        }
    }
    Row {
        decision,
        n_threads,
        best_ns,
    }
}

fn nanoseconds_a_span(
    system: &System,
    decision: Decision,
    n_threads: usize,
    n_spans: usize,
) -> f64 {
    let one = || {
        let mut elapsed = 0;
        (system.run)(decision, &mut |spans| {
            let start = Instant::now();
            spans(n_spans);
            elapsed = start.elapsed().as_nanos();
        });
        elapsed as f64 / n_spans as f64
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..n_threads).map(|_| scope.spawn(one)).collect();
        let all = threads
            .into_iter()
            .map(|thread| thread.join().expect("no case panics"));
        all.sum::<f64>() / n_threads as f64
    })
}

/// The bars: ours against the others, on one core and on all.
fn ratios(systems: &[System], rows: &[Row]) -> Vec<Figure> {
    let mut figures = Vec::new();
    for row in rows {
        let ns = |name| {
            let index = systems.iter().position(|system| system.name == name);
            row.best_ns[index.expect("every name is in the list of systems")]
        };
        let of = |base, at_most| Figure {
            name: format!(
                "{} on {}: spanloom / {base}",
                row.decision,
                threads(row.n_threads)
            ),
            value: ns("spanloom") / ns(base),
            unit: "x",
            at_most,
        };
        match row.decision {
            Decision::Sampled => {
                figures.push(of("opentelemetry", Some(1.0)));
                figures.push(of("tracing-opentelemetry", Some(0.2)));
            }
            Decision::Unsampled => figures.push(of("opentelemetry", Some(0.5))),
            Decision::Disabled => {}
        }
        figures.push(of("fastrace", None));
    }
    figures
}

/// A figure with its bar, if it has one.
struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
    at_most: Option<f64>,
}

impl Figure {
    fn holds(&self) -> bool {
        self.at_most.is_none_or(|bar| self.value <= bar)
    }

    fn to_json(&self) -> Value {
        json!({ "figure": self.name, "value": self.value, "unit": self.unit,
                "at_most": self.at_most, "holds": self.holds() })
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = format!("{:.2} {}", self.value, self.unit);
        let (bar, holds) = match self.at_most {
            Some(bar) if self.holds() => (format!("<= {bar}"), "yes"),
            Some(bar) => (format!("<= {bar}"), "NO"),
            None => (String::new(), "-"),
        };
        write!(out, "{:<58} {value:>14} {bar:>8}  {holds}", self.name)
    }
}

fn threads(n_threads: usize) -> String {
    match n_threads {
        1 => "1 thread".to_owned(),
        n => format!("{n} threads"),
    }
}

#[expect(clippy::print_stdout, reason = "the table is the program's output")]
fn report(args: &Args, systems: &[System], rows: &[Row], figures: &[Figure]) -> Result<()> {
    let holds = figures.iter().all(Figure::holds);
    if args.json {
        let cases: Vec<_> = rows.iter().flat_map(|row| to_json(systems, row)).collect();
        let figures: Vec<_> = figures.iter().map(Figure::to_json).collect();
        println!(
            "{}",
            json!({ "cases": cases, "figures": figures, "holds": holds })
        );
    } else {
        print!("\n{:<24}", "ns a span, best round");
        systems
            .iter()
            .for_each(|system| print!("{:>23}", system.name));
        for row in rows {
            print!(
                "\n{:<24}",
                format!("{}, {}", row.decision, threads(row.n_threads))
            );
            row.best_ns.iter().for_each(|ns| print!("{ns:>23.1}"));
        }
        println!("\n\n{:<58} {:>14} {:>8}  holds", "figure", "", "bar");
        figures.iter().for_each(|figure| println!("{figure}"));
    }
    if !holds {
        bail!("a bar falls short");
    }
    Ok(())
}

fn to_json(systems: &[System], row: &Row) -> Vec<Value> {
    let cases = systems.iter().zip(&row.best_ns).map(|(system, ns)| {
        json!({ "system": system.name, "decision": row.decision.to_string(),
                "threads": row.n_threads, "ns_per_span": ns })
    });
    cases.collect()
}
