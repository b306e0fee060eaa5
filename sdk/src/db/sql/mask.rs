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
/// `E'text'` with backslashes, `$tag$text$tag$`, comments in comments and to a carriage return.
const POSTGRESQL: u16 = 1 << 3;
/// `--` begins a comment only before a blank, and what is in `/*! */` may be one or not.
const MYSQL_COMMENTS: u16 = 1 << 4;
/// `#` begins a comment.
const HASH: u16 = 1 << 5;
/// Backticks are around names.
const BACKTICK: u16 = 1 << 6;
/// Brackets are around names.
const BRACKET: u16 = 1 << 7;
/// `$1` is an amount of money.
const MONEY: u16 = 1 << 8;
/// `q'[text]'`.
const Q: u16 = 1 << 9;
/// `'''text'''` and `"""text"""`.
const TRIPLE: u16 = 1 << 10;

const MYSQL: u16 = HASH | BACKTICK | MYSQL_COMMENTS;
const ESCAPES: u16 = BACKSLASH | BACKSLASH_IN_DOUBLE;

/// The settings in which a database reads, one after the other.
const SETTINGS: [u16; 9] = [
    POSTGRESQL | DOUBLE_IS_NAME,
    // `standard_conforming_strings = off`
    POSTGRESQL | DOUBLE_IS_NAME | BACKSLASH,
    MYSQL | ESCAPES,
    // `ANSI_QUOTES`
    MYSQL | BACKSLASH,
    // `NO_BACKSLASH_ESCAPES`
    MYSQL,
    // SQLite. In double quotes stands a name or, where there is no such name, a text.
    BACKTICK | BRACKET,
    // Microsoft's SQL Server.
    BRACKET | MONEY,
    // Oracle.
    Q,
    // BigQuery.
    TRIPLE | ESCAPES | HASH | BACKTICK,
];

impl Dialect {
    fn settings(self) -> &'static [u16] {
        match self {
            Self::PostgreSql => &SETTINGS[..2],
            Self::MySql => &SETTINGS[2..5],
            Self::Sqlite => &SETTINGS[5..6],
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
                    b'\\' => ESCAPES,
                    b'"' => DOUBLE_IS_NAME | TRIPLE,
                    b'\'' => TRIPLE,
                    b'#' => HASH,
                    b'`' => BACKTICK,
                    b'[' => BRACKET,
                    b'$' => MONEY,
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
        let ends_line = |byte| byte == b'\n' || byte == b'\r' && self.is(POSTGRESQL);
        let line = || length(text, |byte| !ends_line(byte));
        match *text {
            [b'-', b'-', ref rest @ ..]
                if !self.is(MYSQL_COMMENTS) || rest.first().is_none_or(|byte| *byte <= b' ') =>
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
            [b'"', ..] if self.is(DOUBLE_IS_NAME) => (Mark::Shown, quoted(text, b'"', false)),
            [b'"', ..] => (
                Mark::Literal,
                self.quoted(text, self.is(BACKSLASH_IN_DOUBLE)),
            ),
            [b'`', ..] if self.is(BACKTICK) => (Mark::Shown, quoted(text, b'`', false)),
            [b'[', ..] if self.is(BRACKET) => (Mark::Shown, quoted(text, b']', false)),
            // Placeholders.
            [b'?', ref rest @ ..] => (Mark::Shown, 1 + digits(rest)),
            [b'$', ref rest @ ..] if digits(rest) > 0 && self.is(MONEY) => {
                (Mark::Literal, 1 + number(rest))
            }
            [b'$', ref rest @ ..] if digits(rest) > 0 => (Mark::Shown, 1 + digits(rest)),
            [b'$', ..] if self.is(POSTGRESQL) => self.dollar(at),
            [b'.', second, ..] if second.is_ascii_digit() => (Mark::Literal, number(text)),
            [first, ..] if first.is_ascii_digit() => (Mark::Literal, number(text)),
            [first, ..] if is_of_word(first) => self.word(at),
            _ => (Mark::Shown, 1),
        }
    }

    /// A word, with the text that it says how to read.
    fn word(self, at: usize) -> (Mark, usize) {
        let text = &self.sql.as_bytes()[at..];
        let n = length(text, is_of_word);
        let (word, rest) = text.split_at(n);
        if rest.first() == Some(&b'\'') {
            if self.is(POSTGRESQL) && word.eq_ignore_ascii_case(b"e") {
                return (Mark::Literal, n + escaped(rest));
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

    /// A comment, in PostgreSQL with others inside.
    fn comment(self, text: &[u8]) -> usize {
        let (mut depth, mut at) = (1, 2);
        while depth > 0 && at < text.len() {
            at += match text[at..] {
                [b'*', b'/', ..] => {
                    depth -= 1;
                    2
                }
                [b'/', b'*', ..] if self.is(POSTGRESQL) => {
                    depth += 1;
                    2
                }
                _ => 1,
            };
        }
        at
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
            _ => quoted(text, text[0], backslash_escapes),
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

/// The length of PostgreSQL's text with escapes, which goes on in quotes on another line.
fn escaped(text: &[u8]) -> usize {
    let mut at = quoted(text, b'\'', true);
    loop {
        let (mut n, mut is_other_line) = (0, false);
        loop {
            match text[at + n..] {
                [b'-', b'-', ref comment @ ..] => {
                    n += 2 + length(comment, |byte| !matches!(byte, b'\n' | b'\r'));
                }
                [blank, ..] if blank <= b' ' => {
                    is_other_line |= matches!(blank, b'\n' | b'\r');
                    n += 1;
                }
                _ => break,
            }
        }
        match text[at + n..] {
            [b'\'', ..] if is_other_line => at += n + quoted(&text[at + n..], b'\'', true),
            _ => return at,
        }
    }
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

/// The length of a quotation, in which a doubled quote stands for one.
pub(super) fn quoted(text: &[u8], quote: u8, backslash_escapes: bool) -> usize {
    let mut at = 1;
    while let Some(byte) = text.get(at) {
        if *byte == b'\\' && backslash_escapes {
            at += 1;
        } else if *byte == quote {
            if text.get(at + 1) != Some(&quote) {
                return at + 1;
            }
            at += 1;
        }
        at += 1;
    }
    text.len()
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
