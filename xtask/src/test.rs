//! `cargo xtask test`: every test of the workspace, with everything that they need there first.
#![expect(
    clippy::print_stdout,
    reason = "the outcome of the tests is the result"
)]

use std::io::{BufRead as _, BufReader};
use std::process::{ExitCode, Stdio};

use anyhow::{Context, Result};
use xtask::artifacts::Artifacts;
use xtask::step::{note, step};
use xtask::workspace::cargo;
use xtask::{environment, parts};

/// Builds, gets the parts, runs `cargo test --workspace`, and says the outcome in the last line.
pub(crate) fn run() -> Result<ExitCode> {
    let missing = get_parts()?;
    step("building the tests", || {
        xtask::workspace::run(&mut cargo(&["test", "--workspace", "--no-run", "--quiet"]))
    })?;
    Artifacts::build()?;
    let outcome = step("running the tests", run_tests)?;
    // Once more, where it is seen.
    missing.iter().for_each(|line| note(line));
    println!("{} passed, {} failed", outcome.passed, outcome.failed);
    Ok(if outcome.success {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Why the tests of some parts cannot run, a line for each of these; with `CI` set that is an error.
/// Only they do not run: a part that cannot be had says nothing about the next.
fn get_parts() -> Result<Vec<String>> {
    let mut missing = Vec::new();
    for name in parts::NAMES {
        match parts::path(name) {
            Ok(_) => {}
            Err(error) if environment::is_ci() => return Err(error),
            Err(error) => {
                let line = format!("NOT RUN: the tests that need {name}: {error:#}");
                note(&line);
                missing.push(line);
            }
        }
    }
    Ok(missing)
}

#[derive(Default)]
struct Outcome {
    passed: u64,
    failed: u64,
    success: bool,
}

/// Shows what cargo shows and adds up the lines in which each test binary says its result.
fn run_tests() -> Result<Outcome> {
    let mut child = cargo(&["test", "--workspace", "--no-fail-fast"])
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start cargo")?;
    let stdout = child.stdout.take().context("cargo has no output")?;
    let mut outcome = Outcome::default();
    for line in BufReader::new(stdout).lines() {
        let line = line.context("cannot read what the tests print")?;
        println!("{line}");
        if let Some((passed, failed)) = counts(&line) {
            outcome.passed += passed;
            outcome.failed += failed;
        }
    }
    outcome.success = child.wait()?.success();
    Ok(outcome)
}

/// Reads `test result: ok. 12 passed; 0 failed; ...`.
fn counts(line: &str) -> Option<(u64, u64)> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let mut counts = counts.split("; ");
    let mut count = |word| counts.next()?.strip_suffix(word)?.trim().parse().ok();
    Some((count("passed")?, count("failed")?))
}

#[cfg(test)]
mod tests {
    use super::counts;

    #[test]
    fn the_line_of_a_test_binary_tells_passed_and_failed() {
        let line = "test result: FAILED. 12 passed; 3 failed; 0 ignored; finished in 0.01s";
        assert_eq!(counts(line), Some((12, 3)));
        assert_eq!(counts("test result: maybe"), None);
        assert_eq!(counts("running 12 tests"), None);
    }
}
