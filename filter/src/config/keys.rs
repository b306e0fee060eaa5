//! The table of keys.

use super::value::{
    attribute, boolean, choice, direction, formats, header_name, headers, list, number, ratio,
    rule, text, texts,
};
use super::{Key, Mode, Protocol, Semconv};
use crate::route::{RouteName, Template};

/// Every key, in the order of the reference page.
pub const KEYS: &[Key] = &[
    Key {
        path: "service_name",
        takes: "text",
        default: "",
        doc: "`service.name` of the spans. Without it, the first of: \
              `OTEL_SERVICE_NAME` of the VM's environment; the pod's annotation \
              `resource.opentelemetry.io/service.name`; its labels \
              `app.kubernetes.io/instance`, `app.kubernetes.io/name`, \
              `service.istio.io/canonical-name`; the workload's name; the proxy's \
              `--service-cluster`; `unknown_service`.",
        set: |settings, value| {
            settings.service_name = Some(text(value)?);
            Some(())
        },
    },
    Key {
        path: "resource_attributes",
        takes: "an object of texts",
        default: "",
        doc: "More attributes of the resource. They win over \
              `OTEL_RESOURCE_ATTRIBUTES` of the VM's environment, and that wins over \
              what the node says.",
        set: |settings, value| {
            settings.resource_attributes = texts(value)?;
            Some(())
        },
    },
    Key {
        path: "direction",
        takes: "`\"inbound\"` or `\"outbound\"`",
        default: "",
        doc: "Which side of a call the proxy stands on: spans become SERVER or \
              CLIENT. Without it: the listener's `traffic_direction`; a listener \
              without one is inbound.",
        set: |settings, value| {
            settings.direction = Some(direction(value)?);
            Some(())
        },
    },
    Key {
        path: "mode",
        takes: "`\"propagate\"` or `\"observe\"`",
        default: "\"propagate\"",
        doc: "With `observe` no header is touched: spans are made beside those of \
              Envoy's own tracer, as children of the same caller.",
        set: |settings, value| {
            settings.mode = choice(
                value,
                &[("propagate", Mode::Propagate), ("observe", Mode::Observe)],
            )?;
            Some(())
        },
    },
    Key {
        path: "semconv",
        takes: "`\"stable\"`, `\"envoy\"` or `\"dup\"`",
        default: "\"stable\"",
        doc: "Names of attributes: OpenTelemetry's stable ones, those of Envoy's own \
              tracers (for Kiali and older dashboards), or both.",
        set: |settings, value| {
            settings.semconv = choice(
                value,
                &[
                    ("stable", Semconv::Stable),
                    ("envoy", Semconv::Envoy),
                    ("dup", Semconv::Dup),
                ],
            )?;
            Some(())
        },
    },
    Key {
        path: "propagation.extract",
        takes: "a list of `tracecontext`, `b3`, `b3multi`, `jaeger`, `datadog`, \
              `xray`, `grpc-trace-bin`",
        default: "[\"tracecontext\"]",
        doc: "Formats that are looked for in requests; the first valid one says who \
              called. A request that came in some of them goes on in the same ones.",
        set: |settings, value| {
            settings.propagation.extract = formats(value)?;
            Some(())
        },
    },
    Key {
        path: "propagation.inject",
        takes: "a list as above",
        default: "[\"tracecontext\"]",
        doc: "Formats that every request goes on in.",
        set: |settings, value| {
            settings.propagation.inject = formats(value)?;
            Some(())
        },
    },
    Key {
        path: "propagation.traceresponse",
        takes: "true or false",
        default: "false",
        doc: "Whether responses say `traceresponse` (a draft of W3C): which span \
              answered.",
        set: |settings, value| {
            settings.propagation.traceresponse = boolean(value)?;
            Some(())
        },
    },
    Key {
        path: "sampling.ratio",
        takes: "a number from 0 to 1",
        default: "1",
        doc: "The share of new traces that is recorded, by OpenTelemetry's \
              consistent probability sampling.",
        set: |settings, value| {
            settings.sampling.ratio = ratio(value)?;
            Some(())
        },
    },
    Key {
        path: "sampling.on_remote",
        takes: "`\"trust\"` or `\"resample\"`",
        default: "\"trust\"",
        doc: "Whether a request that continues a trace follows its caller's \
              decision, or is decided anew: for gateways to the outside.",
        set: |settings, value| {
            settings.sampling.trusts_remote =
                choice(value, &[("trust", true), ("resample", false)])?;
            Some(())
        },
    },
    Key {
        path: "sampling.rules",
        takes: "a list of objects with `ratio` and any of `direction`, `method`, \
              `path`, `host`, `headers`, `port`",
        default: "",
        doc: "The first rule that matches a request gives its ratio. `path`, `host` \
              and the values of `headers` are patterns, where `*` is any text. A \
              ratio of 0 drops a request whatever its caller decided.",
        set: |settings, value| {
            settings.sampling.rules = list(value, rule)?;
            Some(())
        },
    },
    Key {
        path: "sampling.drop_probes",
        takes: "true or false",
        default: "true",
        doc: "Whether new traces of health checks (kube-probe, GoogleHC, \
              ELB-HealthChecker and Envoy by user agent; `/healthz`, `/readyz`, \
              `/livez`) and of OTLP export requests are dropped.",
        set: |settings, value| {
            settings.sampling.drops_probes = boolean(value)?;
            Some(())
        },
    },
    Key {
        path: "sampling.spans_per_s_max",
        takes: "a whole number from 0 to 1000000",
        default: "0",
        doc: "New traces that each worker records in a second; 0 is no limit.",
        set: |settings, value| {
            settings.sampling.spans_per_s_max = number(value, 0, 1_000_000)?;
            Some(())
        },
    },
    Key {
        path: "sampling.keep_errors",
        takes: "true or false",
        default: "false",
        doc: "Whether a failed request is recorded though its trace is not sampled. \
              The span says so in `spanloom.sampling.reason`, and its parent may be \
              missing.",
        set: |settings, value| {
            settings.sampling.keeps_errors = boolean(value)?;
            Some(())
        },
    },
    Key {
        path: "sampling.keep_slower_than_ms",
        takes: "a whole number from 0 to 3600000",
        default: "0",
        doc: "Requests that take longer are recorded though their trace is not \
              sampled; 0 is none.",
        set: |settings, value| {
            settings.sampling.keeps_slower_than_ms = number(value, 0, 3_600_000)?;
            Some(())
        },
    },
    Key {
        path: "sampling.by_request_id",
        takes: "true or false",
        default: "false",
        doc: "Picks new traces by `x-request-id` as Envoy's own tracer does, so that \
              proxies with either pick the same: for a migration.",
        set: |settings, value| {
            settings.sampling.by_request_id = boolean(value)?;
            Some(())
        },
    },
    Key {
        path: "route.templates",
        takes: "a list of paths such as `/users/{id}` or `/static/*`",
        default: "",
        doc: "Routes that Envoy does not know: the first that matches becomes \
              `http.route` and part of the span's name.",
        set: |settings, value| {
            settings.route_templates = list(value, |value| Template::new(value.as_str()?))?;
            Some(())
        },
    },
    Key {
        path: "route.name",
        takes: "`\"auto\"`, `\"always\"` or `\"never\"`",
        default: "\"never\"",
        doc: "Whether the name of Envoy's route is `http.route`; `auto`: if it \
              begins with a slash. Set it where routes are named by their paths: \
              then the name is read for each span.",
        set: |settings, value| {
            settings.route_name = choice(
                value,
                &[
                    ("auto", RouteName::Auto),
                    ("always", RouteName::Always),
                    ("never", RouteName::Never),
                ],
            )?;
            Some(())
        },
    },
    Key {
        path: "attributes.custom",
        takes: "a list of objects with `key` and one of `value`, `environment`, \
              `request_header`, `response_header`, `property`, `baggage`",
        default: "",
        doc: "Attributes that are added to every span. A property is a path of \
              Envoy's attributes with dots, such as \
              `connection.requested_server_name`, and has to be a text.",
        set: |settings, value| {
            settings.attributes.custom = list(value, attribute)?;
            Some(())
        },
    },
    Key {
        path: "attributes.request_headers",
        takes: "a list of header names",
        default: "",
        doc: "Request headers that are captured as `http.request.header.NAME`.",
        set: |settings, value| {
            settings.attributes.request_headers = list(value, header_name)?;
            Some(())
        },
    },
    Key {
        path: "attributes.response_headers",
        takes: "a list of header names",
        default: "",
        doc: "Response headers that are captured as `http.response.header.NAME`.",
        set: |settings, value| {
            settings.attributes.response_headers = list(value, header_name)?;
            Some(())
        },
    },
    Key {
        path: "attributes.redacted_parameters",
        takes: "a list of texts",
        default: "",
        doc: "Query parameters whose values are replaced by `REDACTED`, besides the \
              well-known signatures and keys of cloud providers.",
        set: |settings, value| {
            settings.attributes.redacted_parameters = list(value, text)?;
            Some(())
        },
    },
    Key {
        path: "attributes.istio_peers",
        takes: "true or false",
        default: "false",
        doc: "Whether spans say what Istio's `peer_metadata` filter found out about \
              both ends: `istio.source_*` and `istio.destination_*` with `workload`, \
              `namespace`, `canonical_service`, `canonical_revision`, `cluster_id`, \
              `app`, `app_version`, `workload_type`, `instance_name`. What it does not \
              know is left out. Up to 18 host calls for each recorded request.",
        set: |settings, value| {
            settings.attributes.istio_peers = boolean(value)?;
            Some(())
        },
    },
    Key {
        path: "attributes.bytes_max",
        takes: "a whole number from 16 to 65536",
        default: "1024",
        doc: "Where the text of an attribute is cut.",
        set: |settings, value| {
            settings.attributes.bytes_max = number(value, 16, 65_536)?;
            Some(())
        },
    },
    Key {
        path: "exporter.protocol",
        takes: "`\"grpc\"` or `\"http\"`",
        default: "\"grpc\"",
        doc: "OTLP/gRPC (the cluster has to speak HTTP/2) or OTLP/HTTP.",
        set: |settings, value| {
            settings.export.protocol =
                choice(value, &[("grpc", Protocol::Grpc), ("http", Protocol::Http)])?;
            Some(())
        },
    },
    Key {
        path: "exporter.cluster",
        takes: "text",
        default: "\"otel_collector\"",
        doc: "The Envoy cluster of the collector. In Istio: \
              `outbound|4317||SERVICE.NAMESPACE.svc.cluster.local`.",
        set: |settings, value| {
            settings.export.cluster = text(value)?;
            Some(())
        },
    },
    Key {
        path: "exporter.authority",
        takes: "text",
        default: "\"otel-collector\"",
        doc: "`:authority` of export requests.",
        set: |settings, value| {
            settings.export.authority = text(value)?;
            Some(())
        },
    },
    Key {
        path: "exporter.path",
        takes: "text",
        default: "\"/v1/traces\"",
        doc: "Path of OTLP/HTTP requests.",
        set: |settings, value| {
            settings.export.path = text(value)?;
            Some(())
        },
    },
    Key {
        path: "exporter.headers",
        takes: "an object of header names and texts",
        default: "",
        doc: "Headers added to export requests, for example an API key.",
        set: |settings, value| {
            settings.export.headers = headers(value)?;
            Some(())
        },
    },
    Key {
        path: "exporter.compression",
        takes: "`\"none\"` or `\"gzip\"`",
        default: "\"none\"",
        doc: "Whether export requests are compressed: they become several times smaller, \
              for some microseconds of the proxy's CPU time a span. Worth it where \
              bytes between the proxy and the collector cost more.",
        set: |settings, value| {
            settings.export.gzip = choice(value, &[("none", false), ("gzip", true)])?;
            Some(())
        },
    },
    Key {
        path: "exporter.timeout_ms",
        takes: "a whole number from 1 to 600000",
        default: "10000",
        doc: "How long one export request may take.",
        set: |settings, value| {
            settings.export.timeout_ms = number(value, 1, 600_000)?;
            Some(())
        },
    },
    Key {
        path: "exporter.buffer_bytes_max",
        takes: "a whole number from 65536 to 268435456",
        default: "8388608",
        doc: "Bytes of spans that a worker keeps while the collector is away; spans \
              beyond it are dropped as `buffer_full`.",
        set: |settings, value| {
            settings.export.buffer_bytes_max = number(value, 65_536, 268_435_456)?;
            Some(())
        },
    },
    Key {
        path: "exporter.retry.initial_ms",
        takes: "a whole number from 1 to 600000",
        default: "1000",
        doc: "The pause before the first retry; it doubles with each, and is varied \
              by half of itself.",
        set: |settings, value| {
            settings.export.retry_initial_ms = number(value, 1, 600_000)?;
            Some(())
        },
    },
    Key {
        path: "exporter.retry.interval_ms_max",
        takes: "a whole number from 1 to 600000",
        default: "30000",
        doc: "The longest pause between retries.",
        set: |settings, value| {
            settings.export.retry_interval_ms_max = number(value, 1, 600_000)?;
            Some(())
        },
    },
    Key {
        path: "exporter.retry.elapsed_ms_max",
        takes: "a whole number from 0 to 86400000",
        default: "300000",
        doc: "How long a batch is retried before it is dropped as \
              `retries_exhausted`; 0 never retries.",
        set: |settings, value| {
            settings.export.retry_elapsed_ms_max = number(value, 0, 86_400_000)?;
            Some(())
        },
    },
    Key {
        path: "batch.spans_max",
        takes: "a whole number from 1 to 65536",
        default: "512",
        doc: "Spans that fill a batch; a full batch leaves at once.",
        set: |settings, value| {
            settings.export.batch_spans_max = number(value, 1, 65_536)?;
            Some(())
        },
    },
    Key {
        path: "batch.bytes_max",
        takes: "a whole number from 1024 to 3145728",
        default: "262144",
        doc: "Bytes that fill a batch.",
        set: |settings, value| {
            settings.export.batch_bytes_max = number(value, 1024, 3_145_728)?;
            Some(())
        },
    },
    Key {
        path: "batch.interval_ms",
        takes: "a whole number from 10 to 60000",
        default: "1000",
        doc: "How often a batch leaves that is not full.",
        set: |settings, value| {
            settings.export.batch_interval_ms = number(value, 10, 60_000)?;
            Some(())
        },
    },
];
