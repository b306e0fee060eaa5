//! The traces that a search found: a plot of their durations over time, and a table.

use std::collections::HashMap;
use std::time::Duration;

use maud::{Markup, html};
use spanloom_storage::{TimeRange, Trace, TraceQuery};
use spanloom_wire::{Timestamp, TraceId};

use super::form::Form;
use crate::page::format::{self, Utc};
use crate::page::service_chip;
use crate::trace::Columns;

/// How many services of a trace are named in its row.
const N_SERVICES_SHOWN: usize = 10;

/// What a row of the table says.
struct Summary<'a> {
    id: TraceId,
    service: &'a str,
    operation: &'a str,
    start: Timestamp,
    duration: Duration,
    n_spans: usize,
    n_errors: usize,
    /// Name, spans and failed spans.
    services: Vec<(&'a str, usize, usize)>,
}

impl<'a> Summary<'a> {
    /// `None` for a trace without spans, which a store might return by mistake.
    fn new(trace: &'a Trace) -> Option<Self> {
        let columns = Columns::new(trace);
        let root = columns.root_row()?;
        Some(Self {
            id: trace.id,
            service: columns.service_name(root),
            operation: columns.operation_name(root),
            start: columns.start,
            duration: columns.duration,
            n_spans: columns.n_rows(),
            n_errors: columns.error_rows().count(),
            services: columns.n_spans_by_service(),
        })
    }
}

/// The page's part below the form.
pub(super) fn results(traces: &[Trace], query: &TraceQuery, form: &Form) -> Markup {
    let summaries: Vec<Summary<'_>> = traces.iter().filter_map(Summary::new).collect();
    if summaries.is_empty() {
        return nothing_found();
    }
    let is_full = summaries.len() == query.n_traces_max;
    let latest = if is_full { "The latest " } else { "" };
    html! {
        section.results aria-labelledby="found" {
            header.found {
                h2 id="found" { (latest) (format::count(summaries.len(), "trace", "traces")) }
                p.muted {
                    a href=(form.address(query.start)) title="A link to this search at this time" {
                        (time_range(query.start))
                    }
                }
            }
            (plot(&summaries))
            (table(&summaries))
        }
    }
}

/// Nothing is kept yet: how to change that.
pub(super) fn nothing_kept() -> Markup {
    html! {
        section.message {
            h2 { "No traces yet" }
            p { "Send a request through a small mesh, from a checkout of Spanloom:" }
            pre { code { "cargo xtask demo" } }
            p { "Or point any OpenTelemetry SDK here: OTLP over gRPC on port 4317, over HTTP on 4318." }
        }
    }
}

fn nothing_found() -> Markup {
    html! {
        section.message {
            h2 { "No trace matches" }
            p {
                "One span of a trace must meet every condition. Try a longer time, or "
                a href="search?lookback=7d" { "see everything of the last 7 days" } "."
            }
        }
    }
}

fn time_range(TimeRange { start, end }: TimeRange) -> Markup {
    let [from, to] = [start, end].map(Utc::from);
    html! {
        (from.date()) " " (from.time()) " \u{2013} "
        @if to.date() != from.date() { (to.date()) " " }
        (to.time()) " UTC"
    }
}

/// A dot for each trace: when it started across, how long it took upwards, on a logarithmic scale
/// since one slow trace would press all others to the floor. The table says the same.
fn plot(summaries: &[Summary<'_>]) -> Markup {
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

    /// Round durations within: powers of ten, with steps between where those are few.
    fn lines(&self) -> impl Iterator<Item = Duration> {
        let powers = self.low.max(0.0) as u32..=self.high as u32;
        let is_within = |log: f64| self.low < log && log < self.high;
        let steps: &[u64] = match powers
            .clone()
            .filter(|&power| is_within(power.into()))
            .count()
        {
            ..=1 => &[1, 2, 5],
            2 => &[1, 3],
            _ => &[1],
        };
        let at = |power, step: u64| step.saturating_mul(10_u64.saturating_pow(power));
        let lines = powers.flat_map(move |power| steps.iter().map(move |&step| at(power, step)));
        lines
            .map(Duration::from_nanos)
            .filter(move |&line| is_within(log10(line)))
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

fn longest(summaries: &[Summary<'_>]) -> Duration {
    summaries
        .iter()
        .map(|summary| summary.duration)
        .max()
        .unwrap_or_default()
}

fn table(summaries: &[Summary<'_>]) -> Markup {
    let longest = longest(summaries);
    let mut colours = Colours::default();
    html! {
        table.traces {
            thead { tr {
                th scope="col" { "Trace" }
                th.num scope="col" { "Spans" }
                th.num scope="col" { "Errors" }
                th.num scope="col" { "Duration" }
                th scope="col" aria-hidden="true" {}
                th.num scope="col" { "Started (UTC)" }
            } }
            tbody { @for summary in summaries { (row(summary, longest, &mut colours)) } }
        }
    }
}

fn row<'a>(summary: &Summary<'a>, longest: Duration, colours: &mut Colours<'a>) -> Markup {
    let started = Utc::from(summary.start);
    html! {
        tr {
            th scope="row" {
                a.name href=(format!("trace/{}", summary.id)) {
                    span.of { (summary.service) } " " (summary.operation)
                }
                div.services {
                    @for (name, n_spans, n_errors) in summary.services.iter().take(N_SERVICES_SHOWN) {
                        (service_chip(colours.of(name), &html! {
                            (name) " " span.muted { (format::number(*n_spans)) }
                            @if *n_errors > 0 { ", " span.error { (format::count(*n_errors, "error", "errors")) } }
                        }))
                    }
                    @if let Some(n_more @ 1..) = summary.services.len().checked_sub(N_SERVICES_SHOWN) {
                        span.muted { "and " (n_more) " more" }
                    }
                }
            }
            td.num { (format::number(summary.n_spans)) }
            td.num { @if summary.n_errors > 0 { span.error { (format::number(summary.n_errors)) } } }
            td.num { (format::duration(summary.duration)) }
            td.bar aria-hidden="true" {
                svg { rect x="0" y="0" height="100%" width=(format::percent(format::share(summary.duration, longest))) {} }
            }
            td.num {
                time datetime=(format!("{}Z", started.iso())) {
                    span.muted { (started.date()) } " " (started.time_ms())
                }
            }
        }
    }
}

/// One colour for a service on the whole page, in order of appearance.
#[derive(Default)]
struct Colours<'a>(HashMap<&'a str, usize>);

impl<'a> Colours<'a> {
    fn of(&mut self, service: &'a str) -> usize {
        let next = self.0.len();
        *self.0.entry(service).or_insert(next)
    }
}
