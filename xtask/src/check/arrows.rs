//! Arrows between crates point one way; `cargo tree` knows where they point.

use anyhow::{Result, bail};
use xtask::step::note;
use xtask::workspace::{cargo, output_of};

/// What one crate of ours may reach, directly or through others.
struct Rule {
    package: &'static str,
    /// Other crates of ours.
    ours: &'static [&'static str],
    /// Crates of others.
    foreign: Foreign,
}

enum Foreign {
    Any,
    Only(&'static [&'static str]),
}

/// Crates that are not here (tests, examples, xtask) may reach everything.
const RULES: &[Rule] = &[
    Rule {
        package: "spanloom-wire",
        ours: &[],
        foreign: Foreign::Only(&[]),
    },
    Rule {
        package: "spanloom-filter",
        ours: &["spanloom-wire"],
        // Each of them is compiled in every proxy of a mesh: reading the configuration is worth it.
        foreign: Foreign::Only(&[
            "itoa",
            "memchr",
            "serde",
            "serde_core",
            "serde_json",
            "zmij",
        ]),
    },
    Rule {
        package: "spanloom",
        ours: &["spanloom-wire"],
        foreign: Foreign::Any,
    },
    Rule {
        package: "cargo-spanloom",
        ours: &[],
        foreign: Foreign::Any,
    },
    Rule {
        package: "spanloom-hook",
        ours: &[],
        // It is compiled into other people's programs.
        foreign: Foreign::Only(&[]),
    },
    Rule {
        package: "spanloom-storage",
        ours: &["spanloom-wire"],
        foreign: Foreign::Any,
    },
    Rule {
        package: "spanloom-query",
        ours: &["spanloom-wire", "spanloom-storage"],
        foreign: Foreign::Any,
    },
    Rule {
        package: "spanloom-collector",
        ours: &["spanloom-wire", "spanloom-storage", "spanloom-query"],
        foreign: Foreign::Any,
    },
];

const EVERYBODY_ELSE: &[&str] = &["delivery", "shop", "spanloom-tests", "xtask"];

pub(super) fn check() -> Result<()> {
    let mut forbidden = Vec::new();
    for rule in RULES {
        for reached in reaches(rule.package)? {
            if !rule.allows(&reached) {
                forbidden.push(format!("{} -> {reached}", rule.package));
            }
        }
    }
    if !forbidden.is_empty() {
        bail!(
            "forbidden arrows: {} (ARCHITECTURE.md says why)",
            forbidden.join(", ")
        );
    }
    note(&format!("{} crates point where they may", RULES.len()));
    Ok(())
}

impl Rule {
    fn allows(&self, reached: &str) -> bool {
        let is_ours =
            RULES.iter().any(|rule| rule.package == reached) || EVERYBODY_ELSE.contains(&reached);
        match &self.foreign {
            _ if reached == self.package => true,
            _ if is_ours => self.ours.contains(&reached),
            Foreign::Any => true,
            Foreign::Only(names) => names.contains(&reached),
        }
    }
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
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect();
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::RULES;

    fn allows(package: &str, reached: &str) -> bool {
        let rule = RULES.iter().find(|rule| rule.package == package);
        rule.expect("a rule").allows(reached)
    }

    #[test]
    fn arrows_point_one_way() {
        assert!(allows("spanloom-query", "spanloom-storage"));
        assert!(!allows("spanloom-storage", "spanloom-query"));
        assert!(!allows("spanloom-query", "spanloom-collector"));
        assert!(!allows("spanloom", "xtask"));
    }

    #[test]
    fn what_every_proxy_carries_is_listed() {
        assert!(allows("spanloom-filter", "serde_json"));
        assert!(!allows("spanloom-filter", "regex"));
        assert!(!allows("spanloom-wire", "memchr"));
        assert!(allows("spanloom-collector", "tokio"));
    }
}
