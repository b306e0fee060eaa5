//! `cargo spanloom COMMAND`: starts Cargo with this tool as its compiler wrapper.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::config::{rustc, rustc_wrapper, variable};
use crate::functions::Selection;
use crate::session::{SESSION, Session, hash};
use crate::workspace::Workspace;
use crate::{child, report, rules, wrapper};

mod inspect;

/// What `cargo spanloom --help` prints.
const HELP: &str = "\
Builds a Rust program with spans in it, without an edit to its sources.

Usage: cargo spanloom [OPTIONS] COMMAND [ARGUMENTS]

Commands:
  run, build, test, check, bench, install ...
                Cargo's own commands with Cargo's own arguments, below target/spanloom
  list          the rules, and which of them this workspace's dependencies match
  lint [FILE]   checks rules against the sources they are for; exits 1 when one does not match
  diff [PACKAGE] ...
                what is inserted where

Options (before the command):
  --rules FILE             more rules; also SPANLOOM_RULES, separated as PATH is
  --functions WHICH        of the workspace: default, none or everything
  --statements-min N       the size from which public functions are taken (4)
  --all-crates             functions of dependencies too
  -h, --help
  -V, --version

A program built so sends OTLP over HTTP to OTEL_EXPORTER_OTLP_ENDPOINT (http://127.0.0.1:4318).
Switches when it runs: OTEL_SDK_DISABLED=true; SPANLOOM_OFF=hyper,sqlx (crates whose rules rest);
SPANLOOM_FUNCTIONS=off (no spans of functions) or roots (functions start traces);
SPANLOOM_TRACE_SPANS_MAX=1000; SPANLOOM_LOG=1.
";

/// Options of ours, before the command.
#[derive(Debug, Default, PartialEq, Eq)]
struct Options {
    rules: Vec<PathBuf>,
    functions: Option<String>,
    statements_min: Option<usize>,
    everywhere: bool,
    /// The command and everything after it.
    rest: Vec<OsString>,
}

/// The session, when Cargo calls us as its compiler wrapper.
#[must_use]
pub fn wrapped_session() -> Option<PathBuf> {
    wrapper::session()
}

/// Runs the command line without the program's and the subcommand's name.
#[must_use]
pub fn run(arguments: &[OsString]) -> ExitCode {
    let outcome = Options::parse(arguments).and_then(Options::run);
    outcome.unwrap_or_else(|error| {
        // Nothing is left to do when standard error is closed too.
        let _ = writeln!(io::stderr(), "error: {error:#}");
        ExitCode::from(64)
    })
}

impl Options {
    fn parse(arguments: &[OsString]) -> Result<Self> {
        let mut options = Self::default();
        let mut rest = arguments.iter();
        while let Some(next) = rest.next() {
            let utf8 = |word: &'_ OsString| -> Result<String> {
                let word = word.to_str().context("an argument is not UTF-8")?;
                Ok(word.to_owned())
            };
            let word = utf8(next)?;
            let word = word.as_str();
            let mut value = || {
                let value = rest.next();
                utf8(value.with_context(|| format!("{word} needs a value"))?)
            };
            match word {
                "--rules" => options.rules.push(value()?.into()),
                "--functions" => options.functions = Some(value()?),
                "--statements-min" => {
                    let number = value()?;
                    options.statements_min = Some(
                        number
                            .parse()
                            .with_context(|| format!("--statements-min {number}: not a number"))?,
                    );
                }
                "--all-crates" => options.everywhere = true,
                "-h" | "--help" | "-V" | "--version" => options.rest = vec![word.into()],
                option if option.starts_with('-') => {
                    bail!("unknown option {option}; Cargo's options come after the command");
                }
                _ => {
                    options.rest.push(next.clone());
                    options.rest.extend(rest.by_ref().cloned());
                }
            }
        }
        Ok(options)
    }

    fn run(self) -> Result<ExitCode> {
        let words: Vec<String> = self
            .rest
            .iter()
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        let (command, arguments) = match words.split_first() {
            Some((command, arguments)) => (command.as_str(), arguments),
            None => ("--help", &[][..]),
        };
        match command {
            "-h" | "--help" => print(HELP),
            "help" if arguments.is_empty() => print(HELP),
            "-V" | "--version" => print(&format!("cargo-spanloom {}\n", env!("CARGO_PKG_VERSION"))),
            "list" => inspect::list(&self.rule_set()?),
            "lint" => inspect::lint(&self.rules, arguments),
            "diff" => inspect::diff(
                &self.rule_set()?,
                self.selection()?,
                self.everywhere,
                arguments,
            ),
            _ => self.cargo(command),
        }
    }

    fn rule_set(&self) -> Result<Vec<rules::Rule>> {
        rules::load(&self.rule_files())
    }

    /// The files of rules that are used besides the embedded ones.
    fn rule_files(&self) -> Vec<PathBuf> {
        let more = variable("SPANLOOM_RULES").unwrap_or_default();
        let more = std::env::split_paths(&more).filter(|path| !path.as_os_str().is_empty());
        more.chain(self.rules.iter().cloned()).collect()
    }

    fn selection(&self) -> Result<Selection> {
        let by_default = match self.statements_min {
            Some(statements_min) => Selection::Default { statements_min },
            None => Selection::default(),
        };
        match self.functions.as_deref() {
            None | Some("default") => Ok(by_default),
            Some("none") => Ok(Selection::None),
            Some("everything") => Ok(Selection::Everything),
            Some(other) => bail!("--functions {other}: expected default, none or everything"),
        }
    }

    fn cargo(&self, command: &str) -> Result<ExitCode> {
        let (arguments, target_directory) =
            split_target_directory(self.rest.get(1..).unwrap_or_default());
        let words: Vec<String> = arguments
            .iter()
            .take_while(|word| *word != "--")
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        let tool = tool()?;
        let is_local = |word: &String| word == "--path" || word.starts_with("--path=");
        let installs = command == "install" && !words.iter().any(is_local);
        let settings = settings(&words);
        let workspace = match installs {
            true => nowhere(target_directory),
            false => workspace(&words, &settings, &tool, target_directory.as_deref()),
        };
        let Ok(workspace) = workspace else {
            return self.plain_cargo();
        };
        let base = workspace.target_directory;
        let passes = installs && base == passing_folder();
        if passes {
            // It must not be there yet: others may write to the folder that it is in.
            std::fs::create_dir(&base)
                .with_context(|| format!("cannot make the folder {}", base.display()))?;
        }
        let directory = std::path::absolute(&base)?.join("spanloom");
        let here = std::env::current_dir()?;
        let session = Session {
            members: workspace.members,
            installs,
            chained: rustc_wrapper(&here, &settings).filter(|wrapper| !is_us(wrapper)),
            chained_rustdoc: variable("RUSTDOC").filter(|rustdoc| !is_us(rustdoc)),
            workspace: workspace.root,
            selection: self.selection()?,
            everywhere: self.everywhere,
            rules: rules::Prepared::of(&directory, &tool, &self.rule_files())?,
            compiler: compiler(rustc(&here, &settings))?,
            tool,
            directory,
        };
        let session_file = session.write()?;
        let us = std::env::current_exe()?;
        let skipped = n_skipped(&session);
        loop {
            let before = n_skipped(&session);
            let mut cargo = Command::new(cargo());
            cargo
                .arg(command)
                .args(&arguments)
                .env(SESSION, &session_file)
                .env("RUSTC_WRAPPER", &us)
                .env("RUSTDOC", &us)
                .env("CARGO_TARGET_DIR", &session.directory)
                .env("CARGO_BUILD_BUILD_DIR", &session.directory)
                .envs(session.stamps());
            let status = child::run(&mut cargo).context("cannot start cargo")?;
            report::gather(&session.directory);
            // A crate that broke late is compiled as it is from now on: try once more.
            let again = !status.success() && n_skipped(&session) > before && before == skipped;
            if !again {
                if passes {
                    // What stays is in nobody's way, and the system's to remove.
                    let _ = std::fs::remove_dir_all(&base);
                }
                return Ok(child::end_like(status));
            }
        }
    }

    /// Without a workspace there is nothing to instrument: `new`, `search`, and Cargo's own word on a
    /// manifest that it cannot find or read.
    fn plain_cargo(&self) -> Result<ExitCode> {
        let status = child::run(Command::new(cargo()).args(&self.rest));
        Ok(child::end_like(status.context("cannot start cargo")?))
    }
}

