//! What a segment holds, in memory: enough to find spans by everything but their attributes.
//!
//! Flat columns, one row a span, in the order in which the spans lie in the file. A span is known
//! by its row; a record by its place in the list of records. Nothing is allocated for a single
//! span: names are interned, and a trace's spans are chained through a column.

use std::collections::HashMap;
use std::sync::Arc;

use spanloom_wire::otlp::{SpanKind, StatusCode};
use spanloom_wire::{Timestamp, TraceId};

use crate::matching::{FieldConditions, Rank, duration_nanos};
use crate::regroup::span_groups;
use crate::{Operation, TimeRange};

/// Marks the end of a chain, and a service that is not there.
const NONE: u32 = u32::MAX;

/// The index of one segment.
#[derive(Default)]
pub(super) struct SegmentIndex {
    records: Vec<Record>,
    spans: Vec<SpanRow>,
    traces: Vec<TraceRow>,
    trace_by_id: HashMap<TraceId, u32>,
    series: Vec<Series>,
    series_by_key: HashMap<Series, u32>,
    names: Names,
    /// From the earliest to the latest start of a span; `None` without a span.
    starts: Option<TimeRange>,
    /// From when the first record was received to when the last was; `None` without a record.
    received: Option<TimeRange>,
}

struct Record {
    offset: u64,
    first_span: u32,
}

struct SpanRow {
    start: Timestamp,
    duration_nanos: u64,
    series: u32,
    trace: u32,
    record: u32,
    /// The trace's span before this one, or [`NONE`].
    previous: u32,
}

struct TraceRow {
    id: TraceId,
    last_span: u32,
}

/// What many spans have in common. Status belongs here because it costs a span nothing so.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Series {
    /// A name, or [`NONE`].
    service: u32,
    operation: u32,
    kind: SpanKind,
    status: StatusCode,
}

/// Texts by number and numbers by text.
#[derive(Default)]
struct Names {
    texts: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, u32>,
}

impl Names {
    fn number(&mut self, text: &str) -> u32 {
        if let Some(&number) = self.numbers.get(text) {
            return number;
        }
        let number = self.texts.len() as u32;
        let text: Arc<str> = text.into();
        self.texts.push(Arc::clone(&text));
        self.numbers.insert(text, number);
        number
    }
}

impl SegmentIndex {
    /// Adds the record at this offset of the file, with the spans of its payload.
    pub(super) fn add_record(&mut self, offset: u64, received: Timestamp, payload: &[u8]) {
        widen(&mut self.received, received);
        self.records.push(Record {
            offset,
            first_span: self.spans.len() as u32,
        });
        for group in span_groups(payload) {
            let service = group.resource.service_name();
            let service = service.map_or(NONE, |name| self.names.number(name));
            for (trace_id, span) in group.spans() {
                let operation = self.names.number(span.name);
                let (kind, status) = (span.kind, span.status_code);
                let series = self.series(Series {
                    service,
                    operation,
                    kind,
                    status,
                });
                let duration_nanos = duration_nanos(span.start, span.end);
                self.add_span(trace_id, series, span.start, duration_nanos);
            }
        }
    }

    fn series(&mut self, series: Series) -> u32 {
        *self.series_by_key.entry(series).or_insert_with(|| {
            self.series.push(series);
            self.series.len() as u32 - 1
        })
    }

    fn add_span(&mut self, id: TraceId, series: u32, start: Timestamp, duration_nanos: u64) {
        let span = self.spans.len() as u32;
        let trace = *self.trace_by_id.entry(id).or_insert_with(|| {
            self.traces.push(TraceRow {
                id,
                last_span: NONE,
            });
            self.traces.len() as u32 - 1
        });
        let trace_row = &mut self.traces[trace as usize];
        let previous = std::mem::replace(&mut trace_row.last_span, span);
        let record = self.records.len() as u32 - 1;
        self.spans.push(SpanRow {
            start,
            duration_nanos,
            series,
            trace,
            record,
            previous,
        });
        widen(&mut self.starts, start);
    }

    /// Gives back the memory that was kept for more: the segment is sealed.
    pub(super) fn shrink(&mut self) {
        self.records.shrink_to_fit();
        self.spans.shrink_to_fit();
        self.traces.shrink_to_fit();
        self.trace_by_id.shrink_to_fit();
        self.series.shrink_to_fit();
        self.series_by_key.shrink_to_fit();
    }

    /// From when the first record was received to when the last was; `None` without a record.
    pub(super) fn received(&self) -> Option<TimeRange> {
        self.received
    }

