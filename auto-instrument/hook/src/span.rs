//! Spans while they run: started by rules and functions, handed to the exporter when they end.

use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Instant;

use crate::context::{self, Context, Note, Trace};
use crate::current::{self, Scope};
use crate::env::settings;
use crate::export;
use crate::function::Site;
use crate::hand::Mark;
use crate::held::{Held, pinned, unpinned};
use crate::sink::{self, First};
use crate::{http, id};

/// Attributes that one span keeps; more are counted and dropped.
const ATTRIBUTES_MAX: usize = 64;
/// Bytes of text that one attribute or name keeps.
const TEXT_BYTES_MAX: usize = 4096;

/// What a span is, with OTLP's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Work inside the program.
    Internal = 1,
    /// Answers a remote request.
    Server = 2,
    /// Makes a remote request.
    Client = 3,
    /// Sends a message.
    Producer = 4,
    /// Handles a message.
    Consumer = 5,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Text.
    Text(Cow<'static, str>),
    /// A whole number.
    Int(i64),
    /// A truth.
    Bool(bool),
}

macro_rules! value_from {
    ($($from:ty => $to:expr;)*) => {
        $(impl From<$from> for Value {
            fn from(value: $from) -> Self {
                #[allow(clippy::redundant_closure_call, reason = "the table reads better so")]
                ($to)(value)
            }
        })*
    };
}

value_from! {
    &'static str => |text| Value::Text(Cow::Borrowed(text));
    String => |text| Value::Text(Cow::Owned(text));
    bool => Value::Bool;
    i64 => Value::Int;
    i32 => |number| Value::Int(i64::from(number));
    u16 => |number| Value::Int(i64::from(number));
    u32 => |number| Value::Int(i64::from(number));
    u64 => |number| Value::Int(i64::try_from(number).unwrap_or(i64::MAX));
    usize => |number| Value::Int(i64::try_from(number).unwrap_or(i64::MAX));
}

/// A span that has ended, on its way to the exporter.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) trace: Arc<Trace>,
    pub(crate) span_id: u64,
    pub(crate) parent_id: Option<u64>,
    pub(crate) kind: Kind,
    pub(crate) scope: &'static str,
    pub(crate) name: Cow<'static, str>,
    pub(crate) site: Option<&'static Site>,
    pub(crate) start_unix_ns: u64,
    pub(crate) end_unix_ns: u64,
    pub(crate) attributes: Vec<(&'static str, Value)>,
    pub(crate) attributes_dropped: u32,
    pub(crate) error: Option<Cow<'static, str>>,
}

/// A running span; it ends when dropped. Outside a trace it is nothing and costs nothing.
#[derive(Debug, Default)]
#[must_use = "a span ends when it is dropped"]
pub struct Span(Held);

#[derive(Debug)]
struct Running {
    context: Context,
    started: Instant,
    /// Present when the trace is sampled: what will be exported.
    record: Option<Finished>,
    local_root: bool,
}

impl Span {
    /// A span that nothing listens to.
    pub const fn none() -> Self {
        Self(Held::NOTHING)
    }

    /// Starts a new trace in this process.
    pub fn root(scope: &'static str, kind: Kind, name: impl Into<Cow<'static, str>>) -> Self {
        Self::remote_child(scope, kind, name.into(), None, None)
    }

    /// Continues the trace of a `traceparent` that came with a request or message, or starts one.
    pub fn remote_child(
        scope: &'static str,
        kind: Kind,
        name: impl Into<Cow<'static, str>>,
        traceparent: Option<&str>,
        tracestate: Option<&str>,
    ) -> Self {
        Self::arrived(scope, kind, name.into(), (traceparent, tracestate), None)
    }

    /// The span of a message that came with these headers.
    pub(crate) fn of_message(
        scope: &'static str,
        name: &'static str,
        parent: (Option<&str>, Option<&str>),
        mark: Mark,
    ) -> Self {
        Self::arrived(scope, Kind::Consumer, name.into(), parent, Some(mark))
    }

    fn arrived(
        scope: &'static str,
        kind: Kind,
        name: Cow<'static, str>,
        (traceparent, tracestate): (Option<&str>, Option<&str>),
        message: Option<Mark>,
    ) -> Self {
        let settings = settings();
        if !sink::is_enabled() || is_off(scope) {
            return Self::none();
        }
        let parent = traceparent.and_then(context::parse_traceparent);
        let id = parent
            .as_ref()
            .map_or_else(id::trace_id, |parent| parent.trace_id);
        let sampled = match &parent {
            Some(parent) if settings.sampler.follow_parent => parent.sampled,
            _ => settings.sampler.keeps(id),
        };
        // A tracestate without its traceparent means nothing; an oversized one is not passed on.
        let state = tracestate.filter(|state| parent.is_some() && state.len() <= 512);
        let decision = sink::decide(&First {
            trace_id: id.to_be_bytes(),
            parent: parent
                .as_ref()
                .map(|parent| (parent.span_id.to_be_bytes(), parent.sampled)),
            tracestate: state.unwrap_or_default(),
            kind,
            name: &name,
        });
        let (sampled, state) = match decision {
            Some(decision) => (decision.sampled, decision.tracestate.into()),
            None => (sampled, state.unwrap_or_default().into()),
        };
        let trace = Trace::new(id, sampled, state, settings.trace_spans_max, message);
        let parent_id = parent.map(|parent| parent.span_id);
        Self::start(trace, parent_id, scope, kind, name, true)
    }

