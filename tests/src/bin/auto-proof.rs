//! `cargo xtask bench auto-proof`: auto-instrumentation on programs that others wrote and published.
//!
//! Each program is installed from the registry by `cargo spanloom install`, started beside the
//! collector, sent one request, and its trace is printed as the collector's Jaeger API has it. Then
//! the crates that most of the programs' dependencies stand on are compiled with every function of
//! every crate rewritten, and the compilations that fell back to the original are counted. Ends with
//! 1 when a program has no trace or a crate fell back. Takes some ten minutes and needs the registry.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Write as _, stdout};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use clap::Parser;
use serde_json::Value;
use xtask::jaeger::{Jaeger, Trace};
use xtask::mesh::{Collector, Leash, Process};
use xtask::{http, wait, workspace};

#[derive(Parser)]
struct Arguments {
    /// The built `cargo-spanloom`.
    #[arg(long)]
    tool: PathBuf,
    /// The built collector.
    #[arg(long)]
    spanloom: PathBuf,
    /// Where programs are built and kept.
    #[arg(long)]
    folder: PathBuf,
    /// Only this program, and no check of crates.
    #[arg(long)]
    only: Option<String>,
    /// How many crates are checked.
    #[arg(long, default_value_t = 60)]
    crates: usize,
}

/// A published program.
struct Program {
    name: &'static str,
    version: &'static str,
    /// What it stands on.
    on: &'static str,
    /// More arguments of `cargo install`.
    install: &'static [&'static str],
    path: &'static str,
    /// Its arguments, with `{port}` and `{folder}` filled in, and variables likewise.
    arguments: &'static [&'static str],
    environment: &'static [(&'static str, &'static str)],
}

const PROGRAMS: [Program; 4] = [
    Program {
        name: "dufs",
        version: "0.47.0",
        on: "hyper 1",
        install: &["--no-default-features"],
        path: "/",
        arguments: &["--bind", "127.0.0.1", "--port", "{port}", "{folder}"],
        environment: &[],
    },
    Program {
        name: "mdbook",
        version: "0.5.4",
        on: "axum",
        install: &[],
        path: "/index.html",
        arguments: &["serve", "-n", "127.0.0.1", "-p", "{port}", "{folder}"],
        environment: &[],
    },
    Program {
        name: "static-web-server",
        version: "2.44.1",
        on: "hyper 0.14",
        install: &["--no-default-features"],
        path: "/",
        arguments: &[
            "--host",
            "127.0.0.1",
            "--port",
            "{port}",
            "--root",
            "{folder}",
        ],
        environment: &[],
    },
    Program {
        name: "atuin-server",
        version: "18.24.4",
        on: "axum, and sqlx on SQLite",
        install: &[],
        path: "/user/nobody",
        arguments: &["start", "--host", "127.0.0.1", "--port", "{port}"],
        environment: &[
            ("ATUIN_CONFIG_DIR", "{folder}"),
            ("ATUIN_DB_URI", "sqlite://{folder}/atuin.db"),
        ],
    },
];

