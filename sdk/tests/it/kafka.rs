//! Messages over a real Kafka.

use std::time::Duration;

use futures::FutureExt as _;
use opentelemetry::trace::{SpanKind, Tracer as _, TracerProvider as _};
use rdkafka::ClientConfig;
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::message::{Header, Headers as _, Message as _, OwnedHeaders, OwnedMessage};
use rdkafka::producer::{FutureProducer, FutureRecord};
use spanloom::kafka::SendTraced;
use spanloom::messaging::ProcessTraced;
use spanloom::opentelemetry;
use xtask::server::{Kind, Server};

use crate::messaging::{SENDER, TRACE, in_order, link_of, start};

const ATTRIBUTES: [&str; 9] = [
    "messaging.system",
    "messaging.operation.name",
    "messaging.operation.type",
    "messaging.destination.name",
    "messaging.destination.partition.id",
    "messaging.kafka.offset",
    "messaging.kafka.message.key",
    "messaging.kafka.message.tombstone",
    "messaging.message.body.size",
];

const TIMEOUT: Duration = Duration::from_secs(30);

fn config() -> Option<ClientConfig> {
    let kafka = Server::shared(Kind::Kafka)?;
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka.address().to_string());
    Some(config)
}

fn producer(config: &ClientConfig) -> FutureProducer {
    config.create().unwrap()
}

/// Reads a topic from its start. It must be there, that is, have been sent to.
fn consumer(config: &ClientConfig, topic: &str) -> StreamConsumer {
    let consumer: StreamConsumer = config
        .clone()
        .set("group.id", topic)
        .set("auto.offset.reset", "earliest")
        .create()
        .unwrap();
    consumer.subscribe(&[topic]).unwrap();
    consumer
}

fn header<'a>(message: &'a OwnedMessage, name: &str) -> Option<&'a str> {
    let mut headers = message.headers()?.iter();
    let header = headers.find(|header| header.key == name)?;
    str::from_utf8(header.value?).ok()
}

#[tokio::test]
async fn producer_and_consumer_are_one_trace() {
    let Some(config) = config() else { return };
    let (guard, sink, tracing) = start("parentbased_always_on");
    let own = OwnedHeaders::new().insert(Header {
        key: "shop",
        value: Some("corner"),
    });
    let record = FutureRecord::to("one-trace").key("17").payload("tea");
    let producer = producer(&config);
    let sent = producer.send_traced_by(&tracing, record.headers(own), TIMEOUT);
    let delivery = in_order(&guard, sent).await.unwrap();
    assert_eq!((delivery.partition, delivery.offset), (0, 0));

    let consumer = consumer(&config, "one-trace");
    let message = consumer.recv().await.unwrap();
    let tracer = guard.tracer_provider().tracer("test");
    let cooked: Result<_, std::io::Error> = message
        .process_traced_by(&tracing, async |message| {
            tracer.in_span("cook", |_| ());
            Ok(message.detach())
        })
        .await;
    let message = cooked.unwrap();
    assert_eq!(header(&message, "shop"), Some("corner"));

    guard.flush().unwrap();
    let common = |operation| {
        format!(
            "messaging.system=kafka messaging.operation.name={operation} \
             messaging.operation.type={operation} messaging.destination.name=one-trace \
             messaging.destination.partition.id=0 messaging.kafka.offset=0 \
             messaging.kafka.message.key=17 messaging.message.body.size=3"
        )
    };
    assert_eq!(
        sink.tree(&ATTRIBUTES),
        format!(
            "INTERNAL order\n  PRODUCER send one-trace {}\n    CONSUMER process one-trace {}\n      \
             INTERNAL cook\n",
            common("send"),
            common("process")
        )
    );
    let spans = sink.spans();
    let producer = spans
        .iter()
        .find(|span| span.span_kind == SpanKind::Producer);
    let link = link_of(&sink, &SpanKind::Consumer);
    assert_eq!(link.span_id(), producer.unwrap().span_context.span_id());
    // A detached message brings the same.
    assert_eq!(
        header(&message, "traceparent").unwrap()[3..35],
        link.trace_id().to_string()
    );
    drop(message.process_context_by(&tracing));
    guard.flush().unwrap();
    let again = sink.spans().pop().unwrap();
    assert_eq!(again.parent_span_id, link.span_id());
}

