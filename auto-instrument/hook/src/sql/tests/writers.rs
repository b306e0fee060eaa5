//! How databases write what is to be hidden, in each of their settings. The SDK's reader is held to
//! the same.

use proptest::prelude::*;

/// How a database writes texts, and what else it understands.
pub(super) struct Writer {
    pub(super) system: &'static str,
    /// Literals and comments with such a content.
    literals: &'static [fn(&str) -> String],
    code: &'static [&'static str],
}

fn doubled(content: &str, quote: &str) -> String {
    let content = content.replace(quote, &quote.repeat(2));
    format!("{quote}{content}{quote}")
}

fn backslashed(content: &str, quote: &str) -> String {
    let content = content.replace('\\', r"\\");
    let content = content.replace(quote, &format!("\\{quote}"));
    format!("{quote}{content}{quote}")
}

fn single(content: &str) -> String {
    doubled(content, "'")
}

fn double(content: &str) -> String {
    doubled(content, "\"")
}

fn single_backslashed(content: &str) -> String {
    backslashed(content, "'")
}

fn double_backslashed(content: &str) -> String {
    backslashed(content, "\"")
}

fn escaped(content: &str) -> String {
    backslashed(content, "'")
}

fn unquoted(content: &str) -> String {
    content.replace('\'', "")
}

fn unlined(content: &str) -> String {
    content.replace('\n', "")
}

fn line(content: &str) -> String {
    format!("-- {}\n", unlined(content))
}

fn hash(content: &str) -> String {
    format!("#{}\n", unlined(content))
}

fn block(content: &str) -> String {
    format!("/* {} */", content.replace('*', ""))
}

fn nested(content: &str) -> String {
    format!("/* {0} /* {0} */ {0} */", content.replace('*', ""))
}

pub(super) const WRITERS: [Writer; 11] = [
    Writer {
        system: "postgresql",
        literals: &[
            single,
            line,
            block,
            // A text goes on in the next quotes of another line, and by the rules of its beginning.
            // So one with escapes must not be followed by one without, of the piece behind.
            |content| format!("e{} +", escaped(content)),
            |content| format!("e'X'\n{} +", escaped(content)),
            |content| {
                let comment = unlined(content);
                format!(
                    "e'X' -- '{comment}\r\t-- '{comment}\n {} +",
                    escaped(content)
                )
            },
            |content| format!("x'{}' +", unquoted(content)),
            |content| format!("e'X' /* ' */\n{}", single(content)),
            |content| format!("$$ {} $$", content.replace('$', "")),
            |content| format!("$t${content}$t$"),
            |content| format!("-- \r{}", single(content)),
            nested,
        ],
        code: &["\"o'x\"", "$", "#", "`", "\\", "["],
    },
    Writer {
        // `standard_conforming_strings = off`
        system: "postgresql",
        literals: &[
            single_backslashed,
            line,
            block,
            |content| format!("e'X' -- '\n{}", escaped(content)),
            |content| format!("b'1'\nx'{}' +", unquoted(content)),
        ],
        code: &["\"o'x\"", "\"o\\\"", "$", "#", "`"],
    },
    Writer {
        system: "mysql",
        literals: &[
            single_backslashed,
            double_backslashed,
            line,
            block,
            hash,
            |content| format!("--\x7f{}\n", unlined(content)),
            |content| format!("a--{}", backslashed(content, "'")),
            |content| format!("/*! a {} */", backslashed(content, "'")),
            |content| format!("/*!99999 {} */", content.replace('*', "")),
        ],
        code: &["`o'x`", "$", "["],
    },
    Writer {
        // `ANSI_QUOTES`
        system: "mysql",
        literals: &[single_backslashed, line, block, hash],
        code: &["`o'x`", "\"o\\\"", "\"o'x\"", "["],
    },
    Writer {
        // `NO_BACKSLASH_ESCAPES`
        system: "mysql",
        literals: &[single, double, line, block, hash],
        code: &["`o'x`", "\\", "["],
    },
    Writer {
        // MariaDB's `MSSQL`
        system: "mysql",
        literals: &[single_backslashed, line, block, hash],
        code: &["`o'x`", "\"o\\\"", "[o'x]", "[o]]\"x]"],
    },
    Writer {
        // MariaDB's `MSSQL` with `NO_BACKSLASH_ESCAPES`
        system: "mysql",
        literals: &[single, line, block, hash],
        code: &["`o'x`", "\"o\\\"", "[o'x]", "[o]]\"x]", "\\"],
    },
    Writer {
        system: "sqlite",
        literals: &[single, double, line, block],
        code: &[
            "`o'x`",
            "[o'x]",
            "[o]",
            "$o",
            "$o(')",
            ":o::o(\")",
            "#",
            "\\",
        ],
    },
    Writer {
        system: "microsoft.sql_server",
        literals: &[single, double, line, block, nested, |content| {
            let digits: String = content.chars().filter(char::is_ascii_digit).collect();
            format!("$1{digits}.5+\u{20ac}1{digits}.5")
        }],
        code: &["[o'x]", "[o]]'x]", "#", "\\", "`"],
    },
    Writer {
        system: "oracle.db",
        literals: &[
            single,
            line,
            block,
            |content| format!("q'[{} ]'", content.replace(']', "")),
            |content| format!("nq'!{} !'", content.replace('!', "")),
        ],
        code: &["$o", "o#", "\\", "`"],
    },
    Writer {
        system: "gcp.bigquery",
        literals: &[
            single_backslashed,
            double_backslashed,
            line,
            block,
            hash,
            |content| format!("-- '\r{}", escaped(content)),
            |content| format!("# '\r{}", escaped(content)),
            |content| {
                let content = content.replace('\\', r"\\").replace("'''", "");
                format!("'''{content} '''")
            },
            |content| {
                let content = content.replace('\\', r"\\").replace("\"\"\"", "");
                format!("\"\"\"{content} \"\"\"")
            },
        ],
        code: &["`o'x`", "`o\\`'x`"],
    },
];

