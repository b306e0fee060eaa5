//! The lean form of an `async fn`: a function that returns its future. The future is then one state
//! machine with a span, where the nested form, an `async fn` that awaits another, has two, which takes
//! a tenth longer to compile and holds the arguments twice. The compiler does to an `async fn` what
//! is done here, so what it says of one holds for the other.

use std::ops::Range;

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, Block, FnArg, Pat, PatIdent, ReturnType, Signature, Type};

use crate::edit::Edits;
use crate::places::after;

/// How a function is made lean.
#[derive(Debug, Default)]
pub(super) struct Lean {
    /// What stands first in the body.
    pub(super) first: String,
    /// What takes the place of patterns among the parameters, as long as they are.
    covers: Vec<(usize, String)>,
}

/// `None` where the two forms could differ.
///
/// An `async fn` holds every argument until it ends, a block only what it mentions: so all of them
/// are mentioned. One that the body itself does not mention is unused, which the compiler should go on
/// to say. An `async fn` makes locals of all of them in the order of the parameters, and so drops them
/// in the opposite order, but in that of the parameters when it is dropped before it is polled. What a
/// block captures is dropped after its locals, in one order in both cases. So only as many are left
/// captured, which is less to compile, as have at most one among them that is seen to be dropped.
pub(super) fn of(attributes: &[Attribute], signature: &Signature, block: &Block) -> Option<Lean> {
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
    let body = block.to_token_stream();
    let (mut first, mut covers) = (String::new(), Vec::new());
    let (mut has_droppable, mut has_locals) = (false, false);
    for (n, input) in signature.inputs.iter().enumerate() {
        let typed = match input {
            FnArg::Typed(typed) if typed.attrs.is_empty() => typed,
            // `mut self`, not `&mut self`.
            FnArg::Receiver(receiver)
                if receiver.mutability.is_none() || receiver.reference.is_some() =>
            {
                has_droppable = receiver.reference.is_none();
                first.push_str(" let _ = &self;");
                continue;
            }
            _ => return None,
        };
        let names = Names::of(&typed.pat)?;
        if names.is_empty() || !names.iter().all(|name| mentions(&body, name)) {
            return None;
        }
        let pattern = typed.pat.to_token_stream();
        let is_one_more = has_droppable && is_droppable(&typed.ty);
        has_droppable |= is_droppable(&typed.ty);
        match &*typed.pat {
            Pat::Ident(PatIdent {
                by_ref: None,
                mutability,
                subpat: None,
                ident,
                ..
            }) => {
                if let Some(word) = mutability {
                    covers.push((word.span.byte_range().start, "   ".to_owned()));
                }
                has_locals |= mutability.is_some() || is_one_more;
                first.push_str(&match has_locals {
                    true => format!(" let {pattern} = {ident};"),
                    false => format!(" let _ = &{ident};"),
                });
            }
            whole => {
                has_locals = true;
                let (name, place) = (format!("__{n}"), on_one_line(whole)?);
                let length = Some(place.len()).filter(|length| *length >= name.len())?;
                covers.push((place.start, format!("{name:length$}")));
                first.push_str(&format!(" let {name} = {name}; let {pattern} = {name};"));
            }
        }
    }
    Some(Lean { first, covers })
}

/// Whether something may happen when a value of the type is dropped.
fn is_droppable(of: &Type) -> bool {
    const COPIED: [&str; 16] = [
        "bool", "char", "f32", "f64", "i8", "i16", "i32", "i64", "i128", "isize", "u8", "u16",
        "u32", "u64", "u128", "usize",
    ];
    match of {
        Type::Path(path) => !COPIED.iter().any(|name| path.path.is_ident(name)),
        Type::Ptr(_) | Type::Reference(_) => false,
        _ => true,
    }
}

/// Bytes of a pattern that has no line break in it.
fn on_one_line(pattern: &Pat) -> Option<Range<usize>> {
    let span = pattern.span();
    (span.start().line == span.end().line).then(|| span.byte_range())
}

