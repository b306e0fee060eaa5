//! `cargo deny` with the rules of `deny.toml`: licences, duplicates, sources, advisories.

use std::path::PathBuf;

use anyhow::{Context, Result};
use xtask::step::{note, step};
use xtask::workspace::{cargo, output_of, run, target_dir};

const VERSION: &str = "0.20.2";

pub(super) fn check() -> Result<()> {
    let program = installed()?;
    step("dependencies: licences, duplicates, sources", || {
        // It looks into the crates of every platform, of which a build here fetches its own alone.
        run(&mut cargo(&["fetch", "--locked", "--quiet"]))?;
        deny(
            &program,
            &["--offline", "check", "bans", "licenses", "sources"],
        )
    })?;
    step("dependencies: advisories", || {
        // The advisories live in a git repository on the internet. A machine without a way there
        // can still check everything else, so this alone is not a failure, but nobody overlooks it.
        if let Err(error) = output_of(&mut command(&program, &["fetch", "db"])) {
            note(&format!(
                "NOT RUN: the advisories cannot be fetched\n{error:#}"
            ));
            return Ok(());
        }
        deny(&program, &["--offline", "check", "advisories"])
    })
}

fn deny(program: &PathBuf, arguments: &[&str]) -> Result<()> {
    run(&mut command(program, arguments))
}

fn command(program: &PathBuf, arguments: &[&str]) -> std::process::Command {
    let mut command = std::process::Command::new(program);
    command
        .current_dir(xtask::workspace::root())
        .arg("--log-level")
        .arg("error")
        .args(arguments);
    command
}

/// The pinned cargo-deny, installed when it is not there yet.
fn installed() -> Result<PathBuf> {
    let folder = target_dir().join("parts/cargo-deny");
    let program = folder.join("bin/cargo-deny");
    let version = std::process::Command::new(&program)
        .arg("--version")
        .output();
    if version.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains(VERSION)) {
        return Ok(program);
    }
    step(&format!("installing cargo-deny {VERSION}"), || {
        // Unoptimized: it builds three times as fast and the checks take a second all the same.
        let mut install = cargo(&["install", "cargo-deny", "--locked", "--debug", "--quiet"]);
        install
            .args(["--version", VERSION])
            .arg("--root")
            .arg(&folder);
        run(&mut install).context("cargo-deny cannot be installed")
    })?;
    Ok(program)
}
