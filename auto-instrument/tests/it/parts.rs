//! Into which parts the compiler divides a program, and which of them an edit concerns.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use crate::app::{restore, spanloom_at};

const CARRIER: &str = "//! Polls any future, as a framework does.

pub mod carry {
    pub async fn on<F: std::future::Future>(future: F) -> F::Output {
        println!(\"on\");
        future.await
    }
}
";

const PROGRAM: &str = "//! Handlers.

use std::future::Future;
use std::task::{Context, Poll, Waker};

struct Text<T>(T);

async fn edited(Text(name): Text<String>) -> Result<String, u8> {
    async {}.await;
    Ok(format!(\"hello {}\", name))
}

async fn another() -> usize {
    async {}.await;
    1
}

fn run<F: Future>(future: F) -> F::Output {
    let mut future = Box::pin(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return output;
        }
    }
}

fn main() {
    println!(\"{:?}\", run(carrier::carry::on(edited(Text(\"you\".to_owned())))));
    println!(\"{}\", run(carrier::carry::on(another())));
}
";

fn package(name: &str, more: &str) -> String {
    format!("[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n{more}")
}

/// The program's folder. What it depends on is outside of its workspace, and gets no spans.
fn folder() -> PathBuf {
    let parts = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("parts");
    let (folder, carrier) = (parts.join("program"), parts.join("carrier"));
    let program = package(
        "program",
        "[dependencies]\ncarrier = { path = \"../carrier\" }\n[workspace]\n\
         [profile.dev]\ndebug = \"line-tables-only\"\n",
    );
    restore(&folder.join("Cargo.toml"), program.as_bytes());
    let library = package("carrier", "");
    restore(&carrier.join("Cargo.toml"), library.as_bytes());
    restore(&carrier.join("src/lib.rs"), CARRIER.as_bytes());
    folder
}

/// When the program's parts were compiled that the compiler's latest session has, by their names.
fn compiled(incremental: &Path) -> BTreeMap<String, SystemTime> {
    let below = |folder: &Path| {
        let entries = std::fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().path())
    };
    let of_program = below(incremental)
        .find(|path| {
            path.file_name()
                .unwrap()
                .to_string_lossy()
                .starts_with("program-")
        })
        .unwrap();
    let latest = below(&of_program)
        .filter(|path| path.is_dir())
        .max_by_key(|path| path.metadata().unwrap().modified().unwrap())
        .unwrap();
    below(&latest)
        .filter(|path| path.extension().is_some_and(|ending| ending == "o"))
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, path.metadata().unwrap().modified().unwrap())
        })
        .collect()
}

/// How many parts of the program are compiled when its source becomes another. What is not is linked
/// from session to session.
fn n_compiled(folder: &Path, target: &str, build: impl Fn(), edited: &str) -> usize {
    let main = folder.join("src/main.rs");
    restore(&main, PROGRAM.as_bytes());
    build();
    let incremental = folder.join(target).join("debug/incremental");
    let before = compiled(&incremental);
    restore(&main, edited.as_bytes());
    build();
    let after = compiled(&incremental);
    let is_new = |(name, time): &(&String, &SystemTime)| before.get(*name) != Some(time);
    after.iter().filter(is_new).count()
}

#[test]
fn an_edit_concerns_no_more_parts_than_without_spans() {
    let folder = folder();
    let plainly = || {
        let mut cargo = Command::new("cargo");
        cargo.args(["build", "--quiet", "--offline"]);
        cargo.env("CARGO_TARGET_DIR", "target");
        cargo.env("CARGO_INCREMENTAL", "1");
        assert!(cargo.current_dir(&folder).status().unwrap().success());
    };
    let with_spans = || {
        let output = spanloom_at(&folder, &["build", "--quiet", "--offline"], &[]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{said}");
    };
    for (before, after) in [
        ("hello", "good morning"),
        ("    Ok(format", "    // A line more.\n    Ok(format"),
    ] {
        let edited = PROGRAM.replacen(before, after, 1);
        let plain = n_compiled(&folder, "target", plainly, &edited);
        let spanloom = n_compiled(&folder, "target/spanloom", with_spans, &edited);
        assert!(
            plain > 0 && spanloom <= plain,
            "{after}: {spanloom}, {plain}"
        );
    }
}
