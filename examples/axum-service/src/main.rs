//! The smallest traced service: requests in, a request out, an end in order.

use std::net::SocketAddr;

use anyhow::Result;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Router, routing::get};
use spanloom::reqwest::SendTraced;
use spanloom::tower::ServerLayer;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> Result<()> {
    let tracing = spanloom::builder().service_name("axum-service").init()?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let stopped = async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    serve(TcpListener::bind("127.0.0.1:3000").await?, stopped).await?;
    // The requests have ended, and so have their spans: they are sent now, or this says why not.
    tracing.shutdown()?;
    Ok(())
}

/// Serves until `stopped`, and then until the last open request has its answer.
async fn serve(
    listener: TcpListener,
    stopped: impl Future<Output = ()> + Send + 'static,
) -> Result<()> {
    let app = Router::new()
        .route("/orders/{item}", get(order))
        .route("/prices/{item}", get(price))
        .with_state(listener.local_addr()?)
        // After the routes, so that it knows which of them a request took.
        .layer(ServerLayer::new());
    let server = axum::serve(listener, app).with_graceful_shutdown(stopped);
    Ok(server.await?)
}

/// Asks another service, here the same one, for the price.
async fn order(
    State(prices): State<SocketAddr>,
    Path(item): Path<String>,
) -> Result<String, StatusCode> {
    let url = format!("http://{prices}/prices/{item}");
    let answer = reqwest::Client::new().get(url).send_traced().await;
    let answer = answer.and_then(reqwest::Response::error_for_status);
    let price = match answer {
        Ok(answer) => answer.text().await,
        Err(error) => Err(error),
    };
    let price = price.map_err(|_| StatusCode::BAD_GATEWAY)?;
    Ok(format!("{item} for {price}\n"))
}

async fn price(Path(item): Path<String>) -> Result<&'static str, StatusCode> {
    match item.as_str() {
        "tea" => Ok("3"),
        "cake" => Ok("4"),
        _ => Err(StatusCode::NOT_FOUND),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use spanloom::testing::Sink;
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn an_order_is_one_trace_and_arrives_when_the_service_ends() {
        let sink = Sink::default();
        let builder = spanloom::builder()
            .environment(|_| None)
            .without_subscriber();
        let tracing = builder.exporter(sink.clone()).init().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let (stop, stopped) = oneshot::channel::<()>();
        let server = tokio::spawn(serve(listener, async { drop(stopped.await) }));
        let tea = reqwest::get(format!("{base}/orders/tea")).await.unwrap();
        assert_eq!(tea.text().await.unwrap(), "tea for 3\n");
        let gin = reqwest::get(format!("{base}/orders/gin")).await.unwrap();
        assert_eq!(gin.status(), StatusCode::BAD_GATEWAY);
        stop.send(()).unwrap();
        server.await.unwrap().unwrap();
        tracing.shutdown().unwrap();
        assert_eq!(
            sink.tree(&["http.response.status_code"]),
            "SERVER GET /orders/{item} http.response.status_code=200\n  \
             CLIENT GET http.response.status_code=200\n    \
             SERVER GET /prices/{item} http.response.status_code=200\n\
             SERVER GET /orders/{item} http.response.status_code=502 ERROR\n  \
             CLIENT GET http.response.status_code=404 ERROR\n    \
             SERVER GET /prices/{item} http.response.status_code=404\n"
        );
    }
}
