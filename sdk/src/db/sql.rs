//! What may be said of an SQL text without its values: the text with its literals hidden, and a
//! summary such as `SELECT orders items`, which has few values and names the span.
//!
//! No parser of SQL: literals are hidden first, and a pass over what is left finds what the
//! conventions ask for in the statements that programs send, and says less where it does not
//! understand. The hook of `cargo spanloom` hides in the same way, and both are held to one table of
//! cases; but it is linked into programs that do not have this crate, so it has its own reader.

mod mask;
mod token;

use std::iter::Peekable;

use token::{Token, Tokens};

/// Bytes of a query text that are read and told. A bulk insert may have megabytes of placeholders.
const TEXT_BYTES_MAX: usize = 16 * 1024;

/// The length that the conventions give a summary.
const SUMMARY_BYTES_MAX: usize = 255;

/// Whose SQL it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    MySql,
    PostgreSql,
    Sqlite,
    /// Nobody knows: nothing is shown that is a literal to any database.
    Other,
}

/// Words that end a list of tables.
const AFTER_TABLES: [&str; 13] = [
    "WHERE",
    "SET",
    "VALUES",
    "GROUP",
    "ORDER",
    "HAVING",
    "LIMIT",
    "WINDOW",
    "RETURNING",
    "UNION",
    "EXCEPT",
    "INTERSECT",
    "FOR",
];

/// Words between a keyword and the name that it introduces.
const BEFORE_NAME: [&str; 14] = [
    "ONLY",
    "LATERAL",
    "OR",
    "IGNORE",
    "ABORT",
    "FAIL",
    "ROLLBACK",
    "REPLACE",
    "LOW_PRIORITY",
    "IF",
    "NOT",
    "EXISTS",
    "CONCURRENTLY",
    "TABLE",
];

/// What can be created, altered and dropped.
const KINDS: [&str; 14] = [
    "TABLE",
    "INDEX",
    "VIEW",
    "SCHEMA",
    "DATABASE",
    "TRIGGER",
    "FUNCTION",
    "PROCEDURE",
    "SEQUENCE",
    "TYPE",
    "EXTENSION",
    "USER",
    "ROLE",
    "POLICY",
];

/// The beginning of a text, which is the whole of most.
pub(crate) fn shortened(sql: &str) -> &str {
    &sql[..sql.floor_char_boundary(TEXT_BYTES_MAX)]
}

/// The text with a question mark for each literal, and without comments, which may hold anything.
pub(crate) fn sanitized(sql: &str, dialect: Dialect) -> String {
    mask::masked(shortened(sql), dialect)
}

/// What a text that is [`sanitized`] does, and to what: operations and their targets as they come,
/// `INSERT totals SELECT orders`. May be empty.
///
/// The conventions have it instead of `db.operation.name` and `db.collection.name`, which are not to
/// be read out of a text that may hold several.
pub(crate) fn summary(shown: &str, dialect: Dialect) -> String {
    let tokens = Tokens::new(shown, dialect);
    let significant = tokens.filter(is_significant as fn(&(Token, &str)) -> bool);
    let mut reader = Reader {
        tokens: significant.peekable(),
        levels: vec![Level::default()],
        names_of_with: Vec::new(),
        expects_target: false,
        is_at_start: true,
        previous: "",
        summary: String::new(),
    };
    reader.read();
    reader.summary
}

fn is_significant((token, _): &(Token, &str)) -> bool {
    *token != Token::Blank
}

struct Reader<'a, T: Iterator<Item = (Token, &'a str)>> {
    tokens: Peekable<T>,
    /// One for each open parenthesis, and one for outside; as many as the text has at most.
    levels: Vec<Level>,
    /// What `WITH` gives names to is no table.
    names_of_with: Vec<&'a str>,
    /// The next name is a table, an index, a procedure, a role.
    expects_target: bool,
    is_at_start: bool,
    /// The token before.
    previous: &'a str,
    summary: String,
}

/// What is known of the inside of a parenthesis.
#[derive(Clone, Copy, Debug, Default)]
struct Level {
    /// It is a statement, so that `FROM` introduces a table. In `extract(year FROM day)` it does
    /// not.
    is_statement: bool,
    /// A comma goes on to the next table.
    is_in_tables: bool,
}

