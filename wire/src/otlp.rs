//! OTLP traces as bytes: a [`TracesWriter`] that appends, [`TracesView`]s that read in place, and
//! [`validate`] for what strangers send.
//!
//! `ExportTraceServiceRequest`, `TracesData` and a stored batch are the same bytes: nothing but
//! repeated `resource_spans`. So requests concatenate, and joining two batches is appending.
//! Field numbers are from `opentelemetry/proto/{trace,common,resource}/v1/*.proto` (1.10).

mod protobuf;
mod validate;
mod view;
mod writer;

pub use protobuf::put_varint;
pub use validate::{DEPTH_MAX, InvalidOtlp, TracesSummary, validate};
pub use view::{
    Attributes, Event, KeyValue, Link, Resource, ResourceSpans, Scope, ScopeSpans, Span,
    SpanInContext, TracesView, Value, Values,
};
pub use writer::{
    AttributesWriter, EventWriter, LinkWriter, ResourceSpansWriter, ScopeSpansWriter, SpanWriter,
    TracesWriter, WriteValue,
};

/// What part a span plays in a call (`Span.SpanKind`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SpanKind {
    /// Not said, or a number that this version does not know.
    #[default]
    Unspecified,
    /// Work inside one process.
    Internal,
    /// The answering side of a synchronous call.
    Server,
    /// The asking side of a synchronous call.
    Client,
    /// The sending side of a message.
    Producer,
    /// The receiving side of a message.
    Consumer,
}

impl SpanKind {
    /// The number of the kind in OTLP.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The kind with this OTLP number; an unknown number is [`SpanKind::Unspecified`].
    pub const fn from_number(number: u32) -> Self {
        match number {
            1 => SpanKind::Internal,
            2 => SpanKind::Server,
            3 => SpanKind::Client,
            4 => SpanKind::Producer,
            5 => SpanKind::Consumer,
            _ => SpanKind::Unspecified,
        }
    }

    /// The lower-case name that Jaeger's APIs use; empty for [`SpanKind::Unspecified`].
    pub const fn name(self) -> &'static str {
        match self {
            SpanKind::Unspecified => "",
            SpanKind::Internal => "internal",
            SpanKind::Server => "server",
            SpanKind::Client => "client",
            SpanKind::Producer => "producer",
            SpanKind::Consumer => "consumer",
        }
    }

    /// The kind with this lower-case name; `None` for any other text.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "internal" => SpanKind::Internal,
            "server" => SpanKind::Server,
            "client" => SpanKind::Client,
            "producer" => SpanKind::Producer,
            "consumer" => SpanKind::Consumer,
            _ => return None,
        })
    }
}

/// Whether the work of a span went well (`Status.StatusCode`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum StatusCode {
    /// Nobody said; also an unknown number.
    #[default]
    Unset,
    /// The application says that it went well.
    Ok,
    /// It failed.
    Error,
}

impl StatusCode {
    /// The number of the code in OTLP.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The code with this OTLP number; an unknown number is [`StatusCode::Unset`].
    pub const fn from_number(number: u32) -> Self {
        match number {
            1 => StatusCode::Ok,
            2 => StatusCode::Error,
            _ => StatusCode::Unset,
        }
    }
}
