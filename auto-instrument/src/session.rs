//! What one run of the command hands to its compiler wrappers: a file that each of them reads.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::config::variable;
use crate::functions::Selection;
use crate::rules::Prepared;

/// Names the session file to the wrappers.
pub(crate) const SESSION: &str = "SPANLOOM_SESSION";
/// Tells the hook, when it runs inside a compiler, to stay quiet.
pub(crate) const COMPILING: &str = "SPANLOOM_COMPILING";

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Session {
    /// `target/spanloom`: everything that we write is below it.
    pub(crate) directory: PathBuf,
    pub(crate) workspace: PathBuf,
    /// The folders of the workspace's members.
    pub(crate) members: Vec<PathBuf>,
    /// `cargo install NAME`: the package that is installed takes the place of the members.
    pub(crate) installs: bool,
    pub(crate) selection: Selection,
    /// Whether crates outside the workspace get function spans too.
    pub(crate) everywhere: bool,
    pub(crate) rules: Prepared,
    /// The wrapper that was there before us, such as sccache.
    pub(crate) chained: Option<String>,
    pub(crate) chained_rustdoc: Option<String>,
    /// Names the compiler: a hook is good for one.
    pub(crate) compiler: String,
    /// This build of the tool.
    pub(crate) tool: String,
}

impl Session {
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the session {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("cannot use {}", path.display()))
    }

    /// Writes the session beside those of other runs, under a name made of its content.
    pub(crate) fn write(&self) -> Result<PathBuf> {
        let text = serde_json::to_string(self)?;
        let path = self.directory.join(format!("session-{}.json", hash(&text)));
        write_if_changed(&path, &text)?;
        Ok(path)
    }

    pub(crate) fn is_member(&self, folder: &Path) -> bool {
        self.members.iter().any(|member| member == folder)
            || (self.installs && variable("CARGO_PRIMARY_PACKAGE").is_some())
    }

    /// Which functions of a package to take.
    pub(crate) fn selection(&self, package: &str, folder: &Path) -> Selection {
        match self.everywhere || self.is_member(folder) {
            _ if makes_spans(package) => Selection::None,
            true => self.selection,
            false => Selection::None,
        }
    }

    /// Variables whose values Cargo compares with those of the last build, so that a change of
    /// rules, of the selection or of the tool rebuilds the crates that it concerns.
    pub(crate) fn stamps(&self) -> BTreeMap<String, String> {
        let of_rules = self.rules.stamps().iter();
        let mut stamps: BTreeMap<_, _> = of_rules
            .map(|(package, stamp)| (stamp_name(package), stamp.clone()))
            .collect();
        let selection = format!("{:?}", self.selection);
        stamps.insert(stamp_name(MEMBERS), hash(&(&selection, &self.tool)));
        if self.everywhere {
            stamps.insert(stamp_name(EVERYWHERE), hash(&(&selection, &self.tool)));
        }
        stamps
    }

    /// The stamps that concern one package, with their present values.
    pub(crate) fn stamps_of(&self, package: &str, folder: &Path) -> Vec<(String, Option<String>)> {
        let stamps = self.stamps();
        let mut names = vec![stamp_name(package), stamp_name(EVERYWHERE)];
        if self.is_member(folder) {
            names.push(stamp_name(MEMBERS));
        }
        names
            .into_iter()
            .map(|name| (name.clone(), stamps.get(&name).cloned()))
            .collect()
    }
}

/// Whether a package makes or carries spans itself: spans of its functions would say how telemetry
/// is made, at each span again.
fn makes_spans(package: &str) -> bool {
    package == "tracing"
        || ["opentelemetry", "spanloom", "tracing-"]
            .iter()
            .any(|start| package.starts_with(start))
}

/// Not package names: they hold a dot.
const MEMBERS: &str = "workspace.members";
const EVERYWHERE: &str = "every.where";

fn stamp_name(package: &str) -> String {
    format!(
        "SPANLOOM_STAMP_{}",
        package.replace(['-', '.'], "_").to_uppercase()
    )
}

/// A short name for a value; it need only be stable on this machine.
pub(crate) fn hash(value: &impl Hash) -> String {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// Writes a file whole or not at all, and leaves one that is right alone.
pub(crate) fn write_if_changed(path: &Path, text: &str) -> Result<()> {
    if std::fs::read(path).is_ok_and(|now| now == text.as_bytes()) {
        return Ok(());
    }
    write_whole(path, text)
}

/// Writes a file whole or not at all.
pub(crate) fn write_whole(path: &Path, text: &str) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new(""));
    std::fs::create_dir_all(folder)
        .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
    std::fs::write(&temporary, text)
        .and_then(|()| std::fs::rename(&temporary, path))
        .with_context(|| format!("cannot write {}", path.display()))
}
