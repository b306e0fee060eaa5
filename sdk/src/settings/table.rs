//! Every variable, once: the parser takes its defaults from here, and `sdk/ENVIRONMENT.md` is this
//! table in words.

use super::Signal;

/// One variable.
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "the page is written and compared by a test")
)]
pub(super) struct Variable {
    pub(super) name: &'static str,
    /// Whether `OTEL_EXPORTER_OTLP_TRACES_...` and `..._METRICS_...`, each for its signal, go before
    /// `OTEL_EXPORTER_OTLP_...`.
    pub(super) has_forms: bool,
    /// What counts when it is unset, in the variable's own spelling; empty for nothing.
    pub(super) default: &'static str,
    /// What it does, in one line.
    pub(super) meaning: &'static str,
    /// What `opentelemetry_sdk` and `opentelemetry-otlp` 0.33.1 do with it, where that differs.
    pub(super) upstream: &'static str,
}

/// The variables under a heading of the page.
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "the page is written and compared by a test")
)]
pub(super) struct Group {
    pub(super) heading: &'static str,
    pub(super) variables: &'static [Variable],
}

const fn variable(
    name: &'static str,
    default: &'static str,
    meaning: &'static str,
    upstream: &'static str,
) -> Variable {
    Variable {
        name,
        has_forms: false,
        default,
        meaning,
        upstream,
    }
}

const fn otlp(
    name: &'static str,
    default: &'static str,
    meaning: &'static str,
    upstream: &'static str,
) -> Variable {
    Variable {
        name,
        has_forms: true,
        default,
        meaning,
        upstream,
    }
}

const NOT_READ: &str = "not read";

