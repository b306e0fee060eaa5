//! Making requests, and taking answers apart.

use std::path::Path;

use bytes::Bytes;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, InstrumentationScope, KeyValue, any_value::Value,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, TracesData};
use prost::Message as _;
use spanloom_storage::{
    EmbeddedStore, EmbeddedStoreConfig, TimeRange, Trace, TraceQuery, TraceReader,
};
use spanloom_wire::TraceId;
use spanloom_wire::otlp::{TracesView, validate};

/// 2017-01-26 15:46:31.639875 UTC, when Jaeger's fixtures began.
pub(crate) const THEN: u64 = 1_485_445_591_639_875_000;
pub(crate) const SECOND: u64 = 1_000_000_000;

pub(crate) fn trace_id(number: u64) -> TraceId {
    let mut bytes = [0; 16];
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    TraceId::from_bytes(bytes).unwrap()
}

/// A span of one microsecond.
pub(crate) fn span(trace: u64, id: u64, name: &str) -> Span {
    Span {
        trace_id: trace_id(trace).to_bytes().to_vec(),
        span_id: id.to_be_bytes().to_vec(),
        name: name.to_owned(),
        start_time_unix_nano: THEN,
        end_time_unix_nano: THEN + 1_000,
        ..Span::default()
    }
}

pub(crate) fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

pub(crate) fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.to_owned()))
}

pub(crate) fn resource_of(service: &str, mut more: Vec<KeyValue>) -> Resource {
    more.insert(0, text("service.name", service));
    Resource {
        attributes: more,
        ..Resource::default()
    }
}

pub(crate) fn request_of(
    resource: Resource,
    scope: InstrumentationScope,
    spans: Vec<Span>,
) -> Bytes {
    let scope_spans = ScopeSpans {
        scope: Some(scope),
        spans,
        ..ScopeSpans::default()
    };
    let resource_spans = ResourceSpans {
        resource: Some(resource),
        scope_spans: vec![scope_spans],
        ..ResourceSpans::default()
    };
    let bytes = Bytes::from(
        TracesData {
            resource_spans: vec![resource_spans],
        }
        .encode_to_vec(),
    );
    validate(&bytes).unwrap();
    bytes
}

pub(crate) fn request(service: &str, spans: Vec<Span>) -> Bytes {
    request_of(
        resource_of(service, Vec::new()),
        InstrumentationScope::default(),
        spans,
    )
}

/// Every span of these bytes with its resource and scope, all as bytes, in one order.
pub(crate) fn spans_in(traces_data: &[u8]) -> Vec<[Vec<u8>; 3]> {
    let spans = TracesView::new(traces_data).spans();
    let mut spans: Vec<_> = spans
        .map(|context| {
            let parts = [
                context.resource.as_bytes(),
                context.scope.as_bytes(),
                context.span.as_bytes(),
            ];
            parts.map(<[u8]>::to_vec)
        })
        .collect();
    spans.sort();
    spans
}

pub(crate) fn ids(traces: &[Trace]) -> Vec<TraceId> {
    traces.iter().map(|trace| trace.id).collect()
}

/// Everything.
pub(crate) fn any() -> TraceQuery {
    TraceQuery {
        service: None,
        operation: None,
        attributes: Vec::new(),
        start: TimeRange::ALL,
        duration_min: None,
        duration_max: None,
        n_traces_max: 1000,
    }
}

pub(crate) fn config(directory: &Path) -> EmbeddedStoreConfig {
    EmbeddedStoreConfig {
        directory: directory.to_owned(),
        ..EmbeddedStoreConfig::default()
    }
}

pub(crate) fn open(directory: &Path) -> EmbeddedStore {
    EmbeddedStore::open(config(directory)).unwrap()
}

/// The spans of a trace; none where there is no trace.
pub(crate) async fn read(store: &impl TraceReader, trace: u64) -> Vec<[Vec<u8>; 3]> {
    let found = store.trace(trace_id(trace), TimeRange::ALL).await.unwrap();
    found
        .map(|trace| spans_in(&trace.traces_data))
        .unwrap_or_default()
}
