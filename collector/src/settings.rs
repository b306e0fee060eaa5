//! The keys of the command line and the environment: one table, from which the parser, `--help` and
//! the reference page come.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Arg, ArgMatches, Command, value_parser};

use crate::config::{
    Config, Exporter, ExporterKind, GrpcServer, HttpServer, LogLevel, Logs, OtlpReceiver, Pipeline,
    Query, REQUEST_BYTES_MAX, RETENTION, STORE_BYTES_MAX, Store, StoreKind,
};

/// One key.
pub struct Key {
    /// The flag, without its dashes.
    pub flag: &'static str,
    /// The environment variable.
    pub env: &'static str,
    /// The value's name in the help.
    pub value: &'static str,
    /// The default; empty for none.
    pub default: &'static str,
    /// What it does.
    pub doc: &'static str,
    /// Whether it shapes the collector that runs without `--config`, and makes no sense with it.
    pub is_built_in_only: bool,
}

/// Every key.
pub const KEYS: &[Key] = &[
    Key {
        flag: "config",
        env: "SPANLOOM_CONFIG",
        value: "FILE",
        default: "",
        doc: "OpenTelemetry Collector YAML; without it, a whole tracing backend runs",
        is_built_in_only: false,
    },
    Key {
        flag: "data-dir",
        env: "SPANLOOM_DATA_DIR",
        value: "DIR",
        default: "spanloom-data",
        doc: "Where the embedded store keeps its files",
        is_built_in_only: true,
    },
    Key {
        flag: "listen-host",
        env: "SPANLOOM_LISTEN_HOST",
        value: "HOST",
        default: "127.0.0.1",
        doc: "The address that every port listens on; 0.0.0.0 for all",
        is_built_in_only: true,
    },
    Key {
        flag: "otlp-grpc-port",
        env: "SPANLOOM_OTLP_GRPC_PORT",
        value: "PORT",
        default: "4317",
        doc: "OTLP over gRPC; 0 takes any free port, here and below",
        is_built_in_only: true,
    },
    Key {
        flag: "otlp-http-port",
        env: "SPANLOOM_OTLP_HTTP_PORT",
        value: "PORT",
        default: "4318",
        doc: "OTLP over HTTP",
        is_built_in_only: true,
    },
    Key {
        flag: "query-port",
        env: "SPANLOOM_QUERY_PORT",
        value: "PORT",
        default: "16686",
        doc: "Jaeger's query API and the pages",
        is_built_in_only: true,
    },
    Key {
        flag: "health-port",
        env: "SPANLOOM_HEALTH_PORT",
        value: "PORT",
        default: "13133",
        doc: "Health, at / and /status",
        is_built_in_only: true,
    },
    Key {
        flag: "addresses-file",
        env: "SPANLOOM_ADDRESSES_FILE",
        value: "FILE",
        default: "",
        doc: "Written once everything listens: a JSON object of what listens where",
        is_built_in_only: false,
    },
    Key {
        flag: "request-memory-mib",
        env: "SPANLOOM_REQUEST_MEMORY_MIB",
        value: "N",
        default: "256",
        doc: "Memory for requests being read or exported; beyond it, senders are told to wait",
        is_built_in_only: false,
    },
    Key {
        flag: "stop-timeout-s",
        env: "SPANLOOM_STOP_TIMEOUT_S",
        value: "SECONDS",
        default: "20",
        doc: "How long a stop may take to finish what was accepted; a second signal stops at once",
        is_built_in_only: false,
    },
    Key {
        flag: "log-level",
        env: "SPANLOOM_LOG_LEVEL",
        value: "LEVEL",
        default: "",
        doc: "debug, info, warn or error; wins over the configuration file",
        is_built_in_only: false,
    },
];

/// What the command line and the environment say.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The configuration file.
    pub config: Option<PathBuf>,
    /// The store's directory.
    pub data_dir: PathBuf,
    /// The host of every listener.
    pub listen_host: String,
    /// Ports, 0 for any.
    pub otlp_grpc_port: u16,
    /// See `otlp_grpc_port`.
    pub otlp_http_port: u16,
    /// See `otlp_grpc_port`.
    pub query_port: u16,
    /// See `otlp_grpc_port`.
    pub health_port: u16,
    /// Where to write what listens where.
    pub addresses_file: Option<PathBuf>,
    /// The byte budget.
    pub request_bytes_max: usize,
    /// The bound on a graceful stop.
    pub stop_timeout: Duration,
    /// Wins over the configuration's level.
    pub log_level: Option<LogLevel>,
}

/// What the binary was asked to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// Run.
    Run(Settings),
    /// Check a configuration and say what it is.
    Validate {
        /// The file.
        config: PathBuf,
    },
}

