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
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use spanloom_wire::TraceId;
use spanloom_wire::otlp::SpanKind;
use tokio::sync::{Semaphore, oneshot};

use self::format::PAYLOAD_BYTES_MAX;
use self::search::Segments;
use self::segment::Segment;
use self::writer::{WriteRequest, Writer};
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
    /// How large one segment may grow; taken as an eighth of `bytes_max` where it is larger, and as
    /// a 512th where it is smaller. Segments are deleted whole.
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
        let directory = config.directory.clone();
        create_directory(&directory)
            .map_err(|error| StorageError::io("create the directory", &directory, error))?;
        let lock = lock(&directory)?;
        let files = segment_files(&directory)?;
        let next_number = files.last().map_or(1, |(number, _)| number + 1);
        let mut youngest_grows = false;
        let mut segments = Segments::with_capacity(files.len());
        for (number, path) in files {
            let is_youngest = number + 1 == next_number;
            let recovered = Segment::open(path, number, is_youngest)?;
            youngest_grows = recovered.header_is_valid;
            segments.push(Arc::new(recovered.segment));
        }
        let segments = Arc::new(RwLock::new(segments));
        let writer = Writer::new(config, Arc::clone(&segments), next_number, youngest_grows);
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

/// Makes the directory and those above it, durably: a synced file in a directory whose own name was
/// not synced is gone after a crash.
fn create_directory(directory: &Path) -> io::Result<()> {
    let directory = std::path::absolute(directory)?;
    let is_new = |above: &&Path| !above.is_dir();
    let n_new = directory.ancestors().take_while(is_new).count();
    fs::create_dir_all(&directory)?;
    for parent in directory.ancestors().skip(1).take(n_new) {
        File::open(parent)?.sync_all()?;
    }
    Ok(())
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

/// The segments of a directory by number, without those that were only half made.
fn segment_files(directory: &Path) -> Result<Vec<(u64, PathBuf)>, StorageError> {
    let read = |error| StorageError::io("read the directory", directory, error);
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).map_err(read)? {
        let path = entry.map_err(read)?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let Some((number, extension)) = name.and_then(|name| name.split_once('.')) else {
            continue;
        };
        let Ok(number) = number.parse::<u64>() else {
            continue;
        };
        match extension {
            "segment" => files.push((number, path)),
            "segment.tmp" => {
                fs::remove_file(&path).map_err(|error| StorageError::io("delete", &path, error))?;
            }
            _ => {}
        }
    }
    files.sort_unstable();
    Ok(files)
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
