//! What of a text may be shown.
//!
//! Where a literal begins and ends depends on the database and on its settings, which nobody tells
//! us: `NO_BACKSLASH_ESCAPES`, `ANSI_QUOTES`, `standard_conforming_strings`. So a text is read in
//! every setting of its database, and what is a literal or a comment in one of them is hidden.

use super::Dialect;

/// A backslash escapes in `'text'`.
const BACKSLASH: u16 = 1;
/// A backslash escapes in `"text"`.
const BACKSLASH_IN_DOUBLE: u16 = 1 << 1;
/// Double quotes are around names.
const DOUBLE_IS_NAME: u16 = 1 << 2;
/// `E'text'` with backslashes, `$tag$text$tag$`.
const POSTGRESQL: u16 = 1 << 3;
/// `--` begins a comment only before a blank or a control character, and what is in `/*! */` may be
/// one or not.
const MYSQL_COMMENTS: u16 = 1 << 4;
/// `#` begins a comment.
const HASH: u16 = 1 << 5;
/// Backticks are around names.
const BACKTICK: u16 = 1 << 6;
/// Brackets are around names.
const BRACKET: u16 = 1 << 7;
/// `$1` and `€1` are amounts of money.
const MONEY: u16 = 1 << 8;
/// `q'[text]'`.
const Q: u16 = 1 << 9;
/// `'''text'''` and `"""text"""`, and a doubled quote stands for none.
const TRIPLE: u16 = 1 << 10;
/// A carriage return ends a line.
const CR: u16 = 1 << 11;
/// Comments in comments.
const NESTED: u16 = 1 << 12;
/// A backslash escapes between backticks.
const BACKSLASH_IN_BACKTICK: u16 = 1 << 13;
/// A doubled closing bracket stands for one.
const DOUBLED_BRACKET: u16 = 1 << 14;
/// `$name(text)` is a variable, as in Tcl.
const VARIABLE: u16 = 1 << 15;

const POSTGRESQL_ALL: u16 = POSTGRESQL | DOUBLE_IS_NAME | CR | NESTED;
const BRACKETS: u16 = BRACKET | DOUBLED_BRACKET;
const SQL_SERVER: u16 = BRACKETS | MONEY | NESTED;
const MYSQL: u16 = HASH | BACKTICK | MYSQL_COMMENTS;
const ESCAPES: u16 = BACKSLASH | BACKSLASH_IN_DOUBLE;
const BIGQUERY: u16 = TRIPLE | ESCAPES | HASH | BACKTICK | BACKSLASH_IN_BACKTICK | CR;

/// The settings in which a database reads, one after the other.
const SETTINGS: [u16; 13] = [
    POSTGRESQL_ALL,
    // `standard_conforming_strings = off`
    POSTGRESQL_ALL | BACKSLASH,
    MYSQL | ESCAPES,
    // `ANSI_QUOTES`
    MYSQL | BACKSLASH,
    // `NO_BACKSLASH_ESCAPES`
    MYSQL,
    // MariaDB's `MSSQL`, which has quotes as in `ANSI_QUOTES`, and with `NO_BACKSLASH_ESCAPES`.
    MYSQL | BACKSLASH | BRACKETS,
    MYSQL | BRACKETS,
    // SQLite. In double quotes stands a name or, where there is no such name, a text.
    BACKTICK | BRACKET | VARIABLE,
    // Microsoft's SQL Server; where it and Oracle end a line is written nowhere.
    SQL_SERVER,
    SQL_SERVER | CR,
    // Oracle.
    Q,
    Q | CR,
    BIGQUERY,
];

impl Dialect {
    fn settings(self) -> &'static [u16] {
        match self {
            Self::PostgreSql => &SETTINGS[..2],
            Self::MySql => &SETTINGS[2..7],
            Self::Sqlite => &SETTINGS[7..8],
            Self::Other => &SETTINGS,
        }
    }
}

/// What is known of a byte; of two readings, the greater holds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Mark {
    Shown,
    Comment,
    Literal,
}

/// The text with a question mark for what may be a literal, and a blank for what is a comment.
pub(super) fn masked(sql: &str, dialect: Dialect) -> String {
    let mut marks = vec![Mark::Shown; sql.len()];
    let relevant = relevant(sql);
    let settings = dialect.settings();
    for (at, flags) in settings.iter().enumerate() {
        let flags = flags & relevant;
        // Most texts have nothing in them about which the settings differ.
        if !settings[..at].iter().any(|done| done & relevant == flags) {
            Reading { sql, flags }.mark(&mut marks);
        }
    }
    let mut out = String::with_capacity(sql.len());
    let mut at = 0;
    for run in marks.chunk_by(|a, b| (*a == Mark::Shown) == (*b == Mark::Shown)) {
        let end = at + run.len();
        match run.iter().max() {
            Some(Mark::Literal) => out.push('?'),
            Some(Mark::Comment) => out.push(' '),
            // Runs end where a piece does, which is no middle of a character.
            _ => out.push_str(&sql[at..end]),
        }
        at = end;
    }
    out
}

