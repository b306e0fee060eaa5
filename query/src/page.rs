//! The pages: server-rendered, whole without JavaScript, their state in the address.
//!
//! Every page links to its neighbours relatively, so the router works under any path prefix. The
//! content security policy lets nothing in but our own style sheet and icon, and forbids inline
//! styles; what depends on data (bars, positions) is drawn with SVG attributes.

mod assets;
mod format;
mod palette;
mod search;
mod span;
mod trace;
mod waterfall;

use axum::Router;
use axum::extract::Query;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use maud::{DOCTYPE, Markup, html};
use spanloom_storage::StorageError;

use self::assets::{ICON, STYLE};
use crate::App;
use crate::api::{Params, parse_trace_id};

const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self'; \
     form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The pages and what they load.
pub(crate) fn router() -> Router<App> {
    Router::new()
        .route("/", get(search::page))
        .route("/search", get(search::page))
        .route("/trace", get(look_up))
        .route("/trace/{id}", get(trace::page))
        .route("/assets/{name}", get(assets::serve))
        .fallback(not_found)
}

/// `GET /trace?id=`: the box in every page's head.
async fn look_up(uri: Uri, Query(pairs): Query<Vec<(String, String)>>) -> Response {
    let params = Params::new(pairs);
    match parse_trace_id(params.get("id").unwrap_or_default().trim()) {
        Ok(id) => Redirect::to(&format!("trace/{id}")).into_response(),
        Err(_) => bad_trace_id(&uri).into_response(),
    }
}

fn bad_trace_id(uri: &Uri) -> Page {
    let body = message(
        "That is not a trace id",
        &html! { p { "A trace id has 1 to 32 hexadecimal digits, such as "
        code { "0af7651916cd43dd8448eb211c80319c" } "." } },
    );
    Page {
        status: StatusCode::BAD_REQUEST,
        ..Page::new(uri, "Not a trace id", body)
    }
}

async fn not_found(uri: Uri) -> Page {
    let root = root_of(&uri);
    let body = message(
        "There is no such page",
        &html! { p { "Traces are found by " a href=(format!("{root}search")) { "searching" } "." } },
    );
    Page {
        status: StatusCode::NOT_FOUND,
        ..Page::new(&uri, "Not found", body)
    }
}

/// The store failed; says so, and logs why.
fn store_failed(uri: &Uri, error: &StorageError) -> Page {
    tracing::error!(
        error = error as &dyn std::error::Error,
        "the store cannot answer"
    );
    let body = message("The store cannot answer", &html! { p { (error) } });
    Page {
        status: StatusCode::INTERNAL_SERVER_ERROR,
        ..Page::new(uri, "Error", body)
    }
}

/// Renders away from the threads that serve requests: a page about 100,000 spans takes a good part
/// of a second, and no other request should wait for it.
async fn render(uri: Uri, work: impl FnOnce(&Uri) -> Page + Send + 'static) -> Page {
    let failed_uri = uri.clone();
    let rendered = tokio::task::spawn_blocking(move || work(&uri)).await;
    rendered.unwrap_or_else(|error| {
        tracing::error!(
            error = &error as &dyn std::error::Error,
            "a page was not rendered"
        );
        let words = html! { p { "This is a fault of Spanloom; its log says more." } };
        let body = message("The page could not be made", &words);
        let page = Page::new(&failed_uri, "Error", body);
        Page {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            ..page
        }
    })
}

/// A page that only says something.
fn message(heading: &str, words: &Markup) -> Markup {
    html! { section.message { h1 { (heading) } (words) } }
}

/// An answer in HTML.
struct Page {
    status: StatusCode,
    title: String,
    /// What leads from this page to the root of the router: nothing, or `../` a number of times.
    root: String,
    body: Markup,
}

impl Page {
    fn new(uri: &Uri, title: &str, body: Markup) -> Self {
        Self {
            status: StatusCode::OK,
            title: title.to_owned(),
            root: root_of(uri),
            body,
        }
    }

    fn html(&self) -> Markup {
        let Self {
            title, root, body, ..
        } = self;
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title { (title) " \u{b7} Spanloom" }
                    link rel="stylesheet" href=(format!("{root}assets/{}", STYLE.name));
                    link rel="icon" type="image/svg+xml" href=(format!("{root}assets/{}", ICON.name));
                }
                body {
                    header.top {
                        a.brand href=(format!("{root}search")) {
                            img src=(format!("{root}assets/{}", ICON.name)) alt="" width="16" height="16";
                            "Spanloom"
                        }
                        form.look-up action=(format!("{root}trace")) role="search" {
                            input type="text" name="id" required placeholder="Open a trace by its id"
                                aria-label="Trace id" autocomplete="off" spellcheck="false";
                        }
                    }
                    main { (body) }
                }
            }
        }
    }
}

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        let headers = [
            (header::CONTENT_TYPE, "text/html; charset=utf-8"),
            // A trace grows while it is looked at.
            (header::CACHE_CONTROL, "no-cache"),
            (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::REFERRER_POLICY, "same-origin"),
        ];
        (self.status, headers, self.html().into_string()).into_response()
    }
}

fn root_of(uri: &Uri) -> String {
    let n_folders = uri.path().trim_start_matches('/').matches('/').count();
    "../".repeat(n_folders)
}

/// What is said of a service, behind a patch of its colour.
fn service_chip(colour: usize, words: &Markup) -> Markup {
    html! { span.service.(palette::class(colour)) { i {} span { (words) } } }
}
