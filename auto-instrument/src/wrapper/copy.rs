//! The copy of a unit's sources that is compiled in their place.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::{Package, Unit};
use crate::diagnostics::Originals;
use crate::rewrite::Rewrite;
use crate::shadow::Shadow;

/// The copy of one unit's sources, and how its paths translate.
pub(super) struct Copy {
    /// The copy's crate root.
    pub(super) root: String,
    /// The copy's folder, with a slash at the end.
    pub(super) folder: String,
    /// What it is a copy of: as the original root was given, with a slash or empty.
    pub(super) home: String,
    /// What the compiler is to say instead, which the user may have changed as well.
    pub(super) shown: String,
    /// The folder that it is a copy of.
    source: PathBuf,
    pub(super) originals: Originals,
}

impl Copy {
    pub(super) fn make(
        unit: &Unit,
        package: &Package,
        root: &Path,
        rewrite: &Rewrite,
    ) -> Result<Self> {
        let session = unit.session;
        // Cargo may have come to the workspace over a link that the current folder does not show.
        let above_root = |folder: &Path| match root.starts_with(folder) {
            true => Some(folder.to_owned()),
            false => folder
                .canonicalize()
                .ok()
                .filter(|real| root.starts_with(real)),
        };
        let is_member = session.members.contains(&package.folder);
        let workspace = is_member.then(|| above_root(&session.workspace)).flatten();
        let home = workspace
            .or_else(|| above_root(&package.folder))
            .unwrap_or_else(|| root.parent().unwrap_or(root).to_owned());
        let shadow = Shadow {
            home,
            folder: session
                .directory
                .join("shadow")
                .join(unit.invocation.unit()),
        };
        let given = unit.invocation.root.as_deref().unwrap_or_default();
        let inside = root
            .strip_prefix(&shadow.home)
            .unwrap_or(root)
            .display()
            .to_string();
        let prefix = given
            .strip_suffix(&inside)
            .context("the crate root is at an odd place")?
            .to_owned();
        let shown = unit.invocation.remapped(&prefix);
        let mut originals = Originals::default();
        let mut texts = BTreeMap::new();
        for (path, (text, edits)) in &rewrite.files {
            // What lies outside the tree that is mirrored stays as it is.
            if let Ok(inside) = path.strip_prefix(&shadow.home) {
                originals.add(format!("{shown}{}", inside.display()), text, edits);
                texts.insert(path.clone(), edits.apply(text));
            }
        }
        shadow.sync(&texts)?;
        Ok(Self {
            root: shadow.path(root).display().to_string(),
            folder: format!("{}/", shadow.folder.display()),
            home: prefix,
            shown,
            source: shadow.home,
            originals,
        })
    }

    /// Places in files that messages name, as places in originals.
    pub(super) fn paths_of(&self, places: Vec<(String, usize)>) -> BTreeSet<(PathBuf, usize)> {
        let path = |(name, at): (String, usize)| {
            let inside = name.strip_prefix(&self.shown)?;
            Some((self.source.join(inside), at))
        };
        places.into_iter().filter_map(path).collect()
    }
}
