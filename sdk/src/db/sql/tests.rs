//! The table of what is said of which text.

use proptest::prelude::*;

use super::*;

fn of(sql: &str) -> String {
    summary(sql, Dialect::PostgreSql).text
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
fn operation_and_table_are_told_apart_only_when_there_is_one_of_each() {
    let told = |sql| {
        let summary = summary(sql, Dialect::Sqlite);
        (summary.operation, summary.table)
    };
    let words = |operation: &str, table: &str| (Some(operation.to_owned()), Some(table.to_owned()));
    assert_eq!(
        told("SELECT * FROM [my table]"),
        words("SELECT", "my table")
    );
    assert_eq!(
        told("SELECT * FROM a, b"),
        (Some("SELECT".to_owned()), None)
    );
    assert_eq!(told("INSERT INTO a SELECT * FROM b"), (None, None));
    assert_eq!(told("DROP INDEX i"), (Some("DROP INDEX".to_owned()), None));
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
fn values_do_not_leave_in_a_sanitized_text() {
    use Dialect::{MySql, Other, PostgreSql, Sqlite};
    for (dialect, sql, expected) in [
        (
            Other,
            "a = 'it''s' AND b=12.5 OR c1 = $1",
            "a = ? AND b=? OR c1 = $1",
        ),
        (Other, "x = 'open", "x = ?"),
        (Other, "LIMIT 0x1F, t2.c, -1.5e-3", "LIMIT ?, t2.c, -?"),
        (
            Other,
            "a=:name AND b=@x AND c=?2",
            "a=:name AND b=@x AND c=?2",
        ),
        (Other, "a /* secret */ b -- 'x'", "a   b  "),
        (PostgreSql, r"a = E'it\'s' AND b = 'c:\'", "a = ? AND b = ?"),
        (
            PostgreSql,
            "$$a'b$$ $t$ c $$ $t$ \"n\" a::int[1]",
            "? ? \"n\" a::int[?]",
        ),
        (PostgreSql, "/* a /* b */ c */d", " d"),
        (MySql, r#"a = "x\"y" # c"#, "a = ?  "),
        (MySql, "`t` = _utf8mb4'a' + X'00'", "`t` = ? + ?"),
        (Sqlite, "[a'b] = x'00'", "[a'b] = ?"),
        (Sqlite, r#"a = "secret" AND b"#, "a = ? AND b"),
        (Other, r#"a = "secret" AND b"#, "a = ? AND b"),
    ] {
        assert_eq!(sanitized(sql, dialect), expected, "{sql}");
    }
}

#[test]
fn of_a_huge_text_only_the_beginning_is_told() {
    let sql = format!("SELECT '{}'", "\u{e4}".repeat(TEXT_BYTES_MAX));
    assert_eq!(sanitized(&sql, Dialect::Other), "SELECT ?");
    assert!(shortened(&sql).len() <= TEXT_BYTES_MAX);
}

proptest! {
    #[test]
    fn no_text_is_too_strange(sql in "([a-z ]|[-'\"`$/*#\\[\\](),;.:0-9\\\\]|FROM |SELECT |AS |\\PC){0,60}") {
        for dialect in [Dialect::MySql, Dialect::PostgreSql, Dialect::Sqlite, Dialect::Other] {
            let pieces: String = Tokens::new(&sql, dialect).map(|(_, text)| text).collect();
            prop_assert_eq!(&pieces, &sql);
            let _ = (sanitized(&sql, dialect), summary(&sql, dialect));
        }
    }

    #[test]
    fn a_literal_is_hidden_wherever_it_stands(before in "[a-z =,(]{0,9}", secret in "[A-Z'; ]{0,9}", after in "[a-z ),]{0,9}") {
        let literal = secret.replace('\'', "''");
        // A word right before the quote could be a prefix of it, which is hidden, too.
        let sql = format!("{before} '{literal}' {after}");
        for dialect in [Dialect::MySql, Dialect::PostgreSql, Dialect::Sqlite, Dialect::Other] {
            prop_assert_eq!(sanitized(&sql, dialect), format!("{} ? {}", before, after));
        }
    }
}
