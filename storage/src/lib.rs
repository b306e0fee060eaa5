//! Where traces are kept: [`TraceWriter`] and [`TraceReader`], and who implements them.
//!
//! Spans come in and go out as OTLP bytes (see [`spanloom_wire::otlp`]); what a store makes of them
//! in between is its own affair. This crate knows no HTTP and no configuration format.
//!
//! [`EmbeddedStore`] keeps traces in a directory and survives crashes, [`MemoryStore`] keeps them as
//! long as the process lives. Both answer alike: one suite of tests asks both.
//!
//! ```
//! use spanloom_storage::{MemoryStore, TimeRange, TraceReader, TraceWriter};
//! use spanloom_wire::otlp::{TracesView, TracesWriter};
//! use spanloom_wire::{SpanId, TraceId};
//!
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let id = TraceId::from_bytes([1; 16]).unwrap();
//! let mut request = Vec::new();
//! TracesWriter::new(&mut request).resource_spans(|resource_spans| {
//!     resource_spans.resource(|resource| resource.attribute("service.name", "cart"));
//!     resource_spans.scope_spans(|scope_spans| {
//!         scope_spans.span(|span| {
//!             span.trace_id(id);
//!             span.span_id(SpanId::from_bytes([2; 8]).unwrap());
//!             span.name("GET /cart/{id}");
//!         });
//!     });
//! });
//!
//! let store = MemoryStore::new(1000);
//! store.write(request.into()).await.unwrap();
//! assert_eq!(store.services().await.unwrap(), ["cart"]);
//! let trace = store.trace(id, TimeRange::ALL).await.unwrap().unwrap();
//! assert_eq!(TracesView::new(&trace.traces_data).spans().count(), 1);
//! # });
//! ```

mod clock;
mod embedded;
mod error;
mod matching;
mod memory;
mod regroup;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use spanloom_wire::otlp::SpanKind;
use spanloom_wire::{Timestamp, TraceId};

pub use clock::Clock;
pub use embedded::{EmbeddedStore, EmbeddedStoreConfig};
pub use error::StorageError;
pub use memory::MemoryStore;

/// Takes spans and keeps them.
#[async_trait]
pub trait TraceWriter: Send + Sync + 'static {
    /// Keeps every span of a valid `ExportTraceServiceRequest`
    /// (see [`validate`](spanloom_wire::otlp::validate())).
    ///
    /// `Ok` is a promise: the spans survive whatever this store says that it survives (the embedded
    /// store: a crash of the process and of the machine), and readers see them from now on.
    ///
    /// # Errors
    /// Nothing, or not everything, was kept; the sender may send it again.
    async fn write(&self, request: Bytes) -> Result<(), StorageError>;
}

/// Answers questions about kept spans.
#[async_trait]
pub trait TraceReader: Send + Sync + 'static {
    /// The service names seen, sorted, without duplicates. A span whose resource has no
    /// `service.name` counts for none.
    ///
    /// # Errors
    /// See [`StorageError`].
    async fn services(&self) -> Result<Vec<String>, StorageError>;

    /// The operations of a service, sorted by name and kind, without duplicates; of one kind only
    /// where `kind` says so. An unknown service has none.
    ///
    /// # Errors
    /// See [`StorageError`].
    async fn operations(
        &self,
        service: &str,
        kind: Option<SpanKind>,
    ) -> Result<Vec<Operation>, StorageError>;

    /// One trace whole, or `None`. Stores that need to know where to look may use `range`.
    ///
    /// # Errors
    /// See [`StorageError`].
    async fn trace(&self, id: TraceId, range: TimeRange) -> Result<Option<Trace>, StorageError>;

    /// The traces with at least one span that meets **every** condition of `query`, each whole, the
    /// latest first: by the latest start of a matching span, and by trace id where that is equal.
    ///
    /// # Errors
    /// See [`StorageError`].
    async fn find_traces(&self, query: &TraceQuery) -> Result<Vec<Trace>, StorageError>;
}

/// Every span of one trace that the store has, duplicates included.
#[derive(Clone, Debug)]
pub struct Trace {
    /// The trace.
    pub id: TraceId,
    /// OTLP `TracesData` bytes with spans of this trace only; read them with
    /// [`TracesView`](spanloom_wire::otlp::TracesView).
    pub traces_data: Bytes,
}

/// A span name with its kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Operation {
    /// The span name.
    pub name: String,
    /// The lower-case kind (see [`SpanKind::name`]); empty where a span said none.
    pub kind: &'static str,
}

/// From `start` to `end`, both inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeRange {
    /// The first moment.
    pub start: Timestamp,
    /// The last moment.
    pub end: Timestamp,
}

impl TimeRange {
    /// All of time.
    pub const ALL: TimeRange = TimeRange {
        start: Timestamp::from_nanos(0),
        end: Timestamp::from_nanos(u64::MAX),
    };

    /// Whether `time` lies within.
    pub fn contains(&self, time: Timestamp) -> bool {
        self.start <= time && time <= self.end
    }
}

/// What one span of a wanted trace must be. Every condition is met by the *same* span: by its own
/// fields and attributes, its events', its links', its scope's and its resource's.
#[derive(Clone, Debug)]
pub struct TraceQuery {
    /// `service.name`; `None` for any.
    pub service: Option<String>,
    /// The span name; `None` for any.
    pub operation: Option<String>,
    /// Key and value pairs, compared as text; each may be found in a different place of the span.
    ///
    /// Some keys ask for a field, as in Jaeger: `error` (`true`, or `false` for any status but
    /// error), `span.status` (`OK`, `ERROR`, other for unset), `span.kind`, `scope.name`,
    /// `scope.version`. A key that starts with `resource.` asks for an attribute of the resource
    /// only. The text form of a value is as usual; bytes are base64, lists and maps compact JSON.
    pub attributes: Vec<(String, String)>,
    /// When the span started.
    pub start: TimeRange,
    /// The span's duration is at least this.
    pub duration_min: Option<Duration>,
    /// The span's duration is at most this.
    pub duration_max: Option<Duration>,
    /// At most this many traces.
    pub n_traces_max: usize,
}
