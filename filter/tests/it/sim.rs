//! A model of Envoy's Proxy-WASM host that runs the built module.
//!
//! It holds the state that the real host holds, and refuses what the real host refuses:
//!
//! - a [`Process`] has a clock, statistics, a log, clusters and a node, and any number of workers;
//! - a [`Worker`] is one VM: an instance of the module with a fresh memory, its roots, its streams and
//!   its calls to clusters;
//! - an [`Exchange`] is one request with everything that Envoy will ever know of it, which the host
//!   reveals phase by phase;
//! - a [`Fault`] makes a host call answer otherwise than it should.
//!
//! The rules come from Envoy's `source/extensions/common/wasm/context.cc` and `foreign.cc` and from
//! `src/exports.cc` and `src/wasm.cc` of proxy-wasm-cpp-host. Nothing here is asynchronous: time
//! passes when a scenario says so, and a collector answers when a scenario says what.

mod callout;
mod fault;
mod host;
mod imports;
mod memory;
mod module;
mod process;
mod property;
mod stream;
mod worker;

pub(crate) use callout::{Call, Reply};
pub(crate) use fault::{Fault, When};
pub(crate) use imports::FALLIBLE;
pub(crate) use process::Process;
pub(crate) use property::Value;
pub(crate) use stream::{CONTEXT, Exchange, Pairs, Served, first, without_context};
pub(crate) use worker::{Direction, Worker};
