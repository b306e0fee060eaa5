//! The tracing filter of Spanloom: a Proxy-WASM module that makes one span for each request that an
//! Envoy passes on, and carries the trace's context.
//!
//! It is not an exporter of Envoy's own spans: no host call gives access to these. Turn Envoy's
//! tracer off, or let it run without propagation.
//!
//! - [`Vm`] is everything that a worker's module remembers; its methods are the ABI's callbacks.
//! - [`Host`] is what it asks of the proxy. On wasm32 the `abi` module is both: the imports behind
//!   `Host` and the exports in front of `Vm`. The unit tests have a fake instead, and the scenarios
//!   in `tests/` a simulated Envoy around the built module.
//! - Nothing in this crate panics: one panic would end tracing, and maybe traffic, for a worker.
//!   Lints ban the constructs that can; the few proofs that they cannot see stand beside the code.
//!
//! ```
//! use spanloom_filter::config::Settings;
//!
//! let settings = Settings::parse(br#"{"sampling": {"ratio": 0.01}}"#).unwrap();
//! assert_eq!(settings.export.cluster, "otel_collector");
//! let fault = Settings::parse(br#"{"sampling": {"ration": 0.01}}"#).unwrap_err();
//! assert_eq!(fault, "unknown key sampling.ration, did you mean sampling.ratio?");
//! ```
#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::string_slice,
        clippy::unreachable,
        clippy::unwrap_used
    )
)]

pub mod config;
pub mod header_block;
pub mod host;
pub mod metrics;

#[cfg(target_arch = "wasm32")]
mod abi;
mod connections;
mod export;
mod facts;
#[cfg(test)]
mod fake_host;
mod glob;
mod outcome;
mod peers;
mod propagation;
mod property;
mod random;
mod request;
mod resource;
mod response_flags;
mod route;
mod sampling;
mod semconv;
mod span;
mod url;
mod vm;

pub use glob::Glob;
pub use host::{Host, Status};
pub use route::{RouteName, Template};
pub use sampling::Rule;
pub use vm::Vm;
