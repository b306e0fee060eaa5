//! B3, Zipkin's format (openzipkin/b3-propagation): one header, or several.
//!
//! Ids are 16 or 32 digits in either case; a trace id of 16 is one of 32 with zeros before it. A
//! caller may defer the decision, or send a decision alone. We write lower case and 32 digits.

use super::format::{Caller, Format, Outgoing, Parent, SamplingState, put};
use super::trim;
use crate::{SpanId, TraceId};

pub(super) const SINGLE: &str = "b3";
pub(super) const TRACE_ID: &str = "x-b3-traceid";
pub(super) const SPAN_ID: &str = "x-b3-spanid";
pub(super) const PARENT_SPAN_ID: &str = "x-b3-parentspanid";
pub(super) const SAMPLED: &str = "x-b3-sampled";
pub(super) const FLAGS: &str = "x-b3-flags";

/// `{trace id}-{span id}[-{sampling state}[-{parent span id}]]`, or a sampling state alone.
pub(super) fn read_single(value: &[u8]) -> Option<Caller> {
    let value = trim(value);
    if let Some(sampling) = sampling_state(value) {
        return Some(caller(Format::B3, Parent::None, sampling));
    }
    let mut fields = value.split(|byte| *byte == b'-');
    let parent = Parent::Span(
        trace_id(fields.next()?)?,
        SpanId::from_hex(fields.next()?).ok()?,
    );
    let sampling = match fields.next() {
        None => SamplingState::Deferred,
        Some(state) => sampling_state(state)?,
    };
    if let Some(parent_span_id) = fields.next() {
        SpanId::from_hex(parent_span_id).ok()?;
    }
    fields
        .next()
        .is_none()
        .then(|| caller(Format::B3, parent, sampling))
}

pub(super) fn extract_multi<V: AsRef<[u8]>>(
    get: &mut impl FnMut(&'static str) -> Option<V>,
) -> Option<Caller> {
    let flags = get(FLAGS);
    let debug = flags
        .as_ref()
        .is_some_and(|flags| trim(flags.as_ref()) == b"1");
    let sampling = if debug {
        SamplingState::Debug
    } else {
        match get(SAMPLED).as_ref().map(|sampled| trim(sampled.as_ref())) {
            None | Some(b"") => SamplingState::Deferred,
            Some(b"1") => SamplingState::Keep,
            Some(b"0") => SamplingState::Drop,
            // What senders wrote before the format was written down.
            Some(text) if text.eq_ignore_ascii_case(b"true") => SamplingState::Keep,
            Some(text) if text.eq_ignore_ascii_case(b"false") => SamplingState::Drop,
            Some(_) => return None,
        }
    };
    let parent = match (get(TRACE_ID), get(SPAN_ID)) {
        (Some(trace), Some(span)) => {
            let span_id = SpanId::from_hex(trim(span.as_ref())).ok()?;
            Parent::Span(trace_id(trim(trace.as_ref()))?, span_id)
        }
        (None, None) if sampling != SamplingState::Deferred => Parent::None,
        _ => return None,
    };
    Some(caller(Format::B3Multi, parent, sampling))
}

pub(super) fn inject_single(
    outgoing: &Outgoing,
    set: &mut impl FnMut(&'static str, Option<&[u8]>),
) {
    let context = outgoing.context;
    let state = match (outgoing.debug, context.flags.is_sampled()) {
        (true, _) => b"d",
        (false, true) => b"1",
        (false, false) => b"0",
    };
    let (trace_id, span_id) = (context.trace_id.to_hex(), context.span_id.to_hex());
    set(
        SINGLE,
        Some(&[&trace_id[..], b"-", &span_id, b"-", state].concat()),
    );
}

pub(super) fn inject_multi<V: AsRef<[u8]>>(
    outgoing: &Outgoing,
    get: &mut impl FnMut(&'static str) -> Option<V>,
    set: &mut impl FnMut(&'static str, Option<&[u8]>),
) {
    let context = outgoing.context;
    put(TRACE_ID, Some(&context.trace_id.to_hex()), get, set);
    put(SPAN_ID, Some(&context.span_id.to_hex()), get, set);
    // Debug implies sampled, which is then not to be said.
    let sampled: &[u8] = if context.flags.is_sampled() {
        b"1"
    } else {
        b"0"
    };
    put(SAMPLED, (!outgoing.debug).then_some(sampled), get, set);
    put(FLAGS, outgoing.debug.then_some(b"1"), get, set);
    // Nobody needs the parent, but one that came in would be wrong now.
    if get(PARENT_SPAN_ID).is_some() {
        let parent = outgoing.parent.map(SpanId::to_hex);
        put(
            PARENT_SPAN_ID,
            parent.as_ref().map(<[u8; 16]>::as_slice),
            get,
            set,
        );
    }
}

fn caller(format: Format, parent: Parent, sampling: SamplingState) -> Caller {
    Caller {
        format,
        parent,
        sampling,
        random: false,
    }
}

fn trace_id(digits: &[u8]) -> Option<TraceId> {
    match digits.len() {
        16 | 32 => TraceId::from_short_hex(digits),
        _ => None,
    }
}

fn sampling_state(text: &[u8]) -> Option<SamplingState> {
    match text {
        b"0" => Some(SamplingState::Drop),
        b"1" => Some(SamplingState::Keep),
        b"d" => Some(SamplingState::Debug),
        _ => None,
    }
}
