//! Our implementation of the OpenTelemetry API's provider, tracer and span.
//!
//! It is not the SDK's because of what a span costs the thread that makes it. In a mesh most
//! requests arrive with the decision "not sampled"; such a span is here nothing but its context.
//! A sampled one is a box, filled in place and handed over by its pointer, where the SDK moves some
//! hundred bytes at every step. `cargo xtask bench sdk` measures both beside the SDK.
//!
//! Samplers, limits and exporters are the SDK's types, so whatever fits there fits here.

mod source;
mod span;

use std::mem::take;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use opentelemetry::propagation::text_map_propagator::FieldIter;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::{SpanBuilder, SpanContext, TraceContextExt, TraceId};
use opentelemetry::{Context, InstrumentationScope, global};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator, SamplingDecision, SpanLimits};

use crate::export::Export;
use crate::metrics::{Metering, MetricsThread};
use crate::propagator::{Hint, Propagator};
use crate::sampler::Decider;

pub(crate) use source::SpanSource;
pub(crate) use span::Recorded;
pub use span::Span;

/// Makes [`Tracer`]s; [`init`](crate::init) installs one as the process's.
#[derive(Clone, Debug)]
pub struct TracerProvider {
    core: Arc<Core>,
}

/// What all tracers of a provider share.
#[derive(Debug)]
pub(crate) struct Core {
    /// Nothing when the SDK is disabled: a span is its parent's context then, which so travels on.
    pub(crate) decider: Option<Decider>,
    pub(crate) limits: SpanLimits,
    /// Nothing when spans go nowhere.
    pub(crate) export: Option<Export>,
    /// Nothing when requests are not measured.
    pub(crate) metering: Option<Metering>,
    pub(crate) propagator: Propagator,
    pub(crate) is_shut_down: AtomicBool,
}

impl TracerProvider {
    pub(crate) fn new(core: Core) -> Self {
        Self {
            core: Arc::new(core),
        }
    }

    /// Sends what waits, or gives up after `timeout`.
    pub(crate) fn flush(&self, timeout: Duration) -> OTelSdkResult {
        let start = Instant::now();
        let export = self.core.export.as_ref();
        let spans = export.map_or(Ok(()), |export| export.flush(timeout));
        let left = timeout.saturating_sub(start.elapsed());
        let thread = self.metrics_thread();
        spans.and(thread.map_or(Ok(()), |thread| thread.flush(left)))
    }

    /// Sends what waits. From now on a span is its parent's context, so that requests which are
    /// still under way do not lose the trace of their caller.
    pub(crate) fn shutdown(&self, timeout: Duration) -> OTelSdkResult {
        self.core.is_shut_down.store(true, Ordering::Relaxed);
        let start = Instant::now();
        let export = self.core.export.as_ref();
        let spans = export.map_or(Ok(()), |export| export.shutdown(timeout));
        let left = timeout.saturating_sub(start.elapsed());
        let thread = self.metrics_thread();
        spans.and(thread.map_or(Ok(()), |thread| thread.shutdown(left)))
    }

    fn metrics_thread(&self) -> Option<&MetricsThread> {
        self.core.metering.as_ref()?.thread.as_ref()
    }
}

impl opentelemetry::trace::TracerProvider for TracerProvider {
    type Tracer = Tracer;

    fn tracer_with_scope(&self, scope: InstrumentationScope) -> Tracer {
        Tracer {
            inner: Arc::new(Inner {
                core: Arc::clone(&self.core),
                scope,
            }),
        }
    }
}

/// Starts spans: an ordinary [`opentelemetry::trace::Tracer`].
#[derive(Clone, Debug)]
pub struct Tracer {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    core: Arc<Core>,
    scope: InstrumentationScope,
}

impl Tracer {
    /// Whether a child of this parent will not be recorded, whatever it says.
    fn is_sure_to_drop(&self, parent: &Context) -> bool {
        let decider = self.inner.core.decider.as_ref();
        decider.is_none_or(|decider| decider.inherits_drop(parent, parent.span().span_context()))
    }
}

impl opentelemetry::trace::Tracer for Tracer {
    type Span = Span;

    fn build_with_context(&self, mut builder: SpanBuilder, parent: &Context) -> Span {
        let core = &*self.inner.core;
        if parent.is_telemetry_suppressed() {
            return Span::unrecorded(SpanContext::NONE);
        }
        let parent_span = parent.span();
        let parent_span = parent_span.span_context();
        let decider = match &core.decider {
            Some(decider) if !core.is_shut_down.load(Ordering::Relaxed) => decider,
            _ => return Span::unrecorded(parent_span.clone()),
        };
        let ids = RandomIdGenerator::default();
        if decider.inherits_drop(parent, parent_span) {
            let flags = parent_span.trace_flags();
            let state = parent_span.trace_state().clone();
            let trace_id = parent_span.trace_id();
            return Span::unrecorded(SpanContext::new(
                trace_id,
                ids.new_span_id(),
                flags,
                false,
                state,
            ));
        }
        let trace_id = match parent_span.is_valid() {
            true => parent_span.trace_id(),
            false => hinted_trace_id(parent).unwrap_or_else(|| ids.new_trace_id()),
        };
        let result = decider.decide(parent, parent_span, trace_id, &builder);
        let is_sampled = result.decision == SamplingDecision::RecordAndSample;
        let flags = parent_span.trace_flags().with_sampled(is_sampled);
        let context = SpanContext::new(
            trace_id,
            ids.new_span_id(),
            flags,
            false,
            result.trace_state,
        );
        if result.decision == SamplingDecision::Drop {
            return Span::unrecorded(context);
        }
        if !result.attributes.is_empty() {
            let mut attributes = take(&mut builder.attributes).unwrap_or_default();
            attributes.extend(result.attributes);
            builder.attributes = Some(attributes);
        }
        Span::record(self.clone(), builder, parent_span, context)
    }
}

/// Says of a context that its span is that of the whole call which runs in it. It does nothing but
/// in programs of `cargo spanloom`, which adds what keeps its rules for drivers from making a second.
#[cfg(any(
    feature = "async-nats",
    feature = "lapin",
    feature = "rdkafka",
    feature = "redis",
    feature = "sqlx"
))]
pub(crate) fn whole(context: Context) -> Context {
    context
}

/// The id of a trace that has one already, though no span.
fn hinted_trace_id(parent: &Context) -> Option<TraceId> {
    Hint::of(parent)?.trace_id
}

/// The provider's propagator, as the global one.
#[derive(Debug)]
struct GlobalPropagator(TracerProvider);

impl TextMapPropagator for GlobalPropagator {
    fn inject_context(&self, context: &Context, injector: &mut dyn Injector) {
        self.0.core.propagator.inject_context(context, injector);
    }

    fn extract_with_context(&self, context: &Context, extractor: &dyn Extractor) -> Context {
        self.0
            .core
            .propagator
            .extract_with_context(context, extractor)
    }

    fn fields(&self) -> FieldIter<'_> {
        self.0.core.propagator.fields()
    }
}

/// The process's provider, once [`install`]ed.
static INSTALLED: OnceLock<TracerProvider> = OnceLock::new();

/// Makes `provider` the process's, for OpenTelemetry users and for our own instrumentation.
pub(crate) fn install(provider: &TracerProvider) {
    global::set_text_map_propagator(GlobalPropagator(provider.clone()));
    global::set_tracer_provider(provider.clone());
    // The first one stays: a second `init` fails on its subscriber before it comes here.
    let _ = INSTALLED.set(provider.clone());
}
