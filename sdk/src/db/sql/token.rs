//! SQL in pieces.

use super::Dialect;

/// What a piece of SQL is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// A keyword or a plain name.
    Word,
    /// A name in quotes.
    Name,
    /// A value: text or a number.
    Literal,
    Comment,
    Blank,
    /// All else: a placeholder, or one sign.
    Sign,
}

/// The pieces of a text with their kinds; joined, they are the text. What is not closed goes on to
/// the end.
pub(super) struct Tokens<'a> {
    rest: &'a str,
    dialect: Dialect,
}

impl<'a> Tokens<'a> {
    pub(super) fn new(sql: &'a str, dialect: Dialect) -> Self {
        Self { rest: sql, dialect }
    }

    /// The kind and the length in bytes of the piece at the beginning.
    fn piece(&self) -> Option<(Token, usize)> {
        let text = self.rest;
        let bytes = text.as_bytes();
        let first = *bytes.first()?;
        let second = bytes.get(1).copied().unwrap_or(0);
        let is_mysql = self.dialect == Dialect::MySql;
        Some(match first {
            _ if first.is_ascii_whitespace() => (
                Token::Blank,
                length(bytes, |byte| byte.is_ascii_whitespace()),
            ),
            b'-' if second == b'-' => (Token::Comment, length(bytes, |byte| byte != b'\n')),
            b'#' if is_mysql => (Token::Comment, length(bytes, |byte| byte != b'\n')),
            b'/' if second == b'*' => (Token::Comment, self.comment()),
            b'\'' => (Token::Literal, quoted(bytes, b'\'', is_mysql)),
            b'"' if self.dialect == Dialect::PostgreSql => {
                (Token::Name, quoted(bytes, b'"', false))
            }
            b'"' => (Token::Literal, quoted(bytes, b'"', is_mysql)),
            b'`' => (Token::Name, quoted(bytes, b'`', false)),
            b'[' if self.dialect == Dialect::Sqlite => (Token::Name, quoted(bytes, b']', false)),
            b'$' if !second.is_ascii_digit() => self.dollar(),
            b'?' | b'$' => (
                Token::Sign,
                1 + length(&bytes[1..], |byte| byte.is_ascii_digit()),
            ),
            b':' | b'@' => (Token::Sign, 1 + length(&bytes[1..], is_of_word)),
            b'.' if second.is_ascii_digit() => (Token::Literal, number(bytes)),
            _ if first.is_ascii_digit() => (Token::Literal, number(bytes)),
            _ if is_of_word(first) => self.word(),
            // Bytes beyond ASCII are of words.
            _ => (Token::Sign, 1),
        })
    }

    fn word(&self) -> (Token, usize) {
        let bytes = self.rest.as_bytes();
        let n = length(bytes, is_of_word);
        // `E'a\'b'`, `X'00'`, `_utf8mb4'a'`: the word belongs to the text.
        let is_prefix = matches!(
            &bytes[..n],
            [b'e' | b'E' | b'x' | b'X' | b'b' | b'B' | b'n' | b'N']
        ) || (self.dialect == Dialect::MySql && bytes[0] == b'_');
        if is_prefix && bytes.get(n) == Some(&b'\'') {
            let escapes = self.dialect == Dialect::MySql || matches!(bytes[0], b'e' | b'E');
            return (Token::Literal, n + quoted(&bytes[n..], b'\'', escapes));
        }
        (Token::Word, n)
    }

    /// A comment, in PostgreSQL with others inside.
    fn comment(&self) -> usize {
        let bytes = self.rest.as_bytes();
        let (mut depth, mut at) = (1, 2);
        while at < bytes.len() {
            match &bytes[at..] {
                [b'*', b'/', ..] => {
                    at += 1;
                    depth -= 1;
                    if depth == 0 {
                        return at + 1;
                    }
                }
                [b'/', b'*', ..] if self.dialect == Dialect::PostgreSql => {
                    at += 1;
                    depth += 1;
                }
                _ => {}
            }
            at += 1;
        }
        at
    }

    /// `$$text$$` or `$tag$text$tag$` where there is such a thing; else a placeholder, `$name`.
    fn dollar(&self) -> (Token, usize) {
        let is_of_tag = |byte: u8| is_of_word(byte) && byte != b'$';
        let n_tag = 1 + length(&self.rest.as_bytes()[1..], is_of_tag);
        if self.dialect == Dialect::Sqlite || self.rest.as_bytes().get(n_tag) != Some(&b'$') {
            return (Token::Sign, n_tag);
        }
        let (tag, text) = self.rest.split_at(n_tag + 1);
        let n = text.find(tag).map_or(text.len(), |end| end + tag.len());
        (Token::Literal, tag.len() + n)
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = (Token, &'a str);

    fn next(&mut self) -> Option<(Token, &'a str)> {
        let (token, n) = self.piece()?;
        let (text, rest) = self.rest.split_at(n);
        self.rest = rest;
        Some((token, text))
    }
}

fn is_of_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$') || !byte.is_ascii()
}

/// How many bytes at the beginning are so.
fn length(bytes: &[u8], is_so: impl Fn(u8) -> bool) -> usize {
    let end = bytes.iter().position(|byte| !is_so(*byte));
    end.unwrap_or(bytes.len())
}

/// The length of a quotation, in which a doubled quote stands for one.
fn quoted(bytes: &[u8], quote: u8, backslash_escapes: bool) -> usize {
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if backslash_escapes => at += 1,
            byte if byte == quote => match bytes.get(at + 1) {
                Some(next) if *next == quote => at += 1,
                _ => return at + 1,
            },
            _ => {}
        }
        at += 1;
    }
    bytes.len()
}

/// The length of a number: `12`, `1.5e-3`, `0xff`, `1_000`.
fn number(bytes: &[u8]) -> usize {
    let is_hex = bytes.first() == Some(&b'0') && matches!(bytes.get(1), Some(b'x' | b'X'));
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let is_exponent = !is_hex && at > 0 && matches!(bytes[at - 1], b'e' | b'E');
        match byte {
            b'+' | b'-' if is_exponent => {}
            b'.' | b'_' => {}
            _ if byte.is_ascii_alphanumeric() => {}
            _ => break,
        }
        at += 1;
    }
    at
}
