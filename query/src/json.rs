//! Appends JSON to a byte buffer: commas and indentation are its affair, the shape is the caller's.
//!
//! A trace of 100,000 spans is tens of megabytes of JSON, so it is written straight from views of
//! the stored bytes. `serde_json` would want a `Serialize` type for each message in between, and has
//! no way to hand on what is written so far.

use std::io::Write as _;

/// The greatest integer that a JavaScript number holds exactly, 2^53 - 1.
const SAFE_INTEGER_MAX: u64 = (1 << 53) - 1;

/// Writes one JSON document, value by value, in document order.
#[derive(Debug, Default)]
pub(crate) struct JsonWriter {
    out: Vec<u8>,
    pretty: bool,
    n_open: usize,
    /// A value stands before this place in the same array or object.
    comma: bool,
    /// The place is that of an object's value, so no line break comes before it.
    after_key: bool,
}

impl JsonWriter {
    /// A writer without blanks, or, when `pretty`, with four per level as Jaeger indents.
    pub(crate) fn new(pretty: bool) -> Self {
        Self {
            pretty,
            ..Self::default()
        }
    }

    pub(crate) fn begin_object(&mut self) {
        self.begin(b'{');
    }

    pub(crate) fn end_object(&mut self) {
        self.end(b'}');
    }

    pub(crate) fn begin_array(&mut self) {
        self.begin(b'[');
    }

    pub(crate) fn end_array(&mut self) {
        self.end(b']');
    }

    /// The key of the value that is written next.
    pub(crate) fn key(&mut self, key: &str) {
        self.string(key);
        self.out
            .extend_from_slice(if self.pretty { b": " } else { b":" });
        self.after_key = true;
    }

    pub(crate) fn string(&mut self, text: &str) {
        self.place();
        self.out.push(b'"');
        let mut rest = text.as_bytes();
        while let Some(at) = rest.iter().position(|&byte| escape(byte).is_some()) {
            let (plain, escaped) = rest.split_at(at);
            self.out.extend_from_slice(plain);
            match escape(escaped[0]) {
                Some(b'u') => {
                    let _ = write!(self.out, "\\u{:04x}", escaped[0]);
                }
                Some(letter) => self.out.extend_from_slice(&[b'\\', letter]),
                None => {}
            }
            rest = &escaped[1..];
        }
        self.out.extend_from_slice(rest);
        self.out.push(b'"');
    }

    pub(crate) fn unsigned(&mut self, number: u64) {
        self.place();
        let _ = write!(self.out, "{number}");
    }

    /// An integer; as text where a JavaScript number would not hold it exactly, as Jaeger does.
    pub(crate) fn integer(&mut self, number: i64) {
        if number.unsigned_abs() > SAFE_INTEGER_MAX {
            self.string(&number.to_string());
        } else {
            self.place();
            let _ = write!(self.out, "{number}");
        }
    }

    /// A number; as text where it is none that JSON knows (`NaN`, `inf`).
    pub(crate) fn double(&mut self, number: f64) {
        // `{:?}` prints the shortest text that reads back as the same number.
        if number.is_finite() {
            self.place();
            let _ = write!(self.out, "{number:?}");
        } else {
            self.string(&number.to_string());
        }
    }

    pub(crate) fn bool(&mut self, value: bool) {
        self.place();
        self.out
            .extend_from_slice(if value { b"true" } else { b"false" });
    }

    pub(crate) fn null(&mut self) {
        self.place();
        self.out.extend_from_slice(b"null");
    }

    /// How much is written and not yet taken.
    pub(crate) fn len(&self) -> usize {
        self.out.len()
    }

    /// What is written since the last time; the document goes on after it.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }

    fn begin(&mut self, bracket: u8) {
        self.place();
        self.out.push(bracket);
        self.n_open += 1;
        self.comma = false;
    }

