//! The hook as a compiled library, once a compiler and target. The tool brings one for the compiler that
//! it was itself built with; for another it is compiled with that.

pub(crate) mod recipe;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};

use crate::session::{COMPILING, Session, hash, write_if_changed};
use recipe::HOOK;

/// The library that the tool brings, and what it is bound to. Empty when there was none to be had.
const READY: (&[u8], &str) = (
    include_bytes!(concat!(env!("OUT_DIR"), "/hook.rlib")),
    include_str!(concat!(env!("OUT_DIR"), "/bound_to")),
);

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

/// A file that says that the library was of no use.
const DAMAGED: &str = "damaged";

/// Where the hook of a compiler and target is, or will be. The sources are this build of the tool's.
pub(crate) fn folder(session: &Session, target: Option<&str>) -> PathBuf {
    let key = hash(&(&session.tool, &session.compiler, target));
    session.directory.join("hook").join(key)
}

/// The compiled hook; puts it in place when this is the first use.
pub(crate) fn library(session: &Session, rustc: &Path, target: Option<&str>) -> Result<PathBuf> {
    let folder = folder(session, target);
    let library = folder.join(format!("lib{HOOK}.rlib"));
    if library.is_file() {
        return Ok(library);
    }
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    // Wrappers run side by side: one of them does it, the others wait.
    let lock = File::create(folder.join("lock")).context("cannot make the hook's lock")?;
    lock.lock().context("cannot take the hook's lock")?;
    if !library.is_file() {
        let unfinished = folder.join("unfinished.rlib");
        if is_ready_for(rustc, target) && !folder.join(DAMAGED).exists() {
            std::fs::write(&unfinished, READY.0)
        } else {
            compile(rustc, target, &folder.join("src"), &unfinished)?;
            Ok(())
        }
        .and_then(|()| std::fs::rename(&unfinished, &library))
        .with_context(|| format!("cannot put {} in place", library.display()))?;
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
        let folder = folder(session, target);
        // Should it be the one that the tool brings: the compiler knows best what it can use. When the
        // hook is gone or stays, the next compilation has its own word on that.
        let _ = std::fs::write(folder.join(DAMAGED), "");
        let _ = std::fs::remove_file(folder.join(format!("lib{HOOK}.rlib")));
    }
}

fn is_ready_for(rustc: &Path, target: Option<&str>) -> bool {
    recipe::bound_to(rustc, target).is_ok_and(|compiler| compiler == READY.1)
}

fn compile(rustc: &Path, target: Option<&str>, sources: &Path, library: &Path) -> Result<()> {
    for (name, text) in SOURCES {
        write_if_changed(&sources.join(name), text)?;
    }
    let output = recipe::command(rustc, target, sources, library)
        .env(COMPILING, "1")
        .output()
        .context("cannot start the compiler for the hook")?;
    let message = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "the hook does not compile: {}",
        message.trim()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_tool_brings_is_what_the_compiler_makes() {
        let rustc = Path::new("rustc");
        assert!(is_ready_for(rustc, None));
        let folder = tempfile::tempdir().unwrap();
        let library = folder.path().join("hook.rlib");
        compile(rustc, None, &folder.path().join("elsewhere"), &library).unwrap();
        assert!(std::fs::read(library).unwrap() == READY.0);
    }
}
