//! A message on its way to a broker.

use std::fmt::Display;

use opentelemetry::propagation::{Extractor, Injector};
use opentelemetry::trace::{SpanKind, TraceContextExt};
use opentelemetry::{Context, KeyValue, Value};

use super::outcome::fail;
use super::{Operation, Tracing};
use crate::metrics::{Instrument, Measure};
use crate::trace::whole;

/// The span of a message that is being sent. It may be dropped before it is finished.
#[derive(Debug)]
pub(crate) struct Sending {
    context: Context,
    /// Until it has ended.
    measure: Option<Measure>,
    has_own_context: bool,
    /// The message is on its way, whoever waits for its arrival.
    is_taken: bool,
}

impl Tracing {
    /// Starts the span of a message with these headers, if it has any.
    pub(crate) fn send(
        &self,
        headers: Option<&dyn Extractor>,
        describe: impl FnOnce() -> Operation,
    ) -> Sending {
        // The conventions: a context that the program gave the message is not replaced.
        let own = headers.and_then(|headers| self.creation_context(headers));
        let has_own_context = own.is_some();
        let kind = match has_own_context {
            true => SpanKind::Client,
            false => SpanKind::Producer,
        };
        let describe = || describe().into_builder(self, kind, own);
        let parent = Context::current();
        let (context, measure) = self
            .spans
            .start_measured(Instrument::Send, describe, &parent);
        Sending {
            context: whole(context),
            measure,
            has_own_context,
            is_taken: false,
        }
    }

    /// Writes the context of a message into its headers, unless the program did.
    pub(crate) fn inject(&self, sending: &Sending, headers: &mut dyn Injector) {
        if !sending.has_own_context {
            self.spans.inject(&sending.context, headers);
        }
    }
}

impl Sending {
    /// With the message's span, to send it in.
    pub(crate) fn context(&self) -> &Context {
        &self.context
    }

    /// Says what is known only now. Not asked when nobody will read it.
    pub(crate) fn record<const N: usize>(&self, attributes: impl FnOnce() -> [KeyValue; N]) {
        let span = self.context.span();
        if span.is_recording() {
            span.set_attributes(attributes());
        }
    }

    /// The message is on its way: from now on nobody has to wait for its arrival.
    pub(crate) fn take_over(&mut self) {
        self.is_taken = true;
    }

    /// Ends the span of a message that has arrived.
    pub(crate) fn succeed(&mut self) {
        let span = self.context.span();
        span.end();
        if let Some(measure) = self.measure.take() {
            measure.finish(span.span_context());
        }
    }

    /// Ends the span of a message that was not taken.
    pub(crate) fn fail(&mut self, error_type: impl Into<Value>, error: &dyn Display) {
        fail(&self.context, &mut self.measure, error_type, error);
        self.succeed();
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        // All of this does nothing when the span has ended.
        if !self.is_taken {
            fail(
                &self.context,
                &mut self.measure,
                "cancelled",
                &"sending was dropped before its end",
            );
        }
        self.succeed();
    }
}
