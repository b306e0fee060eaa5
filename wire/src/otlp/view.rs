//! Borrowed views: reading spans where they lie, without a tree of structs.
//!
//! Views are total. On bytes that [`validate`](super::validate()) accepted they show everything; on
//! other bytes they show what can be read and end early. Unknown fields are skipped. Where a field
//! that is not repeated stands twice, the last one counts, as protobuf has it; only where that field
//! is a message would protobuf merge the two, which no encoder writes.

use super::protobuf::{Field, Fields};
use super::{SpanKind, StatusCode};
use crate::{SpanId, Timestamp, TraceId};

/// An `ExportTraceServiceRequest` or `TracesData`.
#[derive(Clone, Copy, Debug)]
pub struct TracesView<'a> {
    bytes: &'a [u8],
}

impl<'a> TracesView<'a> {
    /// A view of these bytes, which stay where they are.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// The groups of spans that share a resource, in wire order.
    pub fn resource_spans(self) -> impl Iterator<Item = ResourceSpans<'a>> + Clone {
        messages(self.bytes, 1).map(|bytes| ResourceSpans { bytes })
    }

    /// Every span with its resource and scope, in wire order.
    pub fn spans(self) -> impl Iterator<Item = SpanInContext<'a>> + Clone {
        self.resource_spans().flat_map(|resource_spans| {
            let resource = resource_spans.resource();
            resource_spans.scope_spans().flat_map(move |scope_spans| {
                let scope = scope_spans.scope();
                scope_spans.spans().map(move |span| SpanInContext {
                    resource,
                    scope,
                    span,
                })
            })
        })
    }
}

/// A span and what it inherits.
#[derive(Clone, Copy, Debug)]
pub struct SpanInContext<'a> {
    /// What made the span.
    pub resource: Resource<'a>,
    /// The library that made the span.
    pub scope: Scope<'a>,
    /// The span itself.
    pub span: Span<'a>,
}

/// The spans of one resource (`ResourceSpans`).
#[derive(Clone, Copy, Debug)]
pub struct ResourceSpans<'a> {
    bytes: &'a [u8],
}

impl<'a> ResourceSpans<'a> {
    /// The message's own bytes, to forward or store unchanged.
    pub const fn as_bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// What made the spans; empty when absent.
    pub fn resource(self) -> Resource<'a> {
        Resource {
            bytes: last_message(self.bytes, 1),
        }
    }

    /// The groups of spans that share a scope, in wire order.
    pub fn scope_spans(self) -> impl Iterator<Item = ScopeSpans<'a>> + Clone {
        messages(self.bytes, 2).map(|bytes| ScopeSpans { bytes })
    }

    /// The schema of the resource's attributes; empty when not said.
    pub fn schema_url(self) -> &'a str {
        text(last_message(self.bytes, 3))
    }
}

/// What made a span (`Resource`).
#[derive(Clone, Copy, Debug, Default)]
pub struct Resource<'a> {
    bytes: &'a [u8],
}

impl<'a> Resource<'a> {
    /// The message's own bytes, to forward, store or compare unchanged.
    pub const fn as_bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// The attributes in wire order, duplicates included.
    pub const fn attributes(self) -> Attributes<'a> {
        Attributes::new(self.bytes, 1)
    }

    /// The attribute `service.name` where it is a string.
    pub fn service_name(self) -> Option<&'a str> {
        self.attributes().get("service.name")?.as_str()
    }
}

/// The spans of one scope (`ScopeSpans`).
#[derive(Clone, Copy, Debug)]
pub struct ScopeSpans<'a> {
    bytes: &'a [u8],
}

impl<'a> ScopeSpans<'a> {
    /// The message's own bytes.
    pub const fn as_bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// The library that made the spans; empty when absent.
    pub fn scope(self) -> Scope<'a> {
        Scope::new(last_message(self.bytes, 1))
    }

    /// The spans in wire order.
    pub fn spans(self) -> impl Iterator<Item = Span<'a>> + Clone {
        messages(self.bytes, 2).map(Span::new)
    }

    /// The schema of the spans' attributes; empty when not said.
    pub fn schema_url(self) -> &'a str {
        text(last_message(self.bytes, 3))
    }
}

/// The library that made a span (`InstrumentationScope`).
#[derive(Clone, Copy, Debug, Default)]
pub struct Scope<'a> {
    bytes: &'a [u8],
    /// The name; empty when not said.
    pub name: &'a str,
    /// The version; empty when not said.
    pub version: &'a str,
}

impl<'a> Scope<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        let mut scope = Self {
            bytes,
            name: "",
            version: "",
        };
        for field in Fields::new(bytes) {
            match field {
                (1, Field::Bytes(name)) => scope.name = text(name),
                (2, Field::Bytes(version)) => scope.version = text(version),
                _ => {}
            }
        }
        scope
    }

    /// The message's own bytes, to forward, store or compare unchanged.
    pub const fn as_bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// The attributes in wire order.
    pub const fn attributes(self) -> Attributes<'a> {
        Attributes::new(self.bytes, 3)
    }
}

