//! A picture of a search: which traces took how long, and when.

use std::time::Duration;

use maud::{Markup, html};

use super::results::Summary;
use crate::page::format::{self, Utc};

/// A dot for each trace: when it started across, how long it took upwards, on a logarithmic scale
/// since one slow trace would press all others to the floor. The table says the same.
pub(super) fn plot(summaries: &[Summary<'_>]) -> Markup {
    let first = summaries
        .iter()
        .map(|summary| summary.start)
        .min()
        .unwrap_or_default();
    let last = summaries
        .iter()
        .map(|summary| summary.start)
        .max()
        .unwrap_or_default();
    let scale = LogScale::around(summaries.iter().map(|summary| summary.duration));
    // A margin keeps dots off the edges.
    let x = |summary: &Summary<'_>| {
        let share = match last.since(first) {
            Duration::ZERO => 0.5,
            span => format::share(summary.start.since(first), span),
        };
        format::percent(0.06 + 0.93 * share)
    };
    html! {
        figure.plot {
            svg aria-hidden="true" {
                @for line in scale.lines() {
                    @let y = scale.height(line);
                    line x1="0" x2="100%" y1=(y) y2=(y) {}
                    text x="0" y=(y) dy="-3" { (format::duration(line)) }
                }
                @for summary in summaries {
                    a href=(format!("trace/{}", summary.id)) tabindex="-1" {
                        circle.failed[summary.n_errors > 0] cx=(x(summary))
                            cy=(scale.height(summary.duration)) r=(radius(summary.n_spans)) {
                            title { (summary.service) " " (summary.operation) ", "
                                (format::duration(summary.duration)) }
                        }
                    }
                }
            }
            p.muted.ends {
                span { (Utc::from(first).time()) } span { (Utc::from(last).time()) }
            }
        }
    }
}

/// A logarithmic scale, in powers of ten nanoseconds.
struct LogScale {
    low: f64,
    high: f64,
}

impl LogScale {
    /// Room for all these, at least a power of ten of it, and a little air.
    fn around(durations: impl Iterator<Item = Duration>) -> Self {
        let (low, high) = durations
            .map(log10)
            .fold((f64::MAX, 0.0_f64), |(low, high), log| {
                (low.min(log), high.max(log))
            });
        let missing = (1.0 - (high - low)).max(0.0) / 2.0;
        Self {
            low: low - missing - 0.2,
            high: high + missing + 0.2,
        }
    }

    /// A few round durations within: powers of ten, some of them left out where there are many, and
    /// steps between where there are few.
    fn lines(&self) -> impl Iterator<Item = Duration> {
        let powers = self.low.ceil().max(0.0) as u32..=self.high as u32;
        let (every, steps): (usize, &[u64]) = match powers.clone().count() {
            ..=1 => (1, &[1, 2, 5]),
            2 => (1, &[1, 3]),
            n_powers => (n_powers.div_ceil(5), &[1]),
        };
        // Steps of the power below may lie within too.
        let first = if steps.len() > 1 {
            powers.start().saturating_sub(1)
        } else {
            *powers.start()
        };
        let at = |power, step: u64| step.saturating_mul(10_u64.saturating_pow(power));
        let lines = (first..=*powers.end()).step_by(every);
        let lines = lines.flat_map(move |power| steps.iter().map(move |&step| at(power, step)));
        let is_within = move |&line: &Duration| (self.low..self.high).contains(&log10(line));
        lines.map(Duration::from_nanos).filter(is_within)
    }

    /// Where in the plot a duration is, from the top.
    fn height(&self, duration: Duration) -> String {
        format::percent((self.high - log10(duration)) / (self.high - self.low))
    }
}

fn log10(duration: Duration) -> f64 {
    (duration.as_nanos() as f64).max(1.0).log10()
}

/// Dots grow with the trace, slowly.
fn radius(n_spans: usize) -> String {
    format!("{:.1}", 3.0 + (n_spans as f64).ln().clamp(0.0, 12.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines(nanos: &[u64]) -> Vec<String> {
        let scale = LogScale::around(nanos.iter().copied().map(Duration::from_nanos));
        scale.lines().map(format::duration).collect()
    }

    #[test]
    fn lines_are_round_and_few() {
        assert_eq!(lines(&[20_000_000]), ["10.0 ms", "30.0 ms", "100 ms"]);
        let decades = ["10.0 ms", "100 ms", "1.00 s", "10.0 s"];
        assert_eq!(lines(&[9_000_000, 10_000_000_000]), decades);
        assert_eq!(lines(&[0, u64::MAX]).len(), 5);
    }

    proptest! {
        #[test]
        fn any_durations_have_lines_and_places(
            nanos in proptest::collection::vec(any::<u64>(), 1..10),
            shift in 0_u32..64,
        ) {
            let durations: Vec<_> = nanos.iter().map(|n| Duration::from_nanos(n >> shift)).collect();
            let scale = LogScale::around(durations.iter().copied());
            prop_assert!((1..=6).contains(&scale.lines().count()));
            for duration in durations {
                let log = log10(duration);
                prop_assert!(scale.low < log && log < scale.high);
            }
        }
    }
}
