//! Waiting for a state of another process, which cannot tell us when it is reached.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How long anything on this machine may take before it counts as broken: generous, since a busy
/// machine with two cores builds something else meanwhile.
pub const PATIENCE: Duration = Duration::from_secs(30);

const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Asks `state` again and again until it has an answer.
///
/// # Errors
/// What `state` returned, or that nothing came within [`PATIENCE`].
pub fn until<T>(what: &str, mut state: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = state()? {
            return Ok(answer);
        }
        if Instant::now() >= deadline {
            bail!("waited {} s in vain for {what}", PATIENCE.as_secs());
        }
        pause();
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the pause between two looks at a foreign process"
)]
fn pause() {
    std::thread::sleep(POLL_INTERVAL);
}
