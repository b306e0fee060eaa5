//! Counting, without sockets.

use opentelemetry::time;
use opentelemetry::trace::SpanContext;
use opentelemetry_proto::tonic::metrics::v1::HistogramDataPoint;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;

use super::*;
use crate::http::Role;

fn series(name: String) -> Series {
    let mut series = Series::new(Role::HttpServer);
    series.method = "GET";
    series.name = Text::Owned(name.into());
    series
}

fn points(totals: &Totals) -> Vec<HistogramDataPoint> {
    let metrics = totals.metrics(time::now()).map(|scope| scope.metrics);
    let data = metrics
        .into_iter()
        .flatten()
        .filter_map(|metric| metric.data);
    let points = data.map(|data| match data {
        Data::Histogram(histogram) => histogram.data_points,
        _ => Vec::new(),
    });
    points.flatten().collect()
}

#[test]
fn what_threads_count_adds_up() {
    let metrics = Arc::new(Metrics::new(ExemplarFilter::AlwaysOff));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for n in 0..1_000 {
                    metrics.record(series(format!("/{}", n % 2)), n, None);
                }
            });
        }
    });
    let mut totals = Totals::new(false);
    metrics.drain(&mut totals);
    let counts = points(&totals)
        .iter()
        .map(|point| point.count)
        .collect::<Vec<_>>();
    assert_eq!(counts, [2_000, 2_000]);
}

#[test]
fn beyond_the_limit_all_series_are_one_and_no_request_is_missing() {
    let metrics = Metrics::new(ExemplarFilter::AlwaysOff);
    for n in 0..SERIES_MAX + 500 {
        metrics.record(series(format!("/{n}")), 1, None);
    }
    let mut totals = Totals::new(false);
    metrics.drain(&mut totals);
    let points = points(&totals);
    // The line for the others takes one of the places.
    assert!(
        (SERIES_MAX..=SERIES_MAX + 1).contains(&points.len()),
        "{}",
        points.len()
    );
    let n_requests: u64 = points.iter().map(|point| point.count).sum();
    assert_eq!(n_requests, SERIES_MAX as u64 + 500);
    let mut many = points.iter().filter(|point| point.count > 1);
    let keys: Vec<_> = many
        .next()
        .unwrap()
        .attributes
        .iter()
        .map(|pair| &pair.key)
        .collect();
    assert_eq!(keys, ["otel.metric.overflow"]);
    assert_eq!(many.count(), 0);
}

#[test]
fn cumulative_figures_grow_and_deltas_start_anew_once_they_have_arrived() {
    let metrics = Metrics::new(ExemplarFilter::AlwaysOff);
    let told = |totals: &mut Totals, has_arrived: bool| {
        metrics.record(series("/".to_owned()), 1, None);
        metrics.drain(totals);
        let point = points(totals).remove(0);
        if has_arrived {
            totals.delivered(time::now());
        }
        (point.count, point.start_time_unix_nano)
    };
    let mut cumulative = Totals::new(false);
    let (first, start) = told(&mut cumulative, true);
    assert_eq!((first, told(&mut cumulative, true)), (1, (2, start)));
    let mut deltas = Totals::new(true);
    let (first, start) = told(&mut deltas, false);
    // What did not arrive is told again.
    assert_eq!((first, told(&mut deltas, true)), (1, (2, start)));
    let (third, later) = told(&mut deltas, true);
    assert_eq!(third, 1);
    assert!(later > start);
}

#[test]
fn a_series_that_is_idle_makes_room() {
    let metrics = Metrics::new(ExemplarFilter::AlwaysOff);
    let mut totals = Totals::new(true);
    metrics.record(series("/".to_owned()), 1, None);
    metrics.drain(&mut totals);
    metrics.drain(&mut totals);
    let n_kept: usize = metrics
        .shards
        .iter()
        .map(|shard| shard.with(|table| table.len()))
        .sum();
    assert_eq!((n_kept, points(&totals)[0].count), (0, 1));
}

#[test]
fn the_filter_says_whose_span_is_shown() {
    let shown = |filter| {
        let metrics = Arc::new(Metrics::new(filter));
        Measure::start(&metrics, series("/".to_owned())).finish(&SpanContext::NONE);
        let mut totals = Totals::new(false);
        metrics.drain(&mut totals);
        points(&totals)[0].exemplars.len()
    };
    let all = [
        ExemplarFilter::TraceBased,
        ExemplarFilter::AlwaysOff,
        ExemplarFilter::AlwaysOn,
    ];
    assert_eq!(all.map(shown), [0, 0, 1]);
}
