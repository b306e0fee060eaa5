//! Reads JSON values the lenient way where JSON's writers differ, the strict way else.

use serde_json::Value;
use spanloom_wire::context::Format;

use super::{Direction, Source};
use crate::glob::Glob;
use crate::sampling::Rule;

/// Text that is not empty.
pub(super) fn text(value: &Value) -> Option<String> {
    value
        .as_str()
        .filter(|text| !text.is_empty())
        .map(str::to_owned)
}

/// A whole number within `range`. Istio passes `pluginConfig` through protobuf's `Struct`, which
/// knows floating point only and may write 1000000 as `1e+06`.
pub(super) fn number<N: TryFrom<u64>>(value: &Value, min: u32, max: u32) -> Option<N> {
    let number = value.as_f64()?;
    if number.fract() != 0.0 || number < f64::from(min) || number > f64::from(max) {
        return None;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked above"
    )]
    N::try_from(number as u64).ok()
}

/// A number from 0 to 1.
pub(super) fn ratio(value: &Value) -> Option<f64> {
    value.as_f64().filter(|ratio| (0.0..=1.0).contains(ratio))
}

/// One of some words.
pub(super) fn choice<T: Copy>(value: &Value, choices: &[(&str, T)]) -> Option<T> {
    let word = value.as_str()?;
    choices
        .iter()
        .find(|choice| choice.0 == word)
        .map(|choice| choice.1)
}

pub(super) fn boolean(value: &Value) -> Option<bool> {
    value.as_bool()
}

/// A list, each part of it read by `read`; at most 256 of them.
pub(super) fn list<T>(value: &Value, read: impl Fn(&Value) -> Option<T>) -> Option<Vec<T>> {
    let values = value.as_array().filter(|values| values.len() <= 256)?;
    values.iter().map(read).collect()
}

/// An object of texts.
pub(super) fn texts(value: &Value) -> Option<Vec<(String, String)>> {
    let pairs = value.as_object()?.iter();
    pairs
        .map(|(name, value)| Some((name.clone(), text(value)?)))
        .collect()
}

/// A header's name, in lower case as hosts have it.
pub(super) fn header_name(value: &Value) -> Option<String> {
    text(value)
        .filter(|name| is_header_name(name))
        .map(|name| name.to_ascii_lowercase())
}

pub(super) fn glob(value: &Value) -> Option<Glob> {
    text(value).map(|pattern| Glob::new(&pattern))
}

/// An added attribute: its key and one source.
pub(super) fn attribute(value: &Value) -> Option<(String, Source)> {
    let mut key = None;
    let mut source = None;
    for (name, value) in value.as_object()? {
        let read = match &**name {
            "key" => {
                key = Some(text(value)?);
                continue;
            }
            "value" => Source::Literal(value.as_str()?.to_owned()),
            "environment" => Source::Environment(text(value)?),
            "request_header" => Source::RequestHeader(header_name(value)?),
            "response_header" => Source::ResponseHeader(header_name(value)?),
            "property" => Source::Property(text(value)?.replace('.', "\0")),
            "baggage" => Source::Baggage(text(value)?),
            _ => return None,
        };
        if source.replace(read).is_some() {
            return None;
        }
    }
    Some((key?, source?))
}

/// A sampling rule: a ratio and what it is for.
pub(super) fn rule(value: &Value) -> Option<Rule> {
    let mut rule = Rule::default();
    let mut has_ratio = false;
    for (name, value) in value.as_object()? {
        match &**name {
            "ratio" => {
                rule.ratio = ratio(value)?;
                has_ratio = true;
            }
            "direction" => rule.direction = Some(direction(value)?),
            "method" => rule.method = Some(text(value)?),
            "path" => rule.path = Some(glob(value)?),
            "host" => rule.host = Some(glob(value)?),
            "port" => rule.port = Some(number(value, 1, 65_535)?),
            "headers" => {
                for (name, value) in headers(value)? {
                    rule.headers.push((name, Glob::new(&value)));
                }
            }
            _ => return None,
        }
    }
    has_ratio.then_some(rule)
}

pub(super) fn direction(value: &Value) -> Option<Direction> {
    choice(
        value,
        &[
            ("inbound", Direction::Inbound),
            ("outbound", Direction::Outbound),
        ],
    )
}

/// Names of propagation formats, as `OTEL_PROPAGATORS` has them.
pub(super) fn formats(value: &Value) -> Option<Vec<Format>> {
    list(value, |value| Format::from_name(value.as_str()?))
}

fn is_header_name(name: &str) -> bool {
    let is_letter = |b: u8| b.is_ascii_alphanumeric() || b"-_.!#$%&'*+^`|~".contains(&b);
    !name.is_empty() && name.bytes().all(is_letter)
}

/// Header names with their values. A name that HTTP/2 reserves or forbids is refused.
pub(super) fn headers(value: &Value) -> Option<Vec<(String, String)>> {
    let mut headers = Vec::new();
    for (name, value) in value.as_object()? {
        let value = value.as_str()?;
        if !is_header_name(name) || value.bytes().any(|b| matches!(b, 0 | b'\r' | b'\n')) {
            return None;
        }
        headers.push((name.to_ascii_lowercase(), value.to_owned()));
    }
    Some(headers)
}

/// `, did you mean X?` for the known name with the fewest edits, if these are few.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let edits_max = name.len().min(80) / 3;
    let distances = known.map(|candidate| (edits(name, candidate), candidate));
    match distances.min() {
        Some((n, candidate)) if n <= edits_max => format!(", did you mean {candidate}?"),
        _ => String::new(),
    }
}

/// Levenshtein's distance in bytes; names that are too long for a key count as unlike.
fn edits(a: &str, b: &str) -> usize {
    if a.len() > 80 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, a_byte) in a.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i.saturating_add(1);
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (cell, b_byte) in row.iter_mut().skip(1).zip(b.bytes()) {
            let replaced = diagonal.saturating_add(usize::from(a_byte != b_byte));
            diagonal = *cell;
            left = replaced
                .min(diagonal.saturating_add(1))
                .min(left.saturating_add(1));
            *cell = left;
        }
    }
    row.last().copied().unwrap_or(usize::MAX)
}
