//! OTLP/JSON to OTLP protobuf, in one pass: a table says which member of which message is which
//! field, and values are written as they are read.
//!
//! Source: the OTLP specification, "JSON Protobuf Encoding": ids are hexadecimal, other bytes
//! base64, enums are numbers, 64-bit integers are numbers or text, unknown members are ignored.
//! What comes out is checked like any other request.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use bytes::Bytes;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use spanloom_wire::otlp::put_varint;

use crate::reason::{Failure, Reason};

/// The protobuf form of an OTLP/JSON request.
///
/// # Errors
/// [`Reason::Malformed`], saying where the fault is.
pub fn to_protobuf(json: &[u8]) -> Result<Bytes, Failure> {
    let mut out = Vec::with_capacity(json.len() / 2);
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    Body {
        message: REQUEST,
        out: &mut out,
    }
    .deserialize(&mut deserializer)
    .and_then(|()| deserializer.end())
    .map_err(|error| {
        Failure::new(
            Reason::Malformed,
            format!("the body is not valid OTLP/JSON: {error}"),
        )
    })?;
    Ok(out.into())
}

/// The fields of a message. A function, so that messages may refer to themselves.
type Fields = fn() -> &'static [(&'static str, u32, Kind)];

#[derive(Clone, Copy)]
enum Kind {
    /// Bytes in hexadecimal digits: the ids.
    Hex,
    /// Bytes in base64.
    Base64,
    Text,
    Bool,
    /// `uint32` and enums, by number.
    Uint32,
    Int64,
    Fixed32,
    Fixed64,
    Double,
    Message(Fields),
    /// An array of messages.
    Messages(Fields),
}

const REQUEST: Fields = || &[("resourceSpans", 1, Kind::Messages(RESOURCE_SPANS))];
const RESOURCE_SPANS: Fields = || {
    &[
        ("resource", 1, Kind::Message(RESOURCE)),
        ("scopeSpans", 2, Kind::Messages(SCOPE_SPANS)),
        ("schemaUrl", 3, Kind::Text),
    ]
};
const RESOURCE: Fields = || {
    &[
        ("attributes", 1, Kind::Messages(KEY_VALUE)),
        ("droppedAttributesCount", 2, Kind::Uint32),
    ]
};
const SCOPE_SPANS: Fields = || {
    &[
        ("scope", 1, Kind::Message(SCOPE)),
        ("spans", 2, Kind::Messages(SPAN)),
        ("schemaUrl", 3, Kind::Text),
    ]
};
const SCOPE: Fields = || {
    &[
        ("name", 1, Kind::Text),
        ("version", 2, Kind::Text),
        ("attributes", 3, Kind::Messages(KEY_VALUE)),
        ("droppedAttributesCount", 4, Kind::Uint32),
    ]
};
const SPAN: Fields = || {
    &[
        ("traceId", 1, Kind::Hex),
        ("spanId", 2, Kind::Hex),
        ("traceState", 3, Kind::Text),
        ("parentSpanId", 4, Kind::Hex),
        ("name", 5, Kind::Text),
        ("kind", 6, Kind::Uint32),
        ("startTimeUnixNano", 7, Kind::Fixed64),
        ("endTimeUnixNano", 8, Kind::Fixed64),
        ("attributes", 9, Kind::Messages(KEY_VALUE)),
        ("droppedAttributesCount", 10, Kind::Uint32),
        ("events", 11, Kind::Messages(EVENT)),
        ("droppedEventsCount", 12, Kind::Uint32),
        ("links", 13, Kind::Messages(LINK)),
        ("droppedLinksCount", 14, Kind::Uint32),
        ("status", 15, Kind::Message(STATUS)),
        ("flags", 16, Kind::Fixed32),
    ]
};
const EVENT: Fields = || {
    &[
        ("timeUnixNano", 1, Kind::Fixed64),
        ("name", 2, Kind::Text),
        ("attributes", 3, Kind::Messages(KEY_VALUE)),
        ("droppedAttributesCount", 4, Kind::Uint32),
    ]
};
const LINK: Fields = || {
    &[
        ("traceId", 1, Kind::Hex),
        ("spanId", 2, Kind::Hex),
        ("traceState", 3, Kind::Text),
        ("attributes", 4, Kind::Messages(KEY_VALUE)),
        ("droppedAttributesCount", 5, Kind::Uint32),
        ("flags", 6, Kind::Fixed32),
    ]
};
const STATUS: Fields = || &[("message", 2, Kind::Text), ("code", 3, Kind::Uint32)];
const KEY_VALUE: Fields = || {
    &[
        ("key", 1, Kind::Text),
        ("value", 2, Kind::Message(ANY_VALUE)),
    ]
};
const ANY_VALUE: Fields = || {
    &[
        ("stringValue", 1, Kind::Text),
        ("boolValue", 2, Kind::Bool),
        ("intValue", 3, Kind::Int64),
        ("doubleValue", 4, Kind::Double),
        ("arrayValue", 5, Kind::Message(ARRAY_VALUE)),
        ("kvlistValue", 6, Kind::Message(KEY_VALUE_LIST)),
        ("bytesValue", 7, Kind::Base64),
    ]
};
const ARRAY_VALUE: Fields = || &[("values", 1, Kind::Messages(ANY_VALUE))];
const KEY_VALUE_LIST: Fields = || &[("values", 1, Kind::Messages(KEY_VALUE))];

