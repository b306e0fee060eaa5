//! Finished spans on their way to the collector: a batch that fills, requests that wait, requests
//! that are under way.
//!
//! One [`Pipeline`] serves all roots of a VM that export in the same manner: an Istio sidecar has an
//! inbound and an outbound root in one memory. The first of its roots exports, since a call belongs
//! to the root that starts it and dies with it; when that root ends, the next takes over.
//!
//! accepted = exported + dropped{reason} + held here, at all times.

mod answer;
mod gzip;
mod request;

use std::collections::VecDeque;

use spanloom_wire::Timestamp;
use spanloom_wire::otlp::TracesWriter;

use crate::config::Export;
use crate::host::{Host, HttpCall, LogLevel, Status};
use crate::metrics::{Counter, Counters};
use crate::random::Random;
use answer::Answer;

/// Requests under way at once: enough to fill the time of a round trip.
const IN_FLIGHT_MAX: usize = 4;
/// The host answers each call by its timeout. One that it forgot must not hold its place for ever.
const FORGOTTEN_AFTER_MS: u64 = 10_000;
/// How long the last root may go on exporting after the proxy asked it to end.
const DRAIN_MS_MAX: u64 = 5_000;

const NANOS_PER_MS: u64 = 1_000_000;

/// The spans of one resource in the open batch.
#[derive(Debug)]
struct Group {
    /// A `Resource` message.
    resource: Vec<u8>,
    /// Whole `spans` fields.
    spans: Vec<u8>,
}

/// An export request's body, until the collector answers for it.
#[derive(Debug)]
struct Sealed {
    body: Vec<u8>,
    n_spans: u32,
    sealed_at: Timestamp,
    n_attempts: u32,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting {
        until: Timestamp,
    },
    UnderWay {
        token: u32,
        root_id: u32,
        sent_at: Timestamp,
    },
}

/// What a call is made with.
pub(crate) struct Hands<'a, H> {
    pub(crate) host: &'a mut H,
    pub(crate) counters: &'a mut Counters,
    pub(crate) random: &'a mut Random,
    pub(crate) now: Timestamp,
    /// The context that the host called; it is the effective one again after an export.
    pub(crate) context_id: u32,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Pipeline {
    pub(crate) export: Export,
    /// The roots that it serves; the first exports.
    root_ids: Vec<u32>,
    /// Roots that were asked to end, and until when they may stay. They export only if there is no
    /// other.
    leaving: Vec<(u32, Timestamp)>,
    groups: Vec<Group>,
    n_open_spans: u32,
    n_open_bytes: usize,
    /// Oldest first.
    sealed: VecDeque<Sealed>,
    n_sealed_bytes: usize,
    /// A line is logged when exports begin to fail and when they work again, not for each.
    is_failing: bool,
}

impl Pipeline {
    pub(crate) const fn new(export: Export) -> Self {
        Self {
            export,
            root_ids: Vec::new(),
            leaving: Vec::new(),
            groups: Vec::new(),
            n_open_spans: 0,
            n_open_bytes: 0,
            sealed: VecDeque::new(),
            n_sealed_bytes: 0,
            is_failing: false,
        }
    }

    /// Serves one root more.
    pub(crate) fn join(&mut self, root_id: u32) {
        self.root_ids.push(root_id);
    }

    pub(crate) fn is_unused(&self) -> bool {
        self.root_ids.is_empty() && self.leaving.is_empty()
    }

    /// The root that exports.
    fn exporter(&self) -> Option<u32> {
        let leaving = self.leaving.iter().map(|(root_id, _)| root_id);
        self.root_ids.iter().chain(leaving).next().copied()
    }

