//! The span processor: ended spans wait in a bounded queue, and a thread of its own sends them.
//!
//! The thread runs a current-thread runtime with telemetry suppressed. That one choice answers
//! three troubles of the usual set-up: the gRPC client needs a reactor even in a program without
//! one, a flush on a single-worker runtime waits for the worker that it blocks, and the client's
//! own spans would be exported in their turn.

use std::fmt;
use std::future::pending;
use std::io;
use std::mem;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{Span, SpanData, SpanExporter, SpanProcessor};
use tokio::sync::{Notify, mpsc};
use tokio::time::{sleep, timeout};

use crate::error::Error;
use crate::export::limit;
use crate::settings::BatchSettings;

/// How long [`SpanProcessor::force_flush`], which names no bound, may wait.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// Collects sampled spans and hands them to the export thread.
pub(crate) struct BatchProcessor {
    queue: Arc<Queue>,
    commands: mpsc::Sender<Command>,
}

/// What the thread is asked for, beside its work.
struct Command {
    reply: SyncSender<OTelSdkResult>,
    is_last: bool,
}

/// Where spans wait. The thread takes all of them at once, so that a caller holds the lock only
/// for one push and never waits for an export.
struct Queue {
    spans: Mutex<Vec<SpanData>>,
    settings: BatchSettings,
    batch_is_full: Notify,
    n_dropped: AtomicU64,
    is_closed: AtomicBool,
}

impl BatchProcessor {
    /// Starts the thread, builds the exporter on it, and returns when that has worked.
    pub(crate) fn start<E: SpanExporter + 'static>(
        make_exporter: impl FnOnce() -> Result<E, Error> + Send + 'static,
        settings: BatchSettings,
        resource: Resource,
    ) -> Result<Self, Error> {
        let queue = Arc::new(Queue {
            spans: Mutex::default(),
            settings,
            batch_is_full: Notify::new(),
            n_dropped: AtomicU64::new(0),
            is_closed: AtomicBool::new(false),
        });
        let (commands, received) = mpsc::channel(16);
        let (started, has_started) = sync_channel(1);
        let of_thread = Arc::clone(&queue);
        let body = move || {
            let _suppressed = Context::enter_telemetry_suppressed_scope();
            let runtime = match tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
            {
                Ok(runtime) => runtime,
                Err(error) => return drop(started.send(Err(Error::ExportThread(error)))),
            };
            let _inside = runtime.enter();
            let mut exporter = match make_exporter() {
                Ok(exporter) => exporter,
                Err(error) => return drop(started.send(Err(error))),
            };
            exporter.set_resource(&resource);
            drop(started.send(Ok(())));
            let worker = Worker {
                queue: of_thread,
                exporter,
                last: Ok(()),
                n_dropped_told: 0,
            };
            runtime.block_on(worker.run(received));
        };
        let thread = thread::Builder::new()
            .name("spanloom-export".to_owned())
            .spawn(body);
        thread.map_err(Error::ExportThread)?;
        has_started
            .recv()
            .unwrap_or_else(|gone| Err(Error::ExportThread(io::Error::other(gone))))?;
        Ok(Self { queue, commands })
    }

    /// Asks the thread and waits for its answer, at most for `wait`.
    fn ask(&self, is_last: bool, wait: Duration) -> OTelSdkResult {
        let (reply, answer) = sync_channel(1);
        match self.commands.try_send(Command { reply, is_last }) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(OTelSdkError::AlreadyShutdown),
            Err(mpsc::error::TrySendError::Full(_)) => {
                return Err(OTelSdkError::InternalFailure(
                    "too many flushes wait".to_owned(),
                ));
            }
        }
        match answer.recv_timeout(wait) {
            Ok(result) => result,
            Err(RecvTimeoutError::Timeout) => Err(OTelSdkError::Timeout(wait)),
            Err(RecvTimeoutError::Disconnected) => Err(OTelSdkError::AlreadyShutdown),
        }
    }
}

impl SpanProcessor for BatchProcessor {
    fn on_start(&self, _span: &mut Span, _context: &Context) {}

