//! A collector process, requests for it, and destinations behind it.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use spanloom_collector::grpc::{self, Code, Status};
use spanloom_collector::serve::Listener;
use spanloom_wire::otlp::{SpanKind, TracesWriter};
use spanloom_wire::{SpanId, Timestamp, TraceId};
use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::{CancellationToken, DropGuard};

/// How long a state may take to come about before the test fails. Not a delay: nothing waits it out
/// when all is well.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A running `spanloom`, killed when dropped.
pub(crate) struct Collector {
    child: Child,
    lines: Receiver<String>,
    addresses: HashMap<String, String>,
}

impl Collector {
    /// With no configuration, every port free, and its store in `directory`.
    pub(crate) fn backend(directory: &Path) -> Self {
        let data = directory.join("data");
        Self::spawn(
            directory,
            &[
                "--data-dir",
                data.to_str().unwrap(),
                "--otlp-grpc-port=0",
                "--otlp-http-port=0",
                "--query-port=0",
                "--health-port=0",
                "--request-memory-mib=80",
            ],
        )
    }

    /// With this configuration.
    pub(crate) fn configured(directory: &Path, yaml: &str, more: &[&str]) -> Self {
        let config = directory.join("config.yaml");
        std::fs::write(&config, yaml).unwrap();
        let mut args = vec!["--config", config.to_str().unwrap()];
        args.extend(more);
        Self::spawn(directory, &args)
    }

    fn spawn(directory: &Path, args: &[&str]) -> Self {
        let addresses_file = directory.join("addresses.json");
        let mut child = Command::new(env!("CARGO_BIN_EXE_spanloom"))
            .args(args)
            .arg("--addresses-file")
            .arg(&addresses_file)
            .current_dir(directory)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = sync_channel(10_000);
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let _ = sender.try_send(line);
            }
        });
        let mut collector = Self {
            child,
            lines,
            addresses: HashMap::new(),
        };
        collector.wait_for_line("is running");
        let addresses = std::fs::read(&addresses_file).unwrap();
        collector.addresses = serde_json::from_slice(&addresses).unwrap();
        collector
    }

    /// Waits for a line of the log that contains this text, and returns it.
    pub(crate) fn wait_for_line(&self, text: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|_| panic!("no line with {text:?}"));
            if line.contains(text) {
                return line;
            }
        }
    }

    pub(crate) fn address(&self, name: &str) -> &str {
        &self.addresses[name]
    }

    pub(crate) fn url(&self, name: &str, path: &str) -> String {
        format!("http://{}{path}", self.address(name))
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args([name, &pid])
                .status()
                .unwrap()
                .success()
        );
    }

    /// Waits for the end, on a thread of its own.
    pub(crate) async fn wait(mut self) -> (ExitStatus, Vec<String>) {
        tokio::task::spawn_blocking(move || {
            let status = self.child.wait().unwrap();
            (status, self.lines.iter().collect())
        })
        .await
        .unwrap()
    }

    /// Kills without a chance to finish anything.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A valid request with one span of the service `cart`; `id` makes trace and span unique.
pub(crate) fn request(id: u8) -> Bytes {
    let mut request = Vec::new();
    TracesWriter::new(&mut request).resource_spans(|group| {
        group.resource(|resource| resource.attribute("service.name", "cart"));
        group.scope_spans(|group| {
            group.span(|span| {
                span.trace_id(TraceId::from_bytes([id; 16]).unwrap());
                span.span_id(SpanId::from_bytes([id; 8]).unwrap());
                span.name("GET /cart");
                span.kind(SpanKind::Server);
                span.start(Timestamp::from_nanos(1_700_000_000_000_000_000));
                span.end(Timestamp::from_nanos(1_700_000_000_001_000_000));
            });
        });
    });
    request.into()
}

/// The trace id of [`request`], as Jaeger's API writes it.
pub(crate) fn trace_id(id: u8) -> String {
    TraceId::from_bytes([id; 16]).unwrap().to_string()
}

/// A gRPC message as it stands in a body.
pub(crate) fn framed(flags: u8, message: &[u8]) -> Vec<u8> {
    let mut body = vec![flags];
    body.extend_from_slice(&(message.len() as u32).to_be_bytes());
    body.extend_from_slice(message);
    body
}

