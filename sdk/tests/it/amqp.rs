//! Messages over a real RabbitMQ.

use futures::StreamExt;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions,
    QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties};
use opentelemetry::trace::SpanKind;
use spanloom::amqp::PublishTraced;
use spanloom::messaging::ProcessTraced;
use spanloom::opentelemetry;
use xtask::server::{Kind, Server};

use crate::messaging::{SENDER, TRACE, in_order, link_of, start};

/// A channel with confirms, and the connection that keeps it.
async fn channel() -> Option<(Connection, Channel)> {
    let rabbitmq = Server::shared(Kind::Rabbitmq)?;
    let uri = format!("amqp://guest:guest@{}/%2f", rabbitmq.address());
    let connection = Connection::connect(&uri, ConnectionProperties::default());
    let connection = connection.await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    channel
        .confirm_select(ConfirmSelectOptions::default())
        .await
        .unwrap();
    Some((connection, channel))
}

async fn declare(channel: &Channel, queue: &str) {
    let options = QueueDeclareOptions::default();
    let declared = channel.queue_declare(queue.into(), options, FieldTable::default());
    declared.await.unwrap();
}

async fn receive(channel: &Channel, queue: &str) -> Delivery {
    let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
    let consumer = channel.basic_consume(queue.into(), "".into(), options, arguments);
    consumer.await.unwrap().next().await.unwrap().unwrap()
}

fn header<'a>(delivery: &'a Delivery, name: &str) -> Option<&'a AMQPValue> {
    let headers = delivery.properties.headers().as_ref()?;
    headers.inner().get(name)
}

fn own_header(name: &str, value: &str) -> BasicProperties {
    let mut headers = FieldTable::default();
    headers.insert(name.into(), AMQPValue::LongString(value.into()));
    BasicProperties::default().with_headers(headers)
}

#[tokio::test]
async fn producer_and_consumer_are_one_trace() {
    let Some((_connection, channel)) = channel().await else {
        return;
    };
    let (guard, sink, tracing) = start("parentbased_always_on");
    declare(&channel, "one-trace").await;
    let properties = own_header("shop", "corner").with_message_id("m17".into());
    let publish = async {
        let options = BasicPublishOptions::default();
        let key = "one-trace".into();
        channel
            .basic_publish_traced_by(&tracing, "".into(), key, options, b"tea", properties)
            .await?
            .await
    };
    let confirmation = in_order(&guard, publish).await.unwrap();
    assert_eq!(confirmation, Confirmation::Ack(None));

    let delivery = receive(&channel, "one-trace").await;
    assert_eq!(
        header(&delivery, "shop"),
        Some(&AMQPValue::LongString("corner".into()))
    );
    let acknowledged = delivery.process_traced_by(&tracing, async |delivery| {
        delivery.ack(BasicAckOptions::default()).await
    });
    assert!(acknowledged.await.unwrap());

    guard.flush().unwrap();
    let attributes = [
        "messaging.system",
        "messaging.operation.name",
        "messaging.operation.type",
        "messaging.destination.name",
        "messaging.rabbitmq.destination.routing_key",
        "messaging.rabbitmq.message.delivery_tag",
        "messaging.message.id",
        "messaging.message.body.size",
    ];
    assert_eq!(
        sink.tree(&attributes),
        "\
INTERNAL order
  PRODUCER publish one-trace messaging.system=rabbitmq messaging.operation.name=publish \
         messaging.operation.type=send messaging.destination.name=one-trace \
         messaging.rabbitmq.destination.routing_key=one-trace messaging.message.id=m17 \
         messaging.message.body.size=3
    CONSUMER process one-trace messaging.system=rabbitmq messaging.operation.name=process \
         messaging.operation.type=process messaging.destination.name=one-trace \
         messaging.rabbitmq.destination.routing_key=one-trace \
         messaging.rabbitmq.message.delivery_tag=1 messaging.message.id=m17 \
         messaging.message.body.size=3
"
    );
    let spans = sink.spans();
    let producer = spans
        .iter()
        .find(|span| span.span_kind == SpanKind::Producer);
    let link = link_of(&sink, &SpanKind::Consumer);
    assert_eq!(link.span_id(), producer.unwrap().span_context.span_id());
}

