//! A kit for tests of traced programs: places for spans, and a picture of a trace.
//!
//! [`Sink`] takes spans inside the process, [`FakeCollector`] over real sockets. Both draw what
//! they got as a [tree](Sink::tree) without ids and times, to be compared with a text:
//!
//! ```
//! use spanloom::opentelemetry::trace::{Tracer, TracerProvider};
//!
//! let (tracing, sink) = spanloom::testing::start();
//!
//! let tracer = tracing.tracer_provider().tracer("docs");
//! tracer.in_span("bake", |_| tracer.in_span("knead", |_| ()));
//!
//! assert_eq!(sink.tree(&[]), "INTERNAL bake\n  INTERNAL knead\n");
//! ```
//!
//! What the layers measure is a text, too: [`Sink::figures`].
//!
//! [`start`] installs nothing for the process, so tests that run side by side do not see each
//! other's spans; give its provider to the layers (`with_tracer_provider`). Code that takes the
//! global provider needs `testing::builder(&sink).init()`, once a process.

mod collector;
mod figures;
mod sink;
mod tree;

pub use collector::{FakeCollector, Received};
pub use sink::Sink;

use crate::builder::Builder;
use crate::guard::Guard;
use crate::preset::Preset;

/// Tracing for one test: every span is kept, and is in the sink before its `end` returns.
///
/// There is no thread, no network, nothing global and nothing of the process's environment.
pub fn start() -> (Guard, Sink) {
    let sink = Sink::default();
    let guard = builder(&sink).start();
    (guard.expect("no thread and no endpoint can fail"), sink)
}

/// As for [`start`], to be changed before [`Builder::start`] or [`Builder::init`]: another sampler,
/// or variables by [`Builder::environment`], which reads none of the process's here.
pub fn builder(sink: &Sink) -> Builder {
    Builder::with_preset(Preset::TESTS)
        .environment(|_| None)
        .sink(sink)
}
