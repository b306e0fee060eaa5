//! A unary gRPC client for opaque messages over one HTTP/2 connection.
//!
//! Each worker has a connection of its own, made when it is first needed, and again when it broke.
//! The worker's calls share it; HTTP/2 carries them side by side.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::buf::Chain;
use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use crate::grpc::{self, Code, Status};
use crate::workers;

/// HTTP/2 frames and windows; see [`serve`](crate::serve) for why they are larger than the default.
const FRAME_BYTES_MAX: u32 = 1 << 20;

/// A peer's answer beyond this is an error (OTLP specification, "Response size limits").
const RESPONSE_BYTES_MAX: usize = 4 << 20;

/// The client of one destination.
pub struct GrpcClient {
    authority: String,
    uri: Uri,
    headers: HeaderMap,
    timeout: Duration,
    /// One for each worker, and the first for all other threads.
    slots: Box<[Slot]>,
}

#[derive(Default)]
struct Slot {
    connection: Mutex<Option<SendRequest<Message>>>,
    connecting: tokio::sync::Mutex<()>,
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, Option<SendRequest<Message>>> {
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn open_connection(&self) -> Option<SendRequest<Message>> {
        self.lock()
            .as_ref()
            .filter(|connection| !connection.is_closed())
            .cloned()
    }
}

impl GrpcClient {
    /// A client that calls `path` at `authority` (`host:port`), sends these headers with each call
    /// and gives each `timeout`; for this many workers.
    pub fn new(
        authority: String,
        path: &str,
        headers: HeaderMap,
        timeout: Duration,
        n_workers: usize,
    ) -> Self {
        let uri = Uri::builder()
            .scheme("http")
            .authority(authority.as_str())
            .path_and_query(path)
            .build()
            .expect("the configuration checked the authority, and the path is ours");
        Self {
            authority,
            uri,
            headers,
            timeout,
            slots: (0..=n_workers).map(|_| Slot::default()).collect(),
        }
    }

    /// Calls the method with this message, and returns the response's message.
    ///
    /// # Errors
    /// The status that the peer answered, or the one that gRPC gives to a broken connection
    /// (`UNAVAILABLE`) and to a timeout (`DEADLINE_EXCEEDED`).
    pub async fn call(&self, message: Bytes) -> Result<Bytes, Status> {
        let call = async {
            let (response, was_reused) = self.send(message.clone()).await?;
            match response {
                Ok(response) => read_response(response).await,
                // The peer closed an idle connection while we wrote: a new one, and once more.
                Err(_) if was_reused => {
                    let (response, _) = self.send(message).await?;
                    read_response(response.map_err(|error| self.broken(&error))?).await
                }
                Err(error) => Err(self.broken(&error)),
            }
        };
        tokio::time::timeout(self.timeout, call)
            .await
            .unwrap_or_else(|_| {
                let message = format!(
                    "{} did not answer within {:?}",
                    self.authority, self.timeout
                );
                Err(Status::new(Code::DeadlineExceeded, message))
            })
    }

    async fn send(
        &self,
        message: Bytes,
    ) -> Result<(hyper::Result<Response<Incoming>>, bool), Status> {
        let (mut connection, was_reused) = self.connection().await?;
        let response = connection.send_request(self.request(message)).await;
        if response.is_err() {
            self.slot()
                .lock()
                .take_if(|connection| connection.is_closed());
        }
        Ok((response, was_reused))
    }

    fn request(&self, message: Bytes) -> Request<Message> {
        let mut request = Request::new(Message::new(message));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        let headers = request.headers_mut();
        headers.clone_from(&self.headers);
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/grpc"),
        );
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        request
    }

    /// The open connection, or a new one; and whether it was open before.
    async fn connection(&self) -> Result<(SendRequest<Message>, bool), Status> {
        let slot = self.slot();
        if let Some(open) = slot.open_connection() {
            return Ok((open, true));
        }
        // One call connects; the others wait for it rather than connect as well.
        let _connecting = slot.connecting.lock().await;
        if let Some(open) = slot.open_connection() {
            return Ok((open, false));
        }
        let connection = self.connect().await?;
        *slot.lock() = Some(connection.clone());
        Ok((connection, false))
    }

