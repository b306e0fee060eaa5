//! A router over a store in memory, and spans to fill it with.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message as _;
use spanloom_query::{Options, router};
use spanloom_storage::{MemoryStore, TraceWriter as _};
use spanloom_wire::Timestamp;
use tower::ServiceExt as _;

/// When every test's clock stands still: 2023-11-14 22:13:20 UTC.
pub(crate) const NOW_NS: u64 = 1_700_000_000_000_000_000;

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().expect("our headers are ASCII"))
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).expect("the body is JSON")
    }

    /// Whether the page has all these, in this order.
    #[track_caller]
    pub(crate) fn has_in_order(&self, parts: &[&str]) {
        let mut rest = self.body.as_str();
        for part in parts {
            let Some((_, after)) = rest.split_once(part) else {
                panic!("{part:?} is not (or not in this place) in:\n{}", self.body)
            };
            rest = after;
        }
    }
}

/// A router over these requests' spans.
pub(crate) async fn app(requests: Vec<ExportTraceServiceRequest>) -> Router {
    let store = MemoryStore::new(1_000);
    for request in requests {
        let written = store.write(request.encode_to_vec().into()).await;
        written.expect("memory does not fail");
    }
    let options = Options {
        clock: Arc::new(|| Timestamp::from_nanos(NOW_NS)),
        ..Options::default()
    };
    router(Arc::new(store), options)
}

pub(crate) async fn get(app: &Router, path: &str) -> Answer {
    let request = Request::get(path)
        .body(Body::empty())
        .expect("the path is one");
    let response = app
        .clone()
        .oneshot(request)
        .await
        .expect("routers answer everything");
    let (status, headers) = (response.status(), response.headers().clone());
    let body = response
        .into_body()
        .collect()
        .await
        .expect("the body is whole")
        .to_bytes();
    Answer {
        status,
        headers,
        body: String::from_utf8(body.into()).expect("the body is text"),
    }
}

/// A request with spans of one service.
pub(crate) fn request(service: &str, spans: Vec<Span>) -> ExportTraceServiceRequest {
    request_of(vec![text("service.name", service)], spans)
}

/// A request with spans of one resource.
pub(crate) fn request_of(resource: Vec<KeyValue>, spans: Vec<Span>) -> ExportTraceServiceRequest {
    let resource = Resource {
        attributes: resource,
        ..Resource::default()
    };
    let scope_spans = vec![ScopeSpans {
        spans,
        ..ScopeSpans::default()
    }];
    let resource_spans = ResourceSpans {
        resource: Some(resource),
        scope_spans,
        ..ResourceSpans::default()
    };
    ExportTraceServiceRequest {
        resource_spans: vec![resource_spans],
    }
}

/// A span of trace `trace` that began ten seconds before now and took 1.5 ms; 0 is no parent.
pub(crate) fn span(trace: u128, id: u64, parent: u64, name: &str) -> Span {
    Span {
        trace_id: trace.to_be_bytes().to_vec(),
        span_id: id.to_be_bytes().to_vec(),
        parent_span_id: if parent == 0 {
            Vec::new()
        } else {
            parent.to_be_bytes().to_vec()
        },
        name: name.to_owned(),
        kind: 2,
        start_time_unix_nano: NOW_NS - 10_000_000_000,
        end_time_unix_nano: NOW_NS - 10_000_000_000 + 1_500_000,
        ..Span::default()
    }
}

pub(crate) fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.to_owned()))
}

pub(crate) fn attribute(key: &str, value: Value) -> KeyValue {
    let value = Some(AnyValue { value: Some(value) });
    KeyValue {
        key: key.to_owned(),
        value,
        ..KeyValue::default()
    }
}
