//! `xray`: the sampling rules of AWS X-Ray, asked for at a daemon or a collector near the program.
//!
//! The protocol is the [X-Ray API's][api], which the daemon passes on with credentials of its own:
//! `POST /GetSamplingRules` every five minutes, and `POST /SamplingTargets` every ten seconds, with
//! what was counted and for a share of each rule's reservoir. While nobody answers, and when the
//! rules are more than an hour old, the first request of a second and five in a hundred of the
//! others are sampled, which is what AWS's own SDKs do.
//!
//! A rule's service type is matched with `cloud.platform` of the resource, and its ARN with
//! `aws.ecs.container.arn` or, on Lambda, with `cloud.resource_id`.
//!
//! [api]: https://docs.aws.amazon.com/xray/latest/devguide/xray-api-sampling.html

mod rule;
mod service;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant, UNIX_EPOCH};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry::trace::{Link, SpanKind, TraceContextExt, TraceId};
use opentelemetry::{Context, KeyValue, time};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{
    IdGenerator, RandomIdGenerator, Sampler, SamplingResult, ShouldSample,
};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use self::rule::{Asked, Rule};
use self::service::Service;
use super::decision;
use super::remote::Bucket;
use crate::settings::RemoteSetting;

/// How long the daemon may take for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// More than this is no answer.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// More rules are cut off, and more pages are not asked for: an account has 25 rules unless AWS
/// allows it more.
const RULES_MAX: usize = 1_000;
const PAGES_MAX: usize = 20;

/// How often counts are told and shares asked for, unless rules are asked for more often.
const TARGETS_INTERVAL: Duration = Duration::from_secs(10);

/// Rules that nobody has confirmed for so long count no more.
const RULES_AGE_MAX: Duration = Duration::from_secs(3600);

/// Of what the first one of a second leaves over, while there are no rules.
const FALLBACK_RATE: f64 = 0.05;

/// Decides by the first rule that matches, or by the fallback.
#[derive(Clone, Debug)]
pub(crate) struct XraySampler {
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    rules: RwLock<Rules>,
    fallback: Bucket,
}

#[derive(Debug, Default)]
struct Rules {
    /// By priority. Only those that are for this service.
    list: Vec<Arc<Rule>>,
    fetched: Option<Instant>,
}

impl XraySampler {
    pub(crate) fn new() -> Self {
        Self {
            state: Arc::new(State {
                rules: RwLock::default(),
                fallback: Bucket::new(1.0, Instant::now()),
            }),
        }
    }

    /// Asks the daemon for ever. Runs on the export thread, where telemetry is suppressed.
    pub(crate) async fn poll(self, setting: RemoteSetting, resource: Resource, name: String) {
        let service = Service::of(&resource, name);
        let daemon = Daemon {
            client: Client::builder(TokioExecutor::new()).build_http(),
            endpoint: setting.endpoint.clone(),
            client_id: RandomIdGenerator::default().new_trace_id().to_string()[..24].to_owned(),
        };
        let interval = setting.interval.min(TARGETS_INTERVAL);
        let (mut was_answered, mut rules_due) = (true, Instant::now());
        loop {
            let result = self
                .ask(&daemon, &service, &mut rules_due, setting.interval)
                .await;
            if let (Err(error), true) = (&result, was_answered) {
                tracing::warn!(
                    target: "spanloom", endpoint = setting.endpoint, %error,
                    "the X-Ray daemon does not answer: the last rules stay, or one request a \
                     second and 5 % are sampled"
                );
            }
            was_answered = result.is_ok();
            sleep(interval).await;
        }
    }

    async fn ask(
        &self,
        daemon: &Daemon,
        service: &Service,
        rules_due: &mut Instant,
        interval: Duration,
    ) -> Result<(), String> {
        let now = Instant::now();
        if now >= *rules_due {
            let rules = daemon.rules().await?;
            self.replace(&rules, service, now);
            *rules_due = now + interval;
        }
        let rules = self.rules();
        if rules.is_empty() {
            return Ok(());
        }
        let targets = daemon.targets(&rules).await?;
        let (instant, epoch_s) = (Instant::now(), epoch_s());
        for target in list(&targets, "SamplingTargetDocuments") {
            let named = |rule: &&Arc<Rule>| target["RuleName"] == rule.name();
            if let Some(rule) = rules.iter().find(named) {
                rule.aim(target, instant, epoch_s);
            }
        }
        Ok(())
    }

    fn rules(&self) -> Vec<Arc<Rule>> {
        let rules = self.state.rules.read();
        rules.unwrap_or_else(PoisonError::into_inner).list.clone()
    }

