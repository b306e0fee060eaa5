//! What spans cost a build: `cargo spanloom build` beside `cargo build`, clean and after an edit, both
//! as one types them.
//!
//! The program is the tests' fixture. A round builds it both ways from nothing and then, several
//! times, after an edit in the application; the two take turns at going first, so that a slow
//! minute of the machine hits both. The figure is CPU time (user and system, of Cargo and all that
//! it starts), since wall time says more about what else runs; both are printed. The first round
//! warms caches and is not counted. Ends with 1 when a bar falls short.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::json;

/// Edits that a round times in each way.
const EDITS: usize = 20;
/// Ticks of `/proc/self/stat` a second: Linux has reported in this unit on every machine.
const TICKS_PER_S: f64 = 100.0;

struct Arguments {
    tool: PathBuf,
    /// Where programs are found: the tool's folder first.
    path: OsString,
    rounds: usize,
    json: bool,
}

/// One of the two ways to build.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Plain,
    Spanloom,
}

/// Seconds that one thing took.
#[derive(Clone, Copy, Default)]
struct Cost {
    cpu_s: f64,
    wall_s: f64,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::read()?;
    let home = std::env::temp_dir().join(format!("auto-bench-{}", std::process::id()));
    let outcome = measure(&arguments, &home);
    std::fs::remove_dir_all(&home).ok();
    let (clean, edited) = outcome?;
    report(
        &arguments,
        &[
            ("clean build", 1.10, &clean),
            ("build after an edit", 1.05, &edited),
        ],
    )
}

impl Arguments {
    fn read() -> Result<Self> {
        let mut read = Self {
            tool: PathBuf::from("cargo-spanloom"),
            path: OsString::new(),
            rounds: 3,
            json: false,
        };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            match word.as_str() {
                "--tool" => read.tool = words.next().context("--tool needs a path")?.into(),
                "--rounds" => {
                    read.rounds = words.next().context("--rounds needs a number")?.parse()?;
                }
                "--json" => read.json = true,
                other => anyhow::bail!("unknown argument {other}"),
            }
        }
        read.tool = std::path::absolute(&read.tool)?;
        let folder = read.tool.parent().map(Path::to_owned);
        read.path = std::env::join_paths(folder.into_iter().chain(std::env::split_paths(&path())))?;
        Ok(read)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place of this program that reads it"
)]
fn path() -> OsString {
    std::env::var_os("PATH").unwrap_or_default()
}

/// Costs of each way, one entry a round.
#[derive(Default)]
struct Costs {
    plain: Vec<Cost>,
    spanloom: Vec<Cost>,
}

impl Costs {
    fn push(&mut self, way: Way, cost: Cost) {
        match way {
            Way::Plain => self.plain.push(cost),
            Way::Spanloom => self.spanloom.push(cost),
        }
    }
}

fn measure(arguments: &Arguments, home: &Path) -> Result<(Costs, Costs)> {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/app");
    copy(&fixture, home)?;
    run(home, Command::new("cargo").args(["fetch", "--quiet"]))?;
    let (mut clean, mut edited) = (Costs::default(), Costs::default());
    for round in 0..=arguments.rounds {
        let mut ways = [Way::Plain, Way::Spanloom];
        ways.rotate_left(round % 2);
        for way in ways {
            std::fs::remove_dir_all(home.join("target")).ok();
            let cost = build(arguments, home, way)?;
            if round > 0 {
                clean.push(way, cost);
            }
            let mut sum = Cost::default();
            for n in 0..EDITS {
                edit(home, round * EDITS + n)?;
                let cost = build(arguments, home, way)?;
                sum.cpu_s += cost.cpu_s;
                sum.wall_s += cost.wall_s;
            }
            // The mean, since the clock of CPU time ticks as slowly as what is to be seen.
            let mean = Cost {
                cpu_s: sum.cpu_s / EDITS as f64,
                wall_s: sum.wall_s / EDITS as f64,
            };
            if round > 0 {
                edited.push(way, mean);
            }
        }
        writeln!(
            std::io::stderr(),
            "round {round} of {} done",
            arguments.rounds
        )?;
    }
    Ok((clean, edited))
}

fn build(arguments: &Arguments, home: &Path, way: Way) -> Result<Cost> {
    let mut command = Command::new("cargo");
    if way == Way::Spanloom {
        command.arg("spanloom").env("PATH", &arguments.path);
    }
    run(home, command.args(["build", "--quiet", "--offline"]))
}

/// Changes what the application does, so that it is compiled and linked anew.
fn edit(home: &Path, n: usize) -> Result<()> {
    let path = home.join("front/src/main.rs");
    let text = std::fs::read_to_string(&path)?;
    let (before, after) = text
        .split_once("format!(\"hello")
        .context("the fixture greets")?;
    let after = after
        .split_once(" {name}")
        .map_or(after, |(_, after)| after);
    Ok(std::fs::write(
        &path,
        format!("{before}format!(\"hello{n} {{name}}{after}"),
    )?)
}

fn run(home: &Path, command: &mut Command) -> Result<Cost> {
    let (cpu_before_s, started) = (children_cpu_s()?, Instant::now());
    let status = command
        .current_dir(home)
        .env_remove("CARGO_TARGET_DIR")
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

fn median(costs: &[Cost], of: impl Fn(&Cost) -> f64) -> f64 {
    let mut values: Vec<f64> = costs.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

fn report(arguments: &Arguments, figures: &[(&str, f64, &Costs)]) -> Result<ExitCode> {
    let mut all_hold = true;
    let mut rows = Vec::new();
    let mut table = format!(
        "{:<22}{:>12}{:>12}{:>8}{:>8}  {:<6}{:>14}{:>14}\n",
        "median of CPU time",
        "plain",
        "spanloom",
        "ratio",
        "bar",
        "holds",
        "wall, plain",
        "wall, spanloom"
    );
    for (name, bar, costs) in figures {
        let cpu = |costs: &[Cost]| median(costs, |cost| cost.cpu_s);
        let wall = |costs: &[Cost]| median(costs, |cost| cost.wall_s);
        let (plain, spanloom) = (cpu(&costs.plain), cpu(&costs.spanloom));
        let (plain_wall, spanloom_wall) = (wall(&costs.plain), wall(&costs.spanloom));
        let ratio = spanloom / plain;
        let holds = ratio <= *bar;
        all_hold &= holds;
        let word = if holds { "yes" } else { "no" };
        writeln!(
            table,
            "{name:<22}{plain:>10.3} s{spanloom:>10.3} s{ratio:>8.3}{bar:>8.2}  {word:<6}{plain_wall:>12.2} s{spanloom_wall:>12.2} s"
        )?;
        rows.push(json!({
            "figure": name, "plain_cpu_s": plain, "spanloom_cpu_s": spanloom, "ratio": ratio, "bar": bar,
            "holds": holds, "plain_wall_s": plain_wall, "spanloom_wall_s": spanloom_wall,
        }));
    }
    let text = match arguments.json {
        true => format!("{}\n", serde_json::to_string_pretty(&rows)?),
        false => table,
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(if all_hold {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
