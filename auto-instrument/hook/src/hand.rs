//! Which messages are in hand at one level of a thread's stack, and which are kept. The rules that
//! this obeys are in [`message`](crate::message).

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use crate::context::Context;
use crate::export;

/// Consumers of which one level can hold messages at once; further ones are not in hand.
const IN_HAND_MAX: usize = 16;

thread_local! {
    static N_PUT: Cell<u32> = const { Cell::new(0) };
}

/// How often a message was put in hand on this thread.
pub(crate) fn n_put() -> u32 {
    N_PUT.with(Cell::get)
}

/// The messages of one consumer that came to one level.
#[derive(Debug)]
pub(crate) struct Source {
    consumer: usize,
    /// Those that are kept, and by no task of their own.
    n_kept: AtomicUsize,
}

impl Source {
    pub(crate) fn new(consumer: usize) -> Arc<Self> {
        Arc::new(Self {
            consumer,
            n_kept: AtomicUsize::new(0),
        })
    }
}

/// What the trace of a message knows of it. Each message that arrives has a [`Trace`] of its own.
///
/// [`Trace`]: crate::context::Trace
#[derive(Debug)]
pub(crate) struct Mark {
    source: Arc<Source>,
    /// Nanoseconds since the epoch; zero is never.
    asked_unix_ns: AtomicU64,
    is_gone: AtomicBool,
    /// Whether `source.n_kept` counts it.
    is_counted: AtomicBool,
}

impl Mark {
    pub(crate) fn new(source: Arc<Source>) -> Self {
        source.n_kept.fetch_add(1, Ordering::Relaxed);
        Self {
            source,
            asked_unix_ns: AtomicU64::new(0),
            is_gone: AtomicBool::new(false),
            is_counted: AtomicBool::new(true),
        }
    }

    pub(crate) fn consumer(&self) -> usize {
        self.source.consumer
    }

    /// The program has dropped the message.
    pub(crate) fn drop_message(&self) {
        self.is_gone.store(true, Ordering::Relaxed);
        self.uncount();
    }

    /// Whether the program has dropped the message.
    pub(crate) fn is_gone(&self) -> bool {
        self.is_gone.load(Ordering::Relaxed)
    }

    /// When its consumer was asked for the next one.
    pub(crate) fn asked_unix_ns(&self) -> Option<u64> {
        Some(self.asked_unix_ns.load(Ordering::Relaxed)).filter(|at| *at > 0)
    }

    pub(crate) fn ask(&self) {
        self.asked_unix_ns
            .store(export::now_unix_ns(), Ordering::Relaxed);
    }

    /// The message is gone, or has a task of its own: the next one does not overlap with it.
    fn uncount(&self) {
        if self.is_counted.swap(false, Ordering::Relaxed) {
            self.source.n_kept.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn is_in_hand(&self) -> bool {
        !self.is_gone() && self.asked_unix_ns().is_none()
    }
}

impl Drop for Mark {
    /// Of a message whose span was not made.
    fn drop(&mut self) {
        self.uncount();
    }
}

fn is_in_hand(message: &Context) -> bool {
    message.message().is_some_and(Mark::is_in_hand)
}

/// The messages that came to one level of a thread's stack of contexts.
#[derive(Debug, Default)]
pub(crate) struct Hands {
    messages: Vec<Context>,
    sources: Vec<Arc<Source>>,
}

/// Which message is worked on.
pub(crate) enum InHand<'a> {
    Nothing,
    One(&'a Context),
    /// Nobody knows.
    Several,
}

impl Hands {
    pub(crate) fn in_hand(&self) -> InHand<'_> {
        let mut held = self.messages.iter().filter(|message| is_in_hand(message));
        match (held.next(), held.next()) {
            (None, _) => InHand::Nothing,
            (Some(message), None) => InHand::One(message),
            (Some(_), Some(_)) => InHand::Several,
        }
    }

    /// The message in hand goes to a task: what comes next does not overlap with it.
    pub(crate) fn carry(&self) {
        if let InHand::One(message) = self.in_hand() {
            if let Some(mark) = message.message() {
                mark.uncount();
            }
        }
    }

    pub(crate) fn ask(&mut self, consumer: usize) {
        self.messages.retain(|message| {
            let Some(mark) = message.message() else {
                return false;
            };
            if mark.consumer() == consumer {
                mark.ask();
            }
            mark.is_in_hand()
        });
    }

    /// Whether messages of the consumer are kept that no task handles.
    pub(crate) fn keeps_some_of(&self, consumer: usize) -> bool {
        self.sources
            .iter()
            .any(|source| source.consumer == consumer && source.n_kept.load(Ordering::Relaxed) > 0)
    }

    pub(crate) fn source(&mut self, consumer: usize) -> Arc<Source> {
        self.sources
            .retain(|source| source.n_kept.load(Ordering::Relaxed) > 0);
        let known = self
            .sources
            .iter()
            .find(|source| source.consumer == consumer);
        if let Some(source) = known {
            return Arc::clone(source);
        }
        let source = Source::new(consumer);
        self.sources.push(Arc::clone(&source));
        source
    }

    pub(crate) fn put(&mut self, message: Context) {
        self.messages.retain(is_in_hand);
        if self.messages.len() < IN_HAND_MAX {
            self.messages.push(message);
            N_PUT.with(|puts| puts.set(puts.get().wrapping_add(1)));
        }
    }

    /// The message that was put last is in hand elsewhere.
    pub(crate) fn pass_on(&mut self) {
        self.messages.pop();
    }

    /// Takes over what an inner level had, which has returned.
    pub(crate) fn take_over(&mut self, inner: Self, is_at_work: bool) {
        // To give these, their consumers were asked within.
        for source in &inner.sources {
            self.ask(source.consumer);
        }
        for message in inner.messages {
            let Some(consumer) = message.message().map(Mark::consumer) else {
                continue;
            };
            if !is_at_work && is_in_hand(&message) && !self.keeps_some_of(consumer) {
                self.put(message);
            }
        }
        self.sources.extend(inner.sources);
        self.sources
            .retain(|source| source.n_kept.load(Ordering::Relaxed) > 0);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.sources.is_empty()
    }
}
