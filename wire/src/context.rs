//! The context of a request as it travels in headers: W3C Trace Context level 2, and the formats
//! of other tracing systems behind [`Format`].
//!
//! [`extract`] reads what came in and says whether to go on with the caller's trace or to start
//! another; [`TraceContext::to_traceparent`] writes what goes out. Header values are bytes, as
//! strangers send them. What the specification leaves to its reader is decided here once:
//!
//! - No `traceparent`, several, or a broken one: the trace starts anew and `tracestate` is dropped.
//! - A broken `tracestate` is dropped alone; the parent stays.
//! - Flags beyond sampled and random are read as zero, as the specification orders them sent.

mod b3;
mod datadog;
mod format;
mod grpc_trace_bin;
mod jaeger;
mod traceparent;
mod tracestate;
mod xray;

pub use format::{Caller, Format, Outgoing, Parent, SamplingState, extract_first, inject_in_kind};
pub use traceparent::{InvalidTraceparent, TRACEPARENT_BYTES};
pub(crate) use tracestate::split;
pub use tracestate::{
    InvalidTraceState, KEY_BYTES_MAX, MEMBERS_MAX, Members, TraceState, VALUE_BYTES_MAX,
};

use std::fmt;

use crate::{SpanId, TraceId};

/// The header with the caller's context.
pub const TRACEPARENT: &str = "traceparent";
/// The header with what tracing systems on the way have to say.
pub const TRACESTATE: &str = "tracestate";

/// The flags of a trace that this version of the specification knows; all others are zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TraceFlags(u8);

impl TraceFlags {
    /// No flag.
    pub const NONE: Self = Self(0);
    /// The caller may have recorded the trace.
    pub const SAMPLED: Self = Self(0x01);
    /// The low 56 bits of the trace id are random, so that samplers may decide by them.
    pub const RANDOM: Self = Self(0x02);

    /// The known flags among these bits.
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits & (Self::SAMPLED.0 | Self::RANDOM.0))
    }

    /// The flags as bits.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Whether the caller may have recorded the trace.
    pub const fn is_sampled(self) -> bool {
        self.0 & Self::SAMPLED.0 != 0
    }

    /// Whether the trace id is said to be random.
    pub const fn is_random(self) -> bool {
        self.0 & Self::RANDOM.0 != 0
    }

    /// These flags with the sampled one set so.
    #[must_use]
    pub const fn with_sampled(self, sampled: bool) -> Self {
        if sampled {
            Self(self.0 | Self::SAMPLED.0)
        } else {
            Self(self.0 & !Self::SAMPLED.0)
        }
    }
}

/// A span as another process knows it: what `traceparent` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceContext {
    /// The trace.
    pub trace_id: TraceId,
    /// The span that made the request: the parent of whatever the receiver makes.
    pub span_id: SpanId,
    /// The flags of the trace.
    pub flags: TraceFlags,
}

impl TraceContext {
    /// The context of the first span of a trace, with a trace id that was drawn at random.
    pub const fn root(trace_id: TraceId, span_id: SpanId, sampled: bool) -> Self {
        Self {
            trace_id,
            span_id,
            flags: TraceFlags::RANDOM.with_sampled(sampled),
        }
    }

    /// The context of a child of this span. Only a new span may change the sampled flag; whether
    /// the trace id is random was known where it was made, so that flag is inherited as it is.
    #[must_use]
    pub const fn child(self, span_id: SpanId, sampled: bool) -> Self {
        Self {
            trace_id: self.trace_id,
            span_id,
            flags: self.flags.with_sampled(sampled),
        }
    }
}

/// A caller's context that is good to go on with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extracted<'a> {
    /// What `traceparent` said.
    pub context: TraceContext,
    /// What `tracestate` said; empty where it was absent or broken.
    pub tracestate: TraceState<'a>,
    /// Why `tracestate` was dropped: it must not be sent on then.
    pub tracestate_fault: Option<InvalidTraceState>,
}

/// Why there is no caller's context to go on with: the trace starts here, and a `tracestate` that
/// came must not be sent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// The request has no `traceparent`.
    Missing,
    /// The request has several `traceparent` headers.
    Repeated,
    /// The request's `traceparent` is broken.
    Invalid(InvalidTraceparent),
}

impl fmt::Display for Restart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Restart::Missing => f.write_str("no traceparent"),
            Restart::Repeated => f.write_str("several traceparent headers"),
            Restart::Invalid(why) => why.fmt(f),
        }
    }
}

impl std::error::Error for Restart {}

