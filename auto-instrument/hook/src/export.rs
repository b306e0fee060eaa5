//! The way out: a bounded queue, one thread that posts batches as OTLP/HTTP over plain TCP, and a
//! flush with a deadline for the end of the process.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::env::{Settings, Target, settings};
use crate::span::Finished;
use crate::{exit, otlp};

/// How long the end of the process waits for the last batch.
const EXIT_FLUSH: Duration = Duration::from_secs(2);
/// Attempts for one batch before it is dropped.
const ATTEMPTS_MAX: u32 = 3;
/// What is read of a response; a collector answers with a few bytes.
const RESPONSE_BYTES_MAX: u64 = 64 * 1024;

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    /// Wakes the exporter: the queue is long enough, or a flush is asked for.
    work: Condvar,
    /// Wakes who waits for a flush.
    done: Condvar,
}

#[derive(Default)]
struct State {
    spans: Vec<Finished>,
    dropped: u64,
    flush_asked: u64,
    flush_done: u64,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a span, or counts it as dropped; true when a batch is waiting.
    fn push(&self, span: Finished, settings: &Settings) -> bool {
        let mut state = self.lock();
        if state.spans.len() >= settings.queue_spans_max {
            state.dropped += 1;
            return false;
        }
        state.spans.push(span);
        state.spans.len() == settings.batch_spans_max
    }
}

static QUEUE: OnceLock<Option<Queue>> = OnceLock::new();

/// The queue with its thread; `None` when the system gives no thread (then spans are dropped).
fn queue() -> Option<&'static Queue> {
    QUEUE
        .get_or_init(|| {
            exit::install();
            std::thread::Builder::new()
                .name("spanloom-export".to_owned())
                .spawn(run)
                .ok()
                .map(|_| Queue::default())
        })
        .as_ref()
}

/// Starts the exporter, and so what flushes at the end of the process, before there is a span.
pub(crate) fn start() {
    let _ = queue();
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place of this crate that reads the clock"
)]
pub(crate) fn now_unix_ns() -> u64 {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX)
}

/// Hands an ended span to the exporter, or drops it when the queue is full.
pub(crate) fn push(span: Finished) {
    if let Some(queue) = queue() {
        if queue.push(span, settings()) {
            queue.work.notify_one();
        }
    }
}

/// Sends what is queued and waits for it, but no longer than the end of a process should.
pub(crate) fn flush() {
    let Some(Some(queue)) = QUEUE.get() else {
        return;
    };
    let deadline = Instant::now() + EXIT_FLUSH;
    let mut state = queue.lock();
    state.flush_asked += 1;
    let ticket = state.flush_asked;
    queue.work.notify_one();
    while state.flush_done < ticket {
        let Some(left) = deadline.checked_duration_since(Instant::now()) else {
            return;
        };
        state = queue
            .done
            .wait_timeout(state, left)
            .unwrap_or_else(PoisonError::into_inner)
            .0;
    }
}

/// The exporter's thread.
fn run() {
    let settings = settings();
    let Some(target) = &settings.target else {
        return;
    };
    let Some(queue) = queue() else { return };
    let mut connection = None;
    let mut reported = 0;
    loop {
        let (spans, flushing, dropped) = wait(queue, settings);
        for batch in spans.chunks(settings.batch_spans_max) {
            let body = otlp::encode(&settings.resource, batch);
            let attempts = if flushing.is_some() { 1 } else { ATTEMPTS_MAX };
            if let Err(error) = deliver(&mut connection, target, settings, &body, attempts, queue) {
                log(
                    settings,
                    &format!(
                        "lost {} spans: {}:{}: {error}",
                        batch.len(),
                        target.host,
                        target.port
                    ),
                );
            }
        }
        if dropped > reported {
            log(
                settings,
                &format!("the queue was full: {} spans dropped", dropped - reported),
            );
            reported = dropped;
        }
        if let Some(ticket) = flushing {
            queue.lock().flush_done = ticket;
            queue.done.notify_all();
        }
    }
}

/// Waits until there is something to do: the interval is over, a batch is full, or a flush waits.
fn wait(queue: &Queue, settings: &Settings) -> (Vec<Finished>, Option<u64>, u64) {
    let mut state = queue.lock();
    let deadline = Instant::now() + settings.interval;
    while state.spans.len() < settings.batch_spans_max && state.flush_asked == state.flush_done {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() && !state.spans.is_empty() {
            break;
        }
        let left = if left.is_zero() {
            settings.interval
        } else {
            left
        };
        let left = left.max(Duration::from_millis(1));
        state = queue
            .work
            .wait_timeout(state, left)
            .unwrap_or_else(PoisonError::into_inner)
            .0;
    }
    let flushing = (state.flush_asked > state.flush_done).then_some(state.flush_asked);
    (std::mem::take(&mut state.spans), flushing, state.dropped)
}

