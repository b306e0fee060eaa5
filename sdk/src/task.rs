//! The current trace, taken along to where it does not go by itself: other tasks, threads and the
//! far end of a channel.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use spanloom::task::{self, Carried};
//!
//! // As tokio's, in the context of the caller.
//! task::spawn(async { /* spans in here have the caller's span as their parent */ }).await?;
//! task::spawn_blocking(|| { /* in here too */ }).await?;
//!
//! // Whatever else takes a future: a `JoinSet`, `spawn_local`, another runtime's handle.
//! let mut set = tokio::task::JoinSet::new();
//! set.spawn(task::carry(async { /* and here */ }));
//! set.join_all().await;
//!
//! // A thread of one's own, or a callback.
//! std::thread::spawn(task::bind(|| { /* and here */ })).join().unwrap();
//!
//! // A message with the context of its sender.
//! let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
//! sender.send(Carried::new("an order")).await?;
//! let order = receiver.recv().await.unwrap();
//! order.open(|order| println!("{order}, as a part of the sender's trace"));
//! // In asynchronous code `order.open_async(|order| async { .. }).await`.
//! # Ok(())
//! # }
//! ```
//!
//! A span that outlives its parent is fine: it ends later, and the parent's end does not wait.

use opentelemetry::Context;
use opentelemetry::context::FutureExt;
pub use tokio::task::{JoinError, JoinHandle};

/// [`tokio::spawn`], in the current context.
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    tokio::spawn(carry(future))
}

/// The same future, but it will run in the context that is current now.
pub fn carry<F: Future>(future: F) -> impl Future<Output = F::Output> {
    future.with_current_context()
}

/// [`tokio::task::spawn_blocking`], in the current context.
pub fn spawn_blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    tokio::task::spawn_blocking(bind(work))
}

/// The same function, but it will run in the context that is current now.
pub fn bind<T>(work: impl FnOnce() -> T) -> impl FnOnce() -> T {
    let carried = Carried::new(work);
    move || carried.open(|work| work())
}

/// A value with the context that was current when it was wrapped.
#[derive(Clone, Debug)]
pub struct Carried<T> {
    value: T,
    context: Context,
}

impl<T> Carried<T> {
    /// Wraps a value for its way.
    pub fn new(value: T) -> Self {
        Self {
            value,
            context: Context::current(),
        }
    }

    /// Uses the value in the context that it came with.
    pub fn open<R>(self, work: impl FnOnce(T) -> R) -> R {
        let _attached = self.context.attach();
        work(self.value)
    }

    /// Uses the value in a future that runs in the context that it came with.
    pub fn open_async<F: Future>(
        self,
        work: impl FnOnce(T) -> F,
    ) -> impl Future<Output = F::Output> {
        let context = self.context.clone();
        // The closure may make spans before its future begins.
        self.open(work).with_context(context)
    }

    /// The value and the context apart, for a link rather than a parent: a batch of many messages
    /// has no one parent.
    pub fn into_parts(self) -> (T, Context) {
        (self.value, self.context)
    }
}
