//! The collector, as a newcomer runs it: no configuration, its own embedded store.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::leash::Leash;
use super::process::Process;

/// A running collector.
pub struct Collector {
    process: Process,
    otlp_grpc: SocketAddr,
    otlp_http: SocketAddr,
    query: SocketAddr,
}

impl Collector {
    /// Starts `spanloom` without a configuration, on free ports, and waits until it listens.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(leash: &Arc<Leash>, spanloom: &Path) -> Result<Self> {
        let folder = leash.folder().join("collector");
        fs::create_dir(&folder)?;
        let addresses_file = folder.join("addresses.json");
        let mut command = Command::new(spanloom);
        command.current_dir(&folder);
        for port in [
            "--otlp-grpc-port",
            "--otlp-http-port",
            "--query-port",
            "--health-port",
        ] {
            command.args([port, "0"]);
        }
        command.arg("--addresses-file").arg(&addresses_file);
        command.arg("--data-dir").arg(folder.join("data"));
        let mut process = Process::spawn(leash, "collector", &mut command)?;

        let addresses = process.wait_for("the addresses", || {
            // The file appears whole or not at all.
            let Ok(text) = fs::read_to_string(&addresses_file) else {
                return Ok(None);
            };
            let addresses: Value =
                serde_json::from_str(&text).context("the addresses file is not JSON")?;
            Ok(Some(addresses))
        })?;
        let address = |name: &str| match addresses[name].as_str() {
            Some(address) => address
                .parse()
                .with_context(|| format!("bad {name}: {address}")),
            None => bail!("the collector did not write the address of {name}: {addresses}"),
        };
        Ok(Self {
            process,
            otlp_grpc: address("otlp_grpc")?,
            otlp_http: address("otlp_http")?,
            query: address("query")?,
        })
    }

    /// Where it takes OTLP over gRPC.
    pub fn otlp_grpc(&self) -> SocketAddr {
        self.otlp_grpc
    }

    /// Where it takes OTLP over HTTP.
    pub fn otlp_http(&self) -> SocketAddr {
        self.otlp_http
    }

    /// Where it answers the Jaeger API and shows its pages.
    pub fn query(&self) -> SocketAddr {
        self.query
    }

    pub(super) fn check_alive(&mut self) -> Result<()> {
        self.process.check_alive()
    }

    pub(super) fn stop(self) -> Result<()> {
        self.process.stop()
    }
}
