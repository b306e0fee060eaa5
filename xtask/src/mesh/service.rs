//! A service of the shop, reachable only through its Envoy.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use anyhow::Result;

use super::collector::Collector;
use super::leash::Leash;
use super::process::Process;

/// A running service.
pub(super) struct Service {
    process: Process,
    address_file: PathBuf,
}

impl Service {
    /// Starts it; it sends its own requests, if it makes any, to `outbound`.
    pub(super) fn spawn(
        leash: &Arc<Leash>,
        program: &Path,
        name: &str,
        outbound: Option<SocketAddr>,
        collector: &Collector,
    ) -> Result<Self> {
        let address_file = leash.folder().join(format!("{name}.address"));
        let mut command = Command::new(program);
        command.args(["--listen", "127.0.0.1:0"]);
        command.arg("--address-file").arg(&address_file);
        if let Some(outbound) = outbound {
            command.args(["--upstream", &format!("http://{outbound}")]);
        }
        // Only the service with the SDK and the one that nobody edited look at these.
        let endpoint = format!("http://{}", collector.otlp_http());
        command.env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint);
        command.env("OTEL_BSP_SCHEDULE_DELAY", "200");
        let process = Process::spawn(leash, name, &mut command)?;
        Ok(Self {
            process,
            address_file,
        })
    }

    /// Where it listens, as soon as it does.
    pub(super) fn address(&mut self) -> Result<SocketAddr> {
        self.process.wait_for("the address", || {
            let text = fs::read_to_string(&self.address_file).unwrap_or_default();
            Ok(text.trim().parse().ok())
        })
    }

    pub(super) fn check_alive(&mut self) -> Result<()> {
        self.process.check_alive()
    }

    pub(super) fn stop(self) -> Result<()> {
        self.process.stop()
    }
}
