//! Each variable, read from a map instead of the process.

mod rows;

use std::cell::RefCell;
use std::collections::BTreeSet;

use super::*;

fn read(variables: &[(&str, &str)]) -> Settings {
    read_with(Preset::BARE, variables)
}

fn read_with(preset: Preset, variables: &[(&str, &str)]) -> Settings {
    let lookup = |name: &str| {
        let found = variables.iter().find(|(variable, _)| *variable == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    Settings::read(&lookup, preset)
}

#[test]
fn an_empty_environment_has_the_defaults_of_the_table() {
    let settings = read(&[("OTEL_SERVICE_NAME", " "), ("OTEL_PROPAGATORS", "")]);
    assert_eq!(settings.warnings, [""; 0]);
    assert!(!settings.disabled);
    assert_eq!(settings.service_name, None);
    assert_eq!(
        (settings.formats, settings.has_baggage),
        (vec![Format::TraceContext], true)
    );
    assert_eq!(
        settings.sampler,
        SamplerSetting {
            root: RootSampler::On,
            parent_based: true
        }
    );
    assert_eq!(settings.destination, Destination::Otlp);
    assert_eq!(settings.endpoint.url, "http://localhost:4318/v1/traces");
    assert_eq!(settings.endpoint.protocol, Protocol::HttpProtobuf);
    assert_eq!(settings.endpoint.timeout, Duration::from_secs(10));
    assert_eq!(
        settings.batch,
        BatchSettings {
            schedule_delay: Duration::from_secs(5),
            export_timeout: Duration::from_secs(30),
            queue_spans_max: 16_384,
            batch_spans_max: 512,
            value_chars_max: None,
        }
    );
    assert_eq!(settings.log_filter, "info,opentelemetry=warn,spanloom=warn");
    let limits = settings.limits;
    assert_eq!(
        [limits.max_attributes_per_span, limits.max_events_per_span],
        [128, 128]
    );
}

/// A row without a reader would promise what does not exist; a reader without a row panics.
#[test]
fn every_row_of_the_table_is_read_and_nothing_else() {
    let asked = RefCell::new(BTreeSet::new());
    let lookup = |name: &str| {
        asked.borrow_mut().insert(name.to_owned());
        // A sampler with an argument, so that the argument is asked for.
        (name == "OTEL_TRACES_SAMPLER").then(|| "traceidratio".to_owned())
    };
    Settings::read(&lookup, Preset::BARE);
    let mut rows = BTreeSet::new();
    for variable in table::GROUPS.iter().flat_map(|group| group.variables) {
        rows.insert(variable.name.to_owned());
        if variable.has_forms {
            rows.extend(
                [Signal::Traces, Signal::Metrics]
                    .map(|signal| table::for_signal(variable.name, signal)),
            );
        }
    }
    assert_eq!(asked.into_inner(), rows);
}

#[test]
fn the_service_name_variable_is_stronger_than_the_attribute_list() {
    let list = ("OTEL_RESOURCE_ATTRIBUTES", "service.name=listed,team=a%20b");
    assert_eq!(read(&[list]).service_name.as_deref(), Some("listed"));
    let settings = read(&[list, ("OTEL_SERVICE_NAME", "named")]);
    assert_eq!(settings.service_name.as_deref(), Some("named"));
    assert_eq!(
        settings.resource_attributes,
        [("team".to_owned(), "a b".to_owned())]
    );
}

#[test]
fn an_unresolved_kubernetes_reference_is_left_out() {
    let settings = read(&[
        (
            "OTEL_RESOURCE_ATTRIBUTES",
            "k8s.pod.name=$(POD_NAME),service.instance.id=shop.$(POD_NAME).cart,a=b",
        ),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=$(TOKEN),c=$(d"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://$(NODE_IP):4317"),
        ("OTEL_SERVICE_NAME", "$(NAME)"),
        ("OTEL_TRACES_SAMPLER", "$(SAMPLER)"),
    ]);
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(settings.resource_attributes, [pair("a", "b")]);
    assert_eq!(settings.endpoint.headers, [pair("c", "$(d")]);
    assert_eq!(settings.endpoint.url, "http://localhost:4318/v1/traces");
    assert_eq!(settings.service_name, None);
    assert_eq!(settings.warnings.len(), 6, "{:#?}", settings.warnings);
    // What is secret when it is resolved is not told when it is half so.
    assert!(!settings.warnings.concat().contains("TOKEN"));
}

#[test]
fn the_protocol_follows_the_port_until_it_is_named() {
    let endpoint = |variables: &[(&str, &str)]| read(variables).endpoint;
    let general = |url| endpoint(&[("OTEL_EXPORTER_OTLP_ENDPOINT", url)]);
    assert_eq!(general("http://c:4317").protocol, Protocol::Grpc);
    assert_eq!(general("http://c:4317").url, "http://c:4317");
    assert_eq!(general("http://c:4318/").url, "http://c:4318/v1/traces");
    assert_eq!(general("http://[::1]:4317/x").protocol, Protocol::Grpc);
    assert_eq!(general("https://c/base").url, "https://c/base/v1/traces");
    let named = endpoint(&[
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c:4317/own"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "HTTP/protobuf"),
    ]);
    assert_eq!(
        (named.url.as_str(), named.protocol),
        ("http://c:4317/own", Protocol::HttpProtobuf)
    );
    let grpc = endpoint(&[("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]);
    assert_eq!(grpc.url, "http://localhost:4317");
}

#[test]
fn headers_and_timeout_for_traces_are_stronger_than_the_general_ones() {
    let settings = read(&[
        (
            "OTEL_EXPORTER_OTLP_HEADERS",
            "authorization=Bearer%20general",
        ),
        (
            "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
            "authorization=Bearer%20traces",
        ),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "1"),
        ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "250"),
    ]);
    let header = ("authorization".to_owned(), "Bearer traces".to_owned());
    assert_eq!(settings.endpoint.headers, [header]);
    assert_eq!(settings.endpoint.timeout, Duration::from_millis(250));
}

#[test]
fn samplers_are_read_with_their_argument() {
    let sampler = |name, argument| {
        read(&[
            ("OTEL_TRACES_SAMPLER", name),
            ("OTEL_TRACES_SAMPLER_ARG", argument),
        ])
        .sampler
    };
    let expect = |root, parent_based| SamplerSetting { root, parent_based };
    assert_eq!(sampler("always_off", ""), expect(RootSampler::Off, false));
    assert_eq!(
        sampler("TraceIdRatio", "0.25"),
        expect(RootSampler::Ratio(0.25), false)
    );
    let parent_based = sampler("parentbased_traceidratio", "0.5");
    assert_eq!(parent_based, expect(RootSampler::Ratio(0.5), true));
    assert_eq!(
        sampler("traceidratio", "7"),
        expect(RootSampler::Ratio(1.0), false)
    );
}

#[test]
fn nonsense_is_reported_and_taken_as_unset() {
    let settings = read(&[
        ("OTEL_SDK_DISABLED", "yes"),
        ("OTEL_PROPAGATORS", "tracecontext,tracecontext,smoke"),
        ("OTEL_TRACES_SAMPLER", "sometimes"),
        ("OTEL_TRACES_EXPORTER", "pigeon"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "many"),
        ("OTEL_RESOURCE_ATTRIBUTES", "broken"),
    ]);
    assert!(!settings.disabled);
    assert_eq!(settings.formats, [Format::TraceContext]);
    assert_eq!(
        settings.sampler,
        SamplerSetting {
            root: RootSampler::On,
            parent_based: true
        }
    );
    assert_eq!(settings.destination, Destination::Otlp);
    assert_eq!(settings.batch.queue_spans_max, 16_384);
    assert_eq!(settings.warnings.len(), 6, "{:#?}", settings.warnings);
}

#[test]
fn a_batch_is_never_larger_than_the_queue() {
    let settings = read(&[("OTEL_BSP_MAX_QUEUE_SIZE", "100")]);
    assert_eq!(
        (
            settings.batch.queue_spans_max,
            settings.batch.batch_spans_max
        ),
        (100, 100)
    );
}

#[test]
fn the_span_limit_of_attributes_is_stronger_than_the_general_one() {
    let general = ("OTEL_ATTRIBUTE_COUNT_LIMIT", "7");
    assert_eq!(read(&[general]).limits.max_attributes_per_span, 7);
    let settings = read(&[general, ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "3")]);
    assert_eq!(settings.limits.max_attributes_per_span, 3);
}

#[test]
fn the_log_level_of_the_sdk_is_its_own_until_rust_log_speaks() {
    let level = ("OTEL_LOG_LEVEL", "DEBUG");
    assert_eq!(
        read(&[level]).log_filter,
        "info,opentelemetry=debug,spanloom=debug"
    );
    assert_eq!(read(&[level, ("RUST_LOG", "trace")]).log_filter, "trace");
}

#[test]
fn a_sampler_that_asks_a_server_knows_whom_and_how_often() {
    let settings = |name, argument| {
        read(&[
            ("OTEL_TRACES_SAMPLER", name),
            ("OTEL_TRACES_SAMPLER_ARG", argument),
        ])
    };
    let argument = "endpoint=http://jaeger:14250,pollingIntervalMs=5000,initialSamplingRate=0.25";
    let given = settings("parentbased_jaeger_remote", argument);
    let expected = SamplerSetting {
        root: RootSampler::Remote(0.25),
        parent_based: true,
    };
    assert_eq!((given.sampler, given.warnings.len()), (expected, 0));
    let remote = given.remote.unwrap();
    assert_eq!(
        (remote.endpoint.as_str(), remote.interval.as_secs()),
        ("http://jaeger:14250", 5)
    );
    let default = settings("jaeger_remote", "");
    assert_eq!(
        default.sampler,
        SamplerSetting {
            root: RootSampler::Remote(1.0),
            parent_based: false
        }
    );
    assert_eq!(default.remote.unwrap().endpoint, "http://localhost:14250");
    for (name, slip) in [
        ("jaeger_remote", "pollingIntervalMs=soon"),
        ("jaeger_remote", "initialSamplingRate=2"),
        ("jaeger_remote", "initialSamplingRate=few"),
        ("xray", "polling_interval=soon"),
    ] {
        let wrong = settings(name, slip);
        assert_eq!(wrong.warnings.len(), 1, "{slip}: {:?}", wrong.warnings);
    }
    let xray = settings(
        "parentbased_xray",
        "endpoint=10.0.0.1:2000,polling_interval=60",
    );
    let expected = SamplerSetting {
        root: RootSampler::Xray,
        parent_based: true,
    };
    assert_eq!((xray.sampler, xray.warnings.len()), (expected, 0));
    let remote = xray.remote.unwrap();
    assert_eq!(
        (remote.endpoint.as_str(), remote.interval.as_secs()),
        ("http://10.0.0.1:2000", 60)
    );
    let default = settings("xray", "").remote.unwrap();
    assert_eq!(
        (default.endpoint.as_str(), default.interval.as_secs()),
        ("http://localhost:2000", 300)
    );
}

#[test]
fn an_endpoint_without_a_scheme_is_encrypted_unless_it_is_declared_insecure() {
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317");
    assert_eq!(read(&[endpoint]).endpoint.url, "https://collector:4317");
    let insecure = ("OTEL_EXPORTER_OTLP_TRACES_INSECURE", "True");
    assert_eq!(
        read(&[endpoint, insecure]).endpoint.url,
        "http://collector:4317"
    );
}

#[test]
fn the_length_limit_of_spans_is_stronger_than_the_general_one() {
    let general = ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "100");
    assert_eq!(read(&[general]).batch.value_chars_max, Some(100));
    let settings = read(&[general, ("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "50")]);
    assert_eq!(settings.batch.value_chars_max, Some(50));
}

#[test]
fn every_propagator_of_the_operator_is_known_or_reported() {
    let read = |list| {
        let settings = read(&[("OTEL_PROPAGATORS", list)]);
        let names: Vec<_> = settings
            .formats
            .iter()
            .map(|format| format.name())
            .collect();
        (
            names.join(","),
            settings.has_baggage,
            settings.warnings.len(),
        )
    };
    let all = "tracecontext,b3,b3multi,jaeger,xray,datadog";
    assert_eq!(
        read("tracecontext,baggage,B3,b3multi,jaeger,xray,datadog"),
        (all.into(), true, 0)
    );
    assert_eq!(read("ottrace,jaeger"), ("jaeger".into(), false, 1));
    assert_eq!(read("b3,none"), (String::new(), false, 0));
}

#[test]
fn the_environment_is_stronger_than_a_preset() {
    let read = |variables| read_with(Preset::DEVELOPMENT, variables);
    let preset = read(&[("OTEL_BSP_SCHEDULE_DELAY", " ")]);
    assert_eq!(preset.batch.schedule_delay, Duration::from_millis(200));
    assert_eq!(preset.destination, Destination::Console);
    // A preset is not the word of whoever deploys: the program's own sampler goes before it.
    assert!(!preset.is_sampler_given && preset.warnings.is_empty());
    let given = read(&[
        ("OTEL_BSP_SCHEDULE_DELAY", "7"),
        ("OTEL_TRACES_SAMPLER", "always_off"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c:4317"),
    ]);
    assert_eq!(given.batch.schedule_delay, Duration::from_millis(7));
    assert_eq!(given.sampler.root, RootSampler::Off);
    assert_eq!(given.destination, Destination::Otlp);
    let asked = read(&[("OTEL_TRACES_EXPORTER", "none")]);
    assert_eq!(asked.destination, Destination::Nowhere);
    let empty = read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")]);
    assert_eq!(empty.destination, Destination::Console);
    // Nonsense is nobody's word.
    let wrong = read(&[
        ("OTEL_BSP_SCHEDULE_DELAY", "soon"),
        ("OTEL_TRACES_SAMPLER", "sometimes"),
        ("OTEL_TRACES_EXPORTER", "pigeon"),
    ]);
    assert_eq!(wrong.batch.schedule_delay, Duration::from_millis(200));
    assert_eq!(wrong.destination, Destination::Console);
    assert!(!wrong.is_sampler_given && wrong.warnings.len() == 3);
}

#[test]
fn metrics_go_where_traces_go_until_their_own_variables_speak() {
    let general = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318");
    let metrics = read(&[general]).metrics;
    assert_eq!(metrics.endpoint.url, "http://c:4318/v1/metrics");
    // Unasked they go nowhere; that is not the environment's word, so the program may ask.
    assert!(!metrics.is_given);
    assert_eq!(metrics.interval, Duration::from_secs(60));
    assert_eq!(
        (metrics.filter, metrics.is_delta),
        (ExemplarFilter::TraceBased, false)
    );
    let settings = read(&[
        general,
        ("OTEL_METRICS_EXPORTER", "otlp"),
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://m:4317"),
        ("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "a=b"),
        (
            "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",
            "LowMemory",
        ),
        ("OTEL_METRIC_EXPORT_INTERVAL", "0"),
        ("OTEL_METRICS_EXEMPLAR_FILTER", "always_off"),
    ]);
    let metrics = settings.metrics;
    assert_eq!(
        (metrics.destination, metrics.is_given),
        (Destination::Otlp, true)
    );
    assert_eq!(metrics.endpoint.url, "http://m:4317");
    assert_eq!(metrics.endpoint.protocol, Protocol::Grpc);
    assert_eq!(metrics.endpoint.headers, [("a".to_owned(), "b".to_owned())]);
    assert_eq!(settings.endpoint.url, "http://c:4318/v1/traces");
    assert_eq!(settings.endpoint.headers, []);
    assert_eq!(metrics.interval, Duration::from_millis(1));
    assert_eq!(
        (metrics.filter, metrics.is_delta),
        (ExemplarFilter::AlwaysOff, true)
    );
}

#[test]
fn a_slip_that_both_signals_meet_is_reported_once() {
    let settings = read(&[
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
        ("OTEL_METRICS_EXPORTER", "prometheus"),
    ]);
    assert_eq!(settings.warnings.len(), 2, "{:#?}", settings.warnings);
    assert!(!settings.metrics.is_given);
}
