//! `cargo xtask`: the one script runner of this repository.
//!
//! Each command says what it does and how long each step took. What a newcomer needs is `demo` and
//! `test`; what CI runs is `check` and `test`.

mod bench;
mod check;
mod demo;
mod image;
mod test;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use xtask::{artifacts, parts};

/// Builds, shows, tests and measures Spanloom
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
enum Command {
    /// Shows a mesh at work: services, Envoys with the filter, the collector and its pages
    Demo {
        /// Send one request, print its trace, stop everything; fail unless the trace is whole
        #[arg(long)]
        once: bool,
    },
    /// Runs all tests, after building and getting what they need
    Test,
    /// Checks what CI checks besides tests: format, lints, crate borders, docs, dependencies
    Check,
    /// Measures one thing beside its baselines, and fails when it falls short of a bar
    Bench {
        /// What to measure
        #[arg(value_parser = bench::NAMES)]
        name: String,
        /// Arguments of the benchmark, such as --json and --rounds N
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Builds the filter module for Envoy
    Filter,
    /// Writes OCI image layouts of the filter and of the collector to target/images/
    Image,
    /// Gets the foreign parts that demo and tests run against, into target/parts/
    Parts {
        /// Which ones; all of them when none is named
        #[arg(value_parser = parts::NAMES.to_vec())]
        names: Vec<String>,
    },
}

fn main() -> ExitCode {
    match run(Command::parse()) {
        Ok(code) => code,
        Err(error) => {
            xtask::step::fail(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Demo { once: true } => demo::once()?,
        Command::Demo { once: false } => demo::stay()?,
        Command::Test => return test::run(),
        Command::Check => check::run()?,
        Command::Bench { name, arguments } => return bench::run(&name, &arguments),
        Command::Filter => {
            artifacts::build_filter()?;
        }
        Command::Image => image::run()?,
        Command::Parts { names } => parts::get(&names)?,
    }
    Ok(ExitCode::SUCCESS)
}