/// What of the settings this text has to do with.
fn relevant(sql: &str) -> u16 {
    sql.bytes()
        .fold(POSTGRESQL | MYSQL_COMMENTS, |known, byte| {
            known
                | match byte {
                    b'\\' => ESCAPES | BACKSLASH_IN_BACKTICK,
                    b'\r' => CR,
                    b'/' => NESTED,
                    b'"' => DOUBLE_IS_NAME | TRIPLE,
                    b'\'' => TRIPLE,
                    b'#' => HASH | VARIABLE,
                    b'`' => BACKTICK,
                    b'[' => BRACKET | DOUBLED_BRACKET,
                    b'$' => MONEY | VARIABLE,
                    b':' | b'@' => VARIABLE,
                    128.. => MONEY,
                    b'q' | b'Q' => Q,
                    _ => 0,
                }
        })
}

/// A text as a database reads it in one setting.
#[derive(Clone, Copy)]
struct Reading<'a> {
    sql: &'a str,
    flags: u16,
}

impl Reading<'_> {
    /// Marks what is hidden.
    fn mark(self, marks: &mut [Mark]) {
        let mut at = 0;
        while at < self.sql.len() {
            let (mark, n) = self.piece(at);
            let end = (at + n.max(1)).min(self.sql.len());
            for known in &mut marks[at..end] {
                *known = mark.max(*known);
            }
            at = end;
        }
    }

    fn is(self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    /// What stands there, and its length. What is not closed goes on to the end.
    fn piece(self, at: usize) -> (Mark, usize) {
        let text = &self.sql.as_bytes()[at..];
        let ends_line = |byte| byte == b'\n' || byte == b'\r' && self.is(CR);
        let line = || length(text, |byte| !ends_line(byte));
        match *text {
            [b'-', b'-', ref rest @ ..]
                if !self.is(MYSQL_COMMENTS)
                    || rest
                        .first()
                        .is_none_or(|byte| *byte == b' ' || byte.is_ascii_control()) =>
            {
                (Mark::Comment, line())
            }
            [b'#', ..] if self.is(HASH) => (Mark::Comment, line()),
            // Whether it is a comment depends on the server's version, and so does where it ends.
            [b'/', b'*', b'!', ..] | [b'/', b'*', b'M', b'!', ..] if self.is(MYSQL_COMMENTS) => {
                (Mark::Literal, text.len())
            }
            [b'/', b'*', ..] => (Mark::Comment, self.comment(text)),
            [b'\'', ..] => (Mark::Literal, self.quoted(text, self.is(BACKSLASH))),
            [b'"', ..] if self.is(DOUBLE_IS_NAME) => name(text, b'"', Inner::Doubled),
            [b'"', ..] => (
                Mark::Literal,
                self.quoted(text, self.is(BACKSLASH_IN_DOUBLE)),
            ),
            [b'`', ..] if self.is(BACKSLASH_IN_BACKTICK) => name(text, b'`', Inner::Escaped),
            [b'`', ..] if self.is(BACKTICK) => name(text, b'`', Inner::Doubled),
            [b'[', ..] if self.is(DOUBLED_BRACKET) => name(text, b']', Inner::Doubled),
            [b'[', ..] if self.is(BRACKET) => name(text, b']', Inner::Nowhere),
            [b'$' | b':' | b'@' | b'#', ..] if self.is(VARIABLE) => (Mark::Shown, variable(text)),
            // Placeholders.
            [b'?', ref rest @ ..] => (Mark::Shown, 1 + digits(rest)),
            [b'$', ref rest @ ..] if digits(rest) > 0 && self.is(MONEY) => {
                (Mark::Literal, 1 + number(rest))
            }
            [b'$', ref rest @ ..] if digits(rest) > 0 => (Mark::Shown, 1 + digits(rest)),
            [b'$', ..] if self.is(POSTGRESQL) => self.dollar(at),
            [b'.', second, ..] if second.is_ascii_digit() => (Mark::Literal, self.number(text)),
            [first, ..] if first.is_ascii_digit() => (Mark::Literal, self.number(text)),
            [first, ..] if is_of_word(first) => self.word(at),
            _ => (Mark::Shown, 1),
        }
    }

    /// A word, with the text that it says how to read.
    fn word(self, at: usize) -> (Mark, usize) {
        let text = &self.sql.as_bytes()[at..];
        let first = self.sql[at..].chars().next();
        if let Some(sign) = first.filter(|first| self.is(MONEY) && is_currency(*first)) {
            let n = sign.len_utf8();
            return (Mark::Literal, n + number(&text[n..]));
        }
        let n = length(text, |byte| is_of_word(byte) || byte == b'#' && self.is(Q));
        let (word, rest) = text.split_at(n);
        if rest.first() == Some(&b'\'') {
            if self.is(POSTGRESQL) {
                match word {
                    b"e" | b"E" => return (Mark::Literal, n + continued(rest, Inner::Both)),
                    // In no setting has a text of bits escapes.
                    b"b" | b"B" | b"x" | b"X" => {
                        return (Mark::Literal, n + continued(rest, Inner::Nowhere));
                    }
                    _ => {}
                }
            }
            if self.is(Q) && (word.eq_ignore_ascii_case(b"q") || word.eq_ignore_ascii_case(b"nq")) {
                return (Mark::Literal, n + 1 + chosen(&self.sql[at + n + 1..]));
            }
        }
        (Mark::Shown, n)
    }

    /// `$$text$$` or `$tag$text$tag$`; else a sign.
    fn dollar(self, at: usize) -> (Mark, usize) {
        let text = &self.sql[at..];
        let is_of_tag = |byte| is_of_word(byte) && byte != b'$';
        let n_tag = 1 + length(&text.as_bytes()[1..], is_of_tag);
        if text.as_bytes().get(n_tag) != Some(&b'$') {
            return (Mark::Shown, 1);
        }
        let (tag, inside) = text.split_at(n_tag + 1);
        let end = inside.find(tag).map(|end| tag.len() + end + tag.len());
        (Mark::Literal, end.unwrap_or(text.len()))
    }

    /// A comment, in some databases with others inside.
    fn comment(self, text: &[u8]) -> usize {
        let (mut depth, mut at) = (1, 2);
        while depth > 0 && at < text.len() {
            at += match text[at..] {
                [b'*', b'/', ..] => {
                    depth -= 1;
                    2
                }
                [b'/', b'*', ..] if self.is(NESTED) => {
                    depth += 1;
                    2
                }
                _ => 1,
            };
        }
        at
    }

    /// A number. Whether letters behind one are a word of their own, which may say how to read the
    /// quotes behind it, depends on the server's version: then nothing behind it is shown.
    fn number(self, text: &[u8]) -> usize {
        let n = number(text);
        let (number, rest) = text.split_at(n);
        let is_open = matches!(rest, [b'\'' | b'$', ..]);
        let has_letters = !number.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'.'));
        if is_open && has_letters && self.is(POSTGRESQL | Q) {
            text.len()
        } else {
            n
        }
    }

    /// A literal between quotes of the kind that it begins with.
    fn quoted(self, text: &[u8], backslash_escapes: bool) -> usize {
        match *text {
            [quote, second, third, ref rest @ ..]
                if self.is(TRIPLE) && second == quote && third == quote =>
            {
                let mut at = 0;
                while at < rest.len() && !rest[at..].starts_with(&[quote; 3]) {
                    at += if rest[at] == b'\\' { 2 } else { 1 };
                }
                3 + at + 3
            }
            [quote, ..] => {
                let inner = match (self.is(TRIPLE), backslash_escapes) {
                    (false, false) => Inner::Doubled,
                    (false, true) => Inner::Both,
                    (true, false) => Inner::Nowhere,
                    (true, true) => Inner::Escaped,
                };
                quoted(text, quote, inner).unwrap_or(text.len())
            }
            [] => 0,
        }
    }
}

