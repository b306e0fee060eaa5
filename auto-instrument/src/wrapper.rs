//! The compiler wrapper: what Cargo calls instead of the compiler, once a unit.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{self, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus, Output, Stdio};

use anyhow::{Context, Result};
use semver::Version;

use crate::config::variable;
use crate::functions::Selection;
use crate::hook::recipe::HOOK;
use crate::invocation::Invocation;
use crate::report::{self, Report};
use crate::rewrite::{self, Rewrite};
use crate::session::{COMPILING, SESSION, Session, write_if_changed};
use crate::{depinfo, hook};

mod copy;
mod relay;

use copy::Copy;
use relay::{Relay, is_artifact};

/// Runs one compilation; `words` are what Cargo called us with.
#[must_use]
pub fn run(session: &Path, words: &[OsString]) -> ExitCode {
    let outcome = match Session::read(session) {
        Ok(session) => match Unit::of(&session, words) {
            Ok(unit) => unit.compile(),
            Err(error) => compile_anyway(words, &error),
        },
        Err(error) => compile_anyway(words, &error),
    };
    outcome.unwrap_or_else(|error| {
        warn(&format!("{error:#}"));
        ExitCode::FAILURE
    })
}

/// What we cannot make sense of, the compiler may.
fn compile_anyway(words: &[OsString], error: &anyhow::Error) -> Result<ExitCode> {
    warn(&format!("no spans: {error:#}"));
    let (program, arguments) = words.split_first().context("no compiler was named")?;
    let status = Command::new(program).args(arguments).status();
    let status = status.with_context(|| format!("cannot start {}", program.display()))?;
    Ok(exit_code(status))
}

/// Cargo shows lines that are not JSON as they are.
fn warn(message: &str) {
    // A closed standard error is no reason to fail a compilation.
    let _ = writeln!(io::stderr(), "warning: spanloom: {message}");
}

/// Sources may nest deeper than a usual stack allows, whose overflow no one can catch. `None` when
/// `call` panics, which is no reason to fail a compilation either.
fn with_room<R: Send>(call: impl FnOnce() -> R + Send) -> Option<R> {
    const STACK_BYTES: usize = 256 << 20;
    std::thread::scope(|scope| {
        // Pages of a stack are real only once they are touched.
        let builder = std::thread::Builder::new().stack_size(STACK_BYTES);
        builder.spawn_scoped(scope, call).ok()?.join().ok()
    })
}

struct Unit<'a> {
    session: &'a Session,
    /// The compiler, behind whatever wrappers there are.
    program: Vec<OsString>,
    rustc: PathBuf,
    invocation: Invocation,
    package: Option<Package>,
}

struct Package {
    name: String,
    version: Version,
    folder: PathBuf,
}

impl Package {
    /// Cargo tells every compilation which package it belongs to.
    fn from_environment() -> Option<Self> {
        Some(Self {
            name: variable("CARGO_PKG_NAME")?,
            version: variable("CARGO_PKG_VERSION")?.parse().ok()?,
            folder: PathBuf::from(variable("CARGO_MANIFEST_DIR")?),
        })
    }
}

impl<'a> Unit<'a> {
    fn of(session: &'a Session, words: &[OsString]) -> Result<Self> {
        let is_option = |word: &OsString| {
            let text = word.to_string_lossy();
            text.starts_with(['-', '@']) || text.ends_with(".rs")
        };
        // rustdoc has no wrapper slot: we are rustdoc then, and get its options alone.
        let n_programs = words.iter().take_while(|word| !is_option(word)).count();
        let mut program: Vec<OsString> = session.chained.iter().map(OsString::from).collect();
        if n_programs == 0 {
            program = vec![
                session
                    .chained_rustdoc
                    .as_deref()
                    .unwrap_or("rustdoc")
                    .into(),
            ];
        }
        program.extend(words.iter().take(n_programs).cloned());
        Ok(Self {
            session,
            rustc: program
                .last()
                .map(PathBuf::from)
                .context("no compiler was named")?,
            program,
            invocation: Invocation::parse(words.get(n_programs..).unwrap_or_default())?,
            package: Package::from_environment(),
        })
    }

