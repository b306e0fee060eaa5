//! Ended spans wait in a bounded queue, and a thread of its own sends them.
//!
//! The thread runs a current-thread runtime with telemetry suppressed. That one choice answers
//! three troubles of the usual set-up: the gRPC client needs a reactor even in a program without
//! one, a flush on a single-worker runtime waits for the worker that it blocks, and the client's
//! own spans would be exported in their turn.

use std::fmt;
use std::future::pending;
use std::io;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use crate::error::Error;
use crate::export::command::{Command, Commands, commands};
use crate::export::limit;
use crate::export::queue::{Queue, Spans};
use crate::settings::BatchSettings;
use crate::trace::Recorded;

/// The queue, and the thread behind it.
pub(crate) struct ExportThread {
    queue: Arc<Queue>,
    commands: Commands,
}

/// What else runs on the thread, as long as it does.
pub(crate) type Beside = Pin<Box<dyn Future<Output = ()> + Send>>;

impl ExportThread {
    /// Starts the thread, builds the exporter on it, and returns when that has worked.
    pub(crate) fn start<E: SpanExporter + 'static>(
        make_exporter: impl FnOnce() -> Result<E, Error> + Send + 'static,
        settings: BatchSettings,
        resource: Resource,
        beside: Beside,
    ) -> Result<Self, Error> {
        let queue = Arc::new(Queue::new(settings));
        let (commands, received) = commands();
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
                settings,
                exporter,
                last: Ok(()),
                n_dropped_told: 0,
            };
            runtime.spawn(beside);
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

    /// Takes an ended span, or drops it when the queue is full.
    pub(crate) fn push(&self, span: Box<Recorded>) {
        self.queue.push(span);
    }

    /// Sends everything that waits now.
    pub(crate) fn flush(&self, wait: Duration) -> OTelSdkResult {
        self.commands.ask(false, wait)
    }

    /// Sends everything that waits and ends the thread, or gives up after `timeout`.
    pub(crate) fn shutdown(&self, timeout: Duration) -> OTelSdkResult {
        if self.queue.close() {
            return Err(OTelSdkError::AlreadyShutdown);
        }
        self.commands.ask(true, timeout)
    }
}

impl fmt::Debug for ExportThread {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("ExportThread").finish_non_exhaustive()
    }
}

/// The thread's side.
struct Worker<E> {
    queue: Arc<Queue>,
    settings: BatchSettings,
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
                () = self.queue.batch_is_full() => None,
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
        match self.settings.schedule_delay {
            Duration::ZERO => pending().await,
            delay => sleep(delay).await,
        }
    }

    /// Exports everything that waits now, in batches, and returns the first failure.
    async fn drain(&mut self, taken: &mut Spans) -> OTelSdkResult {
        self.queue.take(taken);
        let mut result = Ok(());
        let mut rest = taken.drain(..);
        loop {
            let batch = rest.by_ref().take(self.settings.batch_spans_max);
            let batch: Vec<_> = batch.map(|span| self.settings.prepare(*span)).collect();
            if batch.is_empty() {
                return result;
            }
            let n_spans = batch.len();
            let limit = self.settings.export_timeout;
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

    /// Reports spans that found the queue full. Never from `push`, which may run inside a
    /// subscriber that must not be entered twice.
    fn tell_drops(&mut self) {
        let n_dropped = self.queue.n_dropped();
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

impl BatchSettings {
    /// The span as exporters get it, its texts cut to their limit.
    pub(super) fn prepare(&self, span: Recorded) -> SpanData {
        let mut span = span.into_data();
        if let Some(n_chars) = self.value_chars_max {
            limit::values(&mut span, n_chars);
        }
        span
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
