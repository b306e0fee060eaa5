//! From a crate's sources and its rules to what is inserted where.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::edit::Edits;
use crate::functions::{self, Selection};
use crate::modules::{self, Source};
use crate::places;
use crate::rules::Rule;

/// The crate's own name for the hook's crate.
pub(crate) const HOOK: &str = "spanloom_hook";

/// What a crate becomes.
#[derive(Debug, Default)]
pub(crate) struct Rewrite {
    /// Edits and original text of each file that changes.
    pub(crate) files: BTreeMap<PathBuf, (String, Edits)>,
    pub(crate) functions: Vec<String>,
    pub(crate) matched: Vec<String>,
    /// Rules that were meant for this crate but found no place, with the reason.
    pub(crate) missed: Vec<(String, String)>,
}

/// Plans the rewriting of the crate with this root.
pub(crate) fn plan(
    root: &Path,
    edition: Option<&str>,
    rules: &[&Rule],
    selection: Selection,
) -> Rewrite {
    let mut rewrite = Rewrite::default();
    if selection != Selection::None {
        // In edition 2015 a leading `::` means the crate itself.
        let hook = match edition {
            None | Some("2015") => HOOK.to_owned(),
            _ => format!("::{HOOK}"),
        };
        let sources = modules::follow(root);
        if sources.first().is_none_or(|root| is_no_std(&root.ast)) {
            return rewrite;
        }
        for source in sources {
            let chosen = functions::choose(&source.ast, selection, &hook);
            rewrite.functions.extend(chosen.names);
            if !chosen.edits.is_empty() {
                rewrite
                    .files
                    .insert(source.path, (source.text, chosen.edits));
            }
        }
    }
    for rule in rules {
        match apply(root, rule) {
            Ok(files) => {
                rewrite.matched.push(rule.name.clone());
                for (path, (text, edits)) in files {
                    let entry = rewrite
                        .files
                        .entry(path)
                        .or_insert((text, Edits::default()));
                    entry.1.extend(edits);
                }
            }
            Err(reason) => rewrite.missed.push((rule.name.clone(), reason)),
        }
    }
    rewrite
}

type Files = BTreeMap<PathBuf, (String, Edits)>;

/// Applies a whole rule, or nothing and the reason.
pub(crate) fn apply(root: &Path, rule: &Rule) -> Result<Files, String> {
    let mut files = Files::new();
    let mut parsed: BTreeMap<PathBuf, Source> = BTreeMap::new();
    for step in &rule.steps {
        let path: Vec<&str> = step
            .item
            .split("::")
            .filter(|name| !name.is_empty())
            .collect();
        let (file, used) = places::module_file(root, &path);
        if !parsed.contains_key(&file) {
            let source =
                Source::read(&file).ok_or_else(|| format!("cannot parse {}", file.display()))?;
            parsed.insert(file.clone(), source);
        }
        let source = &parsed[&file];
        let entry = files
            .entry(file)
            .or_insert_with(|| (source.text.clone(), Edits::default()));
        let rest = path.get(used..).unwrap_or_default();
        if places::apply(step, rest, &source.text, &source.ast, &mut entry.1) == 0 {
            return Err(format!(
                "nothing matches `{}` ({})",
                step.item,
                step.edit.describe()
            ));
        }
    }
    Ok(files)
}

/// A crate without `std` cannot carry a hook that needs it. One that only sometimes goes without
/// is tried; the fallback catches the rest.
fn is_no_std(root: &syn::File) -> bool {
    root.attrs
        .iter()
        .any(|attribute| attribute.path().is_ident("no_std"))
}
