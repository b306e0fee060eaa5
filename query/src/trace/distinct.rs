//! Spans that stand twice in a trace, since a sender repeated a request that had been kept.

use std::collections::HashSet;

use spanloom_wire::otlp::SpanInContext;

/// Remembers the spans seen, by content: two spans with the same id may differ (Zipkin's client and
/// server halves share one), and then both count.
#[derive(Debug, Default)]
pub(crate) struct Distinct<'a> {
    seen: HashSet<[&'a [u8]; 3]>,
}

impl<'a> Distinct<'a> {
    /// Whether no span before had the same bytes, scope and resource.
    pub(crate) fn insert(&mut self, span: &SpanInContext<'a>) -> bool {
        let SpanInContext {
            resource,
            scope,
            span,
        } = span;
        self.seen
            .insert([span.as_bytes(), scope.as_bytes(), resource.as_bytes()])
    }
}
