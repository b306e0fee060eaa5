//! Where spans go: `OTEL_EXPORTER_OTLP_*`, the variables for traces before the general ones.

use std::time::Duration;

use super::{Reader, keyvalue};

/// The OTLP protocol to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Grpc,
    HttpProtobuf,
}

/// An OTLP destination, ready to be handed to an exporter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// For HTTP with the path, for gRPC without.
    pub(crate) url: String,
    pub(crate) protocol: Protocol,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) timeout: Duration,
}

impl Endpoint {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let for_traces = reader.text("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
        let is_for_traces = for_traces.is_some();
        let given = for_traces.or_else(|| reader.text("OTEL_EXPORTER_OTLP_ENDPOINT"));
        let protocol = protocol(reader, given.as_deref());
        let url = match (given, protocol) {
            (Some(url), Protocol::HttpProtobuf) if !is_for_traces => {
                // The general variable is a base for all signals.
                format!("{}/v1/traces", url.trim_end_matches('/'))
            }
            (Some(url), _) => url,
            (None, Protocol::Grpc) => "http://localhost:4317".to_owned(),
            (None, Protocol::HttpProtobuf) => "http://localhost:4318/v1/traces".to_owned(),
        };
        let timeout = either(reader, "TIMEOUT").and_then(|(name, _)| reader.number(name));
        Self {
            url,
            protocol,
            headers: headers(reader),
            timeout: timeout.map_or(Duration::from_secs(10), Duration::from_millis),
        }
    }
}

/// The value of the variable for traces, or of the general one, with the name that had it.
fn either(reader: &Reader<'_>, ending: &str) -> Option<(&'static str, String)> {
    let [specific, general] = match ending {
        "HEADERS" => [
            "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
            "OTEL_EXPORTER_OTLP_HEADERS",
        ],
        "PROTOCOL" => [
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
            "OTEL_EXPORTER_OTLP_PROTOCOL",
        ],
        _ => [
            "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
            "OTEL_EXPORTER_OTLP_TIMEOUT",
        ],
    };
    let value = |name| reader.text(name).map(|value| (name, value));
    value(specific).or_else(|| value(general))
}

/// The protocol as named, else by the endpoint's port, else the specification's default.
///
/// The port matters because the Kubernetes operator injects an endpoint, mostly with 4317, and no
/// protocol: speaking HTTP to that port loses every span.
fn protocol(reader: &mut Reader<'_>, endpoint: Option<&str>) -> Protocol {
    let by_port = match endpoint.and_then(port) {
        Some(4317) => Protocol::Grpc,
        _ => Protocol::HttpProtobuf,
    };
    let Some((name, value)) = either(reader, "PROTOCOL") else {
        return by_port;
    };
    match value.to_ascii_lowercase().as_str() {
        "grpc" => Protocol::Grpc,
        "http/protobuf" => Protocol::HttpProtobuf,
        _ => {
            reader.warn(format!(
                "{name}={value:?} is not known: {by_port:?} is used"
            ));
            by_port
        }
    }
}

/// The port of `scheme://host:port/path`, if it has one.
fn port(url: &str) -> Option<u16> {
    let authority = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = authority.split(['/', '?']).next()?;
    authority.rsplit_once(':')?.1.parse().ok()
}

fn headers(reader: &mut Reader<'_>) -> Vec<(String, String)> {
    let Some((name, list)) = either(reader, "HEADERS") else {
        return Vec::new();
    };
    keyvalue::parse(&list).unwrap_or_else(|problem| {
        reader.warn(format!("{name} is ignored as a whole: {problem}"));
        Vec::new()
    })
}
