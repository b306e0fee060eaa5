//! A message in work.

use std::borrow::Cow;
use std::fmt::Display;
use std::future::poll_fn;
use std::pin::pin;

use opentelemetry::Context;
use opentelemetry::baggage::{BaggageExt, KeyValueMetadata};
use opentelemetry::propagation::Extractor;
use opentelemetry::trace::{FutureExt, SpanContext, SpanKind, TraceContextExt};

use super::outcome::{Outcome, fail};
use super::{Operation, Tracing};
use crate::metrics::{Instrument, Measure};
use crate::panic::{Unwound, recording_panics};

/// A message from a broker, as its library hands it out.
pub trait Message {
    /// Its headers, if it has any.
    fn extractor(&self) -> Option<impl Extractor>;

    /// What its span says.
    fn describe(&self) -> Operation;
}

/// Works on a received message with a CONSUMER span around it: Kafka's `BorrowedMessage` and
/// `OwnedMessage`, lapin's `Delivery`, NATS' `Message`.
pub trait ProcessTraced: Message + Sized {
    /// Runs `work` on the message, in a span that ends when its future does, with an error if it
    /// returns one, panics, or is dropped before. What `work` returns is returned unchanged.
    fn process_traced<F>(self, work: impl FnOnce(Self) -> F) -> impl Future<Output = F::Output>
    where
        F: Future<Output: Outcome>,
    {
        self.process_traced_by(Tracing::installed(), work)
    }

    /// The same, with settings.
    fn process_traced_by<F>(
        self,
        tracing: &Tracing,
        work: impl FnOnce(Self) -> F,
    ) -> impl Future<Output = F::Output>
    where
        F: Future<Output: Outcome>,
    {
        async move {
            let (context, measure) = tracing.process(&self);
            let mut processing = Processing(Some(Work {
                context: context.clone(),
                measure,
            }));
            let future = {
                // The closure may make spans before its future begins.
                let _attached = context.clone().attach();
                recording_panics(&mut processing.0, || work(self))
            };
            let mut future = pin!(future.with_context(context));
            let outcome =
                poll_fn(|task| recording_panics(&mut processing.0, || future.as_mut().poll(task)));
            let outcome = outcome.await;
            processing.finish(&outcome);
            outcome
        }
    }

    /// A context with the span inside, for work of another shape. The span ends when it is told to,
    /// or with the last clone of the context; no figure counts it.
    ///
    /// Attached in asynchronous code it must not be held over an `await`: use
    /// [`FutureExt::with_context`].
    fn process_context(&self) -> Context {
        self.process_context_by(Tracing::installed())
    }

    /// The same, with settings.
    fn process_context_by(&self, tracing: &Tracing) -> Context {
        tracing.process(self).0
    }
}

impl<M: Message> ProcessTraced for M {}

impl Tracing {
    fn process(&self, message: &impl Message) -> (Context, Option<Measure>) {
        let around = Context::current();
        let Some(headers) = message.extractor() else {
            return self.start_process(message, &around, None);
        };
        let brought = self.spans.extract_onto(&around, &headers);
        let created = match brought.span().span_context() {
            // What is around shines through a message that brings nothing.
            context if context == around.span().span_context() => None,
            context => Some(context.clone()),
        };
        if !around.span().span_context().is_valid() {
            return self.start_process(message, &brought, created);
        }
        // Around is another trace, but the baggage is the message's.
        let baggage = brought.baggage().iter();
        let baggage = baggage.map(|(key, (value, metadata))| {
            KeyValueMetadata::new(key.clone(), value.clone(), metadata.clone())
        });
        let around = around.with_baggage(baggage);
        self.start_process(message, &around, created)
    }

    fn start_process(
        &self,
        message: &impl Message,
        parent: &Context,
        created: Option<SpanContext>,
    ) -> (Context, Option<Measure>) {
        let describe = || {
            message
                .describe()
                .into_builder(self, SpanKind::Consumer, created)
        };
        self.spans
            .start_measured(Instrument::Process, describe, parent)
    }
}

/// Work on a message. Dropped before it is finished it says so.
struct Processing(Option<Work>);

impl Processing {
    fn finish(mut self, outcome: &impl Outcome) {
        match (self.0.take(), outcome.error()) {
            (Some(work), Some((error_type, error))) => work.fail(error_type, error),
            (Some(work), None) => work.end(),
            (None, _) => {}
        }
    }
}

impl Drop for Processing {
    fn drop(&mut self) {
        if let Some(work) = self.0.take() {
            work.fail("cancelled", &"the work was dropped before its end");
        }
    }
}

/// Its span, and what is measured of it.
struct Work {
    context: Context,
    measure: Option<Measure>,
}

impl Work {
    fn fail(mut self, error_type: &'static str, error: &dyn Display) {
        fail(&self.context, &mut self.measure, error_type, error);
        self.end();
    }

    fn end(self) {
        let span = self.context.span();
        span.end();
        if let Some(measure) = self.measure {
            measure.finish(span.span_context());
        }
    }
}

impl Unwound for Work {
    fn span_context(&self) -> &Context {
        &self.context
    }

    fn end_with_panic(self, message: Cow<'static, str>) {
        self.fail("panic", &message);
    }
}
