//! Jaeger's HTTP API, version 1: the shapes of `http_handler.go` up to Jaeger 2.20.
//!
//! Every answer is the envelope `{"data", "total", "limit", "offset", "errors"}`. An error has the
//! status that its envelope names, and is `text/plain` with a newline at the end although it holds
//! JSON: Go's `http.Error` made it so, and clients have seen nothing else.

mod envelope;
mod params;
mod trace_json;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use spanloom_storage::{StorageError, TraceQuery};
use spanloom_wire::TraceId;
use spanloom_wire::otlp::SpanKind;

pub(crate) use self::params::{InvalidParam, Params, parse_time, parse_trace_id};
pub(crate) use self::trace_json::value_as_json;

use crate::App;
use crate::json::JsonWriter;

use self::envelope::TraceNotFound;

type QueryString = Query<Vec<(String, String)>>;

/// The routes from `/api` on.
pub(crate) fn router() -> Router<App> {
    Router::new()
        .route("/api/services", get(services))
        .route("/api/services/{service}/operations", get(operation_names))
        .route("/api/operations", get(operations))
        .route("/api/traces", get(search))
        .route("/api/traces/{id}", get(trace))
        .route("/api", any(not_found))
        .route("/api/", any(not_found))
        .route("/api/{*unknown}", any(not_found))
}

async fn services(State(app): State<App>, Query(pairs): QueryString) -> Result<Response, ApiError> {
    let services = app.reader.services().await?;
    let services = services.iter().map(String::as_str);
    Ok(envelope::list(
        Params::new(pairs).pretty(),
        services,
        JsonWriter::string,
    ))
}

async fn operation_names(
    State(app): State<App>,
    Path(service): Path<String>,
    Query(pairs): QueryString,
) -> Result<Response, ApiError> {
    let operations = app.reader.operations(&service, None).await?;
    let mut names: Vec<&str> = operations
        .iter()
        .map(|operation| operation.name.as_str())
        .collect();
    // They come sorted by name and kind, so the same name under two kinds stands side by side.
    names.dedup();
    Ok(envelope::list(
        Params::new(pairs).pretty(),
        names.into_iter(),
        JsonWriter::string,
    ))
}

async fn operations(
    State(app): State<App>,
    Query(pairs): QueryString,
) -> Result<Response, ApiError> {
    let params = Params::new(pairs);
    let service = params
        .get("service")
        .ok_or(InvalidParam::Required("service"))?;
    let operations = match params.get("spanKind") {
        None => app.reader.operations(service, None).await?,
        Some(name) => match SpanKind::from_name(name) {
            Some(kind) => app.reader.operations(service, Some(kind)).await?,
            // Jaeger compares text, so a kind that nobody knows has no operations.
            None => Vec::new(),
        },
    };
    Ok(envelope::list(
        params.pretty(),
        operations.iter(),
        |json, operation| {
            json.begin_object();
            json.key("name");
            json.string(&operation.name);
            json.key("spanKind");
            json.string(operation.kind);
            json.end_object();
        },
    ))
}

async fn search(State(app): State<App>, Query(pairs): QueryString) -> Result<Response, ApiError> {
    let params = Params::new(pairs);
    let raw = params.flag("raw")?;
    let ids = params.trace_ids(app.options.n_traces_max)?;
    let mut not_found = Vec::new();
    let traces = if ids.is_empty() {
        let query: TraceQuery =
            params.trace_query((app.options.clock)(), app.options.n_traces_max)?;
        app.reader.find_traces(&query).await?
    } else {
        let range = params.range()?;
        let mut traces = Vec::with_capacity(ids.len());
        for id in ids {
            match app.reader.trace(id, range).await? {
                Some(trace) => traces.push(trace),
                None => not_found.push(TraceNotFound(id)),
            }
        }
        traces
    };
    Ok(envelope::traces(params.pretty(), raw, traces, not_found))
}

async fn trace(
    State(app): State<App>,
    Path(id): Path<String>,
    Query(pairs): QueryString,
) -> Result<Response, ApiError> {
    let params = Params::new(pairs);
    let id: TraceId = parse_trace_id(&id)?;
    let range = params.range()?;
    let raw = params.flag("raw")?;
    let trace = app
        .reader
        .trace(id, range)
        .await?
        .ok_or(ApiError::TraceNotFound)?;
    Ok(envelope::traces(
        params.pretty(),
        raw,
        vec![trace],
        Vec::new(),
    ))
}

async fn not_found() -> Response {
    plain_text(StatusCode::NOT_FOUND, "404 page not found\n".to_owned())
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
enum ApiError {
    #[error(transparent)]
    Param(#[from] InvalidParam),
    #[error("trace not found")]
    TraceNotFound,
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = match &self {
            ApiError::Param(_) => StatusCode::BAD_REQUEST,
            ApiError::TraceNotFound => StatusCode::NOT_FOUND,
            ApiError::Storage(error) => {
                tracing::error!(
                    error = error as &dyn std::error::Error,
                    "the store cannot answer"
                );
                StatusCode::INTERNAL_SERVER_ERROR
            }
        };
        plain_text(status, envelope::error(status, &self.to_string()))
    }
}

fn plain_text(status: StatusCode, text: String) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (status, headers, text).into_response()
}
