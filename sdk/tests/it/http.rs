//! Server and client together: one trace through two services that share nothing but headers.

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use futures::{StreamExt, stream};
use http_body_util::BodyExt;
use hyper_util::rt::TokioExecutor;
use opentelemetry::trace::{TraceContextExt, TracerProvider as _};
use opentelemetry::{Context, trace::Tracer as _};
use spanloom::reqwest::SendTraced;
use spanloom::testing::Sink;
use spanloom::tower::{ClientLayer, ServerLayer};
use spanloom::{Guard, TracerProvider, opentelemetry};
use tokio::net::TcpListener;
use tower::{Layer, Service, ServiceExt};

const ATTRIBUTES: [&str; 5] = [
    "http.request.method",
    "http.route",
    "http.response.status_code",
    "http.response.body.size",
    "error.type",
];

fn start() -> (Guard, Sink) {
    let sink = Sink::default();
    let guard = spanloom::builder()
        .environment(|_| None)
        .exporter(sink.clone())
        .start()
        .unwrap();
    (guard, sink)
}

/// Serves the routes of these tests with the layer, and returns the base of their URLs.
async fn serve(guard: &Guard) -> String {
    let provider = guard.tracer_provider().clone();
    let app = Router::new()
        .route("/orders/{id}", get(|| async { "tea" }))
        .route(
            "/broken",
            get(|| async { StatusCode::INTERNAL_SERVER_ERROR }),
        )
        .route("/panic", get(panics))
        .route("/stream", get(streams))
        .route("/relay", get(relay))
        .layer(
            ServerLayer::new()
                .with_tracer_provider(&provider)
                .with_traceresponse(),
        )
        .with_state(provider);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let own = base.clone();
    let app = app.layer(axum::Extension(own));
    tokio::spawn(async move { axum::serve(listener, app).await });
    base
}

async fn panics() {
    panic!("the cup is broken");
}

/// Makes a span while its body is read, long after the handler has returned.
async fn streams(State(provider): State<TracerProvider>) -> Body {
    let chunks = stream::iter(["pour", "stir"]).map(move |chunk| {
        provider
            .tracer("test")
            .in_span(chunk, |_| Ok::<_, std::io::Error>(Bytes::from(chunk)))
    });
    Body::from_stream(chunks)
}

/// Asks the same server for something else.
async fn relay(
    axum::Extension(base): axum::Extension<String>,
    State(provider): State<TracerProvider>,
) -> String {
    let request = reqwest::Client::new().get(format!("{base}/orders/7?sig=secret"));
    request
        .send_traced_by(&provider)
        .await
        .unwrap()
        .text()
        .await
        .unwrap()
}

async fn get_text(url: String) -> String {
    reqwest::get(url).await.unwrap().text().await.unwrap()
}

#[tokio::test]
async fn a_request_through_client_and_server_is_one_trace() {
    let (guard, sink) = start();
    let base = serve(&guard).await;
    assert_eq!(get_text(format!("{base}/relay")).await, "tea");
    guard.flush().unwrap();
    assert_eq!(
        sink.tree(&ATTRIBUTES),
        "SERVER GET /relay http.request.method=GET http.route=/relay \
         http.response.status_code=200 http.response.body.size=3\n  \
         CLIENT GET http.request.method=GET \
         http.response.status_code=200 http.response.body.size=3\n    \
         SERVER GET /orders/{id} http.request.method=GET http.route=/orders/{id} \
         http.response.status_code=200 http.response.body.size=3\n"
    );
    let spans = sink.spans();
    let trace_ids = spans.iter().map(|span| span.span_context.trace_id());
    assert!(
        trace_ids
            .clone()
            .all(|id| Some(id) == trace_ids.clone().next())
    );
    let secret = spans.iter().flat_map(|span| &span.attributes);
    assert!(
        secret
            .clone()
            .any(|attribute| attribute.value.as_str() == "sig=REDACTED")
    );
    assert!(
        !secret
            .clone()
            .any(|attribute| attribute.value.as_str().contains("secret"))
    );
}

