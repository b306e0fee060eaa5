//! Log lines that say to which span they belong.

use std::fmt;

use opentelemetry::Context;
use opentelemetry::trace::TraceContextExt;
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::{FmtContext, format};
use tracing_subscriber::registry::LookupSpan;

/// How log lines look on standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogFormat {
    /// For people: one line of text, with `trace_id=... span_id=...` at its end.
    Text,
    /// For machines: one JSON object, with the members `trace_id` and `span_id`.
    Json,
    /// No log lines at all.
    Off,
}

/// Formats with `inner`, then adds the ids of the current span in the same form.
pub(crate) struct WithIds<F> {
    inner: F,
    add: fn(&mut String, ids: [&dyn fmt::Display; 2]),
}

pub(crate) fn text() -> WithIds<format::Format> {
    WithIds {
        inner: format(),
        add: |line, [trace_id, span_id]| {
            line.push_str(&format!(" trace_id={trace_id} span_id={span_id}"));
        },
    }
}

pub(crate) fn json() -> WithIds<format::Format<format::Json>> {
    WithIds {
        inner: format().json(),
        add: |line, [trace_id, span_id]| {
            if line.pop() == Some('}') {
                line.push_str(&format!(
                    r#","trace_id":"{trace_id}","span_id":"{span_id}"}}"#
                ));
            }
        },
    }
}

impl<S, N, F> FormatEvent<S, N> for WithIds<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let ids = Context::map_current(|current| {
            let span = current.span();
            let span = span.span_context();
            span.is_valid().then(|| (span.trace_id(), span.span_id()))
        });
        let Some((trace_id, span_id)) = ids else {
            return self.inner.format_event(context, writer, event);
        };
        let mut line = String::with_capacity(256);
        self.inner
            .format_event(context, Writer::new(&mut line), event)?;
        line.truncate(line.trim_end().len());
        (self.add)(&mut line, [&trace_id, &span_id]);
        writer.write_str(&line)?;
        writer.write_char('\n')
    }
}