/// One span, its plain fields read in one pass, its lists read on demand.
#[derive(Clone, Copy, Debug)]
pub struct Span<'a> {
    bytes: &'a [u8],
    /// The trace; `None` only on bytes that were not validated.
    pub trace_id: Option<TraceId>,
    /// The span; `None` only on bytes that were not validated.
    pub span_id: Option<SpanId>,
    /// The parent; `None` for a root.
    pub parent_span_id: Option<SpanId>,
    /// The W3C `tracestate` as it came; empty when absent.
    pub trace_state: &'a str,
    /// The W3C trace flags in the low 8 bits; bits 8 and 9 say whether the parent is remote.
    pub flags: u32,
    /// The operation.
    pub name: &'a str,
    /// The part in a call.
    pub kind: SpanKind,
    /// When the work began.
    pub start: Timestamp,
    /// When it ended.
    pub end: Timestamp,
    /// How it went.
    pub status_code: StatusCode,
    /// What went wrong, in words; empty when not said.
    pub status_message: &'a str,
    /// How many attributes the sender dropped.
    pub dropped_attributes_count: u32,
    /// How many events the sender dropped.
    pub dropped_events_count: u32,
    /// How many links the sender dropped.
    pub dropped_links_count: u32,
}

impl<'a> Span<'a> {
    /// A view of one `Span` message.
    pub fn new(bytes: &'a [u8]) -> Self {
        let mut span = Self {
            bytes,
            trace_id: None,
            span_id: None,
            parent_span_id: None,
            trace_state: "",
            flags: 0,
            name: "",
            kind: SpanKind::Unspecified,
            start: Timestamp::default(),
            end: Timestamp::default(),
            status_code: StatusCode::Unset,
            status_message: "",
            dropped_attributes_count: 0,
            dropped_events_count: 0,
            dropped_links_count: 0,
        };
        for field in Fields::new(bytes) {
            match field {
                (1, Field::Bytes(id)) => span.trace_id = TraceId::from_slice(id).ok(),
                (2, Field::Bytes(id)) => span.span_id = SpanId::from_slice(id).ok(),
                (3, Field::Bytes(state)) => span.trace_state = text(state),
                (4, Field::Bytes(id)) => span.parent_span_id = SpanId::from_slice(id).ok(),
                (5, Field::Bytes(name)) => span.name = text(name),
                (6, Field::Varint(kind)) => span.kind = SpanKind::from_number(kind as u32),
                (7, Field::Fixed64(nanos)) => span.start = Timestamp::from_nanos(nanos),
                (8, Field::Fixed64(nanos)) => span.end = Timestamp::from_nanos(nanos),
                (10, Field::Varint(n)) => span.dropped_attributes_count = n as u32,
                (12, Field::Varint(n)) => span.dropped_events_count = n as u32,
                (14, Field::Varint(n)) => span.dropped_links_count = n as u32,
                (15, Field::Bytes(status)) => {
                    for field in Fields::new(status) {
                        match field {
                            (2, Field::Bytes(message)) => span.status_message = text(message),
                            (3, Field::Varint(code)) => {
                                span.status_code = StatusCode::from_number(code as u32);
                            }
                            _ => {}
                        }
                    }
                }
                (16, Field::Fixed32(flags)) => span.flags = flags,
                _ => {}
            }
        }
        span
    }

    /// The message's own bytes, to forward, store or hash unchanged.
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The attributes in wire order, duplicates included.
    pub const fn attributes(&self) -> Attributes<'a> {
        Attributes::new(self.bytes, 9)
    }

    /// The events in wire order.
    pub fn events(&self) -> impl Iterator<Item = Event<'a>> + Clone {
        messages(self.bytes, 11).map(Event::new)
    }

    /// The links in wire order.
    pub fn links(&self) -> impl Iterator<Item = Link<'a>> + Clone {
        messages(self.bytes, 13).map(Link::new)
    }
}

/// Something that happened at one moment of a span (`Span.Event`).
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    bytes: &'a [u8],
    /// When it happened.
    pub time: Timestamp,
    /// What happened.
    pub name: &'a str,
}

impl<'a> Event<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        let mut event = Self {
            bytes,
            time: Timestamp::default(),
            name: "",
        };
        for field in Fields::new(bytes) {
            match field {
                (1, Field::Fixed64(nanos)) => event.time = Timestamp::from_nanos(nanos),
                (2, Field::Bytes(name)) => event.name = text(name),
                _ => {}
            }
        }
        event
    }

    /// The attributes in wire order.
    pub const fn attributes(&self) -> Attributes<'a> {
        Attributes::new(self.bytes, 3)
    }
}

/// A pointer to another span (`Span.Link`).
#[derive(Clone, Copy, Debug)]
pub struct Link<'a> {
    bytes: &'a [u8],
    /// The other span's trace; `None` when missing or invalid, which senders do.
    pub trace_id: Option<TraceId>,
    /// The other span; `None` when missing or invalid.
    pub span_id: Option<SpanId>,
    /// The other span's `tracestate`.
    pub trace_state: &'a str,
    /// The other span's flags, as in [`Span::flags`].
    pub flags: u32,
}

