//! Everything that was counted, as it is told to others.

use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry::time;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Histogram as ProtoHistogram, HistogramDataPoint, Metric,
    NumberDataPoint, ScopeMetrics, Sum,
};
use opentelemetry_proto::transform::common::tonic::Attributes;

use super::histogram::Histogram;
use super::instrument::DESCRIPTIONS;
use super::series::Series;
use super::{Table, entry};

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
        let temporality = temporality.into();
        let metrics = DESCRIPTIONS.iter().flat_map(|described| {
            let of_it = || {
                let all = self.table.iter();
                all.filter(|(series, _)| series.instrument == described.instrument)
            };
            let points = of_it().map(|(series, histogram)| HistogramDataPoint {
                attributes: Attributes::from(series.attributes()).0,
                start_time_unix_nano: unix_nano(self.start),
                time_unix_nano: unix_nano(now),
                ..histogram.data_point(described.instrument.bounds())
            });
            let data_points: Vec<_> = points.collect();
            let has_any = !data_points.is_empty();
            let histogram = has_any.then(|| Metric {
                name: described.name.to_owned(),
                description: described.words.to_owned(),
                unit: "s".to_owned(),
                data: Some(Data::Histogram(ProtoHistogram {
                    data_points,
                    aggregation_temporality: temporality,
                })),
                ..Metric::default()
            });
            let counter = described.counter.filter(|_| has_any);
            let counter = counter.map(|(name, words)| Metric {
                name: name.to_owned(),
                description: words.to_owned(),
                unit: "{message}".to_owned(),
                data: Some(Data::Sum(Sum {
                    data_points: of_it()
                        .map(|(series, histogram)| NumberDataPoint {
                            attributes: Attributes::from(series.attributes()).0,
                            start_time_unix_nano: unix_nano(self.start),
                            time_unix_nano: unix_nano(now),
                            value: Some(Number::AsInt(histogram.count().cast_signed())),
                            ..NumberDataPoint::default()
                        })
                        .collect(),
                    aggregation_temporality: temporality,
                    is_monotonic: true,
                })),
                ..Metric::default()
            });
            histogram.into_iter().chain(counter)
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
