//! One pass over bytes from strangers, so that everything after may read without doubt.

use std::fmt;

use super::protobuf::{Field, Fields, Malformed};
use crate::{InvalidId, SpanId, TraceId};

/// How deep values may nest. Nobody's attributes need more than a few levels, and a bound keeps
/// readers that recurse safe. A level is up to three messages, and six stand around the first, so
/// that what passes here stays below the 100 at which protobuf libraries stop.
pub const DEPTH_MAX: usize = 32;

/// What a valid request holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TracesSummary {
    /// How many spans.
    pub n_spans: usize,
}

/// Why bytes are not an acceptable `ExportTraceServiceRequest`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidOtlp {
    /// A field runs past the end of its message.
    Truncated,
    /// A number of more than 64 bits, or a tag of more than 32.
    Varint,
    /// A field with number zero.
    FieldNumber,
    /// A group, a kind of field that OTLP's protobuf does not have.
    Group,
    /// A wire type that protobuf does not know, or a known field with another wire type than its own.
    WireType,
    /// Text that is not UTF-8.
    Utf8,
    /// A span whose trace id is not 16 bytes or is all zero.
    TraceId(InvalidId),
    /// A span whose span id is not 8 bytes or is all zero.
    SpanId(InvalidId),
    /// A span whose parent span id is neither empty nor 8 bytes.
    ParentSpanId,
    /// Values that nest deeper than [`DEPTH_MAX`].
    Depth,
}

impl fmt::Display for InvalidOtlp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InvalidOtlp::Truncated => f.write_str("malformed protobuf: a field is cut off"),
            InvalidOtlp::Varint => f.write_str("malformed protobuf: a number is too long"),
            InvalidOtlp::FieldNumber => f.write_str("malformed protobuf: a field has number 0"),
            InvalidOtlp::Group => f.write_str("malformed protobuf: a field is a group"),
            InvalidOtlp::WireType => {
                f.write_str("malformed protobuf: a field has a wrong wire type")
            }
            InvalidOtlp::Utf8 => f.write_str("a string is not valid UTF-8"),
            InvalidOtlp::TraceId(why) => write!(f, "a span's trace_id is {why}"),
            InvalidOtlp::SpanId(why) => write!(f, "a span's span_id is {why}"),
            InvalidOtlp::ParentSpanId => {
                f.write_str("a span's parent_span_id is neither empty nor 8 bytes")
            }
            InvalidOtlp::Depth => {
                write!(
                    f,
                    "an attribute's value nests deeper than {DEPTH_MAX} levels"
                )
            }
        }
    }
}

impl std::error::Error for InvalidOtlp {}

impl From<Malformed> for InvalidOtlp {
    fn from(malformed: Malformed) -> Self {
        match malformed {
            Malformed::Truncated => InvalidOtlp::Truncated,
            Malformed::Varint => InvalidOtlp::Varint,
            Malformed::FieldNumber => InvalidOtlp::FieldNumber,
            Malformed::Group => InvalidOtlp::Group,
            Malformed::WireType => InvalidOtlp::WireType,
        }
    }
}

/// Checks the framing, the wire types, the text and the ids of an `ExportTraceServiceRequest`.
///
/// Unknown fields are fine: newer senders have them. An all-zero parent id is fine: it says "none",
/// and several SDKs send it.
///
/// Whatever passes is accepted by protobuf libraries too, so that nobody downstream refuses a batch
/// for a part that came through us. What they accept and this does not: broken ids of spans, values
/// deeper than [`DEPTH_MAX`], and groups, which OTLP never had.
///
/// # Errors
/// The first fault found; the request is then to be refused whole (`INVALID_ARGUMENT`, HTTP 400).
pub fn validate(request: &[u8]) -> Result<TracesSummary, InvalidOtlp> {
    let mut summary = TracesSummary::default();
    each(request, |number, field| match number {
        1 => resource_spans(bytes(field)?, &mut summary),
        _ => Ok(()),
    })?;
    Ok(summary)
}

fn resource_spans(message: &[u8], summary: &mut TracesSummary) -> Result<(), InvalidOtlp> {
    each(message, |number, field| match number {
        1 => each(bytes(field)?, |number, field| match number {
            1 => key_value(bytes(field)?, 0),
            2 => varint(field),
            // Entity references: only text.
            3 => each(bytes(field)?, |number, field| match number {
                1..=4 => text(field),
                _ => Ok(()),
            }),
            _ => Ok(()),
        }),
        2 => scope_spans(bytes(field)?, summary),
        3 => text(field),
        _ => Ok(()),
    })
}

fn scope_spans(message: &[u8], summary: &mut TracesSummary) -> Result<(), InvalidOtlp> {
    each(message, |number, field| match number {
        1 => each(bytes(field)?, |number, field| match number {
            1 | 2 => text(field),
            3 => key_value(bytes(field)?, 0),
            4 => varint(field),
            _ => Ok(()),
        }),
        2 => {
            summary.n_spans += 1;
            span(bytes(field)?)
        }
        3 => text(field),
        _ => Ok(()),
    })
}

