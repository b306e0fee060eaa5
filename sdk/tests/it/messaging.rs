//! Messages, as far as no broker is needed: what a received one makes of its context.

use std::panic::{AssertUnwindSafe, catch_unwind};

use async_nats::{HeaderMap, Message};
use futures::FutureExt as _;
use opentelemetry::baggage::BaggageExt;
use opentelemetry::trace::{
    FutureExt, SpanContext, SpanKind, TraceContextExt, Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use spanloom::messaging::{ProcessTraced, Tracing};
use spanloom::testing::Sink;
use spanloom::{Guard, opentelemetry};

pub(crate) const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
pub(crate) const SENDER: &str = "b7ad6b7169203331";

/// A tracer with this sampler, its spans, and the settings that lead to it.
pub(crate) fn start(sampler: &'static str) -> (Guard, Sink, Tracing) {
    let sink = Sink::default();
    let variable = move |name: &str| (name == "OTEL_TRACES_SAMPLER").then(|| sampler.to_owned());
    let guard = spanloom::builder()
        .environment(variable)
        .exporter(sink.clone())
        .start()
        .unwrap();
    let tracing = Tracing::new().with_tracer_provider(guard.tracer_provider());
    (guard, sink, tracing)
}

/// Makes the span `order` around `work`.
pub(crate) async fn in_order<F: Future>(guard: &Guard, work: F) -> F::Output {
    let tracer = guard.tracer_provider().tracer("test");
    let order = Context::current_with_span(tracer.start("order"));
    work.with_context(order).await
}

/// The only link of the only span of this kind.
pub(crate) fn link_of(sink: &Sink, kind: &SpanKind) -> SpanContext {
    let spans = sink.spans();
    let span = spans.iter().find(|span| span.span_kind == *kind).unwrap();
    let [link] = &span.links.links[..] else {
        panic!("{} links", span.links.links.len())
    };
    link.span_context.clone()
}

fn message(headers: &[(&str, &str)]) -> Message {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.insert(*name, *value);
    }
    Message {
        subject: "orders".into(),
        reply: None,
        payload: "tea".into(),
        headers: (!headers.is_empty()).then_some(map),
        status: None,
        description: None,
        length: 3,
    }
}

fn message_from_elsewhere() -> Message {
    let parent = format!("00-{TRACE}-{SENDER}-01");
    message(&[("traceparent", &parent), ("baggage", "table=7")])
}

#[tokio::test]
async fn a_message_processed_on_its_own_continues_the_trace_of_its_sender() {
    let (guard, sink, tracing) = start("parentbased_always_on");
    message_from_elsewhere()
        .process_traced_by(&tracing, async |_| {
            let context = Context::current();
            assert_eq!(context.baggage().get("table").unwrap().as_str(), "7");
        })
        .await;
    guard.flush().unwrap();
    let span = sink.spans().remove(0);
    assert_eq!(span.span_context.trace_id().to_string(), TRACE);
    assert_eq!(span.parent_span_id.to_string(), SENDER);
    assert!(span.parent_span_is_remote);
    let link = link_of(&sink, &SpanKind::Consumer);
    assert_eq!(link.span_id().to_string(), SENDER);
}

#[tokio::test]
async fn a_message_processed_in_a_span_stays_there_and_links_to_its_sender() {
    let (guard, sink, tracing) = start("parentbased_always_on");
    let work = message_from_elsewhere().process_traced_by(&tracing, async |_| {
        let context = Context::current();
        assert_eq!(context.baggage().get("table").unwrap().as_str(), "7");
    });
    in_order(&guard, work).await;
    guard.flush().unwrap();
    assert_eq!(
        sink.tree(&[]),
        "INTERNAL order\n  CONSUMER process orders\n"
    );
    let link = link_of(&sink, &SpanKind::Consumer);
    assert_eq!(link.trace_id().to_string(), TRACE);
    assert_eq!(link.span_id().to_string(), SENDER);
}

#[tokio::test]
async fn a_message_without_a_context_begins_a_trace() {
    let (guard, sink, tracing) = start("parentbased_always_on");
    message(&[]).process_traced_by(&tracing, async |_| ()).await;
    message(&[("shop", "corner")])
        .process_traced_by(&tracing, async |_| ())
        .await;
    message(&[("traceparent", "odd")])
        .process_traced_by(&tracing, async |_| ())
        .await;
    guard.flush().unwrap();
    assert_eq!(sink.tree(&[]), "CONSUMER process orders\n".repeat(3));
    assert!(sink.spans().iter().all(|span| span.links.links.is_empty()));
}

