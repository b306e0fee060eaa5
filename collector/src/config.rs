//! The configuration: OpenTelemetry Collector YAML for the components that exist here, and Jaeger's
//! `jaeger_storage` and `jaeger_query` extensions.
//!
//! Reading finds every fault at once and builds the graph as far as it can be built without opening
//! anything: what [`Config::parse`] returns refers to nothing that is not there.

mod components;
mod graph;
mod section;
mod yaml;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderMap, Uri};

pub use section::Problem;
use section::Problems;

use crate::exporters::debug::Verbosity;
use crate::exporters::retry::RetryPolicy;

/// A receiver's limit where the configuration names none: what the OTLP specification recommends.
pub const REQUEST_BYTES_MAX: usize = 64 << 20;

/// How long the embedded store keeps spans where the configuration does not say.
pub const RETENTION: Duration = Duration::from_secs(72 * 60 * 60);

/// How large the embedded store grows where the configuration does not say.
pub const STORE_BYTES_MAX: u64 = 10 << 30;

/// A whole collector.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The receivers that a pipeline uses.
    pub receivers: Vec<OtlpReceiver>,
    /// The exporters that a pipeline uses.
    pub exporters: Vec<Exporter>,
    /// The stores of the `jaeger_storage` extension.
    pub stores: Vec<Store>,
    /// The query API and the pages.
    pub query: Option<Query>,
    /// The health endpoint's address.
    pub health_endpoint: Option<String>,
    /// From receivers to exporters, by their ids.
    pub pipelines: Vec<Pipeline>,
    /// What is logged, and how.
    pub logs: Logs,
}

/// A receiver `otlp`.
#[derive(Clone, Debug, PartialEq)]
pub struct OtlpReceiver {
    /// `otlp` or `otlp/name`.
    pub id: String,
    /// OTLP over gRPC.
    pub grpc: Option<GrpcServer>,
    /// OTLP over HTTP.
    pub http: Option<HttpServer>,
}

/// The gRPC half of a receiver.
#[derive(Clone, Debug, PartialEq)]
pub struct GrpcServer {
    /// `host:port`.
    pub endpoint: String,
    /// The largest message, as sent and inflated.
    pub message_bytes_max: usize,
}

/// The HTTP half of a receiver.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpServer {
    /// `host:port`.
    pub endpoint: String,
    /// The largest body, as sent and inflated.
    pub body_bytes_max: usize,
    /// Where spans go.
    pub traces_path: String,
}

/// An exporter.
#[derive(Clone, Debug, PartialEq)]
pub struct Exporter {
    /// `type` or `type/name`.
    pub id: String,
    /// What it is.
    pub kind: ExporterKind,
}

/// The exporters that exist.
#[derive(Clone, Debug, PartialEq)]
pub enum ExporterKind {
    /// OTLP over gRPC.
    OtlpGrpc {
        /// `host:port`.
        authority: String,
        /// How it is sent.
        sending: Sending,
    },
    /// OTLP over HTTP.
    OtlpHttp {
        /// Where spans go.
        uri: Uri,
        /// How it is sent.
        sending: Sending,
    },
    /// The log.
    Debug(Verbosity),
    /// A backend of `jaeger_storage`.
    Store {
        /// Its name.
        backend: String,
    },
}

/// What the exporters over the network share.
#[derive(Clone, Debug, PartialEq)]
pub struct Sending {
    /// Sent with each request.
    pub headers: HeaderMap,
    /// For each attempt.
    pub timeout: Duration,
    /// For all of them.
    pub retry: RetryPolicy,
}

/// A backend of `jaeger_storage`.
#[derive(Clone, Debug, PartialEq)]
pub struct Store {
    /// The backend's name.
    pub name: String,
    /// What it is.
    pub kind: StoreKind,
}

/// The stores that exist.
#[derive(Clone, Debug, PartialEq)]
pub enum StoreKind {
    /// The embedded store, in this directory.
    Embedded {
        /// Created when missing.
        directory: PathBuf,
        /// How long spans are kept.
        retention: Duration,
        /// How large it may grow; the oldest spans go first.
        bytes_max: u64,
    },
    /// In memory, for tests and trials.
    Memory {
        /// The oldest go when there are more.
        n_traces_max: usize,
    },
}

/// The extension `jaeger_query`.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// `host:port`.
    pub endpoint: String,
    /// The store that it reads.
    pub store: String,
}

/// From receivers to exporters.
#[derive(Clone, Debug, PartialEq)]
pub struct Pipeline {
    /// `traces` or `traces/name`.
    pub id: String,
    /// Ids of receivers.
    pub receivers: Vec<String>,
    /// Ids of exporters.
    pub exporters: Vec<String>,
}

/// What is logged, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Logs {
    /// From this level on.
    pub level: LogLevel,
    /// As JSON rather than for people.
    pub is_json: bool,
}

/// From which level on messages are logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogLevel {
    /// Everything, every refused request included.
    Debug,
    /// What happens now and then.
    #[default]
    Info,
    /// What someone should look at.
    Warn,
    /// What does not work.
    Error,
}

impl LogLevel {
    /// The names in configurations.
    pub const NAMES: &[(&str, LogLevel)] = &[
        ("debug", LogLevel::Debug),
        ("info", LogLevel::Info),
        ("warn", LogLevel::Warn),
        ("error", LogLevel::Error),
    ];
}

/// Why a configuration is not one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigError {
    /// It is not YAML, or refers to an environment variable that is not set.
    Yaml(String),
    /// These keys are wrong.
    Problems(Vec<Problem>),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::Yaml(message) => f.write_str(message),
            ConfigError::Problems(problems) => {
                for (i, problem) in problems.iter().enumerate() {
                    let separator = if i == 0 { "" } else { "\n" };
                    write!(f, "{separator}{problem}")?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// Reads a configuration; `env` looks up environment variables.
    ///
    /// # Errors
    /// Every fault that was found.
    pub fn parse(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Config, ConfigError> {
        let root = yaml::parse(text, env).map_err(ConfigError::Yaml)?;
        graph::read(&Problems::default(), root).map_err(ConfigError::Problems)
    }
}

#[cfg(test)]
mod tests;
