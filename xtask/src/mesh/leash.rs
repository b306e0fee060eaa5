//! A small shell process that outlives us and cleans up behind us.
//!
//! Rust runs no destructor when a process is killed, interrupted, or leaves with a static alive, as
//! test binaries do. The leash reads from a pipe whose only other end is ours; however we end, the
//! pipe ends too, and the leash stops the process groups that it still holds and removes the folder.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};

/// Orders are one a line: `hold GROUP`, `release GROUP`, `keep`. `$1` is the folder.
const SCRIPT: &str = r#"
while read -r order group; do
    case $order in
    hold) groups="$groups $group" ;;
    release)
        others=
        for held in $groups; do [ "$held" = "$group" ] || others="$others $held"; done
        groups=$others ;;
    keep) keep=yes ;;
    esac
done
for group in $groups; do kill -s TERM -- "-$group"; done 2>/dev/null
tenths=0
for group in $groups; do
    while [ $tenths -lt 50 ] && kill -s 0 -- "-$group" 2>/dev/null; do
        sleep 0.1
        tenths=$((tenths + 1))
    done
    kill -s KILL -- "-$group" 2>/dev/null
done
[ "$keep" ] || rm -rf -- "$1"
"#;

/// Holds processes and a folder for as long as we live.
pub struct Leash {
    folder: PathBuf,
    shell: Mutex<Shell>,
}

struct Shell {
    child: Child,
    /// `None` only while dropping.
    orders: Option<ChildStdin>,
}

impl Leash {
    /// Makes a folder for logs and data and starts the shell that will remove it.
    pub fn new() -> Result<Arc<Self>> {
        let folder = tempfile::Builder::new()
            .prefix("spanloom-mesh-")
            .tempdir()
            .context("cannot make a temporary folder")?
            .keep();
        let mut child = Command::new("sh")
            .args(["-c", SCRIPT, "leash"])
            .arg(&folder)
            // A group of its own: Ctrl-C in a terminal goes to ours.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start sh")?;
        let orders = child.stdin.take();
        Ok(Arc::new(Self {
            folder,
            shell: Mutex::new(Shell { child, orders }),
        }))
    }

    /// Where everything that runs keeps its logs and data.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Takes a process group on the leash.
    pub fn hold(&self, group: u32) {
        self.order(&format!("hold {group}"));
    }

    /// Lets a process group go that has ended.
    pub fn release(&self, group: u32) {
        self.order(&format!("release {group}"));
    }

    /// Leaves the folder there when all is over.
    pub fn keep_folder(&self) {
        self.order("keep");
    }

    fn order(&self, order: &str) {
        let mut shell = self.shell.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(orders) = &mut shell.orders {
            // A leash that someone killed holds nothing; what we stop ourselves is still stopped.
            let _ = writeln!(orders, "{order}");
        }
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.keep_folder();
        }
        let shell = self.shell.get_mut().unwrap_or_else(PoisonError::into_inner);
        drop(shell.orders.take());
        // Bounded by the script.
        let _ = shell.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_leash_holds_ends_with_it() {
        let leash = Leash::new().unwrap();
        let folder = leash.folder().to_owned();
        std::fs::write(folder.join("log"), "a line").unwrap();
        let mut held = Command::new("sleep")
            .arg("1000")
            .process_group(0)
            .spawn()
            .unwrap();
        leash.hold(held.id());
        // Ended processes stay visible until someone asks for their status.
        let waiter = std::thread::spawn(move || held.wait().unwrap());
        drop(leash);
        assert!(!waiter.join().unwrap().success());
        assert!(!folder.exists());
    }

    #[test]
    fn what_was_released_goes_on_and_what_is_kept_stays() {
        let leash = Leash::new().unwrap();
        let folder = leash.folder().to_owned();
        let mut released = Command::new("sleep")
            .arg("1000")
            .process_group(0)
            .spawn()
            .unwrap();
        leash.hold(released.id());
        leash.release(released.id());
        leash.keep_folder();
        drop(leash);
        assert!(released.try_wait().unwrap().is_none());
        released.kill().unwrap();
        released.wait().unwrap();
        assert!(folder.exists());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
