//! The page of one trace: what it is, its services, and its waterfall.

use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use maud::{Markup, html};
use spanloom_storage::{TimeRange, Trace};
use spanloom_wire::SpanId;

use super::format::{self, Utc};
use super::search::service_address;
use super::{Page, service_chip, span, waterfall};
use crate::App;
use crate::api::{Params, parse_trace_id};
use crate::trace::Columns;

/// `GET /trace/{id}`. `span` selects a span, `from` says which row is the first shown, `full` shows
/// long values whole.
pub(super) async fn page(
    State(app): State<App>,
    uri: Uri,
    Path(id): Path<String>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Response {
    let Ok(id) = parse_trace_id(&id) else {
        return super::bad_trace_id(&uri).into_response();
    };
    let view = View::new(&Params::new(pairs));
    match app.reader.trace(id, TimeRange::ALL).await {
        Err(error) => super::store_failed(&uri, &error).into_response(),
        Ok(None) => not_found(&uri, &id.to_string()).into_response(),
        Ok(Some(trace)) => super::render(uri, move |uri| trace_page(uri, &trace, &view))
            .await
            .into_response(),
    }
}

fn not_found(uri: &Uri, id: &str) -> Page {
    let words = html! {
        p { "There is no trace " code { (id) } "." }
        p { "It may not have arrived yet, may not have been sampled, or is older than what is kept." }
    };
    let body = super::message("Trace not found", &words);
    Page {
        status: StatusCode::NOT_FOUND,
        ..Page::new(uri, "Trace not found", body)
    }
}

/// What of a trace is looked at: the state of the page, all of it in the address.
struct View {
    /// The selected span: its id, and which of the spans with this id.
    span: Option<(SpanId, u32)>,
    /// The first row to show, as the address says it.
    from: Option<usize>,
    /// Whether long values are shown whole.
    full: bool,
}

impl View {
    /// What cannot be read is left out: an old link still shows the trace.
    fn new(params: &Params) -> Self {
        let span = params.get("span").and_then(|text| {
            let (id, twin) = text.split_once('.').unwrap_or((text, "0"));
            Some((id.parse().ok()?, twin.parse().ok()?))
        });
        let from = params.get("from").and_then(|from| from.parse().ok());
        Self {
            span,
            from,
            full: params.get("full").is_some(),
        }
    }
}

/// The address of the same trace with this span selected.
pub(super) fn span_href(columns: &Columns<'_>, row: usize) -> String {
    format!("?{}#row-{row}", span_query(columns, row))
}

/// What selects a span in an address.
pub(super) fn span_query(columns: &Columns<'_>, row: usize) -> String {
    let id = columns.span_id[row];
    match columns.twin[row] {
        0 => format!("span={id}"),
        twin => format!("span={id}.{twin}"),
    }
}

fn trace_page(uri: &Uri, trace: &Trace, view: &View) -> Page {
    let columns = Columns::new(trace);
    let Some(root) = columns.root_row() else {
        return not_found(uri, &trace.id.to_string());
    };
    let selected = view.span.and_then(|(id, twin)| columns.find(id, twin));
    let (service, operation) = (columns.service_name(root), columns.operation_name(root));
    let body = html! {
        (head(trace, &columns, root))
        div.split.open[view.span.is_some()] {
            (waterfall::waterfall(&columns, selected, view.from))
            @if let Some((id, _)) = view.span {
                @match selected {
                    Some(row) => (span::panel(trace, &columns, row, view.full)),
                    None => (span::no_such_span(id)),
                }
            }
        }
    };
    Page::new(uri, &format!("{service} {operation}"), body)
}

fn head(trace: &Trace, columns: &Columns<'_>, root: usize) -> Markup {
    let started = Utc::from(columns.start);
    let depth = columns.depth.iter().max().map_or(0, |depth| depth + 1);
    html! {
        header.trace-head {
            h1 { span.of { (columns.service_name(root)) } " " (columns.operation_name(root)) }
            dl.facts {
                div { dt { "Duration" } dd { (format::duration(columns.duration)) } }
                div { dt { "Spans" } dd { (format::number(columns.n_rows())) } }
                div { dt { "Errors" } dd { (errors(columns)) } }
                div { dt { "Services" } dd { (format::number(columns.services.len())) } }
                div { dt { "Depth" } dd { (format::number(depth as usize)) } }
                div { dt { "Started" } dd {
                    time datetime=(format!("{}Z", started.iso())) {
                        (started.date()) " " (started.time_ms()) " UTC"
                    }
                } }
                div { dt { "Trace id" } dd {
                    code { (trace.id) } " "
                    a href=(format!("../api/traces/{}?prettyPrint=true", trace.id)) { "JSON" }
                } }
            }
            (legend(columns))
        }
    }
}

/// How many spans failed, leading to the first.
fn errors(columns: &Columns<'_>) -> Markup {
    let mut errors = columns.error_rows();
    match errors.next() {
        None => html! { "0" },
        Some(first) => html! {
            a.error href=(span_href(columns, first)) { (format::number(1 + errors.count())) }
        },
    }
}

/// How many services the legend names.
const N_SERVICES_SHOWN: usize = 40;

fn legend(columns: &Columns<'_>) -> Markup {
    let services = columns.n_spans_by_service();
    html! {
        ul.services aria-label="Services" {
            @for (colour, (name, n_spans, n_errors)) in services.iter().enumerate().take(N_SERVICES_SHOWN) {
                li { (service_chip(colour, &html! {
                    a href=(service_address(name)) { (name) } " " span.muted { (format::number(*n_spans)) }
                    @if *n_errors > 0 { ", " span.error { (format::count(*n_errors, "error", "errors")) } }
                })) }
            }
            @if let Some(n_more @ 1..) = services.len().checked_sub(N_SERVICES_SHOWN) {
                li.muted { "and " (n_more) " more" }
            }
        }
    }
}