    /// Whether spans of this library are made at all: for rules that change what the program does
    /// before there is a span.
    #[must_use]
    pub fn can_begin(scope: &str) -> bool {
        sink::is_enabled() && !is_off(scope)
    }

    /// A child of the current span, or the first span of a trace when there is none. Nothing for a
    /// call that has its span already, by another library in the program.
    pub fn child(scope: &'static str, kind: Kind, name: impl Into<Cow<'static, str>>) -> Self {
        match current::current() {
            None => Self::root(scope, kind, name),
            Some(parent) if parent.is_whole() && matches!(kind, Kind::Client | Kind::Producer) => {
                Self::none()
            }
            Some(parent) => Self::child_of(&parent, scope, kind, name),
        }
    }

    /// A child of the current span; nothing when there is none.
    pub fn inner(scope: &'static str, kind: Kind, name: impl Into<Cow<'static, str>>) -> Self {
        match current::current() {
            None => Self::none(),
            Some(parent) => Self::child_of(&parent, scope, kind, name),
        }
    }

    /// A child of a span whose context was kept.
    pub fn child_of(
        parent: &Context,
        scope: &'static str,
        kind: Kind,
        name: impl Into<Cow<'static, str>>,
    ) -> Self {
        if is_off(scope) || (parent.trace.sampled && !parent.trace.admits()) {
            return Self::none();
        }
        let trace = Arc::clone(&parent.trace);
        Self::start(trace, Some(parent.span_id), scope, kind, name.into(), false)
    }

    fn start(
        trace: Arc<Trace>,
        parent_id: Option<u64>,
        scope: &'static str,
        kind: Kind,
        name: Cow<'static, str>,
        local_root: bool,
    ) -> Self {
        let span_id = id::span_id();
        if local_root && matches!(kind, Kind::Server | Kind::Consumer) {
            trace.set_server(span_id, parent_id);
            trace.set_answering(kind == Kind::Server);
        }
        let record = trace.sampled.then(|| Finished {
            trace: Arc::clone(&trace),
            span_id,
            parent_id,
            kind,
            scope,
            name: bounded(name),
            site: None,
            start_unix_ns: export::now_unix_ns(),
            end_unix_ns: 0,
            attributes: Vec::new(),
            attributes_dropped: 0,
            error: None,
        });
        let context = Context::new(trace, span_id);
        Self(Held::new(Running {
            context,
            started: Instant::now(),
            record,
            local_root,
        }))
    }

    /// The span of a function, when one is current to be its parent.
    pub(crate) fn of_function(site: &'static Site) -> Self {
        let settings = settings();
        if !sink::is_enabled() || !settings.functions {
            return Self::none();
        }
        let mut span = match current::with_current(|parent| parent.trace.sampled) {
            Some(true) => Self::inner(site.scope(), Kind::Internal, site.name()),
            None if settings.function_roots => {
                Self::root(site.scope(), Kind::Internal, site.name())
            }
            _ => Self::none(),
        };
        if let Some(record) = span.record() {
            record.site = Some(site);
        }
        span
    }

    fn running(&self) -> Option<&Running> {
        self.0.get()
    }

    /// What the trailers of the answer said, for the span that answers.
    fn trailer_status(&self) -> Option<Box<str>> {
        self.running()
            .filter(|running| running.local_root)?
            .context
            .trace
            .note(Note::GrpcStatus)
    }

    fn record(&mut self) -> Option<&mut Finished> {
        self.0.get_mut::<Running>()?.record.as_mut()
    }

    /// Whether attributes set now will be exported: ask before computing dear ones.
    #[must_use]
    pub fn is_recording(&self) -> bool {
        self.running()
            .is_some_and(|running| running.record.is_some())
    }

