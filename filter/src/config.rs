//! The configuration: a JSON object from Envoy's `configuration` or Istio's `pluginConfig`.
//!
//! One table, [`KEYS`], has a row for each key: what it takes, its default, what it does and where
//! its value goes. The reference page `CONFIGURATION.md` is written from the same rows, and the
//! defaults are applied through them, so none of the three can differ from the others.
//!
//! A configuration that is wrong in any key is refused as a whole, with every wrong key named: half
//! a configuration would trace something that nobody asked for.

mod keys;
mod value;

use std::fmt::Write;

use serde_json::{Map, Value};
use spanloom_wire::context::Format;

use crate::route::{RouteName, Template};
use crate::sampling::Rule;

pub use keys::KEYS;
use value::nearest;

/// A row of the configuration table.
#[derive(Debug)]
pub struct Key {
    /// The key with its outer keys, joined by dots.
    pub path: &'static str,
    /// What the key takes, in words.
    pub takes: &'static str,
    /// The default as JSON; empty where there is none.
    pub default: &'static str,
    /// What the key does.
    pub doc: &'static str,
    /// Puts the value into the settings; `None` when the key does not take it.
    set: fn(&mut Settings, &Value) -> Option<()>,
}

/// Which side of a call the proxy stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// In front of the server: spans are of kind SERVER.
    Inbound,
    /// Behind the client: spans are of kind CLIENT.
    Outbound,
}

/// How export requests are framed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// OTLP/gRPC: the cluster has to speak HTTP/2.
    #[default]
    Grpc,
    /// OTLP/HTTP with protobuf bodies.
    Http,
}

/// Where finished spans go, and how. Roots of one VM that agree in all of this share a batch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Export {
    /// How export requests are framed.
    pub protocol: Protocol,
    /// The cluster that export requests go to.
    pub cluster: String,
    /// The `:authority` of export requests.
    pub authority: String,
    /// The path of OTLP/HTTP requests.
    pub path: String,
    /// Headers added to export requests.
    pub headers: Vec<(String, String)>,
    /// Whether bodies of export requests are compressed.
    pub gzip: bool,
    /// How long one export request may take.
    pub timeout_ms: u32,
    /// Spans that fill a batch.
    pub batch_spans_max: u32,
    /// Bytes that fill a batch.
    pub batch_bytes_max: usize,
    /// The longest time that a span waits in an unfilled batch.
    pub batch_interval_ms: u32,
    /// Bytes of spans that a worker keeps, in batches open, waiting and under way.
    pub buffer_bytes_max: usize,
    /// The pause before the first retry; it doubles with each.
    pub retry_initial_ms: u32,
    /// The longest pause between retries.
    pub retry_interval_ms_max: u32,
    /// How long a batch is retried before it is given up.
    pub retry_elapsed_ms_max: u32,
}

/// Whether the filter tells the next one about its span.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// It does: Envoy's own tracer is off.
    #[default]
    Propagate,
    /// It does not: Envoy's own tracer is on, or the traffic must not be touched at all.
    Observe,
}

/// Which names attributes have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Semconv {
    /// Those of OpenTelemetry's stable conventions.
    #[default]
    Stable,
    /// Those of Envoy's own tracers, which Kiali and older dashboards look for.
    Envoy,
    /// Both.
    Dup,
}

impl Semconv {
    pub(crate) const fn is_stable(self) -> bool {
        matches!(self, Semconv::Stable | Semconv::Dup)
    }

    pub(crate) const fn is_envoy(self) -> bool {
        matches!(self, Semconv::Envoy | Semconv::Dup)
    }
}

/// In which formats contexts come and go.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Propagation {
    /// What is looked for, in this order; an answer goes out in each of these that came in.
    pub extract: Vec<Format>,
    /// What is always sent.
    pub inject: Vec<Format>,
    /// Whether the response says `traceresponse`.
    pub traceresponse: bool,
}

/// Which requests are recorded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sampling {
    /// The share of new traces that is recorded, from 0 to 1.
    pub ratio: f64,
    /// Whether a caller's decision is followed.
    pub trusts_remote: bool,
    /// Whether new traces are picked by `x-request-id`, as Envoy's own tracer does.
    pub by_request_id: bool,
    /// Ratios for some requests.
    pub rules: Vec<Rule>,
    /// Whether probes and export requests are dropped.
    pub drops_probes: bool,
    /// New traces a worker records in a second at most; 0 is no limit.
    pub spans_per_s_max: u32,
    /// Whether a failed request is recorded though its trace is not.
    pub keeps_errors: bool,
    /// Requests that took longer are recorded though their trace is not; 0 is none.
    pub keeps_slower_than_ms: u32,
}

