//! A PostgreSQL server with a fresh database.

use std::net::SocketAddr;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, Result};

use crate::mesh::{Leash, Process};
use crate::workspace::output_of;

pub(super) fn start(leash: &Arc<Leash>, postgres: &Path, address: SocketAddr) -> Result<Process> {
    let user = unprivileged(leash.folder())?;
    let data = leash.folder().join("data");
    let command = |program: &Path| {
        let mut command = Command::new(program);
        command.current_dir(leash.folder());
        if let Some(user) = user {
            command.uid(user).gid(user);
        }
        command.arg("-D").arg(&data);
        command
    };
    let mut initdb = command(&postgres.with_file_name("initdb"));
    initdb.args(["--username=postgres", "--auth=trust", "--encoding=UTF8"]);
    // A test's database need not survive a power cut.
    initdb.args(["--locale=C", "--no-sync"]);
    output_of(&mut initdb)?;
    let mut server = command(postgres);
    server.args(["-h", &address.ip().to_string()]);
    server.args(["-p", &address.port().to_string()]);
    // No socket in the file system, where another server's may be.
    server.args(["-k", "", "-F"]);
    let mut process = Process::spawn(leash, "postgres", &mut server)?;
    process.wait_for_line("database system is ready to accept connections")?;
    Ok(process)
}

/// PostgreSQL does not run as root. `nobody` is on every machine, and gets the folder.
fn unprivileged(folder: &Path) -> Result<Option<u32>> {
    const NOBODY: u32 = 65534;
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    chown(folder, Some(NOBODY), Some(NOBODY))
        .with_context(|| format!("cannot give {} to nobody", folder.display()))?;
    Ok(Some(NOBODY))
}
