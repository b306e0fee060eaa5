//! A collector that keeps what it gets.

use std::io::{self, Read};
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind, status::StatusCode as Code};
use prost::Message;
use serde::de::DeserializeOwned;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::codec::CompressionEncoding;

use super::figures::{self, text};
use super::tree::{Node, draw};

/// What one inflated request may take: far more than a test sends.
const REQUEST_BYTES_MAX: u64 = 64 << 20;

/// Listens for OTLP/gRPC and for OTLP/HTTP (protobuf and JSON, plain and gzip) on free ports of
/// the loopback, on a thread of its own, until it is dropped.
#[derive(Debug)]
pub struct FakeCollector {
    grpc: SocketAddr,
    http: SocketAddr,
    traces: Requests<ExportTraceServiceRequest>,
    metrics: Requests<ExportMetricsServiceRequest>,
    runtime: Option<Runtime>,
}

/// One export, of spans unless its type says otherwise.
#[derive(Clone, Debug)]
pub struct Received<R = ExportTraceServiceRequest> {
    /// The headers that it came with.
    pub headers: HeaderMap,
    /// What was in it.
    pub request: R,
}

#[derive(Clone, Debug)]
struct Requests<R>(Arc<Mutex<Vec<Received<R>>>>);

impl<R> Default for Requests<R> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<R: Clone> Requests<R> {
    fn keep(&self, headers: HeaderMap, request: R) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push(Received { headers, request });
    }

    fn all(&self) -> Vec<Received<R>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.clone()
    }
}

impl FakeCollector {
    /// Listens when this returns.
    ///
    /// # Errors
    ///
    /// When the operating system gives no port or no thread.
    pub fn start() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let inside = runtime.enter();
        let (grpc, http) = (listen()?, listen()?);
        let (grpc_address, http_address) = (grpc.local_addr()?, http.local_addr()?);
        let (traces, metrics) = (Requests::default(), Requests::default());
        let gzip = CompressionEncoding::Gzip;
        let server = tonic::transport::Server::builder()
            .add_service(TraceServiceServer::new(traces.clone()).accept_compressed(gzip))
            .add_service(MetricsServiceServer::new(metrics.clone()).accept_compressed(gzip));
        runtime.spawn(server.serve_with_incoming(TcpListenerStream::new(grpc)));
        let app = axum::Router::new()
            .merge(route("/v1/traces", traces.clone()))
            .merge(route("/v1/metrics", metrics.clone()));
        runtime.spawn(async move { axum::serve(http, app).await });
        drop(inside);
        Ok(Self {
            grpc: grpc_address,
            http: http_address,
            traces,
            metrics,
            runtime: Some(runtime),
        })
    }

    /// What to set `OTEL_EXPORTER_OTLP_ENDPOINT` to for gRPC, with `OTEL_EXPORTER_OTLP_PROTOCOL`
    /// set to `grpc`, since the port is not 4317.
    #[must_use]
    pub fn grpc_endpoint(&self) -> String {
        format!("http://{}", self.grpc)
    }

    /// What to set `OTEL_EXPORTER_OTLP_ENDPOINT` to for HTTP.
    #[must_use]
    pub fn http_endpoint(&self) -> String {
        format!("http://{}", self.http)
    }

    /// The exports of spans so far, in the order of their arrival.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        self.traces.all()
    }

    /// The exports of metrics so far, in the order of their arrival.
    #[must_use]
    pub fn received_metrics(&self) -> Vec<Received<ExportMetricsServiceRequest>> {
        self.metrics.all()
    }

    /// The histograms of all exports of metrics as text, like [`Sink::figures`](super::Sink::figures),
    /// the name of its service in front of each.
    #[must_use]
    pub fn figures(&self, attributes: &[&str]) -> String {
        let received = self.received_metrics();
        let resources = received
            .iter()
            .flat_map(|received| &received.request.resource_metrics);
        let metrics = resources.flat_map(|resource| {
            let service = format!("{} ", service_name(resource.resource.as_ref()));
            let scopes = resource
                .scope_metrics
                .iter()
                .flat_map(|scope| &scope.metrics);
            scopes.map(move |metric| (service.clone(), metric))
        });
        figures::draw(metrics, attributes)
    }

    /// The number of spans so far.
    #[must_use]
    pub fn n_spans(&self) -> usize {
        let kept = self.traces.0.lock().unwrap_or_else(PoisonError::into_inner);
        let resources = kept
            .iter()
            .flat_map(|received| &received.request.resource_spans);
        resources
            .flat_map(|resource| &resource.scope_spans)
            .map(|scope| scope.spans.len())
            .sum()
    }

    /// All spans as an indented tree like [`Sink::tree`](super::Sink::tree), the name of its
    /// service in front of each.
    #[must_use]
    pub fn tree(&self, attributes: &[&str]) -> String {
        let mut nodes = Vec::new();
        for received in self.received() {
            for resource in received.request.resource_spans {
                let service = service_name(resource.resource.as_ref());
                for span in resource
                    .scope_spans
                    .into_iter()
                    .flat_map(|scope| scope.spans)
                {
                    nodes.push(node(&service, span, attributes));
                }
            }
        }
        draw(nodes.into_iter())
    }
}