    /// The service names, in no order.
    pub(super) fn services(&self) -> impl Iterator<Item = &str> {
        let numbers = self.series.iter().map(|series| series.service);
        numbers
            .filter(|&service| service != NONE)
            .map(|service| self.name(service))
    }

    /// The operations of a service, in no order, with duplicates.
    pub(super) fn operations(&self, service: &str) -> impl Iterator<Item = Operation> {
        let service = self.names.numbers.get(service).copied();
        let of_service = self
            .series
            .iter()
            .filter(move |series| Some(series.service) == service);
        of_service.map(|series| Operation {
            name: self.name(series.operation).to_owned(),
            kind: series.kind.name(),
        })
    }

    fn name(&self, number: u32) -> &str {
        &self.names.texts[number as usize]
    }

    /// The latest start of a span within `range`, or later than all of them; `None` where no span
    /// starts within.
    pub(super) fn latest_start(&self, range: &TimeRange) -> Option<Timestamp> {
        let starts = self.starts?;
        (range.start <= starts.end && starts.start <= range.end).then(|| starts.end.min(range.end))
    }

    /// The spans that meet the conditions, by rising [`Rank`]; where `one_a_trace`, only the
    /// highest of each trace.
    pub(super) fn candidates(&self, wanted: &FieldConditions<'_>, one_a_trace: bool) -> Vec<u32> {
        let Some(series) = self.wanted_series(wanted) else {
            return Vec::new();
        };
        let mut spans: Vec<u32> = (0..)
            .zip(&self.spans)
            .filter(|(_, row)| {
                series[row.series as usize] && wanted.matches_times(row.start, row.duration_nanos)
            })
            .map(|(span, _)| span)
            .collect();
        if one_a_trace {
            let mut best: HashMap<u32, u32> = HashMap::new();
            for span in spans {
                let best = best.entry(self.spans[span as usize].trace).or_insert(span);
                if self.spans[span as usize].start > self.spans[*best as usize].start {
                    *best = span;
                }
            }
            spans = best.into_values().collect();
        }
        // Stable, because that sort makes use of order that is there: spans come nearly by time.
        spans.sort_by_key(|&span| self.rank(span));
        spans
    }

    /// For each series, whether its spans may meet the conditions; `None` where none may.
    fn wanted_series(&self, wanted: &FieldConditions<'_>) -> Option<Vec<bool>> {
        let number = |name: Option<&str>| match name {
            Some(name) => self.names.numbers.get(name).copied().map(Some),
            None => Some(None),
        };
        let service = number(wanted.service)?;
        let operation = number(wanted.operation)?;
        let matches = |series: &Series| {
            service.is_none_or(|service| service == series.service)
                && operation.is_none_or(|operation| operation == series.operation)
                && wanted.matches_kind_and_status(series.kind, series.status)
        };
        let wanted: Vec<bool> = self.series.iter().map(matches).collect();
        wanted.contains(&true).then_some(wanted)
    }

    /// Where a trace with this span stands among those found.
    pub(super) fn rank(&self, span: u32) -> Rank {
        let row = &self.spans[span as usize];
        Rank {
            start: row.start,
            trace_id: self.traces[row.trace as usize].id,
        }
    }

    /// The record that a span is in, and the span's position among the record's spans.
    pub(super) fn position(&self, span: u32) -> (u32, u32) {
        let record = self.spans[span as usize].record;
        (record, span - self.records[record as usize].first_span)
    }

    /// Where a record begins in the file.
    pub(super) fn offset(&self, record: u32) -> u64 {
        self.records[record as usize].offset
    }

    /// The records with spans of a trace, the last first, without duplicates.
    pub(super) fn records_of(&self, id: TraceId) -> impl Iterator<Item = u32> {
        let mut span = self
            .trace_by_id
            .get(&id)
            .map_or(NONE, |&trace| self.last_span(trace));
        let mut last_record = NONE;
        std::iter::from_fn(move || {
            while span != NONE {
                let SpanRow {
                    record, previous, ..
                } = self.spans[span as usize];
                span = previous;
                if record != last_record {
                    last_record = record;
                    return Some(record);
                }
            }
            None
        })
    }

    fn last_span(&self, trace: u32) -> u32 {
        self.traces[trace as usize].last_span
    }
}

/// Makes the range reach to `time`.
fn widen(range: &mut Option<TimeRange>, time: Timestamp) {
    let range = range.get_or_insert(TimeRange {
        start: time,
        end: time,
    });
    range.start = range.start.min(time);
    range.end = range.end.max(time);
}
