//! Properties and their byte form.

/// The value of a property.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// Text or bytes: as they are.
    Bytes(Vec<u8>),
    /// Any integer, a time or a duration in nanoseconds: 8 bytes, little-endian.
    Int(i64),
}

impl Value {
    pub(crate) fn text(text: &str) -> Self {
        Value::Bytes(text.as_bytes().to_vec())
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        match self {
            Value::Bytes(bytes) => bytes.clone(),
            Value::Int(number) => number.to_le_bytes().to_vec(),
        }
    }
}

/// A path as the host takes it: segments joined by zero bytes instead of dots.
pub(crate) fn path(dotted: &str) -> Vec<u8> {
    dotted.replace('.', "\0").into_bytes()
}
