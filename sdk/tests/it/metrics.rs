//! Durations of requests: counted whatever is sampled, exported over every protocol.

mod calls;

use std::convert::Infallible;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::StatusCode;
use axum::routing::get;
use futures::FutureExt;
use hyper_util::rt::TokioExecutor;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::TraceServiceServer;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use spanloom::reqwest::SendTraced;
use spanloom::testing::{self, FakeCollector, Sink};
use spanloom::tower::{ClientLayer, ServerLayer};
use spanloom::{Guard, grpc};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Channel, Server};
use tower::{Layer, Service, ServiceExt};

use crate::child::{is_program, run};
use crate::grpc::Answers;

/// Follows the caller's decision, as production does.
fn start() -> (Guard, Sink) {
    let sink = Sink::default();
    let lookup =
        |name: &str| (name == "OTEL_TRACES_SAMPLER").then(|| "parentbased_always_on".to_owned());
    let guard = testing::builder(&sink).environment(lookup).start().unwrap();
    (guard, sink)
}

async fn serve(guard: &Guard) -> String {
    let layer = ServerLayer::new().with_tracer_provider(guard.tracer_provider());
    let app = Router::new()
        .route("/orders/{id}", get(|| async { "tea" }))
        .route("/broken", get(|| async { StatusCode::BAD_GATEWAY }))
        .route(
            "/panic",
            get(|| async { panic!("the cup is broken") as String }),
        )
        .layer(layer);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    base
}

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

async fn ask(url: String, flags: &str) {
    let request = reqwest::Client::new().get(url);
    let request = request.header(
        "traceparent",
        format!("00-{TRACE}-00f067aa0ba902b7-{flags}"),
    );
    if let Ok(response) = request.send().await {
        response.bytes().await.unwrap();
    }
}

#[tokio::test]
async fn every_request_is_counted_and_a_sampled_one_is_the_example() {
    let (guard, sink) = start();
    let base = serve(&guard).await;
    for (path, flags) in [("1", "00"), ("2", "00"), ("3", "01")] {
        ask(format!("{base}/orders/{path}"), flags).await;
    }
    ask(format!("{base}/broken"), "00").await;
    ask(format!("{base}/panic"), "00").await;
    ask(format!("{base}/missing"), "00").await;
    let attributes = [
        "http.request.method",
        "url.scheme",
        "http.route",
        "network.protocol.version",
        "http.response.status_code",
        "error.type",
    ];
    let common = "http.server.request.duration http.request.method=GET url.scheme=http";
    assert_eq!(
        sink.figures(&attributes),
        format!(
            "{common} http.route=/broken network.protocol.version=1.1 \
             http.response.status_code=502 error.type=502 count=1 spans=0\n\
             {common} http.route=/orders/{{id}} network.protocol.version=1.1 \
             http.response.status_code=200 count=3 spans=1\n\
             {common} http.route=/panic network.protocol.version=1.1 \
             error.type=panic count=1 spans=0\n\
             {common} network.protocol.version=1.1 \
             http.response.status_code=404 count=1 spans=0\n"
        )
    );
    let metric = sink.metrics().remove(0);
    let Some(Data::Histogram(histogram)) = metric.data else {
        panic!("{:?}", metric.data);
    };
    let mut exemplars = histogram
        .data_points
        .iter()
        .flat_map(|point| &point.exemplars);
    let exemplar = exemplars.next().unwrap();
    let span = &sink.spans()[0].span_context;
    assert_eq!(span.trace_id().to_string(), TRACE);
    assert_eq!(exemplar.trace_id, span.trace_id().to_bytes());
    assert_eq!(exemplar.span_id, span.span_id().to_bytes());
    assert_eq!(metric.unit, "s");
}

