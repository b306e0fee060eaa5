//! Panics in other people's code, on their way through ours.

use std::any::Any;
use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use opentelemetry::trace::TraceContextExt;
use opentelemetry::{Context, KeyValue};

use crate::http::Call;

/// What a panic ends.
pub(crate) trait Unwound {
    /// The context with its span.
    fn span_context(&self) -> &Context;

    /// It ends, with the panic as its error.
    fn end_with_panic(self, message: Cow<'static, str>);
}

impl Unwound for Call {
    fn span_context(&self) -> &Context {
        self.context()
    }

    fn end_with_panic(mut self, message: Cow<'static, str>) {
        self.fail("panic", message);
        self.end(None);
    }
}

/// Runs `work`. If it panics, so does this, and what is traced is taken and ended before.
pub(crate) fn recording_panics<T>(
    traced: &mut Option<impl Unwound>,
    work: impl FnOnce() -> T,
) -> T {
    // Nobody sees what the panic left behind: it goes on.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        if let Some(traced) = traced.take() {
            record_panic(traced, panic.as_ref());
        }
        resume_unwind(panic)
    })
}

fn record_panic(traced: impl Unwound, panic: &(dyn Any + Send)) {
    let message = panic.downcast_ref::<&str>().copied().map(Cow::Borrowed);
    let message = message.or_else(|| panic.downcast_ref::<String>().cloned().map(Cow::Owned));
    let message = message.unwrap_or(Cow::Borrowed("a panic without a message"));
    traced.span_context().span().add_event(
        "exception",
        vec![
            KeyValue::new("exception.type", "panic"),
            KeyValue::new("exception.message", message.clone()),
        ],
    );
    traced.end_with_panic(message);
}
