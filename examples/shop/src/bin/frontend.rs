//! The service that uses the SDK. Four lines of it are about tracing, each with its comment; the
//! rest is what the program would be without.

use anyhow::Result;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use clap::Parser;
use reqwest::Client;
use serde_json::{Value, json};
use shop::{ListenAndCall, serve};
use spanloom::reqwest::SendTraced;
use spanloom::tower::ServerLayer;

#[derive(Clone)]
struct Frontend {
    client: Client,
    upstream: String,
}

#[tokio::main]
async fn main() -> Result<()> {
    // Reads OTEL_*, starts the exporter, and sends what is left when `main` ends.
    let _tracing = spanloom::builder().service_name("frontend").init()?;

    let arguments = ListenAndCall::parse();
    let frontend = Frontend {
        client: Client::new(),
        upstream: arguments.upstream,
    };
    let app = Router::new()
        .route("/checkout/{item}", get(checkout))
        // A SERVER span for each request, as a child of the sidecar's.
        .layer(ServerLayer::new())
        .with_state(frontend);
    serve(app, &arguments.listen).await
}

/// Prices the basket, then orders it.
async fn checkout(
    State(frontend): State<Frontend>,
    Path(item): Path<String>,
) -> Result<Json<Value>, StatusCode> {
    let cents = price_the_basket(&item);
    let url = format!("{}/orders/{item}", frontend.upstream);
    // A CLIENT span, and its context in the request's headers.
    let answer = frontend.client.get(url).send_traced().await;
    let answer = answer
        .and_then(reqwest::Response::error_for_status)
        .map_err(|error| {
            tracing::error!(%error, "the order failed");
            StatusCode::BAD_GATEWAY
        })?;
    let order: Value = answer.json().await.map_err(|_| StatusCode::BAD_GATEWAY)?;
    Ok(Json(json!({ "cents": cents, "order": order })))
}

/// Work inside the service: an INTERNAL span, for programs that know `tracing`.
#[tracing::instrument(name = "price the basket")]
fn price_the_basket(item: &str) -> i64 {
    let cents = item.bytes().map(i64::from).sum();
    tracing::info!(cents, "priced");
    cents
}
