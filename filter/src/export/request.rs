//! The export request: its headers, and the frame of gRPC around its body.
//!
//! gRPC goes through the host's HTTP call and not through its gRPC call, which hides the trailers:
//! with them would go `RetryInfo`, the server's word on when to try again.

use spanloom_wire::otlp::put_varint;

use super::gzip;
use crate::config::{Export, Protocol};
use crate::header_block;

/// The tag of `ScopeSpans.spans`.
const SPANS_TAG: u8 = 2 << 3 | 2;
/// gRPC's frame: whether the message is compressed, and its length in four bytes.
const FRAME_BYTES: usize = 5;

/// Appends a `Span` message as a `spans` field.
pub(super) fn put_span(fields: &mut Vec<u8>, span: &[u8]) {
    fields.push(SPANS_TAG);
    put_varint(fields, u64::try_from(span.len()).unwrap_or(u64::MAX));
    fields.extend_from_slice(span);
}

/// A body to append the request to.
pub(super) fn begin(protocol: Protocol, n_bytes: usize) -> Vec<u8> {
    let mut body = Vec::with_capacity(n_bytes);
    if protocol == Protocol::Grpc {
        body.extend_from_slice(&[0; FRAME_BYTES]);
    }
    body
}

/// Completes a body: squeezes it if that is asked for, and frames it.
pub(super) fn finish(export: &Export, mut body: Vec<u8>) -> Vec<u8> {
    let is_grpc = export.protocol == Protocol::Grpc;
    if export.gzip {
        let message = match is_grpc {
            true => body.get(FRAME_BYTES..).unwrap_or_default(),
            false => &body,
        };
        let mut squeezed = begin(export.protocol, message.len() / 4);
        gzip::append(&mut squeezed, message);
        body = squeezed;
    }
    let length = body.len().saturating_sub(FRAME_BYTES);
    if is_grpc
        && let Some((is_compressed, rest)) = body.split_first_mut()
        && let Some(to) = rest.first_chunk_mut()
    {
        *is_compressed = export.gzip.into();
        *to = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    }
    body
}

/// The headers of a request as a block.
pub(super) fn headers(export: &Export) -> Vec<u8> {
    let (path, content_type) = match export.protocol {
        Protocol::Grpc => (
            "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            "application/grpc",
        ),
        Protocol::Http => (&*export.path, "application/x-protobuf"),
    };
    let mut headers = vec![
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", &*export.authority),
        ("content-type", content_type),
        (
            "user-agent",
            concat!("spanloom-filter/", env!("CARGO_PKG_VERSION")),
        ),
    ];
    if export.protocol == Protocol::Grpc {
        headers.push(("te", "trailers"));
    }
    if export.gzip {
        let name = match export.protocol {
            Protocol::Grpc => "grpc-encoding",
            Protocol::Http => "content-encoding",
        };
        headers.push((name, "gzip"));
    }
    headers.extend(
        export
            .headers
            .iter()
            .map(|(name, value)| (&**name, &**value)),
    );
    header_block::write(&headers)
}
