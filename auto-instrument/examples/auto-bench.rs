//! What spans cost a build: `cargo spanloom build` beside `cargo build`, clean and after an edit.
//!
//! The programs are the tests' fixture, whose build after an edit is so short that what the tool itself
//! takes shows, and a published one of some size, where what it inserts shows. Each is built both
//! ways from nothing, and then after the same edits. Half of the edits change a text, the others move the
//! lines below it as well, which has more compiled.
//!
//! Both ways run at the same time, each on a core of its own, which they exchange: whatever else the
//! machine does then hits both. One after the other, single pairs differed by a fifth on a shared
//! machine; side by side by a twentieth. The figure is CPU time (user and system, of Cargo and all that
//! it starts), since wall time says more about what else runs: the median of the ratios, pair by pair.
//! Ends with 1 when a bar falls short.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::json;

/// Ticks of `/proc/self/stat` a second: Linux has reported in this unit on every machine.
const TICKS_PER_S: f64 = 100.0;

/// Builds from nothing, each way.
const CLEAN_BUILDS: usize = 5;

struct Arguments {
    tool: PathBuf,
    /// Where programs are found: the tool's folder first.
    path: OsString,
    edits: usize,
    json: bool,
    cores: [u32; 2],
}

/// A program that is built.
struct Program {
    name: &'static str,
    /// Of a package in the registry; the fixture else.
    version: Option<&'static str>,
    /// The file that is edited, and the text in it that gets a number.
    file: &'static str,
    text: &'static str,
    /// How often it is edited for each edit that was asked for: what is short is measured more often.
    repeats: usize,
}

const PROGRAMS: [Program; 2] = [
    Program {
        name: "the fixture",
        version: None,
        file: "front/src/main.rs",
        text: "format!(\"hello",
        repeats: 4,
    },
    Program {
        name: "dufs",
        version: Some("0.47.0"),
        file: "src/server.rs",
        text: "\"Invalid Path",
        repeats: 1,
    },
];

/// One of the two ways to build.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Plain,
    Spanloom,
}

/// Seconds that one thing took.
#[derive(Clone, Copy)]
struct Cost {
    cpu_s: f64,
    wall_s: f64,
}

/// What one thing took both ways.
struct Pair {
    plain: Cost,
    spanloom: Cost,
}

struct Figure {
    name: String,
    bar: f64,
    pairs: Vec<Pair>,
}

/// The argument behind which a command stands that this program is to run and to say the cost of.
const COST: &str = "--cost-of";

fn main() -> Result<ExitCode> {
    let mut words = std::env::args_os().skip(1);
    if words.next().is_some_and(|word| word == COST) {
        let program = words.next().context("no command to run")?;
        let cost = run(Path::new("."), Command::new(program).args(words))?;
        writeln!(std::io::stdout(), "{} {}", cost.cpu_s, cost.wall_s)?;
        return Ok(ExitCode::SUCCESS);
    }
    let arguments = Arguments::read()?;
    let home = std::env::temp_dir().join(format!("auto-bench-{}", std::process::id()));
    let outcome = measure(&arguments, &home);
    std::fs::remove_dir_all(&home).ok();
    report(&arguments, &outcome?)
}

impl Arguments {
    fn read() -> Result<Self> {
        let mut read = Self {
            tool: PathBuf::from("cargo-spanloom"),
            path: OsString::new(),
            edits: 24,
            json: false,
            cores: cores()?,
        };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            match word.as_str() {
                "--tool" => read.tool = words.next().context("--tool needs a path")?.into(),
                "--edits" => {
                    read.edits = words.next().context("--edits needs a number")?.parse()?;
                }
                "--json" => read.json = true,
                other => anyhow::bail!("unknown argument {other}"),
            }
        }
        read.tool = std::path::absolute(&read.tool)?;
        let folder = read.tool.parent().map(Path::to_owned);
        read.path = std::env::join_paths(
            folder
                .into_iter()
                .chain(std::env::split_paths(&variable("PATH"))),
        )?;
        Ok(read)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place of this program that reads it"
)]
fn variable(name: &str) -> OsString {
    std::env::var_os(name).unwrap_or_default()
}

fn cargo_home() -> PathBuf {
    match variable("CARGO_HOME") {
        unset if unset.is_empty() => Path::new(&variable("HOME")).join(".cargo"),
        set => set.into(),
    }
}

