//! Finds the places that rules name: items by path, calls and literals inside functions. Macros
//! whose content reads as items or as arguments are looked into (`cfg_rt! { fn .. }`,
//! `ready!(..)`); their tokens keep their positions in the file.

use std::ops::Range;
use std::path::{Path, PathBuf};

use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::parse::Parser;
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{
    AttrStyle, Attribute, Block, Expr, FnArg, ImplItem, Item, Pat, Signature, Token, TraitItem,
    Type,
};

use crate::edit::Edits;
use crate::rules::{Step, StepEdit};

/// The file of a module, by the usual places; what is left of the path is inside that file.
pub(crate) fn module_file(root: &Path, path: &[&str]) -> (PathBuf, usize) {
    let directory = root.parent().unwrap_or(Path::new(""));
    for length in (1..=path.len()).rev() {
        let base = path[..length]
            .iter()
            .fold(directory.to_owned(), |base, name| base.join(name));
        let candidates = [base.with_extension("rs"), base.join("mod.rs")];
        if let Some(file) = candidates.into_iter().find(|file| file.is_file()) {
            return (file, length);
        }
    }
    (root.to_owned(), 0)
}

/// Applies a step inside a file, where `path` is what is left of the item's path there. Returns
/// the number of places; none means that the step does not match.
pub(crate) fn apply(
    step: &Step,
    path: &[&str],
    text: &str,
    ast: &syn::File,
    edits: &mut Edits,
) -> usize {
    match &step.edit {
        StepEdit::Module { insert } if path.is_empty() => {
            edits.append(text.len(), insert);
            1
        }
        StepEdit::Module { .. } => 0,
        _ => search(&ast.items, path, step, edits),
    }
}

fn search(items: &[Item], path: &[&str], step: &Step, edits: &mut Edits) -> usize {
    let mut found = 0;
    for item in items {
        found += match (item, path) {
            (Item::Mod(module), [name, rest @ ..]) if module.ident == name => {
                let inner = module.content.as_ref().map_or(&[][..], |(_, items)| items);
                search(inner, rest, step, edits)
            }
            (Item::Macro(call), _) => match syn::parse2::<syn::File>(call.mac.tokens.clone()) {
                Ok(inner) => search(&inner.items, path, step, edits),
                Err(_) => 0,
            },
            (Item::Fn(function), [name]) if function.sig.ident == name => {
                in_function(&function.attrs, &function.sig, &function.block, step, edits)
            }
            (Item::Struct(item), [name]) if item.ident == name && step.of_trait.is_none() => {
                match &item.fields {
                    syn::Fields::Named(fields) => inside(&fields.brace_token, step, edits),
                    _ => 0,
                }
            }
            (Item::Enum(item), [name, variant]) if item.ident == name => item
                .variants
                .iter()
                .filter(|one| one.ident == variant)
                .map(|one| match &one.fields {
                    syn::Fields::Named(fields) => inside(&fields.brace_token, step, edits),
                    _ => 0,
                })
                .sum(),
            (Item::Trait(item), [name]) if item.ident == name => {
                inside(&item.brace_token, step, edits)
            }
            (Item::Impl(item), [name])
                if step.of_trait.is_some()
                    && names_type(&item.self_ty, name)
                    && is_wanted_trait(item, step) =>
            {
                inside(&item.brace_token, step, edits)
            }
            (Item::Impl(item), [type_name, method]) if names_type(&item.self_ty, type_name) => {
                if !is_wanted_trait(item, step) {
                    continue;
                }
                in_methods(&item.items, method, step, edits)
            }
            (Item::Trait(item), [name, method]) if item.ident == name => {
                in_trait(&item.items, method, step, edits)
            }
            _ => 0,
        };
    }
    found
}

fn names_type(self_type: &Type, name: &str) -> bool {
    match self_type {
        Type::Path(path) => path
            .path
            .segments
            .last()
            .is_some_and(|last| last.ident == name),
        Type::Reference(reference) => names_type(&reference.elem, name),
        _ => false,
    }
}

