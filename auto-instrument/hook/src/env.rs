//! The settings, read once from the environment: the OpenTelemetry variables that apply to a
//! runtime that only makes spans, and the switches of auto-instrumentation.

use std::sync::OnceLock;
use std::time::Duration;

/// What the environment asked for.
#[derive(Debug)]
pub(crate) struct Settings {
    /// False in compilers and build scripts, and when disabled.
    pub(crate) enabled: bool,
    /// Whether functions of the program get spans, or only servers, clients and queues.
    pub(crate) functions: bool,
    /// Whether a function outside any trace starts one.
    pub(crate) function_roots: bool,
    /// Instrumentations (the crates they belong to) that are switched off.
    pub(crate) off: Vec<String>,
    /// Spans that one trace may have in this process, its first one included.
    pub(crate) trace_spans_max: u32,
    pub(crate) sampler: Sampler,
    /// Nothing when the endpoint is none that our exporter can use.
    pub(crate) target: Option<Target>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) timeout: Duration,
    pub(crate) interval: Duration,
    pub(crate) queue_spans_max: usize,
    pub(crate) batch_spans_max: usize,
    pub(crate) resource: Vec<(String, String)>,
    pub(crate) log: bool,
}

/// Where the exporter posts to. Only plain HTTP: a mesh or a node's collector adds what is secret.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) path: String,
}

/// Decides for traces that start here; traces that arrive bring their decision.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sampler {
    /// The share of new traces that are kept, from 0 to 1.
    pub(crate) ratio: f64,
    /// Whether an arriving decision is followed.
    pub(crate) follow_parent: bool,
}

impl Sampler {
    /// The trace id's low 56 bits decide, as OpenTelemetry's ratio samplers agree on.
    pub(crate) fn keeps(self, trace_id: u128) -> bool {
        const SPACE: u64 = 1 << 56;
        let threshold = ((1.0 - self.ratio) * SPACE as f64) as u64;
        (trace_id as u64 % SPACE) >= threshold
    }
}

static SETTINGS: OnceLock<Settings> = OnceLock::new();

/// The settings of this process.
pub(crate) fn settings() -> &'static Settings {
    SETTINGS.get_or_init(|| {
        let settings = read(&variable);
        if let Some(word) = without_target(&settings, &variable) {
            crate::export::log(&settings, &word);
        }
        settings
    })
}

/// What there is to say when no span can leave.
fn without_target(settings: &Settings, get: Lookup) -> Option<String> {
    if !settings.enabled || settings.target.is_some() {
        return None;
    }
    let url = get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
        .or_else(|| get("OTEL_EXPORTER_OTLP_ENDPOINT"))
        .unwrap_or_default();
    Some(format!(
        "no spans are sent: the endpoint {} is not http://HOST:PORT (only a program that links the SDK has TLS)",
        without_password(url.trim())
    ))
}

/// A URL without what stands before an `@` in its host.
fn without_password(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let host = rest.find('/').unwrap_or(rest.len());
    match rest[..host].rfind('@') {
        Some(at) => format!("{scheme}://{}", &rest[at + 1..]),
        None => url.to_owned(),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place of this crate that reads it"
)]
fn variable(name: &str) -> Option<String> {
    // An empty variable counts as unset: OpenTelemetry's environment specification says so.
    std::env::var(name)
        .ok()
        .filter(|value| !value.trim().is_empty())
}

type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

fn read(get: Lookup) -> Settings {
    let target = target(get);
    let compiling = get("SPANLOOM_COMPILING").is_some()
        || (get("OUT_DIR").is_some() && get("NUM_JOBS").is_some() && get("HOST").is_some());
    Settings {
        enabled: !compiling
            && !is_true(get, "OTEL_SDK_DISABLED")
            && get("OTEL_TRACES_EXPORTER").as_deref() != Some("none"),
        functions: get("SPANLOOM_FUNCTIONS").as_deref() != Some("off"),
        function_roots: get("SPANLOOM_FUNCTIONS").as_deref() == Some("roots"),
        off: get("SPANLOOM_OFF")
            .map(|list| list.split(',').map(|name| name.trim().to_owned()).collect())
            .unwrap_or_default(),
        trace_spans_max: number(get, "SPANLOOM_TRACE_SPANS_MAX", 1000),
        sampler: sampler(get),
        target,
        headers: headers(get),
        timeout: Duration::from_millis(
            get("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT")
                .or_else(|| get("OTEL_EXPORTER_OTLP_TIMEOUT"))
                .and_then(|value| value.trim().parse().ok())
                .unwrap_or(10_000),
        ),
        interval: Duration::from_millis(number(get, "OTEL_BSP_SCHEDULE_DELAY", 1000)),
        queue_spans_max: number(get, "OTEL_BSP_MAX_QUEUE_SIZE", 8192),
        batch_spans_max: number(get, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 2048).max(1),
        resource: resource(get),
        log: is_true(get, "SPANLOOM_LOG"),
    }
}

