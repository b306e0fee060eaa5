//! Spans in memory.

use std::sync::{Arc, Mutex, PoisonError};

use opentelemetry::trace::Status;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};

use super::tree::{Node, draw};

/// Keeps every span in memory. Its clones share what they keep.
#[derive(Clone, Debug, Default)]
pub struct Sink {
    spans: Arc<Mutex<Vec<SpanData>>>,
}

impl Sink {
    /// The spans that have been exported so far; [`Guard::flush`](crate::Guard::flush) exports
    /// those that have ended.
    #[must_use]
    pub fn spans(&self) -> Vec<SpanData> {
        self.spans
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Keeps one more.
    pub(crate) fn keep(&self, span: SpanData) {
        self.spans
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(span);
    }

    /// All spans as an indented tree, without ids and times.
    ///
    /// A line has the span's kind, its name, the attributes named in `attributes` as far as the
    /// span has them, and its status when it is set. Children stand in the order of their start.
    #[must_use]
    pub fn tree(&self, attributes: &[&str]) -> String {
        draw(self.spans().iter().map(|span| node(span, attributes)))
    }
}

impl SpanExporter for Sink {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.spans
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(batch);
        Ok(())
    }
}

fn node(span: &SpanData, attributes: &[&str]) -> Node {
    let value = |name: &&str| {
        let found = span
            .attributes
            .iter()
            .rfind(|found| found.key.as_str() == *name)?;
        Some(format!(" {name}={}", found.value))
    };
    let status = match &span.status {
        Status::Unset => String::new(),
        Status::Ok => " OK".to_owned(),
        Status::Error { description } => Node::error(description),
    };
    let attributes: String = attributes.iter().filter_map(value).collect();
    let kind = format!("{:?}", span.span_kind).to_uppercase();
    Node {
        id: span.span_context.span_id().to_bytes().to_vec(),
        parent: span.parent_span_id.to_bytes().to_vec(),
        start: span.start_time,
        line: format!("{kind} {}{attributes}{status}", span.name),
    }
}
