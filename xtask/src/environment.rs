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

/// `CI`: a part that cannot be had is a failure, not a reason to skip.
pub fn is_ci() -> bool {
    env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false")
}

/// `CARGO`: the cargo that runs us, so that what we build uses the same toolchain.
pub fn cargo() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// `CARGO_TARGET_DIR`, where someone set it.
pub fn target_dir() -> Option<PathBuf> {
    env::var_os("CARGO_TARGET_DIR").map(PathBuf::from)
}
