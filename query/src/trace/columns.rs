//! A trace as columns: what a waterfall, a summary or a tree needs of each span, and nothing more.

use std::collections::HashMap;
use std::time::Duration;

use spanloom_storage::Trace;
use spanloom_wire::otlp::{Span, SpanInContext, SpanKind, StatusCode, TracesView};
use spanloom_wire::{SpanId, Timestamp};

use super::preorder::{Preorder, preorder};
use super::{Distinct, service_name};

/// One row for each distinct span, parents before their children, siblings by their start. The
/// vectors are equally long, but for the tables of names.
#[derive(Debug)]
pub(crate) struct Columns<'a> {
    /// The earliest start of a span.
    pub(crate) start: Timestamp,
    /// From there to the latest end of a span.
    pub(crate) duration: Duration,
    /// Service names in the order of their first row.
    pub(crate) services: Vec<&'a str>,
    /// Span names in the order of their first row.
    pub(crate) operations: Vec<&'a str>,

    /// The span's id, which another row may have too.
    pub(crate) span_id: Vec<SpanId>,
    /// How many rows before this one have the same span id.
    pub(crate) twin: Vec<u32>,
    /// Where the span stands in the trace's bytes, counted in spans.
    pub(crate) wire_index: Vec<u32>,
    /// What the row hangs from.
    pub(crate) parent: Vec<Parent>,
    /// How many ancestors the row has.
    pub(crate) depth: Vec<u32>,
    /// The first row that is not below this one.
    pub(crate) subtree_end: Vec<u32>,
    /// From the trace's start to the span's.
    pub(crate) offset: Vec<Duration>,
    /// From the span's start to its end; zero for an end before the start.
    pub(crate) span_duration: Vec<Duration>,
    /// The span's service in `services`.
    pub(crate) service: Vec<u32>,
    /// The span's name in `operations`.
    pub(crate) operation: Vec<u32>,
    /// The part in a call.
    pub(crate) kind: Vec<SpanKind>,
    /// How it went.
    pub(crate) status: Vec<StatusCode>,
}

/// What a row hangs from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parent {
    /// Nothing: the span names no parent.
    Root,
    /// The parent's row.
    Row(u32),
    /// A span that the trace does not have (yet): an orphan.
    Missing(SpanId),
    /// A span that hangs, through others, from this one; the circle was cut here.
    Circular(SpanId),
}

/// The fields of a span that columns are made of.
struct Node<'a> {
    span_id: SpanId,
    parent_id: Option<SpanId>,
    wire_index: u32,
    start: Timestamp,
    end: Timestamp,
    service: &'a str,
    operation: &'a str,
    kind: SpanKind,
    status: StatusCode,
}

impl<'a> Columns<'a> {
    /// Reads a trace once and orders it. Besides one sort by start, time is linear.
    pub(crate) fn new(trace: &'a Trace) -> Self {
        let mut nodes = distinct_nodes(&trace.traces_data);
        // Stable, so spans that start at once keep the order of the wire.
        nodes.sort_by_key(|node| node.start);

        let mut by_id = HashMap::with_capacity(nodes.len());
        for (node, number) in nodes.iter().zip(0_u32..) {
            by_id.entry(node.span_id).or_insert(number);
        }
        let parent_of = |node: &Node<'_>| by_id.get(&node.parent_id?).copied();
        let order = preorder(&nodes.iter().map(parent_of).collect::<Vec<_>>());
        Self::in_order(&nodes, order, |id| by_id.contains_key(&id))
    }

