//! From settings to running tracing.

use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{ShouldSample, SpanExporter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::bridge;
use crate::error::Error;
use crate::export::{self, Beside, Console, Export, ExportThread, Nowhere};
use crate::guard::Guard;
use crate::log::{self, LogFormat};
use crate::metrics::{Metering, Metrics, MetricsThread};
use crate::preset::Preset;
use crate::propagator::Propagator;
use crate::resource::resource;
use crate::sampler::{Decider, Remote};
use crate::settings::{BatchSettings, Destination, Settings, process_environment};
#[cfg(feature = "testing")]
use crate::testing::Sink;
use crate::trace::{self, Core, TracerProvider};

type StartExport = Box<dyn FnOnce(BatchSettings, Resource, Beside) -> Result<Export, Error>>;

type Lookup = Box<dyn Fn(&str) -> Option<String>>;

/// Says what the environment cannot, then starts tracing. [`builder`](crate::builder) makes one,
/// and so do the presets [`development`](crate::development), [`production`](crate::production)
/// and, for tests, `testing::builder`.
///
/// Where several speak, the environment wins: whoever deploys a program has the last word. Then
/// comes what the methods here say, then the preset, then the defaults of the
/// specification.
///
#[doc = include_str!("../PRESETS.md")]
#[must_use = "nothing is traced until init is called"]
pub struct Builder {
    service_name: Option<String>,
    resource_attributes: Vec<KeyValue>,
    lookup: Lookup,
    start_export: Option<StartExport>,
    sampler: Option<Box<dyn ShouldSample>>,
    preset: Preset,
    has_metrics: bool,
    #[cfg(feature = "testing")]
    sink: Option<Sink>,
    log_format: LogFormat,
    flush_timeout: Duration,
    has_subscriber: bool,
}

impl Default for Builder {
    fn default() -> Self {
        Self::with_preset(Preset::BARE)
    }
}

impl Builder {
    pub(crate) fn with_preset(preset: Preset) -> Self {
        Self {
            service_name: None,
            resource_attributes: Vec::new(),
            lookup: Box::new(process_environment),
            start_export: None,
            sampler: None,
            preset,
            has_metrics: false,
            #[cfg(feature = "testing")]
            sink: None,
            log_format: preset.log_format(),
            flush_timeout: preset.flush_timeout,
            has_subscriber: true,
        }
    }

    /// The service's name, unless `OTEL_SERVICE_NAME` or `OTEL_RESOURCE_ATTRIBUTES` name it.
    pub fn service_name(mut self, name: impl Into<String>) -> Self {
        self.service_name = Some(name.into());
        self
    }

    /// One more attribute of this process, such as its version.
    pub fn resource_attribute(mut self, attribute: KeyValue) -> Self {
        self.resource_attributes.push(attribute);
        self
    }

    /// How log lines look. By default text on a terminal and JSON elsewhere; `RUST_LOG` says which
    /// lines appear, `info` and worse when it is unset.
    pub fn log_format(mut self, format: LogFormat) -> Self {
        self.log_format = format;
        self
    }

    /// How long a flush, and the end of the program for its last spans, may wait; five seconds by
    /// default.
    pub fn flush_timeout(mut self, timeout: Duration) -> Self {
        self.flush_timeout = timeout;
        self
    }

    /// Installs no `tracing` subscriber, for a program that has its own. Without
    /// [`Guard::layer`] in it, `tracing` spans are not traced and log lines have no ids.
    pub fn without_subscriber(mut self) -> Self {
        self.has_subscriber = false;
        self
    }

    /// Sends spans here rather than over OTLP.
    pub fn exporter(mut self, exporter: impl SpanExporter + 'static) -> Self {
        self.start_export = Some(export_by(move || Ok(exporter)));
        self
    }

    /// Measures how long requests, queries and messages take, wherever this crate gives them a span,
    /// sampled or not, and exports histograms in seconds over OTLP, unless `OTEL_METRICS_EXPORTER`
    /// says where to: `http.server.request.duration`, `http.client.request.duration`,
    /// `rpc.server.call.duration`, `rpc.client.call.duration`, `db.client.operation.duration`,
    /// `messaging.client.operation.duration` and `messaging.process.duration` of the semantic
    /// conventions, and with the last two the number of messages sent and consumed. Each bucket has
    /// the last sampled span that fell into it as its exemplar.
    ///
    /// Off by default: a collector that takes traces only, as Spanloom's own, refuses metrics. In
    /// tests `testing::Sink::figures` shows them.
    pub fn metrics(mut self, is_wanted: bool) -> Self {
        self.has_metrics = is_wanted;
        self
    }

    /// Keeps spans here before their `end` returns.
    #[cfg(feature = "testing")]
    pub(crate) fn sink(mut self, sink: &Sink) -> Self {
        self.sink = Some(sink.clone());
        let sink = sink.clone();
        self.start_export = Some(Box::new(|settings, _, _| Ok(Export::Here(sink, settings))));
        self
    }

    /// Decides about every span, unless `OTEL_TRACES_SAMPLER` names a sampler.
    pub fn sampler(mut self, sampler: impl ShouldSample + 'static) -> Self {
        self.sampler = Some(Box::new(sampler));
        self
    }

    /// Reads `OTEL_*` variables here rather than in the process's environment.
    pub fn environment(mut self, lookup: impl Fn(&str) -> Option<String> + 'static) -> Self {
        self.lookup = Box::new(lookup);
        self
    }

    /// Starts tracing for the whole process.
    ///
    /// Needs no runtime and no collector: spans wait for it in a bounded queue.
    ///
    /// # Errors
    ///
    /// When the export thread cannot start, the endpoint is not a URL that can be used, or
    /// another subscriber is installed. Nothing has been installed then.
    pub fn init(mut self) -> Result<Guard, Error> {
        let settings = Settings::read(&self.lookup, self.preset);
        let provider = self.provider(&settings)?;
        if self.has_subscriber {
            install_subscriber(self.log_format, &provider, &settings)?;
        }
        trace::install(&provider);
        Ok(self.guard(provider, &settings))
    }

    /// Starts tracing and installs nothing for the process: no subscriber, no global provider, no
    /// global propagator. For tests, which share a process, and for programs that hand
    /// [`Guard::tracer_provider`] around.
    ///
    /// # Errors
    ///
    /// When the export thread cannot start or the endpoint is not a URL that can be used.
    pub fn start(mut self) -> Result<Guard, Error> {
        let settings = Settings::read(&self.lookup, self.preset);
        let provider = self.provider(&settings)?;
        Ok(self.guard(provider, &settings))
    }

    fn provider(&mut self, settings: &Settings) -> Result<TracerProvider, Error> {
        let decider = match self.sampler.take() {
            _ if settings.disabled => None,
            Some(in_code) if !settings.is_sampler_given => Some(Decider::by(in_code)),
            _ => Some(Decider::new(settings.sampler)),
        };
        let remote = decider.as_ref().and_then(Decider::remote);
        let name = self.service_name.as_deref();
        let process = resource(settings, &self.resource_attributes, name);
        Ok(TracerProvider::new(Core {
            decider,
            limits: settings.limits,
            metering: self.metering(settings, &process.0)?,
            export: self.export(settings, remote, process)?,
            propagator: Propagator::new(settings.formats.clone(), settings.has_baggage),
            is_shut_down: AtomicBool::new(false),
        }))
    }

    fn metering(
        &self,
        settings: &Settings,
        resource: &Resource,
    ) -> Result<Option<Metering>, Error> {
        let wanted = &settings.metrics;
        let is_wanted = wanted.is_given || self.has_metrics;
        let metrics = Arc::new(Metrics::new(wanted.filter));
        #[cfg(feature = "testing")]
        if let Some(sink) = self.sink.as_ref().filter(|_| !settings.disabled) {
            sink.measure(&metrics);
            let thread = None;
            return Ok(Some(Metering { metrics, thread }));
        }
        if settings.disabled || !is_wanted || wanted.destination == Destination::Nowhere {
            return Ok(None);
        }
        let counting = Arc::clone(&metrics);
        let thread = MetricsThread::start(counting, wanted.clone(), resource.clone())?;
        let thread = Some(thread);
        Ok(Some(Metering { metrics, thread }))
    }

    fn export(
        &mut self,
        settings: &Settings,
        remote: Option<Remote>,
        (resource, service): (Resource, String),
    ) -> Result<Option<Export>, Error> {
        let start = match (settings.destination, self.start_export.take()) {
            _ if settings.disabled => return Ok(None),
            // Even then a sampler decides what others export.
            (Destination::Nowhere, _) if remote.is_none() => return Ok(None),
            (Destination::Nowhere, _) => export_by(|| Ok(Nowhere)),
            (_, Some(in_code)) => in_code,
            (Destination::Console, None) => export_by(|| Ok(Console)),
            (Destination::Otlp, None) => {
                let endpoint = settings.endpoint.clone();
                export_by(move || export::exporter(&endpoint))
            }
        };
        let beside: Beside = match (remote, settings.remote.clone()) {
            (Some(sampler), Some(setting)) => {
                Box::pin(sampler.poll(setting, resource.clone(), service))
            }
            _ => Box::pin(ready(())),
        };
        start(settings.batch, resource, beside).map(Some)
    }

    fn guard(self, provider: TracerProvider, settings: &Settings) -> Guard {
        for warning in &settings.warnings {
            tracing::warn!(target: "spanloom", "{warning}");
        }
        Guard::new(provider, self.flush_timeout)
    }
}

/// How the export starts once settings and resource are known.
fn export_by<E: SpanExporter + 'static>(
    make_exporter: impl FnOnce() -> Result<E, Error> + Send + 'static,
) -> StartExport {
    Box::new(|settings, resource, beside| {
        let thread = ExportThread::start(make_exporter, settings, resource, beside)?;
        Ok(Export::Thread(thread))
    })
}

fn install_subscriber(
    format: LogFormat,
    provider: &TracerProvider,
    settings: &Settings,
) -> Result<(), Error> {
    let filter = || EnvFilter::builder().parse_lossy(&settings.log_filter);
    let lines = tracing_subscriber::fmt::layer();
    let lines = match format {
        LogFormat::Text => Some(
            lines
                .event_format(log::text())
                .with_filter(filter())
                .boxed(),
        ),
        LogFormat::Json => {
            let lines = lines.json().event_format(log::json());
            Some(lines.with_filter(filter()).boxed())
        }
        LogFormat::Off => None,
    };
    let spans = (!settings.disabled).then(|| bridge::layer(provider.tracer("tracing")));
    tracing_subscriber::registry()
        .with(spans)
        .with(lines)
        .try_init()
        .map_err(Error::Subscriber)
}
