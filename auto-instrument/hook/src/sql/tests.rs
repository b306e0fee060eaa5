//! What is hidden, by database; and that nothing of a literal is left, whatever is in it.

mod cases;
mod writers;

use proptest::prelude::*;

use super::*;
use crate::db::summary;
use cases::CASES;
use writers::{STRANGE, WRITERS, is_secret, pieces, text};

#[test]
fn literals_are_hidden_in_each_database_and_where_it_is_unknown() {
    for (system, sql, expected) in CASES {
        assert_eq!(sanitized(sql, system), *expected, "{system}: {sql}");
    }
}

#[test]
fn literals_are_hidden_in_databases_that_the_sdk_does_not_know() {
    for (system, sql, expected) in [
        (
            "microsoft.sql_server",
            "/* /* */ it's */ a = 'b'",
            "  a = ?",
        ),
        (
            "microsoft.sql_server",
            "[a]]'b] = \u{a3}12.50",
            "[a]]'b] = ?",
        ),
        ("microsoft.sql_server", "-- it's\r'a' + b\n+ 'c'", "?\n+ ?"),
        ("oracle.db", "o#q'[' || a || ']'", "o#q? || a || ?"),
        ("oracle.db", "1q'[it's]' || a", "?"),
        ("gcp.bigquery", r"`a\`'b` = 'c'", r"`a\`'b` = ?"),
        ("gcp.bigquery", "# it's\r'a' + b", " \r? + b"),
        ("gcp.bigquery", "'a''''b' + c''' + d", "? + d"),
    ] {
        assert_eq!(sanitized(sql, system), expected, "{system}: {sql}");
    }
}

#[test]
fn of_a_huge_text_only_the_beginning_is_read() {
    let sql = format!("SELECT '{}'", "\u{e4}".repeat(TEXT_BYTES_MAX));
    assert_eq!(sanitized(&sql, "other_sql"), "SELECT ?");
    let sql = "\u{4e2d}".repeat(TEXT_BYTES_MAX);
    assert_eq!(sanitized(&sql, "other_sql").len(), TEXT_BYTES_MAX / 3 * 3);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn nothing_of_a_literal_is_left(pieces in pieces()) {
        for writer in &WRITERS {
            let sql = text(writer, &pieces);
            for system in [writer.system, "other_sql"] {
                let shown = sanitized(&sql, system);
                prop_assert!(!shown.contains(is_secret), "{system}: {sql} => {shown}");
                let summary = summary(&shown);
                // Its capitals are those of the operation.
                prop_assert!(!summary.contains(|c: char| c.is_ascii_digit()));
                let shown = shown.to_uppercase().replace(['"', '`'], "");
                let mut words = summary.split(' ').map(str::to_uppercase);
                prop_assert!(words.all(|word| shown.contains(&word)));
            }
        }
    }

    #[test]
    fn no_text_is_too_strange(sql in STRANGE) {
        for (system, flags) in READINGS {
            let _ = sanitized(&sql, system);
            let mut at = 0;
            while at < sql.len() {
                let n = Reading { sql: &sql, flags }.token(at).1;
                prop_assert!(n > 0, "{flags:b} stands at {at}: {sql}");
                at += n;
            }
        }
    }
}
