//! The table of what is said of which text; and that nothing of a literal is, whatever is in it.

// Of the hook's reader, which hides in the same way.
#[path = "../../../../auto-instrument/hook/src/sql/tests/cases.rs"]
mod cases;
#[path = "../../../../auto-instrument/hook/src/sql/tests/writers.rs"]
mod writers;

use proptest::prelude::*;

use super::*;
use cases::CASES;
use writers::{STRANGE, WRITERS, is_secret, pieces, text};

fn read(sql: &str, dialect: Dialect) -> String {
    summary(&sanitized(sql, dialect), dialect)
}

fn of(sql: &str) -> String {
    read(sql, Dialect::PostgreSql)
}

fn dialect(system: &str) -> Dialect {
    match system {
        "postgresql" => Dialect::PostgreSql,
        "mysql" => Dialect::MySql,
        "sqlite" => Dialect::Sqlite,
        _ => Dialect::Other,
    }
}

#[test]
fn a_summary_has_the_operations_and_their_tables_in_order() {
    for (sql, expected) in [
        ("select a, b from \"users\" where id = $1", "SELECT users"),
        ("INSERT INTO shop.items(a) VALUES ($1)", "INSERT shop.items"),
        ("insert into a (x) select y from b", "INSERT a SELECT b"),
        (
            "update only stock set n = n - 1 where id in (select id from gone)",
            "UPDATE stock SELECT gone",
        ),
        ("DELETE FROM \"a b\".\"c\"", "DELETE a b.c"),
        (
            "SELECT * FROM a, b x JOIN c ON c.i = a.i, d WHERE e IN (f, g)",
            "SELECT a b c d",
        ),
        (
            "SELECT d FROM (SELECT * FROM orders o JOIN customers c ON o.c = c.i)",
            "SELECT SELECT orders customers",
        ),
        (
            "SELECT extract(year FROM day), trim(both 'x' from y) FROM t",
            "SELECT t",
        ),
        ("SELECT a IS DISTINCT FROM b FROM t", "SELECT t"),
        ("SELECT * FROM t FOR UPDATE", "SELECT t"),
        (
            "INSERT INTO t VALUES (1) ON CONFLICT (id) DO UPDATE SET a = 2",
            "INSERT t",
        ),
        (
            "WITH x AS (SELECT 1 FROM a) SELECT * FROM x, b",
            "SELECT a SELECT b",
        ),
        (
            "WITH x AS (DELETE FROM a RETURNING *) INSERT INTO b SELECT * FROM x",
            "DELETE a INSERT b SELECT",
        ),
        ("UPDATE OR IGNORE t SET a = 1", "UPDATE t"),
        ("SELECT 1; DELETE FROM t;", "SELECT DELETE t"),
        (
            "(SELECT a FROM b) UNION SELECT c FROM d",
            "SELECT b SELECT d",
        ),
        (
            "CREATE TEMPORARY TABLE IF NOT EXISTS t (a int REFERENCES b ON DELETE CASCADE)",
            "CREATE TABLE t",
        ),
        (
            "create unique index concurrently i on t (a)",
            "CREATE INDEX i",
        ),
        ("DROP TABLE t", "DROP TABLE t"),
        ("TRUNCATE TABLE t", "TRUNCATE t"),
        ("CALL restock($1)", "CALL restock"),
        ("EXPLAIN SELECT * FROM t", "EXPLAIN SELECT t"),
        ("EXPLAIN ANALYZE DELETE FROM t", "EXPLAIN ANALYZE DELETE t"),
        ("REPLACE INTO t SET a = 1", "REPLACE t"),
        ("SET application_name = 'x'", "SET"),
        ("/* SELECT */ -- from\n BEGIN", "BEGIN"),
        ("PRAGMA foreign_keys = ON", "PRAGMA"),
        ("", ""),
        ("')", ""),
        (")))", ""),
    ] {
        assert_eq!(of(sql), expected, "{sql}");
    }
}

#[test]
fn a_long_summary_is_cut_between_words() {
    let tables: Vec<_> = (0..99).map(|n| format!("table_{n}")).collect();
    let text = of(&format!("SELECT * FROM {}", tables.join(", ")));
    assert!(text.len() <= SUMMARY_BYTES_MAX && text.len() > SUMMARY_BYTES_MAX - 10);
    assert!(
        text.split(' ')
            .skip(1)
            .eq(&tables[..text.split(' ').count() - 1])
    );
}

#[test]
fn literals_are_hidden_in_each_database_and_where_it_is_unknown() {
    for (system, sql, expected) in CASES {
        assert_eq!(
            sanitized(sql, dialect(system)),
            *expected,
            "{system}: {sql}"
        );
    }
}

#[test]
fn what_is_hidden_is_no_part_of_a_summary() {
    for (dialect, sql, expected) in [
        (
            Dialect::MySql,
            r"SELECT 'a\' FROM secret WHERE ' FROM t",
            "SELECT",
        ),
        (
            Dialect::MySql,
            "DELETE FROM t /*! WHERE a = 'b' */",
            "DELETE t",
        ),
        (
            Dialect::MySql,
            "SELECT /*+ x */ * FROM `t` # FROM u",
            "SELECT t",
        ),
        (Dialect::MySql, "SELECT 5--FROM\n FROM t", "SELECT t"),
        (Dialect::PostgreSql, "SELECT 1 -- x\r FROM t", "SELECT t"),
        (
            Dialect::PostgreSql,
            "SELECT ` 'FROM secret' ` FROM t",
            "SELECT t",
        ),
        (
            Dialect::Other,
            "SELECT \"a\" FROM \"secret\", t",
            "SELECT t",
        ),
        (
            Dialect::Sqlite,
            "SELECT * FROM [my table]",
            "SELECT my table",
        ),
    ] {
        assert_eq!(read(sql, dialect), expected, "{sql}");
    }
}

#[test]
fn of_a_huge_text_only_the_beginning_is_told() {
    let sql = format!("SELECT '{}'", "\u{e4}".repeat(TEXT_BYTES_MAX));
    assert_eq!(sanitized(&sql, Dialect::Other), "SELECT ?");
    assert!(shortened(&sql).len() <= TEXT_BYTES_MAX);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn nothing_of_a_literal_is_left(pieces in pieces()) {
        for writer in &WRITERS {
            let sql = text(writer, &pieces);
            for dialect in [dialect(writer.system), Dialect::Other] {
                let shown = sanitized(&sql, dialect);
                prop_assert!(!shown.contains(is_secret), "{dialect:?}: {sql} => {shown}");
                let told = read(&sql, dialect);
                for word in told.split(' ') {
                    prop_assert!(shown.to_uppercase().contains(&word.to_uppercase()), "{word}");
                }
                // Its capitals are those of operations.
                prop_assert!(!told.contains(|c: char| c.is_ascii_digit()));
            }
        }
    }

    #[test]
    fn no_text_is_too_strange(sql in STRANGE) {
        for dialect in [Dialect::MySql, Dialect::PostgreSql, Dialect::Sqlite, Dialect::Other] {
            let pieces: String = Tokens::new(&sql, dialect).map(|(_, text)| text).collect();
            prop_assert_eq!(&pieces, &sql);
            let _ = read(&sql, dialect);
        }
    }
}
