//! Says what happens, before it happens, and how long it took, after.
//!
//! Steps go to the standard error: the standard output is for results (a trace, a table, JSON).
#![expect(clippy::print_stderr, reason = "this is how the script runner talks")]

use std::io::Write as _;
use std::time::Instant;

use anyhow::Result;

/// Does one step of work, naming it first and telling its time afterwards.
///
/// # Errors
/// What `work` returned.
pub fn step<T>(name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    eprintln!("==> {name}");
    let start = Instant::now();
    let result = work();
    let seconds = start.elapsed().as_secs_f64();
    match &result {
        Ok(_) => eprintln!("    {seconds:.1} s"),
        Err(_) => eprintln!("    failed after {seconds:.1} s: {name}"),
    }
    result
}

/// Says one thing below the step that runs.
pub fn note(text: &str) {
    for line in text.lines() {
        eprintln!("    {line}");
    }
}

/// Says that the running test does not do what it is named for, and what it lacks, past the test
/// runner's capture of output.
pub fn not_run(needs: &str) {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("a test");
    // Nobody to tell if the standard error is closed.
    let _ = writeln!(std::io::stderr(), "NOT RUN: {name} needs {needs}");
}

/// Says why the command failed.
pub fn fail(error: &anyhow::Error) {
    eprintln!("error: {error:#}");
}