impl<'a, T: Iterator<Item = (Token, &'a str)>> Reader<'a, T> {
    fn read(&mut self) {
        while let Some((token, text)) = self.tokens.next() {
            match token {
                Token::Word if self.word(text) => {}
                Token::Word | Token::Name => self.name(token, text),
                _ => self.sign(text),
            }
            self.previous = text;
        }
    }

    /// Signs are what structures a statement.
    fn sign(&mut self, sign: &str) {
        self.expects_target = false;
        match sign {
            "(" => self.levels.push(Level::default()),
            // More closed than opened: the rest cannot be understood, but is still read.
            ")" if self.levels.len() > 1 => drop(self.levels.pop()),
            "," if self.level().is_in_tables => self.expects_target = true,
            ";" => {
                self.levels.truncate(1);
                *self.level() = Level::default();
                self.is_at_start = true;
            }
            _ => {}
        }
    }

    /// Whether the word was a keyword that means something here.
    fn word(&mut self, word: &'a str) -> bool {
        let is = |keyword: &str| word.eq_ignore_ascii_case(keyword);
        let is_any = |keywords: &[&str]| keywords.iter().any(|keyword| is(keyword));
        let was = |keyword: &str| self.previous.eq_ignore_ascii_case(keyword);
        // In parentheses, after those of a `WITH`, after `EXPLAIN ANALYZE`.
        let is_inside = matches!(self.previous, "(" | ")") || was("AS") || was("ANALYZE");
        let may_begin = self.is_at_start || is_inside;
        if is("SELECT") || may_begin && is_any(&["INSERT", "DELETE", "MERGE"]) {
            self.statement(word, false);
        } else if may_begin && is("UPDATE") {
            self.statement(word, true);
            self.level().is_in_tables = true;
        } else if is("WITH") && self.is_at_start {
            self.is_at_start = false;
        } else if is("EXPLAIN") && self.is_at_start {
            // What is explained is at its start, too.
            self.statement(word, false);
            self.is_at_start = true;
        } else if self.is_at_start {
            self.other_statement(word);
        } else if is("FROM") && self.level().is_statement && !was("DISTINCT") {
            self.level().is_in_tables = true;
            self.expects_target = true;
        } else if is("INTO") && self.level().is_statement || is("JOIN") {
            self.expects_target = true;
        } else if is_any(&AFTER_TABLES) {
            self.level().is_in_tables = false;
            self.expects_target = false;
        } else {
            return self.expects_target && is_any(&BEFORE_NAME);
        }
        true
    }

    /// A statement that is neither a query nor a change of rows.
    fn other_statement(&mut self, word: &str) {
        let upper = word.to_ascii_uppercase();
        match upper.as_str() {
            "CREATE" | "ALTER" | "DROP" => {
                // `OR REPLACE`, `UNIQUE`, `TEMPORARY` ... stand before the kind.
                for _ in 0..4 {
                    let Some((Token::Word, next)) = self.tokens.peek().copied() else {
                        break;
                    };
                    self.tokens.next();
                    let next = next.to_ascii_uppercase();
                    if KINDS.contains(&next.as_str()) {
                        return self.statement(&format!("{upper} {next}"), true);
                    }
                }
                self.statement(&upper, false);
            }
            "TRUNCATE" | "CALL" | "EXEC" | "EXECUTE" => self.statement(&upper, true),
            _ => self.statement(&upper, false),
        }
    }

    fn statement(&mut self, operation: &str, expects_target: bool) {
        self.is_at_start = false;
        self.expects_target = expects_target;
        *self.level() = Level {
            is_statement: true,
            is_in_tables: false,
        };
        self.say(&operation.to_ascii_uppercase());
    }

    /// A name: of the target, if one is expected.
    fn name(&mut self, token: Token, text: &'a str) {
        let is_at_start = std::mem::take(&mut self.is_at_start);
        if !std::mem::take(&mut self.expects_target) || is_at_start {
            return self.name_of_with(token, text);
        }
        let mut name = unquoted(token, text).to_owned();
        while self.tokens.next_if(|(_, sign)| *sign == ".").is_some() {
            let is_name = |(token, _): &(Token, &str)| matches!(token, Token::Word | Token::Name);
            if let Some((token, part)) = self.tokens.next_if(is_name) {
                name.push('.');
                name.push_str(unquoted(token, part));
            }
        }
        if !self.names_of_with.contains(&name.as_str()) {
            self.say(&name);
        }
    }

    /// `name AS (`, which occurs after `WITH` only.
    fn name_of_with(&mut self, token: Token, text: &'a str) {
        let is_as = |(_, word): &(Token, &str)| word.eq_ignore_ascii_case("AS");
        if self.tokens.next_if(is_as).is_some()
            && self.tokens.peek().is_some_and(|(_, sign)| *sign == "(")
        {
            self.names_of_with.push(unquoted(token, text));
        }
    }

    fn level(&mut self) -> &mut Level {
        self.levels
            .last_mut()
            .expect("the outermost level is never taken")
    }

    /// Adds a word to the summary, which is cut between words only.
    fn say(&mut self, word: &str) {
        let summary = &mut self.summary;
        if summary.len() + 1 + word.len() <= SUMMARY_BYTES_MAX {
            if !summary.is_empty() {
                summary.push(' ');
            }
            summary.push_str(word);
        }
    }
}

/// A name without its quotes.
fn unquoted(token: Token, text: &str) -> &str {
    match token {
        Token::Name => {
            let mut chars = text.chars();
            chars.next();
            // Not closed, it has none at its end.
            let inner = chars.as_str();
            inner.strip_suffix(['"', '`', ']']).unwrap_or(inner)
        }
        _ => text,
    }
}

#[cfg(test)]
mod tests;
