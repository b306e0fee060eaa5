//! Which files a crate is made of: modules are followed from the crate root, as the compiler does.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use syn::{Attribute, Expr, Item, ItemMod, Lit, Meta};

/// Files that are read of one crate; more are left as they are.
const FILES_MAX: usize = 20_000;
/// Bytes of one source file; longer ones (generated tables) are left as they are.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// A source file that could be parsed.
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    pub(crate) text: String,
    pub(crate) ast: syn::File,
}

impl Source {
    /// Reads and parses a file; `None` when it cannot, which leaves it uninstrumented.
    pub(crate) fn read(path: &Path) -> Option<Self> {
        if std::fs::metadata(path).ok()?.len() > FILE_BYTES_MAX {
            return None;
        }
        Self::parse(path, std::fs::read_to_string(path).ok()?)
    }

    pub(crate) fn parse(path: &Path, text: String) -> Option<Self> {
        let ast = match preamble(&text) {
            0 => syn::parse_file(&text),
            // The parser would count from after it; spaces keep every offset.
            length => {
                let rest = text.get(length..).unwrap_or_default();
                syn::parse_file(&format!("{:length$}{rest}", ""))
            }
        };
        let ast = ast.ok()?;
        Some(Self {
            path: path.to_owned(),
            text,
            ast,
        })
    }
}

impl Source {
    /// Where the first token may stand: behind a byte order mark, and on the line after a `#!`.
    pub(crate) fn start(&self) -> usize {
        let length = preamble(&self.text);
        let rest = self.text.get(length..).unwrap_or_default();
        match rest.starts_with(['\r', '\n']) && length > '\u{feff}'.len_utf8() {
            true => length + rest.find('\n').map_or(rest.len(), |at| at + 1),
            false => length,
        }
    }
}

/// The length of what may stand before the first token: a byte order mark, and a `#!` line, which
/// is none when it begins an attribute.
fn preamble(text: &str) -> usize {
    let mark = text
        .strip_prefix('\u{feff}')
        .map_or(0, |_| '\u{feff}'.len_utf8());
    let rest = text.get(mark..).unwrap_or_default();
    let is_attribute = |rest: &str| rest.trim_start().starts_with('[');
    match rest.strip_prefix("#!") {
        Some(after) if !is_attribute(after) => mark + rest.lines().next().map_or(0, str::len),
        _ => mark,
    }
}

/// Every source file of the crate with this root, the root first.
pub(crate) fn follow(root: &Path) -> Vec<Source> {
    let mut sources = Vec::new();
    let mut seen = BTreeSet::from([root.to_owned()]);
    let mut waiting = vec![(root.to_owned(), true)];
    while let Some((path, owns_directory)) = waiting.pop() {
        let Some(source) = Source::read(&path) else {
            continue;
        };
        let mut found = Vec::new();
        let directory = path.parent().unwrap_or(Path::new("")).to_owned();
        let base = match owns_directory {
            true => directory.clone(),
            false => directory.join(path.file_stem().unwrap_or_default()),
        };
        collect(&source.ast.items, &directory, &base, true, &mut found);
        for next in found {
            if seen.len() < FILES_MAX && seen.insert(next.0.clone()) {
                waiting.push(next);
            }
        }
        sources.push(source);
    }
    sources
}

/// Finds the files of `mod x;` items. `paths_from` is what `#[path]` is relative to; `base` is
/// where the files of child modules are.
fn collect(
    items: &[Item],
    paths_from: &Path,
    base: &Path,
    at_file_level: bool,
    found: &mut Vec<(PathBuf, bool)>,
) {
    for item in items {
        match item {
            Item::Mod(module) => collect_module(module, paths_from, base, at_file_level, found),
            // `cfg_rt! { mod task; }`: macros that only add attributes to the items inside.
            Item::Macro(call) => {
                if let Ok(inner) = syn::parse2::<syn::File>(call.mac.tokens.clone()) {
                    collect(&inner.items, paths_from, base, at_file_level, found);
                }
            }
            _ => {}
        }
    }
}

