//! When an ordered item arrives: tomorrow, if the stock service has it. There is no tracing in this
//! program: no crate, no line, no header that is passed on. `cargo spanloom` builds it with spans.

use std::error::Error;
use std::fs;
use std::net::SocketAddr;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use reqwest::Client;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

#[derive(Clone)]
struct Delivery {
    client: Client,
    /// The stock service, or the sidecar on the way to it.
    upstream: String,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let delivery = Delivery {
        client: Client::new(),
        upstream: option("--upstream").ok_or("--upstream URL: where the stock service is")?,
    };
    let app = Router::new()
        .route("/deliveries/{item}", get(promise))
        .with_state(delivery);
    let listen = option("--listen").unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let listener = TcpListener::bind(listen).await?;
    announce(listener.local_addr()?)?;
    let mut terminate = signal(SignalKind::terminate())?;
    let stopped = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
    };
    axum::serve(listener, app)
        .with_graceful_shutdown(stopped)
        .await?;
    Ok(())
}

/// How many days an item takes.
async fn promise(
    State(delivery): State<Delivery>,
    Path(item): Path<String>,
) -> Result<Json<Value>, StatusCode> {
    let left = left_in_stock(&delivery, &item).await;
    let left = left.map_err(|_| StatusCode::BAD_GATEWAY)?;
    let days = if left > 0 { 1 } else { 14 };
    Ok(Json(json!({ "item": item, "left": left, "days": days })))
}

/// Asks the stock service. Nothing of the request that is being served is passed on.
async fn left_in_stock(delivery: &Delivery, item: &str) -> reqwest::Result<i64> {
    let url = format!("{}/stock/{item}", delivery.upstream);
    let answer = delivery.client.get(url).send().await?.error_for_status()?;
    let stock: Value = answer.json().await?;
    Ok(stock["left"].as_i64().unwrap_or(0))
}

/// Says where the program listens, on standard output and in a file for whoever started it.
#[expect(clippy::print_stdout, reason = "the address is the result")]
fn announce(address: SocketAddr) -> std::io::Result<()> {
    println!("listening on {address}");
    if let Some(file) = option("--address-file") {
        // Renamed into place, so that a reader never sees half an address.
        let unfinished = format!("{file}.unfinished");
        fs::write(&unfinished, address.to_string())?;
        fs::rename(unfinished, file)?;
    }
    Ok(())
}

/// The word after `name` on the command line.
fn option(name: &str) -> Option<String> {
    std::env::args().skip_while(|word| word != name).nth(1)
}
