//! The copy of a crate's tree: changed files are written, everything else is linked, so that
//! `mod`, `include!` and `include_str!("../x")` find what they would find at home.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// A copy of the tree below `home`.
#[derive(Debug)]
pub(crate) struct Shadow {
    pub(crate) home: PathBuf,
    pub(crate) folder: PathBuf,
}

impl Shadow {
    /// Brings the copy up to date: exactly `files` are real, and of the folders only those above
    /// them. Files outside `home` stay unchanged originals.
    pub(crate) fn sync(&self, files: &BTreeMap<PathBuf, String>) -> Result<()> {
        let mut folders = BTreeSet::from([self.home.clone()]);
        for file in files.keys() {
            let inside = file
                .ancestors()
                .skip(1)
                .take_while(|folder| folder.starts_with(&self.home));
            folders.extend(inside.map(Path::to_owned));
        }
        for folder in &folders {
            self.sync_folder(folder, &folders, files)
                .with_context(|| format!("cannot mirror {}", folder.display()))?;
        }
        Ok(())
    }

    /// Where the copy of an original is.
    pub(crate) fn path(&self, original: &Path) -> PathBuf {
        original
            .strip_prefix(&self.home)
            .map_or_else(|_| original.to_owned(), |path| self.folder.join(path))
    }

    fn sync_folder(
        &self,
        folder: &Path,
        folders: &BTreeSet<PathBuf>,
        files: &BTreeMap<PathBuf, String>,
    ) -> std::io::Result<()> {
        let copy = self.path(folder);
        if copy.is_symlink() {
            std::fs::remove_file(&copy)?;
        }
        std::fs::create_dir_all(&copy)?;
        let mut names = BTreeSet::new();
        for entry in std::fs::read_dir(folder)? {
            let name = entry?.file_name();
            let (original, copied) = (folder.join(&name), copy.join(&name));
            names.insert(name);
            if let Some(text) = files.get(&original) {
                if copied.is_symlink()
                    || std::fs::read(&copied).ok().as_deref() != Some(text.as_bytes())
                {
                    remove(&copied)?;
                    std::fs::write(&copied, text)?;
                }
            } else if !folders.contains(&original)
                && std::fs::read_link(&copied).ok().as_deref() != Some(&original)
            {
                remove(&copied)?;
                link(&original, &copied)?;
            }
        }
        // What is gone at home must not live on in the copy.
        for entry in std::fs::read_dir(&copy)? {
            let name = entry?.file_name();
            if !names.contains(&name) {
                remove(&copy.join(name))?;
            }
        }
        Ok(())
    }
}

fn remove(path: &Path) -> std::io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Err(_) => Ok(()),
        Ok(found) if found.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
    }
}

#[cfg(unix)]
fn link(original: &Path, copied: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(original, copied)
}

#[cfg(windows)]
fn link(original: &Path, copied: &Path) -> std::io::Result<()> {
    match original.is_dir() {
        true => std::os::windows::fs::symlink_dir(original, copied),
        false => std::os::windows::fs::symlink_file(original, copied),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_copy_follows_the_original() {
        let home = tempfile::tempdir().expect("a folder");
        let copy = tempfile::tempdir().expect("a folder");
        let (home, copy) = (home.path(), copy.path().join("copy"));
        std::fs::create_dir_all(home.join("src/deep")).expect("made");
        std::fs::create_dir_all(home.join("data")).expect("made");
        for name in ["src/lib.rs", "src/deep/a.rs", "src/other.rs", "data/x.txt"] {
            std::fs::write(home.join(name), "original").expect("written");
        }
        let shadow = Shadow {
            home: home.to_owned(),
            folder: copy.clone(),
        };
        let read = |name: &str| std::fs::read_to_string(copy.join(name)).ok();
        let changed = |names: &[&str]| {
            names
                .iter()
                .map(|name| (home.join(name), "changed".to_owned()))
                .collect::<BTreeMap<_, _>>()
        };

        shadow
            .sync(&changed(&["src/lib.rs", "src/deep/a.rs"]))
            .expect("mirrored");
        assert_eq!(read("src/deep/a.rs").as_deref(), Some("changed"));
        assert_eq!(read("src/other.rs").as_deref(), Some("original"));
        assert_eq!(read("src/../data/x.txt").as_deref(), Some("original"));

        std::fs::remove_file(home.join("src/other.rs")).expect("removed");
        shadow.sync(&changed(&["src/lib.rs"])).expect("mirrored");
        assert_eq!(read("src/deep/a.rs").as_deref(), Some("original"));
        assert!(!copy.join("src/other.rs").is_symlink());
        assert_eq!(
            std::fs::read_to_string(home.join("src/lib.rs"))
                .ok()
                .as_deref(),
            Some("original")
        );
    }
}
