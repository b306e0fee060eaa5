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

/// The compiler wrapper that Cargo would use without us: the environment's, else the nearest
/// configuration file's.
pub(crate) fn rustc_wrapper(from: &Path) -> Option<String> {
    variable("RUSTC_WRAPPER")
        .or_else(|| variable("CARGO_BUILD_RUSTC_WRAPPER"))
        .or_else(|| wrapper_in_files(from, variable("CARGO_HOME").map(PathBuf::from)))
}

fn wrapper_in_files(from: &Path, cargo_home: Option<PathBuf>) -> Option<String> {
    let folders = from
        .ancestors()
        .map(|folder| folder.join(".cargo"))
        .chain(cargo_home);
    for folder in folders {
        for name in ["config.toml", "config"] {
            let Ok(text) = std::fs::read_to_string(folder.join(name)) else {
                continue;
            };
            let Ok(config) = text.parse::<toml::Table>() else {
                continue;
            };
            let wrapper = config
                .get("build")
                .and_then(|build| build.get("rustc-wrapper"));
            if let Some(wrapper) = wrapper.and_then(toml::Value::as_str) {
                // A relative path is relative to the folder that `.cargo` is in.
                let is_path = wrapper.contains('/') && Path::new(wrapper).is_relative();
                let at_home = folder.parent().filter(|_| is_path);
                return Some(match at_home {
                    Some(home) => home.join(wrapper).display().to_string(),
                    None => wrapper.to_owned(),
                });
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_configuration_names_the_wrapper() {
        let folder = tempfile::tempdir().expect("a folder");
        let inner = folder.path().join("a/b");
        std::fs::create_dir_all(folder.path().join("a/.cargo")).expect("made");
        std::fs::create_dir_all(&inner).expect("made");
        std::fs::write(
            folder.path().join("a/.cargo/config.toml"),
            "[build]\nrustc-wrapper = 'sccache'\n",
        )
        .expect("written");
        assert_eq!(wrapper_in_files(&inner, None).as_deref(), Some("sccache"));
        std::fs::create_dir_all(inner.join(".cargo")).expect("made");
        std::fs::write(
            inner.join(".cargo/config.toml"),
            "[build]\nrustc-wrapper = './tools/w'\n",
        )
        .expect("written");
        let expected = inner.join("./tools/w").display().to_string();
        assert_eq!(wrapper_in_files(&inner, None), Some(expected));
    }
}
