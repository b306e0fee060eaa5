//! Spans for messages over RabbitMQ, with [`lapin`].
//!
//! ```no_run
//! # use lapin::{BasicProperties, Channel, Consumer};
//! # use lapin::options::{BasicAckOptions, BasicPublishOptions};
//! use futures::StreamExt;
//! use spanloom::amqp::PublishTraced;
//! use spanloom::messaging::ProcessTraced;
//!
//! # async fn example(channel: Channel, mut consumer: Consumer) -> Result<(), lapin::Error> {
//! let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
//! let confirm = channel
//!     .basic_publish_traced("".into(), "orders".into(), options, b"tea", properties)
//!     .await?;
//! confirm.await?;
//!
//! while let Some(delivery) = consumer.next().await {
//!     let handled = delivery?.process_traced(|delivery| async move {
//!         println!("{} bytes", delivery.data.len());
//!         delivery.ack(BasicAckOptions::default()).await
//!     });
//!     handled.await?;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! `publish orders` lasts until the broker has confirmed the message, where confirms are on and
//! somebody waits for them, and else until the message is on its way. A span is named after exchange
//! and routing key, `exchange:key`. [`messaging`](crate::messaging) says how it is connected to
//! `process orders`.

mod headers;

use std::pin::Pin;
use std::task::{Context as TaskContext, Poll, ready};

use ::lapin::message::Delivery;
use ::lapin::options::BasicPublishOptions;
use ::lapin::protocol::AMQPErrorKind;
use ::lapin::types::ShortString;
use ::lapin::{BasicProperties, Channel, Confirmation, Error, ErrorKind, PublisherConfirm};
use opentelemetry::propagation::Extractor;
use opentelemetry::trace::FutureExt;

use crate::messaging::{Message, Operation, Sending, Tracing};

use headers::{HeaderExtractor, HeaderInjector};

/// Publishes a message with a span around it.
pub trait PublishTraced {
    /// Publishes the message, its context in its headers, in a PRODUCER span that ends with what it
    /// returns: the broker's word, which may be waited for or dropped.
    ///
    /// # Errors
    ///
    /// As for [`Channel::basic_publish`].
    fn basic_publish_traced(
        &self,
        exchange: ShortString,
        routing_key: ShortString,
        options: BasicPublishOptions,
        payload: &[u8],
        properties: BasicProperties,
    ) -> impl Future<Output = Result<TracedConfirm, Error>> {
        let tracing = Tracing::installed();
        self.basic_publish_traced_by(tracing, exchange, routing_key, options, payload, properties)
    }

    /// The same, with settings.
    ///
    /// # Errors
    ///
    /// As for [`Channel::basic_publish`].
    fn basic_publish_traced_by(
        &self,
        tracing: &Tracing,
        exchange: ShortString,
        routing_key: ShortString,
        options: BasicPublishOptions,
        payload: &[u8],
        properties: BasicProperties,
    ) -> impl Future<Output = Result<TracedConfirm, Error>>;
}

impl PublishTraced for Channel {
    async fn basic_publish_traced_by(
        &self,
        tracing: &Tracing,
        exchange: ShortString,
        routing_key: ShortString,
        options: BasicPublishOptions,
        payload: &[u8],
        properties: BasicProperties,
    ) -> Result<TracedConfirm, Error> {
        let headers = properties.headers().as_ref().map(HeaderExtractor);
        let headers = headers.as_ref().map(|headers| headers as &dyn Extractor);
        let mut sending = tracing.send(headers, || {
            let operation = Operation::send("rabbitmq", "publish");
            describe(operation, &exchange, &routing_key, &properties).body_size(payload.len())
        });
        let mut injector = HeaderInjector(properties.headers().clone());
        tracing.inject(&sending, &mut injector);
        let properties = match injector.0 {
            Some(headers) => properties.with_headers(headers),
            None => properties,
        };
        let context = sending.context().clone();
        let publish = self.basic_publish(exchange, routing_key, options, payload, properties);
        match publish.with_context(context).await {
            Ok(confirm) => {
                sending.take_over();
                Ok(TracedConfirm { confirm, sending })
            }
            Err(error) => {
                sending.fail(error_type(&error), &error);
                Err(error)
            }
        }
    }
}