#[tokio::test]
async fn a_context_that_the_program_gave_a_record_is_kept() {
    let Some(config) = config() else { return };
    let (guard, sink, tracing) = start("parentbased_always_on");
    let parent = format!("00-{TRACE}-{SENDER}-01");
    let own = OwnedHeaders::new().insert(Header {
        key: "traceparent",
        value: Some(&parent),
    });
    let record = FutureRecord::<(), str>::to("own-context").headers(own);
    let sent = producer(&config)
        .send_traced_by(&tracing, record, TIMEOUT)
        .await;
    sent.unwrap();
    let consumer = consumer(&config, "own-context");
    let message = consumer.recv().await.unwrap().detach();
    assert_eq!(message.headers().unwrap().count(), 1);
    assert_eq!(header(&message, "traceparent"), Some(&*parent));
    guard.flush().unwrap();
    assert_eq!(
        sink.tree(&["messaging.kafka.message.tombstone"]),
        "CLIENT send own-context messaging.kafka.message.tombstone=true\n"
    );
    assert_eq!(
        link_of(&sink, &SpanKind::Client).span_id().to_string(),
        SENDER
    );
}

#[tokio::test]
async fn an_error_of_the_broker_is_recorded_and_returned() {
    let Some(mut config) = config() else { return };
    let (guard, sink, tracing) = start("parentbased_always_on");
    // More than the broker takes, but not more than the client sends.
    let too_long = vec![0; 2_000_000];
    let producer = producer(config.set("message.max.bytes", "4000000"));
    let record = FutureRecord::<(), [u8]>::to("too-long").payload(&too_long);
    let sent = producer.send_traced_by(&tracing, record, TIMEOUT).await;
    let (error, message) = sent.unwrap_err();
    assert_eq!(message.payload().unwrap().len(), 2_000_000);
    guard.flush().unwrap();
    assert_eq!(
        sink.tree(&["error.type"]),
        format!("PRODUCER send too-long error.type=MessageSizeTooLarge ERROR: {error}\n")
    );
}

#[tokio::test]
async fn a_delivery_that_nobody_waits_for_any_more_is_marked() {
    let (guard, sink, tracing) = start("parentbased_always_on");
    // Nobody is there, so no delivery comes.
    let producer = producer(ClientConfig::new().set("bootstrap.servers", "127.0.0.1:1"));
    let record = FutureRecord::to("dropped").key("17").payload("tea");
    let sent = producer.send_traced_by(&tracing, record, TIMEOUT);
    assert!(sent.now_or_never().is_none());
    guard.flush().unwrap();
    assert_eq!(
        sink.tree(&["error.type"]),
        "PRODUCER send dropped error.type=cancelled ERROR: sending was dropped before its end\n"
    );
}

#[tokio::test]
async fn the_context_of_an_unsampled_trace_travels_on() {
    let Some(config) = config() else { return };
    let (guard, sink, tracing) = start("always_off");
    let record = FutureRecord::to("unsampled").key("17").payload("tea");
    let producer = producer(&config);
    let sent = producer.send_traced_by(&tracing, record, TIMEOUT);
    in_order(&guard, sent).await.unwrap();
    let consumer = consumer(&config, "unsampled");
    let message = consumer.recv().await.unwrap().detach();
    assert!(header(&message, "traceparent").unwrap().ends_with("-00"));
    guard.flush().unwrap();
    assert!(sink.spans().is_empty());
}

#[tokio::test]
async fn without_a_tracer_a_record_arrives_as_it_was() {
    let Some(config) = config() else { return };
    let record = FutureRecord::to("no-tracer").key("17").payload("tea");
    let sent = producer(&config).send_traced(record, TIMEOUT).await;
    sent.unwrap();
    let consumer = consumer(&config, "no-tracer");
    let message = consumer.recv().await.unwrap().detach();
    assert!(message.headers().is_none());
}
