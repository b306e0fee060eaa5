//! The foreign parts that the demo and the tests run against, pinned, in `target/parts/`.

mod envoy;

use std::fs::{self, File};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::workspace::target_dir;

pub use envoy::{envoy, find_envoy};

/// The names that [`get`] knows.
pub const NAMES: &[&str] = &["envoy"];

/// Gets the parts named, or all of them, and skips what is there already.
///
/// # Errors
/// A name is unknown, or a part cannot be had; the message says what to install.
pub fn get(names: &[String]) -> Result<()> {
    if let Some(unknown) = names.iter().find(|name| !NAMES.contains(&name.as_str())) {
        bail!(
            "there is no part {unknown}: the parts are {}",
            NAMES.join(", ")
        );
    }
    if names.is_empty() || names.iter().any(|name| name == "envoy") {
        envoy()?;
    }
    Ok(())
}

/// The folder of one part.
fn folder(name: &str) -> PathBuf {
    target_dir().join("parts").join(name)
}

/// Keeps two processes from making the same part at once; free again when the file is dropped.
fn lock() -> Result<File> {
    let parts = target_dir().join("parts");
    fs::create_dir_all(&parts).with_context(|| format!("cannot make {}", parts.display()))?;
    let file =
        File::create(parts.join(".lock")).context("cannot make the lock file of the parts")?;
    file.lock().context("cannot lock the folder of the parts")?;
    Ok(file)
}
