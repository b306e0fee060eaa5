//! From a crate's sources and its rules to what is inserted where.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use syn::Item;
use syn::spanned::Spanned;

use crate::cfg::is_no_std;
use crate::depth;
use crate::edit::Edits;
use crate::functions::{self, Selection, Taken};
use crate::hook::recipe::HOOK;
use crate::modules::{self, Source};
use crate::places;
use crate::rules::Rule;

/// What a crate becomes.
#[derive(Debug, Default)]
pub(crate) struct Rewrite {
    /// Edits and original text of each file that changes.
    pub(crate) files: BTreeMap<PathBuf, (String, Edits)>,
    /// The functions that get spans, with their files.
    pub(crate) functions: Vec<(PathBuf, Taken)>,
    pub(crate) matched: Vec<String>,
    /// Rules that were meant for this crate but found no place, with the reason.
    pub(crate) missed: Vec<(String, String)>,
}

impl Rewrite {
    /// Whether the copy calls the hook.
    pub(crate) fn has_calls(&self) -> bool {
        !self.functions.is_empty() || !self.matched.is_empty()
    }

    /// The functions that get spans.
    pub(crate) fn names(&self) -> Vec<String> {
        let functions = self.functions.iter();
        functions.map(|(_, taken)| taken.name.clone()).collect()
    }

    /// Leaves functions out that have an insertion at one of these places, and returns their names.
    pub(crate) fn leave_out(&mut self, places: &BTreeSet<(PathBuf, usize)>) -> Vec<String> {
        let files = &mut self.files;
        let is_meant = |(path, taken): &mut (PathBuf, Taken)| {
            let insertions = taken.edits.sorted();
            let mut offsets = insertions.iter().map(|insertion| insertion.at);
            offsets.any(|at| places.contains(&(path.clone(), at)))
        };
        let left = self.functions.extract_if(.., is_meant);
        left.map(|(path, taken)| {
            if let Some((_, edits)) = files.get_mut(&path) {
                edits.remove(&taken.edits);
            }
            taken.name
        })
        .collect()
    }
}

/// Plans the rewriting of the crate with this root. `configuration` answers what `rustc --print cfg`
/// does; `is_leaf` says that no crate can depend on this one.
pub(crate) fn plan(
    root: &Path,
    edition: Option<&str>,
    configuration: impl FnOnce() -> Vec<String>,
    rules: &[&Rule],
    selection: Selection,
    is_leaf: bool,
) -> Rewrite {
    let mut rewrite = Rewrite::default();
    if selection != Selection::None {
        // In edition 2015 a leading `::` means the crate itself.
        let hook = match edition {
            None | Some("2015") => HOOK.to_owned(),
            _ => format!("::{HOOK}"),
        };
        let mut sources = modules::follow(root);
        if sources
            .first()
            .is_none_or(|first| is_no_std(&first.ast, configuration))
        {
            sources.clear();
        }
        for source in sources {
            let mut chosen = functions::choose(&source.ast, selection, is_leaf, &hook);
            let taken = chosen.taken.into_iter();
            rewrite
                .functions
                .extend(taken.map(|one| (source.path.clone(), one)));
            if source.path == root {
                depth::raise(&source, &mut chosen.edits);
            }
            if !chosen.futures.is_empty() {
                let names: Vec<&str> = chosen.futures.into_iter().collect();
                let futures = format!("{hook}::futures!({});", names.join(" "));
                match early(&source) {
                    Some(place) => chosen.edits.insert(place, &format!(" {futures}")),
                    None => chosen.edits.append(source.text.len(), &futures),
                }
            }
            if !chosen.edits.is_empty() {
                rewrite
                    .files
                    .insert(source.path, (source.text, chosen.edits));
            }
        }
    }
    for rule in rules {
        match apply(root, rule) {
            Ok(files) => {
                rewrite.matched.push(rule.name.clone());
                for (path, (text, edits)) in files {
                    let entry = rewrite
                        .files
                        .entry(path)
                        .or_insert((text, Edits::default()));
                    entry.1.extend(edits);
                }
            }
            Err(reason) => rewrite.missed.push((rule.name.clone(), reason)),
        }
    }
    rewrite
}

