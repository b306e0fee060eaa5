//! Two programs that know each other only through a Kafka topic, and one trace over both.
//!
//! `order` sends a record and ends; `consume` takes records until it is interrupted. What makes one
//! trace of it are `send_traced` instead of `send`, and `process_traced` around the handler.

use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use rdkafka::ClientConfig;
use rdkafka::consumer::{CommitMode, Consumer, StreamConsumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::producer::{FutureProducer, FutureRecord};
use spanloom::kafka::SendTraced;
use spanloom::messaging::{ProcessTraced, Tracing};
use spanloom::opentelemetry::global;
use spanloom::opentelemetry::trace::{FutureExt, TraceContextExt, Tracer};
use spanloom::opentelemetry::{Context, KeyValue};

const TOPIC: &str = "orders";
const GROUP: &str = "kitchen";

/// Sends and cooks orders
#[derive(Parser)]
struct Arguments {
    /// Where Kafka is
    #[arg(long, default_value = "127.0.0.1:9092")]
    brokers: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Sends an order
    Order {
        /// What is ordered
        dish: String,
    },
    /// Cooks what is ordered, until Ctrl-C
    Consume,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let (service, brokers) = match arguments.command {
        Command::Order { .. } => ("till", arguments.brokers),
        Command::Consume => ("kitchen", arguments.brokers),
    };
    let _tracing = spanloom::builder().service_name(service).init()?;
    match arguments.command {
        Command::Order { dish } => order(&brokers, &dish).await,
        Command::Consume => {
            let kitchen = Kitchen::open(&brokers)?;
            tokio::select! {
                result = kitchen.run() => result,
                // The guard then sends what is left.
                interrupt = tokio::signal::ctrl_c() => Ok(interrupt?),
            }
        }
    }
}

async fn order(brokers: &str, dish: &str) -> Result<()> {
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .create()?;
    let span = global::tracer("till").start("order");
    let record = FutureRecord::<(), _>::to(TOPIC).payload(dish);
    producer
        .send_traced(record, Duration::from_secs(5))
        .with_context(Context::current_with_span(span))
        .await
        .map_err(|(error, _)| error)
        .context("Kafka did not take the order")?;
    Ok(())
}

struct Kitchen {
    consumer: StreamConsumer,
    tracing: Tracing,
}

impl Kitchen {
    fn open(brokers: &str) -> Result<Self> {
        let consumer: StreamConsumer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("group.id", GROUP)
            .set("auto.offset.reset", "earliest")
            .set("enable.auto.commit", "false")
            // So that a consumer may start before the first order.
            .set("allow.auto.create.topics", "true")
            .create()?;
        consumer.subscribe(&[TOPIC])?;
        let tracing = Tracing::new().with_consumer_group(GROUP);
        Ok(Self { consumer, tracing })
    }

    async fn run(&self) -> Result<()> {
        loop {
            self.cook_next().await?;
        }
    }

    async fn cook_next(&self) -> Result<()> {
        const NO_TOPIC: KafkaError =
            KafkaError::MessageConsumption(RDKafkaErrorCode::UnknownTopicOrPartition);
        let message = loop {
            match self.consumer.recv().await {
                // The topic is being made: it comes with the first order.
                Err(error) if error == NO_TOPIC => {}
                received => break received?,
            }
        };
        // What the handler returns as an error also stands in the span.
        message
            .process_traced_by(&self.tracing, |order| self.cook(order))
            .await
    }

    async fn cook(&self, order: BorrowedMessage<'_>) -> Result<()> {
        let dish = order.payload_view::<str>().context("an empty order")??;
        // In the context of the order, and so a part of its trace.
        global::tracer("kitchen").in_span("cook", |context| {
            let dish = KeyValue::new("shop.dish", dish.to_owned());
            context.span().set_attribute(dish);
        });
        self.consumer.commit_message(&order, CommitMode::Sync)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use spanloom::testing::Sink;
    use xtask::server::{Kind, Server};

    #[tokio::test]
    async fn an_order_is_one_trace_from_the_till_to_the_kitchen() {
        let Some(kafka) = Server::start(Kind::Kafka).unwrap() else {
            return;
        };
        let brokers = kafka.address().to_string();
        let sink = Sink::default();
        let builder = spanloom::builder()
            .environment(|_| None)
            .without_subscriber();
        let tracing = builder.exporter(sink.clone()).init().unwrap();
        // Who starts first does not matter.
        let kitchen = Kitchen::open(&brokers).unwrap();
        for dish in ["tea", "cake"] {
            order(&brokers, dish).await.unwrap();
            kitchen.cook_next().await.unwrap();
        }
        tracing.flush().unwrap();
        let one = |dish| {
            format!(
                "INTERNAL order\n  PRODUCER send orders\n    \
                 CONSUMER process orders messaging.consumer.group.name=kitchen\n      \
                 INTERNAL cook shop.dish={dish}\n"
            )
        };
        assert_eq!(
            sink.tree(&["messaging.consumer.group.name", "shop.dish"]),
            one("tea") + &one("cake")
        );
    }
}