    fn in_order(nodes: &[Node<'a>], order: Preorder, exists: impl Fn(SpanId) -> bool) -> Self {
        // A start of zero says "unknown"; counting from 1970 would squeeze every bar to nothing.
        let starts = nodes
            .iter()
            .map(|node| node.start)
            .filter(|start| start.as_nanos() != 0);
        let start = starts.min().unwrap_or_default();
        let end = nodes.iter().map(|node| node.end).max().unwrap_or_default();
        let rows = || order.node.iter().map(|&node| &nodes[node as usize]);

        let mut services = Names::default();
        let mut operations = Names::default();
        let mut n_with_id: HashMap<SpanId, u32> = HashMap::new();
        let mut twin = |id| {
            let n_so_far = n_with_id.entry(id).or_default();
            *n_so_far += 1;
            *n_so_far - 1
        };
        Self {
            start,
            duration: end.since(start),
            span_id: rows().map(|node| node.span_id).collect(),
            twin: rows().map(|node| twin(node.span_id)).collect(),
            wire_index: rows().map(|node| node.wire_index).collect(),
            parent: rows()
                .zip(&order.parent)
                .map(|(node, &parent_row)| match (parent_row, node.parent_id) {
                    (Some(row), _) => Parent::Row(row),
                    (None, None) => Parent::Root,
                    (None, Some(id)) if exists(id) => Parent::Circular(id),
                    (None, Some(id)) => Parent::Missing(id),
                })
                .collect(),
            offset: rows().map(|node| node.start.since(start)).collect(),
            span_duration: rows().map(|node| node.end.since(node.start)).collect(),
            service: rows().map(|node| services.number(node.service)).collect(),
            operation: rows()
                .map(|node| operations.number(node.operation))
                .collect(),
            kind: rows().map(|node| node.kind).collect(),
            status: rows().map(|node| node.status).collect(),
            services: services.names,
            operations: operations.names,
            depth: order.depth,
            subtree_end: order.subtree_end,
        }
    }

    /// How many rows there are.
    pub(crate) fn n_rows(&self) -> usize {
        self.span_id.len()
    }

    /// The name of the service of a row.
    pub(crate) fn service_name(&self, row: usize) -> &'a str {
        self.services[self.service[row] as usize]
    }

    /// The span name of a row.
    pub(crate) fn operation_name(&self, row: usize) -> &'a str {
        self.operations[self.operation[row] as usize]
    }

    /// Whether the span of a row failed.
    pub(crate) fn is_error(&self, row: usize) -> bool {
        self.status[row] == StatusCode::Error
    }

    /// The rows of failed spans.
    pub(crate) fn error_rows(&self) -> impl Iterator<Item = usize> {
        (0..self.n_rows()).filter(|&row| self.is_error(row))
    }

    /// The row of the span with this id; of the `twin`th one, if several have it.
    pub(crate) fn find(&self, id: SpanId, twin: u32) -> Option<usize> {
        (0..self.n_rows()).find(|&row| self.span_id[row] == id && self.twin[row] == twin)
    }

    /// The row that names the trace: the earliest span without a parent, else the earliest whose
    /// parent is missing. `None` for a trace without spans.
    pub(crate) fn root_row(&self) -> Option<usize> {
        let roots = (0..self.n_rows()).filter(|&row| !matches!(self.parent[row], Parent::Row(_)));
        // Among roots, rows stand by their start; those of circles come last.
        roots.min_by_key(|&row| match self.parent[row] {
            Parent::Root => 0,
            Parent::Missing(_) => 1,
            Parent::Row(_) | Parent::Circular(_) => 2,
        })
    }

    /// How many spans, and how many failed spans, each of `services` has.
    pub(crate) fn n_spans_by_service(&self) -> Vec<(&'a str, usize, usize)> {
        let mut counts: Vec<_> = self.services.iter().map(|&name| (name, 0, 0)).collect();
        for (row, &service) in self.service.iter().enumerate() {
            let (_, n_spans, n_errors) = &mut counts[service as usize];
            *n_spans += 1;
            *n_errors += usize::from(self.is_error(row));
        }
        counts
    }

    /// The span of a row, read from the trace's bytes again.
    pub(crate) fn span(&self, trace: &'a Trace, row: usize) -> Option<SpanInContext<'a>> {
        TracesView::new(&trace.traces_data)
            .spans()
            .nth(self.wire_index[row] as usize)
    }
}

