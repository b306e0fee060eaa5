//! Spans as parents of others: what the spans of a trace share, how other libraries' spans join, and
//! W3C Trace Context between processes.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use crate::current::{Scope, with_current};
use crate::env::settings;
use crate::hand::Mark;
use crate::sink;

/// A span that others may be children of. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Context {
    pub(crate) trace: Arc<Trace>,
    pub(crate) span_id: u64,
    /// Whether another library in the program made the span.
    is_foreign: bool,
    /// Whether ours for the same call would be a second one; see [`Whole`].
    is_whole: bool,
}

/// What the spans of one trace in this process share.
#[derive(Debug)]
pub(crate) struct Trace {
    pub(crate) id: u128,
    pub(crate) sampled: bool,
    pub(crate) state: Box<str>,
    spans_left: AtomicU32,
    spans_refused: AtomicU32,
    /// The span that answers the request for which the trace came here, and its parent.
    server: Mutex<Server>,
    /// Whether that request is being answered.
    is_answering: AtomicBool,
    /// Present when the trace came here with a message.
    message: Option<Mark>,
    /// What code below the trace's local root learned for the root's span, by [`Note`].
    notes: Mutex<[Option<Box<str>>; 2]>,
}

/// The trace's local root, when it answers a request or handles a message.
#[derive(Debug, Default)]
struct Server {
    span_id: u64,
    parent_id: Option<u64>,
    /// Whether another library has taken its place.
    has_given_way: bool,
}

impl Trace {
    pub(crate) fn new(
        id: u128,
        sampled: bool,
        state: Box<str>,
        spans_max: u32,
        message: Option<Mark>,
    ) -> Arc<Self> {
        Arc::new(Self {
            id,
            sampled,
            state,
            spans_left: AtomicU32::new(spans_max.saturating_sub(1)),
            spans_refused: AtomicU32::new(0),
            server: Mutex::default(),
            is_answering: AtomicBool::new(false),
            message,
            notes: Mutex::default(),
        })
    }

    /// Takes one span from the trace's budget; false when it is spent.
    pub(crate) fn admits(&self) -> bool {
        let taken = self
            .spans_left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(1)
            })
            .is_ok();
        if !taken {
            self.spans_refused.fetch_add(1, Ordering::Relaxed);
        }
        taken
    }

    pub(crate) fn set_server(&self, span_id: u64, parent_id: Option<u64>) {
        if let Ok(mut server) = self.server.lock() {
            *server = Server {
                span_id,
                parent_id,
                has_given_way: false,
            };
        }
    }

    pub(crate) fn set_answering(&self, is_answering: bool) {
        self.is_answering.store(is_answering, Ordering::Relaxed);
    }

    pub(crate) fn is_answering(&self) -> bool {
        self.is_answering.load(Ordering::Relaxed)
    }

    pub(crate) fn has_given_way(&self, span_id: u64) -> bool {
        self.server
            .lock()
            .is_ok_and(|server| server.has_given_way && server.span_id == span_id)
    }

    pub(crate) fn spans_refused(&self) -> u32 {
        self.spans_refused.load(Ordering::Relaxed)
    }

    pub(crate) fn set_note(&self, note: Note, text: &str) {
        if let Ok(mut notes) = self.notes.lock() {
            notes[note as usize] = Some(text.into());
        }
    }

    pub(crate) fn note(&self, note: Note) -> Option<Box<str>> {
        self.notes
            .lock()
            .ok()
            .and_then(|notes| notes[note as usize].clone())
    }
}

/// Something that is learned after the server's span started, deeper in the program.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Note {
    /// The route that the framework matched.
    Route = 0,
    /// The `grpc-status` trailer of the answer.
    GrpcStatus = 1,
}

/// A library's mark in its context: its span with this id is that of a whole query, command or
/// message. It is current while a driver of ours runs the call, which then makes no span.
#[derive(Clone, Copy, Debug)]
pub struct Whole(pub [u8; 8]);

