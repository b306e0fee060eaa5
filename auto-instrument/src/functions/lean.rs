//! The lean form of an `async fn`: a function that returns its future. The future is then one state
//! machine with a span, where the nested form, an `async fn` that awaits another, has two, which takes
//! a tenth longer to compile and holds the arguments twice. The compiler does to an `async fn` what
//! is done here, so what it says of one holds for the other.

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use syn::spanned::Spanned;
use syn::{Attribute, Block, FnArg, Pat, ReturnType, Signature, Type};

use crate::edit::Edits;
use crate::places::after;

/// What must stand first in the body; `None` where the two forms could differ.
///
/// An `async fn` holds every argument until it ends, a block only what it mentions: so all of them
/// are mentioned. One that the body itself does not mention is unused, which the compiler should go on
/// to say. They are dropped in the order in which they are first mentioned, and those of a function in
/// the opposite order of its parameters.
pub(super) fn kept(
    attributes: &[Attribute],
    signature: &Signature,
    block: &Block,
) -> Option<String> {
    let body = block.to_token_stream();
    let output_is_plain = match &signature.output {
        ReturnType::Default => true,
        // An `impl Trait` in it captures less when it is not of an `async fn`.
        ReturnType::Type(_, output) => {
            !matches!(**output, Type::Never(_)) && !mentions(&output.to_token_stream(), "impl")
        }
    };
    if !output_is_plain || !attributes.iter().all(is_inert) {
        return None;
    }
    let mut names = Vec::new();
    for input in &signature.inputs {
        names.push(match input {
            // `mut self`, not `&mut self`.
            FnArg::Receiver(receiver)
                if receiver.mutability.is_some() && receiver.reference.is_none() =>
            {
                return None;
            }
            FnArg::Receiver(_) => "self".to_owned(),
            FnArg::Typed(typed) => match &*typed.pat {
                Pat::Ident(name)
                    if name.by_ref.is_none()
                        && name.mutability.is_none()
                        && name.subpat.is_none()
                        && typed.attrs.is_empty()
                        && mentions(&body, &name.ident.to_string()) =>
                {
                    name.ident.to_string()
                }
                _ => return None,
            },
        });
    }
    let kept = names.iter().rev().map(|name| format!(" let _ = &{name};"));
    Some(kept.collect())
}

/// Takes `async` away and makes the output that of a future.
pub(super) fn write(signature: &Signature, hook: &str, edits: &mut Edits) {
    if let Some(word) = &signature.asyncness {
        edits.cover(word.span.byte_range().start, "/*~*/");
    }
    match &signature.output {
        ReturnType::Default => {
            let end = after(signature.paren_token.span.close());
            edits.insert(end, &format!(" -> {hook}::future_of!(())"));
        }
        ReturnType::Type(_, output) => {
            let place = output.span().byte_range();
            edits.insert(place.start, &format!("{hook}::future_of!("));
            // Not `)` alone: it is looked for in messages.
            edits.insert(place.end, "/*|*/)");
        }
    }
}

/// Whether an attribute leaves what it stands on as it is. Others may be macros, which want to see
/// what the program's author wrote.
pub(super) fn is_inert(attribute: &Attribute) -> bool {
    const INERT: [&str; 10] = [
        "allow",
        "cfg",
        "cold",
        "deny",
        "deprecated",
        "doc",
        "expect",
        "inline",
        "must_use",
        "warn",
    ];
    INERT.iter().any(|name| attribute.path().is_ident(name))
}

/// Whether a name occurs, also in what is passed to macros and in their formats.
fn mentions(tokens: &TokenStream, name: &str) -> bool {
    tokens.clone().into_iter().any(|token| match token {
        TokenTree::Ident(ident) => ident == name,
        TokenTree::Group(group) => mentions(&group.stream(), name),
        TokenTree::Literal(literal) => {
            let text = literal.to_string();
            text.starts_with('"') && text.contains(&format!("{{{name}"))
        }
        TokenTree::Punct(_) => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What stands first in the body, if the function may be lean.
    fn kept_of(source: &str) -> Option<String> {
        let function: syn::ItemFn = syn::parse_str(source).expect("test source");
        kept(&function.attrs, &function.sig, &function.block)
    }

    #[test]
    fn arguments_are_held_and_dropped_as_before() {
        let kept = kept_of("async fn f(a: A, b: &B) -> T { g(b, a).await }");
        assert_eq!(kept.as_deref(), Some(" let _ = &b; let _ = &a;"));
        assert_eq!(kept_of("/// Text.\nasync fn f() {}").as_deref(), Some(""));
        let in_format = kept_of("async fn f(a: A) { println!(\"{a:?}\") }");
        assert_eq!(in_format.as_deref(), Some(" let _ = &a;"));
    }

    #[test]
    fn what_could_differ_stays_nested() {
        for source in [
            "async fn f(unused: A) {}",
            "async fn f(mut a: A) { a.b() }",
            "async fn f(A { a }: A) { a }",
            "async fn f(_: A) {}",
            "async fn f() -> impl Sized {}",
            "async fn f() -> Result<impl Sized, E> { x }",
            "async fn f() -> ! { loop {} }",
            "#[handler] async fn f() {}",
        ] {
            assert_eq!(kept_of(source), None, "{source}");
        }
    }
}
