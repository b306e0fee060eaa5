//! A text whose literals and comments are hidden, in pieces.

use super::Dialect;
use super::mask::{Inner, is_of_word, length, quoted};

/// What a piece is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// A keyword or a plain name.
    Word,
    /// A name in quotes.
    Name,
    Blank,
    /// All else: a placeholder, what was hidden, or one sign.
    Sign,
}

/// The pieces of a text with their kinds; joined, they are the text. What is not closed goes on to
/// the end.
pub(super) struct Tokens<'a> {
    rest: &'a str,
    dialect: Dialect,
}

impl<'a> Tokens<'a> {
    pub(super) fn new(shown: &'a str, dialect: Dialect) -> Self {
        Self {
            rest: shown,
            dialect,
        }
    }

    /// The kind and the length in bytes of the piece at the beginning.
    fn piece(&self) -> Option<(Token, usize)> {
        let bytes = self.rest.as_bytes();
        let first = *bytes.first()?;
        let rest = &bytes[1..];
        let name = |close, inner| {
            let n = quoted(bytes, close, inner).unwrap_or(bytes.len());
            (Token::Name, n)
        };
        Some(match first {
            _ if first.is_ascii_whitespace() => {
                let is_blank = |byte: u8| byte.is_ascii_whitespace();
                (Token::Blank, length(bytes, is_blank))
            }
            b'"' if self.dialect == Dialect::PostgreSql => name(b'"', Inner::Doubled),
            b'`' if self.dialect != Dialect::PostgreSql => name(b'`', Inner::Doubled),
            b'[' if self.dialect == Dialect::Sqlite => name(b']', Inner::Nowhere),
            b'?' => (Token::Sign, 1 + length(rest, |byte| byte.is_ascii_digit())),
            b':' | b'@' | b'$' => (Token::Sign, 1 + length(rest, is_of_word)),
            _ if is_of_word(first) => (Token::Word, length(bytes, is_of_word)),
            _ => (Token::Sign, 1),
        })
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
