//! `jaeger_remote`: a server says how much to sample, and is asked again from time to time.
//!
//! The protocol is gRPC, `jaeger.api_v2.SamplingManager/GetSamplingStrategy` of jaeger-idl's
//! `sampling.proto`; its few messages are written down here. Until the server has answered, and
//! while it does not, the last strategy stays, at first the initial rate.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use opentelemetry::trace::{Link, SpanKind, TraceContextExt, TraceId};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{Sampler, SamplingResult, ShouldSample};
use tokio::time::{sleep, timeout};
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Endpoint;
use tonic_prost::ProstCodec;

use super::decision;
use crate::settings::RemoteSetting;

/// How long the server may take for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// More operations than this are cut off: the server's list must not fill our memory.
const OPERATIONS_MAX: usize = 10_000;

/// Decides as the strategy says that came last.
#[derive(Clone, Debug)]
pub(crate) struct RemoteSampler {
    strategy: Arc<RwLock<Strategy>>,
}

#[derive(Debug)]
enum Strategy {
    Ratio(f64),
    PerSecond(Bucket),
    PerOperation {
        operations: HashMap<String, Operation>,
        others: Operation,
    },
}

/// A share of an operation's traces, and so many a second at least.
#[derive(Debug)]
struct Operation {
    ratio: f64,
    at_least: Bucket,
}

impl RemoteSampler {
    pub(crate) fn new(initial_rate: f64) -> Self {
        Self {
            strategy: Arc::new(RwLock::new(Strategy::Ratio(initial_rate))),
        }
    }

    /// Asks the server for ever. Runs on the export thread, where telemetry is suppressed.
    pub(crate) async fn poll(self, setting: RemoteSetting, service: String) {
        let endpoint = match Endpoint::from_shared(setting.endpoint.clone()) {
            Ok(endpoint) => endpoint,
            Err(error) => {
                let endpoint = setting.endpoint;
                tracing::warn!(target: "spanloom", endpoint, %error, "no address of a sampling server");
                return;
            }
        };
        let mut client = Grpc::new(endpoint.connect_lazy());
        let mut was_answered = true;
        loop {
            let question = Question {
                service: service.clone(),
            };
            let answer = match timeout(ANSWER_TIMEOUT, ask(&mut client, question)).await {
                Ok(answer) => answer,
                Err(_) => Err(tonic::Status::deadline_exceeded("no answer in time")),
            };
            match &answer {
                Err(error) if was_answered => tracing::warn!(
                    target: "spanloom", endpoint = setting.endpoint, %error,
                    "the sampling server does not answer: the last strategy stays"
                ),
                _ => {}
            }
            was_answered = answer.is_ok();
            if let Ok(answer) = answer {
                let strategy = Strategy::from(answer);
                *self
                    .strategy
                    .write()
                    .unwrap_or_else(PoisonError::into_inner) = strategy;
            }
            sleep(setting.interval).await;
        }
    }
}

async fn ask(
    client: &mut Grpc<tonic::transport::Channel>,
    question: Question,
) -> Result<Answer, tonic::Status> {
    let ready = client.ready().await;
    ready.map_err(|error| tonic::Status::unavailable(error.to_string()))?;
    let path = PathAndQuery::from_static("/jaeger.api_v2.SamplingManager/GetSamplingStrategy");
    let codec = ProstCodec::<Question, Answer>::default();
    Ok(client
        .unary(tonic::Request::new(question), path, codec)
        .await?
        .into_inner())
}

impl ShouldSample for RemoteSampler {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace_id: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        let by_ratio = |ratio| {
            let sampler = Sampler::TraceIdRatioBased(ratio);
            sampler.should_sample(parent, trace_id, name, kind, attributes, links)
        };
        let by_count = |is_sampled| {
            let state = parent.map(|parent| parent.span().span_context().trace_state().clone());
            let trace_state = state.unwrap_or_default();
            SamplingResult {
                decision: decision(is_sampled),
                attributes: Vec::new(),
                trace_state,
            }
        };
        match &*self.strategy.read().unwrap_or_else(PoisonError::into_inner) {
            Strategy::Ratio(ratio) => by_ratio(*ratio),
            Strategy::PerSecond(bucket) => by_count(bucket.take(Instant::now())),
            Strategy::PerOperation { operations, others } => {
                let operation = operations.get(name).unwrap_or(others);
                let result = by_ratio(operation.ratio);
                // What the ratio keeps counts for the least as well.
                let is_due = operation.at_least.take(Instant::now());
                if result.decision == decision(false) && is_due {
                    by_count(true)
                } else {
                    result
                }
            }
        }
    }
}

