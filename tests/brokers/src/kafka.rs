//! Kafka.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _, StreamConsumer};
use rdkafka::message::Message as _;
use rdkafka::producer::{FutureProducer, FutureRecord};
use tokio::task::JoinSet;

use crate::{Kitchen, ORDERS, Result, Stove, cook};

/// Sends the orders; the configuration of their consumers.
async fn order(broker: &str, topic: &str) -> Result<ClientConfig> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", broker);
    let producer: FutureProducer = config.create()?;
    for order in ORDERS {
        let record = FutureRecord::to(topic).key("kitchen").payload(order);
        let sent = producer.send(record, Duration::from_secs(30)).await;
        sent.map_err(|(error, _)| error)?;
    }
    config
        .set("group.id", topic)
        .set("auto.offset.reset", "earliest");
    Ok(config)
}

/// The usual loop.
pub(crate) async fn one_by_one(broker: &str, mut stove: Stove) -> Result<()> {
    let orders: StreamConsumer = order(broker, "orders").await?.create()?;
    orders.subscribe(&["orders"])?;
    for _ in ORDERS {
        let order = orders.recv().await?;
        cook(&mut stove, order.payload().unwrap_or_default()).await?;
    }
    Ok(())
}

/// A task cooks each order, and the next is taken meanwhile.
pub(crate) async fn a_task_each(broker: &str, kitchen: &Kitchen) -> Result<()> {
    let orders: StreamConsumer = order(broker, "tasks").await?.create()?;
    orders.subscribe(&["tasks"])?;
    let mut tasks = JoinSet::new();
    for _ in ORDERS {
        let order = orders.recv().await?.detach();
        let kitchen = kitchen.clone();
        tasks.spawn(async move {
            let mut stove = kitchen.stove().await?;
            cook(&mut stove, order.payload().unwrap_or_default()).await
        });
    }
    while let Some(cooked) = tasks.join_next().await {
        cooked??;
    }
    Ok(())
}

/// Without anything asynchronous, once the orders are sent.
pub(crate) fn on_a_thread(broker: &str, kitchen: &Kitchen) -> Result<()> {
    let runtime = tokio::runtime::Handle::current();
    let ordered = std::thread::scope(|scope| {
        let ordering = scope.spawn(|| runtime.block_on(order(broker, "thread")));
        ordering
            .join()
            .unwrap_or_else(|_| Err("it panicked".into()))
    });
    let config = ordered?;
    std::thread::scope(|scope| {
        let cooking = scope.spawn(|| {
            let orders: BaseConsumer = config.create()?;
            orders.subscribe(&["thread"])?;
            let mut n_left = ORDERS.len();
            while n_left > 0 {
                if let Some(order) = orders.poll(Duration::from_secs(1)) {
                    let order = order?;
                    kitchen.count(str::from_utf8(order.payload().unwrap_or_default())?)?;
                    n_left -= 1;
                }
            }
            Ok(())
        });
        cooking.join().unwrap_or_else(|_| Err("it panicked".into()))
    })
}
