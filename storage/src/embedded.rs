//! A store of its own in a directory: what was acked survives a crash.
//!
//! Requests are appended as they came to segment files, many with one sync, by one thread; an
//! index in memory says where the spans are. `FORMAT.md`, beside this crate's manifest, has the
//! bytes and the rules. From the bottom:
//!
//! - `format`: the bytes of the headers;
//! - `index`: what a segment holds, in memory;
//! - `segment`: a file with its index: appending, reading, recovering;
//! - `writer`: the thread that writes, and deletes what is too old or too much;
//! - `search`: the questions.

mod format;
mod index;
mod search;
mod segment;
mod writer;

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use spanloom_wire::otlp::SpanKind;
use spanloom_wire::{Timestamp, TraceId};
use tokio::sync::{Semaphore, oneshot};

use self::format::PAYLOAD_BYTES_MAX;
use self::search::Segments;
use self::segment::{Recovered, Segment};
use self::writer::{Age, Limits, WriteRequest, Writer};
use crate::{
    Clock, Operation, StorageError, TimeRange, Trace, TraceQuery, TraceReader, TraceWriter,
};

/// What waiting requests may take in memory, in [`QUEUE_UNIT_BYTES`]. A request takes at least one
/// unit, so this also bounds their number.
const QUEUE_UNITS: usize = 2048;
const QUEUE_UNIT_BYTES: usize = 16 << 10;

/// How many questions are answered at the same time; others wait.
const READS_MAX: usize = 16;

/// Where an [`EmbeddedStore`] is and how much it keeps.
#[derive(Clone, Debug)]
pub struct EmbeddedStoreConfig {
    /// The directory, which is made where it is missing. One process at a time.
    pub directory: PathBuf,
    /// How long spans are kept, counted from when they came in. The deletion is by segment, so it
    /// may come up to a sixteenth later.
    pub retention: Duration,
    /// How large all segments together may grow; beyond, the oldest are deleted.
    pub bytes_max: u64,
    /// How large one segment may grow, at most an eighth of `bytes_max`. Segments are deleted
    /// whole.
    pub segment_bytes_max: u64,
    /// What time it is, for the retention.
    pub clock: Clock,
}

impl Default for EmbeddedStoreConfig {
    fn default() -> Self {
        Self {
            directory: PathBuf::from("spanloom-data"),
            retention: Duration::from_secs(72 * 60 * 60),
            bytes_max: 10 << 30,
            segment_bytes_max: 128 << 20,
            clock: Clock::system(),
        }
    }
}

/// Keeps traces in a directory.
///
/// A write that returned `Ok` is on the disk (synced) and can be found. Spans stay the bytes that
/// they came as.
///
/// ```
/// use spanloom_storage::{EmbeddedStore, EmbeddedStoreConfig, TraceReader};
///
/// # let directory = tempfile::tempdir().unwrap();
/// # let directory = directory.path().to_owned();
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let config = EmbeddedStoreConfig { directory, ..EmbeddedStoreConfig::default() };
/// let store = EmbeddedStore::open(config).unwrap();
/// assert!(store.services().await.unwrap().is_empty());
/// store.close();
/// # });
/// ```
pub struct EmbeddedStore {
    segments: Arc<RwLock<Segments>>,
    queue_space: Arc<Semaphore>,
    read_turns: Arc<Semaphore>,
    writer: Mutex<Option<WriterThread>>,
}

struct WriterThread {
    requests: SyncSender<WriteRequest>,
    thread: JoinHandle<()>,
}

impl EmbeddedStore {
    /// Opens the store in a directory, reading all that is there. This blocks: some gigabytes take
    /// some seconds.
    ///
    /// # Errors
    /// The directory cannot be made, read or written, or is in use by another process, or holds
    /// segments of another version of the format.
    pub fn open(config: EmbeddedStoreConfig) -> Result<Self, StorageError> {
        let directory = config.directory;
        fs::create_dir_all(&directory)
            .map_err(|error| StorageError::io("create the directory", &directory, error))?;
        let lock = lock(&directory)?;
        let recovered = recover(&directory)?;

        let youngest_grows = recovered.last().is_some_and(|last| last.header_is_valid);
        let next_number = recovered.last().map_or(1, |last| last.segment.number() + 1);
        let mut ages = Vec::with_capacity(recovered.len());
        let mut segments = Vec::with_capacity(recovered.len());
        for Recovered {
            segment, received, ..
        } in recovered
        {
            // Without a record there is nothing to keep: that is as old as can be.
            let never = Timestamp::default();
            let (first, last) = received.unwrap_or((never, never));
            ages.push(Age { first, last });
            segments.push(Arc::new(segment));
        }
        let segments = Arc::new(RwLock::new(segments));
        let bytes_max = config.bytes_max;
        let writer = Writer {
            directory: directory.clone(),
            limits: Limits {
                retention: config.retention,
                bytes_max,
                segment_bytes_max: config.segment_bytes_max.min(bytes_max / 8),
            },
            clock: config.clock,
            segments: Arc::clone(&segments),
            ages,
            youngest_grows,
            uncut: false,
            next_number,
        };
        let (requests, receiver) = sync_channel(QUEUE_UNITS);
        let thread = std::thread::Builder::new()
            .name("spanloom-storage".to_owned())
            .spawn(move || {
                writer.run(&receiver);
                // Nothing is written any more: another process may have the directory.
                drop(lock);
            })
            .map_err(|error| StorageError::io("start a thread for", &directory, error))?;
        Ok(Self {
            segments,
            queue_space: Arc::new(Semaphore::new(QUEUE_UNITS)),
            read_turns: Arc::new(Semaphore::new(READS_MAX)),
            writer: Mutex::new(Some(WriterThread { requests, thread })),
        })
    }

