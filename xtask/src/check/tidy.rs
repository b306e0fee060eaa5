//! What no compiler minds and every reader does.

use std::fs;

use anyhow::{Context, Result, bail};
use xtask::step::note;
use xtask::workspace::{output_of, root};

pub(super) fn check() -> Result<()> {
    let mut git = std::process::Command::new("git");
    git.current_dir(root());
    let files = output_of(git.args(["ls-files", "--cached", "--others", "--exclude-standard"]))?;
    let mut faults = Vec::new();
    let mut n_files = 0;
    for name in files.lines() {
        let bytes = match fs::read(root().join(name)) {
            Ok(bytes) => bytes,
            // Deleted, not committed yet.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error).with_context(|| format!("cannot read {name}")),
        };
        // Snapshots hold what a program printed, blanks included.
        if name.ends_with(".snap") {
            continue;
        }
        // Images, recorded bytes.
        let Ok(text) = String::from_utf8(bytes) else {
            continue;
        };
        n_files += 1;
        faults.extend(faults_of(name, &text));
        if name.ends_with(".md") {
            faults.extend(dead_links(name, &text));
        }
    }
    if !faults.is_empty() {
        bail!("untidy:\n{}", faults.join("\n"));
    }
    note(&format!("{n_files} files"));
    Ok(())
}

/// Links of a page to files of the repository that are not there.
fn dead_links(name: &str, text: &str) -> Vec<String> {
    let folder = root().join(name);
    let folder = folder.parent().unwrap_or(root());
    let mut faults = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for target in links(line) {
            if !folder.join(target).exists() {
                faults.push(format!("{name}:{}: no such file: {target}", index + 1));
            }
        }
    }
    faults
}

/// The files that the links of a line lead to, without what leads elsewhere or within the page.
fn links(line: &str) -> impl Iterator<Item = &str> {
    line.split("](")
        .skip(1)
        .filter_map(|rest| rest.split([')', '#']).next())
        .filter(|target| !target.is_empty() && !target.contains("://"))
}

/// One line for each fault, with its place.
fn faults_of(name: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let mut fault = |what: &str| faults.push(format!("{name}:{}: {what}", index + 1));
        if line.ends_with([' ', '\t']) {
            fault("a blank at the end of the line");
        }
        if name.ends_with(".rs") && line.trim_start().starts_with("#[ignore") {
            fault("a test that does not run proves nothing");
        }
    }
    if !text.is_empty() && !text.ends_with('\n') {
        faults.push(format!("{name}: no line end at the end"));
    }
    if name.ends_with(".rs") && !name.starts_with("tests/fixtures/") && !text.starts_with("//!") {
        faults.push(format!(
            "{name}:1: a file begins with its module's documentation"
        ));
    }
    if name.ends_with("/mod.rs") {
        faults.push(format!("{name}: modules are foo.rs beside foo/"));
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::{faults_of, links};

    #[test]
    fn links_to_files_are_told_from_others() {
        let line = "[a](b/c.md#d), [e](https://example.com/f), [g](#h), `i[j](k.rs)`";
        assert_eq!(links(line).collect::<Vec<_>>(), ["b/c.md", "k.rs"]);
    }

    #[test]
    fn a_fault_is_named_with_its_place() {
        assert_eq!(
            faults_of("a.md", "one \ntwo\n"),
            ["a.md:1: a blank at the end of the line"]
        );
        assert_eq!(faults_of("a.md", "one"), ["a.md: no line end at the end"]);
        let ignored = format!("//! Docs.\n#[ig{}]\n", "nore");
        assert_eq!(
            faults_of("a.rs", &ignored),
            ["a.rs:2: a test that does not run proves nothing"]
        );
        let undocumented = faults_of("a.rs", "fn main() {}\n");
        assert_eq!(
            undocumented,
            ["a.rs:1: a file begins with its module's documentation"]
        );
        assert!(faults_of("a.rs", "//! Docs.\n").is_empty());
    }
}
