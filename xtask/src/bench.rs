//! `cargo xtask bench NAME`: builds in release and runs one benchmark.
//!
//! A benchmark is the program `NAME-bench` of the package `spanloom-tests`. It measures its
//! baselines in the same run, prints a table (figure, bar, whether it holds; JSON with `--json`) to
//! its standard output, and ends with 1 when a bar falls short.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use xtask::step::step;
use xtask::workspace::{cargo, run as run_command, target_dir};

/// What can be measured.
pub(crate) const NAMES: [&str; 1] = ["collector"];

/// Builds what `name` needs and runs it; its exit code is ours.
pub(crate) fn run(name: &str, arguments: &[String]) -> Result<ExitCode> {
    let program = format!("{name}-bench");
    let spanloom = step("building in release", || {
        run_command(&mut cargo(&[
            "build",
            "--quiet",
            "--release",
            "--package",
            "spanloom-collector",
            "--package",
            "spanloom-tests",
            "--bin",
            "spanloom",
            "--bin",
            &program,
        ]))?;
        Ok(target_dir().join("release/spanloom"))
    })?;
    step(&format!("measuring: {name}"), || {
        let mut command = Command::new(target_dir().join("release").join(&program));
        command.arg("--spanloom").arg(&spanloom).args(arguments);
        code_of(&mut command, &program)
    })
}

fn code_of(command: &mut Command, program: &str) -> Result<ExitCode> {
    let status = command
        .status()
        .with_context(|| format!("cannot start {}", Path::new(program).display()))?;
    Ok(status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .map_or(ExitCode::FAILURE, ExitCode::from))
}
