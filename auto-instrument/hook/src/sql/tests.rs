//! What is hidden, by database; and that nothing of a literal is left, whatever is in it.

use proptest::prelude::*;

use super::*;
use crate::db::summary;

#[test]
fn literals_are_hidden_in_each_database_and_where_it_is_unknown() {
    for (system, sql, expected) in [
        ("postgresql", "a = 'it''s' OR b = $1", "a = ? OR b = $1"),
        (
            "postgresql",
            "\"n'1\" = 'a' AND \"m\" = 2",
            "\"n'1\" = ? AND \"m\" = ?",
        ),
        (
            "postgresql",
            r"a = E'it\'s' AND b = U&'d\0061'",
            "a = ? AND b = U&?",
        ),
        ("postgresql", "a = e'x'\n -- y\n'it\\'s' || b", "a = ? || b"),
        (
            "postgresql",
            "$$it's$$ || $t$a $$ 'b$t$ || $1",
            "? || ? || $1",
        ),
        ("postgresql", "$1$$a$$ f$1 t$a$", "$1? f$1 t$a$"),
        (
            "postgresql",
            "a /* b /* 'c */ d */ e -- f'\ng",
            "a   e  \ng",
        ),
        ("postgresql", "a -- it's\r= 'b\n c'", "a  \r= ?"),
        ("postgresql", "a::int[12:3] #> ?", "a::int[?:?] #> ?"),
        ("postgresql", r"'a\' || b || 'c'", "?"),
        (
            "mysql",
            r#"a = "it's" AND b = "x\"y""z""#,
            "a = ? AND b = ?",
        ),
        ("mysql", r"`n'1` = 'it\'s' AND b = _utf8mb4'a'", "`n'1` = ?"),
        (
            "mysql",
            "`n'1` = X'1F' AND b = N'a'",
            "`n'1` = X? AND b = N?",
        ),
        ("mysql", "a # it's\n= 'b' -- 'c\n+ 1", "a  \n= ?  \n+ ?"),
        ("mysql", "a = 5--'b\n c'", "a = ?--?"),
        ("mysql", "a /*!50100 + 'b */ c' + d */ + e", "a ?"),
        (
            "sqlite",
            "a = \"it's\" AND [n'1] = `n'2` + x'00'",
            "a = ? AND [n'1] = `n'2` + x?",
        ),
        (
            "sqlite",
            "a = $1 AND b = ?2 AND c = :c AND d = @d",
            "a = $1 AND b = ?2 AND c = :c AND d = @d",
        ),
        (
            "other_sql",
            "[n1] = $12.50 AND [n2] = N'it''s'",
            "[n1] = ? AND [n2] = N?",
        ),
        (
            "other_sql",
            "a = q'[it's]' || nq'!it's!' || 'b'",
            "a = ? || ?",
        ),
        ("other_sql", "a = '''it's \"x\" y''' AND b", "a = ?"),
        ("other_sql", "a = \"b\" AND c = 'd'", "a = ? AND c = ?"),
        ("other_sql", "a = 'open", "a = ?"),
        ("other_sql", "a /* open", "a  "),
        (
            "other_sql",
            "LIMIT 12, 0x1F, 0b01, 1_000, .5, 1.5e-3, 1e+9, -2",
            "LIMIT ?, ?, ?, ?, ?, ?, ?, -?",
        ),
        (
            "other_sql",
            "t2.c = c_3 AND \u{e4}4 = 5",
            "t2.c = c_3 AND \u{e4}4 = ?",
        ),
        (
            "other_sql",
            "a = 'it''s' AND b=12.5 OR c1 = ?1",
            "a = ? AND b=? OR c1 = ?1",
        ),
    ] {
        assert_eq!(sanitized(sql, system), expected, "{system}: {sql}");
    }
}

#[test]
fn of_a_huge_text_only_the_beginning_is_read() {
    let sql = format!("SELECT '{}'", "\u{e4}".repeat(TEXT_BYTES_MAX));
    assert_eq!(sanitized(&sql, "other_sql"), "SELECT ?");
    let sql = "\u{20ac}".repeat(TEXT_BYTES_MAX);
    assert_eq!(sanitized(&sql, "other_sql").len(), TEXT_BYTES_MAX / 3 * 3);
}

/// How a database writes texts, and what else it understands.
struct Writer {
    system: &'static str,
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

fn line(content: &str) -> String {
    format!("-- {}\n", content.replace('\n', ""))
}

fn hash(content: &str) -> String {
    format!("#{}\n", content.replace('\n', ""))
}

fn block(content: &str) -> String {
    format!("/* {} */", content.replace('*', ""))
}

const WRITERS: [Writer; 9] = [
    Writer {
        system: "postgresql",
        literals: &[
            single,
            line,
            block,
            |content| format!("e{}", backslashed(content, "'")),
            |content| format!("e'X'\n{}", backslashed(content, "'")),
            |content| format!("$$ {} $$", content.replace('$', "")),
            |content| format!("$t${content}$t$"),
            |content| format!("/* {0} /* {0} */ {0} */", content.replace('*', "")),
        ],
        code: &["\"o'x\"", "$", "#", "`", "\\", "["],
    },
    Writer {
        system: "postgresql",
        literals: &[single_backslashed, line, block],
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
        system: "sqlite",
        literals: &[single, double, line, block],
        code: &["`o'x`", "[o'x]", "$o", "#", "\\"],
    },
    Writer {
        system: "microsoft.sql_server",
        literals: &[single, double, line, block, |content| {
            let digits: String = content.chars().filter(char::is_ascii_digit).collect();
            format!("$1{digits}.5")
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
            |content| {
                let content = content.replace('\\', r"\\").replace("'''", "");
                format!("'''{content} '''")
            },
            |content| {
                let content = content.replace('\\', r"\\").replace("\"\"\"", "");
                format!("\"\"\"{content} \"\"\"")
            },
        ],
        code: &["`o'x`"],
    },
];

const NUMBERS: [&str; 7] = ["7", "1_000", ".5", "1.5E-3", "0XFF", "1E+9", "12.5"];
const CODE: [&str; 9] = ["a", "from", "bc", "=", ",", "(", "-", "/", "?"];

/// One piece of a text; what is to be hidden has capitals and digits only, and nothing else has.
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
const STRANGE: &str = r#"([a-z ]|[-'"`$/*#!\[\](),;.:0-9\\]|[eq]'|''|\PC){0,60}"#;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn nothing_of_a_literal_is_left(
        pieces in prop::collection::vec((any::<prop::sample::Index>(), CONTENT), 0..8),
    ) {
        for writer in &WRITERS {
            let written = pieces.iter().map(|(at, content)| piece(writer, *at, content));
            let sql = written.collect::<Vec<_>>().join(" ");
            for system in [writer.system, "other_sql"] {
                let shown = sanitized(&sql, system);
                let is_left = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit();
                prop_assert!(!shown.contains(is_left), "{system}: {sql} => {shown}");
                let (operation, target) = summary(&shown);
                prop_assert!(shown.to_uppercase().contains(&operation));
                prop_assert!(target.is_none_or(|target| !target.contains(is_left)));
            }
        }
    }

    #[test]
    fn no_text_is_too_strange(sql in STRANGE) {
        for (system, flags) in READINGS {
            let _ = sanitized(&sql, system);
            let mut at = 0;
            while at < sql.len() {
                let n = Reading { sql: &sql, flags }.token(at).1;
                prop_assert!(n > 0, "{flags:b} stands at {at}: {sql}");
                at += n;
            }
        }
    }
}
