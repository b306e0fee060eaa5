//! The compiler's list of files that it read, turned from the copies back to the originals, so
//! that Cargo rebuilds when an original changes; and the stamps that make it rebuild when the
//! rules change.

use std::path::Path;

use anyhow::{Context, Result};

/// Rewrites a dependency file in place. `renames` turns prefixes of copies into originals'.
pub(crate) fn rewrite(
    path: &Path,
    rename: Option<(&str, &str)>,
    stamps: &[(String, Option<String>)],
) -> Result<()> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    std::fs::write(path, rewritten(&text, rename, stamps))
        .with_context(|| format!("cannot write {}", path.display()))
}

fn rewritten(
    text: &str,
    rename: Option<(&str, &str)>,
    stamps: &[(String, Option<String>)],
) -> String {
    // The format is make's: a space in a path is escaped.
    let escape = |path: &str| path.replace(' ', "\\ ");
    let mut out = match rename {
        Some((from, to)) => text.replace(&escape(from), &escape(to)),
        None => text.to_owned(),
    };
    if !out.ends_with('\n') {
        out.push('\n');
    }
    for (name, value) in stamps {
        let value = value
            .as_ref()
            .map(|value| format!("={value}"))
            .unwrap_or_default();
        out.push_str(&format!("# env-dep:{name}{value}\n"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_become_originals_and_stamps_are_added() {
        let text = "t/a.d: /sh\\ adow/src/main.rs /sh\\ adow/data.txt\n\n/sh\\ adow/src/main.rs:\n";
        let stamps = [
            ("S_A".to_owned(), Some("1".to_owned())),
            ("S_B".to_owned(), None),
        ];
        let expected =
            "t/a.d: src/main.rs data.txt\n\nsrc/main.rs:\n# env-dep:S_A=1\n# env-dep:S_B\n";
        assert_eq!(rewritten(text, Some(("/sh adow/", "")), &stamps), expected);
    }
}
