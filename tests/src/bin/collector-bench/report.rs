//! Medians, ratios and bars.

use std::io::Write;
use std::time::Duration;

use serde_json::{Value, json};

use crate::BATCHES;
use crate::target::Kind;

/// One measurement.
#[derive(Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) n_acked: u64,
    pub(crate) cpu: Duration,
    pub(crate) peak_rss_kib: u64,
}

impl Sample {
    fn spans_per_cpu_s(self) -> f64 {
        self.n_acked as f64 / self.cpu.as_secs_f64()
    }
}

/// What a target must reach, as a multiple of what a baseline of the same run reached.
struct Bar {
    kind: Kind,
    n_spans: usize,
    baseline: Kind,
    ratio: f64,
}

/// Below what was reached when they were set by about a fifth, so that a busy machine does not
/// decide.
const BARS: &[Bar] = &[
    Bar {
        kind: Kind::Forward,
        n_spans: 100,
        baseline: Kind::RelayProst,
        ratio: 2.5,
    },
    Bar {
        kind: Kind::Forward,
        n_spans: 512,
        baseline: Kind::RelayProst,
        ratio: 2.7,
    },
    Bar {
        kind: Kind::Forward,
        n_spans: 100,
        baseline: Kind::RelayRaw,
        ratio: 0.4,
    },
    Bar {
        kind: Kind::Forward,
        n_spans: 512,
        baseline: Kind::RelayRaw,
        ratio: 0.35,
    },
    Bar {
        kind: Kind::Store,
        n_spans: 100,
        baseline: Kind::RelayProst,
        ratio: 1.0,
    },
    Bar {
        kind: Kind::Store,
        n_spans: 512,
        baseline: Kind::RelayProst,
        ratio: 1.0,
    },
];

/// All measurements.
#[derive(Default)]
pub(crate) struct Report {
    samples: Vec<(Kind, usize, Sample)>,
}

impl Report {
    pub(crate) fn add(&mut self, kind: Kind, n_spans: usize, sample: Sample) {
        self.samples.push((kind, n_spans, sample));
    }

    /// Whether every bar is reached.
    pub(crate) fn holds(&self) -> bool {
        BARS.iter()
            .all(|bar| self.ratio(bar.kind, bar.baseline, bar.n_spans) >= bar.ratio)
    }

    pub(crate) fn print(&self, as_json: bool) {
        let mut out = std::io::stdout().lock();
        let _ = if as_json {
            writeln!(out, "{}", self.to_json())
        } else {
            self.write_tables(&mut out)
        };
    }

    fn write_tables(&self, out: &mut impl Write) -> std::io::Result<()> {
        writeln!(
            out,
            "{:36} {:>5} {:>26} {:>7} {:>7} {:>9}",
            "spans per CPU-second", "batch", "median (least-most)", "x prost", "x raw", "peak MiB"
        )?;
        for n_spans in BATCHES {
            for kind in Kind::ALL {
                let figures = self.figures(kind, n_spans);
                let (least, most) = (figures[0], figures[figures.len() - 1]);
                let range = format!("{:.0} ({least:.0}-{most:.0})", median(&figures));
                writeln!(
                    out,
                    "{:36} {n_spans:>5} {range:>26} {:>7.2} {:>7.2} {:>9.1}",
                    kind.name(),
                    self.ratio(kind, Kind::RelayProst, n_spans),
                    self.ratio(kind, Kind::RelayRaw, n_spans),
                    self.peak_rss_mib(kind, n_spans),
                )?;
            }
        }
        writeln!(
            out,
            "\n{:84} {:>7} {:>5} {:>5}",
            "figure", "reached", "bar", "holds"
        )?;
        for bar in BARS {
            let reached = self.ratio(bar.kind, bar.baseline, bar.n_spans);
            let holds = if reached >= bar.ratio { "yes" } else { "NO" };
            let figure = format!(
                "{}, batch {}, x {}",
                bar.kind.name(),
                bar.n_spans,
                bar.baseline.name()
            );
            writeln!(
                out,
                "{figure:84} {reached:>7.2} {:>5.2} {holds:>5}",
                bar.ratio
            )?;
        }
        Ok(())
    }

    fn to_json(&self) -> Value {
        let figures: Vec<Value> = BATCHES
            .into_iter()
            .flat_map(|n_spans| Kind::ALL.map(|kind| (kind, n_spans)))
            .map(|(kind, n_spans)| {
                let figures = self.figures(kind, n_spans);
                json!({
                    "target": kind.name(),
                    "batch": n_spans,
                    "spans_per_cpu_s": median(&figures),
                    "least": figures[0],
                    "most": figures[figures.len() - 1],
                    "ratio_to_relay_prost": self.ratio(kind, Kind::RelayProst, n_spans),
                    "ratio_to_relay_raw": self.ratio(kind, Kind::RelayRaw, n_spans),
                    "peak_rss_mib": self.peak_rss_mib(kind, n_spans),
                })
            })
            .collect();
        let bars: Vec<Value> = BARS
            .iter()
            .map(|bar| {
                let reached = self.ratio(bar.kind, bar.baseline, bar.n_spans);
                json!({
                    "target": bar.kind.name(),
                    "batch": bar.n_spans,
                    "baseline": bar.baseline.name(),
                    "reached": reached,
                    "bar": bar.ratio,
                    "holds": reached >= bar.ratio,
                })
            })
            .collect();
        json!({ "figures": figures, "bars": bars })
    }

    /// In rising order.
    fn figures(&self, kind: Kind, n_spans: usize) -> Vec<f64> {
        let mut figures: Vec<f64> = self
            .of(kind, n_spans)
            .map(Sample::spans_per_cpu_s)
            .collect();
        figures.sort_by(f64::total_cmp);
        figures
    }

    fn ratio(&self, kind: Kind, baseline: Kind, n_spans: usize) -> f64 {
        median(&self.figures(kind, n_spans)) / median(&self.figures(baseline, n_spans))
    }

    fn peak_rss_mib(&self, kind: Kind, n_spans: usize) -> f64 {
        let peak = self
            .of(kind, n_spans)
            .map(|sample| sample.peak_rss_kib)
            .max();
        peak.unwrap_or(0) as f64 / 1024.0
    }

    fn of(&self, kind: Kind, n_spans: usize) -> impl Iterator<Item = Sample> {
        self.samples
            .iter()
            .filter(move |(of, n, _)| (*of, *n) == (kind, n_spans))
            .map(|(_, _, sample)| *sample)
    }
}

/// Of figures in rising order; with an even number, the lower of the two.
fn median(figures: &[f64]) -> f64 {
    figures
        .get((figures.len().saturating_sub(1)) / 2)
        .copied()
        .unwrap_or(f64::NAN)
}
