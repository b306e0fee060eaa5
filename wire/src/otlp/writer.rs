//! Appends OTLP spans to a byte buffer: no tree of structs, no allocation but the buffer's growth.
//!
//! Values that are protobuf's defaults (empty text, zero) are left out, as protobuf libraries do.
//! Text is `str`, so that a request is always valid UTF-8; for bytes of unknown encoding, such as a
//! header's, there is [`AttributesWriter::attribute_lossy`].

use super::protobuf::{
    put_bytes_field, put_fixed32_field, put_fixed64_field, put_message_field, put_varint_field,
    varint_bytes,
};
use super::{SpanKind, StatusCode};
use crate::{SpanId, Timestamp, TraceId};

/// Appends to an `ExportTraceServiceRequest`.
#[derive(Debug)]
pub struct TracesWriter<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> TracesWriter<'a> {
    /// A writer that appends to `out`. What stands there already must be whole `resource_spans`.
    pub const fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out }
    }

    /// Appends a group of spans that share a resource.
    pub fn resource_spans(&mut self, write: impl FnOnce(&mut ResourceSpansWriter<'_>)) {
        put_message_field(self.out, 1, |out| write(&mut ResourceSpansWriter { out }));
    }
}

/// Appends to a `ResourceSpans`.
#[derive(Debug)]
pub struct ResourceSpansWriter<'a> {
    out: &'a mut Vec<u8>,
}

impl ResourceSpansWriter<'_> {
    /// Appends the resource. Call it once.
    pub fn resource(&mut self, write: impl FnOnce(&mut AttributesWriter<'_>)) {
        put_message_field(self.out, 1, |out| {
            write(&mut AttributesWriter { out, number: 1 });
        });
    }

    /// Appends the resource from the bytes of a `Resource` message that was written before.
    pub fn resource_bytes(&mut self, resource: &[u8]) {
        put_bytes_field(self.out, 1, resource);
    }

    /// Appends a group of spans that share a scope.
    pub fn scope_spans(&mut self, write: impl FnOnce(&mut ScopeSpansWriter<'_>)) {
        put_message_field(self.out, 2, |out| write(&mut ScopeSpansWriter { out }));
    }

    /// Appends the schema of the resource's attributes.
    pub fn schema_url(&mut self, url: &str) {
        put_text_field(self.out, 3, url);
    }
}

/// Appends to a `ScopeSpans`.
#[derive(Debug)]
pub struct ScopeSpansWriter<'a> {
    out: &'a mut Vec<u8>,
}

impl ScopeSpansWriter<'_> {
    /// Appends the scope's name and version. Call it once.
    pub fn scope(&mut self, name: &str, version: &str) {
        put_message_field(self.out, 1, |out| {
            put_text_field(out, 1, name);
            put_text_field(out, 2, version);
        });
    }

    /// Appends the scope from the bytes of an `InstrumentationScope` message.
    pub fn scope_bytes(&mut self, scope: &[u8]) {
        put_bytes_field(self.out, 1, scope);
    }

    /// Appends a span.
    pub fn span(&mut self, write: impl FnOnce(&mut SpanWriter<'_>)) {
        put_message_field(self.out, 2, |out| write(&mut SpanWriter { out }));
    }

    /// Appends a span from the bytes of a `Span` message.
    pub fn span_bytes(&mut self, span: &[u8]) {
        put_bytes_field(self.out, 2, span);
    }

    /// Appends spans that [`SpanWriter::append_to`] wrote: whole `spans` fields, tags included.
    pub fn span_fields(&mut self, fields: &[u8]) {
        self.out.extend_from_slice(fields);
    }

    /// Appends the schema of the spans' attributes.
    pub fn schema_url(&mut self, url: &str) {
        put_text_field(self.out, 3, url);
    }
}

/// Appends to a `Span`. Ids, name, kind and times are to be written once each; the lists grow.
#[derive(Debug)]
pub struct SpanWriter<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> SpanWriter<'a> {
    /// A writer of a bare `Span` message, for a span that is written bit by bit before it goes to
    /// [`ScopeSpansWriter::span_bytes`].
    pub const fn message(out: &'a mut Vec<u8>) -> Self {
        Self { out }
    }
}

