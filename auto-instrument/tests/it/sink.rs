//! An OTLP/HTTP collector of a few lines: takes requests, keeps spans, and lets a test wait.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use spanloom_wire::otlp::{self, SpanKind, StatusCode, TracesView, Value};

/// How long a test waits for spans before it fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// A span, as far as tests look at it.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(crate) service: String,
    pub(crate) trace_id: String,
    pub(crate) id: String,
    pub(crate) parent: Option<String>,
    pub(crate) name: String,
    pub(crate) kind: SpanKind,
    pub(crate) is_error: bool,
    pub(crate) state: String,
    pub(crate) attributes: BTreeMap<String, String>,
}

#[derive(Default)]
struct Kept {
    spans: Mutex<Vec<Span>>,
    arrived: Condvar,
}

#[derive(Clone)]
pub(crate) struct Sink {
    address: SocketAddr,
    kept: Arc<Kept>,
}

impl Sink {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let kept = Arc::new(Kept::default());
        let shared = Arc::clone(&kept);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let kept = Arc::clone(&shared);
                std::thread::spawn(move || serve(stream.unwrap(), &kept));
            }
        });
        Self { address, kept }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Waits until the spans that arrived satisfy `wanted`, and returns them.
    pub(crate) fn wait(&self, wanted: impl Fn(&[Span]) -> bool) -> Vec<Span> {
        let deadline = Instant::now() + PATIENCE;
        let mut spans = self.kept.spans.lock().unwrap();
        while !wanted(&spans) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "these spans arrived, but not those that were waited for: {spans:#?}"
            );
            spans = self.kept.arrived.wait_timeout(spans, left).unwrap().0;
        }
        spans.clone()
    }

    /// Waits for spans by their names.
    pub(crate) fn wait_for_all(&self, names: &[&str]) -> Vec<Span> {
        self.wait(|spans| {
            names
                .iter()
                .all(|name| spans.iter().any(|span| span.name == *name))
        })
    }

    /// What has arrived so far.
    pub(crate) fn spans(&self) -> Vec<Span> {
        self.kept.spans.lock().unwrap().clone()
    }
}

fn serve(stream: TcpStream, kept: &Kept) {
    let mut stream = BufReader::new(stream);
    loop {
        let mut length = 0;
        let mut line = String::new();
        loop {
            line.clear();
            if stream.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if line.trim().is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).unwrap();
        otlp::validate(&body).expect("the hook writes OTLP");
        kept.spans.lock().unwrap().extend(read(&body));
        kept.arrived.notify_all();
        stream
            .get_mut()
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            .unwrap();
    }
}

fn read(body: &[u8]) -> Vec<Span> {
    let spans = TracesView::new(body).spans().map(|one| {
        let span = one.span;
        Span {
            service: one.resource.service_name().unwrap_or_default().to_owned(),
            trace_id: span.trace_id.unwrap().to_string(),
            id: span.span_id.unwrap().to_string(),
            parent: span.parent_span_id.map(|id| id.to_string()),
            name: span.name.to_owned(),
            kind: span.kind,
            is_error: span.status_code == StatusCode::Error,
            state: span.trace_state.to_owned(),
            attributes: span
                .attributes()
                .map(|pair| (pair.key.to_owned(), text(&pair.value)))
                .collect(),
        }
    });
    spans.collect()
}

fn text(value: &Value) -> String {
    match value {
        Value::Str(text) => (*text).to_owned(),
        Value::Int(number) => number.to_string(),
        other => format!("{other:?}"),
    }
}
