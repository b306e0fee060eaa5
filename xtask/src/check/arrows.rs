//! Arrows between crates point one way; `cargo tree` knows where they point.

use anyhow::{Result, bail};
use xtask::step::note;
use xtask::workspace::{cargo, output_of};

/// Each crate of ours with the crates of ours that it may reach, directly or through others.
/// Crates that are not here (tests, examples, xtask) may reach everything.
const MAY_REACH: &[(&str, &[&str])] = &[
    ("spanloom-wire", &[]),
    ("spanloom-filter", &["spanloom-wire"]),
    ("spanloom", &["spanloom-wire"]),
    ("spanloom-storage", &["spanloom-wire"]),
    ("spanloom-query", &["spanloom-wire", "spanloom-storage"]),
    (
        "spanloom-collector",
        &["spanloom-wire", "spanloom-storage", "spanloom-query"],
    ),
];

/// What the filter may bring into every proxy of a mesh, besides our own crates: nothing yet known
/// to be worth its bytes but these.
const FILTER_DEPENDENCIES: &[&str] = &[
    "serde_json",
    "serde",
    "serde_core",
    "itoa",
    "memchr",
    "zmij",
];

pub(super) fn check() -> Result<()> {
    let mut forbidden = Vec::new();
    for (package, allowed) in MAY_REACH {
        for reached in reaches(package)? {
            let is_ours = reached == "xtask" || reached.starts_with("spanloom");
            let may = allowed.contains(&reached.as_str()) || reached == *package;
            if is_ours && !may {
                forbidden.push(format!("{package} -> {reached}"));
            }
            if *package == "spanloom-filter"
                && !is_ours
                && !FILTER_DEPENDENCIES.contains(&reached.as_str())
            {
                forbidden.push(format!("{package} -> {reached}"));
            }
        }
    }
    if !forbidden.is_empty() {
        bail!(
            "forbidden arrows: {} (ARCHITECTURE.md says why)",
            forbidden.join(", ")
        );
    }
    note(&format!("{} crates point where they may", MAY_REACH.len()));
    Ok(())
}

/// The names of all packages below `package`, without what only its tests need.
fn reaches(package: &str) -> Result<Vec<String>> {
    let tree = output_of(&mut cargo(&[
        "tree",
        "--package",
        package,
        "--edges",
        "normal",
        "--prefix",
        "none",
        "--format",
        "{p}",
    ]))?;
    let mut names: Vec<String> = tree
        .lines()
        .filter_map(|line| line.split(' ').next())
        .map(str::to_owned)
        .collect();
    names.sort_unstable();
    names.dedup();
    Ok(names)
}
