//! Messages that arrive: one CONSUMER span each, and which of them is *in hand*.
//!
//! Nothing in a program says where the handling of a message begins and ends: it comes after an
//! `await` of the program's own. Two things are known: when the library hands a message out, and
//! when the program drops it. So the span `process {destination}` lasts from one to the other, by a
//! [`Token`] that a rule hides in the library's message. It continues the sender's trace; a message
//! that brings none begins one, as a request that arrives without one does, or else each query and
//! call of its handler would.
//!
//! The span is *current* for a part of that time, in a part of the program. The message is *in hand*
//! in the frame that took it: the innermost future that the hook polls (an `async fn` of the
//! workspace, a spawned task, a member of a `FuturesUnordered`, `block_on`), or on a thread without
//! any, the thread. When the frame's future completes while the program still has the message, it
//! has returned it, and the message is in hand in the frame around. It stays in hand until the same
//! consumer is asked again, the message is dropped, or the frame ends.
//!
//! A wrong parent is worse than none:
//!
//! | the program | what is current |
//! |---|---|
//! | `while let Some(m) = c.next().await { handle(m).await }` | `m`, until `handle` drops it |
//! | keeps `m` to the end of the loop's body | `m`, until then |
//! | decodes `m`, drops it and handles the value | nothing after the drop; functions that began before keep their spans |
//! | takes one message and goes on with other work | nothing of `m` after its drop |
//! | `select!` of a consumer and a timer, in a loop | `m` in its branch, which drops it; nothing in the timer's |
//! | `tokio::spawn(handle(m))` for each | the task has its `m`, whose span lasts as long as the task has it; the loop may take the next |
//! | `for_each_concurrent` | the same: each future runs with the message that made it |
//! | `buffer_unordered`, `buffered` | the same; nothing where their results are used, which come in another order |
//! | `ready_chunks`, `peekable`, a vector: a second message while the first is kept, and not handed to a task | none of the two in hand, nor any more before all are dropped: nobody knows which one is worked on |
//! | sends messages to workers by a channel | nothing in the worker; the span lasts until the worker drops it |
//! | two consumers, each in an `async fn` of its own, joined in one task | each its own: they are different frames |
//! | two consumers in one function | the message, while only one is kept; nothing while two are |
//! | an `async fn` or function returns the message that it waited for | the message, in its caller |
//! | a function within the handling of `m` asks the same consumer | its span ends at that moment, as `m`'s part of its work does |
//! | a handler asks another consumer, as for a reply | its own message still: a function that began within the handling of `m`, while `m` is kept, belongs to it. The other message has its span in its sender's trace |
//! | a request of HTTP or gRPC is being answered, or another library's span is current | that, for the same reason |
//! | a task that outlived the request in which it was spawned | the message |
//! | a future that nothing of the hook polls (another runtime's task without an `async fn` of the workspace) | nothing: other tasks of the thread would inherit it |
//! | the trace is not sampled | the context, unsampled: what is sent says so |
//! | the program ends while it has messages | their spans end then, and are sent |
//! | the SDK makes a span of its own for the message in hand | one span, the SDK's, in the place of ours |
//!
//! What remains: code that runs beside a handler in the same `async fn` (a branch of `join!` written
//! as a block) has the handler's message while that is in hand.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::context::Context;
use crate::current::{self, Level};
use crate::hand::{self, Mark, Source};
use crate::sink;
use crate::span::{Span, Value};

/// Messages whose spans the end of the process can still send; those of a program that keeps more
/// at once are lost then.
const OPEN_MAX: usize = 4096;

/// What a rule tells of a message.
#[derive(Clone, Copy, Debug, Default)]
pub struct Received<'a> {
    /// The library: the instrumentation scope of the span.
    pub scope: &'static str,
    /// `messaging.system`.
    pub system: &'static str,
    /// Where the message was sent to.
    pub destination: &'a str,
    /// Whether that name was made for one use, and so is none for spans.
    pub is_temporary: bool,
    /// The size of its body.
    pub n_bytes: usize,
    /// `traceparent` as it arrived.
    pub traceparent: Option<&'a str>,
    /// `tracestate` as it arrived.
    pub tracestate: Option<&'a str>,
    /// Which consumer got it: the number that [`asked`] was told, an address for example.
    pub consumer: usize,
    /// Whether the call that got it blocks its thread, so that the thread may be its frame.
    pub is_blocking: bool,
}

/// Rides with a message as a field that a rule added to the library's type: its span ends when the
/// last clone is dropped.
#[derive(Clone, Default)]
pub struct Token(Option<Arc<Open>>);

impl std::fmt::Debug for Token {
    /// Nothing: the program may print its messages.
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Ok(())
    }
}

/// A message that the program has.
#[derive(Debug)]
struct Open {
    context: Context,
    span: Mutex<Span>,
}

impl Open {
    fn span(&self) -> MutexGuard<'_, Span> {
        self.span.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(mark) = self.context.message() {
            mark.drop_message();
        }
        open_messages().remove(&self.context.span_id);
    }
}

