//! `cargo xtask check`: what CI checks besides the tests, the quick checks first.

mod arrows;
mod deny;
mod module;
mod tidy;

use anyhow::Result;
use xtask::artifacts::{WASM_TARGET, add_target, build_filter};
use xtask::step::step;
use xtask::workspace::{cargo, run as run_command};

/// Runs every check; the first that fails ends it.
pub(crate) fn run() -> Result<()> {
    step(
        "tidy: no trailing blanks, no ignored tests, crate docs, no dead links",
        tidy::check,
    )?;
    step("format", || {
        run_command(&mut cargo(&["fmt", "--all", "--check"]))
    })?;
    step("arrows between crates", arrows::check)?;
    step("lints", || {
        clippy(&["--workspace", "--all-targets"])?;
        add_target(WASM_TARGET, "the filter")?;
        let wasm = [
            "--package",
            "spanloom-wire",
            "--package",
            "spanloom-filter",
            "--lib",
        ];
        clippy(&[&wasm[..], &["--target", WASM_TARGET]].concat())
    })?;
    step("documentation", || {
        // No crate here turns on every feature of the SDK.
        let mut doc = cargo(&[
            "doc",
            "--quiet",
            "--workspace",
            "--no-deps",
            "--all-features",
        ]);
        run_command(doc.env("RUSTDOCFLAGS", "-D warnings"))
    })?;
    let filter = build_filter()?;
    step("filter module: size and imports", || module::check(&filter))?;
    deny::check()
}

fn clippy(selection: &[&str]) -> Result<()> {
    let mut clippy = cargo(&["clippy", "--quiet"]);
    run_command(clippy.args(selection).args(["--", "--deny", "warnings"]))
}
