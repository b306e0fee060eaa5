//! Ended spans as an OTLP `ExportTraceServiceRequest` in protobuf, written field by field. The
//! field numbers are those of opentelemetry-proto 1.x (`trace/v1/trace.proto`), which are stable.

use crate::span::{Finished, Value};

/// Encodes one request: one resource, one scope a crate.
pub(crate) fn encode(resource: &[(String, String)], spans: &[Finished]) -> Vec<u8> {
    let mut out = Vec::with_capacity(256 + 256 * spans.len());
    message(&mut out, 1, |resource_spans| {
        message(resource_spans, 1, |body| {
            for (key, value) in resource {
                attribute(body, 1, key, |any| {
                    match (key.as_str(), value.parse::<i64>()) {
                        ("process.pid", Ok(pid)) => int(any, 3, pid as u64),
                        _ => bytes(any, 1, value.as_bytes()),
                    }
                });
            }
        });
        let mut scopes: Vec<&str> = Vec::new();
        for span in spans {
            if !scopes.contains(&span.scope) {
                scopes.push(span.scope);
            }
        }
        for scope in scopes {
            message(resource_spans, 2, |scope_spans| {
                message(scope_spans, 1, |body| bytes(body, 1, scope.as_bytes()));
                for span in spans.iter().filter(|span| span.scope == scope) {
                    message(scope_spans, 2, |body| encode_span(body, span));
                }
            });
        }
    });
    out
}

fn encode_span(out: &mut Vec<u8>, span: &Finished) {
    bytes(out, 1, &span.trace.id.to_be_bytes());
    bytes(out, 2, &span.span_id.to_be_bytes());
    if !span.trace.state.is_empty() {
        bytes(out, 3, span.trace.state.as_bytes());
    }
    if let Some(parent) = span.parent_id {
        bytes(out, 4, &parent.to_be_bytes());
    }
    bytes(out, 5, span.name.as_bytes());
    int(out, 6, span.kind as u64);
    fixed64(out, 7, span.start_unix_ns);
    fixed64(out, 8, span.end_unix_ns);
    if let Some(site) = span.site {
        attribute(out, 9, "code.function.name", |any| {
            bytes(any, 1, site.qualified_name().as_bytes());
        });
        attribute(out, 9, "code.file.path", |any| {
            bytes(any, 1, site.file().as_bytes());
        });
        attribute(out, 9, "code.line.number", |any| {
            int(any, 3, u64::from(site.line()));
        });
    }
    for (key, value) in &span.attributes {
        attribute(out, 9, key, |any| match value {
            Value::Text(text) => bytes(any, 1, text.as_bytes()),
            Value::Bool(truth) => int(any, 2, u64::from(*truth)),
            Value::Int(number) => int(any, 3, *number as u64),
        });
    }
    if span.attributes_dropped > 0 {
        int(out, 10, u64::from(span.attributes_dropped));
    }
    if let Some(error) = &span.error {
        message(out, 15, |status| {
            bytes(status, 2, error.as_bytes());
            int(status, 3, 2);
        });
    }
    // W3C flags with bits 8 and 9: whether the parent is remote is known, and is.
    let remote = if span.parent_id.is_some() && is_entry(span) {
        0x300
    } else {
        0x100
    };
    tag(out, 16, 5);
    out.extend_from_slice(&(remote | u32::from(span.trace.sampled)).to_le_bytes());
}

/// Whether a span's parent, if it has one, is of another process.
pub(crate) fn is_entry(span: &Finished) -> bool {
    matches!(
        span.kind,
        crate::span::Kind::Server | crate::span::Kind::Consumer
    )
}

fn attribute(out: &mut Vec<u8>, field: u32, key: &str, value: impl FnOnce(&mut Vec<u8>)) {
    message(out, field, |pair| {
        bytes(pair, 1, key.as_bytes());
        message(pair, 2, value);
    });
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn tag(out: &mut Vec<u8>, field: u32, wire_type: u32) {
    varint(out, u64::from((field << 3) | wire_type));
}

fn int(out: &mut Vec<u8>, field: u32, value: u64) {
    tag(out, field, 0);
    varint(out, value);
}

fn fixed64(out: &mut Vec<u8>, field: u32, value: u64) {
    tag(out, field, 1);
    out.extend_from_slice(&value.to_le_bytes());
}

fn bytes(out: &mut Vec<u8>, field: u32, value: &[u8]) {
    tag(out, field, 2);
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

fn message(out: &mut Vec<u8>, field: u32, fill: impl FnOnce(&mut Vec<u8>)) {
    let mut body = Vec::new();
    fill(&mut body);
    bytes(out, field, &body);
}