    fn compile(&self) -> Result<ExitCode> {
        if self.invocation.is_query || self.invocation.crate_name.is_none() {
            return Ok(exit_code(
                self.command(&self.invocation.arguments).status()?,
            ));
        }
        if let Some(package) = &self.package
            && self.may_be_rewritten()
            && let Some(code) = self.compile_rewritten(package)?
        {
            return Ok(code);
        }
        self.compile_original()
    }

    /// Lints are for what people wrote, and code inside the compiler is not the program's.
    fn may_be_rewritten(&self) -> bool {
        let is_lint = self
            .program
            .iter()
            .any(|word| word.to_string_lossy().contains("clippy-driver"));
        let is_rustdoc =
            self.program.len() == 1 && self.rustc.to_string_lossy().contains("rustdoc");
        let is_hook = self.invocation.crate_name.as_deref() == Some(HOOK);
        // A build script that asks the compiler what it can do has these, a compilation has not.
        let is_probe = variable("NUM_JOBS").is_some() && variable("HOST").is_some();
        !is_lint && !is_rustdoc && !is_hook && !is_probe && !self.invocation.is_host_only()
    }

    fn command(&self, arguments: &[String]) -> Command {
        let mut words = self.program.iter();
        let mut command = Command::new(words.next().map_or(self.rustc.as_os_str(), |word| word));
        command.args(words).args(arguments).env(COMPILING, "1");
        if !self.invocation.is_query {
            // Any crate may depend on one that carries the hook.
            let folder = hook::folder(self.session, self.invocation.target.as_deref());
            command
                .arg("-L")
                .arg(format!("dependency={}", folder.display()));
        }
        command
    }

    fn compile_original(&self) -> Result<ExitCode> {
        let status = self
            .command(&self.invocation.arguments)
            .status()
            .with_context(|| format!("cannot start {}", self.rustc.display()))?;
        if status.success() {
            self.finish_dep_info(None)?;
        }
        Ok(exit_code(status))
    }

    fn finish_dep_info(&self, rename: Option<(&str, &str)>) -> Result<()> {
        let (Some(package), Some(path)) = (&self.package, self.invocation.dep_info()) else {
            return Ok(());
        };
        // Asked for, but not written: that is between Cargo and the compiler.
        if !path.is_file() {
            return Ok(());
        }
        depinfo::rewrite(
            &path,
            rename,
            &self.session.stamps_of(&package.name, &package.folder),
        )
    }

    /// Compiles the crate with its insertions; `None` when it is to be compiled as it is.
    fn compile_rewritten(&self, package: &Package) -> Result<Option<ExitCode>> {
        let rules = self
            .session
            .rules
            .of_package(&package.name, &package.version)
            .unwrap_or_else(|error| {
                warn(&format!("{} gets no rules: {error:#}", package.name));
                Vec::new()
            });
        let selection = self.session.selection(&package.name, &package.folder);
        let Some(root) = &self.invocation.root else {
            return Ok(None);
        };
        // A package's rules are for its library, whose root they name places from.
        let is_library =
            self.invocation.crate_name.as_deref() == Some(&package.name.replace('-', "_"));
        let rules = rules.iter().filter(|_| is_library).collect::<Vec<_>>();
        if rules.is_empty() && selection == Selection::None {
            return Ok(None);
        }
        let root = std::env::current_dir()?.join(root);
        let Some(mut rewrite) = with_room(|| {
            rewrite::plan(
                &root,
                self.invocation.edition.as_deref(),
                || self.configuration(),
                &rules,
                selection,
                self.invocation.is_leaf(),
            )
        }) else {
            warn(&format!(
                "{} {} gets no spans: its sources cannot be read",
                package.name, package.version
            ));
            return Ok(None);
        };
        let mut report = self.report(package, &rewrite);
        let outcome = if rewrite.files.is_empty() {
            Ok(Attempt::Failed(Failure::default()))
        } else if let Some(why) = self.is_skipped() {
            Ok(Attempt::Failed(Failure {
                why,
                ..Failure::default()
            }))
        } else {
            self.compile_copies(package, &root, &mut rewrite, &mut report)
        };
        let attempt = outcome.unwrap_or_else(|error| {
            warn(&format!(
                "{} {} gets no spans: {error:#}",
                package.name, package.version
            ));
            report.fallback = Some(format!("{error:#}"));
            Attempt::Failed(Failure::default())
        });
        let code = match attempt {
            Attempt::Done(code) => code,
            Attempt::Failed(Failure { why, .. }) => {
                let code = self.compile_original()?;
                // When the original fails too, the mistake is the user's and shown as such.
                let is_ours = code == ExitCode::SUCCESS && !rewrite.files.is_empty();
                if is_ours && report.fallback.is_none() {
                    let why = why.map(|why| format!(": {why}")).unwrap_or_default();
                    report.fallback = Some(format!("the copy with spans does not compile{why}"));
                    warn(&format!(
                        "{} {} gets no spans: it does not compile with them",
                        package.name, package.version
                    ));
                }
                code
            }
        };
        // What is compiled is worth more than a word about it.
        let _ = report::write(self.session, &self.invocation.unit(), &report);
        Ok(Some(code))
    }

