//! The baselines, the sink behind everyone, and the client that they share.

use std::convert::Infallible;
use std::io::Write;
use std::net::SocketAddr;

use anyhow::Result;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use http_body::Body;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use tokio::net::{TcpListener, TcpStream};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Channel, Server};
use tonic::{Status, async_trait};

pub(crate) const EXPORT_PATH: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// Everyone here offers and uses large frames, so that no baseline loses by its settings.
const FRAME_BYTES_MAX: u32 = 1 << 20;
const WINDOW_BYTES: u32 = 8 << 20;

/// Connects over HTTP/2.
pub(crate) async fn connect<B>(address: &str) -> Result<SendRequest<B>>
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (connection, driver) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .max_frame_size(FRAME_BYTES_MAX)
        .max_send_buf_size(FRAME_BYTES_MAX as usize)
        .handshake(TokioIo::new(stream))
        .await?;
    tokio::spawn(driver);
    Ok(connection)
}

/// Serves every connection with `answer`, for ever.
async fn serve<A, F, B>(listener: TcpListener, answer: A) -> Result<()>
where
    A: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Result<Response<B>, Infallible>> + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .max_frame_size(FRAME_BYTES_MAX)
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(2 * WINDOW_BYTES)
            .auto_date_header(false)
            .serve_connection(TokioIo::new(stream), service_fn(answer.clone()));
        tokio::spawn(connection);
    }
}

/// Starts a destination in this process that takes everything and keeps nothing.
pub(crate) async fn sink() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(serve(listener, |request: Request<Incoming>| async move {
        let mut body = request.into_body();
        while let Some(Ok(_)) = body.frame().await {}
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        let body = Full::new(Bytes::from_static(&[0; 5]));
        let body: BoxBody<Bytes, Infallible> = body
            .with_trailers(async move { Some(Ok(trailers)) })
            .boxed();
        let mut response = Response::new(body);
        let content_type = HeaderValue::from_static("application/grpc");
        response.headers_mut().insert("content-type", content_type);
        Ok(response)
    }));
    Ok(address)
}

/// The floor: frames pass from one connection to the other as they come. It does not know what a
/// message is, checks nothing, bounds nothing and books nothing.
pub(crate) async fn raw(to: &str) -> Result<()> {
    let upstream: SendRequest<Incoming> = connect(to).await?;
    let uri: http::Uri = format!("http://{to}{EXPORT_PATH}").parse()?;
    let listener = listen().await?;
    serve(listener, move |request: Request<Incoming>| {
        let mut upstream = upstream.clone();
        let (head, body) = request.into_parts();
        let mut request = Request::new(body);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri.clone();
        *request.headers_mut() = head.headers;
        async move {
            Ok(upstream
                .send_request(request)
                .await
                .expect("the sink answers"))
        }
    })
    .await
}

/// What a collector of generated code does: a tree of structs in, the same tree out.
pub(crate) async fn prost(to: &str) -> Result<()> {
    let upstream = Channel::from_shared(format!("http://{to}"))?
        .connect()
        .await?;
    let client = TraceServiceClient::new(upstream).max_decoding_message_size(64 << 20);
    let service = TraceServiceServer::new(ProstRelay(client)).max_decoding_message_size(64 << 20);
    let listener = listen().await?;
    Server::builder()
        .max_frame_size(FRAME_BYTES_MAX)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(2 * WINDOW_BYTES)
        .tcp_nodelay(true)
        .add_service(service)
        .serve_with_incoming(TcpListenerStream::new(listener))
        .await?;
    Ok(())
}

struct ProstRelay(TraceServiceClient<Channel>);

#[async_trait]
impl TraceService for ProstRelay {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, Status> {
        self.0.clone().export(request.into_inner()).await
    }
}

/// Listens on a free port and prints it, for the process that started this one.
async fn listen() -> Result<TcpListener> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    writeln!(std::io::stdout(), "{}", listener.local_addr()?)?;
    Ok(listener)
}
