//! Listeners: accept connections, serve HTTP on them, stop gracefully.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::workers::Workers;

/// Connections that one listener serves at once; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 10_000;

/// The largest HTTP/2 frame that we offer to take. With the default of 16 KiB a request of 300 KiB
/// is twenty frames, twenty reads and a copy to join them; in one frame it is none of that.
const FRAME_BYTES_MAX: u32 = 1 << 20;

/// How much of one request may be on its way before we said that we read it. Handlers read at once
/// or refuse, so a window bounds what is in the air and not what is held.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;

/// The same for one connection.
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;

/// Requests that one HTTP/2 connection may have open.
const STREAMS_MAX: u32 = 1024;

/// How long an HTTP/1.1 sender may take for a request's headers.
const HEADERS_MAX: Duration = Duration::from_secs(30);

/// An idle HTTP/2 peer is asked whether it still lives, so that dead ones do not use up
/// [`CONNECTIONS_MAX`].
const PING_INTERVAL: Duration = Duration::from_secs(60);

/// A bound port.
pub struct Listener {
    listener: TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Binds `host:port`; port 0 takes any free one.
    ///
    /// # Errors
    /// What the system said.
    pub async fn bind(endpoint: &str) -> io::Result<Self> {
        let listener = TcpListener::bind(endpoint).await?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves every connection with `answer` until `stop`, then lets requests finish. Connections
    /// are served on the workers where there are some, else on the runtime that this runs on.
    pub async fn serve<A, F, B>(
        self,
        workers: Option<Arc<Workers>>,
        answer: A,
        stop: CancellationToken,
    ) where
        A: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Result<Response<B>, Infallible>> + Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let graceful = GracefulShutdown::new();
        loop {
            let accepted = async {
                let permit = Arc::clone(&room).acquire_owned().await;
                let (stream, _) = self.listener.accept().await?;
                // Bound to this runtime's poller so far; the connection goes to its own.
                Ok::<_, io::Error>((stream.into_std()?, permit))
            };
            let accepted = tokio::select! {
                accepted = accepted => accepted,
                () = stop.cancelled() => break,
            };
            match accepted {
                Ok((stream, permit)) => {
                    let answer = answer.clone();
                    let watcher = graceful.watcher();
                    let serving = async move {
                        match TcpStream::from_std(stream) {
                            Ok(stream) => connection(stream, answer, watcher).await,
                            Err(error) => tracing::warn!("cannot serve a connection: {error}"),
                        }
                        drop(permit);
                    };
                    match &workers {
                        Some(workers) => workers.spawn_connection(serving),
                        None => drop(tokio::spawn(serving)),
                    }
                }
                Err(error) => {
                    // Most often too many open files: give connections time to end.
                    tracing::warn!(address = %self.address, "cannot accept: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
        drop(self.listener);
        graceful.shutdown().await;
    }
}

async fn connection<A, F, B>(stream: TcpStream, answer: A, watcher: Watcher)
where
    A: Fn(Request<Incoming>) -> F + Send + 'static,
    F: Future<Output = Result<Response<B>, Infallible>> + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let _ = stream.set_nodelay(true);
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .max_frame_size(FRAME_BYTES_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(STREAMS_MAX)
        .auto_date_header(false);
    let connection = builder
        .serve_connection(TokioIo::new(stream), service_fn(answer))
        .into_owned();
    if let Err(error) = watcher.watch(connection).await {
        // A peer that hangs up or speaks something else is its own affair.
        tracing::debug!("a connection ended: {error}");
    }
}
