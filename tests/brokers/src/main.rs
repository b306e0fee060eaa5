//! A kitchen: `brokers WAY BROKER REDIS POSTGRES` sends two orders, receives and cooks them, and ends.
//! There is no tracing in this program. `cargo spanloom` builds it, and a test of `spanloom-tests` looks
//! at its traces.

mod kafka;
mod nats;
mod rabbitmq;

use redis::aio::MultiplexedConnection;
use sqlx::{Connection, PgConnection};

pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// What is ordered, in this order.
pub(crate) const ORDERS: [&str; 2] = ["tea", "cake"];

/// What cooking takes.
#[derive(Clone)]
pub(crate) struct Kitchen {
    redis: redis::Client,
    postgres: String,
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut argument = || arguments.next().ok_or("brokers WAY BROKER REDIS POSTGRES");
    let (way, broker) = (argument()?, argument()?);
    let kitchen = Kitchen {
        redis: redis::Client::open(argument()?)?,
        postgres: argument()?,
    };
    let stove = kitchen.stove().await?;
    match way.as_str() {
        "nats" => nats::one_by_one(&broker, stove).await,
        "nats-concurrent" => nats::all_at_once(&broker, &kitchen).await,
        "nats-buffered" => nats::buffered(&broker, &kitchen).await,
        "nats-interrupted" => nats::interrupted(&broker, stove).await,
        "jetstream" => nats::kept(&broker, stove).await,
        "rabbitmq" => rabbitmq::one_by_one(&broker, stove).await,
        "rabbitmq-delegate" => rabbitmq::called(&broker, &kitchen).await,
        "kafka" => kafka::one_by_one(&broker, stove).await,
        "kafka-tasks" => kafka::a_task_each(&broker, &kitchen).await,
        "kafka-thread" => kafka::on_a_thread(&broker, &kitchen),
        other => Err(other.into()),
    }
}

impl Kitchen {
    /// Connections that are ready.
    pub(crate) async fn stove(&self) -> Result<Stove> {
        Ok(Stove {
            redis: self.redis.get_multiplexed_async_connection().await?,
            postgres: PgConnection::connect(&self.postgres).await?,
        })
    }

    /// Counts an order, on a thread that may wait.
    pub(crate) fn count(&self, order: &str) -> Result<u64> {
        let mut redis = self.redis.get_connection()?;
        Ok(redis::cmd("INCR").arg(order).query(&mut redis)?)
    }
}

pub(crate) struct Stove {
    redis: MultiplexedConnection,
    postgres: PgConnection,
}

/// Cooks one order: counts it, and looks it up.
pub(crate) async fn cook(stove: &mut Stove, order: &[u8]) -> Result<()> {
    let mut counts = redis::pipe();
    counts.incr("orders", 1).incr(order, 1);
    let (_, _): (u64, u64) = counts.query_async(&mut stove.redis).await?;
    sqlx::query("SELECT length($1)")
        .bind(str::from_utf8(order)?)
        .fetch_one(&mut stove.postgres)
        .await?;
    Ok(())
}
