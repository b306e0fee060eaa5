//! The four systems, each set up as its users set it up, but for the exporter.

use std::borrow::Cow;
use std::fmt;

use anyhow::Result;
use fastrace::collector::{Config, Reporter, SpanRecord};
use fastrace::local::LocalSpan;
use opentelemetry::Context;
use opentelemetry::trace::noop::NoopTracerProvider;
use opentelemetry::trace::{TraceContextExt, Tracer, TracerProvider};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider, SpanData, SpanExporter,
};
use spanloom::Guard;
use spanloom::testing::FakeCollector;
use tracing::subscriber::{NoSubscriber, with_default};
use tracing_subscriber::Registry;
use tracing_subscriber::layer::SubscriberExt;

/// Room for all spans of a round on as many threads as a machine for benchmarks has.
pub(crate) const QUEUE_SPANS_MAX: usize = 1 << 20;

/// What was decided about the trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Sampled,
    Unsampled,
    Disabled,
}

impl fmt::Display for Decision {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Sampled => "sampled",
            Self::Unsampled => "unsampled",
            Self::Disabled => "disabled",
        })
    }
}

/// Gets a closure that makes so many spans below an active parent.
type Body<'a> = &'a mut dyn FnMut(&dyn Fn(usize));

/// Makes a parent active and calls the body.
type Run = Box<dyn Fn(Decision, Body<'_>) + Sync>;

/// One way to make spans.
pub(crate) struct System {
    pub(crate) name: &'static str,
    pub(crate) run: Run,
    pub(crate) flush: Box<dyn Fn() + Sync>,
}

/// Ours first.
pub(crate) fn all() -> Result<Vec<System>> {
    Ok(vec![
        spanloom()?,
        opentelemetry(),
        tracing_opentelemetry(),
        fastrace(),
    ])
}

/// Throws spans away.
#[derive(Debug)]
pub(crate) struct Discard;

impl SpanExporter for Discard {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        drop(batch);
        Ok(())
    }
}

impl Reporter for Discard {
    fn report(&mut self, spans: Vec<SpanRecord>) {
        drop(spans);
    }
}

/// A running SDK of ours with this sampler.
pub(crate) fn start(variable: &'static str, value: &'static str) -> Result<Guard> {
    let lookup = move |name: &str| match name {
        "OTEL_BSP_MAX_QUEUE_SIZE" => Some(QUEUE_SPANS_MAX.to_string()),
        name => (name == variable).then(|| value.to_owned()),
    };
    Ok(spanloom::builder()
        .environment(lookup)
        .exporter(Discard)
        .start()?)
}

/// The same, which also measures requests and tells this collector about them.
pub(crate) fn start_measuring(sampler: &'static str, collector: &FakeCollector) -> Result<Guard> {
    let endpoint = collector.http_endpoint();
    let lookup = move |name: &str| match name {
        "OTEL_BSP_MAX_QUEUE_SIZE" => Some(QUEUE_SPANS_MAX.to_string()),
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT" => Some(format!("{endpoint}/v1/metrics")),
        "OTEL_TRACES_SAMPLER" => Some(sampler.to_owned()),
        _ => None,
    };
    let builder = spanloom::builder().environment(lookup).metrics(true);
    Ok(builder.exporter(Discard).start()?)
}

/// The same of plain OpenTelemetry.
pub(crate) fn plain(sampler: Sampler) -> SdkTracerProvider {
    let config = BatchConfigBuilder::default()
        .with_max_queue_size(QUEUE_SPANS_MAX)
        .build();
    let processor = BatchSpanProcessor::builder(Discard)
        .with_batch_config(config)
        .build();
    let sampler = Sampler::ParentBased(Box::new(sampler));
    SdkTracerProvider::builder()
        .with_sampler(sampler)
        .with_span_processor(processor)
        .build()
}

/// Any tracer of the OpenTelemetry API.
fn by_api<T: Tracer<Span: Send + Sync + 'static>>(tracer: &T, body: Body<'_>) {
    let _active = Context::current_with_span(tracer.start("parent")).attach();
    body(&|n_spans| {
        for _ in 0..n_spans {
            drop(tracer.start("child"));
        }
    });
}

fn spanloom() -> Result<System> {
    let sampled = start("OTEL_TRACES_SAMPLER", "parentbased_always_on")?;
    let unsampled = start("OTEL_TRACES_SAMPLER", "parentbased_always_off")?;
    let disabled = start("OTEL_SDK_DISABLED", "true")?;
    let tracers =
        [&sampled, &unsampled, &disabled].map(|guard| guard.tracer_provider().tracer("b"));
    Ok(System {
        name: "spanloom",
        run: Box::new(move |decision, body| by_api(&tracers[decision as usize], body)),
        flush: Box::new(move || {
            let (_, _) = (&unsampled, &disabled);
            sampled
                .flush()
                .expect("nothing is lost on the way to nowhere");
        }),
    })
}

fn opentelemetry() -> System {
    let (sampled, unsampled) = (plain(Sampler::AlwaysOn), plain(Sampler::AlwaysOff));
    let tracers = [&sampled, &unsampled].map(|provider| provider.tracer("b"));
    let noop = NoopTracerProvider::new().tracer("b");
    System {
        name: "opentelemetry",
        run: Box::new(move |decision, body| match decision {
            Decision::Disabled => by_api(&noop, body),
            decision => by_api(&tracers[decision as usize], body),
        }),
        flush: Box::new(move || {
            let _ = &unsampled;
            sampled
                .force_flush()
                .expect("nothing is lost on the way to nowhere");
        }),
    }
}

fn tracing_opentelemetry() -> System {
    let (sampled, unsampled) = (plain(Sampler::AlwaysOn), plain(Sampler::AlwaysOff));
    let tracers = [&sampled, &unsampled].map(|provider| provider.tracer("b"));
    System {
        name: "tracing-opentelemetry",
        run: Box::new(move |decision, body| {
            let spans = || {
                tracing::info_span!("parent").in_scope(|| {
                    body(&|n_spans| {
                        for _ in 0..n_spans {
                            drop(tracing::info_span!("child").entered());
                        }
                    });
                });
            };
            if decision == Decision::Disabled {
                return with_default(NoSubscriber::new(), spans);
            }
            let tracer = tracers[decision as usize].clone();
            let layer = tracing_opentelemetry::layer().with_tracer(tracer);
            with_default(Registry::default().with(layer), spans);
        }),
        flush: Box::new(move || {
            let _ = &unsampled;
            sampled
                .force_flush()
                .expect("nothing is lost on the way to nowhere");
        }),
    }
}

fn fastrace() -> System {
    fastrace::set_reporter(Discard, Config::default());
    System {
        name: "fastrace",
        run: Box::new(|decision, body| {
            body(&|n_spans| {
                // A trace of fastrace has room for some ten thousand spans a thread, and drops
                // what comes after; so it gets a root for each thousand.
                for _ in 0..n_spans / 1_000 {
                    let context = fastrace::prelude::SpanContext::random();
                    let context = context.sampled(decision == Decision::Sampled);
                    let root = (decision != Decision::Disabled)
                        .then(|| fastrace::Span::root(Cow::Borrowed("parent"), context));
                    let _parent = root.as_ref().map(fastrace::Span::set_local_parent);
                    for _ in 0..1_000 {
                        drop(LocalSpan::enter_with_local_parent("child"));
                    }
                }
            });
        }),
        flush: Box::new(fastrace::flush),
    }
}