/// The whole table.
pub(super) const GROUPS: &[Group] = &[
    Group {
        heading: "The program",
        variables: &[
            variable(
                "OTEL_SDK_DISABLED",
                "false",
                "`true` makes no spans; the context of a caller still travels on",
                NOT_READ,
            ),
            variable(
                "OTEL_SERVICE_NAME",
                "",
                "name of the service; stronger than `service.name` in OTEL_RESOURCE_ATTRIBUTES and \
                 than the program; `unknown_service:PROGRAM` when nobody names it",
                "weaker than `service.name` in OTEL_RESOURCE_ATTRIBUTES",
            ),
            variable(
                "OTEL_RESOURCE_ATTRIBUTES",
                "",
                "`key=value,...` with percent-encoded values; a broken list is refused as a whole",
                "not decoded; broken items are skipped",
            ),
            variable(
                "OTEL_LOG_LEVEL",
                "warn",
                "level of the log lines of the SDK itself, when RUST_LOG is unset",
                NOT_READ,
            ),
            variable(
                "RUST_LOG",
                "info",
                "which log lines appear, as `tracing-subscriber` reads it",
                "not its matter",
            ),
        ],
    },
    Group {
        heading: "Context and sampling",
        variables: &[
            variable(
                "OTEL_PROPAGATORS",
                "tracecontext,baggage",
                "`tracecontext`, `baggage`, `b3`, `b3multi`, `jaeger`, `xray`, `datadog`, `none`; the first \
                 that a request has counts, and all are sent; unknown names are left out",
                "not read; no propagator is set",
            ),
            variable(
                "OTEL_TRACES_SAMPLER",
                "parentbased_always_on",
                "`always_on`, `always_off`, `traceidratio`, `consistent_probability` (W3C \
                 tracestate `ot=th:..;rv:..`), `jaeger_remote` (asks a server over gRPC), `xray` (asks \
                 a daemon for the rules of AWS X-Ray; without one the first request of a second and \
                 5 % of the others; a rule's service type means `cloud.platform`, its ARN \
                 `aws.ecs.container.arn` or a function's `cloud.resource_id`), each also with `parentbased_` in front",
                "`jaeger_remote` and `xray` sample everything; no `consistent_probability`",
            ),
            variable(
                "OTEL_TRACES_SAMPLER_ARG",
                "1.0",
                "the share of traces to keep, for the samplers with a ratio; for `jaeger_remote` \
                 `endpoint=..,pollingIntervalMs=..,initialSamplingRate=..`; for `xray` \
                 `endpoint=localhost:2000,polling_interval=300` (plain HTTP, seconds)",
                "only a share",
            ),
        ],
    },
    Group {
        heading: "Export",
        variables: &[
            variable(
                "OTEL_TRACES_EXPORTER",
                "otlp",
                "`otlp`, `console` (one line a span on standard output), `none`",
                NOT_READ,
            ),
            otlp(
                "OTEL_EXPORTER_OTLP_ENDPOINT",
                "",
                "URL of the collector; `/v1/traces` or `/v1/metrics` is added to the general form over HTTP; \
                 without a scheme it is `https`, or `http` when insecure; by default \
                 `http://localhost:4318`, or `:4317` for gRPC",
                "",
            ),
            otlp(
                "OTEL_EXPORTER_OTLP_PROTOCOL",
                "",
                "`grpc`, `http/protobuf` or `http/json`; when unset `grpc` for an endpoint with \
                 port 4317, else `http/protobuf`",
                "`http/protobuf` whatever the port, so that every export to port 4317 fails",
            ),
            otlp(
                "OTEL_EXPORTER_OTLP_INSECURE",
                "false",
                "`true` means plain HTTP for an endpoint without a scheme",
                "gRPC only",
            ),
            otlp(
                "OTEL_EXPORTER_OTLP_HEADERS",
                "",
                "`key=value,...` with percent-encoded values, sent with each export",
                "",
            ),
            otlp(
                "OTEL_EXPORTER_OTLP_TIMEOUT",
                "10000",
                "milliseconds that one export with its retries may take",
                "",
            ),
            otlp(
                "OTEL_EXPORTER_OTLP_COMPRESSION",
                "none",
                "`gzip` or `none`",
                "`gzip` and `zstd`, each behind a feature",
            ),
            otlp(
                "OTEL_EXPORTER_OTLP_CERTIFICATE",
                "",
                "PEM file with the authorities to trust, instead of the system's",
                NOT_READ,
            ),
            otlp(
                "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
                "",
                "PEM file with the certificate to show to the collector",
                NOT_READ,
            ),
            otlp(
                "OTEL_EXPORTER_OTLP_CLIENT_KEY",
                "",
                "PEM file with the key of that certificate",
                NOT_READ,
            ),
        ],
    },
    Group {
        heading: "Metrics",
        variables: &[
            variable(
                "OTEL_METRICS_EXPORTER",
                "",
                "`otlp`, `console` (one line a series on standard output), `none`; when unset nothing \
                 is measured unless the program says `Builder::metrics`, because a collector that \
                 takes traces only, as Spanloom's own, would refuse them",
                NOT_READ,
            ),
            variable(
                "OTEL_METRIC_EXPORT_INTERVAL",
                "60000",
                "milliseconds between two exports",
                "",
            ),
            variable(
                "OTEL_METRIC_EXPORT_TIMEOUT",
                "30000",
                "milliseconds after which an export is given up; the next one has its figures, too",
                "only in the experimental asynchronous reader",
            ),
            variable(
                "OTEL_METRICS_EXEMPLAR_FILTER",
                "trace_based",
                "which requests may be the example of a bucket: `trace_based` those with a sampled \
                 span, `always_on`, `always_off`",
                "not read; there are no exemplars",
            ),
            variable(
                "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",
                "cumulative",
                "`cumulative`, or `delta` and `lowmemory`, which is the same for histograms",
                "",
            ),
            variable(
                "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
                "explicit_bucket_histogram",
                "nothing else; another value is reported",
                NOT_READ,
            ),
        ],
    },
    Group {
        heading: "Batches",
        variables: &[
            variable(
                "OTEL_BSP_SCHEDULE_DELAY",
                "5000",
                "milliseconds until a batch that is not full is sent; 0 waits for full ones",
                "",
            ),
            variable(
                "OTEL_BSP_EXPORT_TIMEOUT",
                "30000",
                "milliseconds after which an export is given up",
                "ignored by the default processor",
            ),
            variable(
                "OTEL_BSP_MAX_QUEUE_SIZE",
                "16384",
                "spans that may wait; more are dropped, counted and reported; the specification's \
                 2048 are 20 ms at 100,000 spans/s, and a throttled container pauses longer",
                "`2048`",
            ),
            variable(
                "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
                "512",
                "spans in one export; at most the queue's size",
                "",
            ),
        ],
    },
    Group {
        heading: "Limits",
        variables: &[
            variable(
                "OTEL_ATTRIBUTE_COUNT_LIMIT",
                "128",
                "attributes of a span, unless the span's own limit says it",
                NOT_READ,
            ),
            variable(
                "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT",
                "",
                "characters of a text value, in spans, events and links; the rest is cut off",
                NOT_READ,
            ),
            variable(
                "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
                "",
                "attributes of a span",
                "",
            ),
            variable(
                "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT",
                "",
                "the same as the general length limit, and stronger",
                NOT_READ,
            ),
            variable("OTEL_SPAN_EVENT_COUNT_LIMIT", "128", "events of a span", ""),
            variable("OTEL_SPAN_LINK_COUNT_LIMIT", "128", "links of a span", ""),
            variable(
                "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT",
                "128",
                "attributes of an event",
                NOT_READ,
            ),
            variable(
                "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT",
                "128",
                "attributes of a link",
                NOT_READ,
            ),
        ],
    },
    Group {
        heading: "Reported when set, without effect",
        variables: &[
            variable(
                "OTEL_CONFIG_FILE",
                "",
                "declarative configuration is not read",
                NOT_READ,
            ),
            variable(
                "OTEL_LOGS_EXPORTER",
                "none",
                "log lines are not exported, they go to standard output with the ids of their span; \
                 anything but `none` is reported",
                NOT_READ,
            ),
            variable(
                "OTEL_BSP_MAX_CONCURRENT_EXPORTS",
                "1",
                "one export follows the other; anything but `1` is reported",
                "ignored by the default processor",
            ),
        ],
    },
];

/// The variable of this name. Names come from this crate only.
pub(super) fn find(name: &str) -> &'static Variable {
    GROUPS
        .iter()
        .flat_map(|group| group.variables)
        .find(|variable| variable.name == name)
        .expect("every variable that is read has its row; the tests read them all")
}

/// `OTEL_EXPORTER_OTLP_X` for a signal: `OTEL_EXPORTER_OTLP_TRACES_X`.
pub(super) fn for_signal(name: &str, signal: Signal) -> String {
    let form = match signal {
        Signal::Traces => "_OTLP_TRACES_",
        Signal::Metrics => "_OTLP_METRICS_",
    };
    name.replacen("_OTLP_", form, 1)
}