fn main() -> Result<ExitCode> {
    let mut arguments = Arguments::parse();
    for path in [
        &mut arguments.tool,
        &mut arguments.spanloom,
        &mut arguments.folder,
    ] {
        *path = std::path::absolute(&*path)?;
    }
    let arguments = arguments;
    let mut all_hold = true;
    let chosen = |program: &&Program| {
        arguments
            .only
            .as_deref()
            .is_none_or(|only| only == program.name)
    };
    for program in PROGRAMS.iter().filter(chosen) {
        program.install(&arguments)?;
        let trace = program.trace(&arguments)?;
        writeln!(
            stdout(),
            "{} {} on {}:\n{trace}",
            program.name,
            program.version,
            program.on
        )?;
        all_hold &= trace.is_whole();
    }
    if arguments.only.is_none() {
        all_hold &= check_crates(&arguments)? == 0;
    }
    Ok(if all_hold {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

impl Program {
    fn install(&self, arguments: &Arguments) -> Result<()> {
        let root = arguments.folder.join("programs");
        let mut command = spanloom(arguments, &arguments.folder);
        command.args([
            "install",
            "--quiet",
            "--locked",
            "--debug",
            "--version",
            self.version,
        ]);
        command
            .arg("--root")
            .arg(root)
            // The four share what they have in common.
            .arg("--target-dir")
            .arg(arguments.folder.join("target"))
            .args(self.install)
            .arg(self.name);
        workspace::run(&mut command)
    }

    /// Starts it, sends a request, and returns the trace.
    fn trace(&self, arguments: &Arguments) -> Result<Trace> {
        let leash = Leash::new()?;
        let collector = Collector::start(&leash, &arguments.spanloom)?;
        let served = leash.folder().join("served");
        write_book(&served)?;
        // A port that was free a moment ago: these programs take none by themselves.
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let fill = |text: &str| {
            text.replace("{port}", &port.to_string())
                .replace("{folder}", &served.display().to_string())
        };
        let mut command = Command::new(arguments.folder.join("programs/bin").join(self.name));
        command.args(self.arguments.iter().map(|word| fill(word)));
        command.envs(
            self.environment
                .iter()
                .map(|(name, value)| (name, fill(value))),
        );
        command.env(
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            format!("http://{}", collector.otlp_http()),
        );
        command.env("OTEL_BSP_SCHEDULE_DELAY", "100");
        let mut process = Process::spawn(&leash, self.name, &mut command)?;
        let url = format!("http://127.0.0.1:{port}{}", self.path);
        process.wait_for("an answer", || Ok(http::get(&url, &[]).ok()))?;
        let jaeger = Jaeger::new(collector.query());
        largest(&jaeger, self.name)
    }
}

/// The trace with the most spans, as soon as there is one.
fn largest(jaeger: &Jaeger, service: &str) -> Result<Trace> {
    wait::until("a trace", || {
        let traces = jaeger.find(service, "limit=20")?;
        let whole = traces.into_iter().filter(|trace| {
            trace.is_whole() && trace.spans.iter().any(|span| span.kind() == "server")
        });
        Ok(whole.max_by_key(|trace| trace.spans.len()))
    })
}

/// A folder that a file server and mdbook can serve.
fn write_book(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder.join("src"))?;
    fs::write(folder.join("book.toml"), "[book]\ntitle = \"Tea\"\n")?;
    fs::write(
        folder.join("src/SUMMARY.md"),
        "# Summary\n\n- [Tea](tea.md)\n",
    )?;
    fs::write(folder.join("src/tea.md"), "# Tea\n")?;
    fs::write(folder.join("index.html"), "<h1>Tea</h1>\n")?;
    Ok(())
}

fn spanloom(arguments: &Arguments, folder: &Path) -> Command {
    let mut command = workspace::as_cargo(&arguments.tool, &["spanloom"]);
    command.current_dir(folder).env_remove("CARGO_TARGET_DIR");
    command
}

/// Compiles the most used crates of the programs' graphs in everything-mode; how many compilations
/// fell back.
fn check_crates(arguments: &Arguments) -> Result<usize> {
    let crates = most_used(arguments)?;
    let folder = arguments.folder.join("crates");
    fs::create_dir_all(folder.join("src"))?;
    fs::write(folder.join("src/lib.rs"), "")?;
    let mut manifest = String::from(
        "[package]\nname = \"crates\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[workspace]\n[dependencies]\n",
    );
    for (name, version) in &crates {
        manifest.push_str(&format!("{name} = \"={version}\"\n"));
    }
    fs::write(folder.join("Cargo.toml"), manifest)?;
    fs::remove_dir_all(folder.join("target")).or_else(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    })?;
    let mut check = spanloom(arguments, &folder);
    let everything = [
        "--functions",
        "everything",
        "--all-crates",
        "check",
        "--quiet",
    ];
    workspace::run(check.args(everything))?;

    let matched = fs::read_to_string(folder.join("target/spanloom/matched.json"))?;
    let matched: Vec<Value> = serde_json::from_str(&matched)?;
    let functions = matched
        .iter()
        .filter_map(|unit| unit["functions"].as_array());
    let n_functions: usize = functions.map(Vec::len).sum();
    let fallen: Vec<String> = matched
        .iter()
        .filter(|unit| unit["fallback"].is_string())
        .map(|unit| format!("{} {}", unit["crate"], unit["version"]))
        .collect();
    let names: Vec<&str> = crates.iter().map(|(name, _)| name.as_str()).collect();
    writeln!(
        stdout(),
        "the {} most used crates and what they stand on: {} compilations, {n_functions} functions, \
         {} fell back {}\n({})",
        crates.len(),
        matched.len(),
        fallen.len(),
        fallen.join(", "),
        names.join(", ")
    )?;
    Ok(fallen.len())
}

/// The crates on which most packages of the programs' lock files depend, with a version each.
fn most_used(arguments: &Arguments) -> Result<Vec<(String, String)>> {
    let mut users: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut versions: BTreeMap<String, String> = BTreeMap::new();
    for program in &PROGRAMS {
        let text = fs::read_to_string(lock_file(arguments, program)?)?;
        for package in text.split("[[package]]").skip(1) {
            let value = |key: &str| {
                let line = package.lines().find_map(|line| line.strip_prefix(key));
                line.unwrap_or_default()
                    .trim_matches([' ', '=', '"'])
                    .to_owned()
            };
            let name = value("name");
            // The program itself is no dependency; what is for other systems compiles to nothing here.
            let is_other = [
                "windows",
                "winapi",
                "wasi",
                "objc",
                "core-foundation",
                "security-framework",
            ]
            .iter()
            .any(|start| name.starts_with(start));
            if package.contains("registry+") && !is_other {
                versions.insert(name.clone(), value("version"));
            }
            let listed = package
                .split_once("dependencies = [")
                .map_or("", |(_, list)| list);
            for line in listed.lines() {
                let line = line.trim().trim_matches([',', '"']);
                if let Some(used) = line
                    .split(' ')
                    .next()
                    .filter(|used| !used.is_empty() && *used != "]")
                {
                    users
                        .entry(used.to_owned())
                        .or_default()
                        .insert(name.clone());
                }
            }
        }
    }
    let mut ranked: Vec<(usize, String, String)> = versions
        .into_iter()
        .map(|(name, version)| (users.get(&name).map_or(0, BTreeSet::len), name, version))
        .collect();
    ranked.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    ranked.truncate(arguments.crates);
    Ok(ranked
        .into_iter()
        .map(|(_, name, version)| (name, version))
        .collect())
}

/// The lock file that a published program comes with, in Cargo's copy of its sources.
fn lock_file(arguments: &Arguments, program: &Program) -> Result<PathBuf> {
    let registry = home(arguments)?.join("registry/src");
    for index in fs::read_dir(&registry)? {
        let lock = index?
            .path()
            .join(format!("{}-{}/Cargo.lock", program.name, program.version));
        if lock.is_file() {
            return Ok(lock);
        }
    }
    bail!("{} has no sources of {}", registry.display(), program.name)
}

/// Where Cargo keeps what it downloads: the folder that it names for a crate's sources.
fn home(arguments: &Arguments) -> Result<PathBuf> {
    let mut metadata = workspace::cargo(&["metadata", "--format-version", "1", "--offline"]);
    let text = workspace::output_of(&mut metadata)?;
    let metadata: Value = serde_json::from_str(&text)?;
    let packages = metadata["packages"].as_array().context("no packages")?;
    let folder = packages.iter().find_map(|package| {
        let manifest = Path::new(package["manifest_path"].as_str()?);
        let at = manifest
            .ancestors()
            .find(|path| path.ends_with("registry/src"))?;
        Some(at.parent()?.parent()?.to_owned())
    });
    folder.with_context(|| {
        format!(
            "no package from a registry, in {}",
            arguments.folder.display()
        )
    })
}