/// What stands behind `q'`: a text between two signs of the writer's choice.
fn chosen(text: &str) -> usize {
    let mut chars = text.chars();
    let close = match chars.next() {
        None => return 0,
        Some('[') => ']',
        Some('(') => ')',
        Some('{') => '}',
        Some('<') => '>',
        Some(other) => other,
    };
    let inside = chars.as_str();
    let n = text.len() - inside.len();
    let end = inside.find(&format!("{close}'"));
    end.map_or(text.len(), |end| n + end + close.len_utf8() + 1)
}

/// The length of PostgreSQL's text, which goes on in quotes on another line.
fn continued(text: &[u8], inner: Inner) -> usize {
    let mut at = 0;
    loop {
        let rest = text.get(at..).unwrap_or_default();
        let Some(n) = quoted(rest, b'\'', inner) else {
            return text.len();
        };
        at += n;
        let rest = rest.get(n..).unwrap_or_default();
        match gap(rest) {
            // Before version 16 that was no blank, and what is behind it was another text.
            Some(n) if rest.iter().take(n).any(|byte| *byte == VERTICAL_TAB) => return text.len(),
            Some(n) => at += n,
            None => return at,
        }
    }
}

const VERTICAL_TAB: u8 = 0x0b;
const FORM_FEED: u8 = 0x0c;

