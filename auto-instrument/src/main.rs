//! `cargo spanloom`: both the command that people call and the compiler wrapper that Cargo calls.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments: Vec<_> = std::env::args_os().skip(1).collect();
    // Cargo passes the name of a subcommand as its first argument; a wrapper gets the compiler.
    let is_command = arguments.first().is_some_and(|first| first == "spanloom");
    if is_command {
        arguments.remove(0);
    } else if let Some(session) = cargo_spanloom::command::wrapped_session() {
        return cargo_spanloom::run_wrapper(&session, &arguments);
    }
    cargo_spanloom::command::run(&arguments)
}
