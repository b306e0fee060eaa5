//! The context of a request in its headers, in every format that `OTEL_PROPAGATORS` can name.
//!
//! The formats are those of `spanloom-wire`, so that the SDK and the filter in the sidecar read
//! and write alike. Of several formats in one request the first in the list that is valid counts;
//! what goes out says it in all of them.
//!
//! A caller may say things that a [`SpanContext`] has no room for: that the decision about
//! sampling is left to us, that there is a decision but no trace, or a trace without a span. These
//! travel as a [`Hint`] in the context, where our tracer looks for it.

use opentelemetry::Context;
use opentelemetry::propagation::text_map_propagator::FieldIter;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use opentelemetry_sdk::propagation::BaggagePropagator;
use spanloom_wire::context::{
    Caller, Format, Outgoing, Parent, SamplingState, TRACEPARENT, TRACESTATE, TraceContext,
    TraceFlags as WireFlags, extract,
};

/// The formats of a process.
#[derive(Debug)]
pub(crate) struct Propagator {
    formats: Vec<Format>,
    baggage: Option<BaggagePropagator>,
    fields: Vec<String>,
}

/// What a caller says beyond a span's context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hint {
    /// The trace to begin, where it has an id and no span yet.
    pub(crate) trace_id: Option<TraceId>,
    pub(crate) sampling: SamplingState,
}

impl Hint {
    /// The hint that stands for the parent of a span to be started; none when that is a span of
    /// this process, which has been decided about.
    pub(crate) fn of(parent: &Context) -> Option<&Self> {
        let hint = parent.get::<Option<Self>>()?.as_ref()?;
        let is_decided = parent.has_active_span() && !parent.span().span_context().is_remote();
        (!is_decided).then_some(hint)
    }
}

impl Propagator {
    pub(crate) fn new(formats: Vec<Format>, has_baggage: bool) -> Self {
        let baggage = has_baggage.then(BaggagePropagator::new);
        let of_formats = formats.iter().flat_map(|format| headers(*format)).copied();
        let of_baggage = baggage.iter().flat_map(BaggagePropagator::fields);
        let fields = of_formats.chain(of_baggage).map(str::to_owned).collect();
        Self {
            formats,
            baggage,
            fields,
        }
    }
}

/// The headers that a format writes.
fn headers(format: Format) -> &'static [&'static str] {
    match format {
        Format::TraceContext => &[TRACEPARENT, TRACESTATE],
        Format::B3 => &["b3"],
        Format::B3Multi => &["x-b3-traceid", "x-b3-spanid", "x-b3-sampled", "x-b3-flags"],
        Format::Jaeger => &["uber-trace-id"],
        Format::Datadog => &[
            "x-datadog-trace-id",
            "x-datadog-parent-id",
            "x-datadog-sampling-priority",
            "x-datadog-tags",
        ],
        Format::XRay => &["x-amzn-trace-id"],
        Format::GrpcTraceBin => &["grpc-trace-bin"],
    }
}

impl TextMapPropagator for Propagator {
    fn inject_context(&self, context: &Context, injector: &mut dyn Injector) {
        if let Some(baggage) = &self.baggage {
            baggage.inject_context(context, injector);
        }
        let span = context.span();
        let span = span.span_context();
        let Some(current) = to_wire(span) else { return };
        let outgoing = Outgoing {
            context: current,
            parent: None,
            debug: false,
        };
        for format in &self.formats {
            let mut set = |name: &'static str, value: Option<&[u8]>| {
                if let Some(value) = value {
                    injector.set(name, String::from_utf8_lossy(value).into_owned());
                }
            };
            format.inject(&outgoing, &mut |_| None::<&[u8]>, &mut set);
            if *format == Format::TraceContext {
                let state = span.trace_state().header();
                if !state.is_empty() {
                    injector.set(TRACESTATE, state);
                }
            }
        }
    }

    fn extract_with_context(&self, context: &Context, extractor: &dyn Extractor) -> Context {
        let context = match &self.baggage {
            Some(baggage) => baggage.extract_with_context(context, extractor),
            None => context.clone(),
        };
        let found = self.formats.iter().find_map(|format| match format {
            Format::TraceContext => trace_context(extractor),
            format => {
                let mut get = |name: &'static str| Some(extractor.get_all(name)?.join(","));
                Some((format.extract(&mut get)?, TraceState::default()))
            }
        });
        match found {
            Some((caller, state)) => with_caller(&context, caller, state),
            None => context,
        }
    }

    fn fields(&self) -> FieldIter<'_> {
        FieldIter::new(&self.fields)
    }
}

/// W3C's format by the rules of the wire crate, which keep the flag of random trace ids and know
/// what repeated headers mean.
fn trace_context(extractor: &dyn Extractor) -> Option<(Caller, TraceState)> {
    let values = |name| extractor.get_all(name).unwrap_or_default();
    let (parents, states) = (values(TRACEPARENT), values(TRACESTATE));
    let extracted = extract(
        parents.iter().map(|value| value.as_bytes()),
        states.iter().map(|value| value.as_bytes()),
    );
    let extracted = extracted.ok()?;
    let state = extracted.tracestate.as_str().parse().unwrap_or_default();
    Some((Caller::from(extracted.context), state))
}

fn with_caller(context: &Context, caller: Caller, state: TraceState) -> Context {
    let sampling = caller.sampling;
    let (hint, span) = match caller.parent {
        Parent::Span(trace_id, span_id) => {
            let flags = if caller.random {
                WireFlags::RANDOM
            } else {
                WireFlags::NONE
            };
            let is_kept = matches!(sampling, SamplingState::Keep | SamplingState::Debug);
            let span = SpanContext::new(
                TraceId::from_bytes(trace_id.to_bytes()),
                SpanId::from_bytes(span_id.to_bytes()),
                TraceFlags::new(flags.with_sampled(is_kept).bits()),
                true,
                state,
            );
            let is_deferred = sampling == SamplingState::Deferred;
            (
                is_deferred.then_some(Hint {
                    trace_id: None,
                    sampling,
                }),
                Some(span),
            )
        }
        Parent::Trace(trace_id) => {
            let trace_id = Some(TraceId::from_bytes(trace_id.to_bytes()));
            (Some(Hint { trace_id, sampling }), None)
        }
        Parent::None => (
            Some(Hint {
                trace_id: None,
                sampling,
            }),
            None,
        ),
    };
    let mut context = context.clone();
    // The hint of an earlier caller must not outlive it.
    if hint.is_some() || context.get::<Option<Hint>>().is_some() {
        context = context.with_value(hint);
    }
    match span {
        Some(span) => context.with_remote_span_context(span),
        None => context,
    }
}

/// The span as the wire crate has it; none when its ids are invalid.
fn to_wire(span: &SpanContext) -> Option<TraceContext> {
    Some(TraceContext {
        trace_id: spanloom_wire::TraceId::from_bytes(span.trace_id().to_bytes())?,
        span_id: spanloom_wire::SpanId::from_bytes(span.span_id().to_bytes())?,
        flags: WireFlags::from_bits(span.trace_flags().to_u8()),
    })
}

#[cfg(test)]
mod tests;
