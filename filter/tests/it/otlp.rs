//! What the collector finds in an export request.

use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;

use crate::sim::{Call, first};

/// A span with the attributes of its resource.
#[derive(Clone, Debug)]
pub(crate) struct Exported {
    pub(crate) span: Span,
    resource: Vec<KeyValue>,
}

impl Exported {
    /// A text among the attributes.
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        text(&self.span.attributes, key)
    }

    /// A number among the attributes.
    pub(crate) fn number(&self, key: &str) -> Option<i64> {
        match value(&self.span.attributes, key)? {
            Value::IntValue(number) => Some(*number),
            other => panic!("{key} is no number: {other:?}"),
        }
    }

    /// Whether the span has this attribute.
    pub(crate) fn has(&self, key: &str) -> bool {
        value(&self.span.attributes, key).is_some()
    }

    /// A text among the attributes of the resource.
    pub(crate) fn resource(&self, key: &str) -> Option<&str> {
        text(&self.resource, key)
    }

    /// The status code: 0 is unset, 2 is an error.
    pub(crate) fn status(&self) -> i32 {
        self.span.status.as_ref().map_or(0, |status| status.code)
    }

    pub(crate) fn trace_id(&self) -> String {
        hex(&self.span.trace_id)
    }

    pub(crate) fn span_id(&self) -> String {
        hex(&self.span.span_id)
    }

    pub(crate) fn parent_span_id(&self) -> String {
        hex(&self.span.parent_span_id)
    }
}

/// The spans in a call's body, which a gRPC server or an HTTP server would take.
#[track_caller]
pub(crate) fn spans(call: &Call) -> Vec<Exported> {
    let is_gzip = ["grpc-encoding", "content-encoding"]
        .iter()
        .any(|name| first(&call.headers, name) == Some("gzip"));
    let message = match first(&call.headers, "content-type") {
        Some("application/grpc") => {
            let (frame, message) = call.body.split_at(5);
            let length = u32::try_from(message.len()).unwrap().to_be_bytes();
            assert_eq!(
                frame,
                [&[u8::from(is_gzip)][..], &length].concat(),
                "gRPC's frame"
            );
            message
        }
        Some("application/x-protobuf") => &call.body,
        other => panic!("no content type of OTLP: {other:?}"),
    };
    let mut inflated = Vec::new();
    let message = match is_gzip {
        true => {
            let mut decoder = flate2::read::GzDecoder::new(message);
            std::io::copy(&mut decoder, &mut inflated).expect("gzip");
            &inflated
        }
        false => message,
    };
    let request = ExportTraceServiceRequest::decode(message).expect("OTLP");
    let mut spans = Vec::new();
    for group in request.resource_spans {
        let resource = group.resource.unwrap_or_default().attributes;
        for span in group.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            let resource = resource.clone();
            spans.push(Exported { span, resource });
        }
    }
    spans
}

/// The answer of a collector that takes a request except `n_rejected` of its spans.
pub(crate) fn partial_success(n_rejected: i64, message: &str) -> Vec<u8> {
    let partial_success = ExportTracePartialSuccess {
        rejected_spans: n_rejected,
        error_message: message.to_owned(),
    };
    let response = ExportTraceServiceResponse {
        partial_success: Some(partial_success),
    };
    response.encode_to_vec()
}

fn text<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a str> {
    match value(attributes, key)? {
        Value::StringValue(text) => Some(text),
        other => panic!("{key} is no text: {other:?}"),
    }
}

fn value<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a Value> {
    let mut found = attributes.iter().filter(|attribute| attribute.key == key);
    let value = found.next()?.value.as_ref();
    assert!(found.next().is_none(), "{key} stands there twice");
    value.and_then(|AnyValue { value }| value.as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
