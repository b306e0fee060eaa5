//! The one place that reads the environment: `OTEL_*` variables, parsed once.
//!
//! The rules are those of the [specification]: an empty variable is an unset one, names of choices
//! are matched without regard to case, and a value that makes no sense is reported and then
//! treated as unset. Nothing here fails, because whoever deploys a program must not be able to
//! break it with a variable for tracing.
//!
//! [specification]: https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/

use std::time::Duration;

use opentelemetry_sdk::trace::SpanLimits;

mod endpoint;
mod keyvalue;

pub(crate) use endpoint::{Endpoint, Protocol};

/// Looks a variable up; the process environment, unless a test brings its own.
pub(crate) type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Everything that the environment says.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) disabled: bool,
    /// `tracing` directives: which log lines appear.
    pub(crate) log_filter: String,
    pub(crate) service_name: Option<String>,
    pub(crate) resource_attributes: Vec<(String, String)>,
    pub(crate) propagators: Vec<PropagatorName>,
    pub(crate) sampler: SamplerSetting,
    pub(crate) destination: Destination,
    pub(crate) endpoint: Endpoint,
    pub(crate) batch: BatchSettings,
    pub(crate) limits: SpanLimits,
    /// What was wrong, in words, to be logged once a subscriber exists.
    pub(crate) warnings: Vec<String>,
}

/// A name in `OTEL_PROPAGATORS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PropagatorName {
    TraceContext,
    Baggage,
}

/// `OTEL_TRACES_SAMPLER` with its argument: what decides for a root, and whether a parent decides
/// for its children.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct SamplerSetting {
    pub(crate) root: RootSampler,
    pub(crate) parent_based: bool,
}

/// What decides about a trace that begins here.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum RootSampler {
    On,
    Off,
    Ratio(f64),
}

/// `OTEL_TRACES_EXPORTER`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    Otlp,
    Nowhere,
}

/// `OTEL_BSP_*`: how spans are collected into batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchSettings {
    pub(crate) schedule_delay: Duration,
    pub(crate) export_timeout: Duration,
    pub(crate) queue_spans_max: usize,
    pub(crate) batch_spans_max: usize,
}

impl Default for BatchSettings {
    fn default() -> Self {
        Self {
            schedule_delay: Duration::from_millis(5_000),
            export_timeout: Duration::from_millis(30_000),
            queue_spans_max: 2_048,
            batch_spans_max: 512,
        }
    }
}

impl Settings {
    /// Reads every variable once.
    pub(crate) fn read(lookup: Lookup<'_>) -> Self {
        let mut reader = Reader {
            lookup,
            warnings: Vec::new(),
        };
        let (service_name, resource_attributes) = reader.resource();
        Self {
            disabled: reader.flag("OTEL_SDK_DISABLED"),
            log_filter: reader.log_filter(),
            service_name,
            resource_attributes,
            propagators: reader.propagators(),
            sampler: reader.sampler(),
            destination: reader.destination(),
            endpoint: Endpoint::read(&mut reader),
            batch: reader.batch(),
            limits: reader.limits(),
            warnings: reader.warnings,
        }
    }
}

/// The process environment, for [`Settings::read`].
#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that reads the environment"
)]
pub(crate) fn process_environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Reads typed values and collects complaints.
struct Reader<'a> {
    lookup: Lookup<'a>,
    warnings: Vec<String>,
}

