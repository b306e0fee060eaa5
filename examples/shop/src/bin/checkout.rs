//! The service in the middle. It has no tracing code and makes no span. It does the one thing that
//! a mesh cannot do for a program: it passes the headers of the request that came in on to the
//! request that goes out, so that the sidecar can tell which belongs to which.

use anyhow::Result;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use axum::{Json, Router};
use clap::Parser;
use reqwest::Client;
use serde_json::{Value, json};
use shop::{ListenAndCall, serve};

/// The headers that carry a trace through a mesh: W3C Trace Context, W3C Baggage and Envoy's id
/// of a request.
const PASSED_ON: [&str; 4] = ["traceparent", "tracestate", "baggage", "x-request-id"];

#[derive(Clone)]
struct Checkout {
    client: Client,
    upstream: String,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = ListenAndCall::parse();
    let checkout = Checkout {
        client: Client::new(),
        upstream: arguments.upstream,
    };
    let app = Router::new()
        .route("/orders/{item}", get(order))
        .with_state(checkout);
    serve(app, &arguments.listen).await
}

/// An order is what will be delivered.
async fn order(
    State(checkout): State<Checkout>,
    Path(item): Path<String>,
    incoming: HeaderMap,
) -> Result<Json<Value>, StatusCode> {
    let mut outgoing = HeaderMap::new();
    for name in PASSED_ON {
        for value in incoming.get_all(name) {
            outgoing.append(name, value.clone());
        }
    }
    let url = format!("{}/deliveries/{item}", checkout.upstream);
    let answer = checkout.client.get(url).headers(outgoing).send().await;
    let answer = answer.and_then(reqwest::Response::error_for_status);
    let answer = answer.map_err(|_| StatusCode::BAD_GATEWAY)?;
    let delivery: Value = answer.json().await.map_err(|_| StatusCode::BAD_GATEWAY)?;
    Ok(Json(json!({ "item": item, "delivery": delivery })))
}
