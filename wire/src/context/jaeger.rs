//! Jaeger's own format (jaegertracing.io, "Client Libraries", Propagation Format):
//! `{trace id}:{span id}:{parent span id}:{flags}`.
//!
//! Ids may have lost their leading zeros, and the colons may be percent-encoded. The parent's id is
//! deprecated: it is not read, and written as `0`.

use super::format::{Caller, Format, Outgoing, Parent, SamplingState};
use super::trim;
use crate::id::{hex_byte, hex_value};
use crate::percent;
use crate::{SpanId, TraceId};

pub(super) const HEADER: &str = "uber-trace-id";

const SAMPLED: u8 = 1;
const DEBUG: u8 = 2;

pub(super) fn read(value: &[u8]) -> Option<Caller> {
    let value = percent::decoded(trim(value));
    let mut fields = value.split(|byte| *byte == b':');
    let trace_id = TraceId::from_short_hex(fields.next()?)?;
    let span_id = SpanId::from_short_hex(fields.next()?)?;
    let _parent_span_id = fields.next()?;
    let flags = match fields.next()? {
        [digit] => hex_value(*digit)?,
        digits => hex_byte(digits)?,
    };
    if fields.next().is_some() {
        return None;
    }
    let sampling = if flags & DEBUG != 0 {
        SamplingState::Debug
    } else {
        SamplingState::from_sampled(flags & SAMPLED != 0)
    };
    let parent = Parent::Span(trace_id, span_id);
    Some(Caller {
        format: Format::Jaeger,
        parent,
        sampling,
        random: false,
    })
}

pub(super) fn write(outgoing: &Outgoing) -> Vec<u8> {
    let context = outgoing.context;
    let flags = match (outgoing.debug, context.flags.is_sampled()) {
        (true, _) => b"3",
        (false, true) => b"1",
        (false, false) => b"0",
    };
    [
        &context.trace_id.to_hex()[..],
        b":",
        &context.span_id.to_hex(),
        b":0:",
        flags,
    ]
    .concat()
}
