//! Reading a mapping key by key: what nobody asked for is an unknown key, and every fault is
//! collected with its full path, so that one run shows them all.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use super::yaml::{Node, Yaml};

/// One fault in a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The line, from 1; 0 when not known.
    pub line: u64,
    /// The full path of the key, such as `receivers::otlp::protocols`.
    pub path: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "line {}: ", self.line)?;
        }
        let path = if self.path.is_empty() {
            "the document"
        } else {
            &self.path
        };
        write!(f, "{path}: {}", self.message)
    }
}

/// Where sections put the faults that they find.
#[derive(Debug, Default)]
pub(super) struct Problems {
    found: RefCell<Vec<Problem>>,
    /// The full path of every key that a section was asked for: the reference is checked by it.
    asked: RefCell<BTreeSet<String>>,
}

impl Problems {
    /// Notes a fault.
    pub(super) fn add(&self, line: u64, path: &str, message: impl Into<String>) {
        let problem = Problem {
            line,
            path: path.to_owned(),
            message: message.into(),
        };
        self.found.borrow_mut().push(problem);
    }

    /// The faults, in the order of the file.
    pub(super) fn sorted(&self) -> Vec<Problem> {
        let mut problems = self.found.borrow().clone();
        problems.sort_by_key(|problem| problem.line);
        problems
    }

    /// The full paths of all keys that were asked for.
    #[cfg(test)]
    pub(super) fn asked(self) -> BTreeSet<String> {
        self.asked.into_inner()
    }
}

/// A mapping that is being read. When it is dropped, the keys that are left are reported.
pub(super) struct Section<'a> {
    problems: &'a Problems,
    path: String,
    line: u64,
    entries: Vec<(String, Node)>,
    /// The keys that were asked for, and the lines of their values.
    known: Vec<(&'static str, u64)>,
    not_yet: Vec<&'static str>,
}

impl<'a> Section<'a> {
    /// The section at `path`. Nothing at all is an empty mapping, as in `debug:`.
    pub(super) fn new(problems: &'a Problems, path: impl Into<String>, node: Node) -> Self {
        let path = path.into();
        let entries = match node.value {
            Yaml::Map(entries) => entries,
            Yaml::Null => Vec::new(),
            other => {
                problems.add(
                    node.line,
                    &path,
                    format!("expected a mapping, found {}", other.kind()),
                );
                Vec::new()
            }
        };
        Self {
            problems,
            path,
            line: node.line,
            entries,
            known: Vec::new(),
            not_yet: Vec::new(),
        }
    }

    /// The line that the section begins in.
    pub(super) const fn line(&self) -> u64 {
        self.line
    }

    /// Notes a fault of the section as a whole.
    pub(super) fn problem(&self, message: impl Into<String>) {
        self.problems.add(self.line, &self.path, message);
    }

    /// Notes a fault of one key of the section, in the line where its value was.
    pub(super) fn problem_of(&self, key: &str, message: impl Into<String>) {
        let line = self
            .known
            .iter()
            .find(|(name, _)| *name == key)
            .map(|(_, line)| *line);
        self.problem_at(line.unwrap_or(self.line), key, message);
    }

    /// Notes a fault of something in a key, in a line of its own.
    pub(super) fn problem_at(&self, line: u64, key: &str, message: impl Into<String>) {
        self.problems.add(line, &self.path_of(key), message);
    }

    /// Names keys of the OpenTelemetry Collector that are not here yet, so that they are not called
    /// unknown.
    pub(super) fn not_yet(&mut self, keys: &[&'static str]) {
        self.not_yet.extend(keys);
    }

    /// Whether the key has a value that was not taken yet.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries
            .iter()
            .any(|(name, node)| name == key && node.value != Yaml::Null)
    }

    /// The value of a key, and its line.
    pub(super) fn take(&mut self, key: &'static str) -> Option<Node> {
        let at = self.entries.iter().position(|(name, _)| name == key);
        let node = at.map(|at| self.entries.remove(at).1);
        self.known
            .push((key, node.as_ref().map_or(self.line, |node| node.line)));
        self.problems.asked.borrow_mut().insert(self.path_of(key));
        node
    }

