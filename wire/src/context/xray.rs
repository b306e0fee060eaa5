//! AWS X-Ray's format (AWS X-Ray Developer Guide, "Tracing header"):
//! `Root=1-{8 digits}-{24 digits};Parent={16 digits};Sampled={0, 1 or ?}`.
//!
//! The first 8 digits are the time, so the id is not random by W3C's measure. Load balancers send a
//! root without a parent. Whatever else stands in the header is kept.

use super::format::{Caller, Format, Parent, SamplingState};
use super::{TraceContext, trim};
use crate::{SpanId, TraceId};

pub(super) const HEADER: &str = "x-amzn-trace-id";

pub(super) fn read(value: &[u8]) -> Option<Caller> {
    let trace_id = trace_id(field(value, b"Root")?)?;
    let parent = match field(value, b"Parent") {
        Some(digits) => Parent::Span(trace_id, SpanId::from_hex(digits).ok()?),
        None => Parent::Trace(trace_id),
    };
    let sampling = match field(value, b"Sampled") {
        Some(b"0") => SamplingState::Drop,
        Some(b"1") => SamplingState::Keep,
        Some(b"?") | None => SamplingState::Deferred,
        Some(_) => return None,
    };
    Some(Caller {
        format: Format::XRay,
        parent,
        sampling,
        random: false,
    })
}

/// The header that says this, with what else stood in the one before.
pub(super) fn write(context: &TraceContext, before: &[u8]) -> Vec<u8> {
    let trace_id = context.trace_id.to_hex();
    let (time, unique) = trace_id.split_at(8);
    let sampled: &[u8] = if context.flags.is_sampled() {
        b"1"
    } else {
        b"0"
    };
    let parts = [
        &b"Root=1-"[..],
        time,
        b"-",
        unique,
        b";Parent=",
        &context.span_id.to_hex(),
        b";Sampled=",
        sampled,
    ];
    let mut value = parts.concat();
    for (key, part) in fields(before) {
        if !matches!(key, b"Root" | b"Parent" | b"Sampled") {
            value.push(b';');
            value.extend_from_slice(part);
        }
    }
    value
}

/// `1-{8 digits}-{24 digits}`.
fn trace_id(root: &[u8]) -> Option<TraceId> {
    let digits = root.strip_prefix(b"1-")?;
    let (time, rest) = digits.split_first_chunk::<8>()?;
    let unique: &[u8; 24] = rest.strip_prefix(b"-")?.try_into().ok()?;
    let mut digits = [0; 32];
    for (to, from) in digits.iter_mut().zip(time.iter().chain(unique)) {
        *to = *from;
    }
    TraceId::from_hex(&digits).ok()
}

fn field<'a>(value: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    let (_, part) = fields(value).find(|(k, _)| *k == key)?;
    part.split_at_checked(key.len() + 1)
        .map(|(_, value)| trim(value))
}

/// The fields as (key, whole text).
fn fields(value: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    value
        .split(|byte| *byte == b';')
        .map(trim)
        .filter(|part| !part.is_empty())
        .map(|part| {
            let key = part.split(|byte| *byte == b'=').next().unwrap_or_default();
            (key, part)
        })
}