/// The spans of a trace without exact repetitions, in wire order.
fn distinct_nodes(traces_data: &[u8]) -> Vec<Node<'_>> {
    let mut distinct = Distinct::default();
    let mut nodes = Vec::new();
    let mut wire_indices = 0..;
    for resource_spans in TracesView::new(traces_data).resource_spans() {
        let resource = resource_spans.resource();
        let service = service_name(resource);
        for scope_spans in resource_spans.scope_spans() {
            let scope = scope_spans.scope();
            // The indices end where no trace in memory does.
            for (span, wire_index) in scope_spans.spans().zip(&mut wire_indices) {
                if distinct.insert(&SpanInContext {
                    resource,
                    scope,
                    span,
                }) {
                    nodes.extend(node(&span, service, wire_index));
                }
            }
        }
    }
    nodes
}

/// `None` for a span without an id, which validation keeps out.
fn node<'a>(span: &Span<'a>, service: &'a str, wire_index: u32) -> Option<Node<'a>> {
    Some(Node {
        span_id: span.span_id?,
        parent_id: span.parent_span_id,
        wire_index,
        start: span.start,
        end: span.end,
        service,
        operation: span.name,
        kind: span.kind,
        status: span.status_code,
    })
}

/// Names, each once, numbered in the order of their first use.
#[derive(Default)]
struct Names<'a> {
    numbers: HashMap<&'a str, u32>,
    names: Vec<&'a str>,
}

