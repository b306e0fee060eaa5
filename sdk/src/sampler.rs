//! Samplers: the SDK's, and one for consistent probability sampling, which the SDK lacks.

mod remote;
mod xray;

use opentelemetry::Context;
use opentelemetry::KeyValue;
use opentelemetry::trace::{
    Link, SpanBuilder, SpanContext, SpanKind, TraceContextExt, TraceId, TraceState,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SamplingDecision, SamplingResult, ShouldSample};
use spanloom_wire::context::{SamplingState, TraceState as WireState};
use spanloom_wire::sampling::{Decision, Threshold, randomness};

use self::remote::RemoteSampler;
use self::xray::XraySampler;
use crate::propagator::Hint;
use crate::settings::{RemoteSetting, RootSampler, SamplerSetting};

/// A sampler that asks a server.
#[derive(Clone, Debug)]
pub(crate) enum Remote {
    Jaeger(RemoteSampler),
    Xray(XraySampler),
}

impl Remote {
    /// Asks for ever.
    pub(crate) async fn poll(self, setting: RemoteSetting, resource: Resource, service: String) {
        match self {
            Self::Jaeger(sampler) => sampler.poll(setting, service).await,
            Self::Xray(sampler) => sampler.poll(setting, resource, service).await,
        }
    }
}

/// Decides about spans: by their parent where that is to decide, else by a sampler.
#[derive(Debug)]
pub(crate) struct Decider {
    sampler: Box<dyn ShouldSample>,
    parent_based: bool,
    remote: Option<Remote>,
}

impl Decider {
    /// As a setting says.
    pub(crate) fn new(setting: SamplerSetting) -> Self {
        let mut remote = None;
        let sampler: Box<dyn ShouldSample> = match setting.root {
            RootSampler::On => Box::new(Sampler::AlwaysOn),
            RootSampler::Off => Box::new(Sampler::AlwaysOff),
            RootSampler::Ratio(ratio) => Box::new(Sampler::TraceIdRatioBased(ratio)),
            RootSampler::Consistent(ratio) => Box::new(ConsistentSampler {
                threshold: Threshold::from_ratio(ratio),
            }),
            RootSampler::Remote(initial_rate) => {
                let sampler = RemoteSampler::new(initial_rate);
                remote = Some(Remote::Jaeger(sampler.clone()));
                Box::new(sampler)
            }
            RootSampler::Xray => {
                let sampler = XraySampler::new();
                remote = Some(Remote::Xray(sampler.clone()));
                Box::new(sampler)
            }
        };
        Self {
            sampler,
            parent_based: setting.parent_based,
            remote,
        }
    }

    /// The sampler that a server is to be asked for.
    pub(crate) fn remote(&self) -> Option<Remote> {
        self.remote.clone()
    }

    /// As this sampler says, about every span.
    pub(crate) fn by(sampler: Box<dyn ShouldSample>) -> Self {
        Self {
            sampler,
            parent_based: false,
            remote: None,
        }
    }

    /// Whether the parent has decided that the span is not sampled: the commonest answer in a mesh,
    /// known without a question. [`Self::decide`] would say the same.
    #[inline]
    pub(crate) fn inherits_drop(&self, parent: &Context, parent_span: &SpanContext) -> bool {
        self.parent_based
            && parent_span.is_valid()
            && !parent_span.is_sampled()
            && (!parent_span.is_remote() || Hint::of(parent).is_none())
    }

    /// Decides about a span to be started. `parent_span` is the one in `parent`.
    ///
    /// The SDK's own parent-based sampler throws away the tracestate that a root's sampler writes,
    /// and knows nothing of a [`Hint`].
    pub(crate) fn decide(
        &self,
        parent: &Context,
        parent_span: &SpanContext,
        trace_id: TraceId,
        span: &SpanBuilder,
    ) -> SamplingResult {
        if self.parent_based {
            // A span of this process has been decided about, and hints are for others.
            let is_local = parent_span.is_valid() && !parent_span.is_remote();
            let hint = if is_local { None } else { Hint::of(parent) };
            let said = hint.map(|hint| hint.sampling);
            let is_sampled = match said {
                Some(SamplingState::Deferred) => None,
                Some(SamplingState::Drop) => Some(false),
                Some(SamplingState::Keep | SamplingState::Debug) => Some(true),
                None => parent_span.is_valid().then(|| parent_span.is_sampled()),
            };
            if let Some(is_sampled) = is_sampled {
                return SamplingResult {
                    decision: decision(is_sampled),
                    attributes: Vec::new(),
                    trace_state: parent_span.trace_state().clone(),
                };
            }
        }
        self.sampler.should_sample(
            Some(parent),
            trace_id,
            &span.name,
            span.span_kind.as_ref().unwrap_or(&SpanKind::Internal),
            span.attributes.as_deref().unwrap_or_default(),
            span.links.as_deref().unwrap_or_default(),
        )
    }
}

