//! A request under way: its span, and what is measured of it.

use std::borrow::Cow;

use ::http::{HeaderMap, StatusCode, Version};
use opentelemetry::trace::{Status, TraceContextExt};
use opentelemetry::{Context, KeyValue};

use super::Role;
use crate::metrics::Measure;

/// Both sides of the book: what happens to a request is told once, and kept as attributes of its
/// span, if that is sampled, and in the figures, if those are wanted.
#[derive(Debug)]
pub(crate) struct Call {
    span: Context,
    role: Role,
    measure: Option<Measure>,
}

impl Call {
    pub(crate) fn new(span: Context, role: Role, measure: Option<Measure>) -> Self {
        Self {
            span,
            role,
            measure,
        }
    }

    /// The context with the request's span in it.
    pub(crate) fn context(&self) -> &Context {
        &self.span
    }

    /// What the head of the response says.
    pub(crate) fn on_head(&mut self, status: StatusCode, version: Version, headers: &HeaderMap) {
        if self.role.is_grpc() {
            // An answer without messages has its trailers in the head.
            return self.on_trailers(headers);
        }
        if let Some(measure) = &mut self.measure {
            measure.on_head(status, version);
        }
        self.role.record_status(&self.span, status);
    }

    /// What the trailers say: the status of a gRPC call.
    pub(crate) fn on_trailers(&mut self, trailers: &HeaderMap) {
        let Some(code) = self.role.code(trailers) else {
            return;
        };
        if let Some(measure) = &mut self.measure {
            measure.on_code(code);
        }
        self.role.record_code(&self.span, code, trailers);
    }

    /// Marks it as failed, with a short type for counting and a sentence for reading.
    pub(crate) fn fail(
        &mut self,
        error_type: &'static str,
        description: impl Into<Cow<'static, str>>,
    ) {
        if let Some(measure) = &mut self.measure {
            measure.fail(error_type);
        }
        let span = self.span.span();
        span.set_attribute(KeyValue::new("error.type", error_type));
        span.set_status(Status::error(description));
    }

    /// Ends it, after so many bytes of body if there was a body.
    pub(crate) fn end(self, n_bytes: Option<i64>) {
        let span = self.span.span();
        if let Some(n_bytes) = n_bytes.filter(|_| !self.role.is_grpc()) {
            span.set_attribute(KeyValue::new("http.response.body.size", n_bytes));
        }
        span.end();
        if let Some(measure) = self.measure {
            measure.finish(span.span_context());
        }
    }
}
