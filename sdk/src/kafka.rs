//! Spans for messages over Kafka, with [`rdkafka`].
//!
//! ```no_run
//! # use std::time::Duration;
//! # use rdkafka::consumer::StreamConsumer;
//! # use rdkafka::producer::{FutureProducer, FutureRecord};
//! use spanloom::kafka::SendTraced;
//! use spanloom::messaging::ProcessTraced;
//!
//! # async fn cook(_message: rdkafka::message::BorrowedMessage<'_>) -> std::io::Result<()> { Ok(()) }
//! # async fn example(producer: FutureProducer, consumer: StreamConsumer) -> Result<(), Box<dyn std::error::Error>> {
//! let record = FutureRecord::to("orders").key("17").payload("tea");
//! producer.send_traced(record, Duration::from_secs(5)).await.map_err(|(error, _)| error)?;
//!
//! loop {
//!     let message = consumer.recv().await?;
//!     message.process_traced(cook).await?;
//! }
//! # }
//! ```
//!
//! `send orders` lasts until the broker has acknowledged the message or the delivery has failed;
//! `process orders` as long as the handler. [`messaging`](crate::messaging) says how the two are
//! connected.

mod headers;

use ::rdkafka::client::ClientContext;
use ::rdkafka::error::KafkaError;
use ::rdkafka::message::{BorrowedMessage, Message, OwnedMessage, ToBytes};
use ::rdkafka::producer::future_producer::OwnedDeliveryResult;
use ::rdkafka::producer::{FutureProducer, FutureRecord};
use ::rdkafka::util::{AsyncRuntime, Timeout};
use opentelemetry::KeyValue;
use opentelemetry::propagation::Extractor;
use opentelemetry::trace::FutureExt;

use crate::messaging::{Operation, Sending, Tracing};

use headers::{HeaderExtractor, HeaderInjector};

/// Sends a record with a span around it.
pub trait SendTraced {
    /// Sends the record, its context in its headers, in a PRODUCER span that ends with its delivery.
    ///
    /// # Errors
    ///
    /// As for [`FutureProducer::send`]. The message that comes back has the context in its headers.
    fn send_traced<K, P>(
        &self,
        record: FutureRecord<'_, K, P>,
        queue_timeout: impl Into<Timeout>,
    ) -> impl Future<Output = OwnedDeliveryResult>
    where
        K: ToBytes + ?Sized,
        P: ToBytes + ?Sized,
    {
        self.send_traced_by(Tracing::installed(), record, queue_timeout)
    }

    /// The same, with settings.
    ///
    /// # Errors
    ///
    /// As for [`send_traced`](Self::send_traced).
    fn send_traced_by<K, P>(
        &self,
        tracing: &Tracing,
        record: FutureRecord<'_, K, P>,
        queue_timeout: impl Into<Timeout>,
    ) -> impl Future<Output = OwnedDeliveryResult>
    where
        K: ToBytes + ?Sized,
        P: ToBytes + ?Sized;
}

impl<C, R> SendTraced for FutureProducer<C, R>
where
    C: ClientContext + 'static,
    R: AsyncRuntime,
{
    async fn send_traced_by<K, P>(
        &self,
        tracing: &Tracing,
        mut record: FutureRecord<'_, K, P>,
        queue_timeout: impl Into<Timeout>,
    ) -> OwnedDeliveryResult
    where
        K: ToBytes + ?Sized,
        P: ToBytes + ?Sized,
    {
        let headers = record.headers.take();
        let extractor = headers
            .as_ref()
            .map(|headers| HeaderExtractor(headers.as_borrowed()));
        let extractor = extractor.as_ref().map(|headers| headers as &dyn Extractor);
        let mut sending = tracing.send(extractor, || describe_record(&record));
        let mut injector = HeaderInjector(headers);
        tracing.inject(&sending, &mut injector);
        record.headers = injector.0;
        let context = sending.context().clone();
        let delivery = self.send(record, queue_timeout).with_context(context).await;
        finish(&mut sending, &delivery);
        delivery
    }
}

fn describe_record<K, P>(record: &FutureRecord<'_, K, P>) -> Operation
where
    K: ToBytes + ?Sized,
    P: ToBytes + ?Sized,
{
    let key = record.key.map(ToBytes::to_bytes);
    let payload = record.payload.map(ToBytes::to_bytes);
    let partition = record.partition.map(|partition| partition.to_string());
    describe(Operation::send("kafka", "send"), record.topic, key, payload)
        .attribute_if_any("messaging.destination.partition.id", partition)
}

fn describe_message(message: &impl Message) -> Operation {
    let (key, payload) = (message.key(), message.payload());
    describe(Operation::process("kafka"), message.topic(), key, payload)
        .attribute(
            "messaging.destination.partition.id",
            message.partition().to_string(),
        )
        .attribute("messaging.kafka.offset", message.offset())
}

fn describe(
    operation: Operation,
    topic: &str,
    key: Option<&[u8]>,
    body: Option<&[u8]>,
) -> Operation {
    // A key that is not text has no one spelling, and stays away.
    let key = key.and_then(|key| str::from_utf8(key).ok());
    operation
        .destination(topic.to_owned())
        .attribute_if_any("messaging.kafka.message.key", key.map(str::to_owned))
        .attribute_if_any(
            "messaging.kafka.message.tombstone",
            body.is_none().then_some(true),
        )
        .body_size(body.map_or(0, <[u8]>::len))
}

fn finish(sending: &mut Sending, delivery: &OwnedDeliveryResult) {
    match delivery {
        Ok(delivery) => {
            sending.record(|| {
                let partition = delivery.partition.to_string();
                [
                    KeyValue::new("messaging.destination.partition.id", partition),
                    KeyValue::new("messaging.kafka.offset", delivery.offset),
                ]
            });
            sending.succeed();
        }
        Err((error, _)) => sending.fail(error_type(error), error),
    }
}

/// What `error.type` says: librdkafka's name of the error, such as `MessageTimedOut`.
fn error_type(error: &KafkaError) -> String {
    match error.rdkafka_error_code() {
        Some(code) => format!("{code:?}"),
        None => "_OTHER".to_owned(),
    }
}

impl crate::messaging::Message for BorrowedMessage<'_> {
    fn extractor(&self) -> Option<impl Extractor> {
        self.headers().map(HeaderExtractor)
    }

    fn describe(&self) -> Operation {
        describe_message(self)
    }
}

impl crate::messaging::Message for OwnedMessage {
    fn extractor(&self) -> Option<impl Extractor> {
        let headers = self.headers()?;
        Some(HeaderExtractor(headers.as_borrowed()))
    }

    fn describe(&self) -> Operation {
        describe_message(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::rdkafka::types::RDKafkaErrorCode;

    #[test]
    fn an_error_has_the_name_that_librdkafka_gives_it() {
        let error = KafkaError::MessageProduction(RDKafkaErrorCode::MessageTimedOut);
        assert_eq!(error_type(&error), "MessageTimedOut");
        assert_eq!(error_type(&KafkaError::Canceled), "_OTHER");
    }
}
