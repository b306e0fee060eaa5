//! Whether a crate goes without `std`, which may hang on `cfg`: such a crate must not carry a hook
//! that needs it, since a program that brings its own panic handler could then not be linked.

use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{Attribute, Lit, Meta, Token};

/// Asks for the configuration, as `rustc --print cfg` prints it, only when the answer hangs on it.
pub(crate) fn is_no_std(root: &syn::File, configuration: impl FnOnce() -> Vec<String>) -> bool {
    if root.attrs.iter().any(|one| one.path().is_ident("no_std")) {
        return true;
    }
    let conditions: Vec<Meta> = root.attrs.iter().filter_map(no_std_condition).collect();
    if conditions.is_empty() {
        return false;
    }
    let configuration = configuration();
    conditions.iter().any(|one| holds(one, &configuration))
}

/// `P` of `#![cfg_attr(P, no_std)]`.
fn no_std_condition(attribute: &Attribute) -> Option<Meta> {
    if !attribute.path().is_ident("cfg_attr") {
        return None;
    }
    let list = attribute.parse_args_with(Punctuated::<Item, Token![,]>::parse_terminated);
    let mut parts = list.ok()?.into_iter();
    let condition = parts.next()?.0?;
    let is_no_std = |part: Item| part.0.is_some_and(|meta| meta.path().is_ident("no_std"));
    parts.any(is_no_std).then_some(condition)
}

/// A part of a list; `None` for `true` and `false`, which are no names, and for what is not understood.
struct Item(Option<Meta>);

impl Parse for Item {
    fn parse(input: ParseStream) -> syn::Result<Self> {
        if input.peek(syn::LitBool) {
            let word: syn::LitBool = input.parse()?;
            // `all()` holds, and `any()` does not.
            let same = if word.value { "all()" } else { "any()" };
            return Ok(Self(syn::parse_str(same).ok()));
        }
        if let Ok(meta) = input.fork().parse::<Meta>() {
            input.parse::<Meta>()?;
            return Ok(Self(Some(meta)));
        }
        // `unsafe(no_mangle)`: skip it.
        while !input.is_empty() && !input.peek(Token![,]) {
            input.parse::<proc_macro2::TokenTree>()?;
        }
        Ok(Self(None))
    }
}

/// Whether a predicate holds. One that is not understood holds: then the crate is left as it is.
fn holds(predicate: &Meta, configuration: &[String]) -> bool {
    match predicate {
        Meta::Path(name) => name
            .get_ident()
            .is_none_or(|name| configuration.iter().any(|one| name == one)),
        Meta::NameValue(pair) => match (&pair.value, pair.path.get_ident()) {
            (syn::Expr::Lit(value), Some(name)) => match &value.lit {
                Lit::Str(value) => configuration.contains(&format!("{name}={:?}", value.value())),
                _ => true,
            },
            _ => true,
        },
        Meta::List(list) => {
            let Ok(parts) = list.parse_args_with(Punctuated::<Item, Token![,]>::parse_terminated)
            else {
                return true;
            };
            let of = |part: &Item| {
                part.0
                    .as_ref()
                    .is_none_or(|meta| holds(meta, configuration))
            };
            match list.path.get_ident().map(ToString::to_string).as_deref() {
                Some("all") => parts.iter().all(of),
                Some("any") => parts.iter().any(of),
                Some("not") => !parts.first().is_some_and(of),
                _ => true,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is(root: &str) -> bool {
        let root = syn::parse_file(root).expect("test source");
        let configuration = ["unix", "feature=\"std\"", "target_os=\"linux\""];
        is_no_std(&root, || configuration.map(str::to_owned).into())
    }

    #[test]
    fn no_std_may_hang_on_the_configuration() {
        assert!(is("#![no_std]"));
        assert!(is("#![cfg_attr(not(feature = \"alloc\"), no_std)]"));
        assert!(is(
            "#![cfg_attr(all(unix, not(test)), allow(unused), no_std)]"
        ));
        assert!(is(
            "#![cfg_attr(any(windows, target_os = \"linux\"), no_std)]"
        ));
        assert!(is("#![cfg_attr(true, no_std)]"));
        assert!(!is("#![cfg_attr(not(feature = \"std\"), no_std)]"));
        assert!(!is(
            "#![cfg_attr(not(any(test, feature = \"std\")), no_std)]"
        ));
        assert!(!is("#![cfg_attr(target_os = \"none\", no_std)]"));
        assert!(!is("#![cfg_attr(all(), unsafe(x), allow(no_std))]"));
        assert!(!is(
            "#![cfg_attr(false, no_std)]\n#![cfg_attr(windows, no_std)]"
        ));
    }

    #[test]
    fn the_configuration_is_asked_for_only_when_it_decides() {
        let root = syn::parse_file("#![cfg_attr(docsrs, feature(doc_cfg))]").expect("test source");
        assert!(!is_no_std(&root, || panic!("asked")));
    }
}
