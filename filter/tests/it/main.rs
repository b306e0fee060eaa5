//! The filter as Envoy loads it: the built module in a simulated host, scenario by scenario.
//!
//! What a scenario asserts is what others can see: headers that go on, spans that the collector
//! gets, statistics, log lines. The simulator ([`sim`]) keeps the rules of the real host, so that a
//! filter which breaks one of them fails here; the tests with a real Envoy are the second truth.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod budget;
mod context;
mod export;
mod faults;
mod hostile;
mod ledger;
mod otlp;
mod roots;
mod sim;
mod spans;