    /// Writes what was accepted, then unlocks the directory; blocks until that is done. Writes
    /// from now on fail; reads still work. Dropping the store does the same.
    pub fn close(&self) {
        self.queue_space.close();
        let writer = self.writer().take();
        if let Some(WriterThread { requests, thread }) = writer {
            drop(requests);
            if thread.join().is_err() {
                tracing::error!("the storage thread panicked");
            }
        }
    }

    fn writer(&self) -> MutexGuard<'_, Option<WriterThread>> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers a question on a thread that may block.
    async fn read<A: Send + 'static>(
        &self,
        answer: impl FnOnce(&Segments) -> A + Send + 'static,
    ) -> Result<A, StorageError> {
        let turns = Arc::clone(&self.read_turns);
        let turn = turns.acquire_owned().await.map_err(|_| closed())?;
        let segments = self
            .segments
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let reading = tokio::task::spawn_blocking(move || {
            let answer = answer(&segments);
            drop(turn);
            answer
        });
        reading.await.map_err(|error| match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => closed(),
        })
    }
}

impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        self.close();
    }
}

fn closed() -> StorageError {
    StorageError::Closed("it is shutting down".to_owned())
}

/// Takes the directory for this process.
fn lock(directory: &Path) -> Result<File, StorageError> {
    let path = directory.join("LOCK");
    let open = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path);
    let lock = open.map_err(|error| StorageError::io("open", &path, error))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(StorageError::Locked {
            directory: directory.to_owned(),
        }),
        Err(TryLockError::Error(error)) => Err(StorageError::io("lock", &path, error)),
    }
}

/// The segments of a directory, the oldest first.
fn recover(directory: &Path) -> Result<Vec<Recovered>, StorageError> {
    let read = |error| StorageError::io("read the directory", directory, error);
    let mut numbers = Vec::new();
    for entry in fs::read_dir(directory).map_err(read)? {
        let path = entry.map_err(read)?.path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        if name.ends_with(".segment.tmp") {
            let removed = fs::remove_file(&path);
            removed.map_err(|error| StorageError::io("delete", &path, error))?;
        } else if let Some(number) = name.strip_suffix(".segment")
            && number.len() == 16
            && let Ok(number) = number.parse::<u64>()
        {
            numbers.push((number, path));
        }
    }
    numbers.sort_unstable();
    let n_segments = numbers.len();
    let segments = numbers.into_iter().enumerate();
    segments
        .map(|(i, (number, path))| Segment::open(path, number, i + 1 == n_segments))
        .collect()
}

#[async_trait]
impl TraceWriter for EmbeddedStore {
    async fn write(&self, request: Bytes) -> Result<(), StorageError> {
        if request.is_empty() {
            return Ok(());
        }
        if request.len() > PAYLOAD_BYTES_MAX {
            let what = "the request (send smaller batches)".to_owned();
            return Err(StorageError::TooLarge {
                what,
                bytes_max: PAYLOAD_BYTES_MAX,
            });
        }
        let units = request.len().div_ceil(QUEUE_UNIT_BYTES).min(QUEUE_UNITS) as u32;
        let space = Arc::clone(&self.queue_space);
        let permit = space
            .acquire_many_owned(units)
            .await
            .map_err(|_| closed())?;
        let (ack, acked) = oneshot::channel();
        {
            let writer = self.writer();
            let Some(writer) = writer.as_ref() else {
                return Err(closed());
            };
            // Does not block: whoever has a permit has a place.
            let sent = writer.requests.send(WriteRequest {
                payload: request,
                ack,
                permit,
            });
            sent.map_err(|_| closed())?;
        }
        acked.await.unwrap_or_else(|_| Err(closed()))
    }
}

#[async_trait]
impl TraceReader for EmbeddedStore {
    async fn services(&self) -> Result<Vec<String>, StorageError> {
        self.read(search::services).await
    }

    async fn operations(
        &self,
        service: &str,
        kind: Option<SpanKind>,
    ) -> Result<Vec<Operation>, StorageError> {
        let service = service.to_owned();
        self.read(move |segments| search::operations(segments, &service, kind))
            .await
    }

    async fn trace(&self, id: TraceId, _range: TimeRange) -> Result<Option<Trace>, StorageError> {
        let traces = self
            .read(move |segments| search::traces(segments, &[id]))
            .await??;
        Ok(traces.into_iter().next())
    }

    async fn find_traces(&self, query: &TraceQuery) -> Result<Vec<Trace>, StorageError> {
        let query = query.clone();
        self.read(move |segments| search::find(segments, &query))
            .await?
    }
}