#[tokio::test]
async fn errors_and_panics_mark_the_span() {
    let (guard, sink) = start();
    let base = serve(&guard).await;
    get_text(format!("{base}/broken")).await;
    assert!(reqwest::get(format!("{base}/panic")).await.is_err());
    guard.flush().unwrap();
    assert_eq!(
        sink.tree(&["error.type"]),
        "SERVER GET /broken error.type=500 ERROR\n\
         SERVER GET /panic error.type=panic ERROR: the cup is broken\n"
    );
    let panicked = sink.spans().pop().unwrap();
    assert_eq!(panicked.events.events[0].name, "exception");
}

#[tokio::test]
async fn the_span_lasts_until_the_body_ends_and_is_the_parent_of_its_work() {
    let (guard, sink) = start();
    let base = serve(&guard).await;
    assert_eq!(get_text(format!("{base}/stream")).await, "pourstir");
    guard.flush().unwrap();
    assert_eq!(
        sink.tree(&["http.response.body.size"]),
        "SERVER GET /stream http.response.body.size=8\n  INTERNAL pour\n  INTERNAL stir\n"
    );
    let spans = sink.spans();
    let end = |name| {
        spans
            .iter()
            .find(|span| span.name == name)
            .unwrap()
            .end_time
    };
    assert!(end("GET /stream") >= end("stir"));
}

#[tokio::test]
async fn a_caller_is_told_the_ids_and_its_own_decision_is_kept() {
    let (guard, sink) = start();
    let base = serve(&guard).await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let request = reqwest::Client::new()
        .get(format!("{base}/orders/1"))
        .header("traceparent", format!("00-{trace}-00f067aa0ba902b7-00"));
    let response = request.send().await.unwrap();
    let told = response.headers()["traceresponse"]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(
        told.starts_with(&format!("00-{trace}-")) && told.ends_with("-00"),
        "{told}"
    );
    guard.flush().unwrap();
    assert_eq!(sink.tree(&[]), "");
}

#[tokio::test]
async fn a_refused_connection_is_an_error_of_the_client_span() {
    let (guard, sink) = start();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    let client = reqwest::Client::new();
    client
        .get(nobody)
        .send_traced_by(guard.tracer_provider())
        .await
        .unwrap_err();
    guard.flush().unwrap();
    let tree = sink.tree(&["error.type"]);
    assert!(
        tree.starts_with("CLIENT GET error.type=connect ERROR: the request failed: "),
        "{tree}"
    );
}

#[tokio::test]
async fn an_abandoned_request_ends_its_span() {
    let (guard, sink) = start();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = format!("http://{}/", listener.local_addr().unwrap());
    let client = reqwest::Client::new();
    let request = client.get(silent).send_traced_by(guard.tracer_provider());
    tokio::select! {
        biased;
        // The server has the connection, so the request is under way.
        accepted = listener.accept() => drop(accepted.unwrap()),
        _ = request => panic!("nobody answers"),
    }
    guard.flush().unwrap();
    let tree = sink.tree(&["error.type"]);
    assert!(
        tree.starts_with("CLIENT GET error.type=cancelled ERROR"),
        "{tree}"
    );
    assert!(!Context::current().has_active_span());
}

#[tokio::test]
async fn a_client_of_hyper_gets_spans_from_the_layer() {
    let (guard, sink) = start();
    let base = serve(&guard).await;
    let client = hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build_http();
    let layer = ClientLayer::new().with_tracer_provider(guard.tracer_provider());
    let mut client = layer.layer(client);
    let url = format!("{base}/orders/7?sig=secret");
    let request = http::Request::get(&url).body(Body::empty()).unwrap();
    let response = client.ready().await.unwrap().call(request).await.unwrap();
    assert_eq!(
        response.into_body().collect().await.unwrap().to_bytes(),
        "tea"
    );
    let missing = http::Request::get(format!("{base}/missing"))
        .body(Body::empty())
        .unwrap();
    drop(client.call(missing).await.unwrap());
    guard.flush().unwrap();
    let tree = sink.tree(&["url.full", "http.response.status_code", "error.type"]);
    assert_eq!(
        tree.replace(&base, "BASE"),
        "CLIENT GET url.full=BASE/orders/7?sig=REDACTED http.response.status_code=200\n  \
         SERVER GET /orders/{id} http.response.status_code=200\n\
         CLIENT GET url.full=BASE/missing http.response.status_code=404 error.type=404 ERROR\n  \
         SERVER GET http.response.status_code=404\n"
    );
}
