//! Starts Cargo and stays with it as if this process were Cargo, which becomes the program that it
//! runs: what is sent to this process reaches that one, and this one ends as that one does.

use std::io;
use std::process::{Command, ExitCode, ExitStatus};

/// Runs a command to its end.
pub(crate) fn run(command: &mut Command) -> io::Result<ExitStatus> {
    imp::run(command)
}

/// Ends this process as `status` says, by the same signal where one ended the other.
pub(crate) fn end_like(status: ExitStatus) -> ExitCode {
    imp::end_by_signal(status);
    match status.code() {
        Some(code) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        None => ExitCode::FAILURE,
    }
}

#[cfg(unix)]
mod imp {
    use std::fs::File;
    use std::io;
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Command, ExitStatus};

    use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
    use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
    use signal_hook::iterator::Signals;
    use signal_hook::low_level::emulate_default_handler;

    pub(super) fn run(command: &mut Command) -> io::Result<ExitStatus> {
        // Started before we handle signals, so that it ignores those that we were told to ignore.
        let mut child = command.spawn()?;
        let Ok(mut signals) = Signals::new([SIGHUP, SIGINT, SIGQUIT, SIGTERM]) else {
            return child.wait();
        };
        let pid = Pid::from_child(&child);
        let handle = signals.handle();
        // The keys of a terminal signal all that run in it, and not a second time through us.
        let has_terminal = File::open("/dev/tty").is_ok();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in signals.forever() {
                    let is_key = has_terminal && matches!(number, SIGINT | SIGQUIT);
                    if let Some(signal) = Signal::from_named_raw(number).filter(|_| !is_key) {
                        // It may have ended already.
                        let _ = kill_process(pid, signal);
                    }
                }
            });
            let status = child.wait();
            handle.close();
            status
        })
    }

    pub(super) fn end_by_signal(status: ExitStatus) {
        if let Some(number) = status.signal() {
            // One memory image is enough, and it is the other's.
            let none = Rlimit {
                current: Some(0),
                ..getrlimit(Resource::Core)
            };
            let _ = setrlimit(Resource::Core, none);
            let _ = emulate_default_handler(number);
        }
    }
}

#[cfg(not(unix))]
mod imp {
    use std::io;
    use std::process::{Command, ExitStatus};

    pub(super) fn run(command: &mut Command) -> io::Result<ExitStatus> {
        command.status()
    }

    pub(super) fn end_by_signal(_: ExitStatus) {}
}