impl Sampling {
    /// Whether a request that is not sampled may yet be recorded.
    pub(crate) const fn keeps_some(&self) -> bool {
        self.keeps_errors || self.keeps_slower_than_ms > 0
    }
}

/// Where an attribute that the configuration adds gets its value from.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// The configuration.
    Literal(String),
    /// A request header, by its lower-case name.
    RequestHeader(String),
    /// A response header, by its lower-case name.
    ResponseHeader(String),
    /// A property of the proxy, its segments joined by zero bytes; a text.
    Property(String),
    /// A member of `baggage`.
    Baggage(String),
    /// A variable of the VM's environment.
    Environment(String),
}

/// What is said about requests.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AttributeSettings {
    /// Attributes added to each span.
    pub custom: Vec<(String, Source)>,
    /// Request headers that are captured, by their lower-case names.
    pub request_headers: Vec<String>,
    /// Response headers that are captured, by their lower-case names.
    pub response_headers: Vec<String>,
    /// Query parameters whose values are credentials, besides the well-known ones.
    pub redacted_parameters: Vec<String>,
    /// Whether spans say what Istio knows of both ends.
    pub istio_peers: bool,
    /// Where text is cut.
    pub bytes_max: usize,
}

/// What the keys say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// `service.name`; found out from the node when absent.
    pub service_name: Option<String>,
    /// More attributes of the resource; they win over those that are found out.
    pub resource_attributes: Vec<(String, String)>,
    /// The direction; the listener's when absent.
    pub direction: Option<Direction>,
    /// Whether headers are touched.
    pub mode: Mode,
    /// Which names attributes have.
    pub semconv: Semconv,
    /// In which formats contexts come and go.
    pub propagation: Propagation,
    /// Which requests are recorded.
    pub sampling: Sampling,
    /// What is said about them.
    pub attributes: AttributeSettings,
    /// Routes that Envoy does not know, the first that matches.
    pub route_templates: Vec<Template>,
    /// Whether the name of Envoy's route is the route.
    pub route_name: RouteName,
    /// Where finished spans go.
    pub export: Export,
}

impl Settings {
    /// Reads a configuration; an empty one is all defaults.
    ///
    /// # Errors
    /// A line that names every key that is wrong, what it takes, and for an unknown key the nearest
    /// one.
    pub fn parse(json: &[u8]) -> Result<Settings, String> {
        let mut settings = Settings::defaults();
        if json.trim_ascii().is_empty() {
            return Ok(settings);
        }
        let mut faults = String::new();
        match serde_json::from_slice(json) {
            Ok(Value::Object(object)) => settings.apply("", &object, &mut faults),
            Ok(_) => faults.push_str("expected a JSON object"),
            Err(error) => {
                let _infallible = write!(faults, "not JSON: {error}");
            }
        }
        if faults.is_empty() {
            Ok(settings)
        } else {
            Err(faults)
        }
    }

    /// Whether the name of Envoy's route may be the route of a span.
    pub(crate) fn reads_route_name(&self) -> bool {
        self.route_name != RouteName::Never
    }

    fn defaults() -> Settings {
        let mut settings = Settings::default();
        for key in KEYS.iter().filter(|key| !key.default.is_empty()) {
            // A default that its own row refuses is caught by the test `defaults_are_taken`.
            if let Ok(value) = serde_json::from_str(key.default) {
                let _tested = (key.set)(&mut settings, &value);
            }
        }
        settings
    }

    /// Sets what `object` holds; `prefix` is the path to it and ends in a dot unless empty.
    fn apply(&mut self, prefix: &str, object: &Map<String, Value>, faults: &mut String) {
        for (name, value) in object {
            let path = [prefix, name].concat();
            let inner_prefix = [&*path, "."].concat();
            let is_outer = KEYS.iter().any(|key| key.path.starts_with(&*inner_prefix));
            let key = KEYS.iter().find(|key| key.path == path);
            let fault = match (key, value) {
                (Some(key), _) if (key.set)(self, value).is_some() => continue,
                (Some(key), _) => {
                    format!(
                        "{path}: expected {}, got {}",
                        key.takes,
                        cut(&value.to_string())
                    )
                }
                (None, Value::Object(inner)) if is_outer => {
                    self.apply(&inner_prefix, inner, faults);
                    continue;
                }
                (None, _) if is_outer => format!("{path}: expected an object"),
                (None, _) => {
                    let near = nearest(&path, KEYS.iter().map(|key| key.path));
                    format!("unknown key {}{near}", cut(&path))
                }
            };
            if faults.len() < FAULTS_BYTES_MAX {
                if !faults.is_empty() {
                    faults.push_str("; ");
                }
                faults.push_str(&fault);
            }
        }
    }
}

