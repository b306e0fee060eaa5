//! Threads that serve connections, each with a runtime of its own.
//!
//! A request stays on the thread of its connection from the first frame to the last: the receiver,
//! the exporter's connection and the answer. With one runtime over all threads each request hops
//! between them several times, and every hop wakes a thread through the kernel. What is slow
//! (inflating, JSON, the store's disk) is not done on these threads.

use std::cell::Cell;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::{CancellationToken, DropGuard};

/// The threads; they end when this is dropped.
pub struct Workers {
    workers: Vec<Worker>,
    _stop: DropGuard,
}

struct Worker {
    runtime: Handle,
    n_connections: Arc<AtomicUsize>,
}

thread_local! {
    static NUMBER: Cell<usize> = const { Cell::new(0) };
}

/// The number of the worker that this is called on, from 1; 0 on any other thread.
pub fn current() -> usize {
    NUMBER.get()
}

impl Workers {
    /// Starts `n_workers` threads.
    ///
    /// # Errors
    /// What the system said.
    pub fn start(n_workers: usize) -> io::Result<Self> {
        let stop = CancellationToken::new();
        let mut workers = Vec::with_capacity(n_workers);
        for number in 1..=n_workers {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            workers.push(Worker {
                runtime: runtime.handle().clone(),
                n_connections: Arc::default(),
            });
            let stop = stop.clone();
            std::thread::Builder::new()
                .name(format!("worker-{number}"))
                .spawn(move || {
                    NUMBER.set(number);
                    runtime.block_on(stop.cancelled());
                })?;
        }
        Ok(Self {
            workers,
            _stop: stop.drop_guard(),
        })
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        self.workers.len()
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.workers.is_empty()
    }

    /// Serves a connection on the worker that has the fewest.
    pub fn spawn_connection(&self, serving: impl Future<Output = ()> + Send + 'static) {
        let least = self
            .workers
            .iter()
            .min_by_key(|worker| worker.n_connections.load(Relaxed));
        let Some(Worker {
            runtime,
            n_connections,
        }) = least
        else {
            return;
        };
        n_connections.fetch_add(1, Relaxed);
        let counted = Counted(Arc::clone(n_connections));
        runtime.spawn(async move {
            serving.await;
            drop(counted);
        });
    }
}

/// One connection of a worker; its end is counted even if its task panics.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use tokio::sync::{mpsc, oneshot};

    use super::*;

    #[tokio::test]
    async fn connections_spread_over_the_workers() {
        let workers = Workers::start(3).unwrap();
        let (numbers, mut received) = mpsc::channel(3);
        let mut open = Vec::new();
        for _ in 0..3 {
            let (end, ended) = oneshot::channel::<()>();
            open.push(end);
            let numbers = numbers.clone();
            workers.spawn_connection(async move {
                numbers.send(current()).await.unwrap();
                let _ = ended.await;
            });
        }
        let mut seen = BTreeSet::new();
        for _ in 0..3 {
            seen.insert(received.recv().await.unwrap());
        }
        assert_eq!(seen, BTreeSet::from([1, 2, 3]));
        assert_eq!(current(), 0);
    }
}
