//! How long and how much the embedded store keeps, and when it does not open.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use spanloom_storage::{
    Clock, EmbeddedStore, EmbeddedStoreConfig, StorageError, TraceReader, TraceWriter,
};
use spanloom_wire::Timestamp;

use crate::fixtures::{SECOND, THEN, config, open, read, request, span, spans_in, text};

const HOUR: u64 = 3600;

/// A clock that stands until it is set.
#[derive(Clone)]
struct HeldClock(Arc<AtomicU64>);

impl HeldClock {
    fn new() -> Self {
        Self(Arc::new(AtomicU64::new(THEN)))
    }

    fn advance(&self, seconds: u64) {
        self.0.fetch_add(seconds * SECOND, Ordering::Relaxed);
    }

    fn clock(&self) -> Clock {
        let time = Arc::clone(&self.0);
        Clock::new(move || Timestamp::from_nanos(time.load(Ordering::Relaxed)))
    }
}

fn n_segments(directory: &Path) -> usize {
    segment_sizes(directory).len()
}

fn segment_sizes(directory: &Path) -> Vec<u64> {
    let files = fs::read_dir(directory).unwrap().map(Result::unwrap);
    let segments = files.filter(|file| file.path().extension() == Some("segment".as_ref()));
    segments
        .map(|file| file.metadata().unwrap().len())
        .collect()
}

async fn write(store: &EmbeddedStore, trace: u64) {
    store
        .write(request("limits", vec![span(trace, 1, "work")]))
        .await
        .unwrap();
}

#[tokio::test]
async fn what_is_older_than_the_retention_is_deleted() {
    let directory = tempfile::tempdir().unwrap();
    let time = HeldClock::new();
    let config = || EmbeddedStoreConfig {
        retention: Duration::from_secs(16 * HOUR),
        clock: time.clock(),
        ..config(directory.path())
    };
    let store = EmbeddedStore::open(config()).unwrap();
    write(&store, 1).await;
    // Within the hour (a sixteenth) the segment still grows; then a new one is begun.
    time.advance(HOUR);
    write(&store, 2).await;
    assert_eq!(n_segments(directory.path()), 1);
    time.advance(1);
    write(&store, 3).await;
    assert_eq!(n_segments(directory.path()), 2);

    // 16 hours after trace 2, which is the last of its segment, nothing is too old yet.
    time.advance(16 * HOUR - 1);
    write(&store, 4).await;
    assert_eq!(read(&store, 1).await.len(), 1);
    // One second later its segment is.
    time.advance(1);
    write(&store, 5).await;
    for (trace, n_spans) in [(1, 0), (2, 0), (3, 1), (4, 1), (5, 1)] {
        assert_eq!(read(&store, trace).await.len(), n_spans, "trace {trace}");
    }
    assert_eq!(n_segments(directory.path()), 2);
    store.close();

    // Time also passes while the store is closed. The first write comes after the deletion.
    time.advance(17 * HOUR);
    let store = EmbeddedStore::open(config()).unwrap();
    write(&store, 6).await;
    for trace in 1..=5 {
        assert!(read(&store, trace).await.is_empty(), "trace {trace}");
    }
    assert_eq!(store.services().await.unwrap(), ["limits"]);
    assert_eq!(read(&store, 6).await.len(), 1);
    assert_eq!(n_segments(directory.path()), 1);
}

#[tokio::test]
async fn the_age_of_a_span_is_when_it_came_not_what_it_says() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let mut ancient = span(1, 1, "ancient");
    ancient.start_time_unix_nano = 1;
    ancient.end_time_unix_nano = 2;
    let request = request("limits", vec![ancient]);
    store.write(request.clone()).await.unwrap();
    drop(store);
    assert_eq!(read(&open(directory.path()), 1).await, spans_in(&request));
}

