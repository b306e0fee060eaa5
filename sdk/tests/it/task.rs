//! The context goes along: into tasks, threads and through channels.

use opentelemetry::Context;
use opentelemetry::trace::{
    FutureExt as _, Link, TraceContextExt, Tracer as _, TracerProvider as _,
};
use spanloom::task::{self, Carried};
use spanloom::testing::Sink;
use spanloom::{Guard, Tracer, opentelemetry};

fn start() -> (Guard, Sink) {
    let sink = Sink::default();
    let builder = spanloom::builder().environment(|_| None);
    let guard = builder.exporter(sink.clone()).start().unwrap();
    (guard, sink)
}

#[tokio::test]
async fn work_elsewhere_is_a_child_of_the_span_that_sent_it_there() {
    let (guard, sink) = start();
    let tracer = guard.tracer_provider().tracer("test");
    let work = |name: &'static str| {
        let tracer: Tracer = tracer.clone();
        move || tracer.in_span(name, |_| ())
    };
    let context = Context::current_with_span(tracer.start("sender"));
    let attached = context.attach();
    let (in_task, after_await) = (work("1 task"), work("2 task after a wait"));
    let task = task::spawn(async move {
        in_task();
        tokio::task::yield_now().await;
        after_await();
    });
    let blocking = task::spawn_blocking(work("3 blocking"));
    let thread = std::thread::spawn(task::bind(work("4 thread")));
    let mut set = tokio::task::JoinSet::new();
    let in_set = work("4 in a set");
    set.spawn(task::carry(async move { in_set() }));
    let message = Carried::new(work("5 message"));
    let message_for_future = Carried::new(work("6 future"));
    let (_, context_of_parts) = Carried::new(()).into_parts();
    drop(attached);
    assert!(!Context::current().has_active_span());
    task.await.unwrap();
    blocking.await.unwrap();
    thread.join().unwrap();
    set.join_all().await;
    message.open(|work| work());
    message_for_future
        .open_async(|work| async move { work() })
        .await;
    tracer.in_span("7 elsewhere", |_| ());
    assert!(context_of_parts.has_active_span());
    drop(context_of_parts);
    guard.flush().unwrap();
    let mut lines: Vec<_> = sink.tree(&[]).lines().map(str::to_owned).collect();
    // Threads run in any order.
    lines.sort();
    assert_eq!(
        lines,
        [
            "  INTERNAL 1 task",
            "  INTERNAL 2 task after a wait",
            "  INTERNAL 3 blocking",
            "  INTERNAL 4 in a set",
            "  INTERNAL 4 thread",
            "  INTERNAL 5 message",
            "  INTERNAL 6 future",
            "INTERNAL 7 elsewhere",
            "INTERNAL sender",
        ]
    );
}

/// Each order comes from another request, and one worker serves them all over the life of a channel.
#[tokio::test]
async fn what_comes_through_a_channel_belongs_to_the_trace_of_its_sender() {
    let (guard, sink) = start();
    let tracer = guard.tracer_provider().tracer("test");
    let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
    let worker: Tracer = tracer.clone();
    let worker = task::spawn(async move {
        let mut batch = Vec::new();
        while let Some(order) = receiver.recv().await {
            let order: Carried<&'static str> = order;
            batch.push(order.clone());
            let cook = |name: &'static str| {
                let worker = worker.clone();
                async move {
                    tokio::task::yield_now().await;
                    worker.in_span(format!("cook {name}"), |_| ());
                }
            };
            order.open_async(cook).await;
            // The worker itself is in nobody's trace.
            assert!(!Context::current().has_active_span());
        }
        let links = batch.into_iter().map(|order| {
            let (_, context) = order.into_parts();
            Link::with_context(context.span().span_context().clone())
        });
        let span = worker.span_builder("bill").with_links(links.collect());
        drop(worker.build(span));
    });
    for (request, order) in [("first", "tea"), ("second", "cake")] {
        let context = Context::current_with_span(tracer.start(request));
        let send = async { sender.send(Carried::new(order)).await };
        send.with_context(context).await.unwrap();
    }
    drop(sender);
    worker.await.unwrap();
    guard.flush().unwrap();
    let tree = sink.tree(&[]);
    for trace in [
        "INTERNAL first\n  INTERNAL cook tea\n",
        "INTERNAL second\n  INTERNAL cook cake\n",
    ] {
        assert!(tree.contains(trace), "{tree}");
    }
    let spans = sink.spans();
    let named = |name: &str| spans.iter().find(|span| span.name == name).unwrap();
    let links = named("bill").links.iter().map(|link| &link.span_context);
    let requests = [named("first"), named("second")].map(|span| &span.span_context);
    assert!(links.eq(requests));
}
