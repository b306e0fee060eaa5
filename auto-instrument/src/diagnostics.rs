//! The compiler's messages about a copy, turned back to the original. Files and lines are right
//! by themselves; offsets are shifted back, and insertions are taken out of the quoted source. A
//! message that points at something behind an insertion in its line cannot be turned back.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::edit::Edits;
use crate::functions::FUTURES;
use crate::hook::recipe::HOOK;

/// The insertions of a crate, by the file names that appear in messages.
#[derive(Debug, Default)]
pub(crate) struct Originals {
    files: BTreeMap<String, Vec<Mark>>,
}

#[derive(Debug)]
struct Mark {
    /// Byte offset in the copy.
    at: usize,
    original_at: usize,
    length: usize,
    /// What stood in its place, and is as long; empty for what was only inserted.
    covered: String,
    line: u64,
    text: String,
    ends_line: bool,
}

/// A message after translation.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// Says what it would say about the original.
    Right(String),
    /// Quotes something that the original does not have.
    Foreign,
}

impl Originals {
    /// Notes what is inserted into a file that messages call `name`.
    pub(crate) fn add(&mut self, name: String, original: &str, edits: &Edits) {
        let (mut shift, mut counted_to, mut line) = (0, 0, 1);
        let marks = edits.sorted().into_iter().map(|insertion| {
            let since = original.get(counted_to..insertion.at).unwrap_or_default();
            line += since.bytes().filter(|byte| *byte == b'\n').count() as u64;
            counted_to = insertion.at;
            let after = original.get(insertion.at..).unwrap_or_default();
            let mark = Mark {
                at: insertion.at + shift,
                original_at: insertion.at,
                length: insertion.text.len(),
                covered: after.get(..insertion.covers).unwrap_or_default().to_owned(),
                line,
                text: insertion.text.clone(),
                ends_line: after
                    .lines()
                    .next()
                    .is_none_or(|rest| rest.trim().is_empty()),
            };
            shift += insertion.text.len() - insertion.covers;
            mark
        });
        self.files.insert(name, marks.collect());
    }

    /// Translates one line of the compiler's standard error.
    pub(crate) fn translate(&self, line: &str) -> Message {
        let Ok(mut message) = serde_json::from_str::<Value>(line) else {
            return Message::Right(line.to_owned());
        };
        let mut quoted = Vec::new();
        let can_be_taken_out = self.leaves_carets(&message);
        self.shift(&mut message, &mut quoted);
        if quoted.is_empty() && !line.contains("panloom") {
            return Message::Right(message.to_string());
        }
        if !can_be_taken_out {
            return Message::Foreign;
        }
        strip(&mut message, &quoted);
        let text = message.to_string();
        let is_ours = |name: &&str| text.contains(name);
        match [HOOK].iter().chain(&FUTURES).any(is_ours) {
            true => Message::Foreign,
            false => Message::Right(text),
        }
    }

    /// Whether no span begins or ends behind an insertion in its line: what is drawn below the line
    /// then stands where it would without it.
    fn leaves_carets(&self, value: &Value) -> bool {
        match value {
            Value::Array(values) => values.iter().all(|one| self.leaves_carets(one)),
            Value::Object(fields) => {
                let number = |key| fields.get(key).and_then(Value::as_u64).unwrap_or_default();
                let ends = [("line_start", "byte_start"), ("line_end", "byte_end")];
                let ends = ends.map(|(line, byte)| (number(line), number(byte)));
                let is_behind = |mark: &Mark, (line, byte): (u64, u64)| {
                    mark.line == line && byte > mark.at as u64
                };
                let name = fields.get("file_name").and_then(Value::as_str);
                let marks = name.and_then(|name| self.files.get(name));
                let is_left = marks.into_iter().flatten().all(|mark| {
                    mark.ends_line
                        || !mark.covered.is_empty()
                        || ends.iter().all(|end| !is_behind(mark, *end))
                });
                is_left && fields.values().all(|field| self.leaves_carets(field))
            }
            _ => true,
        }
    }

    /// The insertions at which an error points: file names as messages have them, and offsets in the
    /// originals. Empty for what is no error.
    pub(crate) fn blamed(&self, line: &str) -> Vec<(String, usize)> {
        let mut found = Vec::new();
        if line.contains("\"level\":\"error\"")
            && let Ok(message) = serde_json::from_str::<Value>(line)
        {
            let spans = message["spans"].as_array().into_iter().flatten();
            // The others say what it has to do with the error.
            for span in spans.filter(|span| span["is_primary"] == true) {
                self.blame(span, &mut found);
            }
        }
        found
    }

    /// Looks at a span, and at those of the macros that it comes from.
    fn blame(&self, value: &Value, found: &mut Vec<(String, usize)>) {
        let Some(fields) = value.as_object() else {
            return;
        };
        let name = fields.get("file_name").and_then(Value::as_str);
        let start = fields.get("byte_start").and_then(Value::as_u64);
        if let (Some(name), Some(start)) = (name, start) {
            let holds = |mark: &&Mark| (mark.at..mark.at + mark.length).contains(&(start as usize));
            let marks = self.files.get(name).into_iter().flatten().filter(holds);
            found.extend(marks.map(|mark| (name.to_owned(), mark.original_at)));
        }
        for field in fields.values() {
            self.blame(field, found);
        }
    }

