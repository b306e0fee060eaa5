//! OpenCensus' binary format over gRPC (census-instrumentation/opencensus-specs,
//! `encodings/BinaryEncoding.md`), in base64 as gRPC sends binary metadata.
//!
//! A version byte 0, then fields: a number and its bytes. 0 is the trace id, 1 the span id, 2 the
//! options, of which bit 0 means sampled. A field that we do not know ends what we can read.

use super::format::{Caller, Format, Parent, SamplingState};
use super::{TraceContext, trim};
use crate::{SpanId, TraceId};

pub(super) const HEADER: &str = "grpc-trace-bin";

/// The three fields and the version byte.
const N_BYTES: usize = 1 + 17 + 9 + 2;
/// More than anybody sends; what stands behind is not looked at.
const TEXT_BYTES_MAX: usize = 128;

pub(super) fn read(value: &[u8]) -> Option<Caller> {
    let bytes = from_base64(trim(value))?;
    let mut rest = bytes.strip_prefix(&[0])?;
    let (mut trace_id, mut span_id, mut options) = (None, None, 0);
    while let Some((field, after)) = rest.split_first() {
        rest = match field {
            0 => {
                let (id, after) = after.split_first_chunk()?;
                trace_id = TraceId::from_bytes(*id);
                after
            }
            1 => {
                let (id, after) = after.split_first_chunk()?;
                span_id = SpanId::from_bytes(*id);
                after
            }
            2 => {
                let (bits, after) = after.split_first()?;
                options = *bits;
                after
            }
            _ => break,
        };
    }
    Some(Caller {
        format: Format::GrpcTraceBin,
        parent: Parent::Span(trace_id?, span_id?),
        sampling: SamplingState::from_sampled(options & 1 != 0),
        random: false,
    })
}

pub(super) fn write(context: &TraceContext) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(N_BYTES);
    bytes.extend_from_slice(&[0, 0]);
    bytes.extend_from_slice(&context.trace_id.to_bytes());
    bytes.push(1);
    bytes.extend_from_slice(&context.span_id.to_bytes());
    bytes.extend_from_slice(&[2, u8::from(context.flags.is_sampled())]);
    to_base64(&bytes)
}

/// Decodes base64 with or without padding, as gRPC has to accept it.
fn from_base64(text: &[u8]) -> Option<Vec<u8>> {
    if text.len() > TEXT_BYTES_MAX {
        return None;
    }
    let text = text
        .strip_suffix(b"==")
        .or(text.strip_suffix(b"="))
        .unwrap_or(text);
    let mut bytes = Vec::with_capacity(text.len());
    let (mut bits, mut n_bits) = (0_u32, 0);
    for digit in text {
        bits = bits << 6 | u32::from(digit_value(*digit)?);
        n_bits += 6;
        if n_bits >= 8 {
            n_bits -= 8;
            bytes.push((bits >> n_bits) as u8);
        }
    }
    Some(bytes)
}

/// Encodes base64 without padding, as gRPC advises.
fn to_base64(bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(bytes.len().div_ceil(3) * 4);
    let (mut bits, mut n_bits) = (0_u32, 0);
    for byte in bytes {
        bits = bits << 8 | u32::from(*byte);
        n_bits += 8;
        while n_bits >= 6 {
            n_bits -= 6;
            text.push(digit((bits >> n_bits) as u8 & 63));
        }
    }
    if n_bits > 0 {
        text.push(digit((bits << (6 - n_bits)) as u8 & 63));
    }
    text
}

const fn digit(value: u8) -> u8 {
    match value {
        0..=25 => b'A' + value,
        26..=51 => b'a' + value - 26,
        52..=61 => b'0' + value - 52,
        62 => b'+',
        _ => b'/',
    }
}

const fn digit_value(digit: u8) -> Option<u8> {
    match digit {
        b'A'..=b'Z' => Some(digit - b'A'),
        b'a'..=b'z' => Some(digit - b'a' + 26),
        b'0'..=b'9' => Some(digit - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}
