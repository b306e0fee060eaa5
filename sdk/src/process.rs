//! A trace that goes on in another process: from a pipeline's runner to its steps, from a shell to a
//! tool. The context travels in environment variables, `TRACEPARENT`, `TRACESTATE` and `BAGGAGE` or
//! whatever `OTEL_PROPAGATORS` asks for, by the [specification].
//!
//! ```no_run
//! use spanloom::process::CommandTraced;
//!
//! # fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let _tracing = spanloom::init()?;
//! // In the trace of whoever started this process, if that said so.
//! let _started = spanloom::process::context().attach();
//!
//! // In the trace of the current span; a command of tokio's likewise.
//! std::process::Command::new("make").arg("test").traced().status()?;
//! # Ok(())
//! # }
//! ```
//!
//! Nothing happens by itself. A service that a traced tool has started would put every request that
//! comes without a trace into that one, for as long as it runs.
//!
//! [specification]: https://opentelemetry.io/docs/specs/otel/context/env-carriers/

use std::process::Command;

use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::{Context, global};

use crate::settings::process_environment;

/// What this process was given at its start, below an empty context. Call it after
/// [`init`](crate::init), which says in which formats to look.
#[must_use]
pub fn context() -> Context {
    global::get_text_map_propagator(|propagator| extract(propagator, process_environment))
}

fn extract(propagator: &dyn TextMapPropagator, lookup: impl Fn(&str) -> Option<String>) -> Context {
    let found = propagator.fields().filter_map(|field| {
        let name = variable(field);
        Some((lookup(&name)?, name))
    });
    propagator.extract_with_context(&Context::new(), &Variables(found.collect()))
}

/// Starts a process in the current trace.
pub trait CommandTraced {
    /// Gives the process the current context, and nothing of another one: what this process was
    /// given itself is taken away when there is no current one.
    fn traced(&mut self) -> &mut Self;
}

impl CommandTraced for Command {
    fn traced(&mut self) -> &mut Self {
        global::get_text_map_propagator(|propagator| {
            for field in propagator.fields() {
                self.env_remove(variable(field));
            }
            let context = Context::current();
            propagator.inject_context(&context, &mut Environment(self));
        });
        self
    }
}

impl CommandTraced for tokio::process::Command {
    fn traced(&mut self) -> &mut Self {
        self.as_std_mut().traced();
        self
    }
}

/// The name of the variable for a field: in capitals, and what no name may have is `_`.
fn variable(field: &str) -> String {
    let capital = |c: char| match c.to_ascii_uppercase() {
        c if c.is_ascii_alphanumeric() => c,
        _ => '_',
    };
    let name: String = field.chars().map(capital).collect();
    match name.chars().next() {
        Some(first) if !first.is_ascii_digit() => name,
        _ => format!("_{name}"),
    }
}

/// Values and the names of their variables.
struct Variables(Vec<(String, String)>);

impl Extractor for Variables {
    fn get(&self, field: &str) -> Option<&str> {
        let name = variable(field);
        let found = self.0.iter().find(|(_, known)| *known == name);
        found.map(|(value, _)| value.as_str())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.iter().map(|(_, name)| name.as_str()).collect()
    }
}

struct Environment<'a>(&'a mut Command);

impl Injector for Environment<'_> {
    fn set(&mut self, field: &str, value: String) {
        self.0.env(variable(field), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_has_a_name_that_a_variable_may_have() {
        for (field, expected) in [
            ("traceparent", "TRACEPARENT"),
            ("X-B3-TraceId", "X_B3_TRACEID"),
            ("uber-trace-id", "UBER_TRACE_ID"),
            ("b3", "B3"),
            ("3b", "_3B"),
            ("stra\u{df}e", "STRA_E"),
            ("", "_"),
        ] {
            assert_eq!(variable(field), expected);
        }
    }
}