/// Makes a span current that another library in the program made, so that ours become its children.
/// `None` says that this library is outside of every trace now, and is undone where its span was
/// current; one of ours stays. `whole` is the mark that its context has, if it has one.
#[must_use]
pub fn enter_foreign(
    span: Option<([u8; 16], [u8; 8], bool)>,
    state: &str,
    whole: Option<Whole>,
) -> Option<Scope> {
    let Some((trace_id, span_id, sampled)) = span else {
        let is_undone = with_current(|current| current.is_foreign)?;
        return is_undone.then(|| Scope::enter(None));
    };
    if !sink::is_enabled() {
        return None;
    }
    let id = u128::from_be_bytes(trace_id);
    let known =
        with_current(|current| (current.trace.id == id).then(|| Arc::clone(&current.trace)));
    let trace = known
        .flatten()
        .unwrap_or_else(|| Trace::new(id, sampled, state.into(), settings().trace_spans_max, None));
    Some(Scope::enter(Some(Context {
        is_foreign: true,
        // Spans that the library makes within inherit its mark, but have other ids.
        is_whole: whole.is_some_and(|whole| whole.0 == span_id),
        ..Context::new(trace, u64::from_be_bytes(span_id))
    })))
}

/// For a library that makes a span for a request that arrives, with this parent: when the parent is
/// our own span for that request, ours is not exported, and the library's is to take its id, under
/// the parent that is returned. So there is one such span, and what is below it stays below it.
#[must_use]
pub fn give_way(trace_id: [u8; 16], span_id: [u8; 8]) -> Option<Option<[u8; 8]>> {
    let span_id = u64::from_be_bytes(span_id);
    with_current(|current| {
        if current.trace.id.to_be_bytes() != trace_id || !current.trace.sampled {
            return None;
        }
        let mut server = current.trace.server.lock().ok()?;
        if server.span_id != span_id || server.has_given_way {
            return None;
        }
        server.has_given_way = true;
        Some(server.parent_id.map(u64::to_be_bytes))
    })?
}

impl Context {
    pub(crate) fn new(trace: Arc<Trace>, span_id: u64) -> Self {
        Self {
            trace,
            span_id,
            is_foreign: false,
            is_whole: false,
        }
    }

    /// Whether the call that begins has its span, by another library; see [`Whole`].
    pub(crate) fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// What is known of the message for which the trace came here.
    pub(crate) fn message(&self) -> Option<&Mark> {
        self.trace.message.as_ref()
    }

    /// Whether another library in the program made the span; see [`enter_foreign`].
    #[must_use]
    pub fn is_foreign(&self) -> bool {
        self.is_foreign
    }

    /// The trace, as W3C Trace Context orders its bytes.
    #[must_use]
    pub fn trace_id(&self) -> [u8; 16] {
        self.trace.id.to_be_bytes()
    }

    /// The span, as W3C Trace Context orders its bytes.
    #[must_use]
    pub fn span_id(&self) -> [u8; 8] {
        self.span_id.to_be_bytes()
    }

    /// Whether the trace is kept.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        self.trace.sampled
    }

    /// The `traceparent` header that makes the receiver's span a child of this one.
    #[must_use]
    pub fn traceparent(&self) -> String {
        let flags = u8::from(self.trace.sampled);
        format!(
            "00-{:032x}-{:016x}-{flags:02x}",
            self.trace.id, self.span_id
        )
    }

    /// The `tracestate` that came with the trace; empty when none did.
    #[must_use]
    pub fn tracestate(&self) -> &str {
        &self.trace.state
    }
}

/// What a `traceparent` header says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Parent {
    pub(crate) trace_id: u128,
    pub(crate) span_id: u64,
    pub(crate) sampled: bool,
}