fn measure(arguments: &Arguments, home: &Path) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for program in &PROGRAMS {
        let home = home.join(program.name);
        program.place(&home)?;
        run(&home, Command::new("cargo").args(["fetch", "--quiet"]))?;
        let mut pairs = Vec::new();
        for n in 0..CLEAN_BUILDS {
            let target = home.join("target");
            if target.is_dir() {
                std::fs::remove_dir_all(&target)?;
            }
            pairs.push(pair(arguments, &home, n % 2 == 1)?);
        }
        figures.push(Figure {
            name: format!("{}, clean", program.name),
            bar: 1.10,
            pairs,
        });
        let original = std::fs::read_to_string(home.join(program.file))?;
        let mut pairs = Vec::new();
        // The first edit warms caches and is not counted.
        for n in 0..=arguments.edits * program.repeats {
            program.edit(&home, &original, n)?;
            // Both kinds of edits on both cores.
            let pair = pair(arguments, &home, n / 2 % 2 == 1)?;
            if n > 0 {
                pairs.push(pair);
            }
        }
        figures.push(Figure {
            name: format!("{}, after an edit", program.name),
            bar: 1.05,
            pairs,
        });
        writeln!(std::io::stderr(), "{} done", program.name)?;
    }
    Ok(figures)
}

/// Builds both ways at the same time, each on one of the two cores.
fn pair(arguments: &Arguments, home: &Path, swapped: bool) -> Result<Pair> {
    let [first, second] = arguments.cores;
    let (core, other) = if swapped {
        (second, first)
    } else {
        (first, second)
    };
    let plain = start(arguments, home, Way::Plain, core)?;
    let spanloom = start(arguments, home, Way::Spanloom, other)?;
    let (plain, spanloom) = (end(plain), end(spanloom));
    Ok(Pair {
        plain: plain?,
        spanloom: spanloom?,
    })
}

/// Starts a build on a core, by another process of this program, which says what it cost.
fn start(arguments: &Arguments, home: &Path, way: Way, core: u32) -> Result<Child> {
    let mut command = Command::new("taskset");
    command
        .args(["--cpu-list", &core.to_string()])
        .arg(std::env::current_exe()?)
        .args([COST, "cargo"]);
    if way == Way::Spanloom {
        command.arg("spanloom").env("PATH", &arguments.path);
    }
    command
        .args(["build", "--quiet", "--offline"])
        .current_dir(home)
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start taskset")
}

fn end(build: Child) -> Result<Cost> {
    let output = build.wait_with_output()?;
    ensure!(output.status.success(), "a build failed");
    let said = String::from_utf8(output.stdout)?;
    let (cpu_s, wall_s) = said.trim().split_once(' ').context("no cost was said")?;
    Ok(Cost {
        cpu_s: cpu_s.parse()?,
        wall_s: wall_s.parse()?,
    })
}

/// Two cores that this process may run on.
fn cores() -> Result<[u32; 2]> {
    let text =
        std::fs::read_to_string("/proc/self/status").context("this benchmark needs Linux")?;
    let list = text
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let mut cores = Vec::new();
    for range in list.unwrap_or_default().trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        cores.extend(first.parse::<u32>()?..=last.parse()?);
    }
    match *cores {
        [first, second, ..] => Ok([first, second]),
        _ => anyhow::bail!("this benchmark needs two cores"),
    }
}

impl Program {
    /// Puts the program's sources into a folder.
    fn place(&self, home: &Path) -> Result<()> {
        let Some(version) = self.version else {
            let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/app");
            return copy(&fixture, home);
        };
        // Cargo unpacks whatever is depended on, if only to say that it is no library.
        let asking = home.join("asking");
        std::fs::create_dir_all(asking.join("src"))?;
        std::fs::write(asking.join("src/lib.rs"), "")?;
        let manifest = format!(
            "[package]\nname = \"asking\"\nedition = \"2024\"\n\
             [dependencies]\n{} = \"={version}\"\n",
            self.name
        );
        std::fs::write(asking.join("Cargo.toml"), manifest)?;
        run(&asking, Command::new("cargo").args(["fetch", "--quiet"]))?;
        std::fs::remove_dir_all(&asking)?;
        let package = format!("{}-{version}", self.name);
        let registries = cargo_home().join("registry/src");
        let mut sources = std::fs::read_dir(&registries)?
            .flatten()
            .map(|registry| registry.path().join(&package));
        let sources = sources
            .find(|folder| folder.is_dir())
            .with_context(|| format!("no {package} below {}", registries.display()))?;
        copy(&sources, home)
    }

