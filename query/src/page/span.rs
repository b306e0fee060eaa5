//! The panel beside the waterfall: everything about the selected span.

use std::borrow::Cow;

use maud::{Markup, html};
use spanloom_storage::Trace;
use spanloom_wire::otlp::{Event, KeyValue, Link, Span, StatusCode, Value};
use spanloom_wire::{SpanId, Timestamp};

use super::format::{self, Utc};
use super::search::{attribute_address, service_address};
use super::service_chip;
use super::trace::{span_href, span_query};
use crate::api::value_as_json;
use crate::trace::{Columns, Parent};

/// Longer values are cut unless asked for.
const VALUE_CHARS: usize = 500;

/// Longer values are not worth a search.
const VALUE_BYTES_SEARCHED: usize = 200;

/// Longer lists are cut; the JSON has the rest.
const N_ITEMS_SHOWN: usize = 500;

/// What the panel says of a span that the trace does not have.
pub(super) fn no_such_span(id: SpanId) -> Markup {
    html! {
        aside.panel aria-label="Span" {
            header { h2 { "No such span" } (close("?")) }
            p { "This trace has no span " code { (id) } ". It may not have arrived yet." }
        }
    }
}

/// The panel of a row.
pub(super) fn panel(trace: &Trace, columns: &Columns<'_>, row: usize, full: bool) -> Markup {
    let Some(context) = columns.span(trace, row) else {
        return html! {};
    };
    let span = &context.span;
    let service = columns.service_name(row);
    let value = Shown {
        service,
        full,
        full_href: format!("?{}&full=1#row-{row}", span_query(columns, row)),
    };
    html! {
        aside.panel aria-labelledby="span" {
            header { h2 id="span" { (span.name) } (close(&format!("?from={row}#row-{row}"))) }
            p { (service_chip(columns.service[row] as usize, &html! {
                a href=(service_address(service)) { (service) }
                @if !span.kind.name().is_empty() { " " span.muted { (span.kind.name()) } }
            })) }
            (facts(columns, row, span))
            (step_through_errors(columns, row))
            (attributes("Attributes", span.attributes(), span.dropped_attributes_count, &value))
            (events(span, columns.start, &value))
            (links(span, &value))
            (attributes("Resource", context.resource.attributes(), 0, &value))
            (scope(&context.scope, &value))
        }
    }
}

fn close(href: &str) -> Markup {
    html! { a.close href=(href) aria-label="Close the span" title="Close" { "\u{d7}" } }
}

fn facts(columns: &Columns<'_>, row: usize, span: &Span<'_>) -> Markup {
    let started = Utc::from(span.start);
    let share = format::share(columns.span_duration[row], columns.duration);
    html! {
        dl.facts {
            @match span.status_code {
                StatusCode::Error => div { dt { "Status" } dd {
                    span.badge { "error" } " " (span.status_message)
                } },
                StatusCode::Ok => div { dt { "Status" } dd { "ok" } },
                StatusCode::Unset => {},
            }
            div { dt { "Duration" } dd {
                (format::duration(columns.span_duration[row]))
                " " span.muted { (format!("{:.1}% of the trace", share * 100.0)) }
            } }
            div { dt { "Starts" } dd {
                (format::duration(columns.offset[row])) " into the trace "
                time.muted datetime=(format!("{}Z", started.iso())) { (started.time_ms()) " UTC" }
            } }
            div { dt { "Parent" } dd { (parent(columns, row)) } }
            div { dt { "Spans below" } dd { (below(columns, row)) } }
            div { dt { "Span id" } dd {
                code { (columns.span_id[row]) }
                @if columns.twin[row] > 0 {
                    " " span.note { "one of several spans with this id" }
                }
            } }
            @if !span.trace_state.is_empty() {
                div { dt { "Trace state" } dd { code { (span.trace_state) } } }
            }
        }
    }
}

fn parent(columns: &Columns<'_>, row: usize) -> Markup {
    match columns.parent[row] {
        Parent::Root => html! { span.muted { "none: a root" } },
        Parent::Row(parent) => {
            let parent = parent as usize;
            html! {
                a href=(span_href(columns, parent)) {
                    span.of { (columns.service_name(parent)) } " " (columns.operation_name(parent))
                }
            }
        }
        Parent::Missing(id) => html! { code { (id) } " " span.note { "not in this trace" } },
        Parent::Circular(id) => {
            html! { code { (id) } " " span.note { "hangs from this span itself" } }
        }
    }
}

fn below(columns: &Columns<'_>, row: usize) -> Markup {
    let below = row + 1..columns.subtree_end[row] as usize;
    let n_errors = below.clone().filter(|&row| columns.is_error(row)).count();
    html! {
        (format::number(below.len()))
        @if n_errors > 0 { ", " span.error { (format::count(n_errors, "error", "errors")) } }
    }
}

