//! The keys of each component, with the OpenTelemetry Collector's names and, unless said, defaults.

use http::{HeaderMap, HeaderName, HeaderValue, Uri};

use super::section::{Section, unknown};
use super::yaml::Yaml;
use super::{
    ExporterKind, GrpcServer, HttpServer, OtlpReceiver, Query, REQUEST_BYTES_MAX, RETENTION,
    STORE_BYTES_MAX, Sending, Store, StoreKind,
};
use crate::exporters::debug::Verbosity;
use crate::exporters::retry::RetryPolicy;

/// The components of one kind: those that exist here, and those that exist elsewhere only.
pub(super) struct Components {
    here: &'static [&'static str],
    elsewhere: &'static [&'static str],
}

pub(super) const RECEIVERS: Components = Components {
    here: &["otlp"],
    elsewhere: &["jaeger", "zipkin", "kafka", "opencensus", "nop"],
};

pub(super) const EXPORTERS: Components = Components {
    here: &["otlp", "otlp_http", "debug", "jaeger_storage_exporter"],
    elsewhere: &[
        "clickhouse",
        "elasticsearch",
        "file",
        "kafka",
        "load_balancing",
        "nop",
        "zipkin",
    ],
};

pub(super) const EXTENSIONS: Components = Components {
    here: &["health_check", "jaeger_storage", "jaeger_query"],
    elsewhere: &[
        "basicauth",
        "bearertokenauth",
        "expvar",
        "file_storage",
        "healthcheckv2",
        "memory_limiter",
        "oauth2client",
        "oidc",
        "pprof",
        "remote_sampling",
        "remote_storage",
        "zpages",
    ],
};

/// The message for a component that is not here.
pub(super) fn unknown_component(what: &str, kind: &str, known: Components) -> String {
    let kind = kind.split('/').next().unwrap_or(kind);
    if known.elsewhere.contains(&kind) {
        let here = known.here.join(", ");
        format!(
            "the OpenTelemetry Collector or Jaeger has this {what}; Spanloom has only {here} yet"
        )
    } else {
        unknown(what, kind, known.here)
    }
}

pub(super) fn otlp_receiver(id: &str, section: &mut Section<'_>) -> Option<OtlpReceiver> {
    let Some(mut protocols) = section.section("protocols") else {
        section.problem("no protocols; name grpc, http or both under protocols");
        return None;
    };
    let grpc = protocols
        .section("grpc")
        .map(|mut grpc| grpc_server(&mut grpc));
    let http = protocols
        .section("http")
        .map(|mut http| http_server(&mut http));
    if grpc.is_none() && http.is_none() {
        protocols.problem("empty; name grpc, http or both");
    }
    Some(OtlpReceiver {
        id: id.to_owned(),
        grpc,
        http,
    })
}

fn grpc_server(section: &mut Section<'_>) -> GrpcServer {
    section.not_yet(&[
        "auth",
        "include_metadata",
        "keepalive",
        "max_concurrent_streams",
        "read_buffer_size",
        "tls",
        "transport",
        "write_buffer_size",
    ]);
    let endpoint = listen_endpoint(section, "localhost:4317");
    let mib = section.number("max_recv_msg_size_mib", 1.0, 4095.0);
    let message_bytes_max = mib.map_or(REQUEST_BYTES_MAX, |mib| (mib as usize) << 20);
    GrpcServer {
        endpoint,
        message_bytes_max,
    }
}

