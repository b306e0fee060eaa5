//! A trace as text: one line a span, children indented below their parent.

use std::fmt;

use super::{Span, Trace};

/// Deeper than any trace that we print, and a bound for spans that are their own ancestors.
const DEPTH_MAX: usize = 64;

impl fmt::Display for Trace {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "trace {} ({} spans)", self.id, self.spans.len())?;
        let width = self
            .spans
            .iter()
            .map(|span| label(span).len())
            .max()
            .unwrap_or(0);
        // Two columns more for each level.
        let width = width + 2 * self.spans.len().min(DEPTH_MAX);
        for root in self.children(None) {
            self.fmt_below(root, 0, width, out)?;
        }
        for orphan in self.orphans() {
            let parent = orphan.parent.as_deref().unwrap_or_default();
            writeln!(out, "below {parent}, which is missing:")?;
            self.fmt_below(orphan, 1, width, out)?;
        }
        Ok(())
    }
}

impl Trace {
    fn fmt_below(
        &self,
        span: &Span,
        depth: usize,
        width: usize,
        out: &mut fmt::Formatter<'_>,
    ) -> fmt::Result {
        let text = format!("{:indent$}{}", "", label(span), indent = 2 * depth);
        let by = if span.is_from_filter() {
            "filter"
        } else {
            "sdk"
        };
        let status = if span.is_error() { "error" } else { "ok" };
        let milliseconds = span.duration_us as f64 / 1000.0;
        let kind = span.kind();
        writeln!(
            out,
            "{text:width$}  {kind:8}  {milliseconds:8.2} ms  {status:5}  {by}"
        )?;
        if depth < DEPTH_MAX {
            for child in self.children(Some(&span.id)) {
                self.fmt_below(child, depth + 1, width, out)?;
            }
        }
        Ok(())
    }
}

fn label(span: &Span) -> String {
    format!("{} {}", span.service, span.operation)
}