impl SpanWriter<'_> {
    /// Appends one whole `spans` field of a `ScopeSpans` to `out`, for a batch that grows span by
    /// span and gets its envelope at the end by [`ScopeSpansWriter::span_fields`].
    pub fn append_to(out: &mut Vec<u8>, write: impl FnOnce(&mut SpanWriter<'_>)) {
        ScopeSpansWriter { out }.span(write);
    }

    /// The trace.
    pub fn trace_id(&mut self, id: TraceId) {
        put_bytes_field(self.out, 1, &id.to_bytes());
    }

    /// The span.
    pub fn span_id(&mut self, id: SpanId) {
        put_bytes_field(self.out, 2, &id.to_bytes());
    }

    /// The W3C `tracestate`.
    pub fn trace_state(&mut self, state: &str) {
        put_text_field(self.out, 3, state);
    }

    /// The parent; leave it out for a root.
    pub fn parent_span_id(&mut self, id: SpanId) {
        put_bytes_field(self.out, 4, &id.to_bytes());
    }

    /// The operation.
    pub fn name(&mut self, name: &str) {
        put_text_field(self.out, 5, name);
    }

    /// The part in a call.
    pub fn kind(&mut self, kind: SpanKind) {
        put_number_field(self.out, 6, u64::from(kind.number()));
    }

    /// When the work began.
    pub fn start(&mut self, time: Timestamp) {
        put_fixed64_field(self.out, 7, time.as_nanos());
    }

    /// When it ended.
    pub fn end(&mut self, time: Timestamp) {
        put_fixed64_field(self.out, 8, time.as_nanos());
    }

    /// The attributes; may be called again to add more.
    pub fn attributes(&mut self, write: impl FnOnce(&mut AttributesWriter<'_>)) {
        write(&mut AttributesWriter {
            out: self.out,
            number: 9,
        });
    }

    /// How many attributes were dropped.
    pub fn dropped_attributes_count(&mut self, n: u32) {
        put_number_field(self.out, 10, u64::from(n));
    }

    /// Appends an event.
    pub fn event(&mut self, time: Timestamp, name: &str, write: impl FnOnce(&mut EventWriter<'_>)) {
        put_message_field(self.out, 11, |out| {
            put_fixed64_field(out, 1, time.as_nanos());
            put_text_field(out, 2, name);
            write(&mut AttributesWriter { out, number: 3 });
        });
    }

    /// How many events were dropped.
    pub fn dropped_events_count(&mut self, n: u32) {
        put_number_field(self.out, 12, u64::from(n));
    }

    /// Appends a link.
    pub fn link(
        &mut self,
        trace_id: TraceId,
        span_id: SpanId,
        write: impl FnOnce(&mut LinkWriter<'_>),
    ) {
        put_message_field(self.out, 13, |out| {
            put_bytes_field(out, 1, &trace_id.to_bytes());
            put_bytes_field(out, 2, &span_id.to_bytes());
            write(&mut LinkWriter { out });
        });
    }

    /// How many links were dropped.
    pub fn dropped_links_count(&mut self, n: u32) {
        put_number_field(self.out, 14, u64::from(n));
    }

    /// How it went; leave it out for [`StatusCode::Unset`] without a message.
    pub fn status(&mut self, code: StatusCode, message: &str) {
        put_message_field(self.out, 15, |out| {
            put_text_field(out, 2, message);
            put_number_field(out, 3, u64::from(code.number()));
        });
    }

    /// The W3C flags in the low 8 bits; bit 8 says that bit 9, "the parent is remote", is known.
    pub fn flags(&mut self, flags: u32) {
        if flags != 0 {
            put_fixed32_field(self.out, 16, flags);
        }
    }
}

/// Appends to a `Span.Event`: its attributes.
pub type EventWriter<'a> = AttributesWriter<'a>;

/// Appends to a `Span.Link`.
#[derive(Debug)]
pub struct LinkWriter<'a> {
    out: &'a mut Vec<u8>,
}

impl LinkWriter<'_> {
    /// The other span's `tracestate`.
    pub fn trace_state(&mut self, state: &str) {
        put_text_field(self.out, 3, state);
    }

    /// The attributes.
    pub fn attributes(&mut self, write: impl FnOnce(&mut AttributesWriter<'_>)) {
        write(&mut AttributesWriter {
            out: self.out,
            number: 4,
        });
    }

    /// The other span's flags.
    pub fn flags(&mut self, flags: u32) {
        if flags != 0 {
            put_fixed32_field(self.out, 6, flags);
        }
    }
}

/// Appends attributes to whatever message has them.
#[derive(Debug)]
pub struct AttributesWriter<'a> {
    out: &'a mut Vec<u8>,
    number: u32,
}

impl<'a> AttributesWriter<'a> {
    /// A writer of a bare `Resource` message, for [`ResourceSpansWriter::resource_bytes`].
    pub const fn resource(out: &'a mut Vec<u8>) -> Self {
        Self { out, number: 1 }
    }
}

impl AttributesWriter<'_> {
    /// Appends an attribute.
    pub fn attribute(&mut self, key: &str, value: impl WriteValue) {
        if let Some(value_bytes) = value.bytes() {
            // Almost every attribute is short: then all lengths are known before and take one byte.
            let bytes = key.len() + value_bytes + 4;
            if bytes < 0x80 {
                let tag = (self.number << 3 | 2) as u8;
                self.out.reserve(bytes + 2);
                self.out
                    .extend_from_slice(&[tag, bytes as u8, 0x0a, key.len() as u8]);
                self.out.extend_from_slice(key.as_bytes());
                self.out.extend_from_slice(&[0x12, value_bytes as u8]);
                value.write(self.out);
                return;
            }
        }
        put_message_field(self.out, self.number, |out| {
            put_bytes_field(out, 1, key.as_bytes());
            put_message_field(out, 2, |out| value.write(out));
        });
    }

    /// Appends a text attribute from bytes of unknown encoding, such as a header: bytes that are not
    /// UTF-8 become U+FFFD, since one of them would make a collector refuse the whole request.
    pub fn attribute_lossy(&mut self, key: &str, value: &[u8]) {
        self.attribute(key, String::from_utf8_lossy(value).as_ref());
    }
}

