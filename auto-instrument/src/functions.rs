//! Which functions of the program get spans, and what is inserted into them.

use std::collections::BTreeSet;

use quote::ToTokens;
use serde::{Deserialize, Serialize};
use syn::visit::{self, Visit};
use syn::visit_mut::{self, VisitMut};
use syn::{
    Attribute, Block, ImplItemFn, ItemFn, ItemImpl, ItemMod, ReturnType, Signature, Type,
    Visibility,
};

use crate::edit::Edits;
use crate::places::{after, body_start};

mod lean;

use lean::Lean;

/// The hook's futures as they stand among the items of a file: of any `async fn`, and of one that
/// returns a `Result`.
pub(crate) const FUTURES: [&str; 2] = ["SpanloomFn", "SpanloomTry"];

/// Traits whose methods say nothing in a trace, or run where a span could do harm.
const QUIET_TRAITS: [&str; 33] = [
    "Add",
    "AsRef",
    "Borrow",
    "Clone",
    "Debug",
    "Default",
    "Deref",
    "DerefMut",
    "Display",
    "Div",
    "Drop",
    "Eq",
    "Error",
    "Extend",
    "From",
    "FromIterator",
    "FromStr",
    "Future",
    "GlobalAlloc",
    "Hash",
    "Index",
    "IndexMut",
    "Into",
    "Iterator",
    "Layer",
    "Log",
    "Mul",
    "Ord",
    "PartialEq",
    "PartialOrd",
    "Sub",
    "Subscriber",
    "Visitor",
];

/// Which functions to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Selection {
    /// None: only rules apply.
    None,
    /// Async functions, and public functions with enough in them.
    Default {
        /// Statements that a synchronous public function must have, nested ones included.
        statements_min: usize,
    },
    /// Every function that can be taken, private and tiny ones too: a stress test.
    Everything,
}

impl Default for Selection {
    fn default() -> Self {
        Self::Default { statements_min: 4 }
    }
}

/// What was chosen in one file.
#[derive(Debug, Default)]
pub(crate) struct Chosen {
    pub(crate) edits: Edits,
    pub(crate) taken: Vec<Taken>,
    /// Those of [`FUTURES`] that the file needs.
    pub(crate) futures: BTreeSet<&'static str>,
}

/// A function that gets a span.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) name: String,
    /// Its part of the file's insertions.
    pub(crate) edits: Edits,
}

/// Chooses functions of a file and prepares the insertions.
/// `is_leaf` says that no crate can depend on this one.
pub(crate) fn choose(ast: &syn::File, selection: Selection, is_leaf: bool, hook: &str) -> Chosen {
    let mut chooser = Chooser {
        selection,
        is_leaf,
        may_be_lean: true,
        hook,
        impl_type: None,
        is_visible: true,
        depth: 0,
        chosen: Chosen::default(),
    };
    if selection != Selection::None {
        chooser.visit_file(ast);
    }
    chooser.chosen
}

struct Chooser<'a> {
    selection: Selection,
    is_leaf: bool,
    /// Whether a function's surroundings allow it the lean form.
    may_be_lean: bool,
    /// How the crate names the hook: `::spanloom_hook`, without the colons in edition 2015.
    hook: &'a str,
    impl_type: Option<String>,
    /// Methods of a trait's implementation are as public as the trait.
    is_visible: bool,
    /// How many modules of the file there are around.
    depth: usize,
    chosen: Chosen,
}

