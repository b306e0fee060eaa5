//! A compiler's command line, as far as the wrapper has to understand it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The longest argument file that is read: Cargo's are far shorter.
const ARGUMENT_FILE_BYTES_MAX: u64 = 64 << 20;

/// What Cargo asked the compiler for.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Invocation {
    /// Every argument after the compiler, with argument files expanded.
    pub(crate) arguments: Vec<String>,
    /// The crate root as it stands in the arguments.
    pub(crate) root: Option<String>,
    pub(crate) crate_name: Option<String>,
    pub(crate) crate_types: Vec<String>,
    pub(crate) edition: Option<String>,
    pub(crate) target: Option<String>,
    pub(crate) out_dir: Option<PathBuf>,
    pub(crate) extra_filename: String,
    pub(crate) emits: Vec<String>,
    pub(crate) is_test: bool,
    /// True when the compiler is asked a question and has nothing to compile.
    pub(crate) is_query: bool,
    /// As they were given: `feature="std"`.
    pub(crate) cfgs: Vec<String>,
    /// Beginnings of paths, and what the compiler is to say instead.
    pub(crate) remaps: Vec<(String, String)>,
    pub(crate) json: bool,
}

impl Invocation {
    /// Reads the arguments that follow the compiler's path.
    pub(crate) fn parse(arguments: &[OsString]) -> Result<Self> {
        let mut expanded = Vec::new();
        for argument in arguments {
            let argument = argument.to_str().context("an argument is not UTF-8")?;
            match argument.strip_prefix('@') {
                Some(file) => expanded.extend(argument_file(Path::new(file))?),
                None => expanded.push(argument.to_owned()),
            }
        }
        Ok(Self::of(expanded))
    }

    fn of(arguments: Vec<String>) -> Self {
        let mut invocation = Self::default();
        let mut rest = arguments.iter().map(String::as_str);
        while let Some(argument) = rest.next() {
            if !argument.starts_with('-') {
                if argument.ends_with(".rs") {
                    invocation.root = Some(argument.to_owned());
                }
                continue;
            }
            let (flag, inline) = match argument.split_once('=') {
                Some((flag, value)) if argument.starts_with("--") => (flag, Some(value)),
                // `-Cmetadata=x` and `-Lx` carry their value without a space.
                _ if argument.len() > 2 && !argument.starts_with("--") => {
                    (argument.get(..2).unwrap_or(argument), argument.get(2..))
                }
                _ => (argument, None),
            };
            match flag {
                "--test" => invocation.is_test = true,
                "--print" | "-V" | "--version" | "-v" | "-vV" | "--explain" => {
                    invocation.is_query = true;
                }
                "--crate-name"
                | "--crate-type"
                | "--edition"
                | "--target"
                | "--out-dir"
                | "--emit"
                | "-C"
                | "--codegen"
                | "--cfg"
                | "--error-format"
                | "--remap-path-prefix" => {
                    let value = inline.or_else(|| rest.next()).unwrap_or_default();
                    invocation.note(flag, value);
                }
                "--extern" | "-L" | "-l" | "-A" | "-W" | "-D" | "-F" | "--cap-lints"
                | "--check-cfg" | "--json" | "-o" | "--sysroot" | "--diagnostic-width" | "-Z"
                | "--color" | "--allow" | "--warn" | "--deny" | "--forbid"
                    if inline.is_none() =>
                {
                    rest.next();
                }
                _ => {}
            }
        }
        // `--print native-static-libs` and its like accompany a compilation.
        invocation.is_query &= invocation.root.is_none();
        invocation.arguments = arguments;
        invocation
    }

    fn note(&mut self, flag: &str, value: &str) {
        match flag {
            "--crate-name" => self.crate_name = Some(value.to_owned()),
            "--crate-type" => self.crate_types.extend(value.split(',').map(str::to_owned)),
            "--edition" => self.edition = Some(value.to_owned()),
            "--target" => self.target = Some(value.to_owned()),
            "--out-dir" => self.out_dir = Some(PathBuf::from(value)),
            "--emit" => self.emits.extend(value.split(',').map(str::to_owned)),
            "--error-format" => self.json = value == "json",
            "--remap-path-prefix" => {
                let pair = value.rsplit_once('=');
                self.remaps
                    .extend(pair.map(|(from, to)| (from.to_owned(), to.to_owned())));
            }
            "--cfg" => self.cfgs.push(value.to_owned()),
            _ => {
                if let Some(extra) = value.strip_prefix("extra-filename=") {
                    extra.clone_into(&mut self.extra_filename);
                }
            }
        }
    }

    /// A name for this unit of compilation that no other unit of the build has.
    pub(crate) fn unit(&self) -> String {
        let name = self.crate_name.as_deref().unwrap_or("unnamed");
        // Checking and building one crate may share its hash but not its kind of output.
        let kind = if self.emits.iter().any(|emit| emit == "link") {
            ""
        } else {
            ".check"
        };
        format!("{name}{}{kind}", self.extra_filename)
    }

    /// Where the compiler writes which files it read.
    pub(crate) fn dep_info(&self) -> Option<PathBuf> {
        let emit = self
            .emits
            .iter()
            .find(|emit| emit.starts_with("dep-info"))?;
        match emit.strip_prefix("dep-info=") {
            Some(path) => Some(PathBuf::from(path)),
            None => {
                let name = format!("{}{}.d", self.crate_name.as_deref()?, self.extra_filename);
                Some(self.out_dir.clone()?.join(name))
            }
        }
    }

