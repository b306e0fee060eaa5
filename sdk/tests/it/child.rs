//! Programs in a process of their own, for what belongs to a whole process: its environment and
//! its globals. A program is a test of this binary that does nothing unless it is run from here.

use std::process::Command;

const MARK: &str = "SPANLOOM_TEST_PROGRAM";

/// Runs the program `name` (as in `module::test`) and returns what it wrote to standard output.
pub(crate) fn run(name: &str, variables: &[(&str, &str)]) -> String {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(MARK, "1")
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

/// Whether this process is a program.
#[expect(
    clippy::disallowed_methods,
    reason = "the variable tells a program from a test"
)]
pub(crate) fn is_program() -> bool {
    std::env::var_os(MARK).is_some()
}