static OPEN: Mutex<BTreeMap<u64, Weak<Open>>> = Mutex::new(BTreeMap::new());

fn open_messages() -> MutexGuard<'static, BTreeMap<u64, Weak<Open>>> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends the spans of messages that the program has when it ends.
pub(crate) fn end_all() {
    let open = std::mem::take(&mut *open_messages());
    for message in open.values().filter_map(Weak::upgrade) {
        *message.span() = Span::none();
    }
}

/// A number for a consumer that has no address to be known by.
#[must_use]
pub fn consumer() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Says that the consumer is about to be asked for a message: the one that it gave before is no
/// longer in hand here. Rules call this before the library waits.
pub fn asked(consumer: usize) {
    current::with_level(|level| level.ask(consumer));
}

thread_local! {
    /// Whether the item that a stream has just given comes with a message.
    static PASSING: Cell<bool> = const { Cell::new(false) };
}

/// For what makes a future of each item of a stream and hands out other futures' results, as
/// `buffer_unordered` does: asks the stream.
pub fn passing_on<R>(ask: impl FnOnce() -> R) -> R {
    let before = hand::n_put();
    let asked = ask();
    PASSING.with(|passing| passing.set(hand::n_put() != before));
    asked
}

/// The future of the item has been made, in a frame of its own: if a message came with the item, it
/// is in hand there, and here no longer.
pub fn passed_on() {
    if PASSING.with(|passing| passing.replace(false)) {
        current::with_level(|level| level.hands().pass_on());
    }
}

/// Begins the span of a message, which is in hand from here on if that is sure.
#[must_use]
pub fn received(received: Received<'_>) -> Token {
    if !current::is_in_frame() && !received.is_blocking {
        return begin(received);
    }
    let source = current::with_own_level(|level| {
        let hands = level.hands();
        let overlaps = hands.keeps_some_of(received.consumer);
        (hands.source(received.consumer), overlaps)
    });
    let Some((source, overlaps)) = source else {
        return begin(received);
    };
    let token = Token::of(received, Mark::new(source));
    if let Some(open) = token.0.as_ref().filter(|_| !overlaps) {
        let message = open.context.clone();
        current::with_level(|level| level.put(message));
    }
    token
}

/// Begins the span of a message that is in hand nowhere: for a callback, which runs
/// [in it](Token::in_scope).
#[must_use]
pub fn begin(received: Received<'_>) -> Token {
    Token::of(received, Mark::new(Source::new(received.consumer)))
}

impl Token {
    fn of(received: Received<'_>, mark: Mark) -> Self {
        let Received {
            scope,
            system,
            destination,
            n_bytes,
            ..
        } = received;
        let parent = (received.traceparent, received.tracestate);
        let mut span = Span::of_message(scope, "process", parent, mark);
        let Some(context) = span.context().cloned() else {
            return Self(None);
        };
        if span.is_recording() {
            if received.is_temporary {
                span.set("messaging.destination.temporary", true);
            } else {
                span.rename(format!("process {destination}"));
            }
            span.set("messaging.system", system);
            span.set("messaging.operation.type", "process");
            span.set("messaging.operation.name", "process");
            span.set("messaging.destination.name", destination.to_owned());
            span.set("messaging.message.body.size", n_bytes);
        }
        let is_recording = span.is_recording();
        let span_id = context.span_id;
        let open = Arc::new(Open {
            context,
            span: Mutex::new(span),
        });
        if is_recording {
            sink::prepare();
            let mut messages = open_messages();
            if messages.len() < OPEN_MAX {
                messages.insert(span_id, Arc::downgrade(&open));
            }
        }
        Self(Some(open))
    }

    /// Sets an attribute of the message's span.
    pub fn set(&self, key: &'static str, value: impl Into<Value>) {
        if let Some(open) = &self.0 {
            open.span().set(key, value);
        }
    }

    /// Runs `call` with the message's span current.
    pub fn in_scope<R>(&self, call: impl FnOnce() -> R) -> R {
        let context = self.0.as_ref().map(|open| open.context.clone());
        let _scope = context.map(|context| current::Scope::enter(Some(context)));
        call()
    }
}

impl Level {
    /// Whether what is current here is work that a message received meanwhile is a part of.
    pub(crate) fn is_at_work(&self) -> bool {
        self.context().is_some_and(|context| {
            context.is_foreign()
                || context.trace.is_answering()
                || context.message().is_some_and(|mark| !mark.is_gone())
        })
    }

    fn put(&mut self, message: Context) {
        if !self.is_at_work() {
            self.hands().put(message);
        }
    }

    /// What is current here was for the message that the consumer gave before.
    fn ask(&mut self, consumer: usize) {
        if let Some(hands) = self.hands_if_any() {
            hands.ask(consumer);
        }
        let mark = self.context().and_then(Context::message);
        if let Some(mark) = mark.filter(|mark| mark.consumer() == consumer) {
            mark.ask();
            self.leave_trace();
        }
    }
}

#[cfg(test)]
#[expect(
    unsafe_code,
    clippy::undocumented_unsafe_blocks,
    reason = "what `futures!` brings"
)]
mod tests;
