//! Spans in memory, and what requests took.

use std::sync::{Arc, Mutex, PoisonError};

use opentelemetry::time;
use opentelemetry::trace::Status;
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};

use super::figures;
use super::tree::{Node, draw};
use crate::metrics::{Metrics, Totals};

/// Keeps every span in memory. Its clones share what they keep.
#[derive(Clone, Debug, Default)]
pub struct Sink {
    spans: Arc<Mutex<Vec<SpanData>>>,
    measured: Arc<Mutex<Option<Measured>>>,
}

/// What counts, and what it has counted until it was last asked.
type Measured = (Arc<Metrics>, Totals);

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

    /// What the layers have measured so far, in the form of OTLP, cumulative. Only for tracing that
    /// was begun by [`start`](super::start) or [`builder`](super::builder); else there is nothing.
    #[must_use]
    pub fn metrics(&self) -> Vec<Metric> {
        let mut measured = self.measured.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((metrics, totals)) = &mut *measured else {
            return Vec::new();
        };
        metrics.drain(totals);
        let scope = totals.metrics(time::now());
        scope.map_or_else(Vec::new, |scope| scope.metrics)
    }

    /// The same as text, one line a series in the order of the alphabet:
    /// `http.server.request.duration http.route=/orders/{id} count=2 spans=1`. It has the
    /// attributes named in `attributes` as far as the series has them, the number of requests, and
    /// the number of buckets with a span as their example.
    #[must_use]
    pub fn figures(&self, attributes: &[&str]) -> String {
        let metrics = self.metrics();
        let without_service = metrics.iter().map(|metric| (String::new(), metric));
        figures::draw(without_service, attributes)
    }

    /// Shows what is counted here from now on.
    pub(crate) fn measure(&self, metrics: &Arc<Metrics>) {
        let mut measured = self.measured.lock().unwrap_or_else(PoisonError::into_inner);
        *measured = Some((Arc::clone(metrics), Totals::new(false)));
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