/// Reads one JSON object and appends the body of its message. `serde_json` bounds the depth.
struct Body<'a> {
    message: Fields,
    out: &'a mut Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for Body<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Body<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(name) = members.next_key::<std::borrow::Cow<'de, str>>()? {
            match (self.message)().iter().find(|(known, ..)| *known == name) {
                Some(&(_, number, kind)) => {
                    members.next_value_seed(Value {
                        number,
                        kind,
                        out: self.out,
                    })?;
                }
                None => {
                    members.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

/// Reads one JSON value and appends its field, tag included. `null` is as good as absent. Defaults
/// are written out: in the `oneof` of `AnyValue` presence counts, and elsewhere they do no harm.
struct Value<'a> {
    number: u32,
    kind: Kind,
    out: &'a mut Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Value<'_> {
    fn tag(&mut self, wire_type: u32) {
        put_varint(self.out, u64::from(self.number << 3 | wire_type));
    }

    fn bytes(mut self, bytes: &[u8]) {
        self.tag(2);
        put_varint(self.out, bytes.len() as u64);
        self.out.extend_from_slice(bytes);
    }

    fn varint(mut self, value: u64) {
        self.tag(0);
        put_varint(self.out, value);
    }

    fn fixed64(mut self, value: u64) {
        self.tag(1);
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    fn number<E: Error>(mut self, number: Number) -> Result<(), E> {
        match self.kind {
            Kind::Uint32 => {
                let value: u32 = number.integer().ok_or_else(|| wrong(&self, &number))?;
                self.varint(u64::from(value));
            }
            Kind::Fixed32 => {
                let value: u32 = number.integer().ok_or_else(|| wrong(&self, &number))?;
                self.tag(5);
                self.out.extend_from_slice(&value.to_le_bytes());
            }
            Kind::Fixed64 => {
                let value: u64 = number.integer().ok_or_else(|| wrong(&self, &number))?;
                self.fixed64(value);
            }
            Kind::Int64 => {
                let value: i64 = number.integer().ok_or_else(|| wrong(&self, &number))?;
                self.varint(value as u64);
            }
            Kind::Double => {
                let value = number.double();
                self.fixed64(value.to_bits());
            }
            _ => return Err(wrong(&self, &number)),
        }
        Ok(())
    }
}

fn wrong<E: Error>(expected: &Value<'_>, number: &Number) -> E {
    E::invalid_value(number.unexpected(), expected)
}

#[derive(Clone, Copy)]
enum Number {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
}

impl Number {
    /// The whole number in it, if it fits; `1e3` and `2.0` are whole numbers to JSON.
    fn integer<N: TryFrom<u64> + TryFrom<i64>>(self) -> Option<N> {
        match self {
            Number::Unsigned(value) => N::try_from(value).ok(),
            Number::Signed(value) => N::try_from(value).ok(),
            // Up to 2^53 a double is exact; above it the digits are not what the sender meant.
            Number::Float(value)
                if value.fract() == 0.0 && value.abs() <= 9_007_199_254_740_992.0 =>
            {
                N::try_from(value as i64).ok()
            }
            Number::Float(_) => None,
        }
    }

    const fn double(self) -> f64 {
        match self {
            Number::Unsigned(value) => value as f64,
            Number::Signed(value) => value as f64,
            Number::Float(value) => value,
        }
    }

    /// The number that a JSON text holds, since 64-bit integers and non-finite doubles come as such.
    fn from_text(text: &str) -> Option<Self> {
        match text {
            "NaN" => return Some(Number::Float(f64::NAN)),
            "Infinity" => return Some(Number::Float(f64::INFINITY)),
            "-Infinity" => return Some(Number::Float(f64::NEG_INFINITY)),
            _ => {}
        }
        if !text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'))
        {
            return None;
        }
        let unsigned = text.parse().ok().map(Number::Unsigned);
        let signed = || text.parse().ok().map(Number::Signed);
        unsigned
            .or_else(signed)
            .or_else(|| text.parse().ok().map(Number::Float))
    }

    const fn unexpected(self) -> serde::de::Unexpected<'static> {
        match self {
            Number::Unsigned(value) => serde::de::Unexpected::Unsigned(value),
            Number::Signed(value) => serde::de::Unexpected::Signed(value),
            Number::Float(value) => serde::de::Unexpected::Float(value),
        }
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            Kind::Hex => "an id in hexadecimal digits",
            Kind::Base64 => "bytes in base64",
            Kind::Text => "a text",
            Kind::Bool => "true or false",
            Kind::Uint32 | Kind::Fixed32 => "a number of 32 bits",
            Kind::Int64 | Kind::Fixed64 => "a number of 64 bits, or a text of one",
            Kind::Double => "a number",
            Kind::Message(_) => "an object",
            Kind::Messages(_) => "an array of objects",
        })
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        match self.kind {
            Kind::Bool => {
                self.varint(u64::from(value));
                Ok(())
            }
            _ => Err(E::invalid_type(serde::de::Unexpected::Bool(value), &self)),
        }
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.number(Number::Unsigned(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.number(Number::Signed(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.number(Number::Float(value))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        match self.kind {
            Kind::Text => {
                self.bytes(text.as_bytes());
                Ok(())
            }
            Kind::Hex => match hex(text) {
                Some(bytes) => {
                    self.bytes(&bytes);
                    Ok(())
                }
                None => Err(E::invalid_value(serde::de::Unexpected::Str(text), &self)),
            },
            Kind::Base64 => match STANDARD.decode(text).or_else(|_| URL_SAFE.decode(text)) {
                Ok(bytes) => {
                    self.bytes(&bytes);
                    Ok(())
                }
                Err(_) => Err(E::invalid_value(serde::de::Unexpected::Str(text), &self)),
            },
            _ => match Number::from_text(text) {
                Some(number) => self.number(number),
                None => Err(E::invalid_type(serde::de::Unexpected::Str(text), &self)),
            },
        }
    }

    fn visit_map<A: MapAccess<'de>>(mut self, members: A) -> Result<(), A::Error> {
        let Kind::Message(message) = self.kind else {
            return Err(A::Error::invalid_type(serde::de::Unexpected::Map, &self));
        };
        self.tag(2);
        put_sized(self.out, |out| Body { message, out }.visit_map(members))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let Kind::Messages(message) = self.kind else {
            return Err(A::Error::invalid_type(serde::de::Unexpected::Seq, &self));
        };
        let Value { number, out, .. } = self;
        let kind = Kind::Message(message);
        while items
            .next_element_seed(Value { number, kind, out })?
            .is_some()
        {}
        Ok(())
    }
}

/// Appends what `write` appends, with its length before it.
fn put_sized<E>(
    out: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    let body_at = out.len();
    write(out)?;
    let body_end = out.len();
    put_varint(out, (body_end - body_at) as u64);
    let n_length = out.len() - body_end;
    out[body_at..].rotate_right(n_length);
    Ok(())
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    digits
        .chunks_exact(2)
        .map(|pair| Some((digit(pair[0])? << 4 | digit(pair[1])?) as u8))
        .collect()
}

#[cfg(test)]
mod tests;