/// What can be the value of an attribute (`AnyValue`).
pub trait WriteValue {
    /// Appends the body of an `AnyValue`.
    fn write(self, out: &mut Vec<u8>);

    /// How many bytes that appends, where it is known without doing it.
    fn bytes(&self) -> Option<usize> {
        None
    }
}

impl WriteValue for &str {
    fn write(self, out: &mut Vec<u8>) {
        // Written even when empty: an absent value and an empty text differ.
        put_bytes_field(out, 1, self.as_bytes());
    }

    fn bytes(&self) -> Option<usize> {
        Some(1 + varint_bytes(self.len() as u64) + self.len())
    }
}

impl WriteValue for bool {
    fn write(self, out: &mut Vec<u8>) {
        put_varint_field(out, 2, u64::from(self));
    }
}

impl WriteValue for i64 {
    fn write(self, out: &mut Vec<u8>) {
        put_varint_field(out, 3, self as u64);
    }

    fn bytes(&self) -> Option<usize> {
        Some(1 + varint_bytes(*self as u64))
    }
}

impl WriteValue for f64 {
    fn write(self, out: &mut Vec<u8>) {
        put_fixed64_field(out, 4, self.to_bits());
    }
}

impl WriteValue for &[u8] {
    fn write(self, out: &mut Vec<u8>) {
        put_bytes_field(out, 7, self);
    }
}

/// An array of values of one type.
impl<V: WriteValue + Copy> WriteValue for &[V] {
    fn write(self, out: &mut Vec<u8>) {
        put_message_field(out, 5, |out| {
            for value in self {
                put_message_field(out, 1, |out| value.write(out));
            }
        });
    }
}

fn put_text_field(out: &mut Vec<u8>, number: u32, text: &str) {
    if !text.is_empty() {
        put_bytes_field(out, number, text.as_bytes());
    }
}

fn put_number_field(out: &mut Vec<u8>, number: u32, value: u64) {
    if value != 0 {
        put_varint_field(out, number, value);
    }
}