    /// Takes a finished span, a `Span` message, into the open batch. False when there is no room.
    pub(crate) fn push(&mut self, resource: &[u8], span: &[u8]) -> bool {
        let n_bytes = span.len().saturating_add(8);
        let n_held = self.n_sealed_bytes.saturating_add(self.n_open_bytes);
        if n_held.saturating_add(n_bytes) > self.export.buffer_bytes_max {
            return false;
        }
        let at = self
            .groups
            .iter()
            .position(|group| group.resource == resource);
        let at = at.unwrap_or_else(|| {
            self.groups.push(Group {
                resource: resource.to_vec(),
                spans: Vec::new(),
            });
            self.groups.len().saturating_sub(1)
        });
        let Some(group) = self.groups.get_mut(at) else {
            return false;
        };
        request::put_span(&mut group.spans, span);
        self.n_open_spans = self.n_open_spans.saturating_add(1);
        self.n_open_bytes = self.n_open_bytes.saturating_add(n_bytes);
        true
    }

    /// Whether the open batch should leave without waiting for the tick.
    pub(crate) fn is_full(&self) -> bool {
        self.n_open_spans >= self.export.batch_spans_max
            || self.n_open_bytes >= self.export.batch_bytes_max
    }

    /// Closes the open batch and sends what may be sent.
    pub(crate) fn flush(&mut self, hands: &mut Hands<'_, impl Host>) {
        self.seal(hands.now);
        self.send_waiting(hands);
    }

    /// The timer of `root_id`. Each root has one, so that a hand-over needs no other.
    pub(crate) fn on_tick(&mut self, hands: &mut Hands<'_, impl Host>, root_id: u32) {
        if self.exporter() == Some(root_id) {
            hands.counters.add(Counter::Heartbeat, 1);
            self.recall_forgotten(hands.now);
            self.flush(hands);
        }
        self.release_leaving(hands);
    }

    /// The answer to a call of this pipeline; false when the token is not one of its.
    pub(crate) fn on_answer(
        &mut self,
        hands: &mut Hands<'_, impl Host>,
        token: u32,
        n_headers: u32,
        body_length: usize,
    ) -> bool {
        let is_it = |sealed: &Sealed| matches!(sealed.state, State::UnderWay { token: its, .. } if its == token);
        let Some(at) = self.sealed.iter().position(is_it) else {
            return false;
        };
        let answer = answer::read(hands.host, self.export.protocol, n_headers, body_length);
        self.settle(hands, at, answer);
        self.send_waiting(hands);
        self.release_leaving(hands);
        true
    }

    /// The root is asked to end. False when it has to stay for answers to its calls, which would
    /// die with it, or because nobody else could export what is left.
    pub(crate) fn on_root_done(&mut self, hands: &mut Hands<'_, impl Host>, root_id: u32) -> bool {
        let n_before = self.root_ids.len();
        self.root_ids.retain(|id| *id != root_id);
        if self.root_ids.len() == n_before {
            return true;
        }
        self.leaving
            .push((root_id, after_ms(hands.now, DRAIN_MS_MAX)));
        if self.root_ids.is_empty() {
            self.flush(hands);
        }
        if self.holds_back(root_id) {
            return false;
        }
        self.leaving.retain(|(id, _)| *id != root_id);
        true
    }

    fn holds_back(&self, root_id: u32) -> bool {
        self.sealed.iter().any(|sealed| match sealed.state {
            State::UnderWay { root_id: its, .. } => its == root_id,
            State::Waiting { .. } => self.root_ids.is_empty(),
        })
    }

    /// Lets go of the roots that need not stay, or may not stay longer.
    fn release_leaving(&mut self, hands: &mut Hands<'_, impl Host>) {
        while let Some((root_id, _)) = self
            .leaving
            .iter()
            .copied()
            .find(|(root_id, until)| hands.now >= *until || !self.holds_back(*root_id))
        {
            self.leaving.retain(|(id, _)| *id != root_id);
            for sealed in &mut self.sealed {
                // Its calls die with it. Better twice than never: somebody else sends them again.
                if matches!(sealed.state, State::UnderWay { root_id: its, .. } if its == root_id) {
                    sealed.state = State::Waiting { until: hands.now };
                }
            }
            if self.is_unused() {
                self.drop_all(hands.counters);
            }
            // Both fail only for a context that is gone already, and then nothing waits.
            let _gone = hands.host.set_effective_context(root_id);
            let _gone = hands.host.done();
            let _gone = hands.host.set_effective_context(hands.context_id);
        }
    }

