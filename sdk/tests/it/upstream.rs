//! What plain `opentelemetry_sdk` and `opentelemetry-otlp` 0.33.1 do wrong, and that this crate does
//! not. When one of these fails after an update, upstream is right at last, and what works around
//! it can go.

use std::net::TcpListener;
use std::panic::catch_unwind;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry::metrics::MeterProvider as _;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{
    Link, Span as _, SpanContext, SpanKind, TraceContextExt, TraceFlags, TraceId, TraceState,
    Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, Key, KeyValue, Value, global};
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::metrics::data::{
    AggregatedMetrics, MetricData, ResourceMetrics, ScopeMetrics,
};
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::{SdkMeterProvider, Temporality};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{
    Sampler, SamplingDecision, SamplingResult, SdkTracerProvider, ShouldSample,
};
use spanloom::opentelemetry;
use spanloom::opentelemetry_sdk;
use spanloom::testing::{FakeCollector, Sink};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::layer::SubscriberExt;

use crate::child::{is_program, run};

#[derive(Clone, Debug)]
struct RecordOnly;

impl ShouldSample for RecordOnly {
    fn should_sample(
        &self,
        _parent: Option<&Context>,
        _trace_id: TraceId,
        _name: &str,
        _kind: &SpanKind,
        _attributes: &[KeyValue],
        _links: &[Link],
    ) -> SamplingResult {
        SamplingResult {
            decision: SamplingDecision::RecordOnly,
            attributes: Vec::new(),
            trace_state: "by=root".parse().unwrap(),
        }
    }
}

#[test]
fn recorded_but_unsampled_spans_are_exported_by_upstreams_processor() {
    let sink = Sink::default();
    let provider = SdkTracerProvider::builder()
        .with_sampler(RecordOnly)
        .with_batch_exporter(sink.clone())
        .build();
    provider.tracer("test").start("one").end();
    provider.force_flush().unwrap();
    assert_eq!(sink.spans().len(), 1);
}

#[test]
fn the_tracestate_of_a_root_sampler_is_thrown_away_by_upstreams_parent_based() {
    let sampler = Sampler::ParentBased(Box::new(RecordOnly));
    let result =
        sampler.should_sample(None, TraceId::from(1), "one", &SpanKind::Internal, &[], &[]);
    assert_eq!(result.trace_state.header(), "");
}

#[test]
fn the_grpc_exporter_panics_without_a_runtime() {
    assert!(catch_unwind(|| SpanExporter::builder().with_tonic().build()).is_err());
}

#[tokio::test(flavor = "current_thread")]
async fn a_flush_over_grpc_deadlocks_on_the_only_thread_of_a_runtime() {
    let collector = FakeCollector::start().unwrap();
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(collector.grpc_endpoint())
        .build();
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter.unwrap())
        .build();
    provider.tracer("test").start("one").end();
    // Five seconds, which cannot be set.
    assert!(provider.force_flush().is_err());
    assert_eq!(collector.n_spans(), 0);
    // Shorter than the default, which waits for as long again.
    let result = provider.shutdown_with_timeout(Duration::from_millis(1));
    assert!(result.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_after_a_failed_export_says_that_all_is_well() {
    let nobody = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(format!("http://{nobody}"))
        .build();
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter.unwrap())
        .build();
    provider.tracer("test").start("one").end();
    assert!(matches!(
        provider.force_flush(),
        Err(OTelSdkError::InternalFailure(_))
    ));
    assert!(provider.shutdown().is_ok());
}

#[test]
fn the_flag_of_random_trace_ids_is_lost_by_upstreams_propagator() {
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03".to_owned();
    let headers = [("traceparent".to_owned(), parent)]
        .into_iter()
        .collect::<std::collections::HashMap<_, _>>();
    let context = TraceContextPropagator::new().extract(&headers);
    assert_eq!(context.span().span_context().trace_flags().to_u8(), 1);
}

#[test]
fn the_environment_is_misread_by_upstream() {
    let said = run(
        "upstream::program",
        &[
            ("OTEL_SERVICE_NAME", "named"),
            (
                "OTEL_RESOURCE_ATTRIBUTES",
                "service.name=listed,team=web%20shop",
            ),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4317"),
            ("OTEL_SDK_DISABLED", "true"),
            ("OTEL_PROPAGATORS", "tracecontext"),
            ("OTEL_TRACES_SAMPLER", "parentbased_jaeger_remote"),
            ("OTEL_TRACES_SAMPLER_ARG", "initialSamplingRate=0"),
            ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "3"),
            ("OTEL_ATTRIBUTE_COUNT_LIMIT", "1"),
            ("OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT", "1"),
            ("OTEL_LINK_ATTRIBUTE_COUNT_LIMIT", "1"),
            ("OTEL_TRACES_EXPORTER", "none"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/no/such/file"),
            ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "/no/such/file"),
            ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/no/such/file"),
        ],
    );
    for wrong in [
        "service.name: listed",
        "team: web%20shop",
        "over http: true",
        "propagated: false",
        "spans although disabled and unsampled: 1",
        "value: long",
        "attributes of span, event and link: 2 2 2",
        "with files that are not there: true",
    ] {
        assert!(
            said.lines().any(|line| line == wrong),
            "{wrong} is right now:\n{said}"
        );
    }
}

