//! The traces that a search found.

use std::collections::HashMap;
use std::time::Duration;

use maud::{Markup, html};
use spanloom_storage::{TimeRange, Trace, TraceQuery};
use spanloom_wire::{Timestamp, TraceId};

use super::form::Form;
use super::plot::plot;
use crate::page::format::{self, Utc};
use crate::page::service_chip;
use crate::trace::Columns;

/// How many services of a trace are named in its row.
const N_SERVICES_SHOWN: usize = 10;

/// What a row of the table says.
pub(super) struct Summary<'a> {
    pub(super) id: TraceId,
    pub(super) service: &'a str,
    pub(super) operation: &'a str,
    pub(super) start: Timestamp,
    pub(super) duration: Duration,
    pub(super) n_spans: usize,
    pub(super) n_errors: usize,
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