impl Drop for FakeCollector {
    fn drop(&mut self) {
        // An ordinary drop would block, which a test's own runtime forbids.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn listen() -> io::Result<TcpListener> {
    let listener = StdTcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

fn service_name(resource: Option<&Resource>) -> String {
    let name = resource.and_then(|resource| text(&resource.attributes, "service.name"));
    name.unwrap_or_default()
}

#[tonic::async_trait]
impl TraceService for Requests<ExportTraceServiceRequest> {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        let (metadata, _, request) = request.into_parts();
        self.keep(metadata.into_headers(), request);
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Requests<ExportMetricsServiceRequest> {
    async fn export(
        &self,
        request: tonic::Request<ExportMetricsServiceRequest>,
    ) -> Result<tonic::Response<ExportMetricsServiceResponse>, tonic::Status> {
        let (metadata, _, request) = request.into_parts();
        self.keep(metadata.into_headers(), request);
        Ok(tonic::Response::new(ExportMetricsServiceResponse::default()))
    }
}

/// What a request over HTTP has in it, in either encoding.
trait Signal: Message + Default + Clone + DeserializeOwned + 'static {}

impl Signal for ExportTraceServiceRequest {}
impl Signal for ExportMetricsServiceRequest {}

fn route<R: Signal>(path: &str, requests: Requests<R>) -> axum::Router {
    axum::Router::new()
        .route(path, axum::routing::post(over_http::<R>))
        .with_state(requests)
}

async fn over_http<R: Signal>(
    State(requests): State<Requests<R>>,
    headers: HeaderMap,
    body: axum::body::Bytes,
) -> Result<(), StatusCode> {
    let is = |name, value| headers.get(name).is_some_and(|found| found == value);
    let mut inflated = Vec::new();
    let body = if is(header::CONTENT_ENCODING, "gzip") {
        let mut gzip = flate2::read::GzDecoder::new(&body[..]).take(REQUEST_BYTES_MAX);
        io::copy(&mut gzip, &mut inflated).map_err(|_| StatusCode::BAD_REQUEST)?;
        &inflated[..]
    } else {
        &body[..]
    };
    let request = if is(header::CONTENT_TYPE, "application/json") {
        serde_json::from_slice(body).map_err(|_| StatusCode::BAD_REQUEST)?
    } else {
        R::decode(body).map_err(|_| StatusCode::BAD_REQUEST)?
    };
    requests.keep(headers, request);
    Ok(())
}

fn node(service: &str, span: Span, attributes: &[&str]) -> Node {
    let kind = match span.kind() {
        SpanKind::Unspecified => "UNSPECIFIED",
        SpanKind::Internal => "INTERNAL",
        SpanKind::Server => "SERVER",
        SpanKind::Client => "CLIENT",
        SpanKind::Producer => "PRODUCER",
        SpanKind::Consumer => "CONSUMER",
    };
    let value = |name: &&str| Some(format!(" {name}={}", text(&span.attributes, name)?));
    let attributes: String = attributes.iter().filter_map(value).collect();
    let status = match &span.status {
        Some(status) if status.code() == Code::Error => Node::error(&status.message),
        Some(status) if status.code() == Code::Ok => " OK".to_owned(),
        _ => String::new(),
    };
    Node {
        id: span.span_id,
        parent: span.parent_span_id,
        start: UNIX_EPOCH + Duration::from_nanos(span.start_time_unix_nano),
        line: format!("{service} {kind} {}{attributes}{status}", span.name),
    }
}
