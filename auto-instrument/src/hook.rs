//! The hook as a compiled library: built with the user's own compiler, once a compiler and target.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};

use crate::rewrite::HOOK;
use crate::session::{COMPILING, Session, hash, write_if_changed};

/// The sources, which travel inside the tool.
const SOURCES: [(&str, &str); 17] = [
    ("lib.rs", include_str!("../hook/src/lib.rs")),
    ("context.rs", include_str!("../hook/src/context.rs")),
    ("current.rs", include_str!("../hook/src/current.rs")),
    ("db.rs", include_str!("../hook/src/db.rs")),
    ("env.rs", include_str!("../hook/src/env.rs")),
    ("exit.rs", include_str!("../hook/src/exit.rs")),
    ("export.rs", include_str!("../hook/src/export.rs")),
    ("function.rs", include_str!("../hook/src/function.rs")),
    ("hand.rs", include_str!("../hook/src/hand.rs")),
    ("held.rs", include_str!("../hook/src/held.rs")),
    ("http.rs", include_str!("../hook/src/http.rs")),
    ("id.rs", include_str!("../hook/src/id.rs")),
    ("message.rs", include_str!("../hook/src/message.rs")),
    ("otlp.rs", include_str!("../hook/src/otlp.rs")),
    ("sink.rs", include_str!("../hook/src/sink.rs")),
    ("span.rs", include_str!("../hook/src/span.rs")),
    ("sql.rs", include_str!("../hook/src/sql.rs")),
];

/// Where the hook of a compiler and target is, or will be. The sources are this build of the tool's.
pub(crate) fn folder(session: &Session, target: Option<&str>) -> PathBuf {
    let key = hash(&(&session.tool, &session.compiler, target));
    session.directory.join("hook").join(key)
}

/// The compiled hook; compiles it when this is the first use.
pub(crate) fn library(session: &Session, rustc: &Path, target: Option<&str>) -> Result<PathBuf> {
    let folder = folder(session, target);
    let library = folder.join(format!("lib{HOOK}.rlib"));
    if library.is_file() {
        return Ok(library);
    }
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    // Wrappers run side by side: one of them compiles, the others wait for it.
    let lock = File::create(folder.join("lock")).context("cannot make the hook's lock")?;
    lock.lock().context("cannot take the hook's lock")?;
    if !library.is_file() {
        compile(rustc, target, &folder, &library)?;
    }
    Ok(library)
}

/// When the compiled hook was made; `None` when it is still to be made.
pub(crate) fn made(session: &Session, target: Option<&str>) -> Option<SystemTime> {
    let library = folder(session, target).join(format!("lib{HOOK}.rlib"));
    library.metadata().and_then(|file| file.modified()).ok()
}

/// Throws a damaged hook away, unless another wrapper has done so and made it anew.
pub(crate) fn forget(session: &Session, target: Option<&str>, made_then: Option<SystemTime>) {
    if made(session, target) == made_then {
        // When it is gone or stays, the next compilation has its own word on that.
        let _ = std::fs::remove_file(folder(session, target).join(format!("lib{HOOK}.rlib")));
    }
}

fn compile(rustc: &Path, target: Option<&str>, folder: &Path, library: &Path) -> Result<()> {
    for (name, text) in SOURCES {
        write_if_changed(&folder.join("src").join(name), text)?;
    }
    let unfinished = folder.join("unfinished.rlib");
    let mut command = Command::new(rustc);
    command
        .args([
            "--crate-name",
            HOOK,
            "--crate-type",
            "rlib",
            "--edition",
            "2024",
        ])
        // Of every profile: optimised and in one piece it costs half as much to link, after every edit.
        .args(["-C", "opt-level=2", "-C", "codegen-units=1"])
        .args(["-C", "metadata=spanloom", "--cap-lints", "allow"])
        // A program tells nobody where it was built, and is the same wherever that was.
        .arg(format!(
            "--remap-path-prefix={}=spanloom-hook",
            folder.join("src").display()
        ))
        .arg("-o")
        .arg(&unfinished)
        .arg(folder.join("src/lib.rs"))
        .env("CARGO_PKG_VERSION", env!("CARGO_PKG_VERSION"))
        .env(COMPILING, "1");
    if let Some(target) = target {
        command.args(["--target", target]);
    }
    let output = command
        .output()
        .context("cannot start the compiler for the hook")?;
    let message = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "the hook does not compile: {}",
        message.trim()
    );
    std::fs::rename(&unfinished, library)
        .with_context(|| format!("cannot put {} in place", library.display()))
}
