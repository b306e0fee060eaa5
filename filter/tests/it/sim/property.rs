//! Properties, their byte form, and the expressions over them that the filter writes.

use spanloom_filter::Status;

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

/// A list of properties in CEL: all that the filter writes. Each part is `a.b`, `''` or
/// `has(a.b) ? a.b : ''`.
#[derive(Clone, Debug)]
pub(super) struct Expression(Vec<Part>);

#[derive(Clone, Debug)]
enum Part {
    Empty,
    Needed(String),
    IfPresent(String),
}

impl Expression {
    /// Reads the text. What is outside the little grammar above is refused as the host refuses what
    /// does not parse, so that a filter which writes more fails a scenario, not silently passes.
    pub(super) fn parse(text: &str) -> Result<Self, Status> {
        let list = text
            .strip_prefix('[')
            .and_then(|list| list.strip_suffix(']'));
        let parts = list.ok_or(Status::BadArgument)?.split(", ");
        let parts: Option<Vec<Part>> = parts.map(Part::parse).collect();
        parts.map(Expression).ok_or(Status::BadArgument)
    }

    /// The value of the list as a block with its values in the place of names. It fails as a whole
    /// when a needed part has no value.
    pub(super) fn evaluate(
        &self,
        has_upstream: bool,
        property: impl Fn(&[u8]) -> Option<Value>,
    ) -> Result<Vec<u8>, Status> {
        let mut values = Vec::new();
        for part in &self.0 {
            let value = match part {
                Part::Empty => Vec::new(),
                Part::Needed(name) => property(&path(name))
                    .ok_or(Status::InternalFailure)?
                    .encode(),
                // Without an upstream there is nothing that could be asked what it has.
                Part::IfPresent(name) if name.starts_with("upstream.") && !has_upstream => {
                    return Err(Status::InternalFailure);
                }
                Part::IfPresent(name) => property(&path(name))
                    .map(|value| value.encode())
                    .unwrap_or_default(),
            };
            values.push((value, Vec::new()));
        }
        Ok(super::stream::encode(&values))
    }
}

impl Part {
    fn parse(text: &str) -> Option<Self> {
        if text == "''" {
            return Some(Part::Empty);
        }
        let Some(guarded) = text.strip_prefix("has(") else {
            return is_path(text).then(|| Part::Needed(text.to_owned()));
        };
        let (asked, rest) = guarded.split_once(") ? ")?;
        let read = rest.strip_suffix(" : ''")?;
        (asked == read && is_path(read)).then(|| Part::IfPresent(read.to_owned()))
    }
}

fn is_path(text: &str) -> bool {
    let is_word = |word: &str| {
        !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    text.split('.').all(is_word)
}
