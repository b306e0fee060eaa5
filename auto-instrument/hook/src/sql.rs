//! An SQL text without its values.
//!
//! Databases do not agree on where a literal begins and ends, and a value in a trace is worse than
//! a word too few. So the text is read as each database that it may be for reads it, and whatever
//! is a literal or a comment to one of these is hidden. Between double quotes stands a name or a
//! text: it is hidden, too, unless the database is PostgreSQL.
//!
//! The SDK has a reader of its own rather than this, which is for known databases and tells more:
//! this crate must stand on `std` alone, in sources that travel inside `cargo spanloom`.

/// Bytes of a query text that are read. A bulk insert may have megabytes of placeholders.
const TEXT_BYTES_MAX: usize = 8 * 1024;

/// A backslash escapes in `'text'`.
const BACKSLASH: u16 = 1;
/// A backslash escapes in `"text"`.
const BACKSLASH_IN_DOUBLE: u16 = 1 << 1;
/// Double quotes are around names.
const DOUBLE_IS_NAME: u16 = 1 << 2;
/// `E'text'` with backslashes, `$tag$text$tag$`, comments in comments.
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

/// How databases read, in their settings that matter here, by `db.system.name`.
const READINGS: [(&str, u16); 9] = [
    ("postgresql", POSTGRESQL | DOUBLE_IS_NAME),
    // `standard_conforming_strings = off`
    ("postgresql", POSTGRESQL | DOUBLE_IS_NAME | BACKSLASH),
    ("mysql", MYSQL | ESCAPES),
    // `ANSI_QUOTES`
    ("mysql", MYSQL | BACKSLASH),
    // `NO_BACKSLASH_ESCAPES`
    ("mysql", MYSQL),
    ("sqlite", BACKTICK | BRACKET),
    ("microsoft.sql_server", BRACKET | MONEY),
    ("oracle.db", Q),
    ("gcp.bigquery", TRIPLE | ESCAPES | HASH | BACKTICK),
];

/// What is known of a byte; of two readings, the greater holds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Mark {
    Shown,
    Comment,
    Literal,
}

/// The text with a question mark for what may be a literal, and a blank for what is a comment.
pub(crate) fn sanitized(sql: &str, system: &str) -> String {
    let sql = shortened(sql);
    let is_known = READINGS.iter().any(|(name, _)| *name == system);
    let mut marks = vec![Mark::Shown; sql.len()];
    for (name, flags) in READINGS {
        if name == system || !is_known {
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
            // Runs end where a token does, which is no middle of a character.
            _ => out.push_str(sql.get(at..end).unwrap_or_default()),
        }
        at = end;
    }
    out
}

/// The beginning of a text, which is the whole of most.
fn shortened(sql: &str) -> &str {
    let mut ends = (0..=sql.len().min(TEXT_BYTES_MAX)).rev();
    ends.find_map(|end| sql.get(..end)).unwrap_or_default()
}

/// A text as one database reads it.
struct Reading<'a> {
    sql: &'a str,
    flags: u16,
}

impl Reading<'_> {
    /// Marks what is hidden.
    fn mark(&self, marks: &mut [Mark]) {
        let mut at = 0;
        while at < self.sql.len() {
            let (mark, n) = self.token(at);
            let end = (at + n.max(1)).min(self.sql.len());
            for known in marks.get_mut(at..end).unwrap_or_default() {
                *known = mark.max(*known);
            }
            at = end;
        }
    }

    fn is(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    fn ends_line(&self, byte: u8) -> bool {
        byte == b'\n' || byte == b'\r' && self.is(POSTGRESQL)
    }

    /// The text from there on.
    fn rest(&self, at: usize) -> &[u8] {
        self.sql.as_bytes().get(at..).unwrap_or_default()
    }

    /// What stands there, and its length. What is not closed goes on to the end.
    fn token(&self, at: usize) -> (Mark, usize) {
        let text = self.rest(at);
        let line = || length(text, |byte| !self.ends_line(byte));
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
    fn word(&self, at: usize) -> (Mark, usize) {
        let text = self.rest(at);
        let n = length(text, is_of_word);
        let (word, rest) = text.split_at(n);
        if rest.first() == Some(&b'\'') {
            if self.is(POSTGRESQL) && word.eq_ignore_ascii_case(b"e") {
                return (Mark::Literal, n + escaped(rest));
            }
            if self.is(Q) && (word.eq_ignore_ascii_case(b"q") || word.eq_ignore_ascii_case(b"nq")) {
                return (Mark::Literal, n + 1 + self.q(at + n + 1));
            }
        }
        (Mark::Shown, n)
    }

    /// What stands behind `q'`.
    fn q(&self, at: usize) -> usize {
        let text = self.sql.get(at..).unwrap_or_default();
        let Some(open) = text.chars().next() else {
            return 0;
        };
        let close = match open {
            '[' => ']',
            '(' => ')',
            '{' => '}',
            '<' => '>',
            other => other,
        };
        let n = open.len_utf8();
        let inside = text.get(n..).unwrap_or_default();
        let end = inside.find(&format!("{close}'"));
        end.map_or(text.len(), |end| n + end + close.len_utf8() + 1)
    }

    /// `$$text$$` or `$tag$text$tag$`; else a sign.
    fn dollar(&self, at: usize) -> (Mark, usize) {
        let n_tag = 1 + length(self.rest(at + 1), |byte| is_of_word(byte) && byte != b'$');
        if self.rest(at + n_tag).first() != Some(&b'$') {
            return (Mark::Shown, 1);
        }
        let n = n_tag + 1;
        let tag = self.sql.get(at..at + n).unwrap_or_default();
        let inside = self.sql.get(at + n..).unwrap_or_default();
        let end = inside.find(tag).map(|end| n + end + n);
        (Mark::Literal, end.unwrap_or(n + inside.len()))
    }

    fn comment(&self, text: &[u8]) -> usize {
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
    fn quoted(&self, text: &[u8], backslash_escapes: bool) -> usize {
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
            [quote, ..] => quoted(text, quote, backslash_escapes),
            [] => 0,
        }
    }
}

fn is_of_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$') || !byte.is_ascii()
}

/// How many bytes at the beginning are so.
fn length(text: &[u8], is_so: impl Fn(u8) -> bool) -> usize {
    let end = text.iter().position(|byte| !is_so(*byte));
    end.unwrap_or(text.len())
}

fn digits(text: &[u8]) -> usize {
    length(text, |byte| byte.is_ascii_digit())
}

/// The length of a quotation, in which a doubled quote stands for one.
fn quoted(text: &[u8], quote: u8, backslash_escapes: bool) -> usize {
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

/// The length of PostgreSQL's text with escapes, which goes on in quotes on another line.
fn escaped(text: &[u8]) -> usize {
    let mut at = quoted(text, b'\'', true);
    loop {
        let rest = text.get(at..).unwrap_or_default();
        let (mut n, mut is_other_line) = (0, false);
        loop {
            match rest.get(n..).unwrap_or_default() {
                [b'-', b'-', comment @ ..] => {
                    n += 2 + length(comment, |byte| !matches!(byte, b'\n' | b'\r'));
                }
                [blank, ..] if *blank <= b' ' => {
                    is_other_line |= matches!(blank, b'\n' | b'\r');
                    n += 1;
                }
                _ => break,
            }
        }
        match rest.get(n..).unwrap_or_default() {
            next @ [b'\'', ..] if is_other_line => at += n + quoted(next, b'\'', true),
            _ => return at,
        }
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

#[cfg(test)]
mod tests;
