//! The formats in which a context travels, other than W3C's own, behind one interface.
//!
//! A request may carry several. The first valid one in the configured order says who the caller is;
//! answers go out in every format that came in, and in those that are always to be sent. Headers are
//! reached through two closures, so that this works on a map as well as on calls into a host: one
//! that gets the value of a header, where the name is lower case and a header that stands several
//! times is joined with commas, and one that sets a value or, for `None`, removes the header.
//!
//! `tracestate` is not touched here: see [`TraceState`](super::TraceState). Nor is baggage in any
//! format: it passes through.

use super::{TraceContext, TraceFlags, b3, datadog, grpc_trace_bin, jaeger, xray};
use crate::{SpanId, TraceId};

/// A format in which a context travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// W3C Trace Context: `traceparent`.
    TraceContext,
    /// Zipkin's single header: `b3`.
    B3,
    /// Zipkin's several headers: `x-b3-*`.
    B3Multi,
    /// Jaeger's clients: `uber-trace-id`.
    Jaeger,
    /// Datadog: `x-datadog-*`.
    Datadog,
    /// AWS X-Ray: `x-amzn-trace-id`.
    XRay,
    /// OpenCensus over gRPC: `grpc-trace-bin`.
    GrpcTraceBin,
}

/// What a request says of its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The format that says so.
    pub format: Format,
    /// Whose child the receiver's span is.
    pub parent: Parent,
    /// What the caller decided.
    pub sampling: SamplingState,
    /// Whether the trace id is said to be random, which only W3C can say.
    pub random: bool,
}

/// Whose child the receiver's span is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parent {
    /// A span's, as usual.
    Span(TraceId, SpanId),
    /// The first one of a trace that has an id and no span yet, as AWS load balancers start them.
    Trace(TraceId),
    /// Nobody's: the caller sent a decision and no ids, as B3 allows.
    None,
}

/// What the caller decided about sampling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SamplingState {
    /// Nothing: the receiver is to decide.
    Deferred,
    /// The trace is not kept.
    Drop,
    /// The trace is kept.
    Keep,
    /// The trace is kept, whatever samplers say.
    Debug,
}

impl SamplingState {
    pub(super) const fn from_sampled(sampled: bool) -> Self {
        if sampled { Self::Keep } else { Self::Drop }
    }
}

impl Caller {
    /// The caller's context where the caller is a span. A deferred decision reads as unsampled.
    pub fn context(&self) -> Option<TraceContext> {
        let Parent::Span(trace_id, span_id) = self.parent else {
            return None;
        };
        let sampled = matches!(self.sampling, SamplingState::Keep | SamplingState::Debug);
        let flags = if self.random {
            TraceFlags::RANDOM
        } else {
            TraceFlags::NONE
        };
        Some(TraceContext {
            trace_id,
            span_id,
            flags: flags.with_sampled(sampled),
        })
    }
}

/// What a request is to say of its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// The span that makes the request.
    pub context: TraceContext,
    /// That span's own parent, for formats that say it.
    pub parent: Option<SpanId>,
    /// Whether the caller's caller asked to keep the trace whatever samplers say.
    pub debug: bool,
}

impl Format {
    /// Every format, in the order in which they are looked for where nothing is configured.
    pub const ALL: [Self; 7] = [
        Self::TraceContext,
        Self::B3,
        Self::B3Multi,
        Self::Jaeger,
        Self::Datadog,
        Self::XRay,
        Self::GrpcTraceBin,
    ];

