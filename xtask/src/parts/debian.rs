//! Servers that every distribution has: the machine's own, or, for root on Debian, its packages.
//!
//! Not pinned: what they speak is old and stable, and what the tests want of them is that a real
//! server understands us.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::lock;
use crate::artifacts::display;
use crate::environment;
use crate::step::{note, step};
use crate::workspace::output_of;

/// A server, and how Debian packs it.
pub(super) struct Server {
    pub(super) part: &'static str,
    package: &'static str,
    /// The first is what one starts; the others must be beside it.
    programs: &'static [&'static str],
    /// Where it is when not on the `PATH`; a `*` stands for the newest version.
    folder: &'static str,
}

pub(super) const SERVERS: &[Server] = &[
    Server {
        // MariaDB: Debian has no MySQL.
        part: "mysql",
        package: "mariadb-server-core",
        programs: &["mariadbd"],
        folder: "/usr/sbin",
    },
    Server {
        part: "nats",
        package: "nats-server",
        programs: &["nats-server"],
        folder: "/usr/sbin",
    },
    Server {
        part: "postgres",
        package: "postgresql",
        programs: &["postgres", "initdb"],
        folder: "/usr/lib/postgresql/*/bin",
    },
    Server {
        part: "rabbitmq",
        package: "rabbitmq-server",
        // Debian has a program of this name in /usr/sbin too, which insists on a user of its own;
        // it has no plug-ins beside it.
        programs: &["rabbitmq-server", "rabbitmq-plugins", "rabbitmq-env"],
        folder: "/usr/lib/rabbitmq/bin",
    },
    Server {
        part: "redis",
        package: "redis-server",
        programs: &["redis-server"],
        folder: "/usr/bin",
    },
];

/// The server's program, installed when it is not there and we are root on a Debian.
pub(super) fn get(server: &Server) -> Result<PathBuf> {
    let _lock = lock()?;
    if let Some(program) = find(server)? {
        return Ok(program);
    }
    let Server { part, package, .. } = server;
    let is_root = rustix::process::geteuid().is_root();
    if !is_root || output_of(Command::new("apt-get").arg("--version")).is_err() {
        bail!("{part} is missing: install the package {package} (its name on Debian and Ubuntu)");
    }
    step(&format!("installing {package}"), || {
        install(package)?;
        let program =
            find(server)?.with_context(|| format!("the package {package} holds no {part}"))?;
        note(&display(&program));
        Ok(program)
    })
}

/// The server's program, if it is there.
pub(super) fn find(server: &Server) -> Result<Option<PathBuf>> {
    let path = environment::path();
    let on_path = std::env::split_paths(&path);
    let folders = on_path.chain(expand(server.folder)?);
    let is_whole = |folder: &PathBuf| {
        let programs = server.programs.iter();
        programs.map(|name| folder.join(name)).all(|p| p.is_file())
    };
    let mut found = folders.filter(is_whole);
    Ok(found.next().map(|folder| folder.join(server.programs[0])))
}

/// The folders that a pattern with at most one `*` means, the newest version first.
fn expand(pattern: &str) -> Result<Vec<PathBuf>> {
    let Some((parent, rest)) = pattern.split_once("/*/") else {
        return Ok(vec![pattern.into()]);
    };
    if !Path::new(parent).is_dir() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(parent).with_context(|| format!("cannot read {parent}"))?;
    let mut versions = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>>>()?;
    let number = |path: &PathBuf| -> Option<u32> { path.file_name()?.to_str()?.parse().ok() };
    versions.sort_by_key(|path| std::cmp::Reverse(number(path)));
    Ok(versions.into_iter().map(|path| path.join(rest)).collect())
}

fn install(package: &str) -> Result<()> {
    let _quiet = NoServices::impose()?;
    let install = || {
        let mut apt = Command::new("apt-get");
        apt.env("DEBIAN_FRONTEND", "noninteractive");
        apt.args(["-o", "DPkg::Lock::Timeout=300", "install", "-q", "-y"]);
        output_of(apt.args(["--no-install-recommends", package]))
    };
    // The lists may be missing, as in a fresh image, or older than what the mirror holds.
    if install().is_err() {
        output_of(Command::new("apt-get").args(["-q", "update"]))?;
        install()?;
    }
    Ok(())
}

/// Debian starts what it installs, unless this file says no. It must not: the tests start servers
/// of their own, and a machine on which someone tests is not to serve anybody.
struct NoServices {
    is_ours: bool,
}

const POLICY: &str = "/usr/sbin/policy-rc.d";

impl NoServices {
    fn impose() -> Result<Self> {
        if Path::new(POLICY).exists() {
            return Ok(Self { is_ours: false });
        }
        // Dropped, and so removed, also when the second step fails.
        let ours = Self { is_ours: true };
        fs::write(POLICY, "#!/bin/sh\nexit 101\n")
            .with_context(|| format!("cannot write {POLICY}"))?;
        fs::set_permissions(POLICY, Permissions::from_mode(0o755))?;
        Ok(ours)
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.is_ours {
            // Gone already is as good.
            let _ = fs::remove_file(POLICY);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_comes_first() {
        let parent = tempfile::tempdir().unwrap();
        for version in ["9", "15", "16"] {
            fs::create_dir_all(parent.path().join(version).join("bin")).unwrap();
        }
        let pattern = format!("{}/*/bin", parent.path().display());
        let newest_first = ["16/bin", "15/bin", "9/bin"].map(|folder| parent.path().join(folder));
        assert_eq!(expand(&pattern).unwrap(), newest_first);
        assert!(expand("/no/such/*/bin").unwrap().is_empty());
    }
}
