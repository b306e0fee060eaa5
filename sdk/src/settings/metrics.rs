//! `OTEL_METRICS_*`, `OTEL_METRIC_EXPORT_*` and the endpoint of metrics.

use std::time::Duration;

use super::{Destination, Endpoint, Reader, Signal};

/// Where figures go, how often, and what is in them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MetricsSettings {
    pub(crate) destination: Destination,
    /// Whether the environment says where; else they go nowhere unless the program wants them.
    pub(crate) is_given: bool,
    pub(crate) endpoint: Endpoint,
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
    pub(crate) filter: ExemplarFilter,
    /// Counts since the last export rather than since the start.
    pub(crate) is_delta: bool,
}

/// Which requests may become the example of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExemplarFilter {
    /// Those with a sampled span.
    TraceBased,
    AlwaysOn,
    AlwaysOff,
}

impl MetricsSettings {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let destinations = [
            ("otlp", Destination::Otlp),
            ("console", Destination::Console),
            ("none", Destination::Nowhere),
        ];
        let given = reader.choice("OTEL_METRICS_EXPORTER", &destinations);
        let filters = [
            ("trace_based", ExemplarFilter::TraceBased),
            ("always_on", ExemplarFilter::AlwaysOn),
            ("always_off", ExemplarFilter::AlwaysOff),
        ];
        // For histograms low memory means deltas, by the specification.
        let temporalities = [("cumulative", false), ("delta", true), ("lowmemory", true)];
        // The only aggregation; another one is reported.
        reader.choice(
            "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
            &[("explicit_bucket_histogram", ())],
        );
        reader.signal = Signal::Metrics;
        let unasked = reader.unasked();
        reader.signal = Signal::Traces;
        Self {
            destination: given.unwrap_or(unasked),
            is_given: given.is_some(),
            endpoint: Endpoint::read(reader, Signal::Metrics),
            // Not zero, which would export without a pause.
            interval: reader
                .milliseconds("OTEL_METRIC_EXPORT_INTERVAL")
                .max(Duration::from_millis(1)),
            timeout: reader.milliseconds("OTEL_METRIC_EXPORT_TIMEOUT"),
            filter: reader
                .choice("OTEL_METRICS_EXEMPLAR_FILTER", &filters)
                .unwrap_or(ExemplarFilter::TraceBased),
            is_delta: reader
                .choice(
                    "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",
                    &temporalities,
                )
                .unwrap_or(false),
        }
    }
}
