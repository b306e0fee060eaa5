//! The search page: a form, and the traces that it finds.

mod form;
mod results;

use axum::extract::{Query, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use maud::{Markup, html};
use spanloom_storage::{StorageError, Trace};

use self::form::{Form, LIMITS, LOOKBACKS};
use super::Page;
use crate::App;
use crate::api::Params;

/// `GET /` and `GET /search`; the parameters are those of Jaeger's search page, so links to it work.
pub(super) async fn page(
    State(app): State<App>,
    uri: Uri,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Response {
    let form = Form::new(&Params::new(pairs));
    match answer(app, &uri, form).await {
        Ok(page) => page.into_response(),
        Err(error) => super::store_failed(&uri, &error).into_response(),
    }
}

async fn answer(app: App, uri: &Uri, form: Form) -> Result<Page, StorageError> {
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

    let query = form.query((app.options.clock)(), app.options.n_traces_max);
    let (status, results) = match query {
        Err(why) => {
            let alert = html! { p.alert role="alert" { (why) } };
            (StatusCode::BAD_REQUEST, alert)
        }
        Ok(_) if services.is_empty() => (StatusCode::OK, results::nothing_kept()),
        Ok(query) => {
            let traces: Vec<Trace> = app.reader.find_traces(&query).await?;
            let render = move || results::results(&traces, &query);
            // Summing up a thousand big traces is too long for a thread that serves requests.
            let results = tokio::task::spawn_blocking(render).await;
            (
                StatusCode::OK,
                results.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic())),
            )
        }
    };
    let body = html! {
        h1.hidden { "Search traces" }
        (form_fields(&form, &services, &operations))
        (results)
    };
    let title = form.service.as_deref().unwrap_or("Search");
    Ok(Page {
        status,
        ..Page::new(uri, title, body)
    })
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