fn is_wanted_trait(item: &syn::ItemImpl, step: &Step) -> bool {
    let Some(wanted) = &step.of_trait else {
        return true;
    };
    let implemented = item
        .trait_
        .as_ref()
        .and_then(|(_, path, _)| path.segments.last());
    implemented.is_some_and(|last| last.ident == wanted)
}

fn in_methods(items: &[ImplItem], name: &str, step: &Step, edits: &mut Edits) -> usize {
    let mut found = 0;
    for item in items {
        found += match item {
            ImplItem::Fn(method) if method.sig.ident == name => {
                in_function(&method.attrs, &method.sig, &method.block, step, edits)
            }
            ImplItem::Macro(call) => {
                // `cfg_x! { pub fn y() {} }` inside an `impl`: read it as the content of one.
                let tokens = &call.mac.tokens;
                match syn::parse2::<syn::ItemImpl>(quote_impl(tokens)) {
                    Ok(inner) => in_methods(&inner.items, name, step, edits),
                    Err(_) => 0,
                }
            }
            _ => 0,
        };
    }
    found
}

/// `impl X { tokens }`; the tokens keep their positions.
fn quote_impl(tokens: &TokenStream) -> TokenStream {
    use proc_macro2::{Delimiter, Group, Ident, Span, TokenTree};
    let word = |text: &str| TokenTree::Ident(Ident::new(text, Span::call_site()));
    let body = TokenTree::Group(Group::new(Delimiter::Brace, tokens.clone()));
    [word("impl"), word("X"), body].into_iter().collect()
}

fn in_trait(items: &[TraitItem], name: &str, step: &Step, edits: &mut Edits) -> usize {
    let mut found = 0;
    for item in items {
        if let TraitItem::Fn(method) = item
            && method.sig.ident == name
            && let Some(block) = &method.default
        {
            found += in_function(&method.attrs, &method.sig, block, step, edits);
        }
    }
    found
}

fn inside(brace: &syn::token::Brace, step: &Step, edits: &mut Edits) -> usize {
    match &step.edit {
        StepEdit::Inside { insert } => {
            edits.insert(after(brace.span.open()), &format!(" {insert}"));
            1
        }
        _ => 0,
    }
}

fn in_function(
    attributes: &[Attribute],
    signature: &Signature,
    block: &Block,
    step: &Step,
    edits: &mut Edits,
) -> usize {
    if !step
        .params
        .iter()
        .all(|name| has_parameter(signature, name))
    {
        return 0;
    }
    match &step.edit {
        StepEdit::Enter { insert } => {
            edits.insert(body_start(attributes, block), &format!(" {insert}"));
            1
        }
        StepEdit::Wrap { open, close } => {
            edits.insert(body_start(attributes, block), &format!(" {open}"));
            edits.insert(
                block.brace_token.span.close().byte_range().start,
                &format!("{close} "),
            );
            1
        }
        StepEdit::Call {
            of,
            argument,
            open,
            close,
        } => {
            let mut calls = Calls {
                of,
                argument: *argument,
                found: Vec::new(),
            };
            calls.visit_block(block);
            for range in &calls.found {
                edits.insert(range.start, &format!("{open} "));
                edits.insert(range.end, &format!(" {close}"));
            }
            calls.found.len()
        }
        StepEdit::Literal { of, insert } => in_fields(Fields::of(of, false), block, insert, edits),
        StepEdit::Pattern { of, insert } => in_fields(Fields::of(of, true), block, insert, edits),
        StepEdit::Inside { .. } | StepEdit::Module { .. } => 0,
    }
}

/// Byte offset right after a token.
pub(crate) fn after(span: proc_macro2::Span) -> usize {
    span.byte_range().end
}

/// Where the first statement may stand: after the brace and after the body's `#![attributes]`,
/// which syn keeps with the function.
pub(crate) fn body_start(attributes: &[Attribute], block: &Block) -> usize {
    let inner = attributes
        .iter()
        .filter(|one| matches!(one.style, AttrStyle::Inner(_)));
    let brace = after(block.brace_token.span.open());
    inner
        .map(|one| one.span().byte_range().end)
        .fold(brace, usize::max)
}

