//! What the end of an operation says about its span.

use std::any::type_name;
use std::fmt::Display;

use opentelemetry::trace::{Status, TraceContextExt};
use opentelemetry::{Context, KeyValue, Value};

use crate::metrics::Measure;

/// What a handler returns: nothing, or a result, whose error goes to the span as well as to the
/// caller.
pub trait Outcome {
    /// The error, if it is one, with the name of its type.
    fn error(&self) -> Option<(&'static str, &dyn Display)>;
}

impl Outcome for () {
    fn error(&self) -> Option<(&'static str, &dyn Display)> {
        None
    }
}

impl<T, E: Display> Outcome for Result<T, E> {
    fn error(&self) -> Option<(&'static str, &dyn Display)> {
        let error = self.as_ref().err()?;
        Some((type_name::<E>(), error))
    }
}

/// Marks the span of this context, and what is measured of it, as failed.
pub(super) fn fail(
    context: &Context,
    measure: &mut Option<Measure>,
    error_type: impl Into<Value>,
    description: &dyn Display,
) {
    let error_type = error_type.into();
    if let Some(measure) = measure {
        measure.label(KeyValue::new("error.type", error_type.clone()));
    }
    let span = context.span();
    if span.is_recording() {
        span.set_attribute(KeyValue::new("error.type", error_type));
        span.set_status(Status::error(description.to_string()));
    }
}
