//! Where the workspace is and which packages are its own, as `cargo metadata` says: remembered, since
//! asking takes longer than everything else that a build after an edit adds.

use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::config::variable;
use crate::session::write_if_changed;

/// What a build needs to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    pub(crate) target_directory: PathBuf,
    /// The folders of the members.
    pub(crate) members: Vec<PathBuf>,
}

/// A remembered answer, with everything that it depends on.
#[derive(Debug, Serialize, Deserialize)]
struct Remembered {
    question: Question,
    workspace: Workspace,
    /// Manifests and configuration files, also those that were not there.
    files: Vec<(PathBuf, Option<Stamp>)>,
}

/// What was asked, and by whom.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Question {
    /// The manifest that Cargo starts from.
    manifest: PathBuf,
    /// Cargo, and what it was told of its configuration.
    cargo: Vec<String>,
    target_directories: [Option<String>; 2],
    tool: String,
}

/// Tells one state of a file from another: its length and when it was written.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    n_bytes: u64,
    modified_ns: u128,
}

impl Workspace {
    /// Of the manifest that is given, or of the nearest one above the current folder. `ask` is called
    /// when nothing is remembered, or something has changed since; what was asked for as the target
    /// folder is it, whatever the answer.
    pub(crate) fn find(
        manifest: Option<&Path>,
        cargo: Vec<String>,
        tool: String,
        target_directory: Option<&Path>,
        ask: impl FnOnce() -> Result<Self>,
    ) -> Result<Self> {
        let here = std::env::current_dir()?;
        let manifest = match manifest {
            Some(given) => Some(here.join(given)),
            None => here
                .ancestors()
                .map(|folder| folder.join("Cargo.toml"))
                .find(|path| path.is_file()),
        };
        let ask = || {
            let mut workspace = ask()?;
            if let Some(given) = target_directory {
                workspace.target_directory = here.join(given);
            }
            Ok(workspace)
        };
        // Without one Cargo has an error to report.
        let Some(manifest) = manifest else {
            return ask();
        };
        let mut target_directories = ["CARGO_TARGET_DIR", "CARGO_BUILD_TARGET_DIR"].map(variable);
        if let Some(given) = target_directory {
            target_directories[0] = Some(given.display().to_string());
        }
        let question = Question {
            manifest,
            cargo,
            target_directories,
            tool,
        };
        if let Some(known) = question.remembered(&here) {
            return Ok(known);
        }
        let workspace = ask()?;
        // Where nothing can be written, Cargo is asked each time.
        mark_as_cache(&workspace.target_directory);
        let _ = question.remember(&here, &workspace);
        Ok(workspace)
    }

    fn cache(target_directory: &Path) -> PathBuf {
        target_directory.join("spanloom/workspace.json")
    }
}

impl Question {
    /// The answer, if it was asked before and nothing that it depends on has changed. It lies in the
    /// target folder, which is part of the answer: it is looked for where such folders usually are.
    fn remembered(&self, here: &Path) -> Option<Workspace> {
        let given = self
            .target_directories
            .iter()
            .flatten()
            .map(|folder| here.join(folder));
        let usual = self
            .manifest
            .ancestors()
            .skip(1)
            .map(|folder| folder.join("target"));
        given.chain(usual).find_map(|folder| {
            let text = std::fs::read(Workspace::cache(&folder)).ok()?;
            let known: Remembered = serde_json::from_slice(&text).ok()?;
            let is_as_it_was = known.question == *self
                && known.workspace.target_directory == folder
                && known
                    .files
                    .iter()
                    .all(|(path, stamp)| Stamp::of(path) == *stamp);
            is_as_it_was.then_some(known.workspace)
        })
    }

