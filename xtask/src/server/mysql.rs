//! A MariaDB server, which speaks MySQL's protocol; MySQL itself is in few distributions.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use anyhow::Result;

use crate::mesh::{Leash, Process};

/// What every client finds; the server runs it before it listens.
const INIT: &str = "CREATE DATABASE spanloom;\n";

pub(super) fn start(leash: &Arc<Leash>, mariadbd: &Path, address: SocketAddr) -> Result<Process> {
    let data = leash.folder().join("data");
    fs::create_dir(&data)?;
    let init = leash.folder().join("init.sql");
    fs::write(&init, INIT)?;
    let mut command = Command::new(mariadbd);
    // The first of all, or it is not known: no configuration of the machine's.
    command.arg("--no-defaults");
    // Without it root is refused; of others it is ignored.
    command.arg("--user=root");
    command.arg(format!("--datadir={}", data.display()));
    command.arg(format!("--init-file={}", init.display()));
    command.arg(format!("--bind-address={}", address.ip()));
    command.arg(format!("--port={}", address.port()));
    // In the folder of the data, and so short enough for the system, wherever that is.
    command.args(["--socket=mysql.sock", "--pid-file=mysql.pid"]);
    // Neither users nor their tables, which a script of the distribution would have to make first.
    command.arg("--skip-grant-tables");
    // A test's database need not survive a power cut.
    command.arg("--innodb-flush-log-at-trx-commit=0");
    let mut process = Process::spawn(leash, "mysql", &mut command)?;
    process.wait_for_line("ready for connections")?;
    Ok(process)
}