    /// Sets an attribute; the last value of a key wins.
    pub fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        let Some(record) = self.record() else { return };
        let value = match value.into() {
            Value::Text(text) => Value::Text(bounded(text)),
            other => other,
        };
        let is_full = record.attributes.len() >= ATTRIBUTES_MAX;
        match record.attributes.iter_mut().find(|(name, _)| *name == key) {
            Some((_, old)) => *old = value,
            None if is_full => record.attributes_dropped += 1,
            None => record.attributes.push((key, value)),
        }
    }

    /// Renames the span.
    pub fn rename(&mut self, name: impl Into<Cow<'static, str>>) {
        if let Some(record) = self.record() {
            record.name = bounded(name.into());
        }
    }

    /// Marks the span as failed and sets `error.type`.
    pub fn fail(&mut self, error_type: impl Into<Cow<'static, str>>) {
        let error_type = bounded(error_type.into());
        self.set("error.type", Value::Text(error_type.clone()));
        if let Some(record) = self.record() {
            record.error = Some(error_type);
        }
    }

    /// Ends the span of a function that asked for the next message, when it did so: before lies the
    /// work on the message before.
    pub(crate) fn end_where_asked(mut self) {
        let asked = self
            .context()
            .and_then(|context| context.message()?.asked_unix_ns());
        if let (Some(record), Some(asked)) = (self.record(), asked) {
            record.end_unix_ns = asked.max(record.start_unix_ns);
        }
    }

    /// What children and remote receivers need to know of the span.
    #[must_use]
    pub fn context(&self) -> Option<&Context> {
        self.running().map(|running| &running.context)
    }

    /// The `traceparent` header for requests that this span makes.
    #[must_use]
    pub fn traceparent(&self) -> Option<String> {
        self.context().map(Context::traceparent)
    }

    /// The `tracestate` header for requests that this span makes; `None` when empty.
    #[must_use]
    pub fn tracestate(&self) -> Option<&str> {
        self.context()
            .map(Context::tracestate)
            .filter(|state| !state.is_empty())
    }

    /// The headers that carry the span to a receiver: names and values.
    pub fn headers(&self) -> impl Iterator<Item = (&'static str, String)> {
        let state = self
            .tracestate()
            .map(|state| ("tracestate", state.to_owned()));
        self.traceparent()
            .map(|parent| ("traceparent", parent))
            .into_iter()
            .chain(state)
    }

    /// Makes the span current on this thread until the scope ends; nothing changes for a span
    /// that is nothing.
    #[must_use]
    pub fn scope(&self) -> Option<Scope> {
        self.context()
            .map(|context| Scope::enter(Some(context.clone())))
    }

    /// Runs `call` with the span current.
    pub fn in_scope<R>(&self, call: impl FnOnce() -> R) -> R {
        let _scope = self.scope();
        call()
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if let Some(status) = self.trailer_status() {
            http::grpc_responded(self, Kind::Server, Some(&status));
        }
        let Some(running) = self.0.take::<Running>() else {
            return;
        };
        if running.local_root {
            running.context.trace.set_answering(false);
        }
        let Some(mut record) = running.record else {
            return;
        };
        if running.local_root && record.trace.has_given_way(record.span_id) {
            return;
        }
        if record.end_unix_ns == 0 {
            let elapsed_ns = u64::try_from(running.started.elapsed().as_nanos());
            let elapsed_ns = elapsed_ns.unwrap_or(u64::MAX);
            record.end_unix_ns = record.start_unix_ns.saturating_add(elapsed_ns);
        }
        if running.local_root {
            finish_root(&mut record);
        }
        if record.error.is_none() && std::thread::panicking() {
            record
                .attributes
                .push(("error.type", Value::Text(Cow::Borrowed("panic"))));
            record.error = Some(Cow::Borrowed("panic"));
        }
        sink::end(record);
    }
}

/// Adds what only became known while the trace ran below this span.
fn finish_root(record: &mut Finished) {
    // What answers gRPC may have a router inside, whose routes are not the caller's concern.
    let method = record
        .attributes
        .iter()
        .find(|(key, _)| *key == "http.request.method");
    if let (Some((_, Value::Text(method))), Some(route)) = (method, record.trace.note(Note::Route))
    {
        record.name = Cow::Owned(format!("{method} {route}"));
        record
            .attributes
            .push(("http.route", Value::Text(Cow::Owned(route.into()))));
    }
    let refused = record.trace.spans_refused();
    if refused > 0 {
        record.attributes.push((
            "spanloom.trace.spans_refused",
            Value::Int(i64::from(refused)),
        ));
    }
}

fn is_off(scope: &str) -> bool {
    let off = &settings().off;
    !off.is_empty() && off.iter().any(|name| name == scope)
}

