//! An OTLP receiver, gRPC and HTTP on one port, that counts spans, keeps what it is asked to keep,
//! and behaves as badly as a test wants.

use std::convert::Infallible;
use std::io::Read;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use spanloom_wire::otlp::{TracesView, validate};

/// No exporter here sends more at once.
const REQUEST_BYTES_MAX: usize = 16 << 20;

/// How a sink answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// Takes everything.
    Accept,
    /// Says that it is overloaded: UNAVAILABLE, or 503.
    Unavailable,
    /// Says that the request is bad: INVALID_ARGUMENT, or 400.
    Refuse,
    /// Takes everything and answers with bytes that are no answer.
    Garbage,
    /// Never answers.
    Silent,
}

/// A running sink; it ends with the process.
pub struct Sink {
    address: SocketAddr,
    state: Arc<State>,
}

struct State {
    mood: Mutex<Mood>,
    n_spans: AtomicU64,
    n_invalid: AtomicU64,
    n_gzip: AtomicU64,
    keeps: AtomicBool,
    kept: Mutex<Vec<Bytes>>,
}

impl Sink {
    /// Listens on a free loopback port, on a thread of its own.
    ///
    /// # Errors
    /// There is no port or no thread.
    pub fn start() -> Result<Self> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let state = Arc::new(State {
            mood: Mutex::new(Mood::Accept),
            n_spans: AtomicU64::new(0),
            n_invalid: AtomicU64::new(0),
            n_gzip: AtomicU64::new(0),
            keeps: AtomicBool::new(false),
            kept: Mutex::new(Vec::new()),
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let served = Arc::clone(&state);
        std::thread::Builder::new()
            .name("sink".to_owned())
            .spawn(move || runtime.block_on(serve(listener, served)))?;
        Ok(Self { address, state })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes how it answers from the next request on.
    pub fn set_mood(&self, mood: Mood) {
        *locked(&self.state.mood) = mood;
    }

    /// How many spans were taken: only those in a request that was answered well.
    pub fn n_spans(&self) -> u64 {
        self.state.n_spans.load(Ordering::Relaxed)
    }

    /// How many requests were no valid `ExportTraceServiceRequest`.
    pub fn n_invalid(&self) -> u64 {
        self.state.n_invalid.load(Ordering::Relaxed)
    }

    /// How many requests came compressed.
    pub fn n_gzip(&self) -> u64 {
        self.state.n_gzip.load(Ordering::Relaxed)
    }

    /// Keeps every request from now on, for [`requests`](Self::requests).
    pub fn keep_requests(&self) {
        self.state.keeps.store(true, Ordering::Relaxed);
    }

    /// The kept `ExportTraceServiceRequest`s.
    pub fn requests(&self) -> Vec<Bytes> {
        locked(&self.state.kept).clone()
    }
}

async fn serve(listener: std::net::TcpListener, state: Arc<State>) {
    let listener = tokio::net::TcpListener::from_std(listener).expect("the runtime has I/O");
    while let Ok((stream, _)) = listener.accept().await {
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            let service =
                hyper::service::service_fn(move |request| take(request, Arc::clone(&state)));
            // A connection that an Envoy breaks off at the end is no news.
            let _ = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

type Frames = futures::stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, Infallible>>>;
type Answer = Response<StreamBody<Frames>>;

async fn take(request: Request<Incoming>, state: Arc<State>) -> Result<Answer, Infallible> {
    let is_grpc = request.uri().path().ends_with("/Export");
    let encodings = ["content-encoding", "grpc-encoding"];
    let is_gzip = encodings.iter().any(|name| {
        request
            .headers()
            .get(*name)
            .is_some_and(|value| value == "gzip")
    });
    let body = Limited::new(request.into_body(), REQUEST_BYTES_MAX)
        .collect()
        .await;
    let mut mood = *locked(&state.mood);
    let body = body
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default();
    // Five bytes of framing stand before the one message of a gRPC call.
    let is_framed = is_grpc && body.len() >= 5;
    // Each message of a gRPC call says by itself whether it is compressed.
    let is_gzip = is_gzip && (!is_framed || body[0] == 1);
    let message = if is_framed { body.slice(5..) } else { body };
    if is_gzip {
        state.n_gzip.fetch_add(1, Ordering::Relaxed);
    }
    let message = if is_gzip { inflate(&message) } else { message };
    if validate(&message).is_err() {
        state.n_invalid.fetch_add(1, Ordering::Relaxed);
        mood = Mood::Refuse;
    }
    match mood {
        Mood::Accept | Mood::Garbage => {
            let spans = TracesView::new(&message).spans().count();
            if state.keeps.load(Ordering::Relaxed) {
                locked(&state.kept).push(message);
            }
            state.n_spans.fetch_add(spans as u64, Ordering::Relaxed);
        }
        Mood::Silent => std::future::pending().await,
        Mood::Unavailable | Mood::Refuse => {}
    }
    Ok(if is_grpc {
        grpc_answer(mood)
    } else {
        http_answer(mood)
    })
}

/// What is no gzip, or too long, becomes a message that is not valid.
fn inflate(gzip: &[u8]) -> Bytes {
    let mut message = Vec::new();
    let decoder = flate2::read::GzDecoder::new(gzip);
    let mut decoder = decoder.take(REQUEST_BYTES_MAX as u64);
    let read = std::io::copy(&mut decoder, &mut message);
    match read {
        Ok(_) => message.into(),
        Err(_) => Bytes::from_static(&[0xff]),
    }
}

fn grpc_answer(mood: Mood) -> Answer {
    let (body, status): (&'static [u8], _) = match mood {
        Mood::Accept | Mood::Silent => (&[0; 5], "0"),
        Mood::Garbage => (&[0, 0, 0, 0, 3, 0xff, 0xff, 0xff], "0"),
        Mood::Unavailable => (&[], "14"),
        Mood::Refuse => (&[], "3"),
    };
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static(status));
    answer(
        StatusCode::OK,
        "application/grpc",
        vec![
            Ok(Frame::data(Bytes::from_static(body))),
            Ok(Frame::trailers(trailers)),
        ],
    )
}

fn http_answer(mood: Mood) -> Answer {
    let (status, body): (_, &'static [u8]) = match mood {
        Mood::Accept | Mood::Silent => (StatusCode::OK, &[]),
        Mood::Garbage => (StatusCode::OK, &[0xff, 0xff, 0xff]),
        Mood::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, &[]),
        Mood::Refuse => (StatusCode::BAD_REQUEST, &[]),
    };
    answer(
        status,
        "application/x-protobuf",
        vec![Ok(Frame::data(Bytes::from_static(body)))],
    )
}

fn answer(
    status: StatusCode,
    content_type: &'static str,
    frames: Vec<Result<Frame<Bytes>, Infallible>>,
) -> Answer {
    let mut response = Response::new(StreamBody::new(futures::stream::iter(frames)));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert("content-type", HeaderValue::from_static(content_type));
    response
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
