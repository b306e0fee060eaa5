//! How deep the compiler follows types. An async function with a span is a future in a future in a
//! future, so a program that comes near the compiler's limit without spans would exceed it with
//! them, and where its libraries have spans, compiling the program as it is would not help either.

use quote::ToTokens;
use syn::spanned::Spanned;
use syn::{AttrStyle, Attribute, Expr, Item, Lit, Meta};

use crate::edit::Edits;
use crate::modules::Source;

/// Far more than thrice the usual limit of 128; the compiler grows its stack as it needs to.
const LIMIT: &str = " #![recursion_limit = \"512\"]";

/// Raises the limit of the crate with this root.
pub(crate) fn raise(root: &Source, edits: &mut Edits) {
    let mut after = None;
    for attribute in &root.ast.attrs {
        if let AttrStyle::Outer = attribute.style {
            continue;
        }
        let start = attribute.pound_token.span.byte_range().start;
        let is_comment = root.text.as_bytes().get(start) != Some(&b'#');
        if let Meta::NameValue(pair) = &attribute.meta
            && pair.path.is_ident("recursion_limit")
            && let Expr::Lit(value) = &pair.value
            && let Lit::Str(limit) = &value.lit
        {
            // `"256"` becomes `"2560"`: of two such attributes the compiler warns.
            let quote = limit.span().byte_range().end.saturating_sub(1);
            edits.insert(quote, "0");
            return;
        }
        if attribute.path().is_ident("cfg_attr") && mentions(attribute) {
            return;
        }
        if !is_comment {
            after = Some(attribute.bracket_token.span.close().byte_range().end);
        }
    }
    // Behind another attribute it ends a line, as a rule, and is taken out of messages. At the start
    // it must not shift code, whose panics say their columns.
    match after {
        Some(place) => edits.insert(place, LIMIT),
        None if begins_with_code(root) => {}
        None => edits.insert(root.start(), LIMIT),
    }
}

/// Whether an item stands on the file's first line as a whole, and may be code.
fn begins_with_code(root: &Source) -> bool {
    let Some(item) = root.ast.items.first() else {
        return false;
    };
    let end = item.span().byte_range().end;
    let before = root.text.get(root.start()..end).unwrap_or_default();
    !matches!(item, Item::Use(_) | Item::ExternCrate(_)) && !before.contains('\n')
}

fn mentions(attribute: &Attribute) -> bool {
    let text = attribute.to_token_stream().to_string();
    text.contains("recursion_limit")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn raised(text: &str) -> String {
        let root = Source::parse(Path::new("lib.rs"), text.to_owned()).expect("it parses");
        let mut edits = Edits::default();
        raise(&root, &mut edits);
        edits.apply(text)
    }

    #[test]
    fn the_limit_stands_behind_the_attributes() {
        let limit = LIMIT;
        for (before, after) in [
            ("", "\nfn f() {}\n"),
            ("", "use x::y; fn f() {}\n"),
            ("", "fn f() {\n    1\n}\n"),
            ("\u{feff}", "\nfn f() {}\n"),
            ("\u{feff}#!run me\r\n", "use x;\n"),
            ("#![allow(unused)]", "\n//! Text.\nfn f() {}\n"),
            (
                "//! Text.\n#![deny(x)]\n#![allow(y)]",
                " // why\nfn f() {}\n",
            ),
        ] {
            assert_eq!(
                raised(&format!("{before}{after}")),
                format!("{before}{limit}{after}")
            );
        }
    }

    #[test]
    fn a_limit_that_is_given_is_multiplied_and_code_is_not_shifted() {
        assert_eq!(
            raised("#![recursion_limit = \"256\"]\n"),
            "#![recursion_limit = \"2560\"]\n"
        );
        let code = "fn f() { 1 }\n";
        assert_eq!(raised(code), code);
        let conditional = "#![cfg_attr(x, recursion_limit = \"9\")]\n";
        assert_eq!(raised(conditional), conditional);
    }
}