fn has_parameter(signature: &Signature, name: &str) -> bool {
    signature.inputs.iter().any(|input| match input {
        FnArg::Receiver(_) => name == "self",
        FnArg::Typed(typed) => match &*typed.pat {
            Pat::Ident(pattern) => pattern.ident == name,
            _ => false,
        },
    })
}

/// Tokens without any spaces, to compare with a rule's text.
fn compact(tokens: &impl ToTokens) -> String {
    tokens
        .to_token_stream()
        .to_string()
        .split_whitespace()
        .collect()
}

/// Reads a macro's arguments as expressions, when they are.
fn arguments(tokens: &TokenStream) -> Option<Punctuated<Expr, Token![,]>> {
    Punctuated::parse_terminated.parse2(tokens.clone()).ok()
}

struct Calls<'a> {
    of: &'a str,
    argument: Option<usize>,
    found: Vec<Range<usize>>,
}

impl Calls<'_> {
    fn note<'e>(
        &mut self,
        callee: &str,
        call: &Expr,
        arguments: impl IntoIterator<Item = &'e Expr>,
    ) {
        if callee != self.of {
            return;
        }
        match self.argument {
            None => self.found.push(call.span().byte_range()),
            Some(nth) => {
                self.found.extend(
                    arguments
                        .into_iter()
                        .nth(nth)
                        .map(|one| one.span().byte_range()),
                );
            }
        }
    }
}

impl<'ast> Visit<'ast> for Calls<'_> {
    fn visit_expr(&mut self, expr: &'ast Expr) {
        match expr {
            Expr::Call(call) => self.note(&compact(&call.func), expr, &call.args),
            Expr::MethodCall(call) => {
                let receiver = compact(&call.receiver);
                self.note(&format!("{receiver}.{}", call.method), expr, &call.args);
            }
            Expr::Macro(call) => {
                let inner = arguments(&call.mac.tokens).unwrap_or_default();
                self.note(&format!("{}!", compact(&call.mac.path)), expr, &inner);
            }
            _ => {}
        }
        visit::visit_expr(self, expr);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        for expr in arguments(&call.tokens).unwrap_or_default() {
            // The tree is made here and dropped here; only its positions are kept.
            Calls::visit_owned(self, &expr);
        }
    }
}

impl Calls<'_> {
    fn visit_owned(&mut self, expr: &Expr) {
        let mut inner = Calls {
            of: self.of,
            argument: self.argument,
            found: Vec::new(),
        };
        inner.visit_expr(expr);
        self.found.append(&mut inner.found);
    }
}

/// Struct literals, or struct patterns, of one path.
struct Fields<'a> {
    of: &'a str,
    patterns: bool,
    found: Vec<usize>,
}

impl<'a> Fields<'a> {
    fn of(of: &'a str, patterns: bool) -> Self {
        Self {
            of,
            patterns,
            found: Vec::new(),
        }
    }

    fn note(&mut self, path: &syn::Path, brace: &syn::token::Brace, is_pattern: bool) {
        if is_pattern == self.patterns && compact(path) == self.of {
            self.found.push(after(brace.span.open()));
        }
    }
}

fn in_fields(mut fields: Fields, block: &Block, insert: &str, edits: &mut Edits) -> usize {
    fields.visit_block(block);
    for at in &fields.found {
        edits.insert(*at, &format!(" {insert}"));
    }
    fields.found.len()
}

impl<'ast> Visit<'ast> for Fields<'_> {
    fn visit_expr_struct(&mut self, literal: &'ast syn::ExprStruct) {
        self.note(&literal.path, &literal.brace_token, false);
        visit::visit_expr_struct(self, literal);
    }

    fn visit_pat_struct(&mut self, pattern: &'ast syn::PatStruct) {
        self.note(&pattern.path, &pattern.brace_token, true);
        visit::visit_pat_struct(self, pattern);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        for expr in arguments(&call.tokens).unwrap_or_default() {
            let mut inner = Fields::of(self.of, self.patterns);
            inner.visit_expr(&expr);
            self.found.append(&mut inner.found);
        }
    }
}
