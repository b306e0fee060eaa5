//! Putting one trace's spans together again: out of requests that mix many traces, into OTLP bytes
//! with this trace alone.
//!
//! Spans, resources and scopes are copied as the bytes that they came as. Spans whose resource and
//! scope are equal byte for byte share them in the answer, whatever requests they came in: a trace
//! of ten thousand spans that arrived in two thousand requests is not two thousand resources.

use std::collections::HashMap;

use bytes::Bytes;
use spanloom_wire::TraceId;
use spanloom_wire::otlp::{
    Resource, Scope, ScopeSpans, Span, TracesView, TracesWriter, put_varint,
};

use crate::Trace;

/// The tag of `ScopeSpans.spans`: field 2, a length follows.
const SPANS_TAG: u8 = 2 << 3 | 2;

/// The spans of one `ScopeSpans`, with all that they share. What they share is looked up once for
/// all of them: it may stand behind thousands of spans.
pub(crate) struct SpanGroup<'a> {
    pub(crate) resource: Resource<'a>,
    resource_schema_url: &'a str,
    scope: Scope<'a>,
    scope_schema_url: &'a str,
    scope_spans: ScopeSpans<'a>,
}

/// The spans of a request, group by group, in wire order.
pub(crate) fn span_groups(request: &[u8]) -> impl Iterator<Item = SpanGroup<'_>> {
    TracesView::new(request)
        .resource_spans()
        .flat_map(|resource_spans| {
            let resource = resource_spans.resource();
            let resource_schema_url = resource_spans.schema_url();
            resource_spans
                .scope_spans()
                .map(move |scope_spans| SpanGroup {
                    resource,
                    resource_schema_url,
                    scope: scope_spans.scope(),
                    scope_schema_url: scope_spans.schema_url(),
                    scope_spans,
                })
        })
}

impl<'a> SpanGroup<'a> {
    /// Every span that belongs to a trace, in wire order, on which stores count. All spans of a
    /// validated request do.
    pub(crate) fn spans(&self) -> impl Iterator<Item = (TraceId, Span<'a>)> + use<'a> {
        self.scope_spans
            .spans()
            .filter_map(|span| Some((span.trace_id?, span)))
    }
}

/// Collects the spans of one trace.
#[derive(Default)]
pub(crate) struct TraceBuilder {
    resources: Vec<ResourceGroup>,
    /// Where spans with this resource and scope go, by a key of both.
    places: HashMap<Box<[u8]>, (usize, usize)>,
    key: Vec<u8>,
}

struct ResourceGroup {
    resource: Box<[u8]>,
    schema_url: Box<str>,
    scopes: Vec<ScopeGroup>,
}

struct ScopeGroup {
    scope: Box<[u8]>,
    schema_url: Box<str>,
    /// Whole `spans` fields.
    spans: Vec<u8>,
}

impl TraceBuilder {
    /// Adds a span of this group.
    pub(crate) fn add(&mut self, group: &SpanGroup<'_>, span: &Span<'_>) {
        let (resource, scope) = self.place(group);
        let spans = &mut self.resources[resource].scopes[scope].spans;
        spans.push(SPANS_TAG);
        put_varint(spans, span.as_bytes().len() as u64);
        spans.extend_from_slice(span.as_bytes());
    }

    /// Which of our resources, and which of its scopes, the spans of this group go to.
    fn place(&mut self, group: &SpanGroup<'_>) -> (usize, usize) {
        let resource = group.resource.as_bytes();
        let scope = group.scope.as_bytes();
        // The key is the four parts one after the other, each behind its length.
        self.key.clear();
        for part in [group.resource_schema_url.as_bytes(), resource] {
            put_varint(&mut self.key, part.len() as u64);
            self.key.extend_from_slice(part);
        }
        let resource_key_end = self.key.len();
        for part in [group.scope_schema_url.as_bytes(), scope] {
            put_varint(&mut self.key, part.len() as u64);
            self.key.extend_from_slice(part);
        }
        if let Some(&place) = self.places.get(self.key.as_slice()) {
            return place;
        }
        // A resource is under its half of the key, with a scope that does not exist.
        let resource_at = match self.places.get(&self.key[..resource_key_end]) {
            Some(&(at, _)) => at,
            None => {
                let at = self.resources.len();
                self.resources.push(ResourceGroup {
                    resource: resource.into(),
                    schema_url: group.resource_schema_url.into(),
                    scopes: Vec::new(),
                });
                self.places
                    .insert(self.key[..resource_key_end].into(), (at, usize::MAX));
                at
            }
        };
        let scopes = &mut self.resources[resource_at].scopes;
        let place = (resource_at, scopes.len());
        scopes.push(ScopeGroup {
            scope: scope.into(),
            schema_url: group.scope_schema_url.into(),
            spans: Vec::new(),
        });
        self.places.insert(self.key.as_slice().into(), place);
        place
    }

    /// The trace; `None` without a single span.
    pub(crate) fn finish(&self, id: TraceId) -> Option<Trace> {
        let mut traces_data = Vec::new();
        self.append_to(&mut traces_data);
        let traces_data = Bytes::from(traces_data);
        (!traces_data.is_empty()).then_some(Trace { id, traces_data })
    }

    /// Appends what was collected as `resource_spans`.
    pub(crate) fn append_to(&self, out: &mut Vec<u8>) {
        let mut writer = TracesWriter::new(out);
        for resource in &self.resources {
            writer.resource_spans(|resource_spans| {
                resource_spans.resource_bytes(&resource.resource);
                for scope in &resource.scopes {
                    resource_spans.scope_spans(|scope_spans| {
                        scope_spans.scope_bytes(&scope.scope);
                        scope_spans.span_fields(&scope.spans);
                        scope_spans.schema_url(&scope.schema_url);
                    });
                }
                resource_spans.schema_url(&resource.schema_url);
            });
        }
    }
}