    fn on_end(&self, span: SpanData) {
        // A span may be recorded without being sampled; only sampled ones may be exported.
        if span.span_context.is_sampled() {
            self.queue.push(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.ask(false, FLUSH_TIMEOUT)
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        if self.queue.is_closed.swap(true, Ordering::Relaxed) {
            return Err(OTelSdkError::AlreadyShutdown);
        }
        self.ask(true, timeout)
    }
}

impl fmt::Debug for BatchProcessor {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("BatchProcessor").finish_non_exhaustive()
    }
}

impl Queue {
    /// A poisoned lock still guards a whole vector: nothing between lock and unlock can tear it.
    fn lock(&self) -> MutexGuard<'_, Vec<SpanData>> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, span: SpanData) {
        let n_waiting = {
            let mut spans = self.lock();
            if spans.len() >= self.settings.queue_spans_max
                || self.is_closed.load(Ordering::Relaxed)
            {
                self.n_dropped.fetch_add(1, Ordering::Relaxed);
                return;
            }
            spans.push(span);
            spans.len()
        };
        if n_waiting == self.settings.batch_spans_max {
            self.batch_is_full.notify_one();
        }
    }
}

/// The thread's side.
struct Worker<E> {
    queue: Arc<Queue>,
    exporter: E,
    /// How the most recent export ended: what a shutdown with nothing left to send reports.
    last: OTelSdkResult,
    n_dropped_told: u64,
}

impl<E: SpanExporter> Worker<E> {
    async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut taken = Vec::new();
        loop {
            let command = tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => Some(command),
                    None => return,
                },
                () = self.queue.batch_is_full.notified() => None,
                () = self.next_tick() => None,
            };
            let result = self.drain(&mut taken).await;
            self.tell_drops();
            let Some(command) = command else { continue };
            if command.is_last {
                let exporter = self.exporter.shutdown();
                let result = result
                    .and(mem::replace(&mut self.last, Ok(())))
                    .and(exporter);
                drop(command.reply.send(result));
                return;
            }
            drop(command.reply.send(result));
        }
    }

    async fn next_tick(&self) {
        match self.queue.settings.schedule_delay {
            Duration::ZERO => pending().await,
            delay => sleep(delay).await,
        }
    }

    /// Exports everything that waits now, in batches, and returns the first failure.
    async fn drain(&mut self, taken: &mut Vec<SpanData>) -> OTelSdkResult {
        mem::swap(taken, &mut *self.queue.lock());
        if let Some(n_chars) = self.queue.settings.value_chars_max {
            taken
                .iter_mut()
                .for_each(|span| limit::values(span, n_chars));
        }
        let mut result = Ok(());
        let mut rest = taken.drain(..);
        loop {
            let batch: Vec<_> = rest
                .by_ref()
                .take(self.queue.settings.batch_spans_max)
                .collect();
            if batch.is_empty() {
                return result;
            }
            let n_spans = batch.len();
            let limit = self.queue.settings.export_timeout;
            let outcome = match timeout(limit, self.exporter.export(batch)).await {
                Ok(outcome) => outcome,
                Err(_) => Err(OTelSdkError::Timeout(limit)),
            };
            // One line when it starts to fail and one when it works again, not one a batch.
            match (&self.last, &outcome) {
                (Ok(()), Err(error)) => tracing::warn!(
                    target: "spanloom", n_spans, %error, "spans are being lost: the export fails"
                ),
                (Err(_), Ok(())) => tracing::info!(target: "spanloom", "the export works again"),
                _ => {}
            }
            if let (Ok(()), Err(error)) = (&result, &outcome) {
                result = Err(copy(error));
            }
            self.last = outcome;
        }
    }

    /// Reports spans that found the queue full. Never from `on_end`, which may run inside a
    /// subscriber that must not be entered twice.
    fn tell_drops(&mut self) {
        let n_dropped = self.queue.n_dropped.load(Ordering::Relaxed);
        if n_dropped > self.n_dropped_told {
            let n_new = n_dropped - self.n_dropped_told;
            tracing::warn!(
                target: "spanloom", n_spans = n_new, n_spans_total = n_dropped,
                "spans were dropped: the queue was full (OTEL_BSP_MAX_QUEUE_SIZE)"
            );
            self.n_dropped_told = n_dropped;
        }
    }
}

/// The error type is not `Clone`.
fn copy(error: &OTelSdkError) -> OTelSdkError {
    match error {
        OTelSdkError::AlreadyShutdown => OTelSdkError::AlreadyShutdown,
        OTelSdkError::Timeout(limit) => OTelSdkError::Timeout(*limit),
        OTelSdkError::InternalFailure(message) => OTelSdkError::InternalFailure(message.clone()),
    }
}
