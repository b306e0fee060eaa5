//! What a configuration becomes, and what is said of a wrong one.

use std::time::Duration;

use insta::assert_snapshot;
use proptest::prelude::*;

use super::*;

fn env(name: &str) -> Option<String> {
    (name == "PORT").then(|| "4317".to_owned())
}

fn parsed(yaml: &str) -> Config {
    Config::parse(yaml, &env).unwrap_or_else(|error| panic!("{error}"))
}

fn faults(yaml: &str) -> String {
    Config::parse(yaml, &env)
        .expect_err("a faulty configuration")
        .to_string()
}

const SMALL: &str = "
receivers:
  otlp:
    protocols:
      grpc:
exporters:
  debug:
service:
  pipelines:
    traces:
      receivers: [otlp]
      exporters: [debug]
";

#[test]
fn the_smallest_configuration_has_the_collector_s_defaults() {
    let config = parsed(SMALL);
    let grpc = config.receivers[0].grpc.as_ref().unwrap();
    assert_eq!(grpc.endpoint, "localhost:4317");
    assert_eq!(grpc.message_bytes_max, REQUEST_BYTES_MAX);
    assert_eq!(config.receivers[0].http, None);
    assert_eq!(
        config.exporters[0].kind,
        ExporterKind::Debug(Verbosity::Basic)
    );
    assert_eq!(config.query, None);
    assert_eq!(config.health_endpoint, None);
}

#[test]
fn values_may_come_from_the_environment() {
    let yaml = SMALL.replace(
        "grpc:\n",
        "grpc: {endpoint: '127.0.0.1:${env:PORT}', max_recv_msg_size_mib: '${env:MIB:-16}'}\n",
    );
    let config = parsed(&yaml);
    let grpc = config.receivers[0].grpc.as_ref().unwrap();
    assert_eq!(grpc.endpoint, "127.0.0.1:4317");
    assert_eq!(grpc.message_bytes_max, 16 << 20);
}

#[test]
fn an_exporter_reads_its_retries_and_headers() {
    let config = parsed(&SMALL.replace("debug", "otlp/next").replace(
        "otlp/next:",
        "otlp/next: {endpoint: 'gateway:4317', tls: {insecure: true}, timeout: 1m30s, \
         headers: {authorization: Bearer x}, sending_queue: {enabled: false, queue_size: 5}, \
         retry_on_failure: {initial_interval: 200ms, randomization_factor: 0, max_elapsed_time: 0}}",
    ));
    let ExporterKind::OtlpGrpc { authority, sending } = &config.exporters[0].kind else {
        panic!("an otlp exporter");
    };
    assert_eq!(authority, "gateway:4317");
    assert_eq!(sending.timeout, Duration::from_secs(90));
    assert_eq!(sending.headers["authorization"], "Bearer x");
    assert_eq!(sending.retry.initial_interval, Duration::from_millis(200));
    assert_eq!(sending.retry.randomization_factor, 0.0);
    assert_eq!(sending.retry.max_elapsed_time, Duration::ZERO);
    assert_eq!(sending.retry.multiplier, 1.5);
}