fn http_server(section: &mut Section<'_>) -> HttpServer {
    section.not_yet(&[
        "auth",
        "compression_algorithms",
        "cors",
        "idle_timeout",
        "include_metadata",
        "keep_alives_enabled",
        "logs_url_path",
        "metrics_url_path",
        "read_header_timeout",
        "read_timeout",
        "response_headers",
        "tls",
        "write_timeout",
    ]);
    let endpoint = listen_endpoint(section, "localhost:4318");
    let bytes_max = section.uint("max_request_body_size");
    // Zero means "the default" to the OpenTelemetry Collector.
    let bytes_max = bytes_max.filter(|bytes_max| *bytes_max > 0);
    let body_bytes_max = bytes_max.map_or(REQUEST_BYTES_MAX, |bytes_max| bytes_max as usize);
    let traces_path = section
        .text("traces_url_path")
        .unwrap_or_else(|| "/v1/traces".to_owned());
    if !traces_path.starts_with('/') {
        section.problem_at(
            section.line(),
            "traces_url_path",
            "expected a path that begins with /",
        );
    }
    HttpServer {
        endpoint,
        body_bytes_max,
        traces_path,
    }
}

/// `endpoint: host:port` of a listener.
fn listen_endpoint(section: &mut Section<'_>, default: &str) -> String {
    let endpoint = section
        .text("endpoint")
        .unwrap_or_else(|| default.to_owned());
    // ":4317" is every address to Go.
    let endpoint = if endpoint.starts_with(':') {
        format!("0.0.0.0{endpoint}")
    } else {
        endpoint
    };
    if !is_host_and_port(&endpoint) {
        let message = format!("expected host:port, such as 0.0.0.0:4317, found {endpoint:?}");
        section.problem_of("endpoint", message);
    }
    endpoint
}

fn is_host_and_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else {
        return false;
    };
    let is_bracketed = host.starts_with('[') && host.ends_with(']');
    !host.is_empty()
        && (is_bracketed || !host.contains(':'))
        && port.parse::<u16>().is_ok()
        && text.parse::<http::uri::Authority>().is_ok()
}

pub(super) fn otlp_grpc_exporter(section: &mut Section<'_>) -> Option<ExporterKind> {
    section.not_yet(&[
        "auth",
        "authority",
        "balancer_name",
        "batcher",
        "keepalive",
        "middlewares",
        "read_buffer_size",
        "wait_for_ready",
        "write_buffer_size",
    ]);
    let endpoint = required(section, "endpoint", "host:port of the destination");
    let sending = sending(section, std::time::Duration::from_secs(5));
    let is_insecure = tls_insecure(section);
    let endpoint = endpoint?;
    let (authority, is_plain) = match endpoint.split_once("://") {
        Some(("http", authority)) => (authority.trim_end_matches('/').to_owned(), true),
        Some(("https", authority)) => (authority.to_owned(), false),
        Some(_) => (String::new(), true),
        None => (endpoint.clone(), is_insecure),
    };
    if !is_host_and_port(&authority) {
        let message = format!("expected host:port or http://host:port, found {endpoint:?}");
        section.problem_of("endpoint", message);
        return None;
    }
    if !is_plain {
        section.problem(NO_TLS);
    }
    Some(ExporterKind::OtlpGrpc { authority, sending })
}

/// The OpenTelemetry Collector's exporter means TLS unless told otherwise; so do we, in order not to
/// send in the clear what someone believes to be encrypted.
const NO_TLS: &str = "Spanloom has no TLS yet; for a destination in the clear write \
    tls: {insecure: true}, or an endpoint with http://";

pub(super) fn otlp_http_exporter(section: &mut Section<'_>) -> Option<ExporterKind> {
    section.not_yet(&[
        "auth",
        "compression_params",
        "cookies",
        "disable_keep_alives",
        "encoding",
        "http2_ping_timeout",
        "http2_read_idle_timeout",
        "idle_conn_timeout",
        "logs_endpoint",
        "max_conns_per_host",
        "max_idle_conns",
        "max_idle_conns_per_host",
        "metrics_endpoint",
        "profiles_endpoint",
        "proxy_url",
        "read_buffer_size",
        "write_buffer_size",
    ]);
    let endpoint = section.text("endpoint");
    let traces_endpoint = section.text("traces_endpoint");
    let sending = sending(section, std::time::Duration::from_secs(30));
    tls_insecure(section);
    let url = match (traces_endpoint, endpoint) {
        (Some(whole), _) => whole,
        (None, Some(base)) => format!("{}/v1/traces", base.trim_end_matches('/')),
        (None, None) => {
            section.problem_of("endpoint", "missing; the destination's URL");
            return None;
        }
    };
    match url.parse::<Uri>() {
        Ok(uri) if uri.scheme_str() == Some("http") && uri.host().is_some() => {
            Some(ExporterKind::OtlpHttp { uri, sending })
        }
        Ok(uri) if uri.scheme_str() == Some("https") => {
            section.problem("Spanloom has no TLS yet; only http:// destinations");
            None
        }
        _ => {
            let message = format!("expected a URL such as http://host:4318, found {url:?}");
            section.problem_of("endpoint", message);
            None
        }
    }
}

