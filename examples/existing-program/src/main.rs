//! A program with `#[tracing::instrument]` and `tracing::info!` in it, from before it knew of us.
//!
//! One line in `main` makes its spans OpenTelemetry's and gives its log lines the ids of their
//! trace. Nothing else changes.

use anyhow::{Result, bail};
use tracing::{info, instrument};

#[tokio::main]
async fn main() -> Result<()> {
    // The line. It takes the place of `tracing_subscriber::fmt::init()`.
    let _tracing = spanloom::builder()
        .service_name("existing-program")
        .init()?;
    run().await
}

#[instrument]
async fn run() -> Result<()> {
    for item in ["tea", "cake"] {
        let cents = price(item).await?;
        info!(item, cents, "priced");
    }
    Ok(())
}

/// `err` marks the span as failed when an error is returned; `item` becomes an attribute of it.
#[instrument(err)]
async fn price(item: &str) -> Result<i64> {
    tokio::task::yield_now().await;
    match item {
        "tea" => Ok(250),
        "cake" => Ok(320),
        _ => bail!("nobody knows the price of {item}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use spanloom::testing::Sink;
    use tracing::instrument::WithSubscriber;
    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::registry;

    #[tokio::test]
    async fn its_spans_are_one_tree_with_their_fields_and_errors() {
        let sink = Sink::default();
        let builder = spanloom::builder()
            .environment(|_| None)
            .exporter(sink.clone());
        let tracing = builder.start().unwrap();
        let program = async {
            run().await.unwrap();
            price("air").await.unwrap_err();
        };
        program
            .with_subscriber(registry().with(tracing.layer()))
            .await;
        tracing.flush().unwrap();
        assert_eq!(
            sink.tree(&["item"]),
            "INTERNAL run\n  INTERNAL price item=tea\n  INTERNAL price item=cake\n\
             INTERNAL price item=air ERROR: nobody knows the price of air\n"
        );
    }
}
