//! Our tracer: the OpenTelemetry SDK's, with a short way out for what will not be recorded.
//!
//! The SDK builds a whole span before and around the sampler's answer. In a mesh most requests
//! arrive with the decision "not sampled", and for each of their spans the answer is known before
//! the question: with a parent-based sampler an unsampled parent has unsampled children. Such a
//! span is here only its [`SpanContext`].

use std::borrow::Cow;
use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use crate::propagator::{Hint, Propagator, with_hinted_id};
use opentelemetry::propagation::text_map_propagator::FieldIter;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::{
    SpanBuilder, SpanContext, SpanId, Status, TraceContextExt, TraceFlags, Tracer as _,
    TracerProvider as _,
};
use opentelemetry::{Context, InstrumentationScope, KeyValue, global};
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider, Span as SdkSpan};

/// Makes [`Tracer`]s; [`init`](crate::init) installs one as the process's.
#[derive(Clone, Debug)]
pub struct TracerProvider {
    sdk: SdkTracerProvider,
    shortcut: Shortcut,
    propagator: Arc<Propagator>,
}

/// Which spans need not be asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shortcut {
    /// The sampler is asked each time.
    None,
    /// The sampler never samples the child of an unsampled parent.
    UnsampledChildren,
    /// `OTEL_SDK_DISABLED`: a span is its parent's context, which so travels on unchanged.
    AllSpans,
}

impl TracerProvider {
    /// Wraps the SDK's provider, whose sampler must agree with the shortcut.
    pub(crate) fn new(sdk: SdkTracerProvider, shortcut: Shortcut, propagator: Propagator) -> Self {
        Self {
            sdk,
            shortcut,
            propagator: Arc::new(propagator),
        }
    }

    pub(crate) fn sdk(&self) -> &SdkTracerProvider {
        &self.sdk
    }
}

impl opentelemetry::trace::TracerProvider for TracerProvider {
    type Tracer = Tracer;

    fn tracer_with_scope(&self, scope: InstrumentationScope) -> Tracer {
        Tracer {
            sdk: self.sdk.tracer_with_scope(scope),
            shortcut: self.shortcut,
        }
    }
}

/// Starts spans. An ordinary [`opentelemetry::trace::Tracer`], only quicker when not sampled.
#[derive(Clone, Debug)]
pub struct Tracer {
    sdk: SdkTracer,
    shortcut: Shortcut,
}

impl opentelemetry::trace::Tracer for Tracer {
    type Span = Span;

    fn build_with_context(&self, builder: SpanBuilder, parent: &Context) -> Span {
        let unrecorded = match self.shortcut {
            Shortcut::None => None,
            Shortcut::UnsampledChildren => unsampled_child(parent),
            Shortcut::AllSpans => Some(parent.span().span_context().clone()),
        };
        Span(match unrecorded {
            Some(context) => Inner::Unrecorded(context),
            None => Inner::Sdk(with_hinted_id(parent, || {
                self.sdk.build_with_context(builder, parent)
            })),
        })
    }
}

/// The context of a child that inherits "not sampled", if that is what the parent says.
fn unsampled_child(parent: &Context) -> Option<SpanContext> {
    let span = parent.span();
    let context = span.span_context();
    // An own span that is recorded though not sampled goes to the SDK, which knows its sampler.
    if context.is_sampled() || !context.is_valid() || span.is_recording() {
        return None;
    }
    // A caller that left the decision to us has not said no.
    if context.is_remote() && Hint::of(parent).is_some() {
        return None;
    }
    let (trace_id, state) = (context.trace_id(), context.trace_state().clone());
    Some(SpanContext::new(
        trace_id,
        random_span_id(),
        TraceFlags::NOT_SAMPLED,
        false,
        state,
    ))
}

/// A span id that nothing will be recorded under: unpredictable enough not to meet another one,
/// and cheap (splitmix64 from a random start for each thread).
fn random_span_id() -> SpanId {
    thread_local! {
        static STATE: Cell<u64> = Cell::new(RandomState::new().hash_one(0));
    }
    let state = STATE.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
    STATE.set(state);
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    // Zero would be an invalid id.
    SpanId::from((mixed ^ (mixed >> 31)).max(1))
}

/// A span of a [`Tracer`].
#[derive(Debug)]
pub struct Span(Inner);

#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a box would cost an allocation a sampled span"
)]
enum Inner {
    Sdk(SdkSpan),
    Unrecorded(SpanContext),
}

