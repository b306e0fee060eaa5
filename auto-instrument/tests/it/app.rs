//! The fixture: copied, built by the tool, started.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use crate::sink::Sink;

/// One test at a time: they share the copy and its target folder.
pub(crate) fn exclusively() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The copy of the fixture.
pub(crate) fn folder() -> PathBuf {
    static COPIED: OnceLock<PathBuf> = OnceLock::new();
    let copied = COPIED.get_or_init(|| {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/app");
        let to = Path::new(env!("CARGO_TARGET_TMPDIR")).join("app");
        for (name, text) in sources(&from) {
            restore(&to.join(name), &text);
        }
        to
    });
    copied.clone()
}

/// Writes a file unless it is so already: Cargo looks at times.
pub(crate) fn restore(path: &Path, text: &[u8]) {
    if std::fs::read(path).ok().as_deref() != Some(text) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
}

/// Every file of a tree except build results, by its path.
pub(crate) fn sources(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![folder.to_owned()];
    while let Some(next) = waiting.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("target") {
                waiting.push(path);
            } else if path.is_file() {
                let name = path.strip_prefix(folder).unwrap().to_owned();
                found.insert(name, std::fs::read(path).unwrap());
            }
        }
    }
    found
}

/// Runs `cargo spanloom` in the copy.
pub(crate) fn spanloom(arguments: &[&str]) -> Output {
    spanloom_with(arguments, &[])
}

/// The same with more in the environment.
pub(crate) fn spanloom_with(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    spanloom_at(&folder(), arguments, environment)
}

/// The same in another folder.
pub(crate) fn spanloom_at(
    folder: &Path,
    arguments: &[&str],
    environment: &[(&str, &str)],
) -> Output {
    command_at(folder, arguments, environment).output().unwrap()
}

/// The command that does it.
pub(crate) fn command_at(
    folder: &Path,
    arguments: &[&str],
    environment: &[(&str, &str)],
) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cargo-spanloom"));
    command
        .arg("spanloom")
        .args(arguments)
        .current_dir(folder)
        // What this test's own Cargo set must not reach the one that is tested.
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("RUSTFLAGS")
        .env("CARGO_TERM_COLOR", "never")
        .env("CARGO_INCREMENTAL", "1")
        .envs(environment.iter().copied());
    command
}

/// Standard error of a run that must succeed.
pub(crate) fn succeed(arguments: &[&str]) -> String {
    let output = spanloom(arguments);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success(),
        "cargo spanloom {arguments:?}: {text}"
    );
    text
}

/// The program, running.
pub(crate) struct App {
    child: Child,
    address: String,
    pub(crate) sink: Sink,
}

impl App {
    /// Builds it when it is not, and starts it with a collector of its own.
    pub(crate) fn start(settings: &[(&str, &str)]) -> Self {
        succeed(&["build"]);
        let sink = Sink::start();
        let mut child = Command::new(folder().join("target/spanloom/debug/front"))
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", sink.endpoint())
            .env("OTEL_SERVICE_NAME", "front")
            .env("OTEL_BSP_SCHEDULE_DELAY", "50")
            .env("RUST_BACKTRACE", "0")
            .envs(settings.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        let address = line
            .trim()
            .strip_prefix("listening on ")
            .expect("it says where")
            .to_owned();
        Self {
            child,
            address,
            sink,
        }
    }

    /// One request; the body of the answer, empty when the connection broke.
    pub(crate) fn get(&self, path: &str, headers: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n{headers}\r\n",
            self.address
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
            .split_once("\r\n\r\n")
            .map(|(_, body)| body.to_owned())
            .unwrap_or_default()
    }

    /// Sends a signal and waits for the end; what it wrote to standard error.
    pub(crate) fn stop(mut self, signal: &str) -> (Option<i32>, String) {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args([signal, &pid])
                .status()
                .unwrap()
                .success()
        );
        let mut text = String::new();
        self.child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        let status = self.child.wait().unwrap();
        use std::os::unix::process::ExitStatusExt;
        (status.signal(), text)
    }
}

impl Drop for App {
    fn drop(&mut self) {
        // Already gone when the test stopped it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