/// A [`PublisherConfirm`] with the span of its message, which ends when the confirm comes or when
/// this is dropped. A message that the broker refuses or returns makes an error of the span.
#[derive(Debug)]
pub struct TracedConfirm {
    confirm: PublisherConfirm,
    sending: Sending,
}

impl Future for TracedConfirm {
    type Output = Result<Confirmation, Error>;

    fn poll(mut self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let confirmed = ready!(Pin::new(&mut self.confirm).poll(task));
        let sending = &mut self.sending;
        match &confirmed {
            Err(error) => sending.fail(error_type(error), error),
            Ok(Confirmation::Nack(_)) => sending.fail("nack", &"the broker refused the message"),
            Ok(Confirmation::Ack(Some(returned))) => sending.fail("returned", &returned.reply_text),
            Ok(Confirmation::Ack(None) | Confirmation::NotRequested) => sending.succeed(),
        }
        Poll::Ready(confirmed)
    }
}

impl Message for Delivery {
    fn extractor(&self) -> Option<impl Extractor> {
        self.properties.headers().as_ref().map(HeaderExtractor)
    }

    fn describe(&self) -> Operation {
        let operation = Operation::process("rabbitmq");
        let tag = i64::try_from(self.delivery_tag).ok();
        describe(
            operation,
            &self.exchange,
            &self.routing_key,
            &self.properties,
        )
        .attribute_if_any("messaging.rabbitmq.message.delivery_tag", tag)
        .body_size(self.data.len())
    }
}

fn describe(
    operation: Operation,
    exchange: &ShortString,
    routing_key: &ShortString,
    properties: &BasicProperties,
) -> Operation {
    let (exchange, key) = (exchange.as_str(), routing_key.as_str());
    let destination = destination(exchange, key);
    let operation = match is_made_by_the_broker(key) {
        true => operation.temporary_destination(destination),
        false => operation.destination(destination),
    };
    let text = |text: &Option<ShortString>| text.as_ref().map(|text| text.as_str().to_owned());
    let key = (!key.is_empty()).then(|| key.to_owned());
    operation
        .attribute_if_any("messaging.rabbitmq.destination.routing_key", key)
        .attribute_if_any("messaging.message.id", text(properties.message_id()))
        .attribute_if_any(
            "messaging.message.conversation_id",
            text(properties.correlation_id()),
        )
}

/// `{exchange}:{routing key}`, or the one that there is.
fn destination(exchange: &str, routing_key: &str) -> String {
    match (exchange, routing_key) {
        ("", "") => "amq.default".to_owned(),
        ("", only) | (only, "") => only.to_owned(),
        (exchange, routing_key) => format!("{exchange}:{routing_key}"),
    }
}

/// Whether this is the name of a queue for replies, of which each client has its own.
fn is_made_by_the_broker(routing_key: &str) -> bool {
    routing_key.starts_with("amq.gen-") || routing_key.starts_with("amq.rabbitmq.reply-to")
}

/// What `error.type` says: few values, for counting.
fn error_type(error: &Error) -> String {
    let name = match error.kind() {
        // The protocol's own name, such as NOT-FOUND.
        ErrorKind::ProtocolError(error) => {
            return match error.kind() {
                AMQPErrorKind::Soft(error) => error.to_string(),
                AMQPErrorKind::Hard(error) => error.to_string(),
            };
        }
        ErrorKind::IOError(_) => "io",
        ErrorKind::InvalidChannel(_) | ErrorKind::InvalidChannelState(..) => "channel",
        ErrorKind::InvalidConnectionState(_) => "connection",
        ErrorKind::MissingHeartbeatError => "heartbeat",
        ErrorKind::SerialisationError(_) => "serialisation",
        _ => "_OTHER",
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_is_what_there_is_of_exchange_and_key() {
        assert_eq!(destination("shop", "orders"), "shop:orders");
        assert_eq!(destination("", "orders"), "orders");
        assert_eq!(destination("shop", ""), "shop");
        assert_eq!(destination("", ""), "amq.default");
    }

    #[test]
    fn a_queue_for_replies_makes_no_names_of_spans() {
        assert!(is_made_by_the_broker("amq.gen-JzTY20BRgKO"));
        assert!(is_made_by_the_broker("amq.rabbitmq.reply-to.g1h"));
        assert!(!is_made_by_the_broker("orders"));
    }
}
