//! Where our instrumentation gets its spans from.

use std::sync::{Arc, OnceLock};

use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::{SpanBuilder, TraceContextExt, Tracer as _, TracerProvider as _};
use opentelemetry::{Context, InstrumentationScope, global};

use super::{INSTALLED, Tracer, TracerProvider};
use crate::metrics::Metrics;
#[cfg(any(
    feature = "async-nats",
    feature = "lapin",
    feature = "rdkafka",
    feature = "redis",
    feature = "sqlx"
))]
use crate::metrics::{Instrument, Measure};

/// A provider of spans and of a propagator: the process's, or a fixed one.
///
/// It asks at each request rather than at construction, because a layer is often built before
/// `init` has run, and a tracer that was asked for too early stays silent for ever.
#[derive(Clone, Debug)]
pub(crate) struct SpanSource {
    scope: InstrumentationScope,
    fixed: Option<(TracerProvider, Tracer)>,
    installed: OnceLock<Tracer>,
}

impl SpanSource {
    /// Spans in the scope of this name, from whichever provider is installed.
    pub(crate) fn installed(scope: &'static str) -> Self {
        let scope = InstrumentationScope::builder(scope)
            .with_version(env!("CARGO_PKG_VERSION"))
            .build();
        Self {
            scope,
            fixed: None,
            installed: OnceLock::new(),
        }
    }

    /// Spans from this provider, whatever is installed.
    pub(crate) fn fix(&mut self, provider: &TracerProvider) {
        self.fixed = Some((
            provider.clone(),
            provider.tracer_with_scope(self.scope.clone()),
        ));
    }

    /// Where requests are counted, if they are.
    pub(crate) fn metrics(&self) -> Option<&Arc<Metrics>> {
        let fixed = self.fixed.as_ref().map(|(provider, _)| provider);
        let provider = fixed.or_else(|| INSTALLED.get())?;
        provider
            .core
            .metering
            .as_ref()
            .map(|metering| &metering.metrics)
    }

    /// The current context with what a caller sent in its headers.
    pub(crate) fn extract(&self, headers: &dyn Extractor) -> Context {
        self.extract_onto(&Context::current(), headers)
    }

    /// This context with what a caller sent in its headers.
    pub(crate) fn extract_onto(&self, context: &Context, headers: &dyn Extractor) -> Context {
        match &self.fixed {
            Some((provider, _)) => provider
                .core
                .propagator
                .extract_with_context(context, headers),
            None => global::get_text_map_propagator(|propagator| {
                propagator.extract_with_context(context, headers)
            }),
        }
    }

    /// Writes a context into the headers of a request that goes out.
    pub(crate) fn inject(&self, context: &Context, headers: &mut dyn Injector) {
        match &self.fixed {
            Some((provider, _)) => provider.core.propagator.inject_context(context, headers),
            None => global::get_text_map_propagator(|propagator| {
                propagator.inject_context(context, headers);
            }),
        }
    }

    /// Starts a span and returns `parent` with it inside. What the span says is asked for only if
    /// somebody will read it: in a trace that is not sampled the answer would cost more than the
    /// span.
    pub(crate) fn start(
        &self,
        describe: impl FnOnce() -> SpanBuilder,
        parent: &Context,
    ) -> Context {
        match self.tracer() {
            Some(tracer) if tracer.is_sure_to_drop(parent) => {
                parent.with_span(tracer.build_with_context(SpanBuilder::default(), parent))
            }
            Some(tracer) => parent.with_span(tracer.build_with_context(describe(), parent)),
            // A program that set OpenTelemetry up without `init` still gets our spans.
            None => {
                let tracer = global::tracer_with_scope(self.scope.clone());
                parent.with_span(tracer.build_with_context(describe(), parent))
            }
        }
    }

    /// The same, with the clock of the call if calls are measured, sampled or not.
    #[cfg(any(
        feature = "async-nats",
        feature = "lapin",
        feature = "rdkafka",
        feature = "redis",
        feature = "sqlx"
    ))]
    pub(crate) fn start_measured(
        &self,
        instrument: Instrument,
        describe: impl FnOnce() -> SpanBuilder,
        parent: &Context,
    ) -> (Context, Option<Measure>) {
        match self.metrics().filter(|_| !parent.is_telemetry_suppressed()) {
            Some(metrics) => {
                let span = describe();
                let measure = Measure::of_call(metrics, instrument, &span);
                (self.start(|| span, parent), Some(measure))
            }
            None => (self.start(describe, parent), None),
        }
    }

    /// The same, for what tells nobody its context: nothing if the parent has decided that the span
    /// is not recorded, and calls are not measured. A span about which the sampler was asked, and
    /// said no, comes back all the same: in its context nobody asks again.
    #[cfg(any(feature = "redis", feature = "sqlx"))]
    pub(crate) fn start_call(
        &self,
        describe: impl FnOnce() -> SpanBuilder,
        parent: &Context,
    ) -> Option<(Context, Option<Measure>)> {
        let is_sure_to_drop = |tracer: &Tracer| tracer.is_sure_to_drop(parent);
        if self.metrics().is_none() && self.tracer().is_some_and(is_sure_to_drop) {
            return None;
        }
        let started = self.start_measured(Instrument::Database, describe, parent);
        let id = |context: &Context| context.span().span_context().span_id();
        // Without a sampler that could say anything the parent's context comes back.
        (id(&started.0) != id(parent)).then_some(started)
    }

    /// Our own tracer, if spans come from a provider of ours.
    fn tracer(&self) -> Option<&Tracer> {
        if let Some((_, tracer)) = &self.fixed {
            return Some(tracer);
        }
        let provider = INSTALLED.get()?;
        let tracer = || provider.tracer_with_scope(self.scope.clone());
        Some(self.installed.get_or_init(tracer))
    }
}