/// What is between two quotations that are one text: blanks and comments, with an end of a line.
fn gap(text: &[u8]) -> Option<usize> {
    let ends_line = |byte| matches!(byte, b'\n' | b'\r');
    let (mut n, mut is_other_line) = (0, false);
    loop {
        match *text.get(n..)? {
            [b'-', b'-', ref comment @ ..] => n += 2 + length(comment, |byte| !ends_line(byte)),
            [b'\'', ..] if is_other_line => return Some(n),
            [byte, ..] if ends_line(byte) => {
                is_other_line = true;
                n += 1;
            }
            [b' ' | b'\t' | VERTICAL_TAB | FORM_FEED, ..] => n += 1,
            _ => return None,
        }
    }
}

/// The length of SQLite's variable: a sign, a name with `::`, and what is in parentheses behind it.
fn variable(text: &[u8]) -> usize {
    let (mut n, mut is_named) = (1, false);
    loop {
        match text.get(n..).unwrap_or_default() {
            [byte, ..] if is_of_word(*byte) => {
                is_named = true;
                n += 1;
            }
            [b':', b':', ..] => n += 2,
            [b'(', inside @ ..] if is_named => {
                let ends =
                    |byte: u8| byte == b')' || byte == VERTICAL_TAB || byte.is_ascii_whitespace();
                let n_inside = length(inside, |byte| !ends(byte));
                let is_closed = inside.get(n_inside) == Some(&b')');
                return n + 1 + n_inside + usize::from(is_closed);
            }
            _ => return n,
        }
    }
}

/// Whether an amount of money may begin so. What is no letter begins no name.
fn is_currency(first: char) -> bool {
    !first.is_ascii() && !first.is_alphabetic()
}

pub(super) fn is_of_word(byte: u8) -> bool {
    // Bytes beyond ASCII are of words.
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$') || !byte.is_ascii()
}

/// How many bytes at the beginning are so.
pub(super) fn length(text: &[u8], is_so: impl Fn(u8) -> bool) -> usize {
    let end = text.iter().position(|byte| !is_so(*byte));
    end.unwrap_or(text.len())
}

fn digits(text: &[u8]) -> usize {
    length(text, |byte| byte.is_ascii_digit())
}

/// Where the quote that ends a quotation may stand in it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Inner {
    Nowhere,
    /// As two, which stand for one.
    Doubled,
    /// Behind a backslash.
    Escaped,
    Both,
}

/// The length of a quotation, if it is closed.
pub(super) fn quoted(text: &[u8], close: u8, inner: Inner) -> Option<usize> {
    let may_escape = matches!(inner, Inner::Escaped | Inner::Both);
    let may_double = matches!(inner, Inner::Doubled | Inner::Both);
    let mut at = 1;
    loop {
        let byte = *text.get(at)?;
        if byte == b'\\' && may_escape {
            at += 1;
        } else if byte == close {
            if !may_double || text.get(at + 1) != Some(&close) {
                return Some(at + 1);
            }
            at += 1;
        }
        at += 1;
    }
}

/// A name in quotes. What is not closed may be anything.
fn name(text: &[u8], close: u8, inner: Inner) -> (Mark, usize) {
    match quoted(text, close, inner) {
        Some(n) => (Mark::Shown, n),
        None => (Mark::Literal, text.len()),
    }
}

/// The length of a number: `12`, `.5`, `1.5e-3`, `0xff`, `1_000`.
fn number(text: &[u8]) -> usize {
    let is_hex = matches!(text, [b'0', b'x' | b'X', ..]);
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        let is_exponent = !is_hex && at > 0 && matches!(text[at - 1], b'e' | b'E');
        let is_sign = matches!(byte, b'+' | b'-') && digits(&text[at + 1..]) > 0;
        if !(byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_') || is_exponent && is_sign)
        {
            break;
        }
        at += 1;
    }
    at
}