fn sending(section: &mut Section<'_>, timeout: std::time::Duration) -> Sending {
    if let Some(compression) = section.text("compression")
        && compression != "none"
    {
        let message = "Spanloom does not compress what it sends yet; write none, or leave it out";
        section.problem_of("compression", message);
    }
    if let Some(mut queue) = section.section("sending_queue") {
        if queue.bool("enabled").unwrap_or(true) {
            queue.problem(
                "Spanloom has no queue yet: a sender is acked when the destination has the spans; \
                 write enabled: false, or leave it out",
            );
        }
        // A queue that is off may keep its other keys.
        queue.take_rest();
    }
    Sending {
        headers: headers(section),
        timeout: section.duration("timeout").unwrap_or(timeout),
        retry: section
            .section("retry_on_failure")
            .map_or_else(RetryPolicy::default, retry),
    }
}

fn retry(mut section: Section<'_>) -> RetryPolicy {
    let default = RetryPolicy::default();
    RetryPolicy {
        enabled: section.bool("enabled").unwrap_or(default.enabled),
        initial_interval: section
            .duration("initial_interval")
            .unwrap_or(default.initial_interval),
        randomization_factor: section
            .number("randomization_factor", 0.0, 1.0)
            .unwrap_or(default.randomization_factor),
        multiplier: section
            .number("multiplier", 1.0, 100.0)
            .unwrap_or(default.multiplier),
        max_interval: section
            .duration("max_interval")
            .unwrap_or(default.max_interval),
        max_elapsed_time: section
            .duration("max_elapsed_time")
            .unwrap_or(default.max_elapsed_time),
    }
}

fn headers(section: &mut Section<'_>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let Some(mut entries) = section.section("headers") else {
        return headers;
    };
    for (name, node) in entries.take_rest() {
        let text = match node.value {
            Yaml::Text(text) | Yaml::Environment(text) => text,
            Yaml::Int(number) => number.to_string(),
            Yaml::Bool(truth) => truth.to_string(),
            other => {
                let message = format!("expected text, found {}", other.kind());
                entries.problem_at(node.line, &name, message);
                continue;
            }
        };
        match (HeaderName::try_from(&name), HeaderValue::try_from(text)) {
            (Ok(header), Ok(mut value)) => {
                // Tokens travel in headers: keep them out of anything that prints a map.
                value.set_sensitive(true);
                headers.insert(header, value);
            }
            _ => entries.problem_at(node.line, &name, "not a name and value of a header"),
        }
    }
    headers
}

fn tls_insecure(section: &mut Section<'_>) -> bool {
    let Some(mut tls) = section.section("tls") else {
        return false;
    };
    let is_insecure = tls.bool("insecure").unwrap_or(false);
    if !is_insecure {
        tls.problem(NO_TLS);
        tls.take_rest();
    }
    is_insecure
}

pub(super) fn debug_exporter(section: &mut Section<'_>) -> Option<ExporterKind> {
    section.not_yet(&[
        "output_paths",
        "sampling_initial",
        "sampling_thereafter",
        "use_internal_logger",
    ]);
    let verbosity = section.one_of(
        "verbosity",
        &[
            ("basic", Verbosity::Basic),
            ("normal", Verbosity::Normal),
            ("detailed", Verbosity::Detailed),
        ],
    );
    Some(ExporterKind::Debug(verbosity.unwrap_or_default()))
}

