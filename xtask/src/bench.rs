//! `cargo xtask bench NAME`: builds in release and runs one benchmark.
//!
//! A benchmark is the program `NAME-bench` (or `auto-proof`) of the package `spanloom-tests`, or `auto-bench` of
//! `cargo-spanloom`, an example there since those are not installed. It measures its baselines in the same run, prints a table (figure, bar, whether
//! it holds; JSON with `--json`) to its standard output, and ends with 1 when a bar falls short.
//! What it measures is given to it: paths to built programs and parts.

use std::ffi::OsString;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use xtask::artifacts::build_filter;
use xtask::parts;
use xtask::step::step;
use xtask::workspace::{cargo, run as run_command, target_dir};

/// What can be measured.
pub(crate) const NAMES: [&str; 5] = ["auto", "auto-proof", "collector", "filter", "sdk"];

/// Builds what `name` needs and runs it with `arguments`; its exit code is ours.
pub(crate) fn run(name: &str, arguments: &[String]) -> Result<ExitCode> {
    let mut command = match name {
        "auto" => auto()?,
        "auto-proof" => auto_proof()?,
        "filter" => filter()?,
        "sdk" => benchmark("sdk-bench")?,
        _ => collector()?,
    };
    step(&format!("measuring: {name}"), || {
        let status = command
            .args(arguments)
            .status()
            .context("cannot start the benchmark")?;
        let code = status.code().and_then(|code| u8::try_from(code).ok());
        Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
    })
}

fn auto() -> Result<Command> {
    build_release("cargo-spanloom", "cargo-spanloom")?;
    build_release_of("cargo-spanloom", "--example", "auto-bench")?;
    let mut command = Command::new(release("examples/auto-bench"));
    command.arg("--tool").arg(release("cargo-spanloom"));
    Ok(command)
}

fn auto_proof() -> Result<Command> {
    build_release("cargo-spanloom", "cargo-spanloom")?;
    build_release("spanloom-collector", "spanloom")?;
    let folder = target_dir().join("auto-proof");
    std::fs::create_dir_all(&folder)?;
    let mut command = benchmark("auto-proof")?;
    command.arg("--tool").arg(release("cargo-spanloom"));
    command.arg("--spanloom").arg(release("spanloom"));
    command.arg("--folder").arg(folder);
    Ok(command)
}

fn collector() -> Result<Command> {
    build_release("spanloom-collector", "spanloom")?;
    let mut command = benchmark("collector-bench")?;
    command.arg("--spanloom").arg(release("spanloom"));
    Ok(command)
}

fn filter() -> Result<Command> {
    let module = build_filter()?;
    let envoy = parts::envoy()?;
    let mut command = benchmark("filter-bench")?;
    command
        .arg("--envoy")
        .arg(envoy)
        .arg("--module")
        .arg(module);
    Ok(command)
}

fn benchmark(program: &str) -> Result<Command> {
    build_release("spanloom-tests", program)?;
    Ok(Command::new(release(program)))
}

fn build_release(package: &str, program: &str) -> Result<()> {
    build_release_of(package, "--bin", program)
}

fn build_release_of(package: &str, kind: &str, program: &str) -> Result<()> {
    step(&format!("building {program} in release"), || {
        let build = [
            "build",
            "--quiet",
            "--release",
            "--package",
            package,
            kind,
            program,
        ];
        run_command(&mut cargo(&build))
    })
}

fn release(program: &str) -> OsString {
    target_dir().join("release").join(program).into()
}
