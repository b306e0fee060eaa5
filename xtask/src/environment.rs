//! The environment variables that `cargo xtask` and the whole-system tests obey, read only here.
#![expect(
    clippy::disallowed_methods,
    reason = "the one place where they are read"
)]

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

/// `ENVOY`: an Envoy to use instead of the pinned one.
pub fn envoy() -> Option<PathBuf> {
    env::var_os("ENVOY")
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
}

/// `SPANLOOM_PARTS`: the folder of the parts, when it is not in the target folder.
pub const PARTS: &str = "SPANLOOM_PARTS";

/// What [`PARTS`] names.
pub fn parts() -> Option<PathBuf> {
    env::var_os(PARTS).map(PathBuf::from)
}

/// `CI`: a part that cannot be had is a failure, not a reason to skip.
pub fn is_ci() -> bool {
    env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false")
}

/// `PATH`: where programs are looked for.
pub fn path() -> OsString {
    env::var_os("PATH").unwrap_or_default()
}

/// `CARGO`: the cargo that runs us, so that what we build uses the same toolchain.
pub fn cargo() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// `CARGO_TARGET_DIR`, where someone set it.
pub fn target_dir() -> Option<PathBuf> {
    env::var_os("CARGO_TARGET_DIR").map(PathBuf::from)
}

/// The variables in which the cargo that runs us describes our own package. A cargo that we run
/// must not see them: some build scripts (ring's) ask to run again when one of them changes, and
/// everything above would be built again with every change between `cargo xtask` and `cargo`.
pub fn of_our_package() -> impl Iterator<Item = OsString> {
    env::vars_os().map(|(name, _)| name).filter(|name| {
        let name = name.to_string_lossy();
        name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
    })
}
