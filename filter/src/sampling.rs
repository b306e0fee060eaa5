//! Which requests are recorded.
//!
//! In this order: a rule of ratio 0 drops; a caller's request for debugging keeps; the caller's
//! decision is followed, unless it is not trusted; a new decision is made by the first rule that
//! matches or the overall ratio, and then by the limit of spans a second. What is not recorded
//! still carries its context on, with the sampled flag off, so that everybody behind agrees.

use spanloom_wire::context::{Caller, SamplingState, TraceState};
use spanloom_wire::sampling::{Decision, Threshold, randomness, threshold};
use spanloom_wire::{Timestamp, TraceId};

use crate::config::{Direction, Sampling};
use crate::glob::Glob;
use crate::host::Host;
use crate::property;
use crate::request::Request;
use crate::url::split_target;

/// Which requests a ratio is for. Everything that it says has to hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rule {
    /// The side of the call.
    pub direction: Option<Direction>,
    /// The method.
    pub method: Option<String>,
    /// The path, without the query.
    pub path: Option<Glob>,
    /// The `:authority`.
    pub host: Option<Glob>,
    /// Headers, by lower-case names.
    pub headers: Vec<(String, Glob)>,
    /// The port that the request came in by.
    pub port: Option<u16>,
    /// The share that is recorded: 0 drops, whatever the caller decided.
    pub ratio: f64,
}

/// What the decision is about.
#[derive(Debug)]
pub(crate) struct Candidate<'a, 'r> {
    pub(crate) request: &'r Request<'a>,
    /// The direction that is configured.
    pub(crate) direction: Option<Direction>,
    pub(crate) caller: Option<&'r Caller>,
    pub(crate) trace_id: TraceId,
    pub(crate) tracestate: &'r TraceState<'a>,
}

/// Decides about a request.
pub(crate) fn decide(
    sampling: &Sampling,
    limiter: &mut Limiter,
    host: &mut impl Host,
    candidate: &Candidate<'_, '_>,
) -> Decision {
    let rule = matching_rule(sampling, host, candidate);
    if rule.is_some_and(|rule| rule.ratio == 0.0) {
        return Decision::DROP;
    }
    let remote = candidate
        .caller
        .map_or(SamplingState::Deferred, |caller| caller.sampling);
    match remote {
        SamplingState::Debug => return Decision::FORCE,
        SamplingState::Keep if sampling.trusts_remote => {
            let parent = candidate.caller.and_then(Caller::context);
            return parent.map_or(Decision::FORCE, |parent| {
                Decision::of_parent(&parent, candidate.tracestate)
            });
        }
        SamplingState::Drop if sampling.trusts_remote => return Decision::DROP,
        _ => {}
    }
    if rule.is_none() && sampling.drops_probes && is_probe(candidate.request) {
        return Decision::DROP;
    }
    let ratio = rule.map_or(sampling.ratio, |rule| rule.ratio);
    let decision = by_ratio(sampling, ratio, candidate);
    let is_limited = decision.sampled && sampling.spans_per_s_max > 0;
    if is_limited && !limiter.take(sampling.spans_per_s_max, host.now()) {
        return Decision::DROP;
    }
    decision
}

/// Whether a request without a caller, and of which nothing else is known, would be dropped: then
/// its headers need not be read.
pub(crate) fn is_dropped_unseen(sampling: &Sampling, trace_id: TraceId) -> bool {
    let state = TraceState::default();
    let threshold = Threshold::from_ratio(sampling.ratio);
    sampling.rules.is_empty()
        && !sampling.by_request_id
        && !Decision::independent(threshold, randomness(trace_id, &state)).sampled
}

fn by_ratio(sampling: &Sampling, ratio: f64, candidate: &Candidate<'_, '_>) -> Decision {
    if sampling.by_request_id {
        return match is_kept_by_request_id(candidate.request.request_id, ratio) {
            true => Decision::FORCE,
            false => Decision::DROP,
        };
    }
    let state = candidate.tracestate;
    let decision = Decision::independent(
        Threshold::from_ratio(ratio),
        randomness(candidate.trace_id, state),
    );
    // A threshold that keeps all says nothing that its absence does not: spare the header.
    match decision.threshold {
        Some(Threshold::KEEP_ALL) if threshold(state).is_none() => Decision::FORCE,
        _ => decision,
    }
}

