//! What database clients have in common: a CLIENT span by the stable
//! [database conventions](https://opentelemetry.io/docs/specs/semconv/database/database-spans/), and
//! the measure of how long it took.

#[cfg(feature = "sqlx")]
pub(crate) mod sql;

use opentelemetry::trace::{SpanBuilder, Status, TraceContextExt};
use opentelemetry::{Context, KeyValue};

use crate::metrics::Measure;
use crate::trace::{SpanSource, whole};

/// Where queries go, as far as it is known.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// `db.system.name`.
    pub(crate) system: &'static str,
    /// `server.address`, and `server.port` if there is one.
    pub(crate) server: Option<(String, Option<u16>)>,
    /// `db.namespace`.
    pub(crate) namespace: Option<String>,
}

impl Target {
    /// A system of which no more is known.
    pub(crate) fn system(system: &'static str) -> Self {
        Self {
            system,
            server: None,
            namespace: None,
        }
    }

    pub(crate) fn attributes(&self, n_more: usize) -> Vec<KeyValue> {
        let mut attributes = Vec::with_capacity(4 + n_more);
        attributes.push(KeyValue::new("db.system.name", self.system));
        if let Some(namespace) = &self.namespace {
            attributes.push(KeyValue::new("db.namespace", namespace.clone()));
        }
        if let Some((address, port)) = &self.server {
            attributes.push(KeyValue::new("server.address", address.clone()));
            if let Some(port) = port {
                attributes.push(KeyValue::new("server.port", i64::from(*port)));
            }
        }
        attributes
    }
}

/// The span of a call that is under way. It ends when this is dropped: with an error unless the
/// database [answered](Self::on_answer), since whoever asked has lost interest then.
#[derive(Debug)]
pub(crate) struct Call {
    context: Context,
    measure: Option<Measure>,
    is_answered: bool,
}

impl Call {
    /// Starts the span below the current one. Nothing comes back, and nothing is asked for, in a
    /// trace that is not sampled, unless calls are measured: a query tells nobody else its context,
    /// so an unrecorded one needs none. But when the sampler refuses this very span, the call runs
    /// in the refused one's context: else whoever makes a span within it would ask the sampler once
    /// more.
    pub(crate) fn start(
        spans: &SpanSource,
        describe: impl FnOnce() -> SpanBuilder,
    ) -> Option<Self> {
        let started = Context::map_current(|parent| spans.start_call(describe, parent))?;
        let (context, measure) = started;
        Some(Self {
            context: whole(context),
            measure,
            is_answered: false,
        })
    }

    /// The context in which the call is to run.
    pub(crate) fn context(&self) -> &Context {
        &self.context
    }

    /// The database has answered.
    pub(crate) fn on_answer(&mut self) {
        self.is_answered = true;
    }

    /// The database has answered with so many rows.
    #[cfg(feature = "sqlx")]
    pub(crate) fn on_rows(&mut self, n_rows: i64) {
        self.is_answered = true;
        let attribute = KeyValue::new("db.response.returned_rows", n_rows);
        self.context.span().set_attribute(attribute);
    }

    /// The call failed. `code` is what the database said, if it was the database that did; else
    /// `kind` is its type.
    pub(crate) fn on_error(&mut self, code: Option<String>, kind: &'static str, words: String) {
        self.is_answered = true;
        if let Some(measure) = &mut self.measure {
            match &code {
                Some(code) => {
                    measure.label(KeyValue::new("db.response.status_code", code.clone()));
                    measure.label(KeyValue::new("error.type", code.clone()));
                }
                None => measure.fail(kind),
            }
        }
        let span = self.context.span();
        match code {
            Some(code) => {
                span.set_attribute(KeyValue::new("error.type", code.clone()));
                span.set_attribute(KeyValue::new("db.response.status_code", code));
            }
            None => span.set_attribute(KeyValue::new("error.type", kind)),
        }
        span.set_status(Status::error(words));
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if !self.is_answered {
            let words = "the call was dropped before its answer";
            self.on_error(None, "cancelled", words.to_owned());
        }
        let span = self.context.span();
        span.end();
        if let Some(measure) = self.measure.take() {
            measure.finish(span.span_context());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry::trace::{SpanContext, TraceFlags, TraceState};

    #[test]
    fn nobody_is_asked_what_a_span_says_that_is_not_recorded() {
        let guard = crate::builder().environment(|_| None).start().unwrap();
        let mut spans = SpanSource::installed("test");
        spans.fix(guard.tracer_provider());
        for flags in [TraceFlags::NOT_SAMPLED, TraceFlags::SAMPLED] {
            let parent = SpanContext::new(1.into(), 2.into(), flags, true, TraceState::NONE);
            let parent = Context::new().with_remote_span_context(parent);
            let _attached = parent.attach();
            let mut is_asked = false;
            let describe = || {
                is_asked = true;
                SpanBuilder::from_name("query")
            };
            let call = Call::start(&spans, describe);
            assert_eq!(call.is_some(), flags.is_sampled());
            assert_eq!(is_asked, flags.is_sampled());
        }
    }

    #[test]
    fn a_call_that_the_sampler_refuses_runs_in_the_refused_context() {
        use opentelemetry_sdk::trace::Sampler;

        let builder = crate::builder().environment(|_| None);
        let guard = builder.sampler(Sampler::AlwaysOff).start().unwrap();
        let mut spans = SpanSource::installed("test");
        spans.fix(guard.tracer_provider());
        let refused = Call::start(&spans, || SpanBuilder::from_name("query")).unwrap();
        let refused = refused.context().span().span_context().clone();
        assert!(refused.is_valid() && !refused.is_sampled());
        // No tracer at all says nothing of a trace.
        let nobody = SpanSource::installed("test");
        assert!(Call::start(&nobody, || SpanBuilder::from_name("query")).is_none());
    }
}