#[test]
fn an_http_destination_is_a_base_or_a_whole_url() {
    let uri = |keys: &str| {
        let yaml = SMALL.replace("  debug:", &format!("  otlphttp: {{{keys}}}"));
        let config = parsed(&yaml.replace("debug", "otlphttp"));
        match &config.exporters[0].kind {
            ExporterKind::OtlpHttp { uri, .. } => uri.to_string(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(uri("endpoint: 'http://h:4318/'"), "http://h:4318/v1/traces");
    assert_eq!(
        uri("endpoint: 'http://h:1', traces_endpoint: 'http://h:2/x'"),
        "http://h:2/x"
    );
}

#[test]
fn jaeger_s_extensions_make_a_backend() {
    let config = parsed(
        "
receivers: {otlp: {protocols: {http: {endpoint: '127.0.0.1:0', max_request_body_size: 1000}}}}
exporters: {jaeger_storage_exporter: {trace_storage: main}}
extensions:
  health_check: {endpoint: '127.0.0.1:0'}
  jaeger_storage: {backends: {main: {embedded: {directory: /d, retention: 1h, max_size_mib: 64}}, spare: {memory: {max_traces: 7}}}}
  jaeger_query: {storage: {traces: main}, http: {endpoint: '127.0.0.1:0'}}
service:
  extensions: [health_check, jaeger_storage, jaeger_query]
  telemetry: {logs: {level: debug, encoding: json}, metrics: {level: none}}
  pipelines: {traces: {receivers: [otlp], exporters: [jaeger_storage_exporter]}}
",
    );
    assert_eq!(
        config.stores[0].kind,
        StoreKind::Embedded {
            directory: "/d".into(),
            retention: Duration::from_secs(3600),
            bytes_max: 64 << 20,
        }
    );
    assert_eq!(config.stores[1].kind, StoreKind::Memory { n_traces_max: 7 });
    assert_eq!(config.query.unwrap().store, "main");
    assert_eq!(
        config.receivers[0].http.as_ref().unwrap().body_bytes_max,
        1000
    );
    assert_eq!(
        config.logs,
        Logs {
            level: LogLevel::Debug,
            is_json: true
        }
    );
}

#[test]
fn what_no_pipeline_uses_does_not_run() {
    let config = parsed(&SMALL.replace("exporters:\n", "exporters:\n  debug/unused:\n"));
    assert_eq!(config.exporters.len(), 1);
}

#[test]
fn every_fault_is_found_at_once_with_its_line_and_path() {
    assert_snapshot!(faults(
        "
receivers:
  otlp:
    protocols:
      grpc:
        endpont: localhost:4317
        max_recv_msg_size_mib: lots
        keepalive: {}
      htpp:
exporters:
  debug:
    verbosity: loud
  otlp:
    endpoint: https://gateway:4317
    retry_on_failure:
      max_interval: 30
    compression: gzip
    sending_queue:
      queue_size: 10
service:
  extensions: [zpages]
  telemetry:
    metrics:
      level: detailed
  pipelines:
    traces:
      receivers: [otlp, otlp/2]
      exporters: [debug, debg, debug]
"
    ));
}

#[test]
fn components_that_only_others_have_are_said_to_be() {
    assert_snapshot!(faults(
        "
receivers:
  jaeger:
  otpl:
processors:
  batch:
exporters:
  elasticsearch/a: {endpoints: [x]}
  jaeger_storage_exporter: {trace_storage: main}
extensions:
  pprof:
  jaeger_storage: {backends: {main: {badger: {}}, other: {memory: {}, embedded: {directory: x}}}}
  jaeger_query: {storage: {traces: nowhere}}
service:
  pipelines:
    traces: {receivers: [jaeger], processors: [batch], exporters: [elasticsearch/a]}
    metrics: {receivers: [otlp]}
    spans: {}
"
    ));
}

#[test]
fn wrong_shapes_are_said_to_be() {
    assert_snapshot!(faults("[]"));
    assert_snapshot!(faults(
        "
receivers: [otlp]
exporters: {debug: 5, otlp: {endpoint: [], headers: {a: [], 'b c': d}}}
service: {extensions: {}, pipelines: {traces: {receivers: otlp, exporters: [[]]}}}
"
    ));
}

#[test]
fn what_is_not_yaml_says_where() {
    assert!(faults("a: [1\nb: 2").contains("line"));
    assert_eq!(
        faults("a:\n  b: ${env:NO}"),
        "line 2: ${env:NO}: the environment variable NO is not set, and there is no default"
    );
}

#[test]
fn a_store_that_the_service_does_not_start_is_not_there() {
    let message = faults(
        "
receivers: {otlp: {protocols: {grpc: {}}}}
exporters: {jaeger_storage_exporter: {trace_storage: main}}
extensions: {jaeger_storage: {backends: {main: {memory: {}}}}}
service: {pipelines: {traces: {receivers: [otlp], exporters: [jaeger_storage_exporter]}}}
",
    );
    assert!(
        message.contains("list jaeger_storage in service::extensions"),
        "{message}"
    );
}

/// The paths of all keys in a tree.
fn paths(node: &yaml::Node, path: &str, found: &mut std::collections::BTreeSet<String>) {
    if let yaml::Yaml::Map(entries) = &node.value {
        for (key, value) in entries {
            let path = if path.is_empty() {
                key.clone()
            } else {
                format!("{path}::{key}")
            };
            paths(value, &path, found);
            found.insert(path);
        }
    }
}

#[test]
fn the_example_is_valid_and_names_every_key_that_there_is() {
    let example = yaml::parse(include_str!("example.yaml"), &env).unwrap();
    let mut named = std::collections::BTreeSet::new();
    paths(&example, "", &mut named);
    let problems = Problems::default();
    graph::read(&problems, example).unwrap_or_else(|error| panic!("{error:?}"));
    // A backend is one or the other.
    let either =
        |path: &&String| !path.ends_with("::main::memory") && !path.ends_with("::trial::embedded");
    let asked = problems.asked();
    let missing: Vec<_> = asked.difference(&named).filter(either).collect();
    assert!(missing.is_empty(), "the example lacks {missing:?}");
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in "[a-z:{}\\[\\]$ \n-]{0,80}") {
        let _ = Config::parse(&text, &env);
    }
}