    /// What `cfg` may ask of this compilation.
    fn configuration(&self) -> Vec<String> {
        let mut command = Command::new(&self.rustc);
        command.args(["--print", "cfg"]);
        if let Some(target) = &self.invocation.target {
            command.args(["--target", target]);
        }
        let printed = command.output().map(|output| output.stdout);
        let printed = printed.unwrap_or_default();
        let of_target = String::from_utf8_lossy(&printed);
        let of_target = of_target.lines().map(str::to_owned);
        let of_test = self.invocation.is_test.then(|| "test".to_owned());
        let given = self.invocation.cfgs.iter().cloned();
        of_target.chain(of_test).chain(given).collect()
    }

    fn report(&self, package: &Package, rewrite: &Rewrite) -> Report {
        for (rule, reason) in &rewrite.missed {
            warn(&format!(
                "the rule `{rule}` does not match {} {} and is skipped: {reason}",
                package.name, package.version
            ));
        }
        Report {
            package: package.name.clone(),
            version: package.version.to_string(),
            matched: rewrite.matched.clone(),
            missed: rewrite.missed.iter().cloned().collect(),
            functions: rewrite.names(),
            left_out: Vec::new(),
            fallback: None,
        }
    }

    /// Compiles the copy, again without the functions at whose insertions the compiler finds errors.
    fn compile_copies(
        &self,
        package: &Package,
        root: &Path,
        rewrite: &mut Rewrite,
        report: &mut Report,
    ) -> Result<Attempt> {
        // The compiler reports errors by its own phases, of which few can be ours.
        const ATTEMPTS_MAX: u32 = 4;
        let mut left_out = Vec::new();
        for _ in 0..ATTEMPTS_MAX {
            let attempt = self.compile_copy(package, root, rewrite)?;
            let Attempt::Failed(failure) = &attempt else {
                if !left_out.is_empty() {
                    warn(&format!(
                        "{} {}: functions that do not compile with a span have none: {}",
                        package.name,
                        package.version,
                        left_out.join(", ")
                    ));
                }
                report.functions = rewrite.names();
                report.left_out = left_out;
                return Ok(attempt);
            };
            let left = rewrite.leave_out(&failure.blamed);
            if left.is_empty() {
                return Ok(attempt);
            }
            left_out.extend(left);
        }
        Ok(Attempt::Failed(Failure::default()))
    }

    /// Compiles the copy, a second time when the hook turned out to be damaged.
    fn compile_copy(&self, package: &Package, root: &Path, rewrite: &Rewrite) -> Result<Attempt> {
        let target = self.invocation.target.as_deref();
        let made = hook::made(self.session, target);
        let attempt = self.compile_copy_once(package, root, rewrite)?;
        let is_damaged = |why: &String| {
            why.contains("`spanloom_hook`")
                && (why.contains(": found ") || why.contains(": can't find "))
        };
        if matches!(&attempt, Attempt::Failed(failure) if failure.why.as_ref().is_some_and(is_damaged))
        {
            hook::forget(self.session, target, made);
            return self.compile_copy_once(package, root, rewrite);
        }
        Ok(attempt)
    }