/// What a pattern gives names to.
#[derive(Default)]
struct Names {
    names: Vec<String>,
    has_macro: bool,
}

impl Names {
    /// `None` when they are not to be seen.
    fn of(pattern: &Pat) -> Option<Vec<String>> {
        let mut seen = Self::default();
        seen.visit_pat(pattern);
        (!seen.has_macro).then_some(seen.names)
    }
}

impl<'ast> Visit<'ast> for Names {
    fn visit_pat_ident(&mut self, name: &'ast PatIdent) {
        self.names.push(name.ident.to_string());
        visit::visit_pat_ident(self, name);
    }

    fn visit_macro(&mut self, _: &'ast syn::Macro) {
        self.has_macro = true;
    }
}

/// Takes `async` away, gives each parameter a name, and makes the output that of a future.
pub(super) fn write(lean: &Lean, signature: &Signature, hook: &str, edits: &mut Edits) {
    if let Some(word) = &signature.asyncness {
        edits.cover(word.span.byte_range().start, "/*~*/");
    }
    for (at, name) in &lean.covers {
        edits.cover(*at, name);
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

    /// The parameters and what stands first in the body, if the function may be lean.
    fn written(source: &str) -> Option<String> {
        let function: syn::ItemFn = syn::parse_str(source).expect("test source");
        let lean = of(&function.attrs, &function.sig, &function.block)?;
        let mut edits = Edits::default();
        write(&lean, &function.sig, "hook", &mut edits);
        let written = edits.apply(source);
        let parameters = written.find('(')?..written.find(") ")? + 1;
        Some(written[parameters].to_owned() + &lean.first)
    }

    #[test]
    fn arguments_are_held_and_dropped_as_before() {
        for (source, expected) in [
            (
                "async fn f(a: A, b: &B) -> T { g(b, a).await }",
                "(a: A, b: &B) let _ = &a; let _ = &b;",
            ),
            (
                "async fn f(a: A, b: B, c: u8) -> T { g(c, b, a).await }",
                "(a: A, b: B, c: u8) let _ = &a; let b = b; let c = c;",
            ),
            (
                "async fn f(self, a: A) -> T { g(self, a).await }",
                "(self, a: A) let _ = &self; let a = a;",
            ),
            ("/// Text.\nasync fn f() {}", "()"),
            (
                "async fn f(a: A) { println!(\"{a:?}\") }",
                "(a: A) let _ = &a;",
            ),
            (
                "async fn f(&self, a: A, B(b): B, c: C) { g(self, a, b, c) }",
                "(&self, a: A, __2 : B, c: C) let _ = &self; let _ = &a; let __2 = __2; \
                 let B (b) = __2; let c = c;",
            ),
            (
                "async fn f(a: A, mut b: B) { b.set(a) }",
                "(a: A,     b: B) let _ = &a; let mut b = b;",
            ),
            (
                "async fn f(A { a, .. }: A, (mut b, _): (B, C)) { g(a, b) }",
                "(__0        : A, __1       : (B, C)) let __0 = __0; let A { a , .. } = __0; \
                 let __1 = __1; let (mut b , _) = __1;",
            ),
        ] {
            assert_eq!(written(source).as_deref(), Some(expected), "{source}");
        }
    }

    #[test]
    fn what_could_differ_stays_nested() {
        for source in [
            "async fn f(unused: A) {}",
            "async fn f(mut self) { self.b() }",
            "async fn f(A { a, unused }: A) { a }",
            "async fn f(A(\na): A) { a }",
            "async fn f((a!(), b): (A, B)) { b }",
            "async fn f(&a: &A) { a }",
            "async fn f(_: A) {}",
            "async fn f() -> impl Sized {}",
            "async fn f() -> Result<impl Sized, E> { x }",
            "async fn f() -> ! { loop {} }",
            "#[handler] async fn f() {}",
        ] {
            assert_eq!(written(source), None, "{source}");
        }
    }
}
