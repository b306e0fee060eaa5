//! The environment and Cargo's configuration files: the only place that reads them.

use std::path::{Path, PathBuf};

/// A variable of the environment; an empty one counts as unset.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place of this crate that reads it"
)]
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The compiler wrapper that Cargo would use without us.
pub(crate) fn rustc_wrapper(from: &Path, settings: &[String]) -> Option<String> {
    if is_empty("RUSTC_WRAPPER") {
        // That is how one says that there is none.
        return None;
    }
    program(
        from,
        settings,
        "rustc-wrapper",
        ["RUSTC_WRAPPER", "CARGO_BUILD_RUSTC_WRAPPER"],
    )
}

/// The compiler that Cargo uses instead of its own.
pub(crate) fn rustc(from: &Path, settings: &[String]) -> Option<String> {
    program(from, settings, "rustc", ["RUSTC", "CARGO_BUILD_RUSTC"])
}

/// A program that a key of the table `build` names, in Cargo's order: the first variable, else the
/// `--config` options among `settings`, else the second variable, else the nearest configuration file.
fn program(from: &Path, settings: &[String], key: &str, variables: [&str; 2]) -> Option<String> {
    let [before, behind] = variables;
    variable(before)
        .or_else(|| in_settings(from, settings, key))
        .or_else(|| variable(behind))
        .or_else(|| in_files(from, variable("CARGO_HOME").map(PathBuf::from), key))
        .filter(|program| !program.is_empty())
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place of this crate that reads it"
)]
fn is_empty(name: &str) -> bool {
    std::env::var_os(name).is_some_and(|value| value.is_empty())
}

/// Each is `--config`, then or behind a `=` a line of TOML or a file; the last one wins.
fn in_settings(from: &Path, settings: &[String], key: &str) -> Option<String> {
    settings.iter().rev().find_map(|word| {
        let setting = word.strip_prefix("--config=").unwrap_or(word);
        let file = from.join(setting);
        match file.is_file() {
            true => program_of(&std::fs::read_to_string(&file).ok()?, file.parent()?, key),
            false => program_of(setting, &from.join(".cargo"), key),
        }
    })
}

fn in_files(from: &Path, cargo_home: Option<PathBuf>, key: &str) -> Option<String> {
    let folders = from
        .ancestors()
        .map(|folder| folder.join(".cargo"))
        .chain(cargo_home);
    for folder in folders {
        for name in ["config.toml", "config"] {
            let text = std::fs::read_to_string(folder.join(name));
            let program = text.ok().and_then(|text| program_of(&text, &folder, key));
            if program.is_some() {
                return program;
            }
        }
    }
    None
}

/// What a configuration in `folder` says. A relative path is relative to the folder's own folder.
fn program_of(text: &str, folder: &Path, key: &str) -> Option<String> {
    let config: toml::Table = text.parse().ok()?;
    let program = config.get("build")?.get(key)?.as_str()?;
    let is_path = program.contains('/') && Path::new(program).is_relative();
    match folder.parent().filter(|_| is_path) {
        Some(home) => Some(home.join(program).display().to_string()),
        None => Some(program.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_configuration_names_the_wrapper() {
        let key = "rustc-wrapper";
        let folder = tempfile::tempdir().expect("a folder");
        let inner = folder.path().join("a/b");
        std::fs::create_dir_all(folder.path().join("a/.cargo")).expect("made");
        std::fs::create_dir_all(&inner).expect("made");
        std::fs::write(
            folder.path().join("a/.cargo/config.toml"),
            "[build]\nrustc-wrapper = 'sccache'\n",
        )
        .expect("written");
        assert_eq!(in_files(&inner, None, key).as_deref(), Some("sccache"));
        std::fs::create_dir_all(inner.join(".cargo")).expect("made");
        std::fs::write(
            inner.join(".cargo/config.toml"),
            "[build]\nrustc-wrapper = './tools/w'\n",
        )
        .expect("written");
        let expected = inner.join("./tools/w").display().to_string();
        assert_eq!(in_files(&inner, None, key), Some(expected));
        let settings = ["--config", "build.rustc-wrapper='./x'", "--config=a.b=1"];
        let settings = settings.map(str::to_owned);
        let expected = inner.join("./x").display().to_string();
        assert_eq!(in_settings(&inner, &settings, key), Some(expected));
    }
}
