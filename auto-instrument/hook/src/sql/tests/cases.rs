//! Texts as they are shown, by `db.system.name`. The SDK's reader is held to the same.

pub(super) const CASES: &[(&str, &str, &str)] = &[
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
    // It goes on behind comments that hold quotes, and what looks like a text is none.
    ("postgresql", "e'' -- \r'\\''''' e'x + 'y'", "?x + ?"),
    ("postgresql", "e'' -- \r'\\''''' e'X'\n''", "?"),
    (
        "postgresql",
        "e'x' -- it's\n\t-- 'y\r 'it\\'s' || b",
        "? || b",
    ),
    // Whether a vertical tab is a blank depends on the server's version, and so does what letters
    // behind a number are.
    ("postgresql", "e'x'\n\x0b'y\\' || 'b'", "?"),
    ("postgresql", "1e'x\\' || 'b'", "?"),
    ("postgresql", "1a$$ + '$$b'", "?"),
    ("postgresql", "1e5 + 1$$it's$$ || b", "? + ? || b"),
    ("postgresql", "a = \"b + 'c'", "a = ?"),
    ("postgresql", "e'x' /* ' */\n'y\\' || 'b'", "?  \n?"),
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
    ("sqlite", "$a(') + :b::c(\") + 'd'", "$a(') + :b::c(\") + ?"),
    ("sqlite", "[a]] + 'b]c'", "[a]] + ?"),
    ("sqlite", "[a + 'b'", "?"),
    ("mysql", "a --\x7f it's\n+ 'b'", "a  \n+ ?"),
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
    ("other_sql", "a = \u{20ac}12.50 + 5", "a = ? + ?"),
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
    // Settings of one database that disagree.
    ("mysql", r"a = 'b\' AND c = 'd'", "a = ?"),
    ("mysql", r"a = 'b\'' AND c = 1", "a = ?"),
    ("mysql", "[n'1] = 'a' AND b", "[n?"),
    ("mysql", r#"a = "b' c" AND d = 'e'"#, "a = ? AND d = ?"),
    ("postgresql", r"a = 'b\'' AND c = 1", "a = ?"),
];