fn n_skipped(session: &Session) -> usize {
    std::fs::read_dir(session.directory.join("skipped")).map_or(0, Iterator::count)
}

fn is_us(path: &str) -> bool {
    std::env::current_exe().is_ok_and(|us| us == Path::new(path))
}

fn print(text: &str) -> Result<ExitCode> {
    io::stdout().lock().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// Takes `--target-dir` out: ours lies below it.
fn split_target_directory(arguments: &[OsString]) -> (Vec<OsString>, Option<PathBuf>) {
    let (mut kept, mut directory) = (Vec::new(), None);
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let word = argument.to_str().unwrap_or_default();
        if word == "--" {
            kept.push(argument.clone());
            kept.extend(rest.by_ref().cloned());
        } else if word == "--target-dir" {
            directory = rest.next().map(PathBuf::from);
        } else if let Some(value) = word.strip_prefix("--target-dir=") {
            directory = Some(PathBuf::from(value));
        } else {
            kept.push(argument.clone());
        }
    }
    (kept, directory)
}

/// The `--config` and `-Z` options among Cargo's: they say how manifests and configuration are read.
fn settings(words: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        if matches!(word.as_str(), "--config" | "-Z") {
            found.push(word.clone());
            found.extend(rest.next().cloned());
        } else if word.starts_with("--config=") || (word.starts_with("-Z") && word.len() > 2) {
            found.push(word.clone());
        }
    }
    found
}

