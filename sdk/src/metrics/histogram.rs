//! Durations by bucket, and one example for each.

use opentelemetry::trace::{SpanId, TraceId};
use opentelemetry_proto::tonic::metrics::v1::exemplar::Value;
use opentelemetry_proto::tonic::metrics::v1::{Exemplar as ProtoExemplar, HistogramDataPoint};

/// Upper bounds of all buckets but the last, as the conventions advise.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    ns: &'static [u64],
    s: &'static [f64],
}

impl Bounds {
    /// Of requests and of messages.
    pub(super) const REQUEST: Self = Self {
        ns: &REQUEST_NS,
        s: &[
            0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
        ],
    };
    /// Of queries.
    pub(super) const DATABASE: Self = Self {
        ns: &[
            1_000_000,
            5_000_000,
            10_000_000,
            50_000_000,
            100_000_000,
            500_000_000,
            1_000_000_000,
            5_000_000_000,
            10_000_000_000,
        ],
        s: &[0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0],
    };
}

const REQUEST_NS: [u64; 14] = [
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    75_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    750_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    7_500_000_000,
    10_000_000_000,
];
/// The others have fewer.
const N_BUCKETS: usize = REQUEST_NS.len() + 1;

/// One series' durations.
#[derive(Clone, Debug, Default)]
pub(super) struct Histogram {
    counts: [u64; N_BUCKETS],
    sum_ns: u64,
    min_ns: u64,
    max_ns: u64,
    /// Most series of a program that samples little never have one.
    exemplars: Option<Box<[Option<Exemplar>; N_BUCKETS]>>,
}

/// A request that fell into a bucket, and its span.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exemplar {
    pub(super) time_unix_nano: u64,
    pub(super) duration_ns: u64,
    pub(super) trace_id: TraceId,
    pub(super) span_id: SpanId,
}

impl Histogram {
    /// A series is recorded and told with the same bounds at all times.
    pub(super) fn record(&mut self, duration_ns: u64, exemplar: Option<Exemplar>, bounds: Bounds) {
        self.min_ns = match self.count() {
            0 => duration_ns,
            _ => self.min_ns.min(duration_ns),
        };
        self.max_ns = self.max_ns.max(duration_ns);
        self.sum_ns = self.sum_ns.saturating_add(duration_ns);
        // A bucket has its upper bound in it.
        let bucket = bounds.ns.partition_point(|bound| *bound < duration_ns);
        self.counts[bucket] += 1;
        if exemplar.is_some() {
            self.exemplars.get_or_insert_default()[bucket] = exemplar;
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Adds what was counted later.
    pub(super) fn add(&mut self, later: Self) {
        if later.count() == 0 {
            return;
        }
        self.min_ns = match self.count() {
            0 => later.min_ns,
            _ => self.min_ns.min(later.min_ns),
        };
        self.max_ns = self.max_ns.max(later.max_ns);
        self.sum_ns = self.sum_ns.saturating_add(later.sum_ns);
        for (count, later) in self.counts.iter_mut().zip(later.counts) {
            *count += later;
        }
        if let Some(later) = later.exemplars {
            let exemplars = self.exemplars.get_or_insert_default();
            for (known, later) in exemplars.iter_mut().zip(*later) {
                *known = later.or(*known);
            }
        }
    }

    /// The figures without attributes and times.
    pub(super) fn data_point(&self, bounds: Bounds) -> HistogramDataPoint {
        let exemplars = self.exemplars.iter().flat_map(|all| all.iter().flatten());
        HistogramDataPoint {
            count: self.count(),
            sum: Some(seconds(self.sum_ns)),
            min: Some(seconds(self.min_ns)),
            max: Some(seconds(self.max_ns)),
            bucket_counts: self.counts[..=bounds.s.len()].to_vec(),
            explicit_bounds: bounds.s.to_vec(),
            exemplars: exemplars.copied().map(Exemplar::into_proto).collect(),
            ..HistogramDataPoint::default()
        }
    }
}

impl Exemplar {
    fn into_proto(self) -> ProtoExemplar {
        let bytes = |is_valid: bool, bytes: &[u8]| match is_valid {
            true => bytes.to_vec(),
            false => Vec::new(),
        };
        let (trace_id, span_id) = (self.trace_id, self.span_id);
        ProtoExemplar {
            time_unix_nano: self.time_unix_nano,
            value: Some(Value::AsDouble(seconds(self.duration_ns))),
            trace_id: bytes(trace_id != TraceId::INVALID, &trace_id.to_bytes()),
            span_id: bytes(span_id != SpanId::INVALID, &span_id.to_bytes()),
            ..ProtoExemplar::default()
        }
    }
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_bounds_are_the_same_in_both_units() {
        for bounds in [Bounds::REQUEST, Bounds::DATABASE] {
            let seconds: Vec<_> = bounds.ns.iter().copied().map(seconds).collect();
            assert_eq!(seconds, bounds.s);
            assert!(bounds.s.is_sorted() && bounds.s.len() < N_BUCKETS);
        }
    }

    fn of(durations_ns: &[u64]) -> Histogram {
        let mut histogram = Histogram::default();
        for duration_ns in durations_ns {
            let trace_id = TraceId::from(u128::from(*duration_ns) + 1);
            histogram.record(
                *duration_ns,
                Some(Exemplar {
                    time_unix_nano: 1,
                    duration_ns: *duration_ns,
                    trace_id,
                    span_id: SpanId::from(1),
                }),
                Bounds::REQUEST,
            );
        }
        histogram
    }

    #[test]
    fn a_bucket_has_its_upper_bound_and_the_last_span_that_fell_into_it() {
        let point = of(&[5_000_000, 1, 5_000_001, 20_000_000_000]).data_point(Bounds::REQUEST);
        assert_eq!(point.bucket_counts[..2], [2, 1]);
        assert_eq!((point.bucket_counts[14], point.count), (1, 4));
        assert_eq!((point.min, point.max), (Some(1e-9), Some(20.0)));
        let traces = point.exemplars.iter().map(|exemplar| exemplar.trace_id[15]);
        assert_eq!(traces.collect::<Vec<_>>(), [2, 66, 1]);
    }

    #[test]
    fn queries_have_buckets_of_their_own() {
        let mut histogram = Histogram::default();
        for duration_ns in [900_000, 1_000_000, 4_000_000, 11_000_000_000] {
            histogram.record(duration_ns, None, Bounds::DATABASE);
        }
        let point = histogram.data_point(Bounds::DATABASE);
        assert_eq!(point.bucket_counts, [2, 1, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(point.explicit_bounds.len() + 1, point.bucket_counts.len());
    }

    proptest! {
        #[test]
        fn parts_add_up_to_the_whole(
            a in proptest::collection::vec(0..20_000_000_000_u64, 0..20),
            b in proptest::collection::vec(0..20_000_000_000_u64, 0..20),
        ) {
            let mut sum = of(&a);
            sum.add(of(&b));
            let point = |histogram: Histogram| histogram.data_point(Bounds::REQUEST);
            prop_assert_eq!(point(sum), point(of(&[a, b].concat())));
        }
    }
}