#[tokio::test]
async fn clients_are_measured_by_the_server_that_they_ask() {
    let (guard, sink) = start();
    let base = serve(&guard).await;
    let address = base.strip_prefix("http://127.0.0.1:").unwrap();
    let client = reqwest::Client::new();
    let provider = guard.tracer_provider();
    let url = format!("{base}/orders/7");
    client
        .get(&url)
        .send_traced_by(provider)
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    let missing = client.get(format!("{base}/missing"));
    missing
        .send_traced_by(provider)
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let refused = format!("http://{}/", nobody.local_addr().unwrap());
    drop(nobody);
    client
        .get(&refused)
        .send_traced_by(provider)
        .await
        .unwrap_err();

    let hyper = hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build_http();
    let mut hyper = ClientLayer::new()
        .with_tracer_provider(provider)
        .layer(hyper);
    let request = http::Request::get(&url).body(Body::empty()).unwrap();
    drop(hyper.ready().await.unwrap().call(request).await.unwrap());

    let attributes = [
        "server.address",
        "server.port",
        "http.response.status_code",
        "error.type",
    ];
    let figures = sink.figures(&attributes);
    let clients = figures
        .lines()
        .filter(|line| line.starts_with("http.client"));
    let mut clients: Vec<_> = clients.map(|line| line.replace(address, "PORT")).collect();
    let common = "http.client.request.duration server.address=127.0.0.1 server.port";
    let port = refused.trim_end_matches('/').rsplit(':').next().unwrap();
    let mut expected = vec![
        format!("{common}=PORT http.response.status_code=200 count=1 spans=1"),
        // The body was dropped before its end.
        format!("{common}=PORT http.response.status_code=200 error.type=cancelled count=1 spans=1"),
        format!("{common}=PORT http.response.status_code=404 error.type=404 count=1 spans=1"),
        format!("{common}={port} error.type=connect count=1 spans=1"),
    ];
    clients.sort();
    expected.sort();
    assert_eq!(clients, expected);
}

#[tokio::test]
async fn calls_over_grpc_are_counted_by_method_and_code() {
    let (guard, sink) = start();
    let provider = guard.tracer_provider();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let layer = grpc::ServerLayer::new().with_tracer_provider(provider);
    let service = TraceServiceServer::new(Answers);
    let server = Server::builder().layer(layer).add_service(service);
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    let channel = Channel::from_shared(endpoint).unwrap().connect_lazy();
    let layer = grpc::ClientLayer::new().with_tracer_provider(provider);
    let channel = layer.layer(channel);
    let mut client = TraceServiceClient::new(channel.clone());
    client.export(crate::grpc::asking("ok")).await.unwrap();
    client
        .export(crate::grpc::asking("not found"))
        .await
        .unwrap_err();
    let path = http::uri::PathAndQuery::from_static("/any/Thing");
    let mut other = tonic::client::Grpc::new(channel);
    other.ready().await.unwrap();
    let codec =
        tonic_prost::ProstCodec::<ExportTraceServiceRequest, ExportTraceServiceRequest>::default();
    other
        .unary(
            tonic::Request::new(ExportTraceServiceRequest::default()),
            path,
            codec,
        )
        .await
        .unwrap_err();
    let attributes = [
        "rpc.system.name",
        "rpc.method",
        "rpc.response.status_code",
        "error.type",
    ];
    let method = "opentelemetry.proto.collector.trace.v1.TraceService/Export";
    let figures = sink.figures(&attributes).replace(method, "M");
    let line = |name: &str, rest: &str| {
        format!("rpc.{name}.call.duration rpc.system.name=grpc rpc.method={rest} count=1 spans=1\n")
    };
    assert_eq!(
        figures,
        [
            line(
                "client",
                "any/Thing rpc.response.status_code=UNIMPLEMENTED error.type=UNIMPLEMENTED"
            ),
            line(
                "client",
                "M rpc.response.status_code=NOT_FOUND error.type=NOT_FOUND"
            ),
            line("client", "M rpc.response.status_code=OK"),
            line(
                "server",
                "_OTHER rpc.response.status_code=UNIMPLEMENTED error.type=UNIMPLEMENTED"
            ),
            line("server", "M rpc.response.status_code=NOT_FOUND"),
            line("server", "M rpc.response.status_code=OK"),
        ]
        .concat()
    );
}

/// Makes one request to a service that answers with nothing.
pub(crate) fn request_through(layer: ServerLayer) {
    let service = tower::service_fn(async |_: http::Request<Body>| {
        Ok::<_, Infallible>(http::Response::new(Body::empty()))
    });
    let request = http::Request::get("http://shop/")
        .body(Body::empty())
        .unwrap();
    let answer = layer.layer(service).oneshot(request);
    answer.now_or_never().expect("nothing in it waits").unwrap();
}

/// Starts an exporting guard, makes one request below its layer, and ends it.
fn one_request(variables: Vec<(&'static str, String)>, is_wanted: bool) {
    let lookup = move |name: &str| match name {
        "OTEL_SERVICE_NAME" => Some("cart".to_owned()),
        name => variables
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value.clone()),
    };
    let builder = spanloom::builder().environment(lookup).metrics(is_wanted);
    let guard = builder.start().unwrap();
    request_through(ServerLayer::new().with_tracer_provider(guard.tracer_provider()));
    guard.shutdown().unwrap();
}