    fn end(&mut self, bracket: u8) {
        self.n_open -= 1;
        if self.comma {
            self.line_break();
        }
        self.out.push(bracket);
        self.comma = true;
    }

    /// What comes before every value and key.
    fn place(&mut self) {
        if std::mem::take(&mut self.after_key) {
            return;
        }
        if self.comma {
            self.out.push(b',');
        }
        self.comma = true;
        if self.n_open > 0 {
            self.line_break();
        }
    }

    fn line_break(&mut self) {
        if self.pretty {
            self.out.push(b'\n');
            self.out.resize(self.out.len() + 4 * self.n_open, b' ');
        }
    }
}

/// The letter that escapes this byte after a backslash; `u` for the `\u00XX` form.
const fn escape(byte: u8) -> Option<u8> {
    match byte {
        b'"' | b'\\' => Some(byte),
        b'\n' => Some(b'n'),
        b'\r' => Some(b'r'),
        b'\t' => Some(b't'),
        0..=0x1f | 0x7f => Some(b'u'),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(pretty: bool, write: impl FnOnce(&mut JsonWriter)) -> String {
        let mut json = JsonWriter::new(pretty);
        write(&mut json);
        String::from_utf8(json.take()).unwrap()
    }

    fn sample(json: &mut JsonWriter) {
        json.begin_object();
        json.key("a");
        json.begin_array();
        json.unsigned(1);
        json.begin_array();
        json.end_array();
        json.begin_object();
        json.end_object();
        json.end_array();
        json.key("b");
        json.null();
        json.end_object();
    }

    #[test]
    fn compact_has_no_blanks() {
        assert_eq!(written(false, sample), r#"{"a":[1,[],{}],"b":null}"#);
    }

    #[test]
    fn pretty_indents_by_four_and_keeps_empty_brackets_together() {
        let value: serde_json::Value = serde_json::from_str(&written(false, sample)).unwrap();
        let mut expected = Vec::new();
        let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
        let mut serializer = serde_json::Serializer::with_formatter(&mut expected, formatter);
        serde::Serialize::serialize(&value, &mut serializer).unwrap();
        assert_eq!(written(true, sample).into_bytes(), expected);
    }

    #[test]
    fn integers_that_javascript_would_round_are_text() {
        let safe = 9_007_199_254_740_991;
        assert_eq!(
            written(false, |json| json.integer(safe)),
            "9007199254740991"
        );
        assert_eq!(
            written(false, |json| json.integer(safe + 1)),
            "\"9007199254740992\""
        );
        assert_eq!(
            written(false, |json| json.integer(-safe)),
            "-9007199254740991"
        );
        assert_eq!(
            written(false, |json| json.integer(i64::MIN)),
            "\"-9223372036854775808\""
        );
    }

    #[test]
    fn numbers_that_json_does_not_know_are_text() {
        assert_eq!(written(false, |json| json.double(f64::NAN)), "\"NaN\"");
        assert_eq!(
            written(false, |json| json.double(f64::NEG_INFINITY)),
            "\"-inf\""
        );
    }

    fn read_back(text: &str) -> String {
        serde_json::from_str(&written(false, |json| json.string(text))).unwrap()
    }

    #[test]
    fn control_characters_are_escaped() {
        let text: String = ('\0'..='\u{ff}').collect();
        assert_eq!(read_back(&text), text);
    }

    proptest! {
        #[test]
        fn any_text_reads_back(text: String) {
            prop_assert_eq!(read_back(&text), text);
        }

        #[test]
        fn any_finite_number_reads_back(number in proptest::num::f64::NORMAL | proptest::num::f64::SUBNORMAL) {
            let read: f64 = written(false, |json| json.double(number)).parse().unwrap();
            prop_assert_eq!(read.to_bits(), number.to_bits());
            let text = written(false, |json| json.double(number));
            prop_assert!(serde_json::from_str::<f64>(&text).is_ok());
        }
    }
}