    fn drop_all(&mut self, counters: &mut Counters) {
        let n_sealed: u64 = self
            .sealed
            .iter()
            .map(|sealed| u64::from(sealed.n_spans))
            .sum();
        let n_spans = n_sealed.saturating_add(self.n_open_spans.into());
        counters.add(Counter::DroppedShutdown, n_spans);
        self.sealed.clear();
        self.n_sealed_bytes = 0;
        self.groups.clear();
        self.n_open_spans = 0;
        self.n_open_bytes = 0;
    }

    fn seal(&mut self, now: Timestamp) {
        if self.n_open_spans == 0 {
            return;
        }
        let n_bytes = self.n_open_bytes.saturating_add(512);
        let mut body = request::begin(self.export.protocol, n_bytes);
        let mut traces = TracesWriter::new(&mut body);
        for group in &self.groups {
            traces.resource_spans(|resource_spans| {
                resource_spans.resource_bytes(&group.resource);
                resource_spans.scope_spans(|scope_spans| {
                    scope_spans.scope("spanloom-filter", env!("CARGO_PKG_VERSION"));
                    scope_spans.span_fields(&group.spans);
                });
            });
        }
        let body = request::finish(&self.export, body);
        self.groups.clear();
        self.n_open_bytes = 0;
        self.n_sealed_bytes = self.n_sealed_bytes.saturating_add(body.len());
        self.sealed.push_back(Sealed {
            body,
            n_spans: std::mem::take(&mut self.n_open_spans),
            sealed_at: now,
            n_attempts: 0,
            state: State::Waiting { until: now },
        });
    }

    fn send_waiting(&mut self, hands: &mut Hands<'_, impl Host>) {
        let is_under_way = |sealed: &&Sealed| matches!(sealed.state, State::UnderWay { .. });
        let mut n_under_way = self.sealed.iter().filter(is_under_way).count();
        let mut at = 0;
        while n_under_way < IN_FLIGHT_MAX
            && let Some(sealed) = self.sealed.get(at)
        {
            let is_due = matches!(sealed.state, State::Waiting { until } if until <= hands.now);
            // A batch that cannot be sent leaves the list or waits: never two rounds for one.
            let n_before = self.sealed.len();
            if is_due && self.send(hands, at) {
                n_under_way = n_under_way.saturating_add(1);
            }
            if self.sealed.len() == n_before {
                at = at.saturating_add(1);
            }
        }
    }

    /// Starts a call for the batch at `at`. False when it could not be started.
    fn send(&mut self, hands: &mut Hands<'_, impl Host>, at: usize) -> bool {
        let (Some(root_id), Some(sealed)) = (self.exporter(), self.sealed.get_mut(at)) else {
            return false;
        };
        hands.counters.add(Counter::ExportRequests, 1);
        sealed.n_attempts = sealed.n_attempts.saturating_add(1);
        let started = start_call(hands, &self.export, root_id, &sealed.body);
        match started {
            Ok(token) => {
                sealed.state = State::UnderWay {
                    token,
                    root_id,
                    sent_at: hands.now,
                };
                true
            }
            Err(status) => {
                let why = if status == Status::BadArgument {
                    hands.counters.add(Counter::ClusterMissing, 1);
                    "the proxy has no such cluster".to_owned()
                } else {
                    format!("the proxy refused the call: {status:?}")
                };
                self.settle(
                    hands,
                    at,
                    Answer::Retry {
                        after_ms: None,
                        why,
                    },
                );
                false
            }
        }
    }

