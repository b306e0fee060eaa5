//! Where ended spans wait.
//!
//! A caller pushes one pointer under a lock that it nearly always has for itself: the queue has
//! several shards, and each thread keeps to one. The export thread takes all that waits at once, so
//! nobody waits for an export. One count over all shards keeps the bound, whoever fills it.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::available_parallelism;

use tokio::sync::Notify;

use crate::settings::BatchSettings;
use crate::trace::Recorded;

/// Boxed, because a pointer is all that a caller moves under the lock.
pub(super) type Spans = Vec<Box<Recorded>>;

/// More threads than this share shards.
const SHARDS_MAX: usize = 16;

pub(super) struct Queue {
    shards: Vec<Shard>,
    n_waiting: AtomicUsize,
    spans_max: usize,
    batch_spans_max: usize,
    is_batch_full: Notify,
    n_dropped: AtomicU64,
    is_closed: AtomicBool,
}

/// On cache lines of its own, or two threads would wait for each other all the same.
#[repr(align(128))]
#[derive(Default)]
struct Shard(Mutex<Spans>);

impl Shard {
    fn with<T>(&self, work: impl FnOnce(&mut Spans) -> T) -> T {
        // A poisoned lock still guards a whole vector: nothing below can tear it.
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Queue {
    pub(super) fn new(settings: BatchSettings) -> Self {
        let n_shards = available_parallelism().map_or(1, |n| n.get().min(SHARDS_MAX));
        Self {
            shards: (0..n_shards).map(|_| Shard::default()).collect(),
            n_waiting: AtomicUsize::new(0),
            spans_max: settings.queue_spans_max,
            batch_spans_max: settings.batch_spans_max,
            is_batch_full: Notify::new(),
            n_dropped: AtomicU64::new(0),
            is_closed: AtomicBool::new(false),
        }
    }

    /// Takes a span, or drops it when the queue is full or closed.
    pub(super) fn push(&self, span: Box<Recorded>) {
        let n_before = self.n_waiting.fetch_add(1, Ordering::Relaxed);
        if n_before >= self.spans_max || self.is_closed.load(Ordering::Relaxed) {
            self.n_waiting.fetch_sub(1, Ordering::Relaxed);
            self.n_dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.shards[shard_of_thread() % self.shards.len()].with(|spans| spans.push(span));
        if n_before + 1 == self.batch_spans_max {
            self.is_batch_full.notify_one();
        }
    }

    /// Moves everything that waits into `taken`, which must be empty.
    pub(super) fn take(&self, taken: &mut Spans) {
        for shard in &self.shards {
            shard.with(|spans| taken.append(spans));
        }
        let n_before = self.n_waiting.fetch_sub(taken.len(), Ordering::Relaxed);
        // What came meanwhile may make a batch that nobody crosses the line of any more.
        if n_before.saturating_sub(taken.len()) >= self.batch_spans_max {
            self.is_batch_full.notify_one();
        }
    }

    /// Resolves when a whole batch waits.
    pub(super) async fn batch_is_full(&self) {
        self.is_batch_full.notified().await;
    }

    /// Takes no more; whether it was closed before.
    pub(super) fn close(&self) -> bool {
        self.is_closed.swap(true, Ordering::Relaxed)
    }

    /// How many spans found no room since the start.
    pub(super) fn n_dropped(&self) -> u64 {
        self.n_dropped.load(Ordering::Relaxed)
    }
}

/// A number that stays the same for a thread and goes round among threads.
fn shard_of_thread() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: Cell<usize> = Cell::new(NEXT.fetch_add(1, Ordering::Relaxed));
    }
    OWN.get()
}
