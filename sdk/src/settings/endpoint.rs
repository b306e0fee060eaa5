//! Where spans go: `OTEL_EXPORTER_OTLP_*`.

use std::path::PathBuf;
use std::time::Duration;

use super::{Reader, Signal};

/// The OTLP protocol to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Grpc,
    HttpProtobuf,
    HttpJson,
}

/// An OTLP destination, ready to be handed to an exporter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// For HTTP with the path, for gRPC without.
    pub(crate) url: String,
    pub(crate) protocol: Protocol,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) timeout: Duration,
    pub(crate) is_gzipped: bool,
    pub(crate) tls: TlsFiles,
}

/// PEM files, as they are named; they are read when the exporter is built.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TlsFiles {
    pub(crate) authorities: Option<PathBuf>,
    pub(crate) certificate: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
}

impl Endpoint {
    pub(super) fn read(reader: &mut Reader<'_>, signal: Signal) -> Self {
        reader.signal = signal;
        let endpoint = Self::of_signal(reader);
        reader.signal = Signal::Traces;
        endpoint
    }

    fn of_signal(reader: &mut Reader<'_>) -> Self {
        let path = match reader.signal {
            Signal::Traces => "/v1/traces",
            Signal::Metrics => "/v1/metrics",
        };
        let given = reader.given("OTEL_EXPORTER_OTLP_ENDPOINT");
        let protocol = protocol(reader, given.as_ref().map(|given| given.value.as_str()));
        let is_insecure = reader.flag("OTEL_EXPORTER_OTLP_INSECURE");
        let url = match given {
            Some(given) => {
                let url = with_scheme(given.value, is_insecure);
                let is_general = given.name == "OTEL_EXPORTER_OTLP_ENDPOINT";
                match protocol {
                    Protocol::Grpc => url,
                    _ if is_general => format!("{}{path}", url.trim_end_matches('/')),
                    _ => url,
                }
            }
            None if protocol == Protocol::Grpc => "http://localhost:4317".to_owned(),
            None => format!("http://localhost:4318{path}"),
        };
        let path = |name| reader.given(name).map(|given| PathBuf::from(given.value));
        let tls = TlsFiles {
            authorities: path("OTEL_EXPORTER_OTLP_CERTIFICATE"),
            certificate: path("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE"),
            key: path("OTEL_EXPORTER_OTLP_CLIENT_KEY"),
        };
        let compressions = [("none", false), ("gzip", true)];
        Self {
            url,
            protocol,
            headers: reader.pairs("OTEL_EXPORTER_OTLP_HEADERS"),
            timeout: reader.milliseconds("OTEL_EXPORTER_OTLP_TIMEOUT"),
            is_gzipped: reader
                .choice("OTEL_EXPORTER_OTLP_COMPRESSION", &compressions)
                .unwrap_or(false),
            tls,
        }
    }
}

/// The protocol as named, else by the endpoint's port, else the specification's default.
///
/// The port matters because the Kubernetes operator injects an endpoint, mostly with 4317, and no
/// protocol: speaking HTTP to that port loses every span.
fn protocol(reader: &mut Reader<'_>, endpoint: Option<&str>) -> Protocol {
    let choices = [
        ("grpc", Protocol::Grpc),
        ("http/protobuf", Protocol::HttpProtobuf),
        ("http/json", Protocol::HttpJson),
    ];
    reader
        .choice("OTEL_EXPORTER_OTLP_PROTOCOL", &choices)
        .unwrap_or_else(|| match endpoint.and_then(port) {
            Some(4317) => Protocol::Grpc,
            _ => Protocol::HttpProtobuf,
        })
}

/// `host:port` becomes a URL; gRPC clients of other languages take it so.
fn with_scheme(url: String, is_insecure: bool) -> String {
    match (url.contains("://"), is_insecure) {
        (true, _) => url,
        (false, true) => format!("http://{url}"),
        (false, false) => format!("https://{url}"),
    }
}

/// The port of `scheme://host:port/path`, if it has one.
fn port(url: &str) -> Option<u16> {
    let authority = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = authority.split(['/', '?']).next()?;
    authority.rsplit_once(':')?.1.parse().ok()
}
