//! The one place that reads the environment: `OTEL_*` variables, parsed once.
//!
//! The rules are those of the [specification]: an empty variable is an unset one, names of choices
//! are matched without regard to case, and a value that makes no sense is reported and then
//! treated as unset. Nothing here fails: a slip in a variable for tracing must not stop a service.
//!
//! [specification]: https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/

use std::cell::RefCell;
use std::fmt::Debug;
use std::str::FromStr;
use std::time::Duration;

use opentelemetry_sdk::trace::SpanLimits;
use spanloom_wire::context::Format;

use crate::preset::Preset;

mod endpoint;
mod keyvalue;
mod metrics;
mod sampler;
mod table;

pub(crate) use endpoint::{Endpoint, Protocol, TlsFiles};
pub(crate) use metrics::{ExemplarFilter, MetricsSettings};
pub(crate) use sampler::{RemoteSetting, RootSampler, SamplerSetting};

/// Everything that the environment says.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) disabled: bool,
    /// `tracing` directives: which log lines appear.
    pub(crate) log_filter: String,
    pub(crate) service_name: Option<String>,
    pub(crate) resource_attributes: Vec<(String, String)>,
    /// `OTEL_PROPAGATORS` but for baggage, which is no format of a span's context.
    pub(crate) formats: Vec<Format>,
    pub(crate) has_baggage: bool,
    pub(crate) sampler: SamplerSetting,
    /// Only for a sampler that asks a server.
    pub(crate) remote: Option<RemoteSetting>,
    /// Whether the environment names the sampler.
    pub(crate) is_sampler_given: bool,
    pub(crate) destination: Destination,
    pub(crate) endpoint: Endpoint,
    pub(crate) metrics: MetricsSettings,
    pub(crate) batch: BatchSettings,
    pub(crate) limits: SpanLimits,
    /// What was wrong, in words, to be logged once a subscriber exists.
    pub(crate) warnings: Vec<String>,
}

/// `OTEL_TRACES_EXPORTER`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    Otlp,
    Console,
    Nowhere,
}

/// How spans are collected into batches, and what is done to them on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchSettings {
    pub(crate) schedule_delay: Duration,
    pub(crate) export_timeout: Duration,
    pub(crate) queue_spans_max: usize,
    pub(crate) batch_spans_max: usize,
    /// Where the SDK's own limits end: the length of text values, in characters.
    pub(crate) value_chars_max: Option<usize>,
}

impl Settings {
    /// Reads every variable once; `lookup` is the process's environment or a test's.
    pub(crate) fn read(lookup: &dyn Fn(&str) -> Option<String>, preset: Preset) -> Self {
        let mut reader = Reader {
            lookup,
            preset,
            signal: Signal::Traces,
            warnings: RefCell::default(),
        };
        let (service_name, resource_attributes) = reader.resource();
        let (formats, has_baggage) = reader.propagators();
        let (sampler, is_sampler_given) = SamplerSetting::read(&mut reader);
        let remote = match sampler.root {
            RootSampler::Remote(_) => Some(reader.jaeger_remote()),
            RootSampler::Xray => Some(reader.xray()),
            _ => None,
        };
        reader.report_what_has_no_effect();
        Self {
            disabled: reader.flag("OTEL_SDK_DISABLED"),
            log_filter: reader.log_filter(),
            service_name,
            resource_attributes,
            formats,
            has_baggage,
            is_sampler_given,
            sampler,
            remote,
            destination: reader.destination(),
            endpoint: Endpoint::read(&mut reader, Signal::Traces),
            metrics: MetricsSettings::read(&mut reader),
            batch: reader.batch(),
            limits: reader.limits(),
            warnings: reader.warnings.into_inner(),
        }
    }
}

/// The variables that hold lists of pairs.
const LISTS: [&str; 2] = ["OTEL_RESOURCE_ATTRIBUTES", "OTEL_EXPORTER_OTLP_HEADERS"];

/// Whether there is a `$(NAME)` in it: Kubernetes leaves one in its place when there is no such
/// variable, as for an endpoint on a node whose address nobody gave.
fn is_unresolved(value: &str) -> bool {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    value.split("$(").skip(1).any(|rest| {
        let name = rest.split_once(')').map_or("", |(name, _)| name);
        !name.is_empty() && name.chars().all(is_of_name)
    })
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
    lookup: &'a dyn Fn(&str) -> Option<String>,
    preset: Preset,
    /// Whose own form of `OTEL_EXPORTER_OTLP_...` goes before the general one.
    signal: Signal,
    warnings: RefCell<Vec<String>>,
}

/// What is exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Signal {
    Traces,
    Metrics,
}

/// A value and the name of the variable that had it, for complaints.
struct Given {
    name: String,
    value: String,
}

