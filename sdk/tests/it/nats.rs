//! Messages over a real NATS.

use async_nats::{Client, HeaderMap, Request, jetstream};
use futures::StreamExt;
use opentelemetry::trace::SpanKind;
use spanloom::messaging::ProcessTraced;
use spanloom::nats::PublishTraced;
use spanloom::nats::jetstream::PublishTraced as _;
use spanloom::opentelemetry;
use xtask::server::{Kind, Server};

use crate::messaging::{SENDER, TRACE, in_order, link_of, start};

const ATTRIBUTES: [&str; 7] = [
    "messaging.system",
    "messaging.operation.name",
    "messaging.operation.type",
    "messaging.destination.name",
    "messaging.destination.temporary",
    "messaging.message.body.size",
    "error.type",
];

async fn client() -> Option<Client> {
    let nats = Server::shared(Kind::Nats)?;
    Some(
        async_nats::connect(nats.address().to_string())
            .await
            .unwrap(),
    )
}

#[tokio::test]
async fn publisher_and_subscriber_are_one_trace() {
    let Some(client) = client().await else { return };
    let (guard, sink, tracing) = start("parentbased_always_on");
    let mut orders = client.subscribe("one-trace").await.unwrap();
    let mut headers = HeaderMap::new();
    headers.insert("Shop", "corner");
    let published = client.publish_traced_by(&tracing, "one-trace", headers, "tea".into());
    in_order(&guard, published).await.unwrap();
    let message = orders.next().await.unwrap();
    assert_eq!(
        message
            .headers
            .as_ref()
            .unwrap()
            .get("Shop")
            .unwrap()
            .as_str(),
        "corner"
    );
    message.process_traced_by(&tracing, async |_| ()).await;

    guard.flush().unwrap();
    let common = "messaging.destination.name=one-trace messaging.message.body.size=3";
    assert_eq!(
        sink.tree(&ATTRIBUTES),
        format!(
            "INTERNAL order\n  PRODUCER publish one-trace messaging.system=nats \
             messaging.operation.name=publish messaging.operation.type=send {common}\n    \
             CONSUMER process one-trace messaging.system=nats messaging.operation.name=process \
             messaging.operation.type=process {common}\n"
        )
    );
    let spans = sink.spans();
    let producer = spans
        .iter()
        .find(|span| span.span_kind == SpanKind::Producer);
    let link = link_of(&sink, &SpanKind::Consumer);
    assert_eq!(link.span_id(), producer.unwrap().span_context.span_id());
}

#[tokio::test]
async fn request_and_answer_are_one_trace() {
    let Some(client) = client().await else { return };
    let (guard, sink, tracing) = start("parentbased_always_on");
    let mut requests = client.subscribe("stock").await.unwrap();
    let serve = async {
        let request = requests.next().await.unwrap();
        let answer = request.process_traced_by(&tracing, async |request| {
            let reply = request.reply.unwrap();
            client
                .publish_traced_by(&tracing, reply, HeaderMap::new(), "17".into())
                .await
        });
        answer.await.unwrap();
    };
    let ask =
        client.send_request_traced_by(&tracing, "stock", Request::new().payload("tea".into()));
    let (answer, ()) = tokio::join!(in_order(&guard, ask), serve);
    assert_eq!(answer.unwrap().payload, "17");
    guard.flush().unwrap();
    let tree = sink.tree(&[
        "messaging.operation.name",
        "messaging.destination.temporary",
    ]);
    assert_eq!(
        tree,
        "\
INTERNAL order
  PRODUCER request stock messaging.operation.name=request
    CONSUMER process stock messaging.operation.name=process
      PRODUCER publish messaging.operation.name=publish messaging.destination.temporary=true
"
    );
}

#[tokio::test]
async fn an_error_is_recorded_and_returned() {
    let Some(client) = client().await else { return };
    let (guard, sink, tracing) = start("parentbased_always_on");
    let request = Request::new();
    let asked = client
        .send_request_traced_by(&tracing, "nobody", request)
        .await;
    let nobody = asked.unwrap_err();
    let too_long = vec![0; client.max_payload() + 1];
    let published =
        client.publish_traced_by(&tracing, "too-long", HeaderMap::new(), too_long.into());
    let too_long = published.await.unwrap_err();
    guard.flush().unwrap();
    assert_eq!(
        sink.tree(&["error.type"]),
        format!(
            "PRODUCER request nobody error.type=NoResponders ERROR: {nobody}\n\
             PRODUCER publish too-long error.type=MaxPayloadExceeded ERROR: {too_long}\n"
        )
    );
}

