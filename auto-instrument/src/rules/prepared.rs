//! The rules as the compiler wrappers read them: one file a package, written once for a set of rules,
//! since reading and checking all of them takes longer than the rest of what a wrapper does.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use semver::Version;
use serde::{Deserialize, Serialize};

use super::Rule;
use crate::session::{hash, write_if_changed};

/// A set of rules below `target/spanloom`.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Prepared {
    folder: PathBuf,
    /// What each package's rules are, in short. A package that has none is not here.
    stamps: BTreeMap<String, String>,
}

impl Prepared {
    /// The embedded rules and those of the given files, for one build of the tool.
    ///
    /// # Errors
    ///
    /// Those of [`super::load`], and when the folder cannot be written.
    pub(crate) fn of(directory: &Path, tool: &str, files: &[PathBuf]) -> Result<Self> {
        let texts = files
            .iter()
            .map(|file| {
                std::fs::read_to_string(file)
                    .with_context(|| format!("cannot read {}", file.display()))
            })
            .collect::<Result<Vec<_>>>()?;
        let folder = directory.join("rules").join(hash(&(tool, texts)));
        let index = folder.join("index");
        let stamps = read_index(&index).unwrap_or_default();
        let known = Self { folder, stamps };
        let mut packages = known.stamps.keys();
        match !known.stamps.is_empty() && packages.all(|name| known.file(name).is_file()) {
            true => Ok(known),
            false => known.write(&index, tool, files),
        }
    }

    fn write(mut self, index: &Path, tool: &str, files: &[PathBuf]) -> Result<Self> {
        let mut by_package: BTreeMap<String, Vec<Rule>> = BTreeMap::new();
        for rule in super::load(files)? {
            by_package
                .entry(rule.package.clone())
                .or_default()
                .push(rule);
        }
        for (package, rules) in by_package {
            let text = serde_json::to_string(&rules)?;
            write_if_changed(&self.file(&package), &text)?;
            self.stamps.insert(package, hash(&(text, tool)));
        }
        // Last, so that whoever finds it finds everything.
        write_if_changed(index, &serde_json::to_string(&self.stamps)?)?;
        Ok(self)
    }

    fn file(&self, package: &str) -> PathBuf {
        self.folder.join(format!("{package}.json"))
    }

    /// The rules for a package in a version.
    ///
    /// # Errors
    ///
    /// When its file was removed or damaged since.
    pub(crate) fn of_package(&self, package: &str, version: &Version) -> Result<Vec<Rule>> {
        if !self.stamps.contains_key(package) {
            return Ok(Vec::new());
        }
        let file = self.file(package);
        let text = std::fs::read_to_string(&file)
            .with_context(|| format!("cannot read the rules {}", file.display()))?;
        let mut rules: Vec<Rule> = serde_json::from_str(&text)
            .with_context(|| format!("cannot use the rules {}", file.display()))?;
        rules.retain(|rule| rule.applies_to(package, version));
        Ok(rules)
    }

    /// Each package that has rules, with a short name for all of them, also of those for other
    /// versions.
    pub(crate) fn stamps(&self) -> &BTreeMap<String, String> {
        &self.stamps
    }
}

fn read_index(index: &Path) -> Option<BTreeMap<String, String>> {
    serde_json::from_slice(&std::fs::read(index).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_prepared_once_and_mended_when_damaged() {
        let directory = tempfile::tempdir().expect("a folder");
        let of = |tool: &str| Prepared::of(directory.path(), tool, &[]).expect("prepared");
        let first = of("1");
        let version = Version::new(1, 40, 0);
        let rules = first.of_package("tokio", &version).expect("read");
        assert!(!rules.is_empty());
        assert!(rules.iter().all(|rule| rule.package == "tokio"));
        let none = first.of_package("nobody-has-rules-for-it", &version);
        assert_eq!(none.expect("no rules are no mistake"), []);

        assert_eq!(of("1"), first);
        assert_ne!(of("2").stamps(), first.stamps());

        std::fs::remove_file(first.file("tokio")).expect("removed");
        assert!(first.of_package("tokio", &version).is_err());
        let again = of("1").of_package("tokio", &version).expect("mended");
        assert_eq!(again, rules);
    }

    #[test]
    fn a_change_of_the_users_rules_concerns_their_package_alone() {
        let directory = tempfile::tempdir().expect("a folder");
        let file = directory.path().join("mine.toml");
        let with = |insert: &str| {
            let rule = format!(
                "[[rule]]\nname='mine'\nabout='a'\ncrate='mine'\nversions='1'\n\
                 [[rule.do]]\nin='f'\nat='enter'\ninsert='{insert}'\n"
            );
            std::fs::write(&file, rule).expect("written");
            let prepared = Prepared::of(directory.path(), "1", std::slice::from_ref(&file));
            prepared.expect("prepared").stamps
        };
        let (mut before, mut after) = (with("a();"), with("b();"));
        assert_ne!(before.remove("mine"), after.remove("mine"));
        assert_eq!(before, after);
    }
}