    /// A path as the compiler shows it: the last beginning that fits is replaced.
    pub(crate) fn remapped(&self, path: &str) -> String {
        let fitting = self.remaps.iter().rev().find_map(|(from, to)| {
            let rest = Path::new(path).strip_prefix(from).ok()?;
            Some(Path::new(to).join(rest).display().to_string())
        });
        match fitting {
            // Joining parts of a path forgets a slash at its end.
            Some(shown) if path.ends_with('/') => format!("{}/", shown.trim_end_matches('/')),
            Some(shown) => shown,
            None => path.to_owned(),
        }
    }

    /// Code that runs inside the compiler, which must not be traced.
    pub(crate) fn is_host_only(&self) -> bool {
        self.crate_types.iter().any(|kind| kind == "proc-macro")
            || self
                .crate_name
                .as_deref()
                .is_some_and(|name| name.starts_with("build_script_"))
    }

    /// Whether no crate can depend on this one: a program, or one of its tests.
    pub(crate) fn is_leaf(&self) -> bool {
        let is_program = |kind: &String| kind == "bin";
        self.is_test || (!self.crate_types.is_empty() && self.crate_types.iter().all(is_program))
    }

    /// The same arguments with another crate root.
    pub(crate) fn with_root(&self, root: &str) -> Vec<String> {
        let replace = |argument: &String| match Some(argument) == self.root.as_ref() {
            true => root.to_owned(),
            false => argument.clone(),
        };
        self.arguments.iter().map(replace).collect()
    }
}

/// One argument a line, as rustc reads them.
fn argument_file(path: &Path) -> Result<Vec<String>> {
    let length = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    anyhow::ensure!(
        length <= ARGUMENT_FILE_BYTES_MAX,
        "{} is too long",
        path.display()
    );
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the argument file {}", path.display()))?;
    Ok(text.lines().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invocation(line: &str) -> Invocation {
        Invocation::of(line.split_whitespace().map(str::to_owned).collect())
    }

    #[test]
    fn cargos_command_line_is_understood() {
        let cargo = invocation(
            "--crate-name app --edition=2024 src/main.rs --error-format=json \
             --json=diagnostic-rendered-ansi,artifacts --crate-type bin \
             --emit=dep-info,link -C embed-bitcode=no --cfg feature=\"std\" --check-cfg cfg(docsrs) \
             -C metadata=1 -C extra-filename=-12ab --out-dir target/debug/deps \
             -L dependency=target/debug/deps --extern axum=libaxum.rlib",
        );
        assert_eq!(cargo.root.as_deref(), Some("src/main.rs"));
        assert_eq!(cargo.unit(), "app-12ab");
        assert_eq!(
            cargo.dep_info(),
            Some("target/debug/deps/app-12ab.d".into())
        );
        assert_eq!(
            (cargo.cfgs.as_slice(), cargo.json),
            (&["feature=\"std\"".to_owned()][..], true)
        );
        assert!(!cargo.is_query && !cargo.is_test && !cargo.is_host_only());
        assert!(cargo.is_leaf() && invocation("--test src/lib.rs").is_leaf());
        assert!(!invocation("--crate-type lib --crate-type cdylib src/lib.rs").is_leaf());
    }

    #[test]
    fn questions_and_host_crates_are_told_apart() {
        assert!(invocation("- --crate-name ___ --print=file-names --crate-type bin").is_query);
        assert!(invocation("-vV").is_query);
        assert!(!invocation("--crate-name a --print native-static-libs src/lib.rs").is_query);
        assert!(!invocation("--crate-name a src/lib.rs -v").is_query);
        assert!(invocation("--crate-name m --crate-type proc-macro src/lib.rs").is_host_only());
        assert!(invocation("--crate-name build_script_build build.rs").is_host_only());
        assert!(invocation("--crate-name a --test src/lib.rs").is_test);
    }

    #[test]
    fn a_check_and_a_build_are_two_units() {
        let check = invocation("--crate-name a --emit=dep-info,metadata -Cextra-filename=-1 a.rs");
        let build =
            invocation("--crate-name a --emit=dep-info,metadata,link -C extra-filename=-1 a.rs");
        assert_eq!(
            (check.unit(), build.unit()),
            ("a-1.check".into(), "a-1".into())
        );
    }

    #[test]
    fn a_path_is_shown_as_the_last_fitting_remap_says() {
        let remaps = invocation(
            "a.rs --remap-path-prefix /home=/h --remap-path-prefix=/home/me=/m --remap-path-prefix /x=/y",
        );
        assert_eq!(remaps.remapped("/home/me/a/"), "/m/a/");
        assert_eq!(remaps.remapped("/home/you"), "/h/you");
        assert_eq!(remaps.remapped("/home/me/"), "/m/");
        assert_eq!(remaps.remapped("/homes/"), "/homes/");
        assert_eq!(remaps.remapped(""), "");
    }

    #[test]
    fn only_the_root_is_replaced() {
        let original = invocation("--crate-name a a.rs --cfg b");
        assert_eq!(
            original.with_root("/s/a.rs"),
            ["--crate-name", "a", "/s/a.rs", "--cfg", "b"]
        );
    }
}
