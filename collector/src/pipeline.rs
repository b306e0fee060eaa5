//! From a receiver to its exporters: validate once, count once, hand the same bytes to everyone.
//!
//! There is no queue yet: a receiver acks when every exporter of its pipelines has taken the
//! spans, so an ack means "kept or delivered". When one of several exporters fails for a passing
//! cause, the sender is told to send again, and those that succeeded get the spans twice: OTLP
//! prefers that to a loss.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::join_all;
use spanloom_wire::otlp::validate;
use tokio::time::Instant;

use crate::ledger::Account;
use crate::reason::{Failure, Reason};

/// A valid `ExportTraceServiceRequest` on its way. Cloning shares the bytes.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The request, validated.
    pub request: Bytes,
    /// How many spans are in it, at least one.
    pub n_spans: usize,
    /// When the sender stops waiting, where it said so: trying longer is of no use to it.
    pub deadline: Option<Instant>,
}

/// Takes batches somewhere else.
#[async_trait]
pub trait Exporter: Send + Sync + 'static {
    /// Delivers the batch; `Ok` says how many of its spans the destination rejected for good.
    ///
    /// # Errors
    /// Nothing was delivered, as far as is known.
    async fn export(&self, batch: &Batch) -> Result<u64, Failure>;
}

/// An exporter in its place: with its id and its account.
pub struct Outlet {
    id: String,
    exporter: Box<dyn Exporter>,
    account: Account,
    /// 0 while exports succeed, else 1 and the reason's number: an outage is two lines in the log,
    /// not one a request.
    failing: AtomicUsize,
}

impl Outlet {
    /// An outlet with nothing on its books.
    pub fn new(id: String, exporter: Box<dyn Exporter>) -> Self {
        Self {
            id,
            exporter,
            account: Account::default(),
            failing: AtomicUsize::new(0),
        }
    }

    /// The exporter's id in the configuration.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The books.
    pub const fn account(&self) -> &Account {
        &self.account
    }

    async fn send(&self, batch: &Batch) -> Result<(), Failure> {
        let entry = self.account.open(batch.n_spans);
        match self.exporter.export(batch).await {
            Ok(n_rejected) => {
                entry.done(n_rejected);
                self.log_recovery();
                Ok(())
            }
            Err(failure) => {
                entry.lost(failure.reason);
                self.log_failure(&failure);
                Err(failure)
            }
        }
    }

    fn log_failure(&self, failure: &Failure) {
        let (id, reason, message) = (&self.id, failure.reason.label(), &failure.message);
        if self.failing.swap(1 + failure.reason as usize, Relaxed) == 1 + failure.reason as usize {
            tracing::debug!(exporter = id, reason, "still failing: {message}");
        } else {
            tracing::warn!(exporter = id, reason, "could not export: {message}");
        }
    }

    fn log_recovery(&self) {
        if self.failing.load(Relaxed) != 0 && self.failing.swap(0, Relaxed) != 0 {
            tracing::info!(exporter = self.id, "exports again");
        }
    }
}

/// Where a receiver puts the requests that it read.
pub struct Intake {
    id: String,
    outlets: Vec<Arc<Outlet>>,
    account: Account,
}

impl Intake {
    /// The intake of the receiver `id`, in front of these outlets.
    pub fn new(id: String, outlets: Vec<Arc<Outlet>>) -> Self {
        Self {
            id,
            outlets,
            account: Account::default(),
        }
    }

    /// The receiver's id in the configuration.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The books.
    pub const fn account(&self) -> &Account {
        &self.account
    }

    /// Takes a request as it came: `Ok` means that every outlet has its spans.
    ///
    /// # Errors
    /// The request is invalid, or an outlet failed. A passing failure wins over a final one, since
    /// the sender then may still make everyone whole.
    pub async fn take(&self, request: Bytes, deadline: Option<Instant>) -> Result<(), Failure> {
        let summary = validate(&request).map_err(|invalid| {
            let failure = Failure::new(Reason::Malformed, invalid.to_string());
            self.refused(failure)
        })?;
        if summary.n_spans == 0 {
            return Ok(());
        }
        let entry = self.account.open(summary.n_spans);
        let batch = Batch {
            request,
            n_spans: summary.n_spans,
            deadline,
        };
        let outcome = match self.outlets.as_slice() {
            [only] => only.send(&batch).await,
            several => worst(join_all(several.iter().map(|outlet| outlet.send(&batch))).await),
        };
        match &outcome {
            Ok(()) => entry.done(0),
            Err(failure) => entry.lost(failure.reason),
        }
        outcome
    }

