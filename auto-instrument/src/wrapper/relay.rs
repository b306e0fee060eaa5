//! The compiler's messages about a copy, on their way to Cargo.

use std::io::{self, BufRead, Write};

use anyhow::Result;

use super::Unit;
use crate::diagnostics::{Message, Originals};

/// Passes the compiler's messages on. Until it has produced metadata the crate may yet fall back,
/// so messages wait; from then on the copy is what others compile against.
pub(super) struct Relay<'a> {
    unit: &'a Unit<'a>,
    originals: &'a Originals,
    waiting: Vec<String>,
    is_foreign: bool,
    pub(super) is_committed: bool,
    pub(super) first_error: Option<String>,
    /// The insertions at which errors point.
    pub(super) blamed: Vec<(String, usize)>,
}

impl<'a> Relay<'a> {
    pub(super) fn new(unit: &'a Unit<'a>, originals: &'a Originals) -> Self {
        Self {
            unit,
            originals,
            waiting: Vec::new(),
            is_foreign: false,
            is_committed: false,
            first_error: None,
            blamed: Vec::new(),
        }
    }

    pub(super) fn relay(mut self, messages: impl BufRead) -> Result<Self> {
        for line in messages.split(b'\n') {
            let line = line?;
            let line = String::from_utf8_lossy(&line);
            if self.first_error.is_none() {
                self.first_error = error_in(&line);
            }
            self.blamed.extend(self.originals.blamed(&line));
            let line = match self.originals.translate(&line) {
                Message::Right(line) => line,
                Message::Foreign => {
                    self.is_foreign = true;
                    continue;
                }
            };
            let is_metadata = is_artifact(&line) && line.contains("\"emit\":\"metadata\"");
            self.waiting.push(line);
            if is_metadata {
                self.flush()?;
                self.is_committed = true;
            } else if self.is_committed {
                self.flush()?;
            }
        }
        Ok(self)
    }

    pub(super) fn finish(mut self) -> Result<()> {
        self.flush()
    }

    fn flush(&mut self) -> Result<()> {
        let mut lines = std::mem::take(&mut self.waiting);
        if std::mem::take(&mut self.is_foreign) && !self.is_committed {
            // Some message cannot be told of the original: let the original tell all of them.
            lines.retain(|line| is_artifact(line));
            lines.splice(0..0, self.unit.messages_of_original()?);
        }
        let mut out = io::stderr().lock();
        for line in lines {
            writeln!(out, "{line}")?;
        }
        Ok(())
    }
}

pub(super) fn is_artifact(line: &str) -> bool {
    line.contains("\"$message_type\":\"artifact\"")
}

/// The text of an error, with its place when it has one.
fn error_in(line: &str) -> Option<String> {
    if !line.contains("\"level\":\"error\"") {
        return None;
    }
    let message: serde_json::Value = serde_json::from_str(line).ok()?;
    let text = message["message"].as_str()?;
    let span = message["spans"]
        .as_array()
        .and_then(|spans| spans.iter().find(|span| span["is_primary"] == true));
    match span {
        Some(span) => {
            let file = span["file_name"].as_str().unwrap_or_default();
            Some(format!("{file}:{}: {text}", span["line_start"]))
        }
        None => Some(text.to_owned()),
    }
}