/// A configuration of nothing but faults must not flood the log.
const FAULTS_BYTES_MAX: usize = 2048;

/// Foreign text for a log line.
fn cut(text: &str) -> &str {
    let mut length = text.len().min(80);
    while !text.is_char_boundary(length) {
        length = length.saturating_sub(1);
    }
    text.get(..length).unwrap_or_default()
}

/// The reference page of all keys.
pub fn reference() -> String {
    let mut page = String::from(
        "# Configuration of the filter\n\n\
         A JSON object: `configuration` of Envoy's WASM filter, `pluginConfig` of Istio's WasmPlugin.\n\
         Dots stand for nesting: `exporter.cluster` is `{\"exporter\": {\"cluster\": ...}}`. A wrong\n\
         value or an unknown key is named in the proxy's log, counted in\n\
         `wasmcustom.spanloom.configuration_errors`, and leaves all traffic untouched and untraced.\n\n\
         This page is written from the table in `src/config/keys.rs`; do not edit it.\n\n\
         | key | takes | default | |\n|---|---|---|---|\n",
    );
    for key in KEYS {
        let default = match key.default {
            "" => String::new(),
            default => format!("`{default}`"),
        };
        // Clusters of Istio have bars in their names, and so have tables between their cells.
        let doc = key.doc.replace('|', "\\|");
        let _infallible = writeln!(
            page,
            "| `{}` | {} | {default} | {doc} |",
            key.path, key.takes
        );
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check_fault(json: &str, fault: &str) {
        assert_eq!(Settings::parse(json.as_bytes()), Err(fault.to_owned()));
    }

    #[test]
    fn defaults_are_taken() {
        for key in KEYS.iter().filter(|key| !key.default.is_empty()) {
            let value = serde_json::from_str(key.default).unwrap();
            assert!(
                (key.set)(&mut Settings::default(), &value).is_some(),
                "{}",
                key.path
            );
        }
    }

    #[test]
    fn nothing_configured_is_useful() {
        let settings = Settings::parse(b"").unwrap();
        assert_eq!(settings, Settings::parse(b" {} ").unwrap());
        assert_eq!(settings.export.protocol, Protocol::Grpc);
        assert_eq!(settings.export.cluster, "otel_collector");
        assert_eq!(settings.sampling.ratio, 1.0);
    }

    #[test]
    fn keys_are_read() {
        let json = br#"{"service_name": "cart", "direction": "outbound",
            "exporter": {"protocol": "http", "cluster": "sink", "timeout_ms": 5e+03},
            "batch": {"spans_max": 10}, "sampling": {"ratio": 0.25}}"#;
        let settings = Settings::parse(json).unwrap();
        assert_eq!(settings.service_name.as_deref(), Some("cart"));
        assert_eq!(settings.direction, Some(Direction::Outbound));
        assert_eq!(settings.export.protocol, Protocol::Http);
        assert_eq!(settings.export.timeout_ms, 5000);
        assert_eq!(settings.export.batch_spans_max, 10);
        assert_eq!(settings.sampling.ratio, 0.25);
    }

    #[test]
    fn every_wrong_key_is_named() {
        check_fault(
            r#"{"batch": {"span_max": 1}, "direction": "sideways"}"#,
            "unknown key batch.span_max, did you mean batch.spans_max?; \
             direction: expected `\"inbound\"` or `\"outbound\"`, got \"sideways\"",
        );
        check_fault(r#"{"exporter": 1}"#, "exporter: expected an object");
        check_fault("[]", "expected a JSON object");
    }

    #[test]
    fn the_reference_page_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/CONFIGURATION.md");
        if option_env!("SPANLOOM_BLESS").is_some() {
            std::fs::write(path, reference()).unwrap();
        }
        let page = std::fs::read_to_string(path).unwrap();
        assert_eq!(
            page,
            reference(),
            "run the test with SPANLOOM_BLESS=1 to write the page anew"
        );
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_settings_or_a_fault(json: Vec<u8>) {
            let _either = Settings::parse(&json);
        }

        #[test]
        fn arbitrary_names_are_refused_by_name(name in "[a-z_.\"\\\\\u{0}-\u{ffff}]{1,40}", value: i32) {
            let json = serde_json::json!({ name.clone(): value }).to_string();
            if let Ok(settings) = Settings::parse(json.as_bytes()) {
                prop_assert!(KEYS.iter().any(|key| key.path == name), "{settings:?}");
            }
        }
    }
}