impl Reader<'_> {
    /// The trimmed value, or nothing when it is unset or empty.
    fn text(&self, name: &str) -> Option<String> {
        let value = (self.lookup)(name)?;
        let trimmed = value.trim();
        (!trimmed.is_empty()).then(|| trimmed.to_owned())
    }

    fn warn(&mut self, message: String) {
        self.warnings.push(message);
    }

    /// `RUST_LOG` as it is, else `info`; the SDK's own lines as `OTEL_LOG_LEVEL` says.
    fn log_filter(&mut self) -> String {
        if let Some(directives) = self.text("RUST_LOG") {
            return directives;
        }
        let name = "OTEL_LOG_LEVEL";
        let given = self.text(name).map(|value| value.to_ascii_lowercase());
        let level = match given.as_deref() {
            None => return "info,opentelemetry=warn".to_owned(),
            Some("none" | "off") => "off",
            Some("fatal" | "error") => "error",
            Some("warn" | "warning") => "warn",
            Some("info") => "info",
            Some("verbose" | "debug") => "debug",
            Some("all" | "trace") => "trace",
            Some(unknown) => {
                self.warn(format!("{name}={unknown:?} is not known: info is used"));
                "info"
            }
        };
        format!("info,opentelemetry={level},spanloom={level}")
    }

    /// A boolean: only `true` is true, and anything but `false` beside it is reported.
    fn flag(&mut self, name: &str) -> bool {
        let Some(value) = self.text(name) else {
            return false;
        };
        let is_true = value.eq_ignore_ascii_case("true");
        if !is_true && !value.eq_ignore_ascii_case("false") {
            self.warn(format!(
                "{name}={value:?} is neither true nor false: taken as false"
            ));
        }
        is_true
    }

    /// A number; what is not one is reported and left out.
    fn number<T: std::str::FromStr>(&mut self, name: &str) -> Option<T> {
        let value = self.text(name)?;
        let number = value.parse().ok();
        if number.is_none() {
            self.warn(format!(
                "{name}={value:?} is not a number in range: ignored"
            ));
        }
        number
    }

    fn milliseconds(&mut self, name: &str, default: Duration) -> Duration {
        self.number(name).map_or(default, Duration::from_millis)
    }

    /// `OTEL_SERVICE_NAME` is stronger than a `service.name` among `OTEL_RESOURCE_ATTRIBUTES`.
    fn resource(&mut self) -> (Option<String>, Vec<(String, String)>) {
        let name = "OTEL_RESOURCE_ATTRIBUTES";
        let mut attributes = match self.text(name).map(|list| keyvalue::parse(&list)) {
            None => Vec::new(),
            Some(Ok(attributes)) => attributes,
            Some(Err(problem)) => {
                self.warn(format!("{name} is ignored as a whole: {problem}"));
                Vec::new()
            }
        };
        attributes.retain(|(key, value)| {
            let resolved = !(value.starts_with("$(") && value.ends_with(')'));
            if !resolved {
                self.warnings.push(format!(
                    "{name}: {key}={value} was never resolved: left out"
                ));
            }
            resolved
        });
        let in_list = attributes.iter().position(|(key, _)| key == "service.name");
        let in_list = in_list.map(|position| attributes.remove(position).1);
        (self.text("OTEL_SERVICE_NAME").or(in_list), attributes)
    }

    fn propagators(&mut self) -> Vec<PropagatorName> {
        let name = "OTEL_PROPAGATORS";
        let Some(list) = self.text(name) else {
            return vec![PropagatorName::TraceContext, PropagatorName::Baggage];
        };
        let mut propagators = Vec::new();
        for item in list
            .split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty())
        {
            let propagator = match item.to_ascii_lowercase().as_str() {
                "none" => return Vec::new(),
                "tracecontext" => PropagatorName::TraceContext,
                "baggage" => PropagatorName::Baggage,
                _ => {
                    self.warn(format!("{name}: {item:?} is not known: left out"));
                    continue;
                }
            };
            if !propagators.contains(&propagator) {
                propagators.push(propagator);
            }
        }
        propagators
    }

    fn sampler(&mut self) -> SamplerSetting {
        let name = "OTEL_TRACES_SAMPLER";
        let value = self
            .text(name)
            .unwrap_or_else(|| "parentbased_always_on".to_owned());
        let lower = value.to_ascii_lowercase();
        let (parent_based, root) = match lower.strip_prefix("parentbased_") {
            Some(root) => (true, root),
            None => (false, lower.as_str()),
        };
        let root = match root {
            "always_on" => RootSampler::On,
            "always_off" => RootSampler::Off,
            "traceidratio" => RootSampler::Ratio(self.ratio()),
            _ => {
                self.warn(format!(
                    "{name}={value:?} is not known: parentbased_always_on is used"
                ));
                return SamplerSetting {
                    root: RootSampler::On,
                    parent_based: true,
                };
            }
        };
        SamplerSetting { root, parent_based }
    }

    /// The share of traces to keep, 1.0 when it is missing or not a share.
    fn ratio(&mut self) -> f64 {
        let name = "OTEL_TRACES_SAMPLER_ARG";
        let ratio = self.number::<f64>(name).unwrap_or(1.0);
        if (0.0..=1.0).contains(&ratio) {
            return ratio;
        }
        self.warn(format!(
            "{name}={ratio} is not between 0 and 1: every trace is sampled"
        ));
        1.0
    }

    fn destination(&mut self) -> Destination {
        let name = "OTEL_TRACES_EXPORTER";
        let Some(value) = self.text(name) else {
            return Destination::Otlp;
        };
        match value.to_ascii_lowercase().as_str() {
            "otlp" => Destination::Otlp,
            "none" => Destination::Nowhere,
            _ => {
                self.warn(format!("{name}={value:?} is not known: otlp is used"));
                Destination::Otlp
            }
        }
    }

    fn batch(&mut self) -> BatchSettings {
        let default = BatchSettings::default();
        let size = |number: Option<usize>, default| number.filter(|n| *n > 0).unwrap_or(default);
        let queue = size(
            self.number("OTEL_BSP_MAX_QUEUE_SIZE"),
            default.queue_spans_max,
        );
        let batch = size(
            self.number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE"),
            default.batch_spans_max,
        );
        BatchSettings {
            schedule_delay: self.milliseconds("OTEL_BSP_SCHEDULE_DELAY", default.schedule_delay),
            export_timeout: self.milliseconds("OTEL_BSP_EXPORT_TIMEOUT", default.export_timeout),
            queue_spans_max: queue,
            batch_spans_max: batch.min(queue),
        }
    }

    /// Counts a span may reach; the general attribute limit stands in for the span's own.
    fn limits(&mut self) -> SpanLimits {
        let mut limits = SpanLimits::default();
        let mut limit = |name, target: &mut u32| {
            if let Some(number) = self.number(name) {
                *target = number;
            }
        };
        limit(
            "OTEL_ATTRIBUTE_COUNT_LIMIT",
            &mut limits.max_attributes_per_span,
        );
        limit(
            "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
            &mut limits.max_attributes_per_span,
        );
        limit(
            "OTEL_SPAN_EVENT_COUNT_LIMIT",
            &mut limits.max_events_per_span,
        );
        limit("OTEL_SPAN_LINK_COUNT_LIMIT", &mut limits.max_links_per_span);
        limit(
            "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT",
            &mut limits.max_attributes_per_event,
        );
        limit(
            "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT",
            &mut limits.max_attributes_per_link,
        );
        limits
    }
}

#[cfg(test)]
mod tests;