#[tokio::test]
async fn a_context_that_the_program_gave_a_message_is_kept() {
    let Some((_connection, channel)) = channel().await else {
        return;
    };
    let (guard, sink, tracing) = start("parentbased_always_on");
    declare(&channel, "own-context").await;
    let parent = format!("00-{TRACE}-{SENDER}-01");
    let (options, key) = (BasicPublishOptions::default(), "own-context".into());
    let properties = own_header("traceparent", &parent);
    let publish =
        channel.basic_publish_traced_by(&tracing, "".into(), key, options, b"tea", properties);
    // Nobody waits for the confirm.
    drop(publish.await.unwrap());
    let delivery = receive(&channel, "own-context").await;
    assert_eq!(
        header(&delivery, "traceparent"),
        Some(&AMQPValue::LongString(parent.into()))
    );
    guard.flush().unwrap();
    assert_eq!(sink.tree(&["error.type"]), "CLIENT publish own-context\n");
    assert_eq!(
        link_of(&sink, &SpanKind::Client).span_id().to_string(),
        SENDER
    );
}

#[tokio::test]
async fn a_message_that_comes_back_and_an_error_of_the_broker_are_recorded() {
    let Some((_connection, channel)) = channel().await else {
        return;
    };
    let (guard, sink, tracing) = start("parentbased_always_on");
    let publish = |exchange: &str, mandatory| {
        let options = BasicPublishOptions {
            mandatory,
            ..Default::default()
        };
        let (exchange, properties) = (exchange.into(), BasicProperties::default());
        let (channel, tracing) = (&channel, &tracing);
        async move {
            channel
                .basic_publish_traced_by(
                    tracing,
                    exchange,
                    "nowhere".into(),
                    options,
                    b"tea",
                    properties,
                )
                .await?
                .await
        }
    };
    let returned = publish("", true).await.unwrap().take_message().unwrap();
    assert_eq!(returned.delivery.data, b"tea");
    let error = publish("no-exchange", false).await.unwrap_err();
    let closed = publish("", false).await.unwrap_err();
    guard.flush().unwrap();
    assert_eq!(
        sink.tree(&["error.type"]),
        format!(
            "\
PRODUCER publish nowhere error.type=returned ERROR: NO_ROUTE
PRODUCER publish no-exchange:nowhere error.type=NOT-FOUND ERROR: {error}
PRODUCER publish nowhere error.type=channel ERROR: {closed}
"
        )
    );
}

#[tokio::test]
async fn the_context_of_an_unsampled_trace_travels_on() {
    let Some((_connection, channel)) = channel().await else {
        return;
    };
    let (guard, sink, tracing) = start("always_off");
    declare(&channel, "unsampled").await;
    let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
    let publish = channel.basic_publish_traced_by(
        &tracing,
        "".into(),
        "unsampled".into(),
        options,
        b"tea",
        properties,
    );
    drop(in_order(&guard, publish).await.unwrap());
    let delivery = receive(&channel, "unsampled").await;
    let Some(AMQPValue::LongString(parent)) = header(&delivery, "traceparent") else {
        panic!("no traceparent")
    };
    assert!(parent.to_string().ends_with("-00"));
    guard.flush().unwrap();
    assert!(sink.spans().is_empty());
}

#[tokio::test]
async fn without_a_tracer_a_message_arrives_as_it_was() {
    let Some((_connection, channel)) = channel().await else {
        return;
    };
    declare(&channel, "no-tracer").await;
    let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
    let key = "no-tracer".into();
    let publish = channel.basic_publish_traced("".into(), key, options, b"tea", properties);
    publish.await.unwrap().await.unwrap();
    let delivery = receive(&channel, "no-tracer").await;
    assert_eq!(delivery.properties.headers(), &None);
}
