//! The foreign parts that the demo and the tests run against: pinned in `target/parts/`, or, for
//! servers that every distribution has, from its packages.

mod debian;
mod envoy;
mod kafka;

use std::fs::{self, File};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::environment;
use crate::workspace::target_dir;

pub use envoy::{envoy, find_envoy};

/// The names that [`get`] knows.
pub const NAMES: &[&str] = &[
    "envoy", "kafka", "mysql", "nats", "postgres", "rabbitmq", "redis",
];

/// Gets the parts named, or all of them, and skips what is there already.
///
/// # Errors
/// A name is unknown, or a part cannot be had; the message says what to install.
pub fn get(names: &[String]) -> Result<()> {
    if names.is_empty() {
        return NAMES.iter().try_for_each(|name| path(name).map(drop));
    }
    names.iter().try_for_each(|name| path(name).map(drop))
}

/// Gets one part unless it is there, and says where it is: the program that one starts, or for
/// Kafka the folder of its jars.
///
/// # Errors
/// The name is unknown, or the part cannot be had; the message says what to install.
pub fn path(name: &str) -> Result<PathBuf> {
    match name {
        "envoy" => envoy(),
        "kafka" => kafka::get(),
        name => debian::get(known(name)?),
    }
}

/// Where [`path`] would find the part, if it is there.
///
/// # Errors
/// The name is unknown, or what a variable names is not there.
pub fn find(name: &str) -> Result<Option<PathBuf>> {
    match name {
        "envoy" => find_envoy(),
        "kafka" => Ok(kafka::find()),
        name => debian::find(known(name)?),
    }
}

/// The part for a test that needs it. `None` says that it is not there and that the test is not to
/// run; with `CI` set it is got instead.
///
/// # Errors
/// As for [`find`], or, with `CI` set, as for [`path`].
pub fn wanted(name: &str) -> Result<Option<PathBuf>> {
    match find(name)? {
        None if environment::is_ci() => path(name).map(Some),
        found => Ok(found),
    }
}

fn known(name: &str) -> Result<&'static debian::Server> {
    let Some(server) = debian::SERVERS.iter().find(|server| server.part == name) else {
        bail!(
            "there is no part {name}: the parts are {}",
            NAMES.join(", ")
        );
    };
    Ok(server)
}

/// The folder of the parts. A cargo with another target folder is told of it, by a variable.
pub(crate) fn all() -> PathBuf {
    environment::parts().unwrap_or_else(|| target_dir().join("parts"))
}

/// The folder of one part.
fn folder(name: &str) -> PathBuf {
    all().join(name)
}

/// Keeps two processes from making the same part at once; free again when the file is dropped.
fn lock() -> Result<File> {
    let parts = all();
    fs::create_dir_all(&parts).with_context(|| format!("cannot make {}", parts.display()))?;
    let file =
        File::create(parts.join(".lock")).context("cannot make the lock file of the parts")?;
    file.lock().context("cannot lock the folder of the parts")?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::{NAMES, find};

    #[test]
    fn every_part_can_be_looked_for_and_no_other() {
        for name in NAMES {
            find(name).unwrap();
        }
        let error = find("mongodb").unwrap_err().to_string();
        assert!(error.contains("there is no part mongodb"), "{error}");
    }
}
