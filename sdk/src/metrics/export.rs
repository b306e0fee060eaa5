//! The thread that empties the tables and tells somebody.
//!
//! It is not the spans' thread: a collector that is slow to take spans must not make gaps in the
//! figures, which are wanted most when things go wrong.

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use opentelemetry::{Context, time};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{ResourceMetrics, ScopeMetrics};
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::otlp::OtlpMetrics;
use super::{Metrics, Totals};
use crate::error::Error;
use crate::export::{Command, Commands, commands};
use crate::settings::{Destination, MetricsSettings};

/// Exports every so often, until it is told to end.
pub(crate) struct MetricsThread {
    commands: Commands,
}

/// Where figures go.
enum MetricsExporter {
    Otlp(Box<OtlpMetrics>),
    /// One line a series on standard output.
    Console,
}

impl MetricsExporter {
    fn new(settings: &MetricsSettings) -> Result<Self, Error> {
        Ok(match settings.destination {
            Destination::Console => Self::Console,
            _ => Self::Otlp(Box::new(OtlpMetrics::new(&settings.endpoint)?)),
        })
    }

    async fn export(&mut self, resource: &Resource, metrics: ScopeMetrics) -> Result<(), String> {
        match self {
            Self::Console => {
                write(&mut io::stdout().lock(), &metrics).map_err(|error| error.to_string())
            }
            Self::Otlp(otlp) => {
                let attributes = ResourceAttributesWithSchema::from(resource).attributes.0;
                let resource = opentelemetry_proto::tonic::resource::v1::Resource {
                    attributes,
                    ..Default::default()
                };
                let resource_metrics = vec![ResourceMetrics {
                    resource: Some(resource),
                    scope_metrics: vec![metrics],
                    ..ResourceMetrics::default()
                }];
                otlp.send(ExportMetricsServiceRequest { resource_metrics })
                    .await
            }
        }
    }
}

impl MetricsThread {
    /// Starts the thread, builds the exporter on it, and returns when that has worked.
    pub(crate) fn start(
        metrics: Arc<Metrics>,
        settings: MetricsSettings,
        resource: Resource,
    ) -> Result<Self, Error> {
        let (commands, received) = commands();
        let (started, has_started) = sync_channel(1);
        let body = move || {
            let _suppressed = Context::enter_telemetry_suppressed_scope();
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let runtime = match runtime {
                Ok(runtime) => runtime,
                Err(error) => return drop(started.send(Err(Error::ExportThread(error)))),
            };
            let _inside = runtime.enter();
            let exporter = match MetricsExporter::new(&settings) {
                Ok(exporter) => exporter,
                Err(error) => return drop(started.send(Err(error))),
            };
            drop(started.send(Ok(())));
            let worker = Worker {
                totals: Totals::new(settings.is_delta),
                metrics,
                settings,
                exporter,
                resource,
                has_failed: false,
            };
            runtime.block_on(worker.run(received));
        };
        let thread = thread::Builder::new().name("spanloom-metrics".to_owned());
        thread.spawn(body).map_err(Error::ExportThread)?;
        has_started
            .recv()
            .unwrap_or_else(|gone| Err(Error::ExportThread(io::Error::other(gone))))?;
        Ok(Self { commands })
    }

    /// Exports what was counted until now.
    pub(crate) fn flush(&self, wait: Duration) -> OTelSdkResult {
        self.commands.ask(false, wait)
    }

    /// Exports for the last time, or gives up after `wait`.
    pub(crate) fn shutdown(&self, wait: Duration) -> OTelSdkResult {
        self.commands.ask(true, wait)
    }
}

impl fmt::Debug for MetricsThread {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("MetricsThread").finish_non_exhaustive()
    }
}

/// The thread's side.
struct Worker {
    metrics: Arc<Metrics>,
    totals: Totals,
    settings: MetricsSettings,
    exporter: MetricsExporter,
    resource: Resource,
    has_failed: bool,
}

impl Worker {
    async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        loop {
            let command = tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => Some(command),
                    None => return,
                },
                () = sleep(self.settings.interval) => None,
            };
            let result = self.export().await;
            let Some(command) = command else { continue };
            drop(command.reply.send(result));
            if command.is_last {
                return;
            }
        }
    }

    async fn export(&mut self) -> OTelSdkResult {
        self.metrics.drain(&mut self.totals);
        let now = time::now();
        let Some(metrics) = self.totals.metrics(now) else {
            return Ok(());
        };
        let limit = self.settings.timeout;
        let result = match timeout(limit, self.exporter.export(&self.resource, metrics)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(message)) => Err(OTelSdkError::InternalFailure(message)),
            Err(_) => Err(OTelSdkError::Timeout(limit)),
        };
        // One line when it starts to fail and one when it works again, not one an export.
        match &result {
            Ok(()) => {
                self.totals.delivered(now);
                if self.has_failed {
                    tracing::info!(target: "spanloom", "the export of metrics works again");
                }
            }
            Err(error) if !self.has_failed => tracing::warn!(
                target: "spanloom", %error, "the export of metrics fails; they are kept"
            ),
            Err(_) => {}
        }
        self.has_failed = result.is_err();
        result
    }
}

fn write(out: &mut impl Write, metrics: &ScopeMetrics) -> io::Result<()> {
    for metric in &metrics.metrics {
        // What counts messages is the count of the line before it.
        let Some(Data::Histogram(histogram)) = &metric.data else {
            continue;
        };
        for point in &histogram.data_points {
            write!(out, "metric {} count={}", metric.name, point.count)?;
            let sum_s = point.sum.unwrap_or_default();
            write!(out, " mean={:.6}s", sum_s / point.count.max(1) as f64)?;
            for attribute in &point.attributes {
                let value = attribute
                    .value
                    .as_ref()
                    .and_then(|value| value.value.as_ref());
                write!(
                    out,
                    " {}={}",
                    attribute.key,
                    value.map(plain).unwrap_or_default()
                )?;
            }
            writeln!(out)?;
        }
    }
    out.flush()
}

/// The values that [`Series`](super::series::Series) has.
fn plain(value: &opentelemetry_proto::tonic::common::v1::any_value::Value) -> String {
    use opentelemetry_proto::tonic::common::v1::any_value::Value;
    match value {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        Value::BoolValue(flag) => flag.to_string(),
        other => format!("{other:?}"),
    }
}
