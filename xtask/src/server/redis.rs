//! A Redis server.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use anyhow::Result;

use crate::mesh::{Leash, Process};

pub(super) fn start(leash: &Arc<Leash>, redis: &Path, address: SocketAddr) -> Result<Process> {
    let mut command = Command::new(redis);
    command.args(["--bind", &address.ip().to_string()]);
    command.args(["--port", &address.port().to_string()]);
    command.args(["--save", "", "--appendonly", "no", "--dir"]);
    command.arg(leash.folder());
    let mut process = Process::spawn(leash, "redis", &mut command)?;
    process.wait_for_line("Ready to accept connections")?;
    Ok(process)
}
