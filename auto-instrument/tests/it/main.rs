//! The real tool builds a real program, whose spans arrive at a collector in this test.
//!
//! The fixture is copied to Cargo's folder for test files, and built there: its sources can be
//! compared before and after, and a second run of the tests finds the dependencies compiled.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test says what is wrong by failing, and reads only what the fixture writes"
)]

mod app;
mod build;
mod command;
mod odd;
mod parts;
mod sink;
mod spans;