/// Lets so many through a second; what was not used is saved for one second.
#[derive(Debug)]
pub(super) struct Bucket {
    per_second: f64,
    level: Mutex<(f64, Instant)>,
}

impl Bucket {
    pub(super) fn new(per_second: f64, now: Instant) -> Self {
        let per_second = if per_second.is_finite() {
            per_second.max(0.0)
        } else {
            0.0
        };
        Self {
            per_second,
            level: Mutex::new((Self::most(per_second), now)),
        }
    }

    /// Less than one a second still lets one through in time.
    fn most(per_second: f64) -> f64 {
        if per_second == 0.0 {
            0.0
        } else {
            per_second.max(1.0)
        }
    }

    pub(super) fn per_second(&self) -> f64 {
        self.per_second
    }

    pub(super) fn take(&self, now: Instant) -> bool {
        let mut level = self.level.lock().unwrap_or_else(PoisonError::into_inner);
        let earned = now.saturating_duration_since(level.1).as_secs_f64() * self.per_second;
        let available = (level.0 + earned).min(Self::most(self.per_second));
        let is_enough = available >= 1.0;
        *level = (
            if is_enough {
                available - 1.0
            } else {
                available
            },
            now,
        );
        is_enough
    }
}

impl From<Answer> for Strategy {
    fn from(answer: Answer) -> Self {
        let now = Instant::now();
        if let Some(by_operation) = answer.by_operation {
            let operation = |ratio| Operation {
                ratio,
                at_least: Bucket::new(by_operation.at_least_per_second, now),
            };
            let named = by_operation.operations.into_iter().take(OPERATIONS_MAX);
            return Self::PerOperation {
                operations: named
                    .map(|named| (named.name, operation(named.ratio.unwrap_or_default().rate)))
                    .collect(),
                others: operation(by_operation.default_rate),
            };
        }
        match (answer.kind, answer.per_second) {
            (1, Some(limit)) => Self::PerSecond(Bucket::new(f64::from(limit.traces), now)),
            _ => Self::Ratio(answer.ratio.unwrap_or_default().rate),
        }
    }
}

/// `SamplingStrategyParameters`.
#[derive(Clone, PartialEq, prost::Message)]
struct Question {
    #[prost(string, tag = "1")]
    service: String,
}

/// `SamplingStrategyResponse`; its kind is 0 for a ratio and 1 for a limit a second.
#[derive(Clone, PartialEq, prost::Message)]
struct Answer {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(message, optional, tag = "2")]
    ratio: Option<Ratio>,
    #[prost(message, optional, tag = "3")]
    per_second: Option<PerSecond>,
    #[prost(message, optional, tag = "4")]
    by_operation: Option<ByOperation>,
}

/// `ProbabilisticSamplingStrategy`.
#[derive(Clone, Copy, PartialEq, prost::Message)]
struct Ratio {
    #[prost(double, tag = "1")]
    rate: f64,
}

/// `RateLimitingSamplingStrategy`.
#[derive(Clone, Copy, PartialEq, prost::Message)]
struct PerSecond {
    #[prost(int32, tag = "1")]
    traces: i32,
}

/// `PerOperationSamplingStrategies`.
#[derive(Clone, PartialEq, prost::Message)]
struct ByOperation {
    #[prost(double, tag = "1")]
    default_rate: f64,
    #[prost(double, tag = "2")]
    at_least_per_second: f64,
    #[prost(message, repeated, tag = "3")]
    operations: Vec<NamedRatio>,
}

/// `OperationSamplingStrategy`.
#[derive(Clone, PartialEq, prost::Message)]
struct NamedRatio {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    ratio: Option<Ratio>,
}

#[cfg(test)]
mod tests;
