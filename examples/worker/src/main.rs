//! A worker behind a queue: how a trace gets to where it does not go by itself.
//!
//! An order is put into a channel, a task takes it out, works on it in further tasks and on a
//! blocking thread, and all of that is one trace. Without `Carried` and `spanloom::task` each of
//! the steps would begin a trace of its own, because the context of a trace stays with the task
//! or thread that has it.

use anyhow::Result;
use spanloom::opentelemetry::global;
use spanloom::opentelemetry::trace::{FutureExt, TraceContextExt, Tracer};
use spanloom::opentelemetry::{Context, KeyValue};
use spanloom::task::{self, Carried};
use tokio::sync::mpsc;

#[tokio::main]
async fn main() -> Result<()> {
    let _tracing = spanloom::builder().service_name("worker").init()?;
    run().await
}

async fn run() -> Result<()> {
    let (sender, receiver) = mpsc::channel(8);
    let worker = tokio::spawn(work(receiver));
    for order in ["tea", "cake"] {
        let context = Context::current_with_span(global::tracer("shop").start("order"));
        // The message takes the context along.
        let message = {
            let _attached = context.attach();
            Carried::new(order)
        };
        sender.send(message).await?;
    }
    drop(sender);
    Ok(worker.await??)
}

/// Takes orders until there are none.
async fn work(mut orders: mpsc::Receiver<Carried<&'static str>>) -> Result<(), task::JoinError> {
    while let Some(order) = orders.recv().await {
        // Inside is the context of whoever sent the order.
        order.open_async(serve).await?;
    }
    Ok(())
}

async fn serve(order: &'static str) -> Result<(), task::JoinError> {
    let span = global::tracer("shop").start("serve");
    let context = Context::current_with_span(span);
    context
        .span()
        .set_attribute(KeyValue::new("shop.order", order));
    async {
        // As tokio's `spawn` and `spawn_blocking`, in the context of the caller.
        let heated =
            task::spawn(async { global::tracer("shop").in_span("heat the water", |_| ()) });
        let baked = task::spawn_blocking(|| global::tracer("shop").in_span("bake", |_| ()));
        heated.await?;
        baked.await
    }
    .with_context(context.clone())
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use spanloom::testing::Sink;

    #[tokio::test]
    async fn every_order_is_one_trace() {
        let sink = Sink::default();
        let builder = spanloom::builder()
            .environment(|_| None)
            .without_subscriber();
        let tracing = builder.exporter(sink.clone()).init().unwrap();
        run().await.unwrap();
        tracing.flush().unwrap();
        let tree = sink.tree(&["shop.order"]);
        // Water and oven are at work at the same time, in any order.
        let tree = tree.replace(
            "    INTERNAL bake\n    INTERNAL heat the water\n",
            "    INTERNAL heat the water\n    INTERNAL bake\n",
        );
        let one = |order| {
            format!(
                "INTERNAL order\n  INTERNAL serve shop.order={order}\n    \
                 INTERNAL heat the water\n    INTERNAL bake\n"
            )
        };
        assert_eq!(tree, one("tea") + &one("cake"));
    }
}
