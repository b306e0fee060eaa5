//! Rules: which item of which crate in which versions gets what. They are data; `rules/*.toml` is
//! embedded and users add files of their own (the format is described in `rules/README.md`).

use std::path::Path;

use anyhow::{Context, Result, bail};
use semver::{Version, VersionReq};
use serde::{Deserialize, Serialize};

mod prepared;

pub(crate) use prepared::Prepared;

/// The rules that come with the tool.
const EMBEDDED: [(&str, &str); 15] = [
    ("async-nats.toml", include_str!("../rules/async-nats.toml")),
    ("axum.toml", include_str!("../rules/axum.toml")),
    (
        "futures-util.toml",
        include_str!("../rules/futures-util.toml"),
    ),
    ("hyper-0.14.toml", include_str!("../rules/hyper-0.14.toml")),
    ("hyper.toml", include_str!("../rules/hyper.toml")),
    ("hyper-util.toml", include_str!("../rules/hyper-util.toml")),
    ("lapin.toml", include_str!("../rules/lapin.toml")),
    (
        "opentelemetry.toml",
        include_str!("../rules/opentelemetry.toml"),
    ),
    ("rdkafka.toml", include_str!("../rules/rdkafka.toml")),
    ("redis.toml", include_str!("../rules/redis.toml")),
    ("spanloom.toml", include_str!("../rules/spanloom.toml")),
    ("sqlx.toml", include_str!("../rules/sqlx.toml")),
    ("tokio.toml", include_str!("../rules/tokio.toml")),
    ("tonic.toml", include_str!("../rules/tonic.toml")),
    ("tower.toml", include_str!("../rules/tower.toml")),
];

/// A file of rules.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleFile {
    #[serde(rename = "rule", default)]
    rules: Vec<Rule>,
}

/// One rule: steps that hold together. When one of them finds no place, none is applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Unique; shown in warnings and in `matched.json`.
    pub name: String,
    /// What the rule gives, for `cargo spanloom list`.
    pub about: String,
    /// The package whose sources it changes.
    #[serde(rename = "crate")]
    pub package: String,
    /// The versions of that package that it was written for.
    pub versions: VersionReq,
    /// The changes.
    #[serde(rename = "do")]
    pub steps: Vec<Step>,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Path of the item from the crate root: modules, then a type, a function, or `Type::method`.
    #[serde(rename = "in")]
    pub item: String,
    /// The trait that a method implements, when the type has methods of the same name.
    #[serde(rename = "trait", skip_serializing_if = "Option::is_none")]
    pub of_trait: Option<String>,
    /// Parameters that the inserted code names: without them the item is another than was meant.
    #[serde(default)]
    pub params: Vec<String>,
    /// Where in the item, and what is inserted there.
    #[serde(flatten)]
    pub edit: StepEdit,
}

/// Where a step inserts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "at", rename_all = "kebab-case", deny_unknown_fields)]
pub enum StepEdit {
    /// First in the body of a function.
    Enter {
        /// Statements.
        insert: String,
    },
    /// Around the body of a function.
    Wrap {
        /// Before the body; inside the function's braces.
        open: String,
        /// After the body.
        close: String,
    },
    /// Around calls inside a function.
    Call {
        /// The call without its arguments and without spaces: `self.service.call`, `Vec::new`,
        /// `ready!`.
        of: String,
        /// Wrap this argument (from 0) instead of the call.
        #[serde(skip_serializing_if = "Option::is_none")]
        argument: Option<usize>,
        /// Before it.
        open: String,
        /// After it.
        close: String,
    },
    /// First inside the braces of a struct, an enum's variant, a trait, or (with `trait`) an
    /// implementation.
    Inside {
        /// Fields with a trailing comma, or whole items.
        insert: String,
    },
    /// First among the fields of struct literals inside a function.
    Literal {
        /// The path of the literal.
        of: String,
        /// Fields with a trailing comma.
        insert: String,
    },
    /// First among the fields of struct patterns inside a function.
    Pattern {
        /// The path of the pattern.
        of: String,
        /// Bindings with a trailing comma.
        insert: String,
    },
    /// At the end of a module's file; `in` is the module, empty for the crate root.
    Module {
        /// Items.
        insert: String,
    },
}

impl StepEdit {
    /// What a step looks for, for messages.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Enter { .. } | Self::Wrap { .. } => "a function".to_owned(),
            Self::Call { of, .. } => format!("a call of `{of}`"),
            Self::Inside { .. } => {
                "a struct with named fields, a trait or an implementation".to_owned()
            }
            Self::Literal { of, .. } => format!("a literal of `{of}`"),
            Self::Pattern { of, .. } => format!("a pattern of `{of}`"),
            Self::Module { .. } => "a module".to_owned(),
        }
    }

    /// Every text that the step inserts.
    fn texts(&self) -> Vec<&str> {
        match self {
            Self::Enter { insert }
            | Self::Inside { insert }
            | Self::Literal { insert, .. }
            | Self::Pattern { insert, .. }
            | Self::Module { insert } => vec![insert],
            Self::Wrap { open, close } | Self::Call { open, close, .. } => vec![open, close],
        }
    }
}

impl Rule {
    /// Whether the rule is meant for a package in a version.
    #[must_use]
    pub fn applies_to(&self, package: &str, version: &Version) -> bool {
        self.package == package && self.versions.matches(version)
    }
}

