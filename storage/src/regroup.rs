//! Putting one trace's spans together again: out of requests that mix many traces, into OTLP bytes
//! with this trace alone.
//!
//! Spans, resources and scopes are copied as the bytes that they came as. Spans whose resource and
//! scope are equal byte for byte share them in the answer, whatever requests they came in: a trace
//! of ten thousand spans that arrived in two thousand requests is not two thousand resources.

use std::collections::HashMap;

use bytes::Bytes;
use spanloom_wire::TraceId;
use spanloom_wire::otlp::{ResourceSpans, ScopeSpans, Span, TracesView, TracesWriter, put_varint};

use crate::Trace;

/// The tag of `ScopeSpans.spans`: field 2, a length follows.
const SPANS_TAG: u8 = 2 << 3 | 2;

/// Calls `each` for every span that belongs to a trace, with its place in the request. All spans of
/// a validated request do; the order is the wire's, and stores count on it.
pub(crate) fn each_span<'a>(
    request: &'a [u8],
    mut each: impl FnMut(TraceId, ResourceSpans<'a>, ScopeSpans<'a>, Span<'a>),
) {
    for resource_spans in TracesView::new(request).resource_spans() {
        for scope_spans in resource_spans.scope_spans() {
            for span in scope_spans.spans() {
                if let Some(trace_id) = span.trace_id {
                    each(trace_id, resource_spans, scope_spans, span);
                }
            }
        }
    }
}

/// Collects the spans of one trace.
#[derive(Default)]
pub(crate) struct TraceBuilder {
    resources: Vec<ResourceGroup>,
    /// Where the group with this resource and scope is, by [`group_key`].
    groups: HashMap<Box<[u8]>, (usize, usize)>,
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
    /// Adds a span with what it stands in.
    pub(crate) fn add(
        &mut self,
        resource_spans: ResourceSpans<'_>,
        scope_spans: ScopeSpans<'_>,
        span: &Span<'_>,
    ) {
        let (resource, scope) = self.group(resource_spans, scope_spans);
        let spans = &mut self.resources[resource].scopes[scope].spans;
        spans.push(SPANS_TAG);
        put_varint(spans, span.as_bytes().len() as u64);
        spans.extend_from_slice(span.as_bytes());
    }

    fn group(
        &mut self,
        resource_spans: ResourceSpans<'_>,
        scope_spans: ScopeSpans<'_>,
    ) -> (usize, usize) {
        let resource = resource_spans.resource().as_bytes();
        let scope = scope_spans.scope().as_bytes();
        let resource_schema = resource_spans.schema_url();
        let scope_schema = scope_spans.schema_url();
        // The key is the four parts one after the other, each behind its length.
        self.key.clear();
        for part in [resource_schema.as_bytes(), resource] {
            put_varint(&mut self.key, part.len() as u64);
            self.key.extend_from_slice(part);
        }
        let resource_key_end = self.key.len();
        for part in [scope_schema.as_bytes(), scope] {
            put_varint(&mut self.key, part.len() as u64);
            self.key.extend_from_slice(part);
        }
        if let Some(&group) = self.groups.get(self.key.as_slice()) {
            return group;
        }
        // A resource is under its half of the key, with a scope that does not exist.
        let resource_at = match self.groups.get(&self.key[..resource_key_end]) {
            Some(&(at, _)) => at,
            None => {
                let at = self.resources.len();
                self.resources.push(ResourceGroup {
                    resource: resource.into(),
                    schema_url: resource_schema.into(),
                    scopes: Vec::new(),
                });
                self.groups
                    .insert(self.key[..resource_key_end].into(), (at, usize::MAX));
                at
            }
        };
        let scopes = &mut self.resources[resource_at].scopes;
        let group = (resource_at, scopes.len());
        scopes.push(ScopeGroup {
            scope: scope.into(),
            schema_url: scope_schema.into(),
            spans: Vec::new(),
        });
        self.groups.insert(self.key.as_slice().into(), group);
        group
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