fn collect_module(
    module: &ItemMod,
    paths_from: &Path,
    base: &Path,
    at_file_level: bool,
    found: &mut Vec<(PathBuf, bool)>,
) {
    let name = module.ident.to_string();
    let name = name.trim_start_matches("r#");
    let given = module.attrs.iter().find_map(path_attribute);
    match (&module.content, given) {
        (Some((_, items)), given) => {
            let base = base.join(given.as_deref().unwrap_or(name));
            collect(items, &base, &base, false, found);
        }
        (None, Some(given)) => {
            let from = if at_file_level { paths_from } else { base };
            let path = without_dots(&from.join(given));
            if path.is_file() {
                found.push((path, true));
            }
        }
        (None, None) => {
            let file = base.join(format!("{name}.rs"));
            let directory = base.join(name).join("mod.rs");
            if file.is_file() {
                found.push((file, false));
            } else if directory.is_file() {
                found.push((directory, true));
            }
        }
    }
}

/// `src/../outside.rs` as `outside.rs`: a file must have one name, and the copy of a tree needs to
/// know which folders lie above it.
fn without_dots(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            // Above a link lies what it points to, not what it stands in.
            Component::ParentDir if !out.is_symlink() && out.file_name().is_some() => {
                out.pop();
            }
            part => out.push(part),
        }
    }
    out
}

/// The path of `#[path = "x"]`, also inside `cfg_attr`.
fn path_attribute(attribute: &Attribute) -> Option<String> {
    fn of(meta: &Meta) -> Option<String> {
        match meta {
            Meta::NameValue(pair) if pair.path.is_ident("path") => match &pair.value {
                Expr::Lit(literal) => match &literal.lit {
                    Lit::Str(text) => Some(text.value()),
                    _ => None,
                },
                _ => None,
            },
            Meta::List(list) if list.path.is_ident("cfg_attr") => {
                let parser = syn::punctuated::Punctuated::<Meta, syn::Token![,]>::parse_terminated;
                list.parse_args_with(parser)
                    .ok()?
                    .iter()
                    .skip(1)
                    .find_map(of)
            }
            _ => None,
        }
    }
    of(&attribute.meta)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_found_where_the_compiler_finds_them() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let files = [
            (
                "lib.rs",
                "mod a; cfg! { mod b; } mod inline { mod c; } #[path = \"other/d.rs\"] mod d; mod gone; \
                 #[path = \"other/../././side.rs\"] mod side;",
            ),
            ("side.rs", ""),
            ("a.rs", "mod deep;"),
            ("a/deep.rs", ""),
            ("b/mod.rs", "mod e;"),
            ("b/e.rs", ""),
            ("inline/c.rs", ""),
            ("other/d.rs", "mod f;"),
            ("other/f.rs", ""),
            ("unused.rs", ""),
        ];
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().expect("inside the folder")).expect("made");
            std::fs::write(path, text).expect("written");
        }
        let mut found: Vec<String> = follow(&folder.path().join("lib.rs"))
            .iter()
            .map(|source| {
                source
                    .path
                    .strip_prefix(folder.path())
                    .expect("inside")
                    .display()
                    .to_string()
            })
            .collect();
        found.sort();
        let expected = [
            "a.rs",
            "a/deep.rs",
            "b/e.rs",
            "b/mod.rs",
            "inline/c.rs",
            "lib.rs",
            "other/d.rs",
            "other/f.rs",
            "side.rs",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn what_stands_before_the_first_token_shifts_nothing() {
        for before in [
            "",
            "\u{feff}",
            "#!/usr/bin/env rust\r\n",
            "\u{feff}#!x\n",
            "#![allow(unused)]\n",
            "#! [allow(unused)]\n",
        ] {
            let text = format!("{before}fn f() {{}}");
            let source = Source::parse(Path::new("a.rs"), text).expect("it parses");
            let Some(Item::Fn(function)) = source.ast.items.first() else {
                panic!("{before:?}: no function")
            };
            let name = function.sig.ident.span().byte_range();
            assert_eq!(source.text.get(name), Some("f"), "{before:?}");
        }
    }
}