#[test]
fn metrics_arrive_over_every_protocol_with_headers_and_compression() {
    let collector = FakeCollector::start().unwrap();
    for (endpoint, protocol, content_type, encoding) in [
        (
            collector.grpc_endpoint(),
            "grpc",
            "application/grpc",
            "grpc-encoding",
        ),
        (
            collector.http_endpoint(),
            "http/protobuf",
            "application/x-protobuf",
            "content-encoding",
        ),
        (
            collector.http_endpoint(),
            "http/json",
            "application/json",
            "content-encoding",
        ),
    ] {
        let variables = vec![
            ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol.to_owned()),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip".to_owned()),
            (
                "OTEL_EXPORTER_OTLP_METRICS_HEADERS",
                "x-tenant=web%20shop".to_owned(),
            ),
        ];
        one_request(variables, true);
        let received = collector.received_metrics().pop().unwrap();
        assert_eq!(received.headers["content-type"], content_type);
        assert_eq!(received.headers["x-tenant"], "web shop", "{protocol}");
        assert_eq!(received.headers[encoding], "gzip", "{protocol}");
    }
    let line = "cart http.server.request.duration http.request.method=GET count=1 spans=1\n";
    assert_eq!(collector.figures(&["http.request.method"]), line.repeat(3));
    assert_eq!(collector.n_spans(), 3);
}

#[test]
fn metrics_are_off_until_somebody_asks_and_the_environment_has_the_last_word() {
    let collector = FakeCollector::start().unwrap();
    let exported = |exporter: &str, is_wanted| {
        let before = collector.received_metrics().len();
        let variables = vec![
            ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.http_endpoint()),
            ("OTEL_METRICS_EXPORTER", exporter.to_owned()),
        ];
        one_request(variables, is_wanted);
        collector.received_metrics().len() - before
    };
    assert_eq!(exported("", false), 0);
    assert_eq!(exported("none", true), 0);
    assert_eq!(exported("", true), 1);
    assert_eq!(exported("otlp", false), 1);
}

#[test]
fn a_failed_export_is_told() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let lookup = move |name: &str| match name {
        "OTEL_TRACES_EXPORTER" => Some("none".to_owned()),
        "OTEL_METRICS_EXPORTER" => Some("otlp".to_owned()),
        "OTEL_EXPORTER_OTLP_ENDPOINT" => Some(format!("http://{nobody}")),
        _ => None,
    };
    let guard = spanloom::builder().environment(lookup).start().unwrap();
    // Nothing was counted, so there is nothing to say.
    guard.flush().unwrap();
    request_through(ServerLayer::new().with_tracer_provider(guard.tracer_provider()));
    assert!(guard.flush().is_err());
    assert!(guard.shutdown().is_err());
}

#[test]
fn figures_come_every_interval_without_being_asked_for() {
    let collector = FakeCollector::start().unwrap();
    let endpoint = collector.http_endpoint();
    let lookup = move |name: &str| match name {
        "OTEL_TRACES_EXPORTER" => Some("none".to_owned()),
        "OTEL_METRICS_EXPORTER" => Some("otlp".to_owned()),
        "OTEL_METRIC_EXPORT_INTERVAL" => Some("5".to_owned()),
        "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE" => Some("delta".to_owned()),
        "OTEL_SERVICE_NAME" => Some("cart".to_owned()),
        "OTEL_EXPORTER_OTLP_ENDPOINT" => Some(endpoint.clone()),
        _ => None,
    };
    let guard = spanloom::builder().environment(lookup).start().unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    for n_exports in 1..=2 {
        request_through(ServerLayer::new().with_tracer_provider(guard.tracer_provider()));
        while collector.received_metrics().len() < n_exports {
            assert!(Instant::now() < deadline, "nothing was exported");
            std::thread::yield_now();
        }
    }
    guard.shutdown().unwrap();
    // Deltas: each request is told once.
    let line = "cart http.server.request.duration count=1 spans=1\n";
    assert_eq!(collector.figures(&[]), line.repeat(2));
}

#[test]
fn figures_go_to_the_console_when_that_is_asked_for() {
    let variables = [
        ("OTEL_METRICS_EXPORTER", "console"),
        ("OTEL_TRACES_EXPORTER", "none"),
    ];
    let text = run("metrics::console_program", &variables);
    let line = text.lines().find(|line| line.starts_with("metric "));
    let line = line.expect(&text);
    assert!(
        line.starts_with("metric http.server.request.duration count=1 mean=0.")
            && line.ends_with("http.response.status_code=200"),
        "{text}"
    );
}

#[test]
fn console_program() {
    if is_program() {
        let _tracing = spanloom::builder().without_subscriber().init().unwrap();
        request_through(ServerLayer::new());
    }
}
