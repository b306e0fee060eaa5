//! A kit for tests of traced programs: a place for spans, and a picture of a trace.
//!
//! ```
//! use opentelemetry::trace::{Tracer, TracerProvider};
//! use spanloom::{opentelemetry, testing::Sink};
//!
//! let sink = Sink::default();
//! let tracing = spanloom::builder().environment(|_| None).exporter(sink.clone()).start()?;
//!
//! let tracer = tracing.tracer_provider().tracer("docs");
//! tracer.in_span("bake", |_| tracer.in_span("knead", |_| ()));
//!
//! tracing.flush()?;
//! assert_eq!(sink.tree(&[]), "INTERNAL bake\n  INTERNAL knead\n");
//! # Ok::<(), spanloom::Error>(())
//! ```

use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};

use opentelemetry::trace::{SpanId, SpanKind, Status};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};

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

    /// All spans as an indented tree, without ids and times, to be compared with a text.
    ///
    /// A line has the span's kind, its name, the attributes named in `attributes` as far as the
    /// span has them, and its status when it is set. Children stand in the order of their start.
    #[must_use]
    pub fn tree(&self, attributes: &[&str]) -> String {
        tree(&self.spans(), attributes)
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

fn tree(spans: &[SpanData], attributes: &[&str]) -> String {
    let known: HashSet<SpanId> = spans
        .iter()
        .map(|span| span.span_context.span_id())
        .collect();
    let mut children: HashMap<SpanId, Vec<&SpanData>> = HashMap::new();
    for span in spans {
        // A parent in another process makes a root here.
        let parent = span.parent_span_id;
        let parent = if known.contains(&parent) {
            parent
        } else {
            SpanId::INVALID
        };
        children.entry(parent).or_default().push(span);
    }
    for siblings in children.values_mut() {
        // Reversed, since the stack below takes the last first. Names part equal times.
        siblings.sort_by(|a, b| (b.start_time, &b.name).cmp(&(a.start_time, &a.name)));
    }
    let mut text = String::new();
    let roots = children.remove(&SpanId::INVALID).unwrap_or_default();
    let mut stack: Vec<_> = roots.into_iter().map(|root| (0, root)).collect();
    while let Some((depth, span)) = stack.pop() {
        line(&mut text, depth, span, attributes);
        // Taken out, so that ids that form a ring end the walk.
        let below = children
            .remove(&span.span_context.span_id())
            .unwrap_or_default();
        stack.extend(below.into_iter().map(|child| (depth + 1, child)));
    }
    text
}

fn line(text: &mut String, depth: usize, span: &SpanData, attributes: &[&str]) {
    let kind = match span.span_kind {
        SpanKind::Client => "CLIENT",
        SpanKind::Server => "SERVER",
        SpanKind::Producer => "PRODUCER",
        SpanKind::Consumer => "CONSUMER",
        SpanKind::Internal => "INTERNAL",
    };
    text.push_str(&"  ".repeat(depth));
    text.push_str(kind);
    text.push(' ');
    text.push_str(&span.name);
    for name in attributes {
        if let Some(found) = span
            .attributes
            .iter()
            .rfind(|found| found.key.as_str() == *name)
        {
            // Writing to a string does not fail.
            let _ = write!(text, " {name}={}", found.value);
        }
    }
    match &span.status {
        Status::Unset => {}
        Status::Ok => text.push_str(" OK"),
        Status::Error { description } if description.is_empty() => text.push_str(" ERROR"),
        Status::Error { description } => {
            text.push_str(" ERROR: ");
            text.push_str(description);
        }
    }
    text.push('\n');
}
