//! The collector as a process and as a whole: what strangers send, what destinations answer, what a
//! crash and a stop leave behind.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod bad_input;
mod configuration;
mod forwarding;
mod stopping;
mod support;
