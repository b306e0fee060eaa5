//! Database queries as spans, by OpenTelemetry's semantic conventions.

use std::cell::Cell;

use crate::span::{Kind, Span};
use crate::sql::sanitized;

/// The length that the conventions give a summary.
const SUMMARY_BYTES_MAX: usize = 255;

thread_local! {
    static SYSTEM: Cell<&'static str> = const { Cell::new("other_sql") };
}

/// Runs `call`, in which [`query`] knows which database is asked.
pub fn in_system<R>(system: &'static str, call: impl FnOnce() -> R) -> R {
    let before = SYSTEM.try_with(|slot| slot.replace(system));
    let result = call();
    if let Ok(before) = before {
        // The thread is alive, since it just was; if it is not, nobody reads the slot.
        let _ = SYSTEM.try_with(|slot| slot.set(before));
    }
    result
}

/// Begins the span of an SQL query.
pub fn query(scope: &'static str, sql: &str) -> Span {
    let mut span = Span::child(scope, Kind::Client, "query");
    if span.is_recording() {
        let system = SYSTEM.try_with(Cell::get).unwrap_or("other_sql");
        let text = sanitized(sql, system);
        let summary = summary(&text);
        span.set("db.system.name", system);
        span.set("db.query.text", text);
        if !summary.is_empty() {
            span.set("db.query.summary", summary.clone());
            span.rename(summary);
        }
    }
    span
}

/// Begins the span of a command that has a name, such as Redis's.
pub fn command(scope: &'static str, system: &'static str, name: String) -> Span {
    let mut span = Span::child(scope, Kind::Client, "command");
    if span.is_recording() {
        span.set("db.system.name", system);
        span.set("db.operation.name", name.clone());
        span.rename(name);
    }
    span
}

/// The operation, and the first table that it names, of a text in which literals are hidden:
/// `SELECT orders`. May be empty.
pub(crate) fn summary(sql: &str) -> String {
    let mut words = sql
        .split(|c: char| c.is_whitespace() || matches!(c, '(' | ')' | ',' | ';'))
        .filter(|word| !word.is_empty());
    let is_name = |word: &str| {
        word.chars()
            .all(|c| c.is_alphanumeric() || "_.\"`$".contains(c))
    };
    let mut summary = String::new();
    let mut say = |word: &str| {
        let word = word.replace(['"', '`'], "");
        if summary.len() + 1 + word.len() <= SUMMARY_BYTES_MAX {
            if !summary.is_empty() {
                summary.push(' ');
            }
            summary.push_str(&word);
        }
    };
    let mut previous = words.next().unwrap_or_default().to_uppercase();
    if is_name(&previous) {
        say(&previous);
    }
    // A table stands near the beginning; a long query is not read to its end.
    for word in words.take(200) {
        let introduces = matches!(
            previous.as_str(),
            "FROM" | "INTO" | "UPDATE" | "TABLE" | "JOIN"
        );
        let upper = word.to_uppercase();
        if introduces && word.contains('?') {
            break;
        }
        if introduces && is_name(word) && !matches!(upper.as_str(), "IF" | "SELECT" | "ONLY" | "OR")
        {
            say(word);
            break;
        }
        previous = upper;
    }
    summary
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_named_by_operation_and_table() {
        assert_eq!(
            summary("select a, b from \"users\" where id = $1"),
            "SELECT users"
        );
        assert_eq!(
            summary("INSERT INTO shop.items(a) VALUES (1)"),
            "INSERT shop.items"
        );
        assert_eq!(summary("update stock set n = 1"), "UPDATE stock");
        assert_eq!(summary("CREATE TABLE IF NOT EXISTS t (a)"), "CREATE");
        assert_eq!(summary("BEGIN"), "BEGIN");
        assert_eq!(summary("SELECT 1"), "SELECT");
        assert_eq!(summary("  "), "");
        assert_eq!(summary("? FROM t"), "t");
    }

    #[test]
    fn a_summary_has_few_bytes() {
        let long = "t".repeat(SUMMARY_BYTES_MAX);
        assert_eq!(summary(&format!("SELECT a FROM {long}")), "SELECT");
        assert_eq!(summary(&format!("{long}x FROM t")), "t");
    }

    #[test]
    fn names_are_not_found_in_values() {
        let named = |sql| summary(&sanitized(sql, "other_sql"));
        assert_eq!(named("SELECT ' FROM secret '"), "SELECT");
        assert_eq!(named("SELECT \" FROM secret \" FROM t"), "SELECT t");
        assert_eq!(named("/* FROM secret */ SELECT a FROM t"), "SELECT t");
        assert_eq!(named("SELECT $$ FROM secret $$ FROM t"), "SELECT t");
        assert_eq!(named("SELECT a FROM \"x y\" JOIN t"), "SELECT");
        assert_eq!(named("'secret'"), "");
    }

    #[test]
    fn a_query_knows_its_system_only_inside() {
        assert_eq!(in_system("sqlite", || SYSTEM.get()), "sqlite");
        assert_eq!(SYSTEM.get(), "other_sql");
    }
}
