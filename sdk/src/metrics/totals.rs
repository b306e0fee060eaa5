//! Everything that was counted, as it is told to others.

use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry::time;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Histogram as ProtoHistogram, HistogramDataPoint, Metric, ScopeMetrics,
};
use opentelemetry_proto::transform::common::tonic::Attributes;

use super::histogram::Histogram;
use super::series::Series;
use super::{Table, entry};
use crate::http::Role;

/// Name and description of the histogram of each role.
const HISTOGRAMS: [(Role, &str, &str); 4] = [
    (
        Role::HttpServer,
        "http.server.request.duration",
        "Duration of HTTP server requests.",
    ),
    (
        Role::HttpClient,
        "http.client.request.duration",
        "Duration of HTTP client requests.",
    ),
    (
        Role::GrpcServer,
        "rpc.server.call.duration",
        "Duration of inbound remote procedure calls.",
    ),
    (
        Role::GrpcClient,
        "rpc.client.call.duration",
        "Duration of outbound remote procedure calls.",
    ),
];

/// What was counted since `start`.
#[derive(Debug)]
pub(crate) struct Totals {
    table: Table,
    start: SystemTime,
    is_delta: bool,
}

impl Totals {
    /// Counts from now on; `is_delta` from what was last delivered, else for ever.
    pub(crate) fn new(is_delta: bool) -> Self {
        Self {
            table: Table::default(),
            start: time::now(),
            is_delta,
        }
    }

    pub(super) fn add(&mut self, series: &Series, later: Histogram) {
        match self.table.get_mut(series) {
            Some(histogram) => histogram.add(later),
            None => entry(&mut self.table, series.clone()).add(later),
        }
    }

    /// Says that what was told at this time has arrived. Until then deltas grow, so that a failed
    /// export loses nothing.
    pub(super) fn delivered(&mut self, at: SystemTime) {
        if self.is_delta {
            self.table.clear();
            self.start = at;
        }
    }

    /// Nothing when nothing was counted.
    pub(crate) fn metrics(&self, now: SystemTime) -> Option<ScopeMetrics> {
        let temporality = match self.is_delta {
            true => AggregationTemporality::Delta,
            false => AggregationTemporality::Cumulative,
        };
        let metrics = HISTOGRAMS.iter().filter_map(|(role, name, description)| {
            let of_role = self.table.iter().filter(|(series, _)| series.role == *role);
            let data_points: Vec<_> = of_role
                .map(|(series, histogram)| HistogramDataPoint {
                    attributes: Attributes::from(series.attributes()).0,
                    start_time_unix_nano: unix_nano(self.start),
                    time_unix_nano: unix_nano(now),
                    ..histogram.data_point()
                })
                .collect();
            (!data_points.is_empty()).then(|| Metric {
                name: (*name).to_owned(),
                description: (*description).to_owned(),
                unit: "s".to_owned(),
                data: Some(Data::Histogram(ProtoHistogram {
                    data_points,
                    aggregation_temporality: temporality.into(),
                })),
                ..Metric::default()
            })
        });
        let metrics: Vec<_> = metrics.collect();
        (!metrics.is_empty()).then(|| ScopeMetrics {
            scope: Some(InstrumentationScope {
                name: env!("CARGO_PKG_NAME").to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                ..InstrumentationScope::default()
            }),
            metrics,
            ..ScopeMetrics::default()
        })
    }
}

pub(super) fn unix_nano(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
