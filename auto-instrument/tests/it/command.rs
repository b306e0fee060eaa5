//! The command in Cargo's place: what it passes on, and how it ends.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::app::{command_at, restore, sources, spanloom_at};

const PROGRAM: &str = r#"
use std::time::Duration;

pub async fn traced() {}

fn main() {
    match std::env::args_os().nth(1).as_deref().and_then(std::ffi::OsStr::to_str) {
        Some("abort") => std::process::abort(),
        Some("three") => std::process::exit(3),
        Some("wait") => {
            println!("ready");
            std::thread::sleep(Duration::from_secs(20));
            println!("nobody said a word");
        }
        _ => println!("{:?}", std::env::args_os().skip(1).collect::<Vec<_>>()),
    }
}
"#;

/// Tests that change their package, one at a time: they share it, and the hook that it compiles.
fn changing() -> (MutexGuard<'static, ()>, PathBuf) {
    static ONE: Mutex<()> = Mutex::new(());
    let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = package("changing");
    std::fs::remove_file(folder.join("src/lib.rs")).ok();
    (one, folder)
}

/// A package; tests with different ones run side by side.
fn package(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
        .join("command")
        .join(name);
    let manifest =
        "[package]\nname = \"one\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[workspace]\n";
    restore(&folder.join("Cargo.toml"), manifest.as_bytes());
    restore(&folder.join("src/main.rs"), PROGRAM.as_bytes());
    folder
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[test]
fn it_ends_as_the_program_that_it_runs() {
    let folder = package("running");
    let run = |word: &str| spanloom_at(&folder, &["run", "--", word], &[]).status;
    assert_eq!(run("three").code(), Some(3));
    assert_eq!(run("abort").signal(), Some(6));
    let mut odd = command_at(&folder, &["run", "-q", "--"], &[]);
    let odd = odd.arg(OsStr::from_bytes(b"a\xffb")).output().unwrap();
    assert_eq!(text(&odd), "[\"a\\xFFb\"]\n");
}

#[test]
fn a_signal_reaches_the_program_that_it_runs() {
    let folder = package("running");
    let mut tool = command_at(&folder, &["run", "--", "wait"], &[])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(tool.stdout.take().unwrap());
    let mut said = String::new();
    out.read_line(&mut said).unwrap();
    let pid = tool.id().to_string();
    let sent = Command::new("kill").args(["-TERM", &pid]).status().unwrap();
    assert!(sent.success());
    // Until nobody holds the other end.
    out.read_to_string(&mut said).unwrap();
    assert_eq!(said, "ready\n");
    assert_eq!(tool.wait().unwrap().signal(), Some(15));
}

#[test]
fn without_a_workspace_it_is_cargo() {
    let folder = tempfile::tempdir().unwrap();
    let same = |arguments: &[&str]| {
        let ours = spanloom_at(folder.path(), arguments, &[]);
        let cargo = Command::new("cargo")
            .args(arguments)
            .current_dir(folder.path())
            .env("CARGO_TERM_COLOR", "never")
            .output()
            .unwrap();
        assert_eq!(text(&ours), text(&cargo), "{arguments:?}");
        assert_eq!(ours.status, cargo.status, "{arguments:?}");
    };
    same(&["build"]);
    same(&["help", "locate-project"]);
    let made = spanloom_at(folder.path(), &["new", "--vcs", "none", "made"], &[]);
    assert!(made.status.success(), "{}", text(&made));
    let made = folder.path().join("made");
    assert!(made.join("src/main.rs").is_file());
    assert!(spanloom_at(&made, &["check"], &[]).status.success());
    // As Cargo marks a folder that is not worth a backup.
    assert!(made.join("target/CACHEDIR.TAG").is_file());
    std::fs::remove_dir_all(made.join("target")).unwrap();
    let elsewhere = spanloom_at(&made, &["check", "--target-dir", "../elsewhere"], &[]);
    assert!(elsewhere.status.success(), "{}", text(&elsewhere));
    assert!(folder.path().join("elsewhere/spanloom/debug").is_dir());
    assert!(!made.join("target").exists());
    restore(&folder.path().join("Cargo.toml"), b"[package\n");
    same(&["check"]);
}

#[test]
fn what_another_build_left_half_written_is_no_error() {
    let (_one, folder) = changing();
    assert!(spanloom_at(&folder, &["check"], &[]).status.success());
    let matched = folder.join("target/spanloom/matched.json");
    let before = std::fs::read(&matched).unwrap();
    restore(
        &folder.join("target/spanloom/matched/one-1.9.tmp"),
        b"\xff{",
    );
    let again = spanloom_at(&folder, &["check"], &[]);
    assert!(again.status.success(), "{}", text(&again));
    assert_eq!(std::fs::read(&matched).unwrap(), before);
}

/// A build that says nothing of a crate without spans.
fn builds_with_spans(folder: &Path) {
    let output = spanloom_at(folder, &["build"], &[]);
    let said = text(&output);
    assert!(
        output.status.success() && !said.contains("no spans"),
        "{said}"
    );
    let matched = std::fs::read_to_string(folder.join("target/spanloom/matched.json")).unwrap();
    assert!(!matched.contains("fallback"), "{matched}");
}

/// The folders of the hooks that a build has used.
fn hooks(folder: &Path) -> Vec<PathBuf> {
    let hooks = std::fs::read_dir(folder.join("target/spanloom/hook")).unwrap();
    let hooks: Vec<_> = hooks.map(|hook| hook.unwrap().path()).collect();
    assert!(!hooks.is_empty());
    hooks
}

#[test]
fn the_hook_is_compiled_only_when_the_tools_own_does_not_fit() {
    use std::os::unix::fs::PermissionsExt;

    let folder = package("compilers");
    for left in ["target", ".cargo"] {
        std::fs::remove_dir_all(folder.join(left)).ok();
    }
    let compiled = || {
        hooks(&folder)
            .iter()
            .filter(|hook| hook.join("src").is_dir())
            .count()
    };
    builds_with_spans(&folder);
    assert_eq!(compiled(), 0);
    for hook in hooks(&folder) {
        std::fs::write(hook.join("libspanloom_hook.rlib"), "").unwrap();
    }
    let main = folder.join("src/main.rs");
    restore(&main, format!("{PROGRAM}// Edited.\n").as_bytes());
    builds_with_spans(&folder);
    assert_eq!(compiled(), 1);
    let other = folder.join("rustc");
    restore(
        &other,
        b"#!/bin/sh\nrustc \"$@\" || exit\n[ \"$*\" != -vV ] || echo 'another: yes'\n",
    );
    std::fs::set_permissions(&other, std::fs::Permissions::from_mode(0o755)).unwrap();
    restore(
        &folder.join(".cargo/config.toml"),
        b"[build]\nrustc = \"./rustc\"\n",
    );
    builds_with_spans(&folder);
    assert_eq!(compiled(), 2);
}

#[test]
fn a_mistake_that_the_compiler_finds_late_is_shown_once_and_costs_no_spans_later() {
    let (_one, folder) = changing();
    let library = folder.join("src/lib.rs");
    let right = "pub async fn traced() {}\n";
    let wrong = "pub fn late() { unsafe { std::arch::asm!(\"no instruction\") } }\n";
    restore(&library, format!("{right}{wrong}").as_bytes());
    let output = spanloom_at(&folder, &["build"], &[]);
    let said = text(&output);
    assert!(!output.status.success());
    assert_eq!(
        said.matches("error: could not compile").count(),
        1,
        "{said}"
    );
    restore(&library, right.as_bytes());
    builds_with_spans(&folder);
}

#[test]
fn the_wrapper_calls_the_compiler_even_when_it_understands_nothing() {
    let output = Command::new(env!("CARGO_BIN_EXE_cargo-spanloom"))
        .args(["rustc", "--version"])
        .env("SPANLOOM_SESSION", "/no/such/session")
        .output()
        .unwrap();
    let said = text(&output);
    assert!(
        output.status.success() && said.starts_with("rustc "),
        "{said}"
    );
    assert!(
        said.contains("warning: spanloom: no spans: cannot read the session"),
        "{said}"
    );
}

#[test]
fn an_installation_leaves_nothing_where_it_was_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let source = package("installed");
    // From a repository, since a registry may be out of reach; `file:` needs no network.
    let git = |arguments: &[&str]| {
        let mut git = Command::new("git");
        git.args(["-c", "user.name=x", "-c", "user.email=x"]);
        git.args(arguments).current_dir(path("repository"));
        assert!(git.output().unwrap().status.success(), "{arguments:?}");
    };
    for (name, text) in sources(&source) {
        restore(&path("repository").join(name), &text);
    }
    git(&["init"]);
    git(&["add", "Cargo.toml", "src"]);
    git(&["commit", "-m", "x"]);
    for name in ["here", "temporary"] {
        std::fs::create_dir(path(name)).unwrap();
    }
    let url = format!("file://{}", path("repository").display());
    let root = path("root");
    let arguments = ["install", "--git", &url, "--root", root.to_str().unwrap()];
    let environment = [("TMPDIR", path("temporary")), ("CARGO_HOME", path("home"))];
    let environment = environment
        .each_ref()
        .map(|(name, path)| (*name, path.to_str().unwrap()));
    let output = spanloom_at(&path("here"), &arguments, &environment);
    assert!(output.status.success(), "{}", text(&output));
    assert!(root.join("bin/one").is_file());
    for name in ["here", "temporary"] {
        assert_eq!(std::fs::read_dir(path(name)).unwrap().count(), 0, "{name}");
    }
}