const NUMBERS: [&str; 7] = ["7", "1_000", ".5", "1.5E-3", "0XFF", "1E+9", "12.5"];
const CODE: [&str; 11] = [
    "a", "select", "from", "into", "bc", "=", ",", "(", "-", "/", "?",
];

/// Texts of random pieces.
pub(super) fn pieces() -> impl Strategy<Value = Vec<(prop::sample::Index, String)>> {
    prop::collection::vec((any::<prop::sample::Index>(), CONTENT), 0..8)
}

/// A text of such pieces, as `writer` writes it.
pub(super) fn text(writer: &Writer, pieces: &[(prop::sample::Index, String)]) -> String {
    let written = pieces
        .iter()
        .map(|(at, content)| piece(writer, *at, content));
    written.collect::<Vec<_>>().join(" ")
}

/// What is to be hidden has capitals and digits only, and nothing else has.
pub(super) fn is_secret(c: char) -> bool {
    c.is_ascii_uppercase() || c.is_ascii_digit()
}

fn piece(writer: &Writer, at: prop::sample::Index, content: &str) -> String {
    let n = writer.literals.len();
    let others = NUMBERS.iter().chain(&CODE).chain(writer.code);
    let at = at.index(2 * n + others.clone().count());
    match at.checked_sub(2 * n) {
        None => writer.literals[at % n](content),
        Some(at) => others.copied().nth(at).unwrap().to_owned(),
    }
}

/// What a literal may hold, with what ends it elsewhere.
const CONTENT: &str = r#"([A-Z0-9 \n]|['"`\\$#/*!\[\]-]|''|'''|\$\$| -- ){0,9}"#;

/// Anything, and more of what is not closed.
pub(super) const STRANGE: &str = r#"([a-z ]|[-'"`$/*#!\[\](),;.:0-9\\]|[eq]'|''|\PC){0,60}"#;
