//! The collector: receivers, exporters, configuration, and the parts that join them.
//!
//! The binary `spanloom` is a thin `main` over this crate. Without a configuration it is a whole
//! tracing backend: OTLP in, the embedded store behind, Jaeger's query API and pages in front. With
//! one it is a collector that reads OpenTelemetry Collector YAML.
//!
//! Spans stay bytes here. A receiver reads a request within the byte budget ([`admission`]),
//! validates it once, and hands the same buffer to every exporter ([`pipeline`]); nobody builds a
//! tree of structs. Every span is on the books ([`ledger`]), and every refusal and drop has one of
//! the reasons in [`reason`].
//!
//! ```
//! use spanloom_collector::config::Config;
//!
//! let config = Config::parse(
//!     "
//! receivers: {otlp: {protocols: {grpc: {endpoint: '127.0.0.1:0'}}}}
//! exporters: {debug: {verbosity: normal}}
//! service: {pipelines: {traces: {receivers: [otlp], exporters: [debug]}}}
//! ",
//!     &|_name| None,
//! )
//! .unwrap();
//! assert_eq!(config.pipelines[0].exporters, ["debug"]);
//! ```

pub mod admission;
pub mod config;
pub mod exporters;
pub mod grpc;
pub mod health;
pub mod ledger;
pub mod pipeline;
pub mod reason;
pub mod receivers;
#[cfg(test)]
mod reference;
pub mod serve;
pub mod service;
pub mod settings;
pub mod workers;