impl Request {
    /// Reads the command line, and the environment for what it leaves open.
    ///
    /// # Errors
    /// The parser's, which also prints help and version.
    pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let matches = command().try_get_matches_from(args)?;
        if let Some(("validate", matches)) = matches.subcommand() {
            let config = matches.get_one::<PathBuf>("config").cloned();
            return Ok(Request::Validate {
                config: config.expect("clap requires it"),
            });
        }
        let settings = Settings::from_matches(&matches);
        if settings.config.is_some()
            && let Some(key) = KEYS.iter().find(|key| {
                key.is_built_in_only
                    && matches.value_source(key.flag)
                        != Some(clap::parser::ValueSource::DefaultValue)
            })
        {
            let message = format!(
                "--{} ({}) shapes the collector that runs without --config; with it, the file says \
                 that",
                key.flag, key.env
            );
            return Err(command().error(clap::error::ErrorKind::ArgumentConflict, message));
        }
        Ok(Request::Run(settings))
    }
}

/// The parser, made of the table.
pub fn command() -> Command {
    let validate = Command::new("validate")
        .about("Check a configuration file and build its graph, without opening ports or stores")
        .arg(arg(&KEYS[0]).required(true));
    Command::new("spanloom")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Spanloom: a tracing backend in one process, or a collector in front of one")
        .after_help("Every flag has an environment variable; the flag wins. Full reference: collector/CONFIGURATION.md")
        .subcommand(validate)
        .args(KEYS.iter().map(arg))
}

fn arg(key: &Key) -> Arg {
    let arg = Arg::new(key.flag)
        .long(key.flag)
        .env(key.env)
        .value_name(key.value)
        .help(key.doc);
    let arg = if key.default.is_empty() {
        arg
    } else {
        arg.default_value(key.default)
    };
    match key.flag {
        "config" | "data-dir" | "addresses-file" => arg.value_parser(value_parser!(PathBuf)),
        "request-memory-mib" => arg.value_parser(value_parser!(u32).range(1..=4095)),
        "stop-timeout-s" => arg.value_parser(value_parser!(u32)),
        "log-level" => arg.value_parser(
            LogLevel::NAMES
                .iter()
                .map(|(name, _)| *name)
                .collect::<Vec<_>>(),
        ),
        flag if flag.ends_with("-port") => arg.value_parser(value_parser!(u16)),
        _ => arg,
    }
}

impl Settings {
    fn from_matches(matches: &ArgMatches) -> Self {
        const HAS_DEFAULT: &str = "the table has a default";
        let port = |flag: &str| *matches.get_one::<u16>(flag).expect(HAS_DEFAULT);
        let path = |flag: &str| matches.get_one::<PathBuf>(flag).cloned();
        let number = |flag: &str| *matches.get_one::<u32>(flag).expect(HAS_DEFAULT);
        let level = matches.get_one::<String>("log-level");
        Self {
            config: path("config"),
            data_dir: path("data-dir").expect(HAS_DEFAULT),
            listen_host: matches
                .get_one::<String>("listen-host")
                .expect(HAS_DEFAULT)
                .clone(),
            otlp_grpc_port: port("otlp-grpc-port"),
            otlp_http_port: port("otlp-http-port"),
            query_port: port("query-port"),
            health_port: port("health-port"),
            addresses_file: path("addresses-file"),
            request_bytes_max: (number("request-memory-mib") as usize) << 20,
            stop_timeout: Duration::from_secs(u64::from(number("stop-timeout-s"))),
            log_level: level.and_then(|level| {
                LogLevel::NAMES
                    .iter()
                    .find(|(name, _)| name == level)
                    .map(|(_, level)| *level)
            }),
        }
    }

    /// The collector that runs without a configuration file: everything on one machine.
    pub fn built_in_config(&self) -> Config {
        let endpoint = |port: u16| match self.listen_host.parse::<std::net::Ipv6Addr>() {
            Ok(host) => format!("[{host}]:{port}"),
            Err(_) => format!("{}:{port}", self.listen_host),
        };
        let store = "main".to_owned();
        Config {
            receivers: vec![OtlpReceiver {
                id: "otlp".to_owned(),
                grpc: Some(GrpcServer {
                    endpoint: endpoint(self.otlp_grpc_port),
                    message_bytes_max: REQUEST_BYTES_MAX,
                }),
                http: Some(HttpServer {
                    endpoint: endpoint(self.otlp_http_port),
                    body_bytes_max: REQUEST_BYTES_MAX,
                    traces_path: "/v1/traces".to_owned(),
                }),
            }],
            exporters: vec![Exporter {
                id: "jaeger_storage_exporter".to_owned(),
                kind: ExporterKind::Store {
                    backend: store.clone(),
                },
            }],
            stores: vec![Store {
                name: store.clone(),
                kind: StoreKind::Embedded {
                    directory: self.data_dir.clone(),
                    retention: RETENTION,
                    bytes_max: STORE_BYTES_MAX,
                },
            }],
            query: Some(Query {
                endpoint: endpoint(self.query_port),
                store,
            }),
            health_endpoint: Some(endpoint(self.health_port)),
            pipelines: vec![Pipeline {
                id: "traces".to_owned(),
                receivers: vec!["otlp".to_owned()],
                exporters: vec!["jaeger_storage_exporter".to_owned()],
            }],
            logs: Logs::default(),
        }
    }
}