    /// Takes new rules. One that has not changed keeps what it has counted and its share.
    fn replace(&self, records: &[Value], service: &Service, now: Instant) {
        let old = self.rules();
        let new = records.iter().take(RULES_MAX).filter_map(|record| {
            let rule = Rule::read(&record["SamplingRule"], service, now)?;
            let same = old.iter().find(|old| old.is_same(&rule)).cloned();
            Some(same.unwrap_or_else(|| Arc::new(rule)))
        });
        let mut new: Vec<_> = new.collect();
        new.sort_by(|a, b| a.order().cmp(&b.order()));
        let rules = self.state.rules.write();
        *rules.unwrap_or_else(PoisonError::into_inner) = Rules {
            list: new,
            fetched: Some(now),
        };
    }

    /// Whether a count lets it through; if not, the share of the others that is sampled.
    fn decide(&self, asked: Asked<'_>, now: Instant) -> (Option<Arc<Rule>>, bool, f64) {
        let rules = self.state.rules.read();
        let rules = rules.unwrap_or_else(PoisonError::into_inner);
        let is_fresh = |at: Instant| now.saturating_duration_since(at) < RULES_AGE_MAX;
        let mut list = rules
            .list
            .iter()
            .filter(|_| rules.fetched.is_some_and(is_fresh));
        match list.find(|rule| rule.matches(asked)) {
            Some(rule) => {
                let (is_within, rate) = rule.take(now);
                (Some(Arc::clone(rule)), is_within, rate)
            }
            None => (None, self.state.fallback.take(now), FALLBACK_RATE),
        }
    }
}

impl ShouldSample for XraySampler {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace_id: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        let (rule, is_within, rate) = self.decide(Asked(attributes), Instant::now());
        if is_within {
            let state = parent.map(|parent| parent.span().span_context().trace_state().clone());
            return SamplingResult {
                decision: decision(true),
                attributes: Vec::new(),
                trace_state: state.unwrap_or_default(),
            };
        }
        let sampler = Sampler::TraceIdRatioBased(rate);
        let result = sampler.should_sample(parent, trace_id, name, kind, attributes, links);
        if let Some(rule) = rule.filter(|_| result.decision == decision(true)) {
            rule.count_sampled();
        }
        result
    }
}

/// Whoever answers.
struct Daemon {
    client: Client<HttpConnector, Full<Bytes>>,
    endpoint: String,
    /// What tells this process from others of its service: 24 hexadecimal digits.
    client_id: String,
}

impl Daemon {
    async fn rules(&self) -> Result<Vec<Value>, String> {
        let mut rules = Vec::new();
        let mut question = json!({});
        for _ in 0..PAGES_MAX {
            let mut answer = self.post("/GetSamplingRules", &question).await?;
            match answer["SamplingRuleRecords"].take() {
                Value::Array(page) => rules.extend(page),
                _ => return Err("an answer without SamplingRuleRecords".to_owned()),
            }
            match answer["NextToken"].take() {
                Value::String(token) => question = json!({ "NextToken": token }),
                _ => break,
            }
        }
        Ok(rules)
    }

    async fn targets(&self, rules: &[Arc<Rule>]) -> Result<Value, String> {
        let now = epoch_s().floor();
        let counts = rules
            .iter()
            .map(|rule| rule.statistics(&self.client_id, now));
        let counts: Vec<_> = counts.collect();
        let question = json!({ "SamplingStatisticsDocuments": counts });
        self.post("/SamplingTargets", &question).await
    }

    async fn post(&self, path: &str, question: &Value) -> Result<Value, String> {
        let request = http::Request::post(format!("{}{path}", self.endpoint))
            .header("content-type", "application/json")
            .body(Full::from(question.to_string()))
            .map_err(|error| error.to_string())?;
        let answer = async {
            let response = self
                .client
                .request(request)
                .await
                .map_err(|error| error.to_string())?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX);
            let body = body.collect().await.map_err(|error| error.to_string())?;
            if !status.is_success() {
                return Err(format!("{path} was answered with {status}"));
            }
            serde_json::from_slice(&body.to_bytes()).map_err(|error| error.to_string())
        };
        timeout(ANSWER_TIMEOUT, answer)
            .await
            .unwrap_or_else(|_| Err("no answer in time".to_owned()))
    }
}

/// The members of a list in an answer, none when it is not there.
fn list<'a>(answer: &'a Value, name: &str) -> &'a [Value] {
    answer[name].as_array().map_or(&[], Vec::as_slice)
}

fn epoch_s() -> f64 {
    let now = time::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default().as_secs_f64()
}

#[cfg(test)]
mod tests;