    fn settle(&mut self, hands: &mut Hands<'_, impl Host>, at: usize, answer: Answer) {
        let Some(sealed) = self.sealed.get_mut(at) else {
            return;
        };
        let n_spans = u64::from(sealed.n_spans);
        let fault = match answer {
            Answer::Accepted {
                n_rejected,
                message,
            } => {
                let n_rejected = n_rejected.min(n_spans);
                hands
                    .counters
                    .add(Counter::SpansExported, n_spans.saturating_sub(n_rejected));
                hands.counters.add(Counter::DroppedRejected, n_rejected);
                message
            }
            Answer::Refused { why } => {
                hands.counters.add(Counter::DroppedRefused, n_spans);
                Some(why)
            }
            Answer::Retry {
                after_ms: pause,
                why,
            } => {
                let elapsed_ms = hands.now.since(sealed.sealed_at).as_millis();
                let pause_ms = pause
                    .unwrap_or_else(|| backoff_ms(&self.export, sealed.n_attempts, hands.random));
                let total_ms = elapsed_ms.saturating_add(pause_ms.into());
                if total_ms <= self.export.retry_elapsed_ms_max.into() {
                    hands.counters.add(Counter::ExportRetries, 1);
                    sealed.state = State::Waiting {
                        until: after_ms(hands.now, pause_ms),
                    };
                    self.log_change(hands.host, Some(why));
                    return;
                }
                hands
                    .counters
                    .add(Counter::DroppedRetriesExhausted, n_spans);
                Some(why)
            }
        };
        if let Some(gone) = self.sealed.remove(at) {
            self.n_sealed_bytes = self.n_sealed_bytes.saturating_sub(gone.body.len());
        }
        self.log_change(hands.host, fault);
    }

    fn log_change(&mut self, host: &mut impl Host, fault: Option<String>) {
        let cluster = &self.export.cluster;
        match (self.is_failing, fault) {
            (false, Some(fault)) => {
                let line = format!("spanloom: export to cluster {cluster}: {fault}");
                host.log(LogLevel::Warn, &line);
                self.is_failing = true;
            }
            (true, None) => {
                host.log(
                    LogLevel::Info,
                    &format!("spanloom: export to cluster {cluster} works"),
                );
                self.is_failing = false;
            }
            _ => {}
        }
    }

    fn recall_forgotten(&mut self, now: Timestamp) {
        let limit_ms = u64::from(self.export.timeout_ms).saturating_add(FORGOTTEN_AFTER_MS);
        for sealed in &mut self.sealed {
            if matches!(sealed.state, State::UnderWay { sent_at, .. }
                if after_ms(sent_at, limit_ms) < now)
            {
                sealed.state = State::Waiting { until: now };
            }
        }
    }
}

fn start_call(
    hands: &mut Hands<'_, impl Host>,
    export: &Export,
    root_id: u32,
    body: &[u8],
) -> Result<u32, Status> {
    let is_other = hands.context_id != root_id;
    if is_other {
        hands.host.set_effective_context(root_id)?;
    }
    let token = hands.host.http_call(HttpCall {
        cluster: &export.cluster,
        headers: &request::headers(export),
        body,
        timeout_ms: export.timeout_ms,
    });
    if is_other {
        hands.host.set_effective_context(hands.context_id)?;
    }
    token
}

/// Doubles with each attempt up to the limit, varied from half to one and a half of itself.
fn backoff_ms(export: &Export, n_attempts: u32, random: &mut Random) -> u64 {
    let doublings = n_attempts.saturating_sub(1).min(20);
    let grown = u64::from(export.retry_initial_ms) << doublings;
    let pause = grown.min(export.retry_interval_ms_max.into());
    let half = pause / 2;
    let variation = random
        .bits()
        .checked_rem(pause.saturating_add(1))
        .unwrap_or_default();
    half.saturating_add(variation)
}

fn after_ms(time: Timestamp, ms: u64) -> Timestamp {
    Timestamp::from_nanos(
        time.as_nanos()
            .saturating_add(ms.saturating_mul(NANOS_PER_MS)),
    )
}
