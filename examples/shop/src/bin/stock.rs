//! The last service of the shop. It knows nothing of tracing: not a crate, not a header. Its span
//! in the trace is made by the sidecar in front of it.

use anyhow::Result;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use clap::Parser;
use serde_json::{Value, json};
use shop::{Listen, serve};

#[tokio::main]
async fn main() -> Result<()> {
    let app = Router::new().route("/stock/{item}", get(stock));
    serve(app, &Listen::parse()).await
}

/// How many are left; the item `broken` breaks, so that a trace with an error can be seen.
async fn stock(Path(item): Path<String>) -> Result<Json<Value>, StatusCode> {
    if item == "broken" {
        return Err(StatusCode::INTERNAL_SERVER_ERROR);
    }
    Ok(Json(json!({ "item": item, "left": 7 })))
}
