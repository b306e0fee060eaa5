//! The rows of a trace: who did what when, parents above their children.

use std::fmt::Write as _;
use std::time::Duration;

use maud::{Markup, html};

use super::trace::span_href;
use super::{format, palette};
use crate::trace::{Columns, Parent};

/// How many rows one page has. More would make every page slow for the sake of traces that nobody
/// reads row by row.
pub(super) const ROWS_PER_PAGE: usize = 1000;

/// The deepest indentation; what is deeper says its depth in words.
const DEPTH_SHOWN_MAX: u32 = 32;

/// The indentation of each depth: its own class, since inline styles are forbidden.
pub(super) fn depth_css() -> String {
    let mut css = String::new();
    for depth in 1..=DEPTH_SHOWN_MAX {
        let _ = writeln!(css, ".d{depth} {{ --depth: {depth}; }}");
    }
    css
}

/// The table of rows, from the page of rows that holds `from`, else from that of the selected row.
pub(super) fn waterfall(
    columns: &Columns<'_>,
    selected: Option<usize>,
    from: Option<usize>,
) -> Markup {
    let last = columns.n_rows().saturating_sub(1);
    let start = from.or(selected).unwrap_or(0).min(last) / ROWS_PER_PAGE * ROWS_PER_PAGE;
    let end = (start + ROWS_PER_PAGE).min(columns.n_rows());
    html! {
        section.waterfall aria-label="Waterfall" {
            (pages(columns, start, end))
            table.rows.(indent_class(columns)) role="treegrid" {
                caption.hidden { "Spans, each below its parent, with the time that each took" }
                (column_heads(columns.duration))
                tbody { @for row in start..end { (table_row(columns, row, selected == Some(row))) } }
            }
            (pages(columns, start, end))
        }
    }
}

/// The deeper a trace, the less each level is indented, so that names keep their room.
fn indent_class(columns: &Columns<'_>) -> &'static str {
    match columns.depth.iter().max() {
        None | Some(..=10) => "wide",
        Some(11..=20) => "medium",
        Some(_) => "narrow",
    }
}

fn column_heads(duration: Duration) -> Markup {
    html! {
        thead { tr {
            th.name scope="col" { "Service and operation" }
            th.kind scope="col" { "Kind" }
            th.time scope="col" {
                span.hidden { "Time" }
                div.ticks aria-hidden="true" {
                    span { "0" }
                    @for quarter in 1..4 { span { (format::duration(duration * quarter / 4)) } }
                    span { (format::duration(duration)) }
                }
            }
            th.num scope="col" { "Duration" }
        } }
    }
}

fn table_row(columns: &Columns<'_>, row: usize, is_selected: bool) -> Markup {
    let depth = columns.depth[row];
    let service = columns.service[row] as usize;
    let is_error = columns.is_error(row);
    html! {
        tr.(palette::class(service)).failed[is_error] id=(format!("row-{row}")) aria-level=(depth + 1) {
            th.name.(format!("d{}", depth.min(DEPTH_SHOWN_MAX))) scope="row" {
                a href=(span_href(columns, row)) aria-current=[is_selected.then_some("true")] {
                    @if depth > DEPTH_SHOWN_MAX { span.muted { (depth) " deep " } }
                    span.of { (columns.service_name(row)) } " " (columns.operation_name(row))
                    @if is_error { " " span.badge { "error" } }
                    @match columns.parent[row] {
                        Parent::Missing(_) => { " " span.note { "parent missing" } }
                        Parent::Circular(_) => { " " span.note { "circular" } }
                        Parent::Root | Parent::Row(_) => {}
                    }
                }
            }
            td.kind { (columns.kind[row].name()) }
            td.time { (bar(columns, row)) }
            td.num { (format::duration(columns.span_duration[row])) }
        }
    }
}

/// The span's time within the trace's. The shortest is a tick that can still be seen.
fn bar(columns: &Columns<'_>, row: usize) -> Markup {
    let start = format::share(columns.offset[row], columns.duration);
    let width = format::share(columns.span_duration[row], columns.duration);
    html! {
        svg aria-hidden="true" {
            rect x=(format::percent(start)) width=(format::percent(width.max(0.001))) y="6" height="10" rx="1" {}
        }
    }
}

/// Where in a long trace these rows are, and the ways to the others.
fn pages(columns: &Columns<'_>, start: usize, end: usize) -> Markup {
    let n_rows = columns.n_rows();
    if n_rows <= ROWS_PER_PAGE {
        return html! {};
    }
    let last = (n_rows - 1) / ROWS_PER_PAGE * ROWS_PER_PAGE;
    let link = |from: usize, words: &str| html! { a href=(format!("?from={from}")) { (words) } };
    html! {
        nav.pages aria-label="Rows" {
            span { "Rows " (format::number(start + 1)) " \u{2013} " (format::number(end))
                " of " (format::number(n_rows)) }
            @if start > 0 { (link(0, "First")) (link(start - ROWS_PER_PAGE, "Previous")) }
            @if end < n_rows { (link(end, "Next")) (link(last, "Last")) }
        }
    }
}
