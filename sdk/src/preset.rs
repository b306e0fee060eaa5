//! What a preset sets: defaults of variables, and what no variable says.

use std::io::{IsTerminal, stdout};
use std::time::Duration;

use crate::log::LogFormat;

/// Answers that stand between the environment, which is stronger, and the table of variables.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Preset {
    /// Variables with another default than the table's.
    pub(crate) defaults: &'static [(&'static str, &'static str)],
    /// Whether spans go to standard output while nobody names an endpoint.
    pub(crate) is_console_without_endpoint: bool,
    /// `None` means text on a terminal and JSON elsewhere.
    pub(crate) log_format: Option<LogFormat>,
    pub(crate) flush_timeout: Duration,
}

impl Preset {
    /// What `init` does: the defaults of the specification.
    pub(crate) const BARE: Self = Self {
        defaults: &[],
        is_console_without_endpoint: false,
        log_format: None,
        flush_timeout: Duration::from_secs(5),
    };

    /// A person in front of a terminal, who wants to see the request that was just made.
    pub(crate) const DEVELOPMENT: Self = Self {
        defaults: &[
            ("OTEL_TRACES_SAMPLER", "always_on"),
            ("OTEL_BSP_SCHEDULE_DELAY", "200"),
        ],
        is_console_without_endpoint: true,
        log_format: Some(LogFormat::Text),
        // Whoever stops a program by hand does not wait for a collector that is not there.
        flush_timeout: Duration::from_secs(1),
    };

    /// A container that is killed, throttled and rolled, below a sidecar that decides.
    pub(crate) const PRODUCTION: Self = Self {
        defaults: &[
            ("OTEL_TRACES_SAMPLER", "parentbased_always_on"),
            // A container that is killed loses a second of spans, not five.
            ("OTEL_BSP_SCHEDULE_DELAY", "1000"),
            // Lucene refuses a whole document for one term over 32,766 bytes, and a character may
            // take four of them.
            ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "8000"),
        ],
        is_console_without_endpoint: false,
        log_format: Some(LogFormat::Json),
        // Well inside the 30 seconds between SIGTERM and SIGKILL.
        flush_timeout: Duration::from_secs(5),
    };

    /// A test: nothing but spans.
    #[cfg(feature = "testing")]
    pub(crate) const TESTS: Self = Self {
        defaults: &[("OTEL_TRACES_SAMPLER", "always_on")],
        is_console_without_endpoint: false,
        log_format: Some(LogFormat::Off),
        flush_timeout: Duration::from_secs(5),
    };

    /// The default of a variable, if this preset has one.
    pub(crate) fn default_of(&self, name: &str) -> Option<&'static str> {
        let found = self.defaults.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| *value)
    }

    /// The format, for people on a terminal and for machines elsewhere unless it is said.
    pub(crate) fn log_format(&self) -> LogFormat {
        self.log_format.unwrap_or(if stdout().is_terminal() {
            LogFormat::Text
        } else {
            LogFormat::Json
        })
    }
}

#[cfg(test)]
mod page;