    /// Changes what the program says, so that it is compiled and linked anew; of two edits, one has a
    /// line more above that.
    fn edit(&self, home: &Path, original: &str, n: usize) -> Result<()> {
        let (before, behind) = original
            .split_once(self.text)
            .with_context(|| format!("{} is another program", self.name))?;
        let (lines, line) = before.rsplit_once('\n').unwrap_or(("", before));
        let breaks = if n.is_multiple_of(2) { "\n" } else { "\n\n" };
        let edited = format!("{lines}{breaks}{line}{}{n}{behind}", self.text);
        Ok(std::fs::write(home.join(self.file), edited)?)
    }
}

fn run(home: &Path, command: &mut Command) -> Result<Cost> {
    let (cpu_before_s, started) = (children_cpu_s()?, Instant::now());
    let status = command
        .current_dir(home)
        .env_remove("CARGO_TARGET_DIR")
        // Cargo would look for the backtrace of each of its errors, also of those that nobody sees.
        .env_remove("RUST_BACKTRACE")
        .stdout(Stdio::null())
        .status()
        .with_context(|| format!("cannot start {}", command.get_program().display()))?;
    ensure!(
        status.success(),
        "{} failed",
        command.get_program().display()
    );
    Ok(Cost {
        cpu_s: children_cpu_s()? - cpu_before_s,
        wall_s: started.elapsed().as_secs_f64(),
    })
}

/// CPU time of every child that was waited for, and of theirs.
fn children_cpu_s() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/self/stat").context("this benchmark needs Linux")?;
    // The second field is the program's name in parentheses, which may hold spaces.
    let fields: Vec<&str> = text
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok());
    let (user, system) = ticks(13)
        .zip(ticks(14))
        .context("/proc/self/stat is another than expected")?;
    Ok((user + system) / TICKS_PER_S)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to)?;
        } else {
            std::fs::copy(&from, &to)?;
        }
    }
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = |at: usize| values.get(at).copied().unwrap_or_default();
    let (upper, is_even) = (values.len() / 2, values.len().is_multiple_of(2));
    match is_even && upper > 0 {
        true => f64::midpoint(at(upper - 1), at(upper)),
        false => at(upper),
    }
}

impl Figure {
    fn median(&self, of: impl Fn(&Pair) -> f64) -> f64 {
        median(self.pairs.iter().map(of).collect())
    }

    fn ratio(&self) -> f64 {
        self.median(|pair| pair.spanloom.cpu_s / pair.plain.cpu_s)
    }

    fn holds(&self) -> bool {
        self.ratio() <= self.bar
    }

    fn line(&self) -> String {
        format!(
            "{:<28}{:>6}{:>10.3} s{:>10.3} s{:>8.3}{:>8.2}  {:<6}{:>12.2} s{:>14.2} s\n",
            self.name,
            self.pairs.len(),
            self.median(|pair| pair.plain.cpu_s),
            self.median(|pair| pair.spanloom.cpu_s),
            self.ratio(),
            self.bar,
            if self.holds() { "yes" } else { "no" },
            self.median(|pair| pair.plain.wall_s),
            self.median(|pair| pair.spanloom.wall_s),
        )
    }

    fn json(&self) -> serde_json::Value {
        json!({
            "figure": self.name,
            "pairs": self.pairs.len(),
            "plain_cpu_s": self.median(|pair| pair.plain.cpu_s),
            "spanloom_cpu_s": self.median(|pair| pair.spanloom.cpu_s),
            "ratio": self.ratio(),
            "bar": self.bar,
            "holds": self.holds(),
            "plain_wall_s": self.median(|pair| pair.plain.wall_s),
            "spanloom_wall_s": self.median(|pair| pair.spanloom.wall_s),
        })
    }
}

fn report(arguments: &Arguments, figures: &[Figure]) -> Result<ExitCode> {
    let text = if arguments.json {
        let rows: Vec<_> = figures.iter().map(Figure::json).collect();
        format!("{}\n", serde_json::to_string_pretty(&rows)?)
    } else {
        let head = format!(
            "{:<28}{:>6}{:>12}{:>12}{:>8}{:>8}  {:<6}{:>14}{:>16}\n",
            "medians of CPU time",
            "pairs",
            "plain",
            "spanloom",
            "ratio",
            "bar",
            "holds",
            "wall, plain",
            "wall, spanloom"
        );
        head + &figures.iter().map(Figure::line).collect::<String>()
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(match figures.iter().all(Figure::holds) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}