    fn remember(self, here: &Path, workspace: &Workspace) -> Result<()> {
        let root = workspace.root.join("Cargo.toml");
        // With patterns a member may appear without any change of a manifest.
        let text = std::fs::read_to_string(&root).unwrap_or_default();
        if has_pattern(&text) {
            return Ok(());
        }
        let manifests = workspace
            .members
            .iter()
            .map(|folder| folder.join("Cargo.toml"));
        let home = variable("CARGO_HOME").map(PathBuf::from).or_else(|| {
            let home = variable("HOME").or_else(|| variable("USERPROFILE"))?;
            Some(Path::new(&home).join(".cargo"))
        });
        let configurations = here
            .ancestors()
            .map(|folder| folder.join(".cargo"))
            .chain(home);
        let configurations = configurations
            .flat_map(|folder| ["config.toml", "config"].map(|name| folder.join(name)));
        // A manifest that appears above may make this one a member.
        let above = self.manifest.ancestors().skip(1);
        let above = above.map(|folder| folder.join("Cargo.toml"));
        let mut files: Vec<PathBuf> = manifests
            .chain([root, self.manifest.clone()])
            .chain(above)
            .chain(configurations)
            .collect();
        files.sort();
        files.dedup();
        let remembered = Remembered {
            question: self,
            workspace: workspace.clone(),
            files: files
                .into_iter()
                .map(|path| (path.clone(), Stamp::of(&path)))
                .collect(),
        };
        let text = serde_json::to_string(&remembered)?;
        write_if_changed(&Workspace::cache(&workspace.target_directory), &text)
    }
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let file = std::fs::metadata(path).ok()?;
        let modified = file.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
        Some(Self {
            n_bytes: file.len(),
            modified_ns: modified.as_nanos(),
        })
    }
}

/// Tells backups what Cargo tells them of a target folder that it makes itself.
fn mark_as_cache(target: &Path) {
    let tag = "Signature: 8a477f597d28d172789f06886806bc55\n\
               # This file is a cache directory tag created by cargo spanloom.\n";
    // What cannot be written now cannot be built either, which is an error then.
    if !target.exists() && std::fs::create_dir_all(target).is_ok() {
        let _ = std::fs::write(target.join("CACHEDIR.TAG"), tag);
    }
}

/// Whether the list of members, or that of exclusions, has a pattern in it.
fn has_pattern(manifest: &str) -> bool {
    let Ok(manifest) = manifest.parse::<toml::Table>() else {
        return true;
    };
    let Some(workspace) = manifest.get("workspace") else {
        return false;
    };
    let lists = ["members", "exclude"]
        .into_iter()
        .filter_map(|name| workspace.get(name)?.as_array());
    lists
        .flatten()
        .filter_map(toml::Value::as_str)
        .any(|member| member.contains(['*', '?', '[']))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, text: &str) {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, text).expect("written");
    }

    /// Asks for a workspace of one member, and tells whether Cargo had to be asked.
    fn is_asked(home: &Path, tool: &str) -> bool {
        let mut asked = false;
        let workspace = Workspace {
            root: home.to_owned(),
            target_directory: home.join("target"),
            members: vec![home.join("a")],
        };
        let manifest = home.join("a/Cargo.toml");
        let found = Workspace::find(Some(&manifest), vec![], tool.to_owned(), None, || {
            asked = true;
            Ok(workspace.clone())
        });
        assert_eq!(found.expect("found"), workspace);
        asked
    }

    #[test]
    fn cargo_is_asked_once_and_again_after_a_change() {
        let home = tempfile::tempdir().expect("a folder");
        let home = &home.path().join("home");
        write(&home.join("Cargo.toml"), "[workspace]\nmembers = ['a']\n");
        write(&home.join("a/Cargo.toml"), "[package]\nname = 'a'\n");
        assert!(is_asked(home, "1"));
        assert!(!is_asked(home, "1"));
        write(&home.join("a/Cargo.toml"), "[package]\nname = 'aa'\n");
        assert!(is_asked(home, "1"));
        assert!(!is_asked(home, "1"));
        let above = home.parent().expect("a folder").join("Cargo.toml");
        write(&above, "[workspace]\n");
        assert!(is_asked(home, "1"));
        assert!(!is_asked(home, "1"));
        assert!(is_asked(home, "2"));
    }

    #[test]
    fn where_nothing_can_be_remembered_cargo_is_asked_each_time() {
        let home = tempfile::tempdir().expect("a folder");
        let home = home.path();
        write(&home.join("a/Cargo.toml"), "[package]\nname = 'a'\n");
        write(&home.join("target"), "not a folder");
        assert!(is_asked(home, "1"));
        assert!(is_asked(home, "1"));
    }

    #[test]
    fn members_by_pattern_are_asked_for_each_time() {
        let home = tempfile::tempdir().expect("a folder");
        let home = home.path();
        write(
            &home.join("Cargo.toml"),
            "[workspace]\nmembers = ['crates/*']\n",
        );
        write(&home.join("a/Cargo.toml"), "[package]\nname = 'a'\n");
        assert!(is_asked(home, "1"));
        assert!(is_asked(home, "1"));
    }
}
