//! The search page: a form, and the traces that it finds.

mod form;
mod plot;
mod results;

use axum::extract::{Query, State};
use axum::http::{StatusCode, Uri};
use maud::{Markup, html};
use spanloom_storage::{StorageError, Trace, TraceQuery};

use self::form::{Form, LIMITS, LOOKBACKS};
use super::Page;
use super::format::query_value;
use crate::App;
use crate::api::Params;

/// `GET /` and `GET /search`; the parameters are those of Jaeger's search page, so links to it work.
pub(super) async fn page(
    State(app): State<App>,
    uri: Uri,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Page {
    let form = Form::new(&Params::new(pairs));
    match found(&app, &form).await {
        Ok(found) => super::render(uri, move |uri| search_page(uri, &form, &found)).await,
        Err(error) => super::store_failed(&uri, &error),
    }
}

/// The address of a search for a service's traces of the last two days, from a page about a trace.
pub(super) fn service_address(service: &str) -> String {
    format!("../search?service={}&lookback=2d", query_value(service))
}

/// As [`service_address`], of those with this attribute.
pub(super) fn attribute_address(service: &str, key: &str, value: &str) -> String {
    let tags = query_value(&form::tag_text(key, value));
    format!("{}&tags={tags}", service_address(service))
}

/// What the store says to a form.
struct Found {
    services: Vec<String>,
    /// The operations of the form's service.
    operations: Vec<String>,
    /// The search and its traces, or what is wrong with the form.
    traces: Result<(TraceQuery, Vec<Trace>), String>,
}

async fn found(app: &App, form: &Form) -> Result<Found, StorageError> {
    let services = app.reader.services().await?;
    let operations = match &form.service {
        Some(service) => app.reader.operations(service, None).await?,
        None => Vec::new(),
    };
    let mut operations: Vec<String> = operations
        .into_iter()
        .map(|operation| operation.name)
        .collect();
    operations.dedup();
    let traces = match form.query((app.options.clock)(), app.options.n_traces_max) {
        Ok(query) => Ok((query.clone(), app.reader.find_traces(&query).await?)),
        Err(why) => Err(why),
    };
    Ok(Found {
        services,
        operations,
        traces,
    })
}

fn search_page(uri: &Uri, form: &Form, found: &Found) -> Page {
    let results = match &found.traces {
        Err(why) => html! { p.alert role="alert" { (why) } },
        Ok((_, traces)) if traces.is_empty() && found.services.is_empty() => {
            results::nothing_kept()
        }
        Ok((query, traces)) => results::results(traces, query, form),
    };
    let body = html! {
        h1.hidden { "Search traces" }
        (form_fields(form, &found.services, &found.operations))
        (results)
    };
    let status = if found.traces.is_ok() {
        StatusCode::OK
    } else {
        StatusCode::BAD_REQUEST
    };
    Page {
        status,
        ..Page::new(uri, form.service.as_deref().unwrap_or("Search"), body)
    }
}

fn form_fields(form: &Form, services: &[String], operations: &[String]) -> Markup {
    let service = form.service.as_deref().unwrap_or_default();
    html! {
        form.search action="search" {
            label.wide { "Service"
                select name="service" {
                    option value="" { "Any service" }
                    // A bookmarked service may have no spans any more; the form still says it.
                    @if !service.is_empty() && !services.iter().any(|name| name == service) {
                        option value=(service) selected { (service) }
                    }
                    @for name in services {
                        option value=(name) selected[name == service] { (name) }
                    }
                }
            }
            label.wide { "Operation"
                input type="text" name="operation" list="operations" value=(form.operation)
                    placeholder="Any" autocomplete="off" spellcheck="false";
                datalist id="operations" { @for name in operations { option value=(name) {} } }
            }
            label.wider { "Attributes"
                input type="text" name="tags" value=(form.tags) autocomplete="off" spellcheck="false"
                    placeholder="http.response.status_code=500 error=true";
            }
            button type="submit" { "Find traces" }
            label.narrow { "Min duration"
                input type="text" name="minDuration" value=(form.duration_min) placeholder="100ms"
                    autocomplete="off" spellcheck="false";
            }
            label.narrow { "Max duration"
                input type="text" name="maxDuration" value=(form.duration_max) placeholder="1.5s"
                    autocomplete="off" spellcheck="false";
            }
            label.narrow { "Limit"
                select name="limit" {
                    @if !LIMITS.iter().any(|limit| *limit == form.limit) {
                        option selected { (form.limit) }
                    }
                    @for limit in LIMITS { option selected[limit == form.limit] { (limit) } }
                }
            }
            label.narrow { "Time"
                select name="lookback" {
                    @for (value, words, _) in LOOKBACKS {
                        option value=(value) selected[form.range.lookback() == Some(value)] { (words) }
                    }
                    option value="custom" selected[form.range.lookback().is_none()] { "Between" }
                }
            }
            @let [start, end] = form.range.inputs();
            label.custom { "From (UTC)"
                input type="datetime-local" step="any" name="start" value=(start);
            }
            label.custom { "To (UTC)"
                input type="datetime-local" step="any" name="end" value=(end);
            }
        }
    }
}