    /// Every entry that is left, for mappings whose keys are names.
    pub(super) fn take_rest(&mut self) -> Vec<(String, Node)> {
        std::mem::take(&mut self.entries)
    }

    /// A section under this one; `None` when the key is absent.
    pub(super) fn section(&mut self, key: &'static str) -> Option<Section<'a>> {
        let node = self.take(key)?;
        Some(Section::new(self.problems, self.path_of(key), node))
    }

    /// A section under this one by a name that is not fixed.
    pub(super) fn named(&self, name: &str, node: Node) -> Section<'a> {
        Section::new(self.problems, self.path_of(name), node)
    }

    /// A text.
    pub(super) fn text(&mut self, key: &'static str) -> Option<String> {
        self.typed(key, "text", |value| match value {
            Yaml::Text(text) | Yaml::Environment(text) => Some(text.clone()),
            Yaml::Int(number) => Some(number.to_string()),
            _ => None,
        })
    }

    /// `true` or `false`.
    pub(super) fn bool(&mut self, key: &'static str) -> Option<bool> {
        self.typed(key, "true or false", |value| match value {
            Yaml::Bool(truth) => Some(*truth),
            Yaml::Environment(text) => text.parse().ok(),
            _ => None,
        })
    }

    /// A whole number, not negative.
    pub(super) fn uint(&mut self, key: &'static str) -> Option<u64> {
        self.typed(key, "a whole number, not negative", |value| match value {
            Yaml::Int(number) => u64::try_from(*number).ok(),
            Yaml::Environment(text) => text.parse().ok(),
            _ => None,
        })
    }

    /// A number from `min` to `max`.
    pub(super) fn number(&mut self, key: &'static str, min: f64, max: f64) -> Option<f64> {
        self.typed(key, &format!("a number from {min} to {max}"), |value| {
            let number = match value {
                Yaml::Int(number) => *number as f64,
                Yaml::Float(number) => *number,
                Yaml::Environment(text) => text.parse().ok()?,
                _ => return None,
            };
            (min..=max).contains(&number).then_some(number)
        })
    }

    /// A duration such as `5s`, `200ms` or `1m30s`.
    pub(super) fn duration(&mut self, key: &'static str) -> Option<Duration> {
        self.typed(
            key,
            "a duration such as 5s, 200ms or 1m30s",
            |value| match value {
                Yaml::Text(text) | Yaml::Environment(text) => parse_duration(text),
                Yaml::Int(0) => Some(Duration::ZERO),
                _ => None,
            },
        )
    }

    /// One of these words.
    pub(super) fn one_of<T: Copy>(
        &mut self,
        key: &'static str,
        choices: &[(&str, T)],
    ) -> Option<T> {
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        self.typed(
            key,
            &format!("one of {}", names.join(", ")),
            |value| match value {
                Yaml::Text(text) | Yaml::Environment(text) => choices
                    .iter()
                    .find(|(name, _)| name == text)
                    .map(|(_, choice)| *choice),
                _ => None,
            },
        )
    }

    /// A list of texts with their lines.
    pub(super) fn texts(&mut self, key: &'static str) -> Vec<(u64, String)> {
        let Some(node) = self.take(key) else {
            return Vec::new();
        };
        let items = match node.value {
            Yaml::List(items) => items,
            Yaml::Null => Vec::new(),
            other => {
                self.problem_at(
                    node.line,
                    key,
                    format!("expected a list, found {}", other.kind()),
                );
                return Vec::new();
            }
        };
        let mut texts = Vec::new();
        for item in items {
            match item.value {
                Yaml::Text(text) | Yaml::Environment(text) => texts.push((item.line, text)),
                other => {
                    let message = format!("expected a list of texts, found {} in it", other.kind());
                    self.problem_at(item.line, key, message);
                }
            }
        }
        texts
    }

