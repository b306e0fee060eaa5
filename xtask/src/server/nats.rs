//! A NATS server.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use anyhow::Result;

use crate::mesh::{Leash, Process};

pub(super) fn start(leash: &Arc<Leash>, nats: &Path, address: SocketAddr) -> Result<Process> {
    let mut command = Command::new(nats);
    command.args(["--addr", &address.ip().to_string()]);
    command.args(["--port", &address.port().to_string()]);
    command.args(["--jetstream", "--store_dir"]);
    command.arg(leash.folder().join("jetstream"));
    let mut process = Process::spawn(leash, "nats", &mut command)?;
    process.wait_for_line("Server is ready")?;
    Ok(process)
}