fn decision(is_sampled: bool) -> SamplingDecision {
    match is_sampled {
        true => SamplingDecision::RecordAndSample,
        false => SamplingDecision::Drop,
    }
}

/// Keeps a trace if its 56 random bits are not below a threshold, and writes the threshold into
/// `tracestate`, so that whoever sees the span later knows how many it stands for.
///
/// Source: OpenTelemetry specification, "TraceState: Probability Sampling".
#[derive(Clone, Debug)]
struct ConsistentSampler {
    /// Nothing when not even one trace is to be kept.
    threshold: Option<Threshold>,
}

impl ShouldSample for ConsistentSampler {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace_id: TraceId,
        _name: &str,
        _kind: &SpanKind,
        _attributes: &[KeyValue],
        _links: &[Link],
    ) -> SamplingResult {
        let inherited = parent.map(|parent| parent.span().span_context().trace_state().clone());
        let inherited = inherited.unwrap_or_default();
        let header = inherited.header();
        // The API has checked the list when it came in, so it parses.
        let state = WireState::parse(header.as_bytes()).unwrap_or_default();
        let decision = match spanloom_wire::TraceId::from_bytes(trace_id.to_bytes()) {
            Some(trace_id) => Decision::independent(self.threshold, randomness(trace_id, &state)),
            None => Decision::DROP,
        };
        let updated = decision.update(&state);
        let trace_state = if updated.as_str() == header {
            inherited
        } else {
            updated.as_str().parse::<TraceState>().unwrap_or(inherited)
        };
        let decision = self::decision(decision.sampled);
        SamplingResult {
            decision,
            attributes: Vec::new(),
            trace_state,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry::trace::{SpanId, TraceFlags};

    fn decide(ratio: f64, trace_id: u128, tracestate: &str) -> (bool, String) {
        let state: TraceState = tracestate.parse().unwrap();
        let caller = SpanContext::new(
            TraceId::from(trace_id),
            SpanId::from(1),
            TraceFlags::NOT_SAMPLED,
            true,
            state,
        );
        let caller = Context::new().with_remote_span_context(caller);
        let setting = SamplerSetting {
            root: RootSampler::Consistent(ratio),
            parent_based: false,
        };
        let span = caller.span().span_context().clone();
        let result =
            Decider::new(setting).decide(&caller, &span, trace_id.into(), &SpanBuilder::default());
        let is_sampled = result.decision == SamplingDecision::RecordAndSample;
        (is_sampled, result.trace_state.header())
    }

    #[test]
    fn the_trace_id_decides_and_the_threshold_is_told() {
        let low = 0x4bf9_2f35_77b3_4da6_a37f_ffff_ffff_ffff;
        assert_eq!(decide(0.5, low, ""), (false, String::new()));
        assert_eq!(
            decide(0.5, low + 1, "a=b"),
            (true, "ot=th:8,a=b".to_owned())
        );
        assert_eq!(decide(0.0, u128::MAX, ""), (false, String::new()));
    }

    #[test]
    fn explicit_randomness_is_stronger_than_the_trace_id() {
        let (is_sampled, state) = decide(0.25, 1, "ot=rv:ffffffffffffff");
        assert!(is_sampled);
        assert!(
            state.contains("th:c") && state.contains("rv:ffffffffffffff"),
            "{state}"
        );
    }

    #[test]
    fn the_share_that_is_kept_is_the_share_that_was_asked_for() {
        // Spread evenly over the bits that count, so the share is exact.
        let n_kept = (0..1_000_u128).filter(|n| decide(0.1, (n << 56) / 1_000 + (1 << 100), "").0);
        assert_eq!(n_kept.count(), 100);
    }
}