impl Chooser<'_> {
    fn consider(
        &mut self,
        attributes: &[Attribute],
        is_public: bool,
        signature: &Signature,
        block: &Block,
    ) {
        if !can_be_taken(attributes, signature)
            || !self.wants(attributes, is_public, signature, block)
        {
            return;
        }
        let name = signature.ident.to_string();
        let name = name.trim_start_matches("r#");
        let name = match &self.impl_type {
            Some(of) => format!("{of}::{name}"),
            None => name.to_owned(),
        };
        // What a library says is `pub async fn`, and no method, is compiled with the library; of any
        // other future the crates that await it compile a copy, and of all that is awaited within.
        let is_compiled_here = is_public && self.impl_type.is_none() && !self.is_leaf;
        let lean = lean::of(attributes, signature, block)
            .filter(|_| self.may_be_lean && !is_compiled_here);
        let edits = self.insertions(&name, attributes, signature, block, lean);
        self.chosen.edits.extend(edits.clone());
        self.chosen.taken.push(Taken { name, edits });
    }

    fn wants(
        &self,
        attributes: &[Attribute],
        is_public: bool,
        signature: &Signature,
        block: &Block,
    ) -> bool {
        let is_async = signature.asyncness.is_some();
        match self.selection {
            Selection::None => false,
            Selection::Everything => true,
            Selection::Default { statements_min } => {
                let is_main = signature.ident == "main" && self.impl_type.is_none();
                let is_inline = attributes.iter().any(|one| one.path().is_ident("inline"));
                let is_large = || statements(block) >= statements_min;
                !is_main && (is_async || (is_public && !is_inline && is_large()))
            }
        }
    }

    fn insertions(
        &mut self,
        name: &str,
        attributes: &[Attribute],
        signature: &Signature,
        block: &Block,
        lean: Option<Lean>,
    ) -> Edits {
        let (hook, mut edits) = (self.hook, Edits::default());
        let start = body_start(attributes, block);
        if signature.asyncness.is_none() {
            edits.insert(start, &format!(" {hook}::enter!(\"{name}\");"));
            return edits;
        }
        let (future, returns) = match &signature.output {
            ReturnType::Default => (FUTURES[0], " ()".to_owned()),
            ReturnType::Type(_, output) if is_result(output) => (FUTURES[1], nameable(output)),
            ReturnType::Type(_, output) => (FUTURES[0], nameable(output)),
        };
        self.chosen.futures.insert(future);
        let of_file = match self.depth {
            0 => "self::".to_owned(),
            depth => "super::".repeat(depth),
        };
        // The type of `!` cannot be named; such a body needs no help with inference.
        let returns = match returns.trim() {
            "!" => String::new(),
            returns => format!(" {hook}::returns!({returns});"),
        };
        let (first, close) = match lean {
            Some(lean) => {
                lean::write(&lean, signature, hook, &mut edits);
                (lean.first, " } }")
            }
            None => (String::new(), " }.await }"),
        };
        let state = format!("state: {hook}::state!(\"{name}\")");
        let open = format!(" {of_file}{future} {{ {state}, body: async move {{{first}{returns}");
        edits.insert(start, &open);
        // The body's own brace closes the block, so that it keeps its column.
        edits.insert(after(block.brace_token.span.close()), close);
        edits
    }
}

impl<'ast> Visit<'ast> for Chooser<'_> {
    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        if !is_test_only(&module.attrs) {
            self.depth += 1;
            visit::visit_item_mod(self, module);
            self.depth -= 1;
        }
    }

    fn visit_item_fn(&mut self, function: &'ast ItemFn) {
        let is_public = matches!(function.vis, Visibility::Public(_));
        self.consider(&function.attrs, is_public, &function.sig, &function.block);
        if self.selection == Selection::Everything {
            visit::visit_item_fn(self, function);
        }
    }

    fn visit_item_impl(&mut self, item: &'ast ItemImpl) {
        let of_trait = item
            .trait_
            .as_ref()
            .and_then(|(_, path, _)| path.segments.last());
        let is_allocator = of_trait.is_some_and(|last| last.ident == "GlobalAlloc");
        let is_quiet =
            of_trait.is_some_and(|last| QUIET_TRAITS.iter().any(|name| last.ident == name));
        let is_skipped = is_allocator || (is_quiet && self.selection != Selection::Everything);
        if is_skipped || is_test_only(&item.attrs) {
            return;
        }
        let outer = self.impl_type.replace(type_name(&item.self_ty));
        let visible = std::mem::replace(&mut self.is_visible, of_trait.is_some());
        let is_plain = of_trait.is_none() && item.attrs.iter().all(lean::is_inert);
        let may_be_lean = std::mem::replace(&mut self.may_be_lean, is_plain);
        visit::visit_item_impl(self, item);
        self.impl_type = outer;
        self.is_visible = visible;
        self.may_be_lean = may_be_lean;
    }

    fn visit_impl_item_fn(&mut self, method: &'ast ImplItemFn) {
        let is_public = self.is_visible || matches!(method.vis, Visibility::Public(_));
        self.consider(&method.attrs, is_public, &method.sig, &method.block);
        if self.selection == Selection::Everything {
            visit::visit_impl_item_fn(self, method);
        }
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        let outer = self.impl_type.replace(item.ident.to_string());
        let may_be_lean = std::mem::replace(&mut self.may_be_lean, false);
        visit::visit_item_trait(self, item);
        self.impl_type = outer;
        self.may_be_lean = may_be_lean;
    }

    fn visit_trait_item_fn(&mut self, method: &'ast syn::TraitItemFn) {
        if let Some(block) = &method.default {
            self.consider(&method.attrs, true, &method.sig, block);
        }
    }

    fn visit_block(&mut self, block: &'ast Block) {
        if self.selection == Selection::Everything {
            visit::visit_block(self, block);
        }
    }
}