    fn typed<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        read: impl FnOnce(&Yaml) -> Option<T>,
    ) -> Option<T> {
        let node = self.take(key)?;
        if node.value == Yaml::Null {
            return None;
        }
        let value = read(&node.value);
        if value.is_none() {
            let message = format!("expected {expected}, found {}", shown(&node.value));
            self.problem_at(node.line, key, message);
        }
        value
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}::{key}", self.path)
        }
    }
}

impl Drop for Section<'_> {
    fn drop(&mut self) {
        for (key, node) in std::mem::take(&mut self.entries) {
            let message = if self.not_yet.contains(&key.as_str()) {
                "the OpenTelemetry Collector has this key; Spanloom does not have it yet".to_owned()
            } else {
                let known: Vec<_> = self.known.iter().map(|(name, _)| *name).collect();
                unknown("key", &key, &known)
            };
            self.problem_at(node.line, &key, message);
        }
    }
}

/// The message for a word that is none of `known`: the nearest one, and all of them.
pub(super) fn unknown(what: &str, word: &str, known: &[&str]) -> String {
    let mut message = format!("unknown {what}");
    if let Some(nearest) = nearest(word, known) {
        message.push_str(&format!(" (did you mean {nearest}?)"));
    }
    if known.is_empty() {
        message.push_str("; nothing is known here");
    } else {
        message.push_str(&format!("; known here: {}", known.join(", ")));
    }
    message
}

/// The word that differs least, if it is not quite another one.
fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let distances = known
        .iter()
        .map(|candidate| (distance(word, candidate), *candidate));
    let (distance, candidate) = distances.min_by_key(|(distance, _)| *distance)?;
    let is_near = distance <= 2.max(candidate.len() / 3) || candidate.starts_with(word);
    is_near.then_some(candidate)
}

/// Levenshtein's distance, on bytes, of the first 64: keys are short ASCII words.
fn distance(a: &str, b: &str) -> usize {
    let a = &a.as_bytes()[..a.len().min(64)];
    let b = &b.as_bytes()[..b.len().min(64)];
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, byte_a) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, byte_b) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(byte_a != byte_b);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

fn shown(value: &Yaml) -> String {
    match value {
        Yaml::Text(text) | Yaml::Environment(text) => format!("{text:?}"),
        Yaml::Int(number) => number.to_string(),
        Yaml::Float(number) => number.to_string(),
        Yaml::Bool(truth) => truth.to_string(),
        other => other.kind().to_owned(),
    }
}

/// A duration as Go writes it: numbers with units, such as `1h30m` or `1.5s`.
pub(super) fn parse_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let n_digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(n_digits);
        let n_unit = tail
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(n_unit);
        let seconds = match unit {
            "ns" => 1e-9,
            "us" | "\u{b5}s" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        let amount = Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()?;
        total = total.checked_add(amount)?;
        rest = tail;
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_read_as_go_writes_them() {
        for (text, millis) in [
            ("5s", 5_000),
            ("200ms", 200),
            ("1m30s", 90_000),
            ("1.5h", 5_400_000),
            ("0", 0),
            ("0s", 0),
        ] {
            assert_eq!(
                parse_duration(text),
                Some(Duration::from_millis(millis)),
                "{text}"
            );
        }
        for text in [
            "",
            "5",
            "s",
            "5x",
            "-5s",
            "5 s",
            "1e3s",
            "..s",
            "99999999999999999999h",
        ] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn the_nearest_key_is_proposed_only_when_it_is_near() {
        let known = ["endpoint", "max_recv_msg_size_mib"];
        assert_eq!(nearest("endpont", &known), Some("endpoint"));
        assert_eq!(
            nearest("max_recv_msg_size", &known),
            Some("max_recv_msg_size_mib")
        );
        assert_eq!(nearest("colour", &known), None);
    }

    proptest! {
        #[test]
        fn durations_never_panic(text in ".{0,20}") {
            let _ = parse_duration(&text);
        }
    }
}