pub(super) fn store_exporter(section: &mut Section<'_>) -> Option<ExporterKind> {
    section.not_yet(&["queue", "retry_on_failure"]);
    let backend = required(
        section,
        "trace_storage",
        "the name of a backend of jaeger_storage",
    )?;
    Some(ExporterKind::Store { backend })
}

pub(super) fn health_check(section: &mut Section<'_>) -> String {
    section.not_yet(&[
        "auth",
        "check_collector_pipeline",
        "cors",
        "path",
        "response_body",
        "tls",
    ]);
    listen_endpoint(section, "localhost:13133")
}

pub(super) fn jaeger_storage(section: &mut Section<'_>) -> Vec<Store> {
    section.not_yet(&["metric_backends"]);
    let Some(mut backends) = section.section("backends") else {
        section.problem("no backends");
        return Vec::new();
    };
    let entries = backends.take_rest();
    entries
        .into_iter()
        .filter_map(|(name, node)| {
            let kind = store(&mut backends.named(&name, node))?;
            Some(Store { name, kind })
        })
        .collect()
}

fn store(section: &mut Section<'_>) -> Option<StoreKind> {
    section.not_yet(&[
        "badger",
        "cassandra",
        "clickhouse",
        "elasticsearch",
        "grpc",
        "opensearch",
    ]);
    let embedded = section.section("embedded");
    let memory = section.section("memory");
    match (embedded, memory) {
        (Some(mut embedded), None) => {
            let directory = required(
                &mut embedded,
                "directory",
                "where the store keeps its files",
            )?;
            let mib = embedded.number("max_size_mib", 64.0, 1e9);
            Some(StoreKind::Embedded {
                directory: directory.into(),
                retention: embedded.duration("retention").unwrap_or(RETENTION),
                bytes_max: mib.map_or(STORE_BYTES_MAX, |mib| (mib as u64) << 20),
            })
        }
        (None, Some(mut memory)) => {
            let n_traces_max = memory.uint("max_traces").unwrap_or(100_000);
            if n_traces_max == 0 {
                memory.problem_of("max_traces", "expected at least 1, found 0");
            }
            Some(StoreKind::Memory {
                n_traces_max: usize::try_from(n_traces_max).unwrap_or(usize::MAX),
            })
        }
        (embedded, memory) => {
            section.problem("expected one of embedded, memory");
            // One complaint is enough.
            for mut unused in [embedded, memory].into_iter().flatten() {
                unused.take_rest();
            }
            None
        }
    }
}

pub(super) fn jaeger_query(section: &mut Section<'_>) -> Option<Query> {
    section.not_yet(&[
        "base_path",
        "bearer_token_propagation",
        "enable_tracing",
        "grpc",
        "max_clock_skew_adjust",
        "tenancy",
        "ui",
    ]);
    let endpoint = match section.section("http") {
        Some(mut http) => {
            http.not_yet(&["auth", "cors", "include_metadata", "tls"]);
            listen_endpoint(&mut http, "localhost:16686")
        }
        None => "localhost:16686".to_owned(),
    };
    let Some(mut storage) = section.section("storage") else {
        section.problem("no storage; name a backend of jaeger_storage under storage::traces");
        return None;
    };
    storage.not_yet(&["metrics", "traces_archive"]);
    let store = required(
        &mut storage,
        "traces",
        "the name of a backend of jaeger_storage",
    )?;
    Some(Query { endpoint, store })
}

fn required(section: &mut Section<'_>, key: &'static str, meaning: &str) -> Option<String> {
    let is_there = section.has(key);
    let value = section.text(key);
    if !is_there {
        section.problem_of(key, format!("missing; {meaning}"));
    }
    value
}