#[tokio::test]
async fn the_oldest_segments_make_room_for_new_ones() {
    const BYTES_MAX: u64 = 64 << 10;
    let directory = tempfile::tempdir().unwrap();
    let config = || EmbeddedStoreConfig {
        bytes_max: BYTES_MAX,
        ..config(directory.path())
    };
    let mut store = EmbeddedStore::open(config()).unwrap();
    for trace in 1..=400 {
        let mut span = span(trace, 1, "work");
        span.attributes = vec![text("filler", &"x".repeat(500))];
        store.write(request("limits", vec![span])).await.unwrap();
        let bytes: u64 = segment_sizes(directory.path()).iter().sum();
        assert!(bytes <= BYTES_MAX, "{bytes} bytes after trace {trace}");
        if trace == 200 {
            drop(store);
            store = EmbeddedStore::open(config()).unwrap();
        }
    }
    // Most of the room is used, by the youngest traces, without a gap.
    let bytes: u64 = segment_sizes(directory.path()).iter().sum();
    assert!(bytes > BYTES_MAX * 3 / 4, "{bytes} bytes");
    let mut oldest = 400;
    while !read(&store, oldest - 1).await.is_empty() {
        oldest -= 1;
    }
    assert!(
        oldest > 300 && 400 - oldest > 60,
        "the oldest kept trace is {oldest}"
    );
    for trace in 1..oldest {
        assert!(read(&store, trace).await.is_empty(), "trace {trace}");
    }
}

#[tokio::test]
async fn a_directory_has_one_owner() {
    let directory = tempfile::tempdir().unwrap();
    let first = open(directory.path());
    let Err(error) = EmbeddedStore::open(config(directory.path())) else {
        panic!("opened twice")
    };
    assert!(matches!(error, StorageError::Locked { .. }), "{error:?}");
    let message = error.to_string();
    let expected = format!("the directory {} is in use", directory.path().display());
    assert!(message.starts_with(&expected), "{message}");
    first.close();
    let second = open(directory.path());
    // The closed one still reads, and says why it does not write.
    assert!(first.services().await.unwrap().is_empty());
    let error = first
        .write(request("limits", vec![span(1, 1, "a")]))
        .await
        .unwrap_err();
    assert!(matches!(error, StorageError::Closed(_)), "{error:?}");
    drop(second);
}

#[tokio::test]
async fn closing_waits_for_what_was_accepted() {
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(open(directory.path()));
    let mut writes = tokio::task::JoinSet::new();
    for trace in 1..=50 {
        let store = Arc::clone(&store);
        writes.spawn(async move {
            (
                trace,
                store
                    .write(request("close", vec![span(trace, 1, "a")]))
                    .await,
            )
        });
    }
    let first = writes.join_next().await.unwrap().unwrap();
    store.close();
    let mut results = writes.join_all().await;
    results.push(first);
    let store = open(directory.path());
    for (trace, result) in results {
        let is_there = !read(&store, trace).await.is_empty();
        assert_eq!(result.is_ok(), is_there, "trace {trace}: {result:?}");
    }
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, b"").unwrap();
    let below = file.join("data");
    let Err(StorageError::Io { action, source }) = EmbeddedStore::open(config(&below)) else {
        panic!("opened below a file")
    };
    assert_eq!(
        action,
        format!("cannot create the directory {}", below.display())
    );
    assert_eq!(source.kind(), std::io::ErrorKind::NotADirectory);
}

#[tokio::test]
async fn a_request_beyond_the_largest_record_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let request = bytes::Bytes::from(vec![0; (64 << 20) + 1]);
    let error = store.write(request).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the request (send smaller batches) is larger than 67108864 bytes"
    );
}

#[tokio::test]
async fn a_request_larger_than_a_segment_or_the_queue_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(EmbeddedStoreConfig {
        bytes_max: 512 << 20,
        segment_bytes_max: 1 << 20,
        ..config(directory.path())
    })
    .unwrap();
    let mut large = span(2, 1, "large");
    large.attributes = vec![text("filler", &"x".repeat(40 << 20))];
    let large = request("limits", vec![large]);
    write(&store, 1).await;
    store.write(large.clone()).await.unwrap();
    write(&store, 3).await;
    assert_eq!(n_segments(directory.path()), 3);
    assert_eq!(read(&store, 2).await, spans_in(&large));
    drop(store);
    assert_eq!(read(&open(directory.path()), 2).await, spans_in(&large));
}
