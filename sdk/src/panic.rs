//! Panics in other people's code, on their way through ours.

use std::any::Any;
use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use opentelemetry::trace::TraceContextExt;
use opentelemetry::{Context, KeyValue};

use crate::http::fail;

/// Runs `work`. If it panics, so does this, and the span, which is taken, ends with the panic as
/// its error.
pub(crate) fn recording_panics<T>(span: &mut Option<Context>, work: impl FnOnce() -> T) -> T {
    // Nobody sees what the panic left behind: it goes on.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        if let Some(span) = span.take() {
            record_panic(&span, panic.as_ref());
        }
        resume_unwind(panic)
    })
}

fn record_panic(context: &Context, panic: &(dyn Any + Send)) {
    let message = panic.downcast_ref::<&str>().copied().map(Cow::Borrowed);
    let message = message.or_else(|| panic.downcast_ref::<String>().cloned().map(Cow::Owned));
    let message = message.unwrap_or(Cow::Borrowed("a panic without a message"));
    let span = context.span();
    span.add_event(
        "exception",
        vec![
            KeyValue::new("exception.type", "panic"),
            KeyValue::new("exception.message", message.clone()),
        ],
    );
    fail(context, "panic", message);
    span.end();
}
