//! How long requests, queries and messages took, counted for all of them, sampled or not.
//!
//! Histograms of the [HTTP][], [RPC][], [database][] and [messaging][] conventions, each bucket with
//! the ids of a sampled span as its exemplar, so that a slow bucket leads to a trace. Upstream's
//! aggregation cannot carry exemplars, hence this one, which does nothing else: a request adds to a
//! table under a lock that its thread nearly always has for itself, and a thread of its own empties
//! the tables from time to time ([`Totals`]).
//!
//! [HTTP]: https://opentelemetry.io/docs/specs/semconv/http/http-metrics/
//! [RPC]: https://opentelemetry.io/docs/specs/semconv/rpc/rpc-metrics/
//! [database]: https://opentelemetry.io/docs/specs/semconv/db/database-metrics/
//! [messaging]: https://opentelemetry.io/docs/specs/semconv/messaging/messaging-metrics/

#![cfg_attr(
    not(any(
        feature = "async-nats",
        feature = "lapin",
        feature = "rdkafka",
        feature = "redis",
        feature = "sqlx"
    )),
    allow(dead_code, reason = "what is no request is not there")
)]

mod export;
mod histogram;
mod instrument;
mod measure;
mod otlp;
mod series;
mod totals;

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::available_parallelism;

use crate::settings::ExemplarFilter;

pub(crate) use export::MetricsThread;
pub(crate) use instrument::Instrument;
pub(crate) use measure::Measure;
pub(crate) use series::Series;
#[cfg(feature = "reqwest")]
pub(crate) use series::Text;
pub(crate) use totals::Totals;

use self::histogram::{Exemplar, Histogram};
use self::series::Folded;

/// More series than this, over all histograms, are counted in one a histogram that has the
/// attribute `otel.metric.overflow`. The specification's limit.
const SERIES_MAX: usize = 2_000;

/// More threads than this share shards.
const SHARDS_MAX: usize = 16;

type Table = HashMap<Series, Histogram, Folded>;

/// What counts, and who exports it: nobody in a test.
#[derive(Debug)]
pub(crate) struct Metering {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) thread: Option<MetricsThread>,
}

/// What was counted since it was last asked for.
#[derive(Debug)]
pub(crate) struct Metrics {
    shards: Vec<Shard>,
    filter: ExemplarFilter,
}

/// On cache lines of its own, or two threads would wait for each other all the same.
#[repr(align(128))]
#[derive(Debug, Default)]
struct Shard(Mutex<Table>);

impl Shard {
    fn with<T>(&self, work: impl FnOnce(&mut Table) -> T) -> T {
        // Nothing below panics between two writes that belong together.
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Metrics {
    pub(crate) fn new(filter: ExemplarFilter) -> Self {
        let n_shards = available_parallelism().map_or(1, |n| n.get().min(SHARDS_MAX));
        Self {
            shards: (0..n_shards).map(|_| Shard::default()).collect(),
            filter,
        }
    }

    fn record(&self, series: Series, duration_ns: u64, exemplar: Option<Exemplar>) {
        let bounds = series.instrument.bounds();
        self.shards[shard_of_thread() % self.shards.len()].with(|table| {
            match table.get_mut(&series) {
                Some(histogram) => histogram.record(duration_ns, exemplar, bounds),
                None => entry(table, series).record(duration_ns, exemplar, bounds),
            }
        });
    }

    /// Moves everything that was counted into `totals`.
    pub(crate) fn drain(&self, totals: &mut Totals) {
        for shard in &self.shards {
            shard.with(|table| {
                // What nobody asked for since the last time makes room.
                table.retain(|_, histogram| histogram.count() > 0);
                for (series, histogram) in table.iter_mut() {
                    totals.add(series, std::mem::take(histogram));
                }
            });
        }
    }
}

/// The histogram of a series that the table does not know, or of all that have no room.
fn entry(table: &mut Table, series: Series) -> &mut Histogram {
    let series = if table.len() < SERIES_MAX {
        series.into_owned()
    } else {
        Series::overflow(series.instrument)
    };
    table.entry(series).or_default()
}

/// A number that stays the same for a thread and goes round among threads.
fn shard_of_thread() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: Cell<usize> = Cell::new(NEXT.fetch_add(1, Ordering::Relaxed));
    }
    OWN.get()
}

#[cfg(test)]
mod tests;