    fn compile_copy_once(
        &self,
        package: &Package,
        root: &Path,
        rewrite: &Rewrite,
    ) -> Result<Attempt> {
        let copy = Copy::make(self, package, root, rewrite)?;
        let mut command = self.command(&self.invocation.with_root(&copy.root));
        if rewrite.has_calls() {
            let target = self.invocation.target.as_deref();
            let library = hook::library(self.session, &self.rustc, target)?;
            command
                .arg("--extern")
                .arg(format!("{HOOK}={}", library.display()));
        }
        command
            .arg(format!(
                "--remap-path-prefix={}={}",
                copy.folder.trim_end_matches('/'),
                copy.shown.trim_end_matches('/')
            ))
            .stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot start {}", self.rustc.display()))?;
        let messages = child
            .stderr
            .take()
            .context("the compiler has no standard error")?;
        let relayed = Relay::new(self, &copy.originals).relay(BufReader::new(messages))?;
        let status = child.wait()?;
        if status.success() {
            relayed.finish()?;
            self.finish_dep_info(Some((&copy.folder, &copy.home)))?;
        } else if relayed.is_committed {
            // Others may have been given the copy's metadata: compile the original next time, unless
            // it breaks as well, or someone has ended the compiler.
            let why = relayed.first_error.clone();
            relayed.finish()?;
            if status.code().is_some() && self.try_original("obj")?.status.success() {
                self.skip_from_now_on(why)?;
            }
        } else {
            return Ok(Attempt::Failed(Failure {
                why: relayed.first_error,
                blamed: copy.paths_of(relayed.blamed),
            }));
        }
        Ok(Attempt::Done(exit_code(status)))
    }

    fn skip_file(&self) -> PathBuf {
        self.session
            .directory
            .join("skipped")
            .join(self.invocation.unit())
    }

    /// Why, when the original is to be compiled at once.
    fn is_skipped(&self) -> Option<Option<String>> {
        let text = std::fs::read_to_string(self.skip_file()).ok()?;
        let why = text.strip_prefix(&self.session.tool)?.trim();
        Some((!why.is_empty()).then(|| why.to_owned()))
    }

    fn skip_from_now_on(&self, why: Option<String>) -> Result<()> {
        let text = format!("{}\n{}", self.session.tool, why.unwrap_or_default());
        write_if_changed(&self.skip_file(), &text)
    }
}

/// What became of the copy.
enum Attempt {
    /// The compiler's word is the last one.
    Done(ExitCode),
    /// It does not compile; the original must decide.
    Failed(Failure),
}

#[derive(Default)]
struct Failure {
    /// The first error.
    why: Option<String>,
    /// The insertions at which errors point, by the files and offsets of the originals.
    blamed: BTreeSet<(PathBuf, usize)>,
}

impl Unit<'_> {
    /// What the compiler says about the original, without keeping what it makes.
    fn messages_of_original(&self) -> Result<Vec<String>> {
        let output = self.try_original("metadata")?;
        let text = String::from_utf8_lossy(&output.stderr);
        Ok(text
            .lines()
            .filter(|line| !is_artifact(line))
            .map(str::to_owned)
            .collect())
    }

    /// Compiles the original up to what `emit` names, without keeping it.
    fn try_original(&self, emit: &str) -> Result<Output> {
        let folder = self
            .session
            .directory
            .join("messages")
            .join(self.invocation.unit());
        std::fs::create_dir_all(&folder)?;
        let mut arguments = Vec::new();
        let mut rest = self.invocation.arguments.iter();
        while let Some(argument) = rest.next() {
            let next_is_incremental = |rest: &std::slice::Iter<String>| {
                rest.as_slice()
                    .first()
                    .is_some_and(|next| next.starts_with("incremental="))
            };
            match argument.as_str() {
                "--out-dir" | "--emit" => drop(rest.next()),
                "-C" if next_is_incremental(&rest) => drop(rest.next()),
                other if other.starts_with("--emit=") || other.starts_with("-Cincremental=") => {}
                other => arguments.push(other.to_owned()),
            }
        }
        arguments.extend([
            format!("--emit={emit}"),
            "--out-dir".to_owned(),
            folder.display().to_string(),
        ]);
        let output = self.command(&arguments).output()?;
        std::fs::remove_dir_all(&folder)?;
        Ok(output)
    }
}

fn exit_code(status: ExitStatus) -> ExitCode {
    match status.code() {
        Some(code) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        None => ExitCode::FAILURE,
    }
}

/// The session that this process was started in as a wrapper.
pub(crate) fn session() -> Option<PathBuf> {
    variable(SESSION).map(PathBuf::from)
}