    /// Books and logs a request that is refused before its spans are counted.
    pub fn refused(&self, failure: Failure) -> Failure {
        self.account.refuse_request(failure.reason);
        tracing::debug!(
            receiver = self.id,
            reason = failure.reason.label(),
            "refused a request: {}",
            failure.message
        );
        failure
    }
}

fn worst(outcomes: Vec<Result<(), Failure>>) -> Result<(), Failure> {
    let failures = outcomes.into_iter().filter_map(Result::err);
    match failures.reduce(|a, b| {
        if b.is_passing() && !a.is_passing() {
            b
        } else {
            a
        }
    }) {
        Some(failure) => Err(failure),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use spanloom_wire::otlp::TracesWriter;
    use spanloom_wire::{SpanId, TraceId};

    use super::*;

    /// Answers what it was told to, to everyone.
    struct Scripted(Result<u64, Reason>);

    #[async_trait]
    impl Exporter for Scripted {
        async fn export(&self, _: &Batch) -> Result<u64, Failure> {
            self.0.map_err(|reason| Failure::new(reason, "scripted"))
        }
    }

    fn intake(outcomes: &[Result<u64, Reason>]) -> Intake {
        let outlets = outcomes
            .iter()
            .map(|&outcome| Arc::new(Outlet::new("x".to_owned(), Box::new(Scripted(outcome)))))
            .collect();
        Intake::new("otlp".to_owned(), outlets)
    }

    fn request() -> Bytes {
        let mut request = Vec::new();
        TracesWriter::new(&mut request).resource_spans(|group| {
            group.scope_spans(|group| {
                for id in 1..=3 {
                    group.span(|span| {
                        span.trace_id(TraceId::from_bytes([id; 16]).unwrap());
                        span.span_id(SpanId::from_bytes([id; 8]).unwrap());
                    });
                }
            });
        });
        request.into()
    }

    #[tokio::test]
    async fn an_ack_needs_every_outlet() {
        let intake = intake(&[Ok(0), Err(Reason::StoreFailed)]);
        let failure = intake.take(request(), None).await.unwrap_err();
        assert_eq!(failure.reason, Reason::StoreFailed);
        assert_eq!(intake.outlets[0].account().balance().done, 3);
        assert_eq!(
            intake.outlets[1]
                .account()
                .balance()
                .lost(Reason::StoreFailed),
            3
        );
        assert_eq!(intake.account().balance().lost(Reason::StoreFailed), 3);
    }

    #[tokio::test]
    async fn a_passing_failure_is_told_before_a_final_one() {
        let intake = intake(&[
            Err(Reason::DestinationRejected),
            Err(Reason::DestinationUnavailable),
        ]);
        let failure = intake.take(request(), None).await.unwrap_err();
        assert_eq!(failure.reason, Reason::DestinationUnavailable);
    }

    #[tokio::test]
    async fn an_empty_request_is_a_success_that_nobody_hears_of() {
        let intake = intake(&[Err(Reason::StoreFailed)]);
        assert_eq!(intake.take(Bytes::new(), None).await, Ok(()));
    }

    #[tokio::test]
    async fn an_invalid_request_reaches_nobody() {
        let intake = intake(&[Ok(0)]);
        let failure = intake
            .take(Bytes::from_static(b"\x0a\xff"), None)
            .await
            .unwrap_err();
        assert_eq!(failure.reason, Reason::Malformed);
        assert_eq!(intake.outlets[0].account().balance().taken, 0);
        assert_eq!(
            intake
                .account()
                .balance()
                .refused_requests(Reason::Malformed),
            1
        );
    }

    #[tokio::test]
    async fn spans_that_a_destination_rejects_are_on_its_books_and_acked() {
        let intake = intake(&[Ok(2)]);
        assert_eq!(intake.take(request(), None).await, Ok(()));
        let balance = intake.outlets[0].account().balance();
        assert_eq!((balance.done, balance.lost(Reason::PartialSuccess)), (1, 2));
    }
}