fn is_true(get: Lookup, name: &str) -> bool {
    get(name).is_some_and(|value| value.eq_ignore_ascii_case("true") || value == "1")
}

fn number<N: std::str::FromStr>(get: Lookup, name: &str, default: N) -> N {
    get(name)
        .and_then(|value| value.trim().parse().ok())
        .unwrap_or(default)
}

/// The trace endpoint is taken as it is; the general one gets `/v1/traces`. Port 4317 is gRPC's:
/// an operator that injects it means a collector that also listens on 4318.
fn target(get: Lookup) -> Option<Target> {
    let (url, suffix) = match get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") {
        Some(url) => (url, ""),
        None => (
            get("OTEL_EXPORTER_OTLP_ENDPOINT").unwrap_or_else(|| "http://127.0.0.1:4318".into()),
            "/v1/traces",
        ),
    };
    let rest = url.trim().strip_prefix("http://")?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
        _ => (authority, 80),
    };
    if host.is_empty() {
        return None;
    }
    let path = format!("{}{suffix}", path.trim_end_matches('/'));
    Some(Target {
        host: host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned(),
        port: if port == 4317 { 4318 } else { port },
        path: match (port, path.is_empty()) {
            (4317, _) => "/v1/traces".to_owned(),
            (_, true) => "/".to_owned(),
            (_, false) => path,
        },
    })
}

fn sampler(get: Lookup) -> Sampler {
    let name = get("OTEL_TRACES_SAMPLER").unwrap_or_default();
    let given: f64 = get("OTEL_TRACES_SAMPLER_ARG")
        .and_then(|value| value.trim().parse().ok())
        .filter(|ratio: &f64| (0.0..=1.0).contains(ratio))
        .unwrap_or(1.0);
    let (root, follow_parent) = match name.trim().strip_prefix("parentbased_") {
        Some(root) => (root, true),
        // Samplers that ask a server, and unknown ones, become the default.
        None => (
            name.trim(),
            !matches!(name.trim(), "always_on" | "always_off" | "traceidratio"),
        ),
    };
    let ratio = match root {
        "always_off" => 0.0,
        "traceidratio" => given,
        _ => 1.0,
    };
    Sampler {
        ratio,
        follow_parent,
    }
}

fn headers(get: Lookup) -> Vec<(String, String)> {
    let list = get("OTEL_EXPORTER_OTLP_TRACES_HEADERS")
        .or_else(|| get("OTEL_EXPORTER_OTLP_HEADERS"))
        .unwrap_or_default();
    pairs(&list)
        .filter(|(key, value)| {
            !key.bytes()
                .chain(value.bytes())
                .any(|byte| byte.is_ascii_control())
        })
        .collect()
}

fn resource(get: Lookup) -> Vec<(String, String)> {
    let mut resource: Vec<(String, String)> =
        pairs(&get("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default()).collect();
    let executable = std::env::current_exe().ok().and_then(|path| {
        path.file_stem()
            .map(|name| name.to_string_lossy().into_owned())
    });
    let name = get("OTEL_SERVICE_NAME")
        .or_else(|| find(&resource, "service.name").map(str::to_owned))
        .or_else(|| executable.clone())
        .unwrap_or_else(|| "unknown_service".to_owned());
    resource.retain(|(key, _)| key != "service.name");
    resource.insert(0, ("service.name".to_owned(), name));
    let mut default = |key: &str, value: String| {
        if find(&resource, key).is_none() {
            resource.push((key.to_owned(), value));
        }
    };
    if let Some(executable) = executable {
        default("process.executable.name", executable);
    }
    default("process.pid", std::process::id().to_string());
    default("telemetry.sdk.language", "rust".to_owned());
    default("telemetry.sdk.name", "spanloom-hook".to_owned());
    default("telemetry.sdk.version", env_version().to_owned());
    default("telemetry.distro.name", "cargo-spanloom".to_owned());
    resource
}

/// The package's version, which only Cargo knows: the tool passes it on when it compiles us.
pub(crate) fn env_version() -> &'static str {
    option_env!("CARGO_PKG_VERSION").unwrap_or("0")
}

fn find<'a>(list: &'a [(String, String)], key: &str) -> Option<&'a str> {
    list.iter()
        .find(|(name, _)| name == key)
        .map(|(_, value)| value.as_str())
}

/// `key=value,key=value` with percent-decoded values, as in W3C Baggage; what is not so is skipped.
fn pairs(list: &str) -> impl Iterator<Item = (String, String)> + '_ {
    list.split(',').filter_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        let key = key.trim();
        (!key.is_empty()).then(|| (percent_decode(key), percent_decode(value.trim())))
    })
}

fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let decoded = (bytes[at] == b'%')
            .then(|| text.get(at + 1..at + 3))
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match decoded {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(variables: &[(&str, &str)]) -> Settings {
        read(&|name| {
            variables
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        })
    }

    fn at(host: &str, port: u16, path: &str) -> Option<Target> {
        Some(Target {
            host: host.into(),
            port,
            path: path.into(),
        })
    }

    #[test]
    fn endpoints_follow_the_otlp_specification() {
        let general = |url| with(&[("OTEL_EXPORTER_OTLP_ENDPOINT", url)]).target;
        assert_eq!(with(&[]).target, at("127.0.0.1", 4318, "/v1/traces"));
        assert_eq!(general("http://c:9/base/"), at("c", 9, "/base/v1/traces"));
        assert_eq!(general("http://[::1]:4318"), at("::1", 4318, "/v1/traces"));
        assert_eq!(general("http://c"), at("c", 80, "/v1/traces"));
        let exact = with(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c:9/x")]).target;
        assert_eq!(exact, at("c", 9, "/x"));
    }

    #[test]
    fn a_grpc_port_means_its_http_neighbour() {
        let target = with(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://10.0.0.1:4317")]).target;
        assert_eq!(target, at("10.0.0.1", 4318, "/v1/traces"));
    }

    #[test]
    fn an_endpoint_that_cannot_be_reached_in_plain_text_switches_off() {
        let at = |url| with(&[("OTEL_EXPORTER_OTLP_ENDPOINT", url)]).target;
        assert_eq!(at("https://c:4318"), None);
        assert_eq!(at("http://:1"), None);
    }

    #[test]
    fn an_endpoint_that_cannot_be_used_is_named_without_its_password() {
        let word = |url: &str, disabled: &str| {
            let set = [
                ("OTEL_EXPORTER_OTLP_ENDPOINT", url),
                ("OTEL_SDK_DISABLED", disabled),
            ];
            let get = |name: &str| {
                let found = set.iter().find(|(key, _)| *key == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            without_target(&with(&set), &get)
        };
        assert_eq!(word("http://c:4318", "false"), None);
        assert_eq!(word("https://c:4318", "true"), None);
        let said = word("https://me:secret@c:4318/x", "false").unwrap_or_default();
        assert!(
            said.starts_with("no spans are sent: the endpoint https://c:4318/x is not http://"),
            "{said}"
        );
        assert!(word("c:4317", "false").is_some_and(|said| said.contains(" c:4317 ")));
    }

    #[test]
    fn compilers_and_build_scripts_are_left_alone() {
        assert!(!with(&[("SPANLOOM_COMPILING", "1")]).enabled);
        assert!(!with(&[("OUT_DIR", "o"), ("NUM_JOBS", "2"), ("HOST", "h")]).enabled);
        assert!(with(&[("HOST", "h")]).enabled);
    }

    #[test]
    fn service_name_beats_the_resource_attributes() {
        let given = [
            ("OTEL_SERVICE_NAME", "cart"),
            (
                "OTEL_RESOURCE_ATTRIBUTES",
                "service.name=x,team=a%20b,broken,=y",
            ),
        ];
        let resource = with(&given).resource;
        assert_eq!(find(&resource, "service.name"), Some("cart"));
        assert_eq!(find(&resource, "team"), Some("a b"));
        assert_eq!(
            resource
                .iter()
                .filter(|(key, _)| key == "service.name")
                .count(),
            1
        );
    }

    #[test]
    fn samplers_by_name() {
        let sampler = |name, arg| {
            with(&[
                ("OTEL_TRACES_SAMPLER", name),
                ("OTEL_TRACES_SAMPLER_ARG", arg),
            ])
            .sampler
        };
        assert_eq!(
            sampler("always_off", ""),
            Sampler {
                ratio: 0.0,
                follow_parent: false
            }
        );
        assert_eq!(
            sampler("parentbased_traceidratio", "0.25"),
            Sampler {
                ratio: 0.25,
                follow_parent: true
            }
        );
        assert_eq!(
            sampler("jaeger_remote", "x"),
            Sampler {
                ratio: 1.0,
                follow_parent: true
            }
        );
        assert_eq!(
            sampler("traceidratio", "7"),
            Sampler {
                ratio: 1.0,
                follow_parent: false
            }
        );
    }

    #[test]
    fn a_ratio_keeps_its_share() {
        let sampler = Sampler {
            ratio: 0.25,
            follow_parent: true,
        };
        let kept = (0..20_000)
            .filter(|_| sampler.keeps(crate::id::trace_id()))
            .count();
        assert!((4_500..5_500).contains(&kept), "{kept} of 20000");
        assert!(
            !Sampler {
                ratio: 0.0,
                follow_parent: true
            }
            .keeps(u128::MAX)
        );
        assert!(
            Sampler {
                ratio: 1.0,
                follow_parent: true
            }
            .keeps(0)
        );
    }

    #[test]
    fn percent_signs_that_encode_nothing_stay() {
        assert_eq!(percent_decode("100%"), "100%");
        assert_eq!(percent_decode("%zz%41%"), "%zzA%");
        assert_eq!(percent_decode("%\u{e9}a"), "%\u{e9}a");
    }
}
