//! Builds of our own that the mesh runs: the filter module, the collector and the shop.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::step::{note, step};
use crate::workspace::{as_cargo, cargo, output_of, root, run, target_dir};
use crate::{environment, parts};

/// What the filter is built for: what Envoy runs.
pub const WASM_TARGET: &str = "wasm32-wasip1";

/// Envoy compiles the whole module at load, once for each worker: size is start time and memory.
pub const FILTER_BYTES_MAX: u64 = 400 * 1024;

/// Where our own programs are.
#[derive(Clone, Debug)]
pub struct Artifacts {
    /// The filter, as Envoy loads it.
    pub filter_module: PathBuf,
    /// The collector.
    pub spanloom: PathBuf,
    /// The folder of the shop's services, each a program of its name.
    services: PathBuf,
    /// The one that nobody edited: the compiler put spans into it.
    delivery: PathBuf,
}

impl Artifacts {
    /// Builds all of them, or finds that nothing changed.
    ///
    /// # Errors
    /// Something does not build.
    pub fn build() -> Result<Self> {
        let filter_module = build_filter()?;
        step("building the collector and the shop", || {
            run(&mut cargo(&[
                "build",
                "--quiet",
                "-p",
                "spanloom-collector",
                "-p",
                "shop",
                "-p",
                "cargo-spanloom",
            ]))
        })?;
        let programs = target_dir().join("debug");
        Ok(Self {
            filter_module,
            spanloom: programs.join("spanloom"),
            delivery: build_with_spans(&programs.join("cargo-spanloom"), "delivery", "delivery")?,
            services: programs,
        })
    }

    /// Builds the service that uses the SDK with spans of `cargo spanloom` besides. Only a test needs
    /// it: the SDK and what it stands on are compiled once more.
    ///
    /// # Errors
    /// It does not build.
    pub fn build_frontend(&self) -> Result<PathBuf> {
        build_with_spans(&self.services.join("cargo-spanloom"), "shop", "frontend")
    }

    /// Builds the program that sends, receives and handles messages over each broker, with spans. Only
    /// a test needs it.
    ///
    /// # Errors
    /// It does not build.
    pub fn build_brokers(&self) -> Result<PathBuf> {
        build_with_spans(&self.services.join("cargo-spanloom"), "brokers", "brokers")
    }

    /// Runs the tests of a package that uses the SDK, built by `cargo spanloom` with the spans of
    /// drivers only.
    ///
    /// # Errors
    /// It does not build, or a test fails.
    pub fn test_with_spans_of_drivers(&self, package: &str) -> Result<()> {
        step(&format!("testing {package} with spans"), || {
            let test = ["spanloom", "test", "--quiet", "-p", package];
            let mut command = as_cargo(self.services.join("cargo-spanloom"), &test);
            command.env("SPANLOOM_FUNCTIONS", "off");
            // `cargo spanloom` has a target folder of its own.
            command.env(environment::PARTS, parts::all());
            run(command.env("SPANLOOM_OFF", "hyper,hyper-util"))
        })
    }

    /// The program of one of the shop's services.
    pub fn service(&self, name: &str) -> PathBuf {
        match name {
            "delivery" => self.delivery.clone(),
            _ => self.services.join(name),
        }
    }
}

/// Builds the program `name` of a package with spans in it. Its dependencies are compiled once more,
/// with spans, below `target/spanloom`.
fn build_with_spans(tool: &Path, package: &str, name: &str) -> Result<PathBuf> {
    step(&format!("building {name} with spans"), || {
        let build = ["spanloom", "build", "--quiet", "-p", package, "--bin", name];
        run(&mut as_cargo(tool, &build))
    })?;
    Ok(target_dir().join("spanloom/debug").join(name))
}

/// Builds the filter module, adding the compiler's WebAssembly target when it is missing, and tells
/// its size.
///
/// # Errors
/// The target cannot be added, or the filter does not build.
pub fn build_filter() -> Result<PathBuf> {
    add_target(WASM_TARGET, "the filter")?;
    let module = target_dir()
        .join(WASM_TARGET)
        .join("filter/spanloom_filter.wasm");
    step("building the filter for Envoy", || {
        run(&mut cargo(&[
            "build",
            "--quiet",
            "-p",
            "spanloom-filter",
            "--lib",
            "--profile",
            "filter",
            "--target",
            WASM_TARGET,
        ]))?;
        let bytes = size_bytes(&module)?;
        note(&format!(
            "{}: {} KB",
            display(&module),
            bytes.div_ceil(1024)
        ));
        Ok(())
    })?;
    Ok(module)
}

/// How large a file is.
///
/// # Errors
/// It is not there.
pub fn size_bytes(file: &Path) -> Result<u64> {
    Ok(fs::metadata(file)
        .with_context(|| format!("cannot find {}", file.display()))?
        .len())
}

/// A path below the workspace, short.
pub fn display(path: &Path) -> String {
    path.strip_prefix(root())
        .unwrap_or(path)
        .display()
        .to_string()
}

/// Makes the standard library for a compiler's target be there, which `what` needs: the compiler
/// alone cannot build for it.
///
/// # Errors
/// It is missing and rustup, which would add it, is missing too or failed.
pub fn add_target(target: &str, what: &str) -> Result<()> {
    let print = ["--print", "target-libdir", "--target", target];
    // Asked from the workspace's folder, where a toolchain file would be obeyed.
    let folder = output_of(
        std::process::Command::new("rustc")
            .current_dir(root())
            .args(print),
    )?;
    if Path::new(folder.trim()).exists() {
        return Ok(());
    }
    step(&format!("adding the compiler's target {target}"), || {
        let mut rustup = std::process::Command::new("rustup");
        rustup.current_dir(root()).args(["target", "add", target]);
        if let Err(error) = run(&mut rustup) {
            bail!(
                "{what} needs the Rust target {target}, and rustup did not add it: {error:#}\n\
                 install rustup (https://rustup.rs), or the package of your distribution with the \
                 standard library for {target}"
            );
        }
        Ok(())
    })
}
