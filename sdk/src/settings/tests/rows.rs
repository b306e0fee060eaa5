//! Every row of the table, by itself: what it changes, for which signal, and that nonsense in it is
//! reported and changes nothing.

use std::collections::BTreeSet;

use super::*;

/// A variable, what to set beside it, a value, what that does to the text of what is looked at, and a
/// value that is none: empty where any text is one.
type Row<Of> = (
    &'static str,
    &'static [(&'static str, &'static str)],
    &'static str,
    fn(&Of) -> String,
    &'static str,
    &'static str,
);

const RATIO: &[(&str, &str)] = &[("OTEL_TRACES_SAMPLER", "traceidratio")];

/// The rows that are not one for each signal.
const ROWS: &[Row<Settings>] = &[
    (
        "OTEL_SDK_DISABLED",
        &[],
        "TRUE",
        |s| s.disabled.to_string(),
        "true",
        "1",
    ),
    (
        "OTEL_SERVICE_NAME",
        &[],
        "cart",
        |s| format!("{:?}", s.service_name),
        r#"Some("cart")"#,
        "",
    ),
    (
        "OTEL_RESOURCE_ATTRIBUTES",
        &[],
        "a=b%2Cc, d=e",
        |s| format!("{:?}", s.resource_attributes),
        r#"[("a", "b,c"), ("d", "e")]"#,
        "a=b,c",
    ),
    (
        "OTEL_LOG_LEVEL",
        &[],
        "error",
        |s| s.log_filter.clone(),
        "info,opentelemetry=error,spanloom=error",
        "loud",
    ),
    (
        "RUST_LOG",
        &[],
        "shop=debug",
        |s| s.log_filter.clone(),
        "shop=debug",
        "",
    ),
    (
        "OTEL_PROPAGATORS",
        &[],
        "b3,jaeger",
        |s| {
            s.formats
                .iter()
                .map(|format| format.name())
                .collect::<Vec<_>>()
                .join(",")
        },
        "b3,jaeger",
        "tracecontext,pigeon",
    ),
    (
        "OTEL_TRACES_SAMPLER",
        &[],
        "parentbased_always_off",
        |s| format!("{:?} {}", s.sampler.root, s.is_sampler_given),
        "Off true",
        "sometimes",
    ),
    (
        "OTEL_TRACES_SAMPLER_ARG",
        RATIO,
        "0.25",
        |s| format!("{:?}", s.sampler.root),
        "Ratio(0.25)",
        "1.5",
    ),
    (
        "OTEL_TRACES_EXPORTER",
        &[],
        "console",
        |s| format!("{:?}", s.destination),
        "Console",
        "zipkin",
    ),
    (
        "OTEL_METRICS_EXPORTER",
        &[],
        "console",
        |s| format!("{:?} {}", s.metrics.destination, s.metrics.is_given),
        "Console true",
        "prometheus",
    ),
    (
        "OTEL_METRIC_EXPORT_INTERVAL",
        &[],
        "7",
        |s| format!("{:?}", s.metrics.interval),
        "7ms",
        "1s",
    ),
    (
        "OTEL_METRIC_EXPORT_TIMEOUT",
        &[],
        "7",
        |s| format!("{:?}", s.metrics.timeout),
        "7ms",
        "-1",
    ),
    (
        "OTEL_METRICS_EXEMPLAR_FILTER",
        &[],
        "Always_On",
        |s| format!("{:?}", s.metrics.filter),
        "AlwaysOn",
        "never",
    ),
    (
        "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",
        &[],
        "delta",
        |s| s.metrics.is_delta.to_string(),
        "true",
        "both",
    ),
    (
        "OTEL_BSP_SCHEDULE_DELAY",
        &[],
        "7",
        |s| format!("{:?}", s.batch.schedule_delay),
        "7ms",
        "soon",
    ),
    (
        "OTEL_BSP_EXPORT_TIMEOUT",
        &[],
        "7",
        |s| format!("{:?}", s.batch.export_timeout),
        "7ms",
        "soon",
    ),
    (
        "OTEL_BSP_MAX_QUEUE_SIZE",
        &[],
        "700",
        |s| s.batch.queue_spans_max.to_string(),
        "700",
        "many",
    ),
    (
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
        &[],
        "7",
        |s| s.batch.batch_spans_max.to_string(),
        "7",
        "many",
    ),
    (
        "OTEL_ATTRIBUTE_COUNT_LIMIT",
        &[],
        "7",
        |s| s.limits.max_attributes_per_span.to_string(),
        "7",
        "few",
    ),
    (
        "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT",
        &[],
        "7",
        |s| format!("{:?}", s.batch.value_chars_max),
        "Some(7)",
        "short",
    ),
    (
        "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
        &[("OTEL_ATTRIBUTE_COUNT_LIMIT", "9")],
        "7",
        |s| s.limits.max_attributes_per_span.to_string(),
        "7",
        "few",
    ),
    (
        "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT",
        &[("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "9")],
        "7",
        |s| format!("{:?}", s.batch.value_chars_max),
        "Some(7)",
        "short",
    ),
    (
        "OTEL_SPAN_EVENT_COUNT_LIMIT",
        &[],
        "7",
        |s| s.limits.max_events_per_span.to_string(),
        "7",
        "few",
    ),
    (
        "OTEL_SPAN_LINK_COUNT_LIMIT",
        &[],
        "7",
        |s| s.limits.max_links_per_span.to_string(),
        "7",
        "few",
    ),
    (
        "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT",
        &[],
        "7",
        |s| s.limits.max_attributes_per_event.to_string(),
        "7",
        "few",
    ),
    (
        "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT",
        &[],
        "7",
        |s| s.limits.max_attributes_per_link.to_string(),
        "7",
        "few",
    ),
];

/// The rows with a form for each signal, by the end of their names.
const ENDPOINT_ROWS: &[Row<Endpoint>] = &[
    (
        "ENDPOINT",
        &[],
        "https://c:4317",
        |e| format!("{} {:?}", e.url, e.protocol),
        "https://c:4317 Grpc",
        "",
    ),
    (
        "PROTOCOL",
        &[],
        "http/json",
        |e| format!("{:?}", e.protocol),
        "HttpJson",
        "smoke",
    ),
    (
        "INSECURE",
        &[("OTEL_EXPORTER_OTLP_ENDPOINT", "c:4317")],
        "true",
        |e| e.url.clone(),
        "http://c:4317",
        "perhaps",
    ),
    (
        "HEADERS",
        &[],
        "a=b%20c",
        |e| format!("{:?}", e.headers),
        r#"[("a", "b c")]"#,
        "a",
    ),
    (
        "TIMEOUT",
        &[],
        "7",
        |e| format!("{:?}", e.timeout),
        "7ms",
        "7s",
    ),
    (
        "COMPRESSION",
        &[],
        "gzip",
        |e| e.is_gzipped.to_string(),
        "true",
        "brotli",
    ),
    (
        "CERTIFICATE",
        &[],
        "/ca",
        |e| format!("{:?}", e.tls.authorities),
        r#"Some("/ca")"#,
        "",
    ),
    (
        "CLIENT_CERTIFICATE",
        &[],
        "/own",
        |e| format!("{:?}", e.tls.certificate),
        r#"Some("/own")"#,
        "",
    ),
    (
        "CLIENT_KEY",
        &[],
        "/key",
        |e| format!("{:?}", e.tls.key),
        r#"Some("/key")"#,
        "",
    ),
];

/// The rows without an effect, and a value about which there is nothing to say.
const WITHOUT_EFFECT: &[(&str, &str, &str)] = &[
    ("OTEL_CONFIG_FILE", "/etc/otel.yaml", ""),
    ("OTEL_LOGS_EXPORTER", "otlp", "None"),
    ("OTEL_BSP_MAX_CONCURRENT_EXPORTS", "4", "1"),
    (
        "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
        "base2_exponential_bucket_histogram",
        "explicit_bucket_histogram",
    ),
];

fn with(beside: &[(&str, &str)], name: &str, value: &str) -> Settings {
    read(&[beside, &[(name, value)]].concat())
}

#[test]
fn each_row_does_what_it_says_and_nonsense_in_it_does_nothing() {
    for (name, beside, value, look, expected, nonsense) in ROWS {
        let default = look(&read(beside));
        assert_ne!(default, *expected, "{name}");
        let set = with(beside, name, value);
        assert_eq!(
            (&*look(&set), &*set.warnings),
            (*expected, &[][..]),
            "{name}"
        );
        assert_eq!(look(&with(beside, name, " ")), default, "{name} is empty");
        if !nonsense.is_empty() {
            let wrong = with(beside, name, nonsense);
            assert_eq!((look(&wrong), wrong.warnings.len()), (default, 1), "{name}");
            assert!(wrong.warnings[0].contains(name), "{:?}", wrong.warnings);
        }
    }
}

#[test]
fn each_form_of_a_row_is_for_its_signal_and_stronger_than_the_general_one() {
    for (end, beside, value, look, expected, nonsense) in ENDPOINT_ROWS {
        let both =
            |settings: &Settings| [look(&settings.endpoint), look(&settings.metrics.endpoint)];
        let [traces, metrics] = both(&read(beside));
        let set =
            |form: &str, value| with(beside, &format!("OTEL_EXPORTER_OTLP_{form}{end}"), value);
        assert_eq!(both(&set("", value)), [*expected; 2], "{end}");
        assert_eq!(both(&set("TRACES_", value)), [*expected, &metrics], "{end}");
        assert_eq!(both(&set("METRICS_", value)), [&traces, *expected], "{end}");
        if !nonsense.is_empty() {
            let wrong = set("TRACES_", nonsense);
            assert_eq!(
                (both(&wrong), wrong.warnings.len()),
                ([traces, metrics], 1),
                "{end}"
            );
        }
    }
}

#[test]
fn what_has_no_effect_is_reported_unless_it_asks_for_what_is_done_anyway() {
    for (name, value, harmless) in WITHOUT_EFFECT {
        let warnings = read(&[(name, value)]).warnings;
        assert!(
            warnings.len() == 1 && warnings[0].contains(name),
            "{warnings:?}"
        );
        assert_eq!(read(&[(name, harmless)]).warnings, [""; 0]);
    }
}

#[test]
fn every_row_of_the_table_is_among_these() {
    let of_endpoints = ENDPOINT_ROWS
        .iter()
        .map(|row| format!("OTEL_EXPORTER_OTLP_{}", row.0));
    let tested: BTreeSet<String> = ROWS
        .iter()
        .map(|row| row.0.to_owned())
        .chain(of_endpoints)
        .chain(WITHOUT_EFFECT.iter().map(|row| row.0.to_owned()))
        .collect();
    let rows = table::GROUPS.iter().flat_map(|group| group.variables);
    let rows: BTreeSet<_> = rows.map(|variable| variable.name.to_owned()).collect();
    assert_eq!(tested, rows);
}
