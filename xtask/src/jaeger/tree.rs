//! A trace as text: one line a span, children indented below their parent.

use std::fmt;

use super::{Span, Trace};

/// Deeper than any trace that we print, and a bound for spans that are their own ancestors.
const DEPTH_MAX: usize = 64;

impl fmt::Display for Trace {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "trace {} ({} spans)", self.id, self.spans.len())?;
        let mut lines = Vec::new();
        for root in self.children(None) {
            self.add_below(root, 0, &mut lines);
        }
        for orphan in self.orphans() {
            let parent = orphan.parent.as_deref().unwrap_or_default();
            lines.push((format!("below {parent}, which is missing:"), String::new()));
            self.add_below(orphan, 1, &mut lines);
        }
        let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, details) in lines {
            writeln!(out, "{}", format!("{name:width$}  {details}").trim_end())?;
        }
        Ok(())
    }
}

impl Trace {
    /// Adds the line of a span, its name and the rest, and those of its descendants.
    fn add_below(&self, span: &Span, depth: usize, lines: &mut Vec<(String, String)>) {
        let indent = 2 * depth;
        let name = format!("{:indent$}{} {}", "", span.service, span.operation);
        let by = span.maker();
        let status = if span.is_error() { "error" } else { "ok" };
        let kind = span.kind();
        let milliseconds = span.duration_us as f64 / 1000.0;
        let details = format!("{kind:8}  {milliseconds:8.2} ms  {status:5}  {by}");
        lines.push((name, details));
        if depth < DEPTH_MAX {
            for child in self.children(Some(&span.id)) {
                self.add_below(child, depth + 1, lines);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    fn span(id: &str, parent: Option<&str>, operation: &str) -> Span {
        let tags = [
            ("span.kind", json!("server")),
            ("otel.scope.name", json!("spanloom-filter")),
            ("error", json!(operation == "bad")),
        ];
        Span {
            trace_id: "t".to_owned(),
            id: id.to_owned(),
            parent: parent.map(str::to_owned),
            service: "cart".to_owned(),
            operation: operation.to_owned(),
            start_us: 0,
            duration_us: 1500,
            tags: BTreeMap::from(tags.map(|(name, value)| (name.to_owned(), value))),
            process: BTreeMap::new(),
        }
    }

    #[test]
    fn a_trace_is_printed_as_a_tree_and_says_what_is_missing() {
        let spans = vec![
            span("1", None, "GET"),
            span("2", Some("1"), "bad"),
            span("3", Some("9"), "GET"),
        ];
        let trace = Trace {
            id: "t".to_owned(),
            spans,
        };
        let expected = "\
trace t (3 spans)
cart GET                    server        1.50 ms  ok     filter
  cart bad                  server        1.50 ms  error  filter
below 9, which is missing:
  cart GET                  server        1.50 ms  ok     filter
";
        assert_eq!(trace.to_string(), expected);
        assert!(!trace.is_whole());
    }

    #[test]
    fn a_trace_is_whole_when_it_is_one_tree() {
        let whole = |spans| {
            Trace {
                id: "t".to_owned(),
                spans,
            }
            .is_whole()
        };
        assert!(whole(vec![
            span("1", None, "GET"),
            span("2", Some("1"), "GET")
        ]));
        assert!(!whole(vec![span("1", None, "GET"), span("2", None, "GET")]));
        assert!(!whole(vec![]));
        let mut foreign = span("2", Some("1"), "GET");
        foreign.trace_id = "u".to_owned();
        assert!(!whole(vec![span("1", None, "GET"), foreign]));
    }
}