/// Sends this body to the trace service, and returns the status.
pub(crate) async fn grpc_export(address: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Status {
    let (status, headers) = grpc_call(address, grpc::EXPORT_PATH, headers, body).await;
    assert_eq!(status, StatusCode::OK);
    Status::from_headers(&headers).expect("a grpc-status")
}

/// Sends this body to a path, and returns the HTTP status and all headers and trailers.
pub(crate) async fn grpc_call(
    address: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Vec<u8>,
) -> (StatusCode, HeaderMap) {
    let response = grpc_send(address, path, headers, Full::new(Bytes::from(body)))
        .await
        .unwrap();
    let (head, body) = response.into_parts();
    let mut all = head.headers;
    let collected = body.collect().await.unwrap();
    if let Some(trailers) = collected.trailers() {
        all.extend(trailers.clone());
    }
    (head.status, all)
}

/// Sends this body over a connection of its own.
pub(crate) async fn grpc_send<B>(
    address: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: B,
) -> hyper::Result<Response<Incoming>>
where
    B: Body<Data = Bytes, Error = Infallible> + Send + Unpin + 'static,
{
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let (mut connection, driver) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .handshake(TokioIo::new(stream))
        .await?;
    tokio::spawn(driver);
    let mut request = Request::new(body);
    *request.method_mut() = Method::POST;
    *request.uri_mut() = format!("http://{address}{path}").parse().unwrap();
    let content_type = HeaderValue::from_static("application/grpc");
    request.headers_mut().insert("content-type", content_type);
    for (name, value) in headers {
        let name = HeaderName::try_from(*name).unwrap();
        request
            .headers_mut()
            .insert(name, HeaderValue::try_from(*value).unwrap());
    }
    connection.send_request(request).await
}

/// Sends a valid request over gRPC.
pub(crate) async fn export(address: &str, id: u8) -> Status {
    grpc_export(address, &[], framed(0, &request(id))).await
}

/// The number of spans of a trace that the query API shows.
pub(crate) async fn n_spans(collector: &Collector, id: u8) -> usize {
    let url = collector.url("query", &format!("/api/traces/{}", trace_id(id)));
    let response = reqwest::get(url).await.unwrap();
    if response.status() == StatusCode::NOT_FOUND {
        return 0;
    }
    let body: serde_json::Value = response.json().await.unwrap();
    body["data"][0]["spans"].as_array().map_or(0, Vec::len)
}

/// What a destination answers.
pub(crate) type Answer = Response<BoxBody<Bytes, Infallible>>;

/// A destination that answers by a script, one answer a request, and shows what it got.
pub(crate) struct Destination {
    pub(crate) address: SocketAddr,
    received: mpsc::Receiver<(HeaderMap, Bytes)>,
    script: mpsc::Sender<Answer>,
    _stop: DropGuard,
}

impl Destination {
    pub(crate) async fn start() -> Self {
        Self::serve(Listener::bind("127.0.0.1:0").await.unwrap())
    }

    /// On a port that another one left, which may take a moment to be free.
    pub(crate) async fn start_at(address: SocketAddr) -> Self {
        let binding = async {
            loop {
                match Listener::bind(&address.to_string()).await {
                    Ok(listener) => return listener,
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        };
        Self::serve(
            tokio::time::timeout(PATIENCE, binding)
                .await
                .expect("the port"),
        )
    }

    fn serve(listener: Listener) -> Self {
        let address = listener.address();
        let (received_sender, received) = mpsc::channel(100);
        let (script, script_receiver) = mpsc::channel(100);
        let script_receiver = Arc::new(Mutex::new(script_receiver));
        let stop = CancellationToken::new();
        let answer = move |request: Request<Incoming>| {
            let received = received_sender.clone();
            let script = Arc::clone(&script_receiver);
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                received.send((head.headers, body)).await.unwrap();
                // No answer in the script: the sender waits until there is one.
                Ok(script.lock().await.recv().await.unwrap())
            }
        };
        tokio::spawn(listener.serve(None, answer, stop.clone()));
        Self {
            address,
            received,
            script,
            _stop: stop.drop_guard(),
        }
    }

    /// The next request, or the one after, is answered so.
    pub(crate) async fn answer(&self, answer: Answer) {
        self.script.send(answer).await.unwrap();
    }

    /// The headers and the body of the next request.
    pub(crate) async fn received(&mut self) -> (HeaderMap, Bytes) {
        tokio::time::timeout(PATIENCE, self.received.recv())
            .await
            .expect("a request")
            .unwrap()
    }

    /// How many requests came that nobody looked at.
    pub(crate) fn n_unseen(&self) -> usize {
        self.received.len()
    }
}

/// A gRPC answer of headers only.
pub(crate) fn status_answer(status: &Status) -> Answer {
    let mut response = Response::new(Full::new(Bytes::new()).boxed());
    *response.headers_mut() = status.to_headers();
    response
}

/// A gRPC answer with a message.
pub(crate) fn message_answer(message: &[u8]) -> Answer {
    let trailers = Status::new(Code::Ok, "").to_headers();
    let body = Full::new(BytesMut::from(&framed(0, message)[..]).freeze());
    Response::new(
        body.with_trailers(async move { Some(Ok(trailers)) })
            .boxed(),
    )
}

/// An HTTP answer.
pub(crate) fn http_answer(status: u16, headers: &[(&'static str, &'static str)]) -> Answer {
    let mut response = Response::new(Full::new(Bytes::new()).boxed());
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    for (name, value) in headers {
        response
            .headers_mut()
            .insert(*name, HeaderValue::from_static(value));
    }
    response
}