impl opentelemetry::trace::Span for Span {
    fn add_event_with_timestamp<T>(&mut self, name: T, time: SystemTime, attributes: Vec<KeyValue>)
    where
        T: Into<Cow<'static, str>>,
    {
        if let Inner::Sdk(span) = &mut self.0 {
            span.add_event_with_timestamp(name, time, attributes);
        }
    }

    fn span_context(&self) -> &SpanContext {
        match &self.0 {
            Inner::Sdk(span) => span.span_context(),
            Inner::Unrecorded(context) => context,
        }
    }

    fn is_recording(&self) -> bool {
        match &self.0 {
            Inner::Sdk(span) => span.is_recording(),
            Inner::Unrecorded(_) => false,
        }
    }

    fn set_attribute(&mut self, attribute: KeyValue) {
        if let Inner::Sdk(span) = &mut self.0 {
            span.set_attribute(attribute);
        }
    }

    fn set_status(&mut self, status: Status) {
        if let Inner::Sdk(span) = &mut self.0 {
            span.set_status(status);
        }
    }

    fn update_name<T>(&mut self, name: T)
    where
        T: Into<Cow<'static, str>>,
    {
        if let Inner::Sdk(span) = &mut self.0 {
            span.update_name(name);
        }
    }

    fn add_link(&mut self, context: SpanContext, attributes: Vec<KeyValue>) {
        if let Inner::Sdk(span) = &mut self.0 {
            span.add_link(context, attributes);
        }
    }

    fn end(&mut self) {
        // Not through the default, which reads the clock before it asks who wants the time.
        if let Inner::Sdk(span) = &mut self.0 {
            span.end();
        }
    }

    fn end_with_timestamp(&mut self, time: SystemTime) {
        if let Inner::Sdk(span) = &mut self.0 {
            span.end_with_timestamp(time);
        }
    }
}

/// The provider's propagator, as the global one.
#[derive(Debug)]
struct Shared(Arc<Propagator>);

impl TextMapPropagator for Shared {
    fn inject_context(&self, context: &Context, injector: &mut dyn Injector) {
        self.0.inject_context(context, injector);
    }

    fn extract_with_context(&self, context: &Context, extractor: &dyn Extractor) -> Context {
        self.0.extract_with_context(context, extractor)
    }

    fn fields(&self) -> FieldIter<'_> {
        self.0.fields()
    }
}

/// The process's provider, once [`install`]ed.
static INSTALLED: OnceLock<TracerProvider> = OnceLock::new();

/// Makes `provider` the process's, for OpenTelemetry users and for our own instrumentation.
pub(crate) fn install(provider: &TracerProvider) {
    global::set_text_map_propagator(Shared(Arc::clone(&provider.propagator)));
    global::set_tracer_provider(provider.clone());
    // The first one stays: a second `init` fails on its subscriber before it comes here.
    let _ = INSTALLED.set(provider.clone());
}

/// Where an instrumentation gets its spans and its propagator from.
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
    /// Spans in the scope `spanloom::{module}`, from whichever provider is installed.
    pub(crate) fn installed(module: &'static str) -> Self {
        let scope = InstrumentationScope::builder(module)
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

    /// The current context with what a caller sent in its headers.
    pub(crate) fn extract(&self, headers: &dyn Extractor) -> Context {
        let current = Context::current();
        match &self.fixed {
            Some((provider, _)) => provider.propagator.extract_with_context(&current, headers),
            None => global::get_text_map_propagator(|propagator| {
                propagator.extract_with_context(&current, headers)
            }),
        }
    }

    /// Writes a context into the headers of a request that goes out.
    #[cfg(feature = "reqwest")]
    pub(crate) fn inject(&self, context: &Context, headers: &mut dyn Injector) {
        match &self.fixed {
            Some((provider, _)) => provider.propagator.inject_context(context, headers),
            None => global::get_text_map_propagator(|propagator| {
                propagator.inject_context(context, headers);
            }),
        }
    }

    /// Starts a span and returns `parent` with it inside.
    pub(crate) fn start(&self, builder: SpanBuilder, parent: &Context) -> Context {
        let ours = self.fixed.as_ref().map(|(_, tracer)| tracer).or_else(|| {
            let provider = INSTALLED.get()?;
            Some(
                self.installed
                    .get_or_init(|| provider.tracer_with_scope(self.scope.clone())),
            )
        });
        match ours {
            Some(tracer) => parent.with_span(tracer.build_with_context(builder, parent)),
            // A program that set OpenTelemetry up without `init` still gets our spans.
            None => {
                let tracer = global::tracer_with_scope(self.scope.clone());
                parent.with_span(tracer.build_with_context(builder, parent))
            }
        }
    }
}