/// Posts a body, with a new connection and a pause after a failure that may pass.
fn deliver(
    connection: &mut Option<BufReader<TcpStream>>,
    target: &Target,
    settings: &Settings,
    body: &[u8],
    attempts: u32,
    queue: &Queue,
) -> io::Result<()> {
    let mut pause = Duration::from_millis(100);
    let mut attempt = 1;
    loop {
        // A kept connection may have been closed by the other side: that costs no attempt.
        let fresh = connection.is_none();
        let outcome = post(connection, target, settings, body);
        let retryable = match &outcome {
            Ok(200..=299) => return Ok(()),
            Ok(status) => matches!(status, 429 | 502 | 503 | 504),
            Err(_) => {
                *connection = None;
                if !fresh {
                    continue;
                }
                true
            }
        };
        if !retryable || attempt >= attempts {
            return outcome.and_then(|status| Err(io::Error::other(format!("status {status}"))));
        }
        attempt += 1;
        // A flush cuts the pause short.
        let state = queue.lock();
        if state.flush_asked == state.flush_done {
            drop(queue.work.wait_timeout(state, pause));
        }
        pause *= 4;
    }
}

fn post(
    connection: &mut Option<BufReader<TcpStream>>,
    target: &Target,
    settings: &Settings,
    body: &[u8],
) -> io::Result<u16> {
    let stream = match connection {
        Some(stream) => stream,
        None => connection.insert(BufReader::new(connect(target, settings.timeout)?)),
    };
    let host = if target.host.contains(':') {
        format!("[{}]", target.host)
    } else {
        target.host.clone()
    };
    let mut head = format!(
        "POST {} HTTP/1.1\r\nhost: {host}:{}\r\ncontent-type: application/x-protobuf\r\n\
         content-length: {}\r\nuser-agent: cargo-spanloom/{}\r\n",
        target.path,
        target.port,
        body.len(),
        crate::env::env_version(),
    );
    for (key, value) in &settings.headers {
        head.push_str(&format!("{key}: {value}\r\n"));
    }
    head.push_str("\r\n");
    let out = stream.get_mut();
    out.write_all(head.as_bytes())?;
    out.write_all(body)?;
    let (status, keep) = read_response(stream)?;
    if !keep {
        *connection = None;
    }
    Ok(status)
}

fn connect(target: &Target, timeout: Duration) -> io::Result<TcpStream> {
    let timeout = timeout.max(Duration::from_millis(1));
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in (target.host.as_str(), target.port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, timeout) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(timeout))?;
                stream.set_write_timeout(Some(timeout))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Status of a response, and whether the connection can be used again: only when the response's
/// end is certain, so a chunked or endless body closes it.
fn read_response(stream: &mut impl BufRead) -> io::Result<(u16, bool)> {
    let mut head = stream.take(RESPONSE_BYTES_MAX);
    let mut line = String::new();
    head.read_line(&mut line)?;
    let status = line
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not an HTTP response"))?;
    let mut length = None;
    let mut keep = line.starts_with("HTTP/1.1");
    loop {
        line.clear();
        if head.read_line(&mut line)? == 0 {
            return Ok((status, false));
        }
        let header = line.trim_end().to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        match header
            .split_once(':')
            .map(|(key, value)| (key, value.trim()))
        {
            Some(("content-length", value)) => length = value.parse::<u64>().ok(),
            Some(("connection", "close")) => keep = false,
            _ => {}
        }
    }
    match length.filter(|length| *length < head.limit()) {
        Some(length) => {
            let read = io::copy(&mut head.by_ref().take(length), &mut io::sink())?;
            Ok((status, keep && read == length))
        }
        None => Ok((status, keep && status == 204)),
    }
}

pub(crate) fn log(settings: &Settings, message: &str) {
    if settings.log {
        // The host's stderr may be closed: that is no reason to panic, as `eprintln!` would.
        let _ = writeln!(io::stderr(), "spanloom: {message}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(text: &str) -> io::Result<(u16, bool)> {
        read_response(&mut text.as_bytes())
    }

    #[test]
    fn a_connection_is_kept_only_when_the_response_has_a_certain_end() {
        let keeps = |text| response(text).ok();
        assert_eq!(
            keeps("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nab"),
            Some((200, true))
        );
        assert_eq!(keeps("HTTP/1.1 204 No\r\n\r\n"), Some((204, true)));
        assert_eq!(
            keeps("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nab"),
            Some((200, false))
        );
        assert_eq!(
            keeps("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"),
            Some((200, false))
        );
        assert_eq!(
            keeps("HTTP/1.1 503 x\r\nConnection: close\r\ncontent-length: 0\r\n\r\n"),
            Some((503, false))
        );
    }

    #[test]
    fn what_is_no_response_is_an_error() {
        assert!(response("").is_err());
        assert!(response("SSH-2.0-OpenSSH\r\n").is_err());
        assert!(response("HTTP/1.1 abc\r\n\r\n").is_err());
    }
}
