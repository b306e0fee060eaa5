//! gRPC through tonic, both sides in one trace.

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use spanloom::Guard;
use spanloom::grpc::{ClientLayer, ServerLayer};
use spanloom::testing::Sink;
use spanloom::tower::TracedService;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::service::Routes;
use tonic::transport::{Channel, Server};
use tonic::{Request, Response, Status};
use tower::Layer;

/// Any service will do; this one answers as its request asks.
pub(crate) struct Answers;

#[tonic::async_trait]
impl TraceService for Answers {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        match request
            .metadata()
            .get("answer")
            .and_then(|answer| answer.to_str().ok())
        {
            Some("internal") => Err(Status::internal("the cup is broken")),
            Some("not found") => Err(Status::not_found("no such cup")),
            _ => Ok(Response::new(ExportTraceServiceResponse::default())),
        }
    }
}

async fn start(routes: Routes) -> (Guard, Sink, TraceServiceClient<TracedService<Channel>>) {
    let sink = Sink::default();
    let guard = spanloom::builder()
        .environment(|_| None)
        .exporter(sink.clone())
        .start()
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let layer = ServerLayer::new().with_tracer_provider(guard.tracer_provider());
    let server = Server::builder().layer(layer).add_routes(routes);
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    let channel = Channel::from_shared(endpoint)
        .unwrap()
        .connect()
        .await
        .unwrap();
    let layer = ClientLayer::new().with_tracer_provider(guard.tracer_provider());
    (guard, sink, TraceServiceClient::new(layer.layer(channel)))
}

pub(crate) fn asking(answer: &'static str) -> Request<ExportTraceServiceRequest> {
    let mut request = Request::new(ExportTraceServiceRequest::default());
    request
        .metadata_mut()
        .insert("answer", answer.parse().unwrap());
    request
}

const METHOD: &str = "opentelemetry.proto.collector.trace.v1.TraceService/Export";

#[tokio::test]
async fn a_call_is_a_client_span_and_a_server_span_with_its_status() {
    let (guard, sink, mut client) = start(Routes::new(TraceServiceServer::new(Answers))).await;
    client.export(asking("ok")).await.unwrap();
    guard.flush().unwrap();
    let ok = "rpc.system.name=grpc rpc.response.status_code=OK";
    assert_eq!(
        sink.tree(&["rpc.system.name", "rpc.response.status_code"]),
        format!("CLIENT {METHOD} {ok}\n  SERVER {METHOD} {ok}\n")
    );
}

#[tokio::test]
async fn a_refusal_is_the_clients_error_and_a_breakdown_that_of_both() {
    let (guard, sink, mut client) = start(Routes::new(TraceServiceServer::new(Answers))).await;
    client.export(asking("not found")).await.unwrap_err();
    client.export(asking("internal")).await.unwrap_err();
    guard.flush().unwrap();
    let tree = sink.tree(&["rpc.response.status_code"]);
    let lines: Vec<_> = tree.lines().map(|line| line.replace(METHOD, "M")).collect();
    assert_eq!(
        lines,
        [
            "CLIENT M rpc.response.status_code=NOT_FOUND ERROR: no such cup",
            "  SERVER M rpc.response.status_code=NOT_FOUND",
            "CLIENT M rpc.response.status_code=INTERNAL ERROR: the cup is broken",
            "  SERVER M rpc.response.status_code=INTERNAL ERROR: the cup is broken",
        ]
    );
}

#[tokio::test]
async fn a_method_that_does_not_exist_names_no_span_of_the_server() {
    let (guard, sink, mut client) = start(Routes::default()).await;
    client.export(asking("ok")).await.unwrap_err();
    guard.flush().unwrap();
    let tree = sink.tree(&["rpc.method"]);
    assert!(
        tree.contains("\n  SERVER grpc rpc.method=_OTHER ERROR"),
        "{tree}"
    );
}