fn cargo() -> String {
    variable("CARGO").unwrap_or_else(|| "cargo".to_owned())
}

/// Names the compiler: by its file when it is that of Cargo's own toolchain, since asking it takes
/// longer than everything else here; a `given` one by what it says of itself.
fn compiler(given: Option<String>) -> Result<String> {
    let beside_cargo = || {
        let cargo = PathBuf::from(variable("CARGO")?);
        Some(cargo.with_file_name(format!("rustc{}", std::env::consts::EXE_SUFFIX)))
    };
    if given.is_none()
        && let Some(path) = beside_cargo()
        && let Ok(file) = std::fs::metadata(&path)
    {
        return Ok(format!(
            "{} {} {:?}",
            path.display(),
            file.len(),
            file.modified().ok()
        ));
    }
    let rustc = given.unwrap_or_else(|| "rustc".to_owned());
    let output = Command::new(&rustc)
        .arg("-vV")
        .output()
        .with_context(|| format!("cannot start {rustc}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Names this very build of the tool: another one may rewrite differently.
fn tool() -> Result<String> {
    let us = std::fs::metadata(std::env::current_exe()?)?;
    let modified = us
        .modified()?
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    Ok(hash(&(env!("CARGO_PKG_VERSION"), us.len(), modified)))
}

/// The part of `cargo metadata` that is needed.
#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_root: PathBuf,
    target_directory: PathBuf,
}

#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    version: semver::Version,
    manifest_path: PathBuf,
    targets: Vec<Target>,
}

#[derive(Debug, Deserialize)]
struct Target {
    kind: Vec<String>,
    name: String,
    src_path: PathBuf,
    edition: String,
}

impl Package {
    fn folder(&self) -> PathBuf {
        self.manifest_path
            .parent()
            .unwrap_or(Path::new(""))
            .to_owned()
    }
}

/// The workspace that a command's arguments mean.
fn workspace(
    words: &[String],
    settings: &[String],
    tool: &str,
    target_directory: Option<&Path>,
) -> Result<Workspace> {
    let mut manifest = None;
    let mut rest = words.iter();
    while let Some(argument) = rest.next() {
        let value = |prefix: &str| argument.strip_prefix(prefix).map(PathBuf::from);
        if argument == "--manifest-path" {
            manifest = rest.next().map(PathBuf::from);
        } else if argument == "--path" {
            // `install`'s way to name a package.
            manifest = rest
                .next()
                .map(|folder| Path::new(folder).join("Cargo.toml"));
        } else if let Some(path) = value("--manifest-path=") {
            manifest = Some(path);
        }
    }
    let mut asker = vec![cargo()];
    asker.extend_from_slice(settings);
    let (manifest, tool) = (manifest.as_deref(), tool.to_owned());
    Workspace::find(manifest, asker, tool, target_directory, || {
        let metadata = Metadata::of_members(manifest, settings)?;
        Ok(Workspace {
            members: metadata.packages.iter().map(Package::folder).collect(),
            root: metadata.workspace_root,
            target_directory: metadata.target_directory,
        })
    })
}

/// For `install NAME`, which needs no workspace, and whose build is left behind nowhere.
fn nowhere(target_directory: Option<PathBuf>) -> Result<Workspace> {
    let by_environment = || {
        let given = variable("CARGO_TARGET_DIR").or_else(|| variable("CARGO_BUILD_TARGET_DIR"));
        given.map(PathBuf::from)
    };
    let given = target_directory.or_else(by_environment);
    Ok(Workspace {
        members: Vec::new(),
        target_directory: given.unwrap_or_else(passing_folder),
        root: std::env::current_dir()?,
    })
}

/// A name that no other run of this command has.
fn passing_folder() -> PathBuf {
    std::env::temp_dir().join(format!("cargo-spanloom-{}", std::process::id()))
}

impl Metadata {
    /// Members only; quick, and never touches the lock file.
    fn of_members(manifest: Option<&Path>, settings: &[String]) -> Result<Self> {
        let mut words = vec!["--no-deps".to_owned()];
        words.extend_from_slice(settings);
        if let Some(manifest) = manifest {
            words.extend(["--manifest-path".to_owned(), manifest.display().to_string()]);
        }
        Self::read(&words)
    }

    /// Members and dependencies.
    fn of_graph() -> Result<Self> {
        Self::read(&[])
    }

    fn read(words: &[String]) -> Result<Self> {
        let output = Command::new(cargo())
            .args(["metadata", "--format-version", "1"])
            .args(words)
            .output()
            .context("cannot start cargo")?;
        let message = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "cargo metadata: {}",
            message.trim()
        );
        serde_json::from_slice(&output.stdout).context("cannot read what cargo metadata printed")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options> {
        Options::parse(
            &line
                .split_whitespace()
                .map(OsString::from)
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn our_options_come_before_the_command_and_cargos_after() {
        let options =
            parse("--rules a.toml --functions none run --release -- --rules x").expect("right");
        assert_eq!(options.rules, [PathBuf::from("a.toml")]);
        assert_eq!(options.functions.as_deref(), Some("none"));
        assert_eq!(options.rest, ["run", "--release", "--", "--rules", "x"]);
    }

    #[test]
    fn settings_of_cargo_are_found() {
        let words = "-p a --config x.y=1 -Zb --config=z -Z c -v".split(' ');
        let found = settings(&words.map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(found, ["--config", "x.y=1", "-Zb", "--config=z", "-Z", "c"]);
    }

    #[test]
    fn mistakes_are_named() {
        let error = |line| format!("{:#}", parse(line).expect_err("must be refused"));
        assert!(error("--release build").contains("unknown option --release"));
        assert!(error("--rules").contains("needs a value"));
        assert!(error("--statements-min x build").contains("not a number"));
    }

    #[test]
    fn the_target_directory_is_taken_out_before_the_double_dash() {
        let words = ["-p", "a", "--target-dir=x", "--", "--target-dir", "y"].map(OsString::from);
        let (kept, directory) = split_target_directory(&words);
        assert_eq!(kept, ["-p", "a", "--", "--target-dir", "y"]);
        assert_eq!(directory, Some(PathBuf::from("x")));
    }
}