#[tokio::test]
async fn settings_name_the_broker_the_group_and_the_span() {
    let (guard, sink, tracing) = start("parentbased_always_on");
    let tracing = tracing
        .with_server("broker.shop", 4222)
        .with_consumer_group("kitchen")
        .with_destination_template("{what}")
        .with_attribute(KeyValue::new("shop.corner", true));
    message(&[]).process_traced_by(&tracing, async |_| ()).await;
    guard.flush().unwrap();
    let attributes = [
        "messaging.system",
        "messaging.operation.name",
        "messaging.operation.type",
        "messaging.destination.name",
        "messaging.destination.template",
        "messaging.message.body.size",
        "messaging.consumer.group.name",
        "server.address",
        "server.port",
        "shop.corner",
    ];
    assert_eq!(
        sink.tree(&attributes),
        "CONSUMER process {what} messaging.system=nats messaging.operation.name=process \
         messaging.operation.type=process messaging.destination.name=orders \
         messaging.destination.template={what} messaging.message.body.size=3 \
         messaging.consumer.group.name=kitchen server.address=broker.shop server.port=4222 \
         shop.corner=true\n"
    );
}

#[tokio::test]
async fn a_handler_that_fails_panics_or_is_dropped_makes_an_error() {
    let (guard, sink, tracing) = start("parentbased_always_on");
    let failed: Result<(), std::fmt::Error> = message(&[])
        .process_traced_by(&tracing, async |_| Err(std::fmt::Error))
        .await;
    failed.unwrap_err();
    let handler = async |message: Message| assert!(message.payload.is_empty(), "no {}", "tea");
    let panics = message(&[]).process_traced_by(&tracing, handler);
    AssertUnwindSafe(panics).catch_unwind().await.unwrap_err();
    let waits =
        message(&[]).process_traced_by(&tracing, async |_| std::future::pending::<()>().await);
    assert!(waits.now_or_never().is_none());
    // The closure itself, before there is a future.
    let closure = |_: Message| -> std::future::Ready<()> { panic!("no cup") };
    let panics = message(&[]).process_traced_by(&tracing, closure);
    catch_unwind(AssertUnwindSafe(|| panics.now_or_never())).unwrap_err();
    guard.flush().unwrap();
    assert_eq!(
        sink.tree(&["error.type"]),
        "\
CONSUMER process orders error.type=core::fmt::Error ERROR: an error occurred when formatting an argument
CONSUMER process orders error.type=panic ERROR: no tea
CONSUMER process orders error.type=cancelled ERROR: the work was dropped before its end
CONSUMER process orders error.type=panic ERROR: no cup
"
    );
}

#[test]
fn a_context_of_a_message_ends_its_span_when_it_is_dropped() {
    let (guard, sink, tracing) = start("parentbased_always_on");
    let context = message_from_elsewhere().process_context_by(&tracing);
    guard.flush().unwrap();
    assert!(sink.spans().is_empty());
    drop(context);
    guard.flush().unwrap();
    assert_eq!(sink.tree(&[]), "CONSUMER process orders\n");
}

#[tokio::test]
async fn a_message_of_an_unsampled_trace_makes_no_span_and_its_context_goes_on() {
    let (guard, sink, tracing) = start("parentbased_always_on");
    let parent = format!("00-{TRACE}-{SENDER}-00");
    message(&[("traceparent", &parent)])
        .process_traced_by(&tracing, async |_| {
            let context = Context::current();
            let span = context.span();
            assert_eq!(span.span_context().trace_id().to_string(), TRACE);
            assert!(!span.span_context().is_sampled());
        })
        .await;
    guard.flush().unwrap();
    assert!(sink.spans().is_empty());
}

#[tokio::test]
async fn without_a_tracer_a_message_is_processed_all_the_same() {
    let answer: Result<u8, String> = message_from_elsewhere()
        .process_traced(async |message| Ok(message.payload[0]))
        .await;
    assert_eq!(answer, Ok(b't'));
}

#[tokio::test]
async fn a_handler_may_run_in_a_task_of_its_own() {
    let work = message(&[]).process_traced(async |_| tokio::task::yield_now().await);
    tokio::spawn(work).await.unwrap();
}