impl Reader<'_> {
    /// What the environment says, else what the preset says.
    fn given(&self, name: &str) -> Option<Given> {
        self.by_environment(name).or_else(|| {
            let value = self.preset.default_of(name)?.to_owned();
            let name = name.to_owned();
            Some(Given { name, value })
        })
    }

    /// The trimmed value, or nothing when the variable is unset or empty, or was never finished: a
    /// list may be half finished. The form for the signal goes before the general one.
    fn by_environment(&self, name: &str) -> Option<Given> {
        let is_list = LISTS.contains(&name);
        let text = |name: String| {
            let value = (self.lookup)(&name)?.trim().to_owned();
            if !is_list && is_unresolved(&value) {
                self.warn(format!("{name}={value} was never resolved: left out"));
                return None;
            }
            (!value.is_empty()).then_some(Given { name, value })
        };
        let specific = table::find(name)
            .has_forms
            .then(|| table::for_signal(name, self.signal));
        specific.and_then(text).or_else(|| text(name.to_owned()))
    }

    fn warn(&self, message: String) {
        // Two signals may come across the same slip.
        let mut warnings = self.warnings.borrow_mut();
        if !warnings.contains(&message) {
            warnings.push(message);
        }
    }

    /// What counts when the environment says nothing, or nothing that makes sense.
    fn default_of(&self, name: &str) -> &'static str {
        let default = table::find(name).default;
        self.preset.default_of(name).unwrap_or(default)
    }

    /// One of the choices, by its name. What is none of them is reported, and the default counts.
    fn choice<T: Copy>(&mut self, name: &str, choices: &[(&str, T)]) -> Option<T> {
        let default = self.default_of(name);
        let find = |value: &str| {
            let found = choices
                .iter()
                .find(|(choice, _)| value.eq_ignore_ascii_case(choice));
            found.map(|(_, choice)| *choice)
        };
        if let Some(Given { name, value }) = self.given(name) {
            match find(&value) {
                Some(choice) => return Some(choice),
                None => {
                    let known: Vec<_> = choices.iter().map(|(choice, _)| *choice).collect();
                    let known = known.join(", ");
                    self.warn(format!(
                        "{name}={value:?} is ignored: it is none of {known}"
                    ));
                }
            }
        }
        find(default)
    }

    fn flag(&mut self, name: &str) -> bool {
        self.choice(name, &[("true", true), ("false", false)])
            .unwrap_or(false)
    }

    /// A number, or the default of the table if it has one. What is not a number is reported.
    fn number<T: FromStr>(&mut self, name: &str) -> Option<T> {
        if let Some(Given { name, value }) = self.given(name) {
            match value.parse() {
                Ok(number) => return Some(number),
                Err(_) => {
                    self.warn(format!(
                        "{name}={value:?} is ignored: it is not a number in range"
                    ));
                }
            }
        }
        self.default_of(name).parse().ok()
    }

    /// A number of a variable whose row has a default.
    fn number_or_default<T: FromStr<Err: Debug>>(&mut self, name: &str) -> T {
        self.number(name)
            .expect("a test reads every default of the table")
    }

    fn milliseconds(&mut self, name: &str) -> Duration {
        Duration::from_millis(self.number_or_default(name))
    }

    /// Whoever sets these waits for something that will not come.
    fn report_what_has_no_effect(&mut self) {
        for (name, why) in [
            ("OTEL_CONFIG_FILE", "declarative configuration is not read"),
            ("OTEL_LOGS_EXPORTER", "log lines are not exported"),
            (
                "OTEL_BSP_MAX_CONCURRENT_EXPORTS",
                "one export follows the other",
            ),
        ] {
            let default = table::find(name).default;
            if let Some(Given { value, .. }) = self.given(name)
                && !value.eq_ignore_ascii_case(default)
            {
                self.warn(format!("{name}={value:?} has no effect: {why}"));
            }
        }
    }

    /// A list of pairs. A broken one is reported and counts as empty; of one that was not finished
    /// the rest counts.
    fn pairs(&mut self, name: &str) -> Vec<(String, String)> {
        let Some(Given { name, value }) = self.given(name) else {
            return Vec::new();
        };
        let pairs = keyvalue::parse(&value).unwrap_or_else(|problem| {
            self.warn(format!("{name} is ignored as a whole: {problem}"));
            Vec::new()
        });
        let is_finished = |(key, value): &(String, String)| {
            let is_finished = !is_unresolved(value);
            if !is_finished {
                self.warn(format!("{name}: {key} was never resolved: left out"));
            }
            is_finished
        };
        pairs.into_iter().filter(is_finished).collect()
    }

    /// `RUST_LOG` as it is, else `info`; the SDK's own lines as `OTEL_LOG_LEVEL` says.
    fn log_filter(&mut self) -> String {
        let sdk = self.choice(
            "OTEL_LOG_LEVEL",
            &[
                ("none", "off"),
                ("fatal", "error"),
                ("error", "error"),
                ("warn", "warn"),
                ("info", "info"),
                ("debug", "debug"),
                ("verbose", "debug"),
                ("trace", "trace"),
                ("all", "trace"),
            ],
        );
        match (self.given("RUST_LOG"), sdk) {
            (Some(directives), _) => directives.value,
            (None, Some(level)) => format!("info,opentelemetry={level},spanloom={level}"),
            (None, None) => "info".to_owned(),
        }
    }

    /// `OTEL_SERVICE_NAME` is stronger than a `service.name` among `OTEL_RESOURCE_ATTRIBUTES`.
    fn resource(&mut self) -> (Option<String>, Vec<(String, String)>) {
        let name = "OTEL_RESOURCE_ATTRIBUTES";
        let mut attributes = self.pairs(name);
        let in_list = attributes.iter().position(|(key, _)| key == "service.name");
        let in_list = in_list.map(|position| attributes.remove(position).1);
        let named = self.given("OTEL_SERVICE_NAME").map(|given| given.value);
        (named.or(in_list), attributes)
    }

    fn propagators(&mut self) -> (Vec<Format>, bool) {
        let name = "OTEL_PROPAGATORS";
        let list = self.given(name).map(|given| given.value);
        let list = list.unwrap_or_else(|| table::find(name).default.to_owned());
        let (mut formats, mut has_baggage) = (Vec::new(), false);
        for item in list
            .split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty())
        {
            let item = item.to_ascii_lowercase();
            // The format of OpenCensus is binary, which headers of HTTP are not.
            let format = Format::from_name(&item).filter(|format| *format != Format::GrpcTraceBin);
            match (item.as_str(), format) {
                ("none", _) => return (Vec::new(), false),
                ("baggage", _) => has_baggage = true,
                (_, Some(format)) if formats.contains(&format) => {}
                (_, Some(format)) => formats.push(format),
                (_, None) => self.warn(format!("{name}: {item:?} is not known: left out")),
            }
        }
        (formats, has_baggage)
    }

    /// Where a signal goes when no variable says it.
    fn unasked(&self) -> Destination {
        let has_endpoint = self.by_environment("OTEL_EXPORTER_OTLP_ENDPOINT").is_some();
        match self.preset.is_console_without_endpoint && !has_endpoint {
            true => Destination::Console,
            false => Destination::Otlp,
        }
    }

    fn destination(&mut self) -> Destination {
        let choices = [
            ("otlp", Destination::Otlp),
            ("console", Destination::Console),
            ("none", Destination::Nowhere),
        ];
        let is_known = |given: Given| {
            let mut names = choices.iter().map(|(name, _)| name);
            names.any(|name| given.value.eq_ignore_ascii_case(name))
        };
        let is_asked = self.given("OTEL_TRACES_EXPORTER").is_some_and(is_known);
        match self.choice("OTEL_TRACES_EXPORTER", &choices) {
            Some(destination) if is_asked => destination,
            _ => self.unasked(),
        }
    }

    fn batch(&mut self) -> BatchSettings {
        let queue = self
            .number_or_default::<usize>("OTEL_BSP_MAX_QUEUE_SIZE")
            .max(1);
        let batch = self
            .number_or_default::<usize>("OTEL_BSP_MAX_EXPORT_BATCH_SIZE")
            .max(1);
        let general = self.number("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT");
        BatchSettings {
            schedule_delay: self.milliseconds("OTEL_BSP_SCHEDULE_DELAY"),
            export_timeout: self.milliseconds("OTEL_BSP_EXPORT_TIMEOUT"),
            queue_spans_max: queue,
            batch_spans_max: batch.min(queue),
            value_chars_max: self
                .number("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT")
                .or(general),
        }
    }

    fn limits(&mut self) -> SpanLimits {
        let general = self.number_or_default("OTEL_ATTRIBUTE_COUNT_LIMIT");
        SpanLimits {
            max_attributes_per_span: self
                .number("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT")
                .unwrap_or(general),
            max_events_per_span: self.number_or_default("OTEL_SPAN_EVENT_COUNT_LIMIT"),
            max_links_per_span: self.number_or_default("OTEL_SPAN_LINK_COUNT_LIMIT"),
            max_attributes_per_event: self.number_or_default("OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT"),
            max_attributes_per_link: self.number_or_default("OTEL_LINK_ATTRIBUTE_COUNT_LIMIT"),
        }
    }
}

#[cfg(test)]
mod page;
#[cfg(test)]
mod tests;
