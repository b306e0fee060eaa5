//! The build: what it leaves alone, what it rebuilds, what it says.

use crate::app::{exclusively, folder, restore, sources, spanloom, succeed};

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
