//! NATS and JetStream.

use std::pin::pin;

use async_nats::{Client, Message, jetstream};
use bytes::Bytes;
use futures::StreamExt as _;
use tokio::sync::Barrier;

use crate::{Kitchen, ORDERS, Result, Stove, cook};

async fn order(client: &Client, subject: &'static str) -> Result<()> {
    for order in ORDERS {
        client.publish(subject, order.into()).await?;
    }
    Ok(client.flush().await?)
}

/// The usual loop: each order is cooked and answered before the next is taken.
pub(crate) async fn one_by_one(broker: &str, mut stove: Stove) -> Result<()> {
    let client = async_nats::connect(broker).await?;
    let mut orders = client.subscribe("orders").await?;
    order(&client, "orders").await?;
    for _ in ORDERS {
        let order = orders.next().await.ok_or("no order")?;
        cook(&mut stove, &order.payload).await?;
        client.publish("served", order.payload.clone()).await?;
    }
    Ok(client.flush().await?)
}

/// Both are cooked at once, by a block that is no function.
pub(crate) async fn all_at_once(broker: &str, kitchen: &Kitchen) -> Result<()> {
    let client = async_nats::connect(broker).await?;
    let orders = client.subscribe("concurrent").await?;
    order(&client, "concurrent").await?;
    let both_are_here = Barrier::new(ORDERS.len());
    let cooking = orders
        .take(ORDERS.len())
        .for_each_concurrent(2, async |order| {
            both_are_here.wait().await;
            let cooked = async { cook(&mut kitchen.stove().await?, &order.payload).await };
            // What is not cooked is missing from the trace.
            cooked.await.unwrap_or_default();
        });
    cooking.await;
    Ok(())
}

/// Both are cooked at once, and who takes what is cooked does not know for which order it was.
pub(crate) async fn buffered(broker: &str, kitchen: &Kitchen) -> Result<()> {
    let client = async_nats::connect(broker).await?;
    let orders = client.subscribe("buffered").await?;
    order(&client, "buffered").await?;
    let cook = async |order: Message| -> Result<Bytes> {
        cook(&mut kitchen.stove().await?, &order.payload).await?;
        Ok(order.payload)
    };
    let mut cooked = pin!(orders.take(ORDERS.len()).map(cook).buffer_unordered(2));
    while let Some(dish) = cooked.next().await {
        client.publish("served", dish?).await?;
    }
    Ok(client.flush().await?)
}

/// The kitchen closes while an order is on the table.
#[expect(clippy::exit, reason = "that is what a test looks at")]
pub(crate) async fn interrupted(broker: &str, mut stove: Stove) -> Result<()> {
    let client = async_nats::connect(broker).await?;
    let mut orders = client.subscribe("interrupted").await?;
    order(&client, "interrupted").await?;
    let order = orders.next().await.ok_or("no order")?;
    cook(&mut stove, &order.payload).await?;
    std::process::exit(0);
}

/// A stream that keeps what it is sent.
pub(crate) async fn kept(broker: &str, mut stove: Stove) -> Result<()> {
    let client = async_nats::connect(broker).await?;
    let context = jetstream::new(client.clone());
    let config = jetstream::stream::Config {
        name: "KEPT".to_owned(),
        subjects: vec!["kept".to_owned()],
        ..Default::default()
    };
    let stream = context.create_stream(config).await?;
    order(&client, "kept").await?;
    let config = jetstream::consumer::pull::Config::default();
    let consumer = stream.create_consumer(config).await?;
    let mut orders = consumer.messages().await?.take(ORDERS.len());
    while let Some(order) = orders.next().await {
        let order = order?;
        cook(&mut stove, &order.payload).await?;
        order.double_ack().await?;
    }
    Ok(())
}
