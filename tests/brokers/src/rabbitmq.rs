//! RabbitMQ.

use futures::StreamExt as _;
use lapin::message::DeliveryResult;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Connection, ConnectionProperties, Consumer};
use tokio::sync::mpsc;

use crate::{Kitchen, ORDERS, Result, Stove, cook};

/// Sends the orders; the consumer of the queue, and what it needs to live.
async fn order(broker: &str, queue: &str) -> Result<(Connection, Consumer)> {
    let connection = Connection::connect(broker, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    let (options, arguments) = (QueueDeclareOptions::default(), FieldTable::default());
    channel
        .queue_declare(queue.into(), options, arguments)
        .await?;
    for order in ORDERS {
        let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
        let (exchange, queue) = ("".into(), queue.into());
        let published =
            channel.basic_publish(exchange, queue, options, order.as_bytes(), properties);
        published.await?.await?;
    }
    let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
    let consumer = channel.basic_consume(queue.into(), "".into(), options, arguments);
    Ok((connection, consumer.await?))
}

/// The usual loop.
pub(crate) async fn one_by_one(broker: &str, mut stove: Stove) -> Result<()> {
    let (_connection, mut orders) = order(broker, "orders").await?;
    for _ in ORDERS {
        let order = orders.next().await.ok_or("no order")??;
        cook(&mut stove, &order.data).await?;
        order.ack(BasicAckOptions::default()).await?;
    }
    Ok(())
}

/// A delegate, which lapin calls.
pub(crate) async fn called(broker: &str, kitchen: &Kitchen) -> Result<()> {
    let (_connection, orders) = order(broker, "called").await?;
    let (done, mut all_done) = mpsc::channel(ORDERS.len());
    let kitchen = kitchen.clone();
    orders.set_delegate(move |delivery: DeliveryResult| {
        let (kitchen, done) = (kitchen.clone(), done.clone());
        async move {
            let cooked = async {
                let order = delivery?.ok_or("the consumer was cancelled")?;
                cook(&mut kitchen.stove().await?, &order.data).await?;
                Ok(order.ack(BasicAckOptions::default()).await?)
            };
            let cooked: Result<bool> = cooked.await;
            // When the program ends nobody listens.
            let _ = done.send(cooked).await;
        }
    });
    for _ in ORDERS {
        all_done.recv().await.ok_or("no order")??;
    }
    Ok(())
}