/// Reads the context from the values of all `traceparent` and all `tracestate` headers, each list
/// in the order of the request.
///
/// Nothing is allocated, except to join several `tracestate` headers. A host that joins headers of
/// one name with commas may pass the joined value: it means the same here.
///
/// # Errors
/// Why the trace is to start anew. `tracestate` is not looked at then.
pub fn extract<'a>(
    traceparent: impl IntoIterator<Item = &'a [u8]>,
    tracestate: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Extracted<'a>, Restart> {
    let mut traceparent = traceparent.into_iter();
    let value = traceparent.next().ok_or(Restart::Missing)?;
    if traceparent.next().is_some() {
        return Err(Restart::Repeated);
    }
    let context = TraceContext::from_traceparent(value).map_err(Restart::Invalid)?;
    let (tracestate, tracestate_fault) = match TraceState::from_headers(tracestate) {
        Ok(tracestate) => (tracestate, None),
        Err(fault) => (TraceState::default(), Some(fault)),
    };
    Ok(Extracted {
        context,
        tracestate,
        tracestate_fault,
    })
}

/// `value` without the optional whitespace of HTTP (RFC 9110, section 5.6.3) around it.
pub(crate) fn trim(value: &[u8]) -> &[u8] {
    let mut value = value;
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &[u8] = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn state<'a>(extracted: &'a Extracted<'_>) -> &'a str {
        extracted.tracestate.as_str()
    }

    #[test]
    fn context_and_state_are_read() {
        let extracted = extract([PARENT], [&b"congo=t61rcWkgMzE"[..]]).unwrap();
        assert_eq!(
            extracted.context.trace_id.to_string(),
            "0af7651916cd43dd8448eb211c80319c"
        );
        assert_eq!(extracted.context.span_id.to_string(), "b7ad6b7169203331");
        assert_eq!(extracted.context.flags, TraceFlags::SAMPLED);
        assert_eq!(state(&extracted), "congo=t61rcWkgMzE");
        assert_eq!(extracted.tracestate_fault, None);
    }

    #[test]
    fn tracestate_without_traceparent_is_dropped() {
        assert_eq!(extract([], [&b"foo=1"[..]]), Err(Restart::Missing));
    }

    #[test]
    fn several_traceparents_restart_even_when_equal() {
        assert_eq!(extract([PARENT, PARENT], []), Err(Restart::Repeated));
    }

    #[test]
    fn several_traceparents_joined_by_the_host_restart() {
        for version in ["00", "cc"] {
            let one = [version.as_bytes(), PARENT.get(2..).unwrap()].concat();
            let joined = [&one[..], &one[..]].join(&b","[..]);
            assert!(matches!(
                extract([&joined[..]], []),
                Err(Restart::Invalid(_))
            ));
        }
    }

    #[test]
    fn broken_traceparent_restarts_without_a_look_at_tracestate() {
        let broken = b"00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01";
        let result = extract([&broken[..]], std::iter::from_fn(|| panic!("looked")));
        assert!(matches!(
            result,
            Err(Restart::Invalid(InvalidTraceparent::SpanId(_)))
        ));
    }

    #[test]
    fn broken_tracestate_is_dropped_alone() {
        let extracted = extract([PARENT], [&b"foo=1,bar"[..]]).unwrap();
        assert_eq!(extracted.context.flags, TraceFlags::SAMPLED);
        assert_eq!(state(&extracted), "");
        assert_eq!(
            extracted.tracestate_fault,
            Some(InvalidTraceState::Separator)
        );
    }

    #[test]
    fn several_tracestates_join_in_order() {
        let extracted = extract([PARENT], [&b"foo=1,bar=2"[..], b"", b"baz=3"]).unwrap();
        let members: Vec<_> = extracted.tracestate.members().collect();
        assert_eq!(members, [("foo", "1"), ("bar", "2"), ("baz", "3")]);
    }

    #[test]
    fn a_new_trace_is_marked_random() {
        let context = extract([PARENT], []).unwrap().context;
        let root = TraceContext::root(context.trace_id, context.span_id, false);
        assert_eq!(root.flags, TraceFlags::RANDOM);
    }

    #[test]
    fn a_child_inherits_the_random_flag_exactly() {
        for bits in 0..4 {
            let mut context = extract([PARENT], []).unwrap().context;
            context.flags = TraceFlags::from_bits(bits);
            let child = context.child(context.span_id, true);
            assert_eq!(child.flags.is_random(), context.flags.is_random());
            assert!(child.flags.is_sampled());
            assert!(!context.child(context.span_id, false).flags.is_sampled());
        }
    }
}
