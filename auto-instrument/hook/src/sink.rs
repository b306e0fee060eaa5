//! The way out when the program links an SDK that takes spans: one sampler, one resource, one
//! export. Without a [`Sink`] the exporter of this crate sends them.
//!
//! This is the whole of what an SDK must do, in types of `std` and of this crate.

use std::cell::Cell;
use std::sync::OnceLock;

use crate::current::Scope;
use crate::env::settings;
use crate::export;
use crate::otlp;
use crate::span::{Finished, Kind, Value};

/// Takes the spans of this process. Its calls come from the threads that make spans: they must be
/// quick, and must not wait.
pub trait Sink: Send + Sync {
    /// Whether to keep the trace whose first span in this process begins. Called once a trace.
    fn decide(&self, first: &First<'_>) -> Decision;

    /// Takes a span that has ended. Only spans of kept traces come here.
    fn take(&self, span: Ended);
}

/// What is known of the first span of a trace in this process.
#[derive(Clone, Copy, Debug)]
pub struct First<'a> {
    /// The trace, as W3C Trace Context orders its bytes.
    pub trace_id: [u8; 16],
    /// The caller's span and whether the caller keeps the trace; `None` when the trace starts here.
    pub parent: Option<([u8; 8], bool)>,
    /// The caller's `tracestate`; empty when there is none.
    pub tracestate: &'a str,
    /// What the span is.
    pub kind: Kind,
    /// Its name so far.
    pub name: &'a str,
}

/// The answer to [`Sink::decide`].
#[derive(Clone, Debug)]
pub struct Decision {
    /// Whether spans of the trace are made and handed over.
    pub sampled: bool,
    /// The `tracestate` for requests that the trace makes.
    pub tracestate: String,
}

/// A span that has ended.
#[derive(Debug)]
pub struct Ended(Finished);

impl Ended {
    /// The trace, as W3C Trace Context orders its bytes.
    #[must_use]
    pub fn trace_id(&self) -> [u8; 16] {
        self.0.trace.id.to_be_bytes()
    }

    /// The span itself.
    #[must_use]
    pub fn span_id(&self) -> [u8; 8] {
        self.0.span_id.to_be_bytes()
    }

    /// Its parent, and whether that is a span of another process.
    #[must_use]
    pub fn parent(&self) -> Option<([u8; 8], bool)> {
        let id = self.0.parent_id?;
        Some((id.to_be_bytes(), otlp::is_entry(&self.0)))
    }

    /// The `tracestate` of its trace; empty when there is none.
    #[must_use]
    pub fn tracestate(&self) -> &str {
        &self.0.trace.state
    }

    /// What the span is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The crate that the span is about.
    #[must_use]
    pub fn scope(&self) -> &'static str {
        self.0.scope
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Start and end in nanoseconds since the epoch.
    #[must_use]
    pub fn times_unix_ns(&self) -> (u64, u64) {
        (self.0.start_unix_ns, self.0.end_unix_ns)
    }

    /// What failed, when something did.
    #[must_use]
    pub fn error(&self) -> Option<&str> {
        self.0.error.as_deref()
    }

    /// Its attributes, of which each key comes once.
    #[must_use]
    pub fn into_attributes(self) -> Vec<(&'static str, Value)> {
        let mut attributes = self.0.attributes;
        if let Some(site) = self.0.site {
            attributes.push(("code.function.name", site.qualified_name().into()));
            attributes.push(("code.file.path", site.file().into()));
            attributes.push(("code.line.number", site.line().into()));
        }
        attributes
    }
}

static SINK: OnceLock<&'static dyn Sink> = OnceLock::new();

thread_local! {
    /// Whether this thread runs the sink's code, which may be instrumented itself.
    static IN_SINK: Cell<bool> = const { Cell::new(false) };
}

/// Hands all spans that end from now on to `sink`. The first one stays.
pub fn install(sink: &'static dyn Sink) {
    let _ = SINK.set(sink);
}

/// Whether spans are to be made at all.
pub(crate) fn is_enabled() -> bool {
    let settings = settings();
    settings.enabled
        && (settings.target.is_some() || SINK.get().is_some())
        && !IN_SINK.try_with(Cell::get).unwrap_or(true)
}

/// Asks the sink; `None` when there is none.
pub(crate) fn decide(first: &First<'_>) -> Option<Decision> {
    let sink = SINK.get()?;
    in_sink(|| sink.decide(first))
}

/// Makes ready for the end of the process, which may be the end of spans that are open.
pub(crate) fn prepare() {
    if SINK.get().is_none() {
        export::start();
    }
}

/// Hands an ended span over, to the sink or to our exporter.
pub(crate) fn end(span: Finished) {
    #[cfg(test)]
    let Some(span) = testing::keep(span) else {
        return;
    };
    match SINK.get() {
        Some(sink) => in_sink(|| sink.take(Ended(span))).unwrap_or_default(),
        None => export::push(span),
    }
}

/// Runs the sink outside of every trace; `None` when it is running already, or the thread ends.
fn in_sink<R>(call: impl FnOnce() -> R) -> Option<R> {
    struct Leave;
    impl Drop for Leave {
        fn drop(&mut self) {
            let _ = IN_SINK.try_with(|inside| inside.set(false));
        }
    }
    if IN_SINK.try_with(|inside| inside.replace(true)).ok()? {
        return None;
    }
    let _leave = Leave;
    let _outside = Scope::enter(None);
    Some(call())
}

#[cfg(test)]
pub(crate) mod testing {
    use std::cell::RefCell;

    use super::Finished;

    thread_local! {
        static KEPT: RefCell<Option<Vec<Finished>>> = const { RefCell::new(None) };
    }

    /// The spans that end on this thread while `call` runs.
    pub(crate) fn ended(call: impl FnOnce()) -> Vec<Finished> {
        KEPT.with(|kept| kept.borrow_mut().replace(Vec::new()));
        call();
        KEPT.with(|kept| kept.borrow_mut().take())
            .unwrap_or_default()
    }

    /// Keeps the span if somebody looks.
    pub(super) fn keep(span: Finished) -> Option<Finished> {
        KEPT.with(|kept| match &mut *kept.borrow_mut() {
            Some(kept) => {
                kept.push(span);
                None
            }
            None => Some(span),
        })
    }
}
