//! Answering questions from the segments.

use std::collections::{BTreeSet, BinaryHeap, HashMap, HashSet};
use std::sync::Arc;

use spanloom_wire::TraceId;
use spanloom_wire::otlp::{SpanKind, TracesView};

use super::segment::Segment;
use crate::matching::{Rank, SpanMatcher};
use crate::regroup::{TraceBuilder, span_groups};
use crate::{Operation, StorageError, Trace, TraceQuery};

/// An answer with more bytes than this is refused, since it is put together in memory.
const ANSWER_BYTES_MAX: usize = 512 << 20;

/// For how many records a search remembers which of their spans match: some 60 bytes each.
const VERDICTS_MAX: usize = 1 << 18;

/// The segments as they were when a question came, the oldest first.
pub(super) type Segments = Vec<Arc<Segment>>;

pub(super) fn services(segments: &Segments) -> Vec<String> {
    let mut services = BTreeSet::new();
    for segment in segments {
        for service in segment.index().services() {
            if !services.contains(service) {
                services.insert(service.to_owned());
            }
        }
    }
    services.into_iter().collect()
}

pub(super) fn operations(
    segments: &Segments,
    service: &str,
    kind: Option<SpanKind>,
) -> Vec<Operation> {
    let mut operations = BTreeSet::new();
    for segment in segments {
        operations.extend(segment.index().operations(service));
    }
    if let Some(kind) = kind {
        operations.retain(|operation| operation.kind == kind.name());
    }
    operations.into_iter().collect()
}

/// The whole of these traces, in this order; a trace that is not there is left out.
///
/// Each record is read once, whichever of the traces it holds: traces that were found together
/// often lie in the same records.
pub(super) fn traces(segments: &Segments, ids: &[TraceId]) -> Result<Vec<Trace>, StorageError> {
    let mut traces: HashMap<TraceId, TraceBuilder> = ids
        .iter()
        .map(|&id| (id, TraceBuilder::default()))
        .collect();
    let mut n_bytes = 0;
    for segment in segments {
        // A set, because one record may hold several of the traces; sorted, so that a trace's spans
        // come in the order in which they were written.
        let offsets: BTreeSet<u64> = {
            let index = segment.index();
            let records = ids.iter().flat_map(|&id| index.records_of(id));
            records.map(|record| index.offset(record)).collect()
        };
        for offset in offsets {
            let Some(payload) = segment.read_record(offset)? else {
                continue;
            };
            for group in span_groups(&payload) {
                for (id, span) in group.spans() {
                    if let Some(trace) = traces.get_mut(&id) {
                        trace.add(&group, &span);
                        n_bytes += span.as_bytes().len();
                    }
                }
            }
            if n_bytes > ANSWER_BYTES_MAX {
                let what = "the answer (ask for fewer traces)".to_owned();
                return Err(StorageError::TooLarge {
                    what,
                    bytes_max: ANSWER_BYTES_MAX,
                });
            }
        }
    }
    Ok(ids
        .iter()
        .filter_map(|id| traces.remove(id)?.finish(*id))
        .collect())
}

/// The traces that a query is for.
pub(super) fn find(segments: &Segments, query: &TraceQuery) -> Result<Vec<Trace>, StorageError> {
    let matcher = SpanMatcher::new(query);
    let mut search = Search::new(segments, &matcher);
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    while found.len() < query.n_traces_max
        && let Some(candidate) = search.next_candidate()
    {
        let id = candidate.rank.trace_id;
        if !seen.contains(&id) && search.matches(&candidate)? {
            seen.insert(id);
            found.push(id);
        }
    }
    traces(segments, &found)
}

/// Walks the spans whose fields match, the latest first, over all segments.
///
/// Segments overlap in time when senders are late, so their candidates are merged; a segment's
/// index is not looked at before its latest span could be next. With the usual question (the newest
/// twenty of a service) that is one segment or two.
struct Search<'a> {
    matcher: &'a SpanMatcher<'a>,
    /// Not looked at yet, the one with the latest span last.
    waiting: Vec<(Rank, &'a Segment)>,
    cursors: Vec<Cursor<'a>>,
    /// The next candidate of each cursor that has one.
    heads: BinaryHeap<(Rank, usize)>,
    /// Which spans of a record match, by cursor and record.
    verdicts: HashMap<(usize, u32), Vec<u32>>,
}

/// The candidates of one segment.
struct Cursor<'a> {
    segment: &'a Segment,
    /// By rising rank; taken from the end.
    spans: Vec<u32>,
}

/// A span whose fields match.
struct Candidate {
    rank: Rank,
    cursor: usize,
    span: u32,
}

impl<'a> Search<'a> {
    fn new(segments: &'a Segments, matcher: &'a SpanMatcher<'a>) -> Self {
        let mut waiting: Vec<(Rank, &Segment)> = segments
            .iter()
            .filter_map(|segment| {
                let start = segment.index().latest_start(&matcher.fields.start)?;
                // The highest rank that a span with this start can have.
                let trace_id = TraceId::from_bytes([0xff; 16])?;
                Some((Rank { start, trace_id }, segment.as_ref()))
            })
            .collect();
        waiting.sort_by_key(|(rank, _)| *rank);
        let (cursors, heads, verdicts) = (Vec::new(), BinaryHeap::new(), HashMap::new());
        Self {
            matcher,
            waiting,
            cursors,
            heads,
            verdicts,
        }
    }

    fn next_candidate(&mut self) -> Option<Candidate> {
        while let Some((latest, segment)) = self.waiting.last()
            && self.heads.peek().is_none_or(|(rank, _)| rank <= latest)
        {
            let one_a_trace = self.matcher.needs_only_fields();
            let spans = segment
                .index()
                .candidates(&self.matcher.fields, one_a_trace);
            self.cursors.push(Cursor { segment, spans });
            self.waiting.pop();
            self.push_head(self.cursors.len() - 1);
        }
        let (rank, cursor) = self.heads.pop()?;
        let span = self.cursors[cursor].spans.pop()?;
        self.push_head(cursor);
        Some(Candidate { rank, cursor, span })
    }

    fn push_head(&mut self, cursor: usize) {
        let Cursor { segment, spans } = &self.cursors[cursor];
        if let Some(&span) = spans.last() {
            self.heads.push((segment.index().rank(span), cursor));
        }
    }

    /// Whether the candidate meets the conditions on attributes too, which needs its bytes. A
    /// record's spans are all judged at once: candidates that follow mostly lie in it too.
    fn matches(&mut self, candidate: &Candidate) -> Result<bool, StorageError> {
        if self.matcher.needs_only_fields() {
            return Ok(true);
        }
        let segment = self.cursors[candidate.cursor].segment;
        let (record, position) = segment.index().position(candidate.span);
        let key = (candidate.cursor, record);
        if let Some(matching) = self.verdicts.get(&key) {
            return Ok(matching.binary_search(&position).is_ok());
        }
        let offset = segment.index().offset(record);
        let mut matching = Vec::new();
        if let Some(payload) = segment.read_record(offset)? {
            let spans = TracesView::new(&payload).spans();
            let spans = spans.filter(|span| span.span.trace_id.is_some());
            let positions = (0..)
                .zip(spans)
                .filter(|(_, span)| self.matcher.matches(span));
            matching.extend(positions.map(|(position, _)| position));
        }
        let matches = matching.binary_search(&position).is_ok();
        if self.verdicts.len() == VERDICTS_MAX {
            self.verdicts.clear();
        }
        self.verdicts.insert(key, matching);
        Ok(matches)
    }
}