#[tokio::test]
async fn a_context_that_the_program_gave_a_message_is_kept() {
    let Some(client) = client().await else { return };
    let (guard, sink, tracing) = start("parentbased_always_on");
    let mut messages = client.subscribe("own-context").await.unwrap();
    let parent = format!("00-{TRACE}-{SENDER}-01");
    let mut headers = HeaderMap::new();
    headers.insert("traceparent", &*parent);
    let published = client.publish_traced_by(&tracing, "own-context", headers, "tea".into());
    published.await.unwrap();
    let headers = messages.next().await.unwrap().headers.unwrap();
    assert_eq!(headers.get("traceparent").unwrap().as_str(), parent);
    guard.flush().unwrap();
    assert_eq!(sink.tree(&[]), "CLIENT publish own-context\n");
    assert_eq!(
        link_of(&sink, &SpanKind::Client).span_id().to_string(),
        SENDER
    );
}

#[tokio::test]
async fn the_context_of_an_unsampled_trace_travels_on() {
    let Some(client) = client().await else { return };
    let (guard, sink, tracing) = start("always_off");
    let mut messages = client.subscribe("unsampled").await.unwrap();
    let published = client.publish_traced_by(&tracing, "unsampled", HeaderMap::new(), "tea".into());
    in_order(&guard, published).await.unwrap();
    let headers = messages.next().await.unwrap().headers.unwrap();
    assert!(
        headers
            .get("traceparent")
            .unwrap()
            .as_str()
            .ends_with("-00")
    );
    guard.flush().unwrap();
    assert!(sink.spans().is_empty());
}

#[tokio::test]
async fn without_a_tracer_messages_and_requests_arrive_as_they_were() {
    let Some(client) = client().await else { return };
    let mut messages = client.subscribe("no-tracer").await.unwrap();
    client
        .publish_traced("no-tracer", "tea".into())
        .await
        .unwrap();
    assert!(messages.next().await.unwrap().headers.is_none());
    let serve = async {
        let request = messages.next().await.unwrap();
        assert!(request.headers.is_none());
        client
            .publish_traced(request.reply.unwrap(), "17".into())
            .await
            .unwrap();
    };
    let ask = client.request_traced("no-tracer", "tea".into());
    let (answer, ()) = tokio::join!(ask, serve);
    assert_eq!(answer.unwrap().payload, "17");
}

#[tokio::test]
async fn a_message_that_a_stream_keeps_is_one_trace_with_its_consumer() {
    let Some(client) = client().await else { return };
    let (guard, sink, tracing) = start("parentbased_always_on");
    let context = jetstream::new(client);
    let config = jetstream::stream::Config {
        name: "ORDERS".to_owned(),
        subjects: vec!["kept.*".to_owned()],
        ..Default::default()
    };
    let stream = context.create_stream(config).await.unwrap();
    let publish = async {
        let (headers, payload) = (HeaderMap::new(), "tea".into());
        let stored = context.publish_traced_by(&tracing, "kept.orders", headers, payload);
        stored.await?.await
    };
    assert_eq!(in_order(&guard, publish).await.unwrap().sequence, 1);

    let config = jetstream::consumer::pull::Config::default();
    let consumer = stream.create_consumer(config).await.unwrap();
    let message = consumer.messages().await.unwrap().next().await.unwrap();
    let acknowledged = message
        .unwrap()
        .process_traced_by(&tracing, async |message| message.ack().await);
    acknowledged.await.unwrap();

    let (headers, payload) = (HeaderMap::new(), "tea".into());
    let lost = context.publish_traced_by(&tracing, "no-stream", headers, payload);
    let lost = lost.await.unwrap().await.unwrap_err();
    // Nobody waits for this one.
    let (headers, payload) = (HeaderMap::new(), "cake".into());
    let published = context.publish_traced_by(&tracing, "kept.cake", headers, payload);
    drop(published.await.unwrap());
    guard.flush().unwrap();
    assert_eq!(
        sink.tree(&[
            "messaging.system",
            "messaging.message.body.size",
            "error.type"
        ]),
        format!(
            "\
INTERNAL order
  PRODUCER publish kept.orders messaging.system=nats messaging.message.body.size=3
    CONSUMER process kept.orders messaging.system=nats messaging.message.body.size=3
PRODUCER publish no-stream messaging.system=nats messaging.message.body.size=3 \
             error.type=StreamNotFound ERROR: {lost}
PRODUCER publish kept.cake messaging.system=nats messaging.message.body.size=4
"
        )
    );
}