impl<'a> Names<'a> {
    fn number(&mut self, name: &'a str) -> u32 {
        *self.numbers.entry(name).or_insert_with(|| {
            self.names.push(name);
            self.names.len() as u32 - 1
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use spanloom_wire::TraceId;
    use spanloom_wire::otlp::TracesWriter;

    use super::*;

    /// One span of a test's trace: service, id, parent (0 for none), start and end in nanoseconds.
    type Given = (&'static str, u64, u64, u64, u64);

    fn trace(spans: &[Given]) -> Trace {
        let id = TraceId::from_bytes([7; 16]).unwrap();
        let mut out = Vec::new();
        for (service, span_id, parent, start, end) in spans {
            TracesWriter::new(&mut out).resource_spans(|resource_spans| {
                resource_spans.resource(|resource| resource.attribute("service.name", *service));
                resource_spans.scope_spans(|scope_spans| {
                    scope_spans.span(|span| {
                        span.trace_id(id);
                        span.span_id(span_id_of(*span_id));
                        if *parent != 0 {
                            span.parent_span_id(span_id_of(*parent));
                        }
                        span.name(service);
                        span.kind(SpanKind::Server);
                        span.start(Timestamp::from_nanos(*start));
                        span.end(Timestamp::from_nanos(*end));
                        if start == end {
                            span.status(StatusCode::Error, "");
                        }
                    });
                });
            });
        }
        Trace {
            id,
            traces_data: out.into(),
        }
    }

    fn span_id_of(id: u64) -> SpanId {
        SpanId::from_bytes(id.to_be_bytes()).unwrap()
    }

    /// The ids of the rows.
    fn ids(columns: &Columns<'_>) -> Vec<u64> {
        columns
            .span_id
            .iter()
            .map(|id| u64::from_be_bytes(id.to_bytes()))
            .collect()
    }

    #[test]
    fn rows_stand_by_parent_and_start_wherever_they_are_on_the_wire() {
        let trace = trace(&[
            ("stock", 3, 2, 40, 60),
            ("cart", 2, 1, 30, 70),
            ("cart", 4, 1, 10, 20),
            ("gateway", 1, 0, 5, 105),
        ]);
        let columns = Columns::new(&trace);
        assert_eq!(ids(&columns), [1, 4, 2, 3]);
        assert_eq!(columns.services, ["gateway", "cart", "stock"]);
        assert_eq!(columns.service, [0, 1, 1, 2]);
        assert_eq!(columns.wire_index, [3, 2, 1, 0]);
        assert_eq!(columns.depth, [0, 1, 1, 2]);
        assert_eq!(columns.subtree_end, [4, 2, 4, 4]);
        assert_eq!(columns.start, Timestamp::from_nanos(5));
        assert_eq!(columns.duration, Duration::from_nanos(100));
        assert_eq!(columns.offset[3], Duration::from_nanos(35));
        assert_eq!(columns.span_duration[3], Duration::from_nanos(20));
        assert_eq!(columns.span(&trace, 3).unwrap().span.name, "stock");
        assert_eq!(
            columns.n_spans_by_service(),
            [("gateway", 1, 0), ("cart", 2, 0), ("stock", 1, 0)]
        );
    }

    #[test]
    fn a_row_says_what_it_hangs_from() {
        let trace = trace(&[
            ("orphan", 1, 99, 1, 2),
            ("root", 2, 0, 3, 4),
            ("child", 3, 2, 5, 6),
            ("circle", 4, 5, 7, 8),
            ("circle", 5, 4, 9, 10),
            ("itself", 6, 6, 11, 12),
        ]);
        let columns = Columns::new(&trace);
        assert_eq!(ids(&columns), [1, 2, 3, 4, 5, 6]);
        let expected = [
            Parent::Missing(span_id_of(99)),
            Parent::Root,
            Parent::Row(1),
            Parent::Circular(span_id_of(5)),
            Parent::Row(3),
            Parent::Circular(span_id_of(6)),
        ];
        assert_eq!(columns.parent, expected);
        assert_eq!(columns.root_row(), Some(1));
    }

    #[test]
    fn an_orphan_names_the_trace_while_its_root_is_missing() {
        let columns_of = trace(&[("circle", 1, 1, 1, 2), ("orphan", 2, 99, 3, 4)]);
        let columns = Columns::new(&columns_of);
        assert_eq!(
            columns.root_row().map(|row| columns.service_name(row)),
            Some("orphan")
        );
        assert_eq!(Columns::new(&trace(&[])).root_row(), None);
    }

    #[test]
    fn spans_with_one_id_are_twins_unless_they_are_the_same() {
        let trace = trace(&[
            ("client", 1, 0, 1, 9),
            ("server", 1, 0, 2, 8),
            ("server", 1, 0, 2, 8),
            ("below", 2, 1, 3, 4),
        ]);
        let columns = Columns::new(&trace);
        assert_eq!(ids(&columns), [1, 2, 1]);
        assert_eq!(columns.twin, [0, 0, 1]);
        assert_eq!(columns.find(span_id_of(1), 1), Some(2));
        assert_eq!(columns.find(span_id_of(1), 2), None);
        assert_eq!(columns.find(span_id_of(3), 0), None);
    }

    #[test]
    fn an_unknown_start_does_not_stretch_the_trace() {
        let trace = trace(&[("unknown", 1, 0, 0, 0), ("known", 2, 1, 1_000, 1_500)]);
        let columns = Columns::new(&trace);
        assert_eq!(columns.start, Timestamp::from_nanos(1_000));
        assert_eq!(columns.duration, Duration::from_nanos(500));
        assert_eq!(columns.offset, [Duration::ZERO; 2]);
        assert_eq!(columns.error_rows().collect::<Vec<_>>(), [0]);
    }

    proptest! {
        #[test]
        fn any_trace_has_a_row_for_each_span_it_can_show(
            spans in proptest::collection::vec(
                (prop_oneof![Just("a"), Just("b")], 1_u64..20, 0_u64..20, any::<u64>(), any::<u64>()),
                0..40,
            )
        ) {
            let trace = trace(&spans);
            let columns = Columns::new(&trace);
            let distinct: std::collections::HashSet<_> = spans.iter().collect();
            prop_assert_eq!(columns.n_rows(), distinct.len());
            prop_assert_eq!(columns.root_row().is_some(), !spans.is_empty());
            for row in 0..columns.n_rows() {
                prop_assert_eq!(columns.find(columns.span_id[row], columns.twin[row]), Some(row));
                let span = columns.span(&trace, row).unwrap().span;
                prop_assert_eq!(span.span_id, Some(columns.span_id[row]));
                prop_assert_eq!(span.name, columns.operation_name(row));
                if let Parent::Row(parent) = columns.parent[row] {
                    prop_assert_eq!(Some(columns.span_id[parent as usize]), span.parent_span_id);
                }
            }
        }

        #[test]
        fn any_bytes_make_a_trace(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let id = TraceId::from_bytes([7; 16]).unwrap();
            let trace = Trace { id, traces_data: bytes.into() };
            let _ = Columns::new(&trace);
        }
    }
}