#[test]
fn program() {
    if !is_program() {
        return;
    }
    let resource = Resource::builder().build();
    for key in ["service.name", "team"] {
        println!("{key}: {}", resource.get(&Key::new(key)).unwrap());
    }
    let exporter = format!(
        "{:?}",
        SpanExporter::builder().build().map_err(|e| e.to_string())
    );
    println!(
        "over http: {}",
        exporter.contains("Http") || exporter.contains("http_client")
    );
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _inside = runtime.enter();
    let secure = SpanExporter::builder().with_tonic();
    let secure = secure.with_endpoint("https://127.0.0.1:4317").build();
    println!("with files that are not there: {}", secure.is_ok());
    let sink = Sink::default();
    let provider = SdkTracerProvider::builder()
        .with_simple_exporter(sink.clone())
        .build();
    global::set_tracer_provider(provider.clone());
    let two = || vec![KeyValue::new("a", 1), KeyValue::new("b", 2)];
    let link = SpanContext::new(
        1.into(),
        2.into(),
        TraceFlags::SAMPLED,
        true,
        TraceState::NONE,
    );
    let tracer = provider.tracer("test");
    let span = tracer
        .span_builder("one")
        .with_links(vec![Link::new(link, two(), 0)]);
    let mut span = span.start(&tracer);
    span.add_event("event", two());
    span.set_attribute(KeyValue::new("long", "long"));
    span.set_attribute(KeyValue::new("short", "s"));
    let context = Context::new().with_span(span);
    let mut headers = std::collections::HashMap::new();
    global::get_text_map_propagator(|propagator| propagator.inject_context(&context, &mut headers));
    println!("propagated: {}", !headers.is_empty());
    context.span().end();
    println!(
        "spans although disabled and unsampled: {}",
        sink.spans().len()
    );
    let span = sink.spans().remove(0);
    println!("value: {}", span.attributes[0].value);
    println!(
        "attributes of span, event and link: {} {} {}",
        span.attributes.len(),
        span.events[0].attributes.len(),
        span.links[0].attributes.len()
    );
}

/// Keeps how many exemplars there were in the histograms of the last export.
#[derive(Clone, Default)]
struct CountExemplars(Arc<Mutex<Option<usize>>>);

impl PushMetricExporter for CountExemplars {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let metrics = metrics.scope_metrics().flat_map(ScopeMetrics::metrics);
        let counts = metrics.map(|metric| match metric.data() {
            AggregatedMetrics::F64(MetricData::Histogram(histogram)) => {
                let points = histogram.data_points();
                points.map(|point| point.exemplars().count()).sum()
            }
            _ => 0,
        });
        *self.0.lock().unwrap() = Some(counts.sum());
        Ok(())
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }

    fn temporality(&self) -> Temporality {
        Temporality::Cumulative
    }
}

#[test]
fn a_histogram_of_upstream_has_no_exemplars() {
    let exported = CountExemplars::default();
    let provider = SdkMeterProvider::builder()
        .with_periodic_exporter(exported.clone())
        .build();
    let histogram = provider.meter("test").f64_histogram("duration").build();
    let tracer = SdkTracerProvider::builder().build().tracer("test");
    tracer.in_span("one", |context| {
        assert!(context.span().span_context().is_sampled());
        histogram.record(0.5, &[]);
    });
    provider.force_flush().unwrap();
    assert_eq!(*exported.0.lock().unwrap(), Some(0));
}

/// What the crate's documentation says of spans of `tracing`. When it fails the page is to change.
#[test]
fn the_bridge_from_tracing_has_its_traps() {
    let sink = Sink::default();
    let provider = SdkTracerProvider::builder()
        .with_simple_exporter(sink.clone())
        .build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    let subscriber = tracing_subscriber::registry().with(layer);
    tracing::subscriber::with_default(subscriber, || {
        let span = tracing::info_span!("one", signed = 7_i64, unsigned = 7_u64);
        let entered = span.clone().entered();
        assert!(span.set_parent(Context::new()).is_err());
        drop(entered);
        let after_its_last_exit = opentelemetry::time::now();
        drop(span);
        let span = sink.spans().remove(0);
        assert!(span.end_time <= after_its_last_exit);
        let value = |key: &str| {
            let found = span
                .attributes
                .iter()
                .find(|known| known.key.as_str() == key);
            found.unwrap().value.clone()
        };
        assert_eq!(value("signed"), Value::I64(7));
        assert_eq!(value("unsigned"), Value::String("7".into()));
    });
}
