//! Files that are not as they were written: cut, flipped, overwritten, from the future.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use proptest::prelude::*;
use spanloom_storage::{EmbeddedStore, StorageError, TraceReader, TraceWriter};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::fixtures::{any as any_trace, config, open, read, request, span, spans_in};

const SEGMENT_HEADER_BYTES: usize = 32;

/// Trace `n`: one request with spans of this trace only.
fn trace(n: u64) -> Bytes {
    request(
        "damage",
        (1..=n).map(|id| span(n, id, "operation")).collect(),
    )
}

/// The bytes of a segment with traces 1 to `n_traces`, and where each record begins.
fn segment(n_traces: u64) -> (Vec<u8>, Vec<usize>) {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let path = segment_path(directory.path(), 1);
    let mut begins = Vec::new();
    block_on(async {
        for n in 1..=n_traces {
            let begin =
                fs::metadata(&path).map_or(SEGMENT_HEADER_BYTES, |file| file.len() as usize);
            begins.push(begin);
            store.write(trace(n)).await.unwrap();
        }
    });
    store.close();
    (fs::read(path).unwrap(), begins)
}

fn segment_path(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{number:016}.segment"))
}

/// A directory whose first segment has these bytes.
fn directory_with(segment: &[u8]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::write(segment_path(directory.path(), 1), segment).unwrap();
    directory
}

fn block_on<A>(future: impl Future<Output = A>) -> A {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}

/// Which of the first traces are there; each is there as it was written, and nothing else is.
async fn traces_in(store: &EmbeddedStore, n_traces: u64) -> Vec<u64> {
    let mut present = Vec::new();
    for n in 1..=n_traces {
        let spans = read(store, n).await;
        if !spans.is_empty() {
            assert_eq!(spans, spans_in(&trace(n)), "trace {n}");
            present.push(n);
        }
    }
    let found = store.find_traces(&any_trace()).await.unwrap();
    assert_eq!(found.len(), present.len());
    present
}

#[test]
fn a_tail_torn_at_any_byte_is_cut_off() {
    let (segment, begins) = segment(3);
    let last = begins[2];
    for cut in last..segment.len() {
        let directory = directory_with(&segment[..cut]);
        let store = open(directory.path());
        let path = segment_path(directory.path(), 1);
        assert_eq!(
            fs::metadata(&path).unwrap().len(),
            last as u64,
            "cut at {cut}"
        );
        block_on(async {
            assert_eq!(traces_in(&store, 3).await, [1, 2], "cut at {cut}");
            store.write(trace(3)).await.unwrap();
        });
        drop(store);
        let store = open(directory.path());
        assert_eq!(block_on(traces_in(&store, 3)), [1, 2, 3], "cut at {cut}");
        assert!(!segment_path(directory.path(), 2).exists());
    }
}

#[test]
fn garbage_after_the_last_record_is_cut_off() {
    let (segment, begins) = segment(3);
    let record = &segment[begins[1]..begins[2]];
    // Zeros and ones as file systems leave them, and a valid record in the wrong place, as a disk
    // block of a deleted segment would be.
    for tail in [&[0; 5000][..], &[0xff; 3], b"SLR\x01SLR\x01", record] {
        let directory = directory_with(&[&segment, tail].concat());
        let store = open(directory.path());
        assert_eq!(block_on(traces_in(&store, 4)), [1, 2, 3]);
        let bytes = fs::metadata(segment_path(directory.path(), 1))
            .unwrap()
            .len();
        assert_eq!(bytes, segment.len() as u64);
    }
}