/// Reads a `traceparent` by W3C Trace Context level 2, section 3.2; `None` restarts the trace.
pub(crate) fn parse_traceparent(header: &str) -> Option<Parent> {
    let header = header.trim_matches([' ', '\t']);
    let bytes = header.as_bytes();
    let well_formed = bytes.len() >= 55
        && bytes
            .iter()
            .take(55)
            .enumerate()
            .all(|(at, byte)| match at {
                2 | 35 | 52 => *byte == b'-',
                _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
            });
    if !well_formed {
        return None;
    }
    let version = u8::from_str_radix(header.get(0..2)?, 16).ok()?;
    // Version 00 is exactly 55 characters; a later one may go on after a dash.
    let end_is_right = match version {
        0xff => false,
        0 => bytes.len() == 55,
        _ => bytes.len() == 55 || bytes[55] == b'-',
    };
    let trace_id = u128::from_str_radix(header.get(3..35)?, 16).ok()?;
    let span_id = u64::from_str_radix(header.get(36..52)?, 16).ok()?;
    let flags = u8::from_str_radix(header.get(53..55)?, 16).ok()?;
    (end_is_right && trace_id != 0 && span_id != 0).then_some(Parent {
        trace_id,
        span_id,
        sampled: flags & 1 == 1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::current::current;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn context(span_id: u64) -> Context {
        Context::new(Trace::new(7, true, "".into(), 3, None), span_id)
    }

    fn current_span() -> Option<u64> {
        current().map(|context| context.span_id)
    }

    #[test]
    fn traceparent_goes_round() {
        let parent = parse_traceparent(GOOD).expect("the specification's example");
        let trace = Trace::new(parent.trace_id, parent.sampled, "".into(), 1, None);
        assert_eq!(Context::new(trace, parent.span_id).traceparent(), GOOD);
    }

    #[test]
    fn malformed_traceparents_restart() {
        let tail = &GOOD[2..];
        for bad in [
            String::new(),
            format!("ff{tail}"),
            format!("{GOOD}-x"),
            format!("01{tail}x"),
            GOOD.to_uppercase(),
            GOOD.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            GOOD.replace("b7ad6b7169203331", &"0".repeat(16)),
            GOOD.replace('-', "_"),
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0\u{e9}".into(),
        ] {
            assert_eq!(parse_traceparent(&bad), None, "{bad}");
        }
        assert!(parse_traceparent(&format!("01{tail}-later")).is_some());
        assert!(parse_traceparent(&format!(" {GOOD}\t")).is_some());
    }

    #[test]
    fn spans_of_others_are_parents_of_ours() {
        let ours = Scope::enter(Some(context(1)));
        let foreign = enter_foreign(
            Some((7_u128.to_be_bytes(), 2_u64.to_be_bytes(), true)),
            "",
            None,
        );
        assert_eq!(current_span(), Some(2));
        assert!(current().is_some_and(|now| now.is_foreign()));
        let left = enter_foreign(None, "", None);
        assert_eq!(current_span(), None);
        drop(left);
        drop(foreign);
        assert!(enter_foreign(None, "", None).is_none());
        assert_eq!(current_span(), Some(1));
        drop(ours);
    }

    #[test]
    fn a_servers_span_gives_way_once() {
        let context = context(1);
        context.trace.set_server(1, Some(9));
        let trace_id = context.trace_id();
        let ask = |span: u64| give_way(trace_id, span.to_be_bytes());
        let _scope = Scope::enter(Some(context.clone()));
        assert_eq!(ask(2), None);
        assert_eq!(ask(1), Some(Some(9_u64.to_be_bytes())));
        assert_eq!(ask(1), None);
        assert!(context.trace.has_given_way(1) && !context.trace.has_given_way(2));
    }

    #[test]
    fn a_spent_budget_refuses_and_counts() {
        let trace = Trace::new(1, true, "".into(), 2, None);
        assert!(trace.admits());
        assert!(!trace.admits());
        assert!(!trace.admits());
        assert_eq!(trace.spans_refused(), 2);
    }
}
