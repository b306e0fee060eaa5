//! The module as it is shipped: built with the profile `filter`, once for all tests of a run.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use wasmi::{Engine, Module};

const TARGET: &str = "wasm32-wasip1";

/// The compiled module, built first if the sources changed.
pub(super) fn module() -> &'static Module {
    static MODULE: OnceLock<Module> = OnceLock::new();
    MODULE.get_or_init(|| {
        let bytes = std::fs::read(build()).expect("cargo has just built the module");
        Module::new(&Engine::default(), &bytes).expect("the module is valid WebAssembly")
    })
}

/// Cargo's lock on the target directory is free while tests run, so that a test may build.
fn build() -> PathBuf {
    let target_dir = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .expect("cargo puts `tmp` into the target directory");
    let built = Command::new(env!("CARGO"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["build", "--quiet", "--package", "spanloom-filter", "--lib"])
        .args(["--profile", "filter", "--target", TARGET])
        .arg("--target-dir")
        .arg(target_dir)
        // Flags for the tests, as those of coverage, do not fit the module.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .output()
        .expect("the cargo that built this test is still there");
    assert!(
        built.status.success(),
        "the filter does not build for {TARGET}. Is the target installed (rustup target add \
         {TARGET})?\n{}",
        String::from_utf8_lossy(&built.stderr)
    );
    target_dir
        .join(TARGET)
        .join("filter")
        .join("spanloom_filter.wasm")
}