#[test]
fn a_torn_tail_is_told_in_the_log() {
    let (segment, begins) = segment(2);
    let directory = directory_with(&segment[..begins[1] + 7]);
    let log = Log::default();
    let written = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(move || written.clone())
        .with_ansi(false)
        .finish();
    tracing::subscriber::with_default(subscriber, || drop(open(directory.path())));
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let line = log
        .lines()
        .find(|line| line.contains("torn tail"))
        .expect(&log);
    assert!(line.contains("0000000000000001.segment"), "{line}");
    assert!(line.contains("bytes=7"), "{line}");
    assert!(line.contains(&format!("offset={}", begins[1])), "{line}");
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_flipped_bit_costs_at_most_the_record_it_is_in() {
    let (segment, begins) = segment(3);
    for at in 0..segment.len() {
        let mut flipped = segment.clone();
        flipped[at] ^= 1 << (at % 8);
        let directory = directory_with(&flipped);
        let store = open(directory.path());
        let mut expected = vec![1, 2, 3];
        expected.retain(|&n| {
            let begin = begins[n as usize - 1];
            let end = begins.get(n as usize).copied().unwrap_or(segment.len());
            !(begin..end).contains(&at)
        });
        block_on(async {
            assert_eq!(traces_in(&store, 3).await, expected, "flipped at {at}");
            store.write(trace(4)).await.unwrap();
            expected.push(4);
            assert_eq!(traces_in(&store, 4).await, expected, "flipped at {at}");
        });
        drop(store);
        let store = open(directory.path());
        assert_eq!(
            block_on(traces_in(&store, 4)),
            expected,
            "flipped at {at}, second start"
        );
    }
}

#[test]
fn a_segment_with_a_damaged_header_is_read_and_not_written_to() {
    let (mut segment, _) = segment(2);
    segment[3] ^= 1;
    let directory = directory_with(&segment);
    let store = open(directory.path());
    block_on(async {
        store.write(trace(3)).await.unwrap();
        assert_eq!(traces_in(&store, 3).await, [1, 2, 3]);
    });
    assert_eq!(
        fs::read(segment_path(directory.path(), 1)).unwrap(),
        segment
    );
    assert!(segment_path(directory.path(), 2).exists());
}

#[test]
fn a_record_damaged_after_the_start_is_left_out() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    block_on(async {
        for n in 1..=3 {
            store.write(trace(n)).await.unwrap();
        }
        let path = segment_path(directory.path(), 1);
        let mut bytes = fs::read(&path).unwrap();
        let at = bytes.len() - 1;
        bytes[at] ^= 1;
        fs::write(&path, bytes).unwrap();
        assert_eq!(traces_in(&store, 3).await, [1, 2]);
    });
}

#[test]
fn a_newer_format_is_refused_by_name() {
    let (mut segment, _) = segment(1);
    segment[8..12].copy_from_slice(&2_u32.to_le_bytes());
    let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &segment[..12]) as u32;
    segment[12..16].copy_from_slice(&crc.to_le_bytes());
    let directory = directory_with(&segment);
    let Err(error) = EmbeddedStore::open(config(directory.path())) else {
        panic!("opened a segment of version 2")
    };
    assert!(
        matches!(
            error,
            StorageError::Format {
                version: 2,
                known: 1,
                ..
            }
        ),
        "{error:?}"
    );
    let message = error.to_string();
    assert!(
        message.contains("0000000000000001.segment has format version 2"),
        "{message}"
    );
    assert_eq!(
        fs::read(segment_path(directory.path(), 1)).unwrap(),
        segment
    );
}

#[test]
fn half_made_segments_and_foreign_files_do_no_harm() {
    let (segment, _) = segment(2);
    let directory = directory_with(&segment);
    let half_made = directory.path().join("0000000000000002.segment.tmp");
    let foreign = directory.path().join("notes.txt");
    fs::write(&half_made, b"SPAN").unwrap();
    fs::write(&foreign, b"mine").unwrap();
    let store = open(directory.path());
    assert_eq!(block_on(traces_in(&store, 2)), [1, 2]);
    assert!(!half_made.exists());
    assert!(foreign.exists());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Whatever is done to a segment, opening does not panic, and only what was written is shown.
    #[test]
    fn no_bytes_make_a_panic_or_a_wrong_answer(
        edits in prop::collection::vec((any_place(), any_bytes(), any::<bool>()), 1..4),
        cut in any_place(),
    ) {
        let (mut segment, _) = segment(3);
        for (place, bytes, overwrite) in edits {
            let at = place.index(segment.len());
            let end = if overwrite { (at + bytes.len()).min(segment.len()) } else { at };
            segment.splice(at..end, bytes);
        }
        segment.truncate(cut.index(2 * segment.len()).max(1));
        let directory = directory_with(&segment);
        match EmbeddedStore::open(config(directory.path())) {
            Ok(store) => {
                Runtime::new().unwrap().block_on(traces_in(&store, 3));
            }
            Err(StorageError::Format { .. }) => {}
            Err(error) => prop_assert!(false, "{error}"),
        }
    }
}

fn any_place() -> impl Strategy<Value = prop::sample::Index> {
    any::<prop::sample::Index>()
}

fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..40)
}