#[test]
fn a_workspace_behind_a_link_gets_its_spans() {
    let (_one, folder) = changing();
    let main =
        "pub async fn traced() {}\nfn main() { println!(\"{}\", include_str!(\"../text\")); }\n";
    restore(&folder.join("src/main.rs"), main.as_bytes());
    restore(&folder.join("text"), b"found");
    let outside = tempfile::tempdir().unwrap();
    let link = outside.path().join("link");
    std::os::unix::fs::symlink(&folder, &link).unwrap();
    let manifest = link.join("Cargo.toml");
    let arguments = ["run", "-q", "--manifest-path", manifest.to_str().unwrap()];
    let output = spanloom_at(outside.path(), &arguments, &[]);
    assert_eq!(text(&output), "found\n");
}

#[test]
fn a_function_that_does_not_compile_with_a_span_costs_only_its_own() {
    let (_one, folder) = changing();
    let library = "#![deny(warnings)]\n#![forbid(unsafe_code, dead_code)]\npub type Result = u8;\npub async fn odd() -> Result {\n    1\n}\n\
                   pub async fn even() -> Result { 2 }\npub async fn fine() {}\n";
    restore(&folder.join("src/lib.rs"), library.as_bytes());
    let output = spanloom_at(&folder, &["build"], &[]);
    let said = text(&output);
    assert!(output.status.success(), "{said}");
    let word = "warning: spanloom: one 0.1.0: functions that do not compile with a span have none: odd, even";
    assert!(
        said.contains(word) && !said.contains("gets no spans"),
        "{said}"
    );
    let matched = std::fs::read(folder.join("target/spanloom/matched.json")).unwrap();
    let matched: serde_json::Value = serde_json::from_slice(&matched).unwrap();
    let has = |key: &str, names: &[&str]| {
        let mut reports = matched.as_array().unwrap().iter();
        reports.any(|report| report[key] == serde_json::json!(names))
    };
    assert!(
        has("left_out", &["odd", "even"]) && has("functions", &["fine"]),
        "{matched}"
    );
}
