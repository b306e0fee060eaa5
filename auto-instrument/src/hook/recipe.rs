//! How the hook is compiled: a file of `build.rs` as well, which does so once while the tool is built.

use std::io;
use std::path::Path;
use std::process::Command;

/// The name of the hook's crate.
pub(crate) const HOOK: &str = "spanloom_hook";

/// Compiles the hook whose sources are in this folder to that file, which must end in `.rlib`.
pub(crate) fn command(
    rustc: &Path,
    target: Option<&str>,
    sources: &Path,
    output: &Path,
) -> Command {
    let mut command = Command::new(rustc);
    command
        .args(["--crate-name", HOOK, "--crate-type", "rlib"])
        .args(["--edition", "2024"])
        // Of every profile: optimised and in one piece it costs half as much to link, after every edit.
        .args(["-C", "opt-level=2", "-C", "codegen-units=1"])
        .args(["-C", "metadata=spanloom", "--cap-lints", "allow"]);
    // A program tells nobody where it was built, and is the same wherever that was. Of two that fit, the
    // compiler takes the last.
    for place in std::env::current_dir()
        .iter()
        .map(|here| &**here)
        .chain([sources])
    {
        command.arg(format!(
            "--remap-path-prefix={}=spanloom-hook",
            place.display()
        ));
    }
    if let Some(target) = target {
        command.args(["--target", target]);
    }
    command
        .arg("-o")
        .arg(output)
        .arg(sources.join("lib.rs"))
        .env("CARGO_PKG_VERSION", env!("CARGO_PKG_VERSION"));
    command
}

/// What a library is bound to: the very compiler, the target and its standard library.
///
/// # Errors
///
/// When the compiler cannot be started, has another way to answer, or has no such library.
pub(crate) fn bound_to(rustc: &Path, target: Option<&str>) -> io::Result<String> {
    let ask = |arguments: &[&str]| {
        let output = Command::new(rustc).args(arguments).output()?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            false => Err(io::Error::other(
                String::from_utf8_lossy(&output.stderr).into_owned(),
            )),
        }
    };
    let version = ask(&["-vV"])?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    let target = target.or(host).ok_or(io::ErrorKind::InvalidData)?;
    let folder = ask(&["--print", "target-libdir", "--target", target])?;
    let mut std = Vec::new();
    for file in std::fs::read_dir(folder.trim())? {
        let file = file?;
        let name = file.file_name().to_string_lossy().into_owned();
        if name.starts_with("libstd-") {
            std.push(format!("{name} {}", file.metadata()?.len()));
        }
    }
    if std.is_empty() {
        return Err(io::Error::other(format!("{target} has no std")));
    }
    std.sort();
    Ok(format!("{version}{target}\n{}\n", std.join("\n")))
}
