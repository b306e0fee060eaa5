//! Spans for messages, whichever broker carries them.
//!
//! The traits of [`kafka`](crate::kafka), [`amqp`](crate::amqp) and [`nats`](crate::nats) send a
//! message with a PRODUCER span around it and its context in the message's headers. The far side is
//! the same for all of them:
//!
//! ```
//! use spanloom::messaging::ProcessTraced;
//! # async fn cook(_order: &str) -> Result<(), std::io::Error> { Ok(()) }
//! # #[cfg(feature = "async-nats")]
//! # async fn example(message: async_nats::Message) {
//! let result = message
//!     .process_traced(|message| async move { cook(&message.subject).await })
//!     .await;
//! # let _ = result;
//! # }
//! ```
//!
//! **Parent or link.** A message is processed later than it was sent, perhaps much later and perhaps
//! more than once, so the [conventions] want the CONSUMER span to link to the context that the
//! message brings. It always does. Its parent is the span in which the message is processed, if
//! there is one. If there is none, as in the loop of an ordinary consumer, the context of the message
//! is the parent too, and producer and consumer are one trace, with one decision whether it is
//! sampled.
//!
//! **Headers.** Those of the program stay. A message that brings a trace context already, because
//! the program wrote one or passes a message on, keeps it; the span is then of the kind CLIENT and
//! links to it.
//!
//! Names and attributes are those of the semantic conventions 1.42, which are not stable yet.
//! `error.type` is the broker's or the library's name of the error; for what a handler returns, the
//! type of its error.
//!
//! [conventions]: https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/

#![cfg_attr(
    not(all(feature = "async-nats", feature = "lapin", feature = "rdkafka")),
    allow(dead_code, reason = "each library uses a part")
)]

mod operation;
mod outcome;
mod process;
mod send;

use std::sync::LazyLock;

use opentelemetry::propagation::Extractor;
use opentelemetry::trace::{SpanContext, TraceContextExt};
use opentelemetry::{Context, KeyValue};

use crate::trace::{SpanSource, TracerProvider};

pub(crate) use operation::Operation;
pub use outcome::Outcome;
pub(crate) use process::Message;
pub use process::ProcessTraced;
pub(crate) use send::Sending;

/// How messages are traced, where the defaults do not do: for the methods that end in `_by`.
///
/// ```
/// # use spanloom::messaging::Tracing;
/// let tracing = Tracing::new().with_server("kafka.shop", 9092).with_consumer_group("kitchen");
/// // message.process_traced_by(&tracing, |message| ...)
/// ```
#[derive(Clone, Debug)]
pub struct Tracing {
    spans: SpanSource,
    template: Option<String>,
    attributes: Vec<KeyValue>,
}

impl Default for Tracing {
    fn default() -> Self {
        Self::new()
    }
}

impl Tracing {
    /// Spans go to the provider that [`init`](crate::init) installs, before or after this call.
    #[must_use]
    pub fn new() -> Self {
        Self {
            spans: SpanSource::installed("spanloom::messaging"),
            template: None,
            attributes: Vec::new(),
        }
    }

    /// Spans go to this provider instead.
    #[must_use]
    pub fn with_tracer_provider(mut self, provider: &TracerProvider) -> Self {
        self.spans.fix(provider);
        self
    }

    /// What spans say of the broker (`server.address`, `server.port`): the clients do not tell.
    #[must_use]
    pub fn with_server(self, address: impl Into<String>, port: u16) -> Self {
        self.with_attribute(KeyValue::new("server.address", address.into()))
            .with_attribute(KeyValue::new("server.port", i64::from(port)))
    }

    /// The group in which messages are consumed (`messaging.consumer.group.name`): a message does
    /// not tell.
    #[must_use]
    pub fn with_consumer_group(self, group: impl Into<String>) -> Self {
        self.with_attribute(KeyValue::new("messaging.consumer.group.name", group.into()))
    }

    /// Names spans by this (`messaging.destination.template`) rather than by the destination, which
    /// has too many values for a name if it holds ids: `orders.{id}` for `orders.17`.
    #[must_use]
    pub fn with_destination_template(mut self, template: impl Into<String>) -> Self {
        self.template = Some(template.into());
        self
    }

    /// One more attribute on each span.
    #[must_use]
    pub fn with_attribute(mut self, attribute: KeyValue) -> Self {
        self.attributes.push(attribute);
        self
    }

    /// What the methods without `_by` use.
    pub(crate) fn installed() -> &'static Self {
        static INSTALLED: LazyLock<Tracing> = LazyLock::new(Tracing::new);
        &INSTALLED
    }

    /// The context that a message brings, below an empty one: without what is current here.
    fn creation_context(&self, headers: &dyn Extractor) -> Option<SpanContext> {
        let extracted = self.spans.extract_onto(&Context::new(), headers);
        let span = extracted.span();
        let created = span.span_context();
        created.is_valid().then(|| created.clone())
    }
}
