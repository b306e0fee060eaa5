//! Comparing a typed attribute value with the text of a query.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use spanloom_wire::otlp::{DEPTH_MAX, Value};

/// The text that a query asks for, read once as everything that it may stand for.
pub(crate) struct WantedValue<'q> {
    text: &'q str,
    boolean: Option<bool>,
    integer: Option<i64>,
    number: Option<f64>,
    bytes: Option<Vec<u8>>,
}

impl<'q> WantedValue<'q> {
    pub(crate) fn new(text: &'q str) -> Self {
        Self {
            text,
            boolean: text.parse().ok(),
            // An integer has one text form: `007` asks for the text, not for 7.
            integer: text
                .parse()
                .ok()
                .filter(|integer: &i64| integer.to_string() == text),
            number: text.parse().ok(),
            bytes: BASE64.decode(text).ok(),
        }
    }

    /// Whether the text is the text form of this value.
    ///
    /// A double has no single text form (Go, JSON and browsers write `1e21` and `72` each in their
    /// own way), so it is compared as a number. Bytes are base64, lists and maps are compact JSON
    /// with sorted keys, as OpenTelemetry's Go libraries have it.
    pub(crate) fn is(&self, value: &Value<'_>) -> bool {
        match value {
            Value::Empty => self.text.is_empty(),
            Value::Str(text) => *text == self.text,
            Value::Bool(boolean) => Some(*boolean) == self.boolean,
            Value::Int(integer) => Some(*integer) == self.integer,
            Value::Double(number) => self
                .number
                .is_some_and(|wanted| wanted == *number || wanted.is_nan() && number.is_nan()),
            Value::Bytes(bytes) => Some(*bytes) == self.bytes.as_deref(),
            Value::Array(_) => self.text.starts_with('[') && json(value) == self.text,
            Value::Map(_) => self.text.starts_with('{') && json(value) == self.text,
        }
    }
}

fn json(value: &Value<'_>) -> String {
    let mut out = String::new();
    put_json(&mut out, value, 0);
    out
}

/// Appends the value as JSON. What nests deeper than the validator lets through becomes `null`, so
/// that no bytes can exhaust the stack.
fn put_json(out: &mut String, value: &Value<'_>, depth: usize) {
    match value {
        _ if depth > DEPTH_MAX => out.push_str("null"),
        Value::Empty => out.push_str("null"),
        Value::Str(text) => put_json_text(out, text),
        Value::Bool(boolean) => out.push_str(if *boolean { "true" } else { "false" }),
        Value::Int(integer) => out.push_str(&integer.to_string()),
        Value::Double(number) => put_json_number(out, *number),
        Value::Bytes(bytes) => put_json_text(out, &BASE64.encode(bytes)),
        Value::Array(values) => {
            out.push('[');
            for (i, value) in values.clone().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                put_json(out, &value, depth + 1);
            }
            out.push(']');
        }
        Value::Map(attributes) => {
            let mut attributes: Vec<_> = attributes.clone().collect();
            attributes.sort_by_key(|attribute| attribute.key);
            out.push('{');
            for (i, attribute) in attributes.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                put_json_text(out, attribute.key);
                out.push(':');
                put_json(out, &attribute.value, depth + 1);
            }
            out.push('}');
        }
    }
}

/// The shortest form; with an exponent where Go's and JavaScript's JSON have one.
fn put_json_number(out: &mut String, number: f64) {
    let magnitude = number.abs();
    if !number.is_finite() {
        // JSON has no such number.
        out.push_str("null");
    } else if magnitude != 0.0 && !(1e-6..1e21).contains(&magnitude) {
        let text = format!("{number:e}");
        // Rust writes 1e21 where JSON writers put 1e+21.
        out.push_str(&match text.split_once('e') {
            Some((digits, exponent)) if !exponent.starts_with('-') => {
                format!("{digits}e+{exponent}")
            }
            _ => text,
        });
    } else {
        out.push_str(&number.to_string());
    }
}

fn put_json_text(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            control @ '\0'..='\u{1f}' => out.push_str(&format!("\\u{:04x}", control as u32)),
            other => out.push(other),
        }
    }
    out.push('"');
}