impl<'a> Link<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        let mut link = Self {
            bytes,
            trace_id: None,
            span_id: None,
            trace_state: "",
            flags: 0,
        };
        for field in Fields::new(bytes) {
            match field {
                (1, Field::Bytes(id)) => link.trace_id = TraceId::from_slice(id).ok(),
                (2, Field::Bytes(id)) => link.span_id = SpanId::from_slice(id).ok(),
                (3, Field::Bytes(state)) => link.trace_state = text(state),
                (6, Field::Fixed32(flags)) => link.flags = flags,
                _ => {}
            }
        }
        link
    }

    /// The attributes in wire order.
    pub const fn attributes(&self) -> Attributes<'a> {
        Attributes::new(self.bytes, 4)
    }
}

/// A list of attributes; iterate it, or look one up.
#[derive(Clone, Debug)]
pub struct Attributes<'a> {
    fields: Fields<'a>,
    number: u32,
}

impl<'a> Attributes<'a> {
    const fn new(message: &'a [u8], number: u32) -> Self {
        Self {
            fields: Fields::new(message),
            number,
        }
    }

    /// The value of the first attribute with this key. A scan: attribute lists are short.
    pub fn get(&self, key: &str) -> Option<Value<'a>> {
        self.clone()
            .find(|attribute| attribute.key == key)
            .map(|attribute| attribute.value)
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = KeyValue<'a>;

    fn next(&mut self) -> Option<KeyValue<'a>> {
        loop {
            match self.fields.next()? {
                (number, Field::Bytes(bytes)) if number == self.number => {
                    return Some(KeyValue::new(bytes));
                }
                _ => {}
            }
        }
    }
}

/// One attribute.
#[derive(Clone, Debug)]
pub struct KeyValue<'a> {
    /// The key.
    pub key: &'a str,
    /// The value.
    pub value: Value<'a>,
}

impl<'a> KeyValue<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        let mut key_value = Self {
            key: "",
            value: Value::Empty,
        };
        for field in Fields::new(bytes) {
            match field {
                (1, Field::Bytes(key)) => key_value.key = text(key),
                (2, Field::Bytes(value)) => key_value.value = Value::new(value),
                _ => {}
            }
        }
        key_value
    }
}

/// The value of an attribute (`AnyValue`).
#[derive(Clone, Debug)]
pub enum Value<'a> {
    /// No value, which OTLP allows.
    Empty,
    /// Text.
    Str(&'a str),
    /// A truth value.
    Bool(bool),
    /// A signed integer.
    Int(i64),
    /// A number; may be NaN or infinite.
    Double(f64),
    /// A list.
    Array(Values<'a>),
    /// A map, as a list of pairs.
    Map(Attributes<'a>),
    /// Bytes.
    Bytes(&'a [u8]),
}

impl<'a> Value<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        let mut value = Value::Empty;
        for field in Fields::new(bytes) {
            value = match field {
                (1, Field::Bytes(bytes)) => Value::Str(text(bytes)),
                (2, Field::Varint(number)) => Value::Bool(number != 0),
                (3, Field::Varint(number)) => Value::Int(number as i64),
                (4, Field::Fixed64(bits)) => Value::Double(f64::from_bits(bits)),
                (5, Field::Bytes(bytes)) => Value::Array(Values {
                    fields: Fields::new(bytes),
                }),
                (6, Field::Bytes(bytes)) => Value::Map(Attributes::new(bytes, 1)),
                (7, Field::Bytes(bytes)) => Value::Bytes(bytes),
                // An index into a string table, which only profiles have.
                (8, Field::Varint(_)) => Value::Empty,
                _ => value,
            };
        }
        value
    }

    /// The text, where the value is text.
    pub fn as_str(&self) -> Option<&'a str> {
        match self {
            Value::Str(text) => Some(text),
            _ => None,
        }
    }

    /// The integer, where the value is one.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Value::Int(number) => Some(*number),
            _ => None,
        }
    }
}

/// The elements of an array value.
#[derive(Clone, Debug)]
pub struct Values<'a> {
    fields: Fields<'a>,
}

impl<'a> Iterator for Values<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        loop {
            if let (1, Field::Bytes(bytes)) = self.fields.next()? {
                return Some(Value::new(bytes));
            }
        }
    }
}

fn messages(message: &[u8], number: u32) -> impl Iterator<Item = &[u8]> + Clone {
    Fields::new(message).filter_map(move |field| match field {
        (n, Field::Bytes(bytes)) if n == number => Some(bytes),
        _ => None,
    })
}

fn last_message(message: &[u8], number: u32) -> &[u8] {
    messages(message, number).last().unwrap_or_default()
}

/// Text that was validated; else empty, so that a view never panics.
fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}