/// The embedded rules followed by those of the given files; a later rule replaces an earlier one
/// of the same name.
///
/// # Errors
///
/// When a file cannot be read or a rule is malformed, naming both.
pub fn load(files: &[impl AsRef<Path>]) -> Result<Vec<Rule>> {
    let mut rules: Vec<Rule> = Vec::new();
    let mut add = |name: &str, text: &str| -> Result<()> {
        for rule in parse(text).with_context(|| format!("cannot use the rules in {name}"))? {
            rules.retain(|earlier| earlier.name != rule.name);
            rules.push(rule);
        }
        Ok(())
    };
    for (name, text) in EMBEDDED {
        add(name, text)?;
    }
    for file in files {
        let name = file.as_ref().display().to_string();
        let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {name}"))?;
        add(&name, &text)?;
    }
    Ok(rules)
}

/// Reads and checks one file of rules.
///
/// # Errors
///
/// When the text is not TOML, a key is unknown, or a rule could not work: see `check`.
pub fn parse(text: &str) -> Result<Vec<Rule>> {
    let file: RuleFile = toml::from_str(text)?;
    for rule in &file.rules {
        check(rule).with_context(|| format!("rule `{}`", rule.name))?;
    }
    Ok(file.rules)
}

/// What can be known of a rule without the sources that it is for.
fn check(rule: &Rule) -> Result<()> {
    if rule.steps.is_empty() {
        bail!("has no `[[rule.do]]`");
    }
    for step in &rule.steps {
        for text in step.edit.texts() {
            if text.lines().any(|line| line.trim_start().starts_with("//"))
                && !matches!(step.edit, StepEdit::Module { .. })
            {
                bail!(
                    "in `{}`: a line comment would swallow what follows it",
                    step.item
                );
            }
        }
        check_syntax(step).with_context(|| format!("in `{}`", step.item))?;
    }
    Ok(())
}

/// Parses what would stand there, with a stand-in for the original code.
fn check_syntax(step: &Step) -> Result<()> {
    match &step.edit {
        StepEdit::Enter { insert } => drop(syn::parse_str::<syn::Block>(&format!("{{{insert}}}"))?),
        StepEdit::Wrap { open, close } => {
            drop(syn::parse_str::<syn::Block>(&format!(
                "{{{open} original() {close}}}"
            ))?);
        }
        StepEdit::Call { open, close, .. } => {
            drop(syn::parse_str::<syn::Expr>(&format!(
                "{open} original() {close}"
            ))?);
        }
        StepEdit::Inside { insert } => {
            let as_fields = syn::parse_str::<syn::ItemStruct>(&format!("struct S {{{insert}}}"));
            if as_fields.is_err() {
                drop(syn::parse_str::<syn::ItemTrait>(&format!(
                    "trait T {{{insert}}}"
                ))?);
            }
        }
        StepEdit::Literal { insert, .. } => {
            drop(syn::parse_str::<syn::Expr>(&format!("S {{{insert}}}"))?);
        }
        StepEdit::Pattern { insert, .. } => {
            drop(syn::parse_str::<syn::Expr>(&format!(
                "match x {{ S {{{insert}}} => {{}} }}"
            ))?);
        }
        StepEdit::Module { insert } => drop(syn::parse_str::<syn::File>(insert)?),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        format!("{:#}", parse(text).expect_err("must be refused"))
    }

    const HEAD: &str = "[[rule]]\nname='r'\nabout='a'\ncrate='c'\nversions='1'\n";

    #[test]
    fn the_embedded_rules_are_well_formed() {
        let rules = load(&[] as &[&Path]).expect("they are part of the tool");
        assert!(!rules.is_empty());
    }

    #[test]
    fn a_rule_for_other_versions_does_not_apply() {
        let rules = parse(&format!(
            "{HEAD}[[rule.do]]\nin='f'\nat='enter'\ninsert='x();'\n"
        ));
        let rule = &rules.expect("well formed")[0];
        assert!(rule.applies_to("c", &Version::new(1, 9, 0)));
        assert!(!rule.applies_to("c", &Version::new(2, 0, 0)));
        assert!(!rule.applies_to("d", &Version::new(1, 9, 0)));
    }

    #[test]
    fn mistakes_are_named() {
        assert!(error(HEAD).contains("missing field `do`"));
        let typo = format!("{HEAD}[[rule.do]]\nin='f'\nat='entre'\ninsert='x'\n");
        assert!(
            error(&typo).contains("unknown variant `entre`"),
            "{}",
            error(&typo)
        );
        let syntax = format!("{HEAD}[[rule.do]]\nin='f'\nat='wrap'\nopen='{{'\nclose=''\n");
        assert!(
            error(&syntax).starts_with("rule `r`: in `f`"),
            "{}",
            error(&syntax)
        );
        let key = format!("{HEAD}[[rule.do]]\nin='f'\nat='enter'\ninsert='x();'\nopne='x'\n");
        assert!(error(&key).contains("opne"), "{}", error(&key));
        let comment = format!("{HEAD}[[rule.do]]\nin='f'\nat='enter'\ninsert='// x'\n");
        assert!(error(&comment).contains("line comment"));
    }
}