    fn slot(&self) -> &Slot {
        &self.slots[workers::current() % self.slots.len()]
    }

    async fn connect(&self) -> Result<SendRequest<Message>, Status> {
        let unreachable = |what: &str, error: &dyn std::fmt::Display| {
            Status::new(
                Code::Unavailable,
                format!("cannot {what} {}: {error}", self.authority),
            )
        };
        let stream = TcpStream::connect(&self.authority)
            .await
            .map_err(|error| unreachable("connect to", &error))?;
        let _ = stream.set_nodelay(true);
        let (connection, driver) = http2::Builder::new(TokioExecutor::new())
            .max_frame_size(FRAME_BYTES_MAX)
            // What a call may have queued here; the message itself is not copied into it.
            .max_send_buf_size(FRAME_BYTES_MAX as usize)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| unreachable("speak HTTP/2 with", &error))?;
        let authority = self.authority.clone();
        tokio::spawn(async move {
            if let Err(error) = driver.await {
                tracing::debug!(peer = authority, "the connection broke: {error}");
            }
        });
        Ok(connection)
    }

    fn broken(&self, error: &hyper::Error) -> Status {
        let message = format!("the connection to {} broke: {error}", self.authority);
        Status::new(Code::Unavailable, message)
    }
}

/// The peer's message, or its status.
async fn read_response(response: Response<Incoming>) -> Result<Bytes, Status> {
    let (head, mut body) = response.into_parts();
    if let Some(status) = Status::from_headers(&head.headers)
        && status.code != Code::Ok
    {
        return Err(status);
    }
    if !head.status.is_success() {
        let message = format!("the peer answered HTTP {}", head.status);
        return Err(Status::new(Code::from_http(head.status), message));
    }
    let mut received = BytesMut::new();
    let mut status = None;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            Status::new(Code::Unavailable, format!("the answer broke off: {error}"))
        })?;
        match frame.into_data() {
            Ok(data) if received.len() + data.len() > RESPONSE_BYTES_MAX => {
                let message = format!("the answer is larger than {RESPONSE_BYTES_MAX} bytes");
                return Err(Status::new(Code::Internal, message));
            }
            Ok(data) => received.extend_from_slice(&data),
            Err(frame) => status = frame.trailers_ref().and_then(Status::from_headers),
        }
    }
    match status.or_else(|| Status::from_headers(&head.headers)) {
        Some(status) if status.code == Code::Ok => {}
        Some(status) => return Err(status),
        None => return Err(Status::new(Code::Unknown, "the answer has no grpc-status")),
    }
    if received.is_empty() {
        return Ok(Bytes::new());
    }
    if received.len() < grpc::PREFIX_BYTES || received[0] != 0 {
        return Err(Status::new(
            Code::Internal,
            "the answer is not an uncompressed gRPC message",
        ));
    }
    received.advance(grpc::PREFIX_BYTES);
    Ok(received.freeze())
}

/// A request body: prefix and message in one piece, so that they may leave in one frame.
struct Message(Option<Chain<Bytes, Bytes>>);

impl Message {
    fn new(message: Bytes) -> Self {
        // Longer ones do not pass the receivers' limits, which are 32 bit numbers.
        let n_bytes = u32::try_from(message.len()).unwrap_or(u32::MAX);
        let prefix = Bytes::copy_from_slice(&grpc::message_prefix(n_bytes));
        Self(Some(prefix.chain(message)))
    }
}

impl Body for Message {
    type Data = Chain<Bytes, Bytes>;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Infallible>>> {
        Poll::Ready(self.0.take().map(|data| Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.as_ref().map_or(0, |data| data.remaining() as u64))
    }
}