/// The ways to the errors before and after this row.
fn step_through_errors(columns: &Columns<'_>, row: usize) -> Markup {
    let before = (0..row).rev().find(|&row| columns.is_error(row));
    let after = (row + 1..columns.n_rows()).find(|&row| columns.is_error(row));
    if before.is_none() && after.is_none() {
        return html! {};
    }
    html! {
        nav.pages aria-label="Errors" {
            @if let Some(row) = before { a href=(span_href(columns, row)) { "Previous error" } }
            @if let Some(row) = after { a href=(span_href(columns, row)) { "Next error" } }
        }
    }
}

/// How values are shown.
struct Shown<'a> {
    /// Whose traces a value leads to.
    service: &'a str,
    full: bool,
    /// Where long values are shown whole.
    full_href: String,
}

impl Shown<'_> {
    /// The value; short ones lead to the other traces that have them.
    fn value(&self, KeyValue { key, value }: &KeyValue<'_>) -> Markup {
        let text = match value {
            Value::Str(text) => Cow::Borrowed(*text),
            Value::Int(number) => Cow::Owned(number.to_string()),
            Value::Empty => return html! { span.muted { "empty" } },
            _ => Cow::Owned(value_as_json(value)),
        };
        let is_searched = matches!(value, Value::Str(_) | Value::Int(_) | Value::Bool(_));
        if is_searched && (1..VALUE_BYTES_SEARCHED).contains(&text.len()) {
            let href = attribute_address(self.service, key, &text);
            return html! { a href=(href) title="Find traces with this" { (text) } };
        }
        let end = text.char_indices().nth(VALUE_CHARS).map(|(end, _)| end);
        match end.filter(|_| !self.full) {
            None => html! { (text) },
            Some(end) => html! {
                (text[..end]) "\u{2026} "
                a href=(self.full_href) { "all " (format::number(text.len())) " bytes" }
            },
        }
    }

    fn pairs<'a>(&self, pairs: impl Iterator<Item = KeyValue<'a>>) -> Markup {
        let mut pairs: Vec<KeyValue<'_>> = pairs.collect();
        pairs.sort_by_key(|pair| pair.key);
        html! {
            table.pairs {
                tbody { @for pair in pairs.iter().take(N_ITEMS_SHOWN) {
                    tr { th scope="row" { (breakable(pair.key)) } td { (self.value(pair)) } }
                } }
            }
            (more(pairs.len()))
        }
    }
}

fn attributes<'a>(
    heading: &str,
    pairs: impl Iterator<Item = KeyValue<'a>> + Clone,
    n_dropped: u32,
    shown: &Shown<'_>,
) -> Markup {
    let n_pairs = pairs.clone().count();
    html! {
        @if n_pairs > 0 || n_dropped > 0 {
            h3 { (heading) " " span.muted { (n_pairs) } }
            (shown.pairs(pairs))
            @if n_dropped > 0 { p.note { (n_dropped) " more were dropped by the sender" } }
        }
    }
}

fn events(span: &Span<'_>, trace_start: Timestamp, shown: &Shown<'_>) -> Markup {
    let n_events = span.events().count();
    let event = |event: Event<'_>| {
        html! {
            li {
                span.at { (format::duration(event.time.since(trace_start))) } " " (event.name)
                (shown.pairs(event.attributes()))
            }
        }
    };
    html! {
        @if n_events > 0 {
            h3 { "Events " span.muted { (n_events) } }
            ul.events { @for each in span.events().take(N_ITEMS_SHOWN) { (event(each)) } }
            (more(n_events))
        }
    }
}

fn links(span: &Span<'_>, shown: &Shown<'_>) -> Markup {
    let n_links = span.links().count();
    let link = |link: Link<'_>| {
        html! {
            li {
                @match (link.trace_id, link.span_id) {
                    (Some(trace_id), Some(span_id)) =>
                        a href=(format!("{trace_id}?span={span_id}")) { code { (trace_id) } " " code { (span_id) } },
                    _ => span.note { "a link without a valid id" },
                }
                (shown.pairs(link.attributes()))
            }
        }
    };
    html! {
        @if n_links > 0 {
            h3 { "Links " span.muted { (n_links) } }
            ul.events { @for each in span.links().take(N_ITEMS_SHOWN) { (link(each)) } }
            (more(n_links))
        }
    }
}

fn scope(scope: &spanloom_wire::otlp::Scope<'_>, shown: &Shown<'_>) -> Markup {
    html! {
        @if !scope.name.is_empty() || scope.attributes().next().is_some() {
            h3 { "Scope" }
            p { (scope.name) " " span.muted { (scope.version) } }
            (shown.pairs(scope.attributes()))
        }
    }
}

/// A key that may be broken after its dots, and nowhere else while that suffices.
fn breakable(key: &str) -> Markup {
    html! { @for part in key.split_inclusive('.') { (part) wbr; } }
}

fn more(n_items: usize) -> Markup {
    match n_items.checked_sub(N_ITEMS_SHOWN) {
        Some(n_more @ 1..) => html! { p.note { (n_more) " more are in the JSON" } },
        _ => html! {},
    }
}
