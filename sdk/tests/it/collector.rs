//! A collector that keeps what it gets, and can be told to answer late.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use prost::Message;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

/// Listens for OTLP/gRPC and OTLP/HTTP, on threads that no test blocks.
pub(crate) struct Collector {
    pub(crate) grpc: SocketAddr,
    pub(crate) http: SocketAddr,
    received: Received,
    runtime: Option<Runtime>,
}

#[derive(Clone, Default)]
struct Received(Arc<Mutex<Vec<ExportTraceServiceRequest>>>);

impl Collector {
    pub(crate) fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let received = Received::default();
        let _inside = runtime.enter();
        let [grpc, http] = [(); 2].map(|()| {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            listener.set_nonblocking(true).unwrap();
            TcpListener::from_std(listener).unwrap()
        });
        let addresses = [&grpc, &http].map(|listener| listener.local_addr().unwrap());
        let service = TraceServiceServer::new(received.clone());
        let server = tonic::transport::Server::builder().add_service(service);
        runtime.spawn(server.serve_with_incoming(TcpListenerStream::new(grpc)));
        let app = axum::Router::new()
            .route("/v1/traces", axum::routing::post(over_http))
            .with_state(received.clone());
        runtime.spawn(async move { axum::serve(http, app).await });
        Self {
            grpc: addresses[0],
            http: addresses[1],
            received,
            runtime: Some(runtime),
        }
    }

    /// The names of all spans, with the name of their service.
    pub(crate) fn spans(&self) -> Vec<String> {
        let mut names = Vec::new();
        for resource in self
            .received
            .0
            .lock()
            .unwrap()
            .iter()
            .flat_map(|r| &r.resource_spans)
        {
            let attributes = &resource.resource.as_ref().unwrap().attributes;
            let service = attributes
                .iter()
                .find(|attribute| attribute.key == "service.name");
            let service = service
                .and_then(|attribute| attribute.value.clone())
                .unwrap();
            let Value::StringValue(service) = service.value.unwrap() else {
                panic!("a service name is text");
            };
            for span in resource.scope_spans.iter().flat_map(|scope| &scope.spans) {
                names.push(format!("{service}: {}", span.name));
            }
        }
        names
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        // An ordinary drop would block, which a test's own runtime forbids.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[tonic::async_trait]
impl TraceService for Received {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0.lock().unwrap().push(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

async fn over_http(
    axum::extract::State(received): axum::extract::State<Received>,
    body: axum::body::Bytes,
) {
    received
        .0
        .lock()
        .unwrap()
        .push(ExportTraceServiceRequest::decode(body).unwrap());
}
