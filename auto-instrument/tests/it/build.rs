//! The build: what it leaves alone, what it rebuilds, what it says.

use std::path::PathBuf;

use crate::app::{exclusively, folder, restore, sources, spanloom, spanloom_with, succeed};

#[test]
fn no_byte_of_the_sources_changes() {
    let _one = exclusively();
    let before = sources(&folder());
    succeed(&["build"]);
    let after = sources(&folder());
    assert_eq!(
        before.keys().collect::<Vec<_>>(),
        after.keys().collect::<Vec<_>>()
    );
    assert!(before == after);
}

#[test]
fn tests_and_doctests_run() {
    let _one = exclusively();
    let output = spanloom(&["test", "-p", "stock"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(text.contains("the_table_is_generated ... ok"), "{text}");
    assert!(text.contains("documented (line "), "{text}");
}

#[test]
fn an_edit_of_an_original_rebuilds_what_depends_on_it_and_nothing_else() {
    let _one = exclusively();
    succeed(&["build"]);
    assert!(!succeed(&["build"]).contains("Compiling"));
    let path = folder().join("stock/data/items.txt");
    let before = std::fs::read(&path).unwrap();
    restore(&path, b"bolt 41\nnut 2\n");
    let text = succeed(&["build"]);
    restore(&path, &before);
    assert!(
        text.contains("Compiling stock") && text.contains("Compiling front"),
        "{text}"
    );
    assert!(
        !text.contains("Compiling old") && !text.contains("Compiling axum"),
        "{text}"
    );
}

#[test]
fn a_mistake_is_shown_in_the_original() {
    let _one = exclusively();
    let path = folder().join("old/src/parts.rs");
    let before = std::fs::read(&path).unwrap();
    restore(&path, b"pub fn part(word: &str) -> String {\n    word\n}\n");
    let output = spanloom(&["check", "-p", "old"]);
    restore(&path, &before);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(text.contains("--> old/src/parts.rs:2:5"), "{text}");
    assert!(
        text.contains("could not compile `old`") && !text.contains("spanloom"),
        "{text}"
    );
}

#[test]
fn a_warning_on_a_rewritten_line_quotes_the_original() {
    let _one = exclusively();
    let path = folder().join("old/src/parts.rs");
    let before = std::fs::read(&path).unwrap();
    let text = String::from_utf8_lossy(&before).replace(
        "pub fn part(word",
        "fn unused(word: &str) {\n    1;\n    2;\n    3;\n    4;\n}\n\npub fn part(word",
    );
    restore(&path, text.as_bytes());
    let quoted = succeed(&["--functions", "everything", "check", "-p", "old"]);
    restore(&path, &before);
    assert!(
        quoted.contains("3 | fn unused(word: &str) {\n  |    ^^^^^^"),
        "{quoted}"
    );
    assert!(!quoted.contains("spanloom"), "{quoted}");
}

/// A file of rules beside the copy.
fn rules(name: &str, text: &str) -> PathBuf {
    let path = folder().join("target").join(name);
    restore(&path, text.as_bytes());
    path
}

#[test]
fn a_rule_that_no_longer_matches_is_skipped_with_a_warning() {
    let _one = exclusively();
    let rules = rules(
        "gone.toml",
        "[[rule]]\nname = 'was-here'\nabout = 'x'\ncrate = 'old'\nversions = '*'\n\
         [[rule.do]]\nin = 'gone'\nat = 'enter'\ninsert = 'x();'\n",
    );
    let rules = rules.to_str().unwrap();
    let text = succeed(&["--rules", rules, "check", "-p", "old"]);
    assert!(
        text.contains(
            "the rule `was-here` does not match old 0.1.0 and is skipped: nothing matches `gone`"
        ),
        "{text}"
    );
    let linted = spanloom(&["lint", rules]);
    assert!(!linted.status.success());
    assert!(
        String::from_utf8_lossy(&linted.stdout).contains("`was-here` does not match old 0.1.0")
    );
}

#[test]
fn a_crate_that_does_not_compile_with_spans_is_compiled_without_them() {
    let _one = exclusively();
    let rules = rules(
        "broken.toml",
        "[[rule]]\nname = 'breaks'\nabout = 'x'\ncrate = 'old'\nversions = '*'\n\
         [[rule.do]]\nin = 'join'\nat = 'enter'\ninsert = 'no_such_function();'\n",
    );
    let text = succeed(&["--rules", rules.to_str().unwrap(), "check", "-p", "old"]);
    assert!(
        text.contains("old 0.1.0 gets no spans: it does not compile with them"),
        "{text}"
    );
    assert!(!text.contains("no_such_function"), "{text}");
    let matched = std::fs::read_to_string(folder().join("target/spanloom/matched.json")).unwrap();
    assert!(
        matched.contains("the copy with spans does not compile: old/src/lib.rs:")
            && matched.contains("cannot find function `no_such_function` in this scope"),
        "{matched}"
    );
}

#[test]
fn a_wrapper_that_was_there_before_is_still_called() {
    use std::os::unix::fs::PermissionsExt;

    let _one = exclusively();
    let (script, log) = (
        folder().join("target/wrapper.sh"),
        folder().join("target/wrapper.log"),
    );
    std::fs::remove_file(&log).ok();
    restore(
        &script,
        format!(
            "#!/bin/sh\necho \"$@\" >> '{}'\nexec \"$@\"\n",
            log.display()
        )
        .as_bytes(),
    );
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = folder().join("bare/src/lib.rs");
    let before = std::fs::read(&path).unwrap();
    restore(&path, &[&before[..], b"// edited\n"].concat());
    let output = spanloom_with(
        &["check", "-p", "bare"],
        &[("RUSTC_WRAPPER", script.to_str().unwrap())],
    );
    restore(&path, &before);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        std::fs::read_to_string(&log)
            .unwrap()
            .contains("--crate-name bare")
    );
}
