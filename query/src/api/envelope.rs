//! The object that every answer of the Jaeger API is wrapped in.

use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures::Stream;
use spanloom_storage::Trace;
use spanloom_wire::TraceId;

use super::trace_json::{trace_id, write_trace};
use crate::json::JsonWriter;

/// A trace that a multi-get asked for in vain: an entry of `errors` in an answer of status 200.
#[derive(Debug)]
pub(super) struct TraceNotFound(pub(super) TraceId);

/// An answer whose data are the items of a list; `total` counts them.
pub(super) fn list<T>(
    pretty: bool,
    items: impl ExactSizeIterator<Item = T>,
    mut write: impl FnMut(&mut JsonWriter, T),
) -> Response {
    let mut json = JsonWriter::new(pretty);
    let n_items = items.len();
    begin(&mut json);
    for item in items {
        write(&mut json, item);
    }
    end(&mut json, n_items, &[]);
    response(Body::from(json.take()))
}

/// An answer whose data are traces, written trace by trace while the client reads: what is in
/// memory at once is the JSON of one trace. As in Jaeger, `total` stays 0.
pub(super) fn traces(
    pretty: bool,
    raw: bool,
    traces: Vec<Trace>,
    not_found: Vec<TraceNotFound>,
) -> Response {
    let mut json = JsonWriter::new(pretty);
    begin(&mut json);
    let writing = Writing {
        json,
        traces: traces.into_iter(),
        raw,
        not_found,
    };
    response(Body::from_stream(chunks(writing)))
}

/// The envelope of an error, with the newline of Go's `http.Error`.
pub(super) fn error(status: StatusCode, message: &str) -> String {
    let mut json = JsonWriter::new(false);
    json.begin_object();
    json.key("data");
    json.null();
    counts(&mut json, 0);
    json.key("errors");
    json.begin_array();
    json.begin_object();
    json.key("code");
    json.unsigned(status.as_u16().into());
    json.key("msg");
    json.string(message);
    json.end_object();
    json.end_array();
    json.end_object();
    let mut text = String::from_utf8(json.take()).expect("JSON of text is text");
    text.push('\n');
    text
}

struct Writing {
    json: JsonWriter,
    traces: std::vec::IntoIter<Trace>,
    raw: bool,
    not_found: Vec<TraceNotFound>,
}

fn chunks(writing: Writing) -> impl Stream<Item = Result<Bytes, tokio::task::JoinError>> {
    futures::stream::unfold(Some(writing), async |writing| {
        // A big trace takes a good part of a second, which no other request should wait for.
        let step = tokio::task::spawn_blocking(|| chunk(writing?)).await;
        match step {
            Ok(None) => None,
            Ok(Some((bytes, writing))) => Some((Ok(bytes), writing)),
            // Ends the connection in the middle, so that the client cannot take it for the whole.
            Err(panicked) => Some((Err(panicked), None)),
        }
    })
}

/// The next part of the document, and what is left to write after it.
fn chunk(mut writing: Writing) -> Option<(Bytes, Option<Writing>)> {
    /// Small traces are joined to chunks of about this size.
    const CHUNK_BYTES: usize = 64 * 1024;

    while writing.json.len() < CHUNK_BYTES {
        let Some(trace) = writing.traces.next() else {
            end(&mut writing.json, 0, &writing.not_found);
            return Some((writing.json.take().into(), None));
        };
        write_trace(&mut writing.json, &trace, writing.raw);
    }
    Some((writing.json.take().into(), Some(writing)))
}

fn begin(json: &mut JsonWriter) {
    json.begin_object();
    json.key("data");
    json.begin_array();
}

fn end(json: &mut JsonWriter, total: usize, not_found: &[TraceNotFound]) {
    json.end_array();
    counts(json, total);
    json.key("errors");
    if not_found.is_empty() {
        json.null();
    } else {
        json.begin_array();
        for TraceNotFound(id) in not_found {
            json.begin_object();
            json.key("msg");
            json.string("trace not found");
            json.key("traceID");
            trace_id(json, *id);
            json.end_object();
        }
        json.end_array();
    }
    json.end_object();
}

fn counts(json: &mut JsonWriter, total: usize) {
    for (key, count) in [("total", total), ("limit", 0), ("offset", 0)] {
        json.key(key);
        json.unsigned(count as u64);
    }
}

fn response(body: Body) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, body).into_response()
}
