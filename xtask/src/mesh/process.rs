//! One process of the mesh: in a group of its own, on the leash, its output in a log file.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};

use super::leash::Leash;
use crate::wait;

/// How much of the end of a log goes into an error message.
const LOG_TAIL_BYTES: u64 = 2000;

/// A running process. Dropping it asks it to stop, and kills it when it does not.
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    leash: Arc<Leash>,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts `command`; `name` is how messages and the log file call it.
    pub fn spawn(leash: &Arc<Leash>, name: &str, command: &mut Command) -> Result<Self> {
        let log = leash.folder().join(format!("{name}.log"));
        let output =
            File::create(&log).with_context(|| format!("cannot make {}", log.display()))?;
        let child = command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        leash.hold(child.id());
        Ok(Self {
            name: name.to_owned(),
            child,
            log,
            leash: Arc::clone(leash),
            ended: None,
        })
    }

    /// Its process id, which is its process group's, too.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a state of this process, and fails early when it ends instead.
    pub fn wait_for<T>(
        &mut self,
        what: &str,
        mut state: impl FnMut() -> Result<Option<T>>,
    ) -> Result<T> {
        wait::until(&format!("{} of {}", what, self.name.clone()), || {
            self.check_alive()?;
            state()
        })
        .with_context(|| self.log_tail())
    }

    /// Waits until the process has written a line with this text to its log.
    pub fn wait_for_line(&mut self, text: &str) -> Result<()> {
        let log = self.log.clone();
        self.wait_for(&format!("the line {text:?}"), || {
            // Read from the start each time: it is short when a server has just started.
            let mut log = BufReader::new(File::open(&log)?).split(b'\n');
            let found = |line: Vec<u8>| String::from_utf8_lossy(&line).contains(text);
            Ok(log.any(|line| line.is_ok_and(found)).then_some(()))
        })
    }

    /// Fails when the process has ended.
    pub fn check_alive(&mut self) -> Result<()> {
        if let Some(status) = self.try_wait()? {
            bail!("{} ended ({status})\n{}", self.name, self.log_tail());
        }
        Ok(())
    }

    /// Asks the process to stop, and fails when it does not. How it ends is its own affair.
    pub fn end(mut self) -> Result<()> {
        self.signal(Signal::TERM);
        let name = self.name.clone();
        wait::until(&format!("the end of {name}"), || self.try_wait()).map(drop)
    }

    /// Asks the process to stop, and fails when it does not or when it ends with a failure.
    pub fn stop(mut self) -> Result<()> {
        self.signal(Signal::TERM);
        let name = self.name.clone();
        let status = wait::until(&format!("the end of {name}"), || self.try_wait())?;
        if !status.success() {
            bail!(
                "{name} ended badly when asked to stop ({status})\n{}",
                self.log_tail()
            );
        }
        Ok(())
    }

    /// Waits until the process ends by itself, and fails when it does not or when it ends with a
    /// failure.
    pub fn finish(mut self) -> Result<()> {
        let name = self.name.clone();
        let status = wait::until(&format!("the end of {name}"), || self.try_wait());
        let status = status.with_context(|| self.log_tail())?;
        if !status.success() {
            bail!("{name} failed ({status})\n{}", self.log_tail());
        }
        Ok(())
    }

    fn try_wait(&mut self) -> Result<Option<ExitStatus>> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait()?;
            if self.ended.is_some() {
                self.leash.release(self.child.id());
            }
        }
        Ok(self.ended)
    }

    fn signal(&self, signal: Signal) {
        if self.ended.is_some() {
            return;
        }
        // An error means that the group is gone, which is what we want of it.
        let _ = kill_process_group(Pid::from_child(&self.child), signal);
    }

    fn log_tail(&self) -> String {
        match tail(&self.log) {
            Ok(tail) => format!("the end of {}:\n{}", self.log.display(), tail.trim_end()),
            Err(error) => format!("cannot read {}: {error}", self.log.display()),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended.is_some() {
            return;
        }
        self.signal(Signal::TERM);
        if wait::until("the end", || self.try_wait()).is_err() {
            self.signal(Signal::KILL);
            let _ = self.child.wait();
            self.leash.release(self.child.id());
        }
    }
}

fn tail(log: &Path) -> Result<String> {
    let mut file = File::open(log)?;
    let length = fs::metadata(log)?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL_BYTES)))?;
    let mut bytes = vec![0; usize::try_from(LOG_TAIL_BYTES.min(length))?];
    file.read_exact(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_ends_while_waited_for_is_reported_with_its_log() {
        let leash = Leash::new().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo no such listener; exit 3"]);
        let mut process = Process::spawn(&leash, "envoy", &mut command).unwrap();
        let error = process
            .wait_for("readiness", || Ok(None::<()>))
            .unwrap_err();
        let message = format!("{error:#}");
        assert!(message.contains("exit status: 3"), "{message}");
        assert!(message.contains("no such listener"), "{message}");
    }

    #[test]
    fn stopping_tells_whether_a_process_ended_well() {
        let leash = Leash::new().unwrap();
        let spawn = |script| {
            let ready = leash.folder().join("ready");
            let mut command = Command::new("sh");
            command.arg("-c").arg(format!(
                "{script}; touch {}; sleep 1000 & wait",
                ready.display()
            ));
            let mut process = Process::spawn(&leash, "service", &mut command).unwrap();
            process
                .wait_for("the trap", || Ok(ready.exists().then_some(())))
                .unwrap();
            fs::remove_file(ready).unwrap();
            process
        };
        spawn("trap 'exit 0' TERM").stop().unwrap();
        let error = spawn("trap 'exit 7' TERM").stop().unwrap_err();
        assert!(error.to_string().contains("exit status: 7"), "{error}");
    }
}