    /// Shifts offsets back wherever a span stands in the message, and gathers what is quoted.
    fn shift<'a>(&'a self, value: &mut Value, quoted: &mut Vec<&'a Mark>) {
        match value {
            Value::Array(values) => values.iter_mut().for_each(|one| self.shift(one, quoted)),
            Value::Object(fields) => {
                let marks = fields
                    .get("file_name")
                    .and_then(Value::as_str)
                    .and_then(|name| self.files.get(name));
                if let Some(marks) = marks {
                    for key in ["byte_start", "byte_end"] {
                        if let Some(offset) = fields.get(key).and_then(Value::as_u64) {
                            let added: usize = marks
                                .iter()
                                .take_while(|mark| mark.at as u64 + mark.length as u64 <= offset)
                                .map(|mark| mark.length - mark.covered.len())
                                .sum();
                            fields.insert(key.to_owned(), (offset - added as u64).into());
                        }
                    }
                    let line = |key| fields.get(key).and_then(Value::as_u64).unwrap_or_default();
                    let lines = line("line_start")..=line("line_end");
                    quoted.extend(marks.iter().filter(|mark| lines.contains(&mark.line)));
                }
                for (_, field) in fields.iter_mut() {
                    self.shift(field, quoted);
                }
            }
            _ => {}
        }
    }
}

/// Takes the quoted insertions out of every text of the message.
fn strip(value: &mut Value, quoted: &[&Mark]) {
    match value {
        Value::String(text) => {
            for mark in quoted {
                if text.contains(&mark.text) {
                    *text = text.replace(&mark.text, &mark.covered);
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|one| strip(one, quoted)),
        Value::Object(fields) => fields
            .iter_mut()
            .for_each(|(_, field)| strip(field, quoted)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// `fn f() {` with an insertion at the end of line 1; `fn g() { 1 }` with one inside line 4.
    fn originals() -> Originals {
        let original = "fn f() {\n    x\n}\nfn g() { 1 }\n";
        let mut edits = Edits::default();
        edits.insert(8, " ::spanloom_hook::enter!(\"f\");");
        edits.insert(25, " ::spanloom_hook::enter!(\"g\");");
        let mut originals = Originals::default();
        originals.add("src/lib.rs".to_owned(), original, &edits);
        originals
    }

    fn message(line: u64, start: u64, rendered: &str) -> String {
        let span = json!({"file_name": "src/lib.rs", "line_start": line, "line_end": line, "byte_start": start, "byte_end": start + 1, "is_primary": true});
        json!({"message": "m", "spans": [span], "rendered": rendered}).to_string()
    }

    #[test]
    fn offsets_are_the_originals() {
        let Message::Right(text) = originals().translate(&message(2, 43, "2 | x")) else {
            panic!("foreign")
        };
        let value: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(value["spans"][0]["byte_start"], 13);
        assert_eq!(value["rendered"], "2 | x");
    }

    #[test]
    fn an_insertion_at_the_end_of_a_quoted_line_is_taken_out() {
        let rendered = "1 | fn f() { ::spanloom_hook::enter!(\"f\");\n  |    ^";
        let Message::Right(text) = originals().translate(&message(1, 3, rendered)) else {
            panic!("foreign")
        };
        let value: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(value["rendered"], "1 | fn f() {\n  |    ^");
    }

    #[test]
    fn insertions_behind_what_is_pointed_at_are_taken_out() {
        let original = "async fn f(x: u8) -> u8 { 1 }\n";
        let mut edits = Edits::default();
        edits.cover(0, "/*~*/");
        edits.insert(21, "::spanloom_hook::future_of!(");
        edits.insert(23, "/*|*/)");
        let mut originals = Originals::default();
        originals.add("src/lib.rs".to_owned(), original, &edits);
        let copy = edits.apply(original);
        let points_at = |place: usize, byte: usize| {
            let caret = format!("{}^", " ".repeat(place));
            let line = message(1, byte as u64, &format!("1 | {copy}  | {caret}"));
            originals.translate(&line)
        };
        let Message::Right(text) = points_at(11, 11) else {
            panic!("foreign")
        };
        let value: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(value["rendered"], format!("1 | {original}  |            ^"));
        assert_eq!(value["spans"][0]["byte_start"], 11);
        let of_type = copy.find("u8/*|*/").expect("inserted");
        assert_eq!(points_at(of_type, of_type), Message::Foreign);
    }

    #[test]
    fn what_points_behind_an_insertion_is_foreign() {
        assert_eq!(
            originals().translate(&message(4, 86, "4 | fn g()")),
            Message::Foreign
        );
    }

    #[test]
    fn an_error_at_an_insertion_blames_it() {
        let of_level = |level: &str, start: u64| {
            let line =
                message(1, start, "x").replacen('{', &format!("{{\"level\":\"{level}\","), 1);
            originals().blamed(&line)
        };
        assert_eq!(of_level("error", 12), [("src/lib.rs".to_owned(), 8)]);
        assert_eq!(of_level("error", 3), []);
        assert_eq!(of_level("warning", 12), []);
    }

    #[test]
    fn what_is_not_a_message_passes() {
        assert_eq!(
            originals().translate("warning: plain"),
            Message::Right("warning: plain".into())
        );
    }
}