fn span(message: &[u8]) -> Result<(), InvalidOtlp> {
    let mut trace_id = Err(InvalidId::Length);
    let mut span_id = Err(InvalidId::Length);
    let mut parent_span_id: &[u8] = &[];
    each(message, |number, field| match number {
        1 => {
            trace_id = TraceId::from_slice(bytes(field)?);
            Ok(())
        }
        2 => {
            span_id = SpanId::from_slice(bytes(field)?);
            Ok(())
        }
        4 => {
            parent_span_id = bytes(field)?;
            Ok(())
        }
        3 | 5 => text(field),
        6 | 10 | 12 | 14 => varint(field),
        7 | 8 => fixed64(field),
        9 => key_value(bytes(field)?, 0),
        11 => each(bytes(field)?, |number, field| match number {
            1 => fixed64(field),
            2 => text(field),
            3 => key_value(bytes(field)?, 0),
            4 => varint(field),
            _ => Ok(()),
        }),
        13 => each(bytes(field)?, |number, field| match number {
            // A link with a broken id is a broken link, not a broken span.
            1 | 2 => bytes(field).map(drop),
            3 => text(field),
            4 => key_value(bytes(field)?, 0),
            5 => varint(field),
            6 => fixed32(field),
            _ => Ok(()),
        }),
        15 => each(bytes(field)?, |number, field| match number {
            2 => text(field),
            3 => varint(field),
            _ => Ok(()),
        }),
        16 => fixed32(field),
        _ => Ok(()),
    })?;
    trace_id.map_err(InvalidOtlp::TraceId)?;
    span_id.map_err(InvalidOtlp::SpanId)?;
    match parent_span_id.len() {
        0 | 8 => Ok(()),
        _ => Err(InvalidOtlp::ParentSpanId),
    }
}

fn key_value(message: &[u8], depth: usize) -> Result<(), InvalidOtlp> {
    each(message, |number, field| match number {
        1 => text(field),
        2 => value(bytes(field)?, depth),
        3 => varint(field),
        _ => Ok(()),
    })
}

fn value(message: &[u8], depth: usize) -> Result<(), InvalidOtlp> {
    if depth == DEPTH_MAX {
        return Err(InvalidOtlp::Depth);
    }
    each(message, |number, field| match number {
        1 => text(field),
        2 | 3 | 8 => varint(field),
        4 => fixed64(field),
        5 => each(bytes(field)?, |number, field| match number {
            1 => value(bytes(field)?, depth + 1),
            _ => Ok(()),
        }),
        6 => each(bytes(field)?, |number, field| match number {
            1 => key_value(bytes(field)?, depth + 1),
            _ => Ok(()),
        }),
        7 => bytes(field).map(drop),
        _ => Ok(()),
    })
}

#[inline]
fn each<'a>(
    message: &'a [u8],
    mut check: impl FnMut(u32, Field<'a>) -> Result<(), InvalidOtlp>,
) -> Result<(), InvalidOtlp> {
    let mut fields = Fields::new(message);
    while let Some(field) = fields.try_next() {
        let (number, field) = field?;
        check(number, field)?;
    }
    Ok(())
}

#[inline]
fn bytes(field: Field<'_>) -> Result<&[u8], InvalidOtlp> {
    match field {
        Field::Bytes(bytes) => Ok(bytes),
        _ => Err(InvalidOtlp::WireType),
    }
}

#[inline]
fn text(field: Field<'_>) -> Result<(), InvalidOtlp> {
    let text = bytes(field)?;
    // Nearly all text is short and ASCII, where this is the faster question.
    if is_ascii(text) || std::str::from_utf8(text).is_ok() {
        return Ok(());
    }
    Err(InvalidOtlp::Utf8)
}

/// Eight bytes at a time; the last eight overlap the ones before.
#[inline]
fn is_ascii(text: &[u8]) -> bool {
    const HIGH_BITS: u64 = 0x8080_8080_8080_8080;
    let (words, rest) = text.as_chunks();
    let mut seen = words
        .iter()
        .fold(0, |seen, word| seen | u64::from_ne_bytes(*word));
    seen |= match text.last_chunk() {
        Some(last) => u64::from_ne_bytes(*last),
        None => rest.iter().fold(0, |seen, byte| seen | u64::from(*byte)),
    };
    seen & HIGH_BITS == 0
}

#[inline]
fn varint(field: Field<'_>) -> Result<(), InvalidOtlp> {
    match field {
        Field::Varint(_) => Ok(()),
        _ => Err(InvalidOtlp::WireType),
    }
}

#[inline]
fn fixed64(field: Field<'_>) -> Result<(), InvalidOtlp> {
    match field {
        Field::Fixed64(_) => Ok(()),
        _ => Err(InvalidOtlp::WireType),
    }
}

#[inline]
fn fixed32(field: Field<'_>) -> Result<(), InvalidOtlp> {
    match field {
        Field::Fixed32(_) => Ok(()),
        _ => Err(InvalidOtlp::WireType),
    }
}