/// Whether a call may stand at the start of the body at all.
fn can_be_taken(attributes: &[Attribute], signature: &Signature) -> bool {
    // Other ABIs are called from foreign places, signal handlers among them.
    let is_foreign = signature
        .abi
        .as_ref()
        .is_some_and(|abi| abi.name.as_ref().is_none_or(|name| name.value() != "Rust"));
    signature.constness.is_none()
        && !is_foreign
        && !is_test_only(attributes)
        && !attributes.iter().any(|one| {
            let text = one.to_token_stream().to_string();
            [
                "no_mangle",
                "naked",
                "panic_handler",
                "alloc_error_handler",
                "link_section",
                "target_feature",
            ]
            .iter()
            .any(|word| text.contains(word))
        })
}

/// `#[test]` and its kin, and what is compiled for tests alone.
fn is_test_only(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|one| {
        let last = one
            .path()
            .segments
            .last()
            .map(|last| last.ident.to_string());
        match last.as_deref() {
            Some("test" | "bench" | "rstest" | "test_case" | "proptest" | "quickcheck") => true,
            Some("cfg") => one.to_token_stream().to_string().replace(' ', "") == "#[cfg(test)]",
            _ => false,
        }
    })
}

fn type_name(self_type: &Type) -> String {
    match self_type {
        Type::Path(path) => path.path.segments.last().map(|last| last.ident.to_string()),
        Type::Reference(reference) => Some(type_name(&reference.elem)),
        _ => None,
    }
    .unwrap_or_else(|| "impl".to_owned())
}

/// `Result<..>`, `io::Result<..>`: what is called so and is not is caught by the fallback.
fn is_result(output: &Type) -> bool {
    match output {
        Type::Path(path) => path
            .path
            .segments
            .last()
            .is_some_and(|last| last.ident == "Result"),
        _ => false,
    }
}

/// A return type as it may stand in an expression: `impl Trait` cannot, and is inferred.
fn nameable(output: &Type) -> String {
    struct Infer;
    impl VisitMut for Infer {
        fn visit_type_mut(&mut self, node: &mut Type) {
            if matches!(node, Type::ImplTrait(_)) {
                *node = Type::Infer(syn::TypeInfer {
                    underscore_token: Default::default(),
                });
            }
            visit_mut::visit_type_mut(self, node);
        }
    }
    let mut output = output.clone();
    Infer.visit_type_mut(&mut output);
    output.to_token_stream().to_string()
}

