//! The table of keys.

use super::value::{choice, headers, number, ratio, text};
use super::{Direction, Key, Protocol};

/// Every key, in the order of the reference page.
pub const KEYS: &[Key] = &[
    Key {
        path: "service_name",
        takes: "text",
        default: "",
        doc: "`service.name` of the spans. Without it: see the resource rules in the README.",
        set: |settings, value| {
            settings.service_name = Some(text(value)?);
            Some(())
        },
    },
    Key {
        path: "direction",
        takes: "\"inbound\" or \"outbound\"",
        default: "",
        doc: "Which side of a call the proxy stands on: spans become SERVER or CLIENT. Without it: the listener's `traffic_direction`; a listener without one is inbound.",
        set: |settings, value| {
            settings.direction = Some(choice(
                value,
                &[
                    ("inbound", Direction::Inbound),
                    ("outbound", Direction::Outbound),
                ],
            )?);
            Some(())
        },
    },
    Key {
        path: "sampling.ratio",
        takes: "a number from 0 to 1",
        default: "1",
        doc: "The share of new traces that is recorded. A request that continues a trace follows its caller.",
        set: |settings, value| {
            settings.sampling.ratio = ratio(value)?;
            Some(())
        },
    },
    Key {
        path: "exporter.protocol",
        takes: "\"grpc\" or \"http\"",
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
        doc: "The Envoy cluster of the collector. In Istio: `outbound|4317||SERVICE.NAMESPACE.svc.cluster.local`.",
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
        doc: "Bytes of spans that a worker keeps while the collector is away; spans beyond it are dropped as `buffer_full`.",
        set: |settings, value| {
            settings.export.buffer_bytes_max = number(value, 65_536, 268_435_456)?;
            Some(())
        },
    },
    Key {
        path: "exporter.retry.initial_ms",
        takes: "a whole number from 1 to 600000",
        default: "1000",
        doc: "The pause before the first retry; it doubles with each, and is varied by half of itself.",
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
        doc: "How long a batch is retried before it is dropped as `retries_exhausted`; 0 never retries.",
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
    Key {
        path: "limits.attribute_bytes_max",
        takes: "a whole number from 16 to 65536",
        default: "1024",
        doc: "Where the text of an attribute is cut.",
        set: |settings, value| {
            settings.attribute_bytes_max = number(value, 16, 65_536)?;
            Some(())
        },
    },
];
