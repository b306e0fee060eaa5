//! The context goes along: into tasks, threads and through channels.

use opentelemetry::Context;
use opentelemetry::trace::{TraceContextExt, Tracer as _, TracerProvider as _};
use spanloom::task::{self, Carried};
use spanloom::testing::Sink;
use spanloom::{Tracer, opentelemetry};

#[tokio::test]
async fn work_elsewhere_is_a_child_of_the_span_that_sent_it_there() {
    let sink = Sink::default();
    let guard = spanloom::builder()
        .environment(|_| None)
        .exporter(sink.clone())
        .start()
        .unwrap();
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
    let message = Carried::new(work("5 message"));
    let message_for_future = Carried::new(work("6 future"));
    let (_, context_of_parts) = Carried::new(()).into_parts();
    drop(attached);
    assert!(!Context::current().has_active_span());
    task.await.unwrap();
    blocking.await.unwrap();
    thread.join().unwrap();
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
            "  INTERNAL 4 thread",
            "  INTERNAL 5 message",
            "  INTERNAL 6 future",
            "INTERNAL 7 elsewhere",
            "INTERNAL sender",
        ]
    );
}