    /// The name in configuration, where `OTEL_PROPAGATORS` has one the same.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TraceContext => "tracecontext",
            Self::B3 => "b3",
            Self::B3Multi => "b3multi",
            Self::Jaeger => "jaeger",
            Self::Datadog => "datadog",
            Self::XRay => "xray",
            Self::GrpcTraceBin => "grpc-trace-bin",
        }
    }

    /// The format with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }

    /// The headers of which one at least is there where a request has this format.
    const fn headers(self) -> &'static [&'static str] {
        match self {
            Self::TraceContext => &[super::TRACEPARENT],
            Self::B3 => &[b3::SINGLE],
            Self::B3Multi => &[b3::TRACE_ID, b3::SAMPLED, b3::FLAGS],
            Self::Jaeger => &[jaeger::HEADER],
            Self::Datadog => &[datadog::TRACE_ID],
            Self::XRay => &[xray::HEADER],
            Self::GrpcTraceBin => &[grpc_trace_bin::HEADER],
        }
    }

    /// Whether a request has this format, valid or not.
    pub fn is_present<V>(self, get: &mut impl FnMut(&'static str) -> Option<V>) -> bool {
        self.headers().iter().any(|name| get(name).is_some())
    }

    /// What a request says in this format; `None` where it says nothing valid.
    pub fn extract<V: AsRef<[u8]>>(
        self,
        get: &mut impl FnMut(&'static str) -> Option<V>,
    ) -> Option<Caller> {
        match self {
            Self::TraceContext => {
                let context = TraceContext::from_traceparent(get(super::TRACEPARENT)?.as_ref());
                context.ok().map(Caller::from)
            }
            Self::B3 => b3::read_single(get(b3::SINGLE)?.as_ref()),
            Self::B3Multi => b3::extract_multi(get),
            Self::Jaeger => jaeger::read(get(jaeger::HEADER)?.as_ref()),
            Self::Datadog => datadog::extract(get),
            Self::XRay => xray::read(get(xray::HEADER)?.as_ref()),
            Self::GrpcTraceBin => grpc_trace_bin::read(get(grpc_trace_bin::HEADER)?.as_ref()),
        }
    }

    /// Says so in this format. Headers that say so already are left alone.
    pub fn inject<V: AsRef<[u8]>>(
        self,
        outgoing: &Outgoing,
        get: &mut impl FnMut(&'static str) -> Option<V>,
        set: &mut impl FnMut(&'static str, Option<&[u8]>),
    ) {
        match self {
            Self::TraceContext => {
                set(super::TRACEPARENT, Some(&outgoing.context.to_traceparent()));
            }
            Self::B3 => b3::inject_single(outgoing, set),
            Self::B3Multi => b3::inject_multi(outgoing, get, set),
            Self::Jaeger => set(jaeger::HEADER, Some(&jaeger::write(outgoing))),
            Self::Datadog => datadog::inject(outgoing, get, set),
            Self::XRay => {
                let before = get(xray::HEADER);
                let before = before.as_ref().map(AsRef::as_ref).unwrap_or_default();
                set(xray::HEADER, Some(&xray::write(&outgoing.context, before)));
            }
            Self::GrpcTraceBin => {
                set(
                    grpc_trace_bin::HEADER,
                    Some(&grpc_trace_bin::write(&outgoing.context)),
                );
            }
        }
    }
}

impl From<TraceContext> for Caller {
    fn from(context: TraceContext) -> Self {
        Self {
            format: Format::TraceContext,
            parent: Parent::Span(context.trace_id, context.span_id),
            sampling: SamplingState::from_sampled(context.flags.is_sampled()),
            random: context.flags.is_random(),
        }
    }
}

/// What a request says of its caller, in the first of these formats that is valid.
pub fn extract_first<V: AsRef<[u8]>>(
    formats: &[Format],
    mut get: impl FnMut(&'static str) -> Option<V>,
) -> Option<Caller> {
    formats.iter().find_map(|format| format.extract(&mut get))
}

/// Says in some formats always, and in others if the request has them already, who makes it.
pub fn inject_in_kind<V: AsRef<[u8]>>(
    always: &[Format],
    in_kind: &[Format],
    outgoing: &Outgoing,
    mut get: impl FnMut(&'static str) -> Option<V>,
    mut set: impl FnMut(&'static str, Option<&[u8]>),
) {
    for format in always {
        format.inject(outgoing, &mut get, &mut set);
    }
    for format in in_kind {
        if !always.contains(format) && format.is_present(&mut get) {
            format.inject(outgoing, &mut get, &mut set);
        }
    }
}

/// Sets a header unless it has this value, or removes it unless it is not there: each change of a
/// header costs the host something.
pub(super) fn put<V: AsRef<[u8]>>(
    name: &'static str,
    value: Option<&[u8]>,
    get: &mut impl FnMut(&'static str) -> Option<V>,
    set: &mut impl FnMut(&'static str, Option<&[u8]>),
) {
    if get(name).as_ref().map(AsRef::as_ref) != value {
        set(name, value);
    }
}