/// Envoy's own pick, so that proxies with its native tracer pick the same requests: the first eight
/// digits of the request id in ten thousandths (`conn_manager_utility.cc`, `uuid_util`).
fn is_kept_by_request_id(request_id: &[u8], ratio: f64) -> bool {
    let digits = request_id
        .get(..8)
        .and_then(|digits| std::str::from_utf8(digits).ok());
    let number = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
    number.is_some_and(|number| f64::from(number % 10_000) < ratio * 10_000.0)
}

fn matching_rule<'s>(
    sampling: &'s Sampling,
    host: &mut impl Host,
    candidate: &Candidate<'_, '_>,
) -> Option<&'s Rule> {
    let request = candidate.request;
    let path = request
        .target
        .split(|byte| *byte == b'?')
        .next()
        .unwrap_or_default();
    sampling.rules.iter().find(|rule| {
        let is_glob = |glob: &Option<Glob>, text| glob.as_ref().is_none_or(|g| g.matches(text));
        rule.direction
            .is_none_or(|wanted| wanted == property::direction(host, candidate.direction))
            && rule
                .method
                .as_ref()
                .is_none_or(|method| method.as_bytes() == request.method)
            && is_glob(&rule.path, path)
            && is_glob(&rule.host, request.authority)
            && rule.headers.iter().all(|(name, value)| {
                request
                    .joined(name)
                    .is_some_and(|header| value.matches(&header))
            })
            && rule.port.is_none_or(|port| {
                property::number(host, property::DESTINATION_PORT) == Some(i64::from(port))
            })
    })
}

/// What asks whether somebody lives, and what carries spans: traces of these are noise.
fn is_probe(request: &Request<'_>) -> bool {
    const AGENTS: &[&[u8]] = &[
        b"kube-probe/",
        b"GoogleHC/",
        b"ELB-HealthChecker/",
        b"Envoy/HC",
    ];
    const PATHS: &[&str] = &[
        "/healthz",
        "/readyz",
        "/livez",
        "/v1/traces",
        "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    ];
    let target = std::str::from_utf8(request.target).unwrap_or_default();
    AGENTS
        .iter()
        .any(|agent| request.user_agent.starts_with(agent))
        || PATHS.contains(&split_target(target).0)
}

/// A bucket of tokens, one a span; it holds those of a second.
#[derive(Debug, Default)]
pub(crate) struct Limiter {
    tokens: f64,
    filled_at: Timestamp,
}

impl Limiter {
    fn take(&mut self, per_s: u32, now: Timestamp) -> bool {
        let per_s = f64::from(per_s);
        let elapsed_s = now.since(self.filled_at).as_secs_f64();
        self.tokens = (self.tokens + elapsed_s * per_s).min(per_s);
        self.filled_at = self.filled_at.max(now);
        let has_token = self.tokens >= 1.0;
        if has_token {
            self.tokens -= 1.0;
        }
        has_token
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_holds_a_second_of_tokens() {
        let mut limiter = Limiter::default();
        let second = 1_000_000_000;
        let mut taken = |at: u64| {
            let now = Timestamp::from_nanos(at);
            (0..100).filter(|_| limiter.take(10, now)).count()
        };
        assert_eq!(taken(100 * second), 10);
        assert_eq!(taken(100 * second), 0);
        assert_eq!(taken(100 * second + second / 2), 5);
        // A clock that went back gives nothing and takes nothing.
        assert_eq!(taken(99 * second), 0);
        assert_eq!(taken(200 * second), 10);
    }

    #[test]
    fn envoys_pick_by_request_id_is_ours() {
        // 0x4bf92f35 % 10000 = 1749.
        let id = b"4bf92f35-77b3-4da6-a3fe-929d0e0e4736";
        assert!(!is_kept_by_request_id(id, 0.1749));
        assert!(is_kept_by_request_id(id, 0.175));
        assert!(!is_kept_by_request_id(b"not hex!", 1.0));
        assert!(!is_kept_by_request_id(b"", 1.0));
    }
}