/// The end of a line near the beginning of a file, behind a declaration.
///
/// What is compiled from an item says its line, and is copied to where it is used. An item at the end
/// of a file has another line after each edit that adds one, and everything with a copy would be
/// compiled again.
fn early(source: &Source) -> Option<usize> {
    let is_declaration = |item: &&Item| match item {
        Item::ExternCrate(_) | Item::Use(_) => true,
        Item::Mod(module) => module.content.is_none(),
        _ => false,
    };
    let declarations = source.ast.items.iter().filter(is_declaration);
    let mut ends = declarations.map(|item| item.span().byte_range().end);
    ends.find(|end| {
        let rest = source.text.get(*end..).unwrap_or_default();
        let rest = rest.lines().next().unwrap_or_default().trim_start();
        rest.is_empty() || rest.starts_with("//")
    })
}

type Files = BTreeMap<PathBuf, (String, Edits)>;

/// Applies a whole rule, or nothing and the reason.
pub(crate) fn apply(root: &Path, rule: &Rule) -> Result<Files, String> {
    let mut files = Files::new();
    let mut parsed: BTreeMap<PathBuf, Source> = BTreeMap::new();
    for step in &rule.steps {
        let path: Vec<&str> = step
            .item
            .split("::")
            .filter(|name| !name.is_empty())
            .collect();
        let (file, used) = places::module_file(root, &path);
        if !parsed.contains_key(&file) {
            let source =
                Source::read(&file).ok_or_else(|| format!("cannot parse {}", file.display()))?;
            parsed.insert(file.clone(), source);
        }
        let source = &parsed[&file];
        let entry = files
            .entry(file)
            .or_insert_with(|| (source.text.clone(), Edits::default()));
        let rest = path.get(used..).unwrap_or_default();
        if places::apply(step, rest, &source.text, &source.ast, &mut entry.1) == 0 {
            return Err(format!(
                "nothing matches `{}` ({})",
                step.item,
                step.edit.describe()
            ));
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules;

    /// Applies one rule with the given steps to a crate of two files, and returns the second.
    fn golden(steps: &str, source: &str) -> Result<String, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("lib.rs");
        std::fs::write(&root, "mod a;\n").expect("written");
        let file = folder.path().join("a.rs");
        std::fs::write(&file, source).expect("written");
        let head = "[[rule]]\nname='r'\nabout='a'\ncrate='c'\nversions='*'\n";
        let rules = rules::parse(&format!("{head}{steps}")).expect("a well-formed rule");
        let files = apply(&root, &rules[0])?;
        let (text, edits) = files.get(&file).expect("the file is found by its module");
        Ok(edits.apply(text))
    }

    #[test]
    fn the_futures_of_a_file_stand_where_edits_seldom_move_them() {
        let place = |text: &str| {
            let source = Source::parse(Path::new("a.rs"), text.to_owned()).expect("it parses");
            early(&source).map(|end| text[..end].to_owned())
        };
        let behind = |text: &str, expected: &str| {
            assert_eq!(place(text).as_deref(), Some(expected), "{text}");
        };
        behind(
            "//! Text.\n\nuse a::{\n b,\n};\nfn f() {}",
            "//! Text.\n\nuse a::{\n b,\n};",
        );
        behind(
            "fn f() {}\n#[cfg(x)]\nmod a; // b\r\n",
            "fn f() {}\n#[cfg(x)]\nmod a;",
        );
        behind("use a; use b;\nuse c;", "use a; use b;");
        behind("#!/bin/x\nextern crate a;", "#!/bin/x\nextern crate a;");
        assert_eq!(place("use a; /* b */ fn f() {}\nmod m {}"), None);
        assert_eq!(place(""), None);
    }

    #[test]
    fn enter_inserts_first_in_a_body() {
        let step =
            "[[rule.do]]\nin='a::f'\nat='enter'\nparams=['x']\ninsert='''\none();\ntwo();\n'''\n";
        assert_eq!(
            golden(step, "fn f(x: u8) {\n    x\n}\n").as_deref(),
            Ok("fn f(x: u8) { one(); two();\n    x\n}\n")
        );
    }

    #[test]
    fn wrap_stands_inside_the_braces_also_in_a_macro() {
        let step = "[[rule.do]]\nin='a::T::f'\nat='wrap'\nopen='g({'\nclose='})'\n";
        assert_eq!(
            golden(
                step,
                "cfg_x! { impl<A> T<A> { async fn f(&self) { 1 } } }\n"
            )
            .as_deref(),
            Ok("cfg_x! { impl<A> T<A> { async fn f(&self) { g({ 1 }) } } }\n")
        );
    }

    #[test]
    fn call_finds_methods_paths_macros_and_arguments() {
        let call = |of: &str, more: &str| {
            format!("[[rule.do]]\nin='a::f'\nat='call'\nof='{of}'\nopen='w('\nclose=')'\n{more}")
        };
        let source = "fn f() { ready!(self.inner.call(a, b)); A::new(c) }";
        assert_eq!(
            golden(&call("self.inner.call", ""), source).as_deref(),
            Ok("fn f() { ready!(w( self.inner.call(a, b) )); A::new(c) }")
        );
        assert_eq!(
            golden(&call("self.inner.call", "argument=1\n"), source).as_deref(),
            Ok("fn f() { ready!(self.inner.call(a, w( b ))); A::new(c) }")
        );
        assert_eq!(
            golden(&call("A::new", ""), source).as_deref(),
            Ok("fn f() { ready!(self.inner.call(a, b)); w( A::new(c) ) }")
        );
        assert_eq!(
            golden(&call("ready!", ""), "fn f() { let x = ready!(y); }").as_deref(),
            Ok("fn f() { let x = w( ready!(y) ); }")
        );
    }

    #[test]
    fn inside_literal_and_pattern_add_a_field_everywhere() {
        let steps = "
            [[rule.do]]\nin='a::S'\nat='inside'\ninsert='x: X,'
            [[rule.do]]\nin='a::E::V'\nat='inside'\ninsert='x: X,'
            [[rule.do]]\nin='a::T'\nat='inside'\ninsert='fn t() {}'
            [[rule.do]]\nin='a::S'\ntrait='T'\nat='inside'\ninsert='fn t() {}'
            [[rule.do]]\nin='a::f'\nat='literal'\nof='S'\ninsert='x: x(),'
            [[rule.do]]\nin='a::f'\nat='pattern'\nof='E::V'\ninsert='x,'
        "
        .replace("            ", "");
        let source = "struct S { a: A } enum E { U, V { b: B } } trait T { } impl T for S { } impl S { } \
                      fn f() { S { a }; let E::V { b } = e; }";
        let expected = "struct S { x: X, a: A } enum E { U, V { x: X, b: B } } trait T { fn t() {} } \
                        impl T for S { fn t() {} } impl S { } \
                        fn f() { S { x: x(), a }; let E::V { x, b } = e; }";
        assert_eq!(golden(&steps, source).as_deref(), Ok(expected));
    }

    #[test]
    fn module_appends_lines_and_shifts_none() {
        let step =
            "[[rule.do]]\nin='a'\nat='module'\ninsert='''\nfn g() {\n    // fine here\n}\n'''\n";
        assert_eq!(
            golden(step, "fn f() {}\n").as_deref(),
            Ok("fn f() {}\n\nfn g() {\n    // fine here\n}\n")
        );
    }

    #[test]
    fn one_step_without_a_place_undoes_the_rule() {
        let good = "[[rule.do]]\nin='a::f'\nat='enter'\ninsert='x();'\n";
        for bad in [
            "[[rule.do]]\nin='a::gone'\nat='enter'\ninsert='x();'\n",
            "[[rule.do]]\nin='a::f'\nat='enter'\nparams=['y']\ninsert='x();'\n",
            "[[rule.do]]\nin='a::f'\nat='call'\nof='gone'\nopen='w('\nclose=')'\n",
            "[[rule.do]]\nin='a::f'\ntrait='Gone'\nat='inside'\ninsert='x: X,'\n",
        ] {
            let outcome = golden(&format!("{good}{bad}"), "fn f(x: u8) {}\n");
            assert!(
                outcome
                    .as_ref()
                    .is_err_and(|why| why.starts_with("nothing matches `a::")),
                "{outcome:?}"
            );
        }
    }
}