/// Statements in a body, nested ones included; closures and macros count as their statement.
fn statements(block: &Block) -> usize {
    struct Count(usize);
    impl<'ast> Visit<'ast> for Count {
        fn visit_stmt(&mut self, statement: &'ast syn::Stmt) {
            self.0 += 1;
            visit::visit_stmt(self, statement);
        }

        fn visit_arm(&mut self, arm: &'ast syn::Arm) {
            self.0 += 1;
            visit::visit_arm(self, arm);
        }
    }
    let mut count = Count(0);
    count.visit_block(block);
    count.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(source: &str, selection: Selection) -> String {
        let ast = syn::parse_file(source).expect("test source");
        choose(&ast, selection, true, "::spanloom_hook")
            .edits
            .apply(source)
    }

    fn names(source: &str, selection: Selection) -> Vec<String> {
        let ast = syn::parse_file(source).expect("test source");
        let chosen = choose(&ast, selection, true, "::spanloom_hook");
        chosen.taken.into_iter().map(|one| one.name).collect()
    }

    #[test]
    fn a_function_is_entered_after_its_inner_attributes() {
        assert_eq!(
            rewritten(
                "fn f() {\n    #![allow(unused)]\n    1;\n}",
                Selection::Everything
            ),
            "fn f() {\n    #![allow(unused)] ::spanloom_hook::enter!(\"f\");\n    1;\n}",
        );
    }

    #[test]
    fn an_async_function_becomes_a_future_with_its_type() {
        assert_eq!(
            rewritten(
                "pub async fn f(a: A)\n-> Result<T, E>\nwhere A: B {\n    x(a)\n}",
                Selection::default()
            ),
            "pub /*~*/ fn f(a: A)\n-> ::spanloom_hook::future_of!(Result<T, E>/*|*/)\nwhere A: B { \
             self::SpanloomTry { state: ::spanloom_hook::state!(\"f\"), body: async move { \
             let _ = &a; ::spanloom_hook::returns!(Result < T , E >);\n    x(a)\n} } }",
        );
        assert_eq!(
            rewritten("async fn f() {\n}", Selection::default()),
            "/*~*/ fn f() -> ::spanloom_hook::future_of!(()) { \
             self::SpanloomFn { state: ::spanloom_hook::state!(\"f\"), body: async move { \
             ::spanloom_hook::returns!(());\n} } }",
        );
    }

    #[test]
    fn a_function_in_a_module_finds_the_futures_of_its_file() {
        let source =
            "mod a { mod b {\nasync fn f() {\n}\n}\nasync fn g() -> io::Result<()> {\n}\n}";
        let ast = syn::parse_file(source).expect("test source");
        let chosen = choose(&ast, Selection::default(), true, "::spanloom_hook");
        let rewritten = chosen.edits.apply(source);
        assert!(
            rewritten.contains("{ super::super::SpanloomFn {"),
            "{rewritten}"
        );
        assert!(rewritten.contains("{ super::SpanloomTry {"), "{rewritten}");
        assert_eq!(Vec::from_iter(chosen.futures), FUTURES);
    }

    #[test]
    fn where_that_would_not_be_the_same_it_awaits_another() {
        let nested = "async fn f() -> Result<impl Sized, E> { \
             self::SpanloomTry { state: ::spanloom_hook::state!(\"f\"), body: async move { \
             ::spanloom_hook::returns!(Result < _ , E >);\n    x\n} }.await }";
        let plain = "async fn f() -> Result<impl Sized, E> {\n    x\n}";
        assert_eq!(rewritten(plain, Selection::default()), nested);
        for head in ["impl T for S", "#[macro_of_theirs] impl S", "trait T"] {
            let source = format!("{head} {{\nasync fn f() -> A {{\n    x\n}}\n}}");
            let rewritten = rewritten(&source, Selection::default());
            assert!(rewritten.contains(".await }"), "{rewritten}");
        }
        let public = "pub async fn f() -> A {\n    x\n}";
        let ast = syn::parse_file(public).expect("test source");
        let of_library = choose(&ast, Selection::default(), false, "::spanloom_hook");
        assert!(of_library.edits.apply(public).contains(".await }"));
        let inherent = "impl S {\nasync fn f() -> A {\n    x\n}\n}";
        assert!(rewritten(inherent, Selection::default()).contains("future_of!(A/*|*/)"));
    }

    #[test]
    fn by_default_small_private_and_quiet_functions_are_left() {
        let source = "
            pub fn small() { 1; }
            pub fn large() { 1; 2; if x { 3; } }
            #[inline] pub fn inline() { 1; 2; 3; 4; }
            fn private() { 1; 2; 3; 4; }
            async fn waits() {}
            async fn main() {}
            impl Display for T { fn fmt(&self) { 1; 2; 3; 4; } }
            impl Service for T { fn call(&self) { 1; 2; 3; 4; } fn get(&self) {} }
            impl T { pub fn method(&self) { 1; 2; 3; 4; } fn hidden(&self) { 1; 2; 3; 4; } }
            #[cfg(test)] mod tests { async fn helper() {} }
            #[tokio::test] async fn test() {}
            const fn constant() { 1; 2; 3; 4; }
        ";
        let chosen = names(source, Selection::default());
        assert_eq!(chosen, ["large", "waits", "T::call", "T::method"]);
    }

    #[test]
    fn in_everything_mode_only_the_impossible_is_left() {
        let source = "
            fn private() { fn nested() {} }
            impl Display for T { fn fmt(&self) {} }
            unsafe impl GlobalAlloc for A { unsafe fn alloc(&self) {} }
            const fn constant() {}
            extern \"C\" fn foreign() {}
            #[unsafe(no_mangle)] fn exported() {}
        ";
        assert_eq!(
            names(source, Selection::Everything),
            ["private", "nested", "T::fmt"]
        );
    }
}
