//! Traces in memory: for tests, for demonstrations, and for who wants nothing on a disk.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use async_trait::async_trait;
use bytes::Bytes;
use spanloom_wire::TraceId;
use spanloom_wire::otlp::{SpanKind, TracesView};

use crate::matching::{Rank, SpanMatcher};
use crate::regroup::{TraceBuilder, span_groups};
use crate::{Operation, StorageError, TimeRange, Trace, TraceQuery, TraceReader, TraceWriter};

/// Keeps a bounded number of traces in memory and forgets the oldest (by arrival of its first span)
/// for each one more.
///
/// A search looks at every span. Services and operations are those of the traces that are kept.
///
/// ```
/// use spanloom_storage::{MemoryStore, TraceReader};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let store = MemoryStore::new(100_000);
/// assert!(store.services().await.unwrap().is_empty());
/// # });
/// ```
pub struct MemoryStore {
    n_traces_max: usize,
    kept: RwLock<Kept>,
}

#[derive(Default)]
struct Kept {
    /// `TracesData` bytes of each trace. Requests concatenate, so more spans are appended.
    traces: HashMap<TraceId, Vec<u8>>,
    /// The traces in order of arrival, for forgetting.
    arrivals: VecDeque<TraceId>,
    /// How many kept spans have this service and operation.
    operations: BTreeMap<String, BTreeMap<Operation, usize>>,
}

impl MemoryStore {
    /// An empty store of at most `n_traces_max` traces (at least one).
    pub fn new(n_traces_max: usize) -> Self {
        Self {
            n_traces_max: n_traces_max.max(1),
            kept: RwLock::default(),
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Kept> {
        self.kept.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn add(&mut self, id: TraceId, spans: &TraceBuilder) {
        let traces_data = self.traces.entry(id).or_insert_with(|| {
            self.arrivals.push_back(id);
            Vec::new()
        });
        let old_end = traces_data.len();
        spans.append_to(traces_data);
        for (service, operation) in operations_of(&traces_data[old_end..]) {
            *self
                .operations
                .entry(service)
                .or_default()
                .entry(operation)
                .or_default() += 1;
        }
    }

    fn forget_oldest(&mut self) {
        let Some(traces_data) = self
            .arrivals
            .pop_front()
            .and_then(|id| self.traces.remove(&id))
        else {
            return;
        };
        for (service, operation) in operations_of(&traces_data) {
            let Entry::Occupied(mut operations) = self.operations.entry(service) else {
                continue;
            };
            if let Entry::Occupied(mut n_spans) = operations.get_mut().entry(operation) {
                *n_spans.get_mut() -= 1;
                if *n_spans.get() == 0 {
                    n_spans.remove();
                }
            }
            if operations.get().is_empty() {
                operations.remove();
            }
        }
    }
}

/// The service and operation of every span that has a service.
fn operations_of(traces_data: &[u8]) -> impl Iterator<Item = (String, Operation)> {
    TracesView::new(traces_data).spans().filter_map(|context| {
        let service = context.resource.service_name()?.to_owned();
        let span = context.span;
        Some((
            service,
            Operation {
                name: span.name.to_owned(),
                kind: span.kind.name(),
            },
        ))
    })
}

#[async_trait]
impl TraceWriter for MemoryStore {
    async fn write(&self, request: Bytes) -> Result<(), StorageError> {
        let mut traces: HashMap<TraceId, TraceBuilder> = HashMap::new();
        let mut order = Vec::new();
        for group in span_groups(&request) {
            for (id, span) in group.spans() {
                let trace = traces.entry(id).or_insert_with(|| {
                    order.push(id);
                    TraceBuilder::default()
                });
                trace.add(&group, &span);
            }
        }
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        for id in order {
            kept.add(id, &traces[&id]);
        }
        while kept.arrivals.len() > self.n_traces_max {
            kept.forget_oldest();
        }
        Ok(())
    }
}

#[async_trait]
impl TraceReader for MemoryStore {
    async fn services(&self) -> Result<Vec<String>, StorageError> {
        Ok(self.read().operations.keys().cloned().collect())
    }

    async fn operations(
        &self,
        service: &str,
        kind: Option<SpanKind>,
    ) -> Result<Vec<Operation>, StorageError> {
        let kept = self.read();
        let operations = kept
            .operations
            .get(service)
            .into_iter()
            .flat_map(BTreeMap::keys);
        let wanted = |operation: &&Operation| kind.is_none_or(|kind| kind.name() == operation.kind);
        Ok(operations.filter(wanted).cloned().collect())
    }

    async fn trace(&self, id: TraceId, _range: TimeRange) -> Result<Option<Trace>, StorageError> {
        let kept = self.read();
        let traces_data = kept
            .traces
            .get(&id)
            .map(|data| Bytes::copy_from_slice(data));
        Ok(traces_data.map(|traces_data| Trace { id, traces_data }))
    }

    async fn find_traces(&self, query: &TraceQuery) -> Result<Vec<Trace>, StorageError> {
        let matcher = SpanMatcher::new(query);
        let kept = self.read();
        let mut ranks: Vec<Rank> = Vec::new();
        for (&trace_id, traces_data) in &kept.traces {
            let spans = TracesView::new(traces_data).spans();
            let latest = spans
                .filter(|span| matcher.matches(span))
                .map(|span| span.span.start)
                .max();
            ranks.extend(latest.map(|start| Rank { start, trace_id }));
        }
        ranks.sort_unstable_by(|a, b| b.cmp(a));
        ranks.truncate(query.n_traces_max);
        let trace = |rank: Rank| Trace {
            id: rank.trace_id,
            traces_data: Bytes::copy_from_slice(&kept.traces[&rank.trace_id]),
        };
        Ok(ranks.into_iter().map(trace).collect())
    }
}
