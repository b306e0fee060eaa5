//! What an exporting thread is asked from outside: to send what it holds, and maybe to end.

use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use tokio::sync::mpsc;

/// How many questions may wait for the thread.
const WAITING_MAX: usize = 16;

/// A question to the thread.
pub(crate) struct Command {
    /// Where the thread says how the export went.
    pub(crate) reply: SyncSender<OTelSdkResult>,
    /// Whether the thread ends with it.
    pub(crate) is_last: bool,
}

/// The asking side.
pub(crate) struct Commands(mpsc::Sender<Command>);

/// The two sides.
pub(crate) fn commands() -> (Commands, mpsc::Receiver<Command>) {
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    (Commands(sender), receiver)
}

impl Commands {
    /// Asks the thread and waits for its answer, at most for `wait`.
    pub(crate) fn ask(&self, is_last: bool, wait: Duration) -> OTelSdkResult {
        let (reply, answer) = sync_channel(1);
        match self.0.try_send(Command { reply, is_last }) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(OTelSdkError::AlreadyShutdown),
            Err(mpsc::error::TrySendError::Full(_)) => {
                let message = "too many flushes wait".to_owned();
                return Err(OTelSdkError::InternalFailure(message));
            }
        }
        match answer.recv_timeout(wait) {
            Ok(result) => result,
            Err(RecvTimeoutError::Timeout) => Err(OTelSdkError::Timeout(wait)),
            Err(RecvTimeoutError::Disconnected) => Err(OTelSdkError::AlreadyShutdown),
        }
    }
}
