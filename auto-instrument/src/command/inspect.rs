//! `list`, `lint` and `diff`: what would be done, without building.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};

use super::{Metadata, Package, Target, print};
use crate::functions::Selection;
use crate::rewrite;
use crate::rules::{self, Rule};

impl Package {
    fn library(&self) -> Option<&Target> {
        let is_library = |kind: &String| {
            matches!(
                kind.as_str(),
                "lib" | "rlib" | "cdylib" | "staticlib" | "dylib"
            )
        };
        self.targets
            .iter()
            .find(|target| target.kind.iter().any(is_library))
    }
}

/// What became of one rule in one package of the graph.
struct Match<'a> {
    rule: &'a Rule,
    package: &'a Package,
    missed: Option<String>,
}

fn matches<'a>(rules: &'a [Rule], graph: &'a Metadata) -> Vec<Match<'a>> {
    let mut found = Vec::new();
    for rule in rules {
        for package in graph
            .packages
            .iter()
            .filter(|package| rule.applies_to(&package.name, &package.version))
        {
            let missed = match package.library() {
                Some(library) => rewrite::apply(&library.src_path, rule).err(),
                None => Some("the package has no library".to_owned()),
            };
            found.push(Match {
                rule,
                package,
                missed,
            });
        }
    }
    found
}

/// Every rule, and what it finds in this workspace's dependencies.
pub(super) fn list(rules: &[Rule]) -> Result<ExitCode> {
    let graph = Metadata::of_graph()?;
    let found = matches(rules, &graph);
    let mut out = String::new();
    for rule in rules {
        writeln!(
            out,
            "{} ({} {})\n    {}",
            rule.name, rule.package, rule.versions, rule.about
        )?;
        for one in found.iter().filter(|one| one.rule.name == rule.name) {
            match &one.missed {
                None => writeln!(
                    out,
                    "    matches {} {}",
                    one.package.name, one.package.version
                )?,
                Some(why) => writeln!(
                    out,
                    "    does not match {} {}: {why}",
                    one.package.name, one.package.version
                )?,
            }
        }
    }
    print(&out)
}

/// Checks rule files, and all rules against the sources in this workspace's graph.
pub(super) fn lint(files: &[PathBuf], more: &[String]) -> Result<ExitCode> {
    let files: Vec<PathBuf> = files
        .iter()
        .cloned()
        .chain(more.iter().map(PathBuf::from))
        .collect();
    let rules = rules::load(&files)?;
    let graph = Metadata::of_graph()?;
    let found = matches(&rules, &graph);
    let mut out = String::new();
    let mut n_missed = 0;
    for one in &found {
        if let Some(why) = &one.missed {
            n_missed += 1;
            writeln!(
                out,
                "`{}` does not match {} {}: {why}",
                one.rule.name, one.package.name, one.package.version
            )?;
        }
    }
    writeln!(
        out,
        "{} rules; {} places in this graph, {n_missed} without a match",
        rules.len(),
        found.len()
    )?;
    print(&out)?;
    Ok(if n_missed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The lines that change, in the given packages or in all that change.
pub(super) fn diff(
    rules: &[Rule],
    selection: Selection,
    everywhere: bool,
    packages: &[String],
) -> Result<ExitCode> {
    let members: BTreeSet<PathBuf> = Metadata::of_members(None, &[])?
        .packages
        .iter()
        .map(Package::folder)
        .collect();
    let graph = Metadata::of_graph()?;
    let mut out = String::new();
    for package in &graph.packages {
        if !packages.is_empty() && !packages.contains(&package.name) {
            continue;
        }
        let selection = match everywhere || members.contains(&package.folder()) {
            true => selection,
            false => Selection::None,
        };
        for target in package.targets.iter().filter(|target| is_rewritten(target)) {
            let is_library = package
                .library()
                .is_some_and(|library| library.name == target.name);
            let rules: Vec<&Rule> = rules
                .iter()
                .filter(|rule| is_library && rule.applies_to(&package.name, &package.version))
                .collect();
            let plan = rewrite::plan(
                &target.src_path,
                Some(&target.edition),
                // Which features a build will ask for is not known here; most have this one.
                || vec!["feature=\"std\"".to_owned()],
                &rules,
                selection,
                !is_library,
            );
            for (path, (text, edits)) in &plan.files {
                write_diff(&mut out, path, text, &edits.apply(text))
                    .context("cannot write the difference")?;
            }
        }
    }
    print(&out)
}

fn is_rewritten(target: &Target) -> bool {
    !target
        .kind
        .iter()
        .any(|kind| kind == "custom-build" || kind == "proc-macro")
}

/// Lines keep their numbers, so the difference needs no search: each line is compared with itself.
fn write_diff(out: &mut String, path: &Path, before: &str, after: &str) -> std::fmt::Result {
    writeln!(out, "--- {0}\n+++ {0}", path.display())?;
    let mut old = before.lines();
    for (at, new) in after.lines().enumerate() {
        match old.next() {
            Some(old) if old == new => {}
            Some(old) => write!(out, "@@ line {} @@\n-{old}\n+{new}\n", at + 1)?,
            None => writeln!(out, "+{new}")?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_shows_changed_lines_with_their_numbers() {
        let mut out = String::new();
        write_diff(&mut out, Path::new("a.rs"), "a\nb\n", "a\nb c\nd\n")
            .expect("a string takes all");
        assert_eq!(out, "--- a.rs\n+++ a.rs\n@@ line 2 @@\n-b\n+b c\n+d\n");
    }
}