/// Cuts foreign text at a bound, on a character's edge.
fn bounded(text: Cow<'static, str>) -> Cow<'static, str> {
    if text.len() <= TEXT_BYTES_MAX {
        return text;
    }
    let end = (0..=TEXT_BYTES_MAX)
        .rev()
        .find(|&at| text.is_char_boundary(at))
        .unwrap_or(0);
    Cow::Owned(text[..end].to_owned())
}

/// A future that runs in a span and ends it with its own end.
#[derive(Debug)]
pub struct InSpan<F, D> {
    span: Span,
    finish: Option<D>,
    future: F,
}

/// Runs `future` in `span`; `finish` sees the output just before the span ends.
#[inline(always)]
pub fn in_span<F, D>(span: Span, future: F, finish: D) -> InSpan<F, D>
where
    F: Future,
    D: FnOnce(&mut Span, &F::Output),
{
    InSpan {
        span,
        finish: Some(finish),
        future,
    }
}

impl<F, D> Future for InSpan<F, D>
where
    F: Future,
    D: FnOnce(&mut Span, &F::Output),
{
    type Output = F::Output;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<F::Output> {
        let Self {
            span,
            finish,
            future,
        } = unpinned!(self);
        let polled = {
            let _scope = span.scope();
            pinned!(future).poll(task)
        };
        if let Poll::Ready(output) = &polled {
            if let Some(finish) = finish.take() {
                finish(span, output);
            }
            *span = Span::none();
        }
        polled
    }
}

impl<F, D> Unpin for InSpan<F, D> where F: Unpin {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_starts_a_trace_and_children_join_it() {
        let root = Span::root("test", Kind::Server, "root");
        let child = root.in_scope(|| Span::child("test", Kind::Client, "child"));
        let (root, child) = (root.context().cloned(), child.context().cloned());
        assert_eq!(root.map(|c| c.trace.id), child.map(|c| c.trace.id));
        assert!(
            Span::inner("test", Kind::Internal, "alone")
                .context()
                .is_none()
        );
    }

    #[test]
    fn a_call_that_has_its_span_gets_no_second_one() {
        let (trace_id, call) = (7_u128.to_be_bytes(), 9_u64.to_be_bytes());
        let enters = |span_id| {
            let whole = Some(context::Whole(call));
            context::enter_foreign(Some((trace_id, span_id, true)), "", whole)
        };
        let records = |kind| Span::child("test", kind, "x").is_recording();
        let _theirs = enters(call);
        assert!(!records(Kind::Client) && !records(Kind::Producer));
        assert!(records(Kind::Internal));
        // A span within the call, whose context has the mark of the one around it.
        let _inner = enters(10_u64.to_be_bytes());
        assert!(records(Kind::Client) && records(Kind::Producer));
    }

    #[test]
    fn an_arriving_decision_is_followed() {
        let header = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
        let span = Span::remote_child("test", Kind::Server, "x", Some(header), Some("a=b"));
        assert!(!span.is_recording());
        let sent = span.traceparent().unwrap_or_default();
        assert!(sent.starts_with("00-0af7651916cd43dd8448eb211c80319c-") && sent.ends_with("-00"));
        assert_eq!(span.tracestate(), Some("a=b"));
    }

    #[test]
    fn a_malformed_parent_restarts_and_drops_its_state() {
        let span = Span::remote_child("test", Kind::Server, "x", Some("00-zz"), Some("a=b"));
        assert!(span.is_recording());
        assert_eq!(span.tracestate(), None);
    }

    #[test]
    fn attributes_are_bounded_and_the_last_value_wins() {
        const KEYS: [&str; 70] = {
            let mut keys = [""; 70];
            let mut at = 0;
            while at < 70 {
                keys[at] = "0123456789012345678901234567890123456789012345678901234567890123456789"
                    .split_at(at)
                    .0;
                at += 1;
            }
            keys
        };
        let mut span = Span::root("test", Kind::Internal, "x".repeat(5000));
        for key in KEYS {
            span.set(key, 1);
            span.set(key, 2);
        }
        let record = span.record().expect("sampled");
        assert_eq!(
            (record.attributes.len(), record.attributes_dropped),
            (64, 12)
        );
        assert!(
            record
                .attributes
                .iter()
                .all(|(_, value)| *value == Value::Int(2))
        );
        assert_eq!(record.name.len(), TEXT_BYTES_MAX);
    }

    #[test]
    fn a_future_runs_in_its_span_and_ends_it() {
        let span = Span::root("test", Kind::Client, "x");
        let id = span.context().map(|context| context.span_id);
        let mut waited = false;
        let body = std::future::poll_fn(move |_| match std::mem::replace(&mut waited, true) {
            false => Poll::Pending,
            true => Poll::Ready(current::current().map(|context| context.span_id)),
        });
        let mut seen = None;
        let mut future = Box::pin(in_span(span, body, |_: &mut Span, output: &Option<u64>| {
            seen = *output;
        }));
        let mut task = TaskContext::from_waker(std::task::Waker::noop());
        assert_eq!(future.as_mut().poll(&mut task), Poll::Pending);
        assert_eq!(future.as_mut().poll(&mut task), Poll::Ready(id));
        drop(future);
        assert!(id.is_some() && seen == id);
    }
}
