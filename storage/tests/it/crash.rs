//! What was acked is there after `kill -9` and after a full disk: with processes that really are
//! killed and files that really cannot grow.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use bytes::Bytes;
use spanloom_storage::{
    EmbeddedStore, EmbeddedStoreConfig, StorageError, TraceReader, TraceWriter,
};
use tokio::runtime::Runtime;

use crate::fixtures::{any, config, read, request, span, spans_in, text};

const ROLE: &str = "SPANLOOM_STORAGE_TEST_ROLE";
const DIRECTORY: &str = "SPANLOOM_STORAGE_TEST_DIRECTORY";
const FIRST_TRACE: &str = "SPANLOOM_STORAGE_TEST_FIRST_TRACE";

/// Small segments, so that crashes fall on new segments too.
fn small_segments(directory: &Path) -> EmbeddedStoreConfig {
    EmbeddedStoreConfig {
        bytes_max: 16 << 20,
        segment_bytes_max: 32 << 10,
        ..config(directory)
    }
}

fn small(trace: u64) -> Bytes {
    request(
        "crash",
        (1..=5).map(|id| span(trace, id, "small")).collect(),
    )
}

/// Not a test of its own: the tests here run it in a process of its own, with a role to play.
#[test]
fn child() {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is how the child knows its part"
    )]
    let part = |name| std::env::var(name).ok();
    let (Some(role), Some(directory)) = (part(ROLE), part(DIRECTORY)) else {
        return;
    };
    let directory = PathBuf::from(directory);
    match role.as_str() {
        "write until killed" => {
            let first_trace = part(FIRST_TRACE).unwrap().parse().unwrap();
            write_until_killed(&directory, first_trace);
        }
        "fill the disk" => fill_the_disk(&directory),
        other => panic!("no such role: {other}"),
    }
}

/// This test binary once more, as [`child`]; its environment and pipes are for the caller to set.
fn child_command(program: &Path, role: &str, directory: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .env(ROLE, role)
        .env(DIRECTORY, directory)
        .stdout(Stdio::piped());
    command
}

const CHILD_ARGUMENTS: [&str; 4] = ["crash::child", "--exact", "--nocapture", "--test-threads=1"];

/// Says a line to the parent.
fn say(line: &str) {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "\nchild: {line}").unwrap();
    stdout.flush().unwrap();
}

/// What the child says.
fn lines(child: &mut Child) -> impl Iterator<Item = String> + use<> {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines
        .map(Result::unwrap)
        .filter_map(|line| line.strip_prefix("child: ").map(str::to_owned))
}

fn write_until_killed(directory: &Path, first_trace: u64) {
    const WRITERS: u64 = 16;
    let store = Arc::new(EmbeddedStore::open(small_segments(directory)).unwrap());
    Runtime::new().unwrap().block_on(async {
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..WRITERS {
            let store = Arc::clone(&store);
            writers.spawn(async move {
                for trace in (first_trace + writer..).step_by(WRITERS as usize) {
                    store.write(small(trace)).await.unwrap();
                    say(&format!("acked {trace}"));
                }
            });
        }
        while writers.join_next().await.is_some() {}
    });
}

#[test]
fn what_was_acked_survives_kill_9() {
    const KILL_AFTER: usize = 150;
    let directory = tempfile::tempdir().unwrap();
    let program = std::env::current_exe().unwrap();
    let mut acked: Vec<u64> = Vec::new();
    for round in 0..4 {
        let first_trace = 1 + round * 1_000_000;
        let mut child = child_command(&program, "write until killed", directory.path())
            .env(FIRST_TRACE, first_trace.to_string())
            .args(CHILD_ARGUMENTS)
            .spawn()
            .unwrap();
        let mut lines = lines(&mut child);
        let trace = |line: String| line.strip_prefix("acked ").unwrap().parse::<u64>().unwrap();
        acked.extend(lines.by_ref().take(KILL_AFTER).map(trace));
        child.kill().unwrap();
        // What it still said before it died was acked too.
        acked.extend(lines.map(trace));
        assert!(!child.wait().unwrap().success());
    }

    let store = EmbeddedStore::open(small_segments(directory.path())).unwrap();
    assert!(
        std::fs::read_dir(directory.path()).unwrap().count() > 4,
        "several segments"
    );
    Runtime::new().unwrap().block_on(async {
        assert!(acked.len() >= 4 * KILL_AFTER);
        for trace in acked {
            assert_eq!(
                read(&store, trace).await,
                spans_in(&small(trace)),
                "trace {trace}"
            );
        }
        // What was under way is there whole or not at all.
        let query = spanloom_storage::TraceQuery {
            n_traces_max: usize::MAX,
            ..any()
        };
        for trace in store.find_traces(&query).await.unwrap() {
            assert_eq!(spans_in(&trace.traces_data).len(), 5);
        }
    });
}

/// Larger than the limit on the size of files that the parent sets.
fn too_large(trace: u64) -> Bytes {
    let mut span = span(trace, 1, "large");
    span.attributes = vec![text("filler", &"x".repeat(200_000))];
    request("crash", vec![span])
}

fn fill_the_disk(directory: &Path) {
    let store = EmbeddedStore::open(config(directory)).unwrap();
    Runtime::new().unwrap().block_on(async {
        store.write(small(1)).await.unwrap();
        say("acked 1");
        // Does not fit: refused, and what is there can be read.
        let error = store.write(too_large(2)).await.unwrap_err();
        assert!(matches!(error, StorageError::Full { .. }), "{error:?}");
        say(&format!("refused 2: {error}"));
        assert_eq!(read(&store, 1).await, spans_in(&small(1)));
        assert!(read(&store, 2).await.is_empty());
        // What fits is taken: the store recovers by itself, until there is no space at all.
        for trace in 3.. {
            match store.write(small(trace)).await {
                Ok(()) => say(&format!("acked {trace}")),
                Err(error) => {
                    say(&format!("refused {trace}: {error}"));
                    break;
                }
            }
        }
        assert_eq!(read(&store, 3).await, spans_in(&small(3)));
    });
}

#[test]
fn a_full_disk_refuses_writes_keeps_what_is_there_and_recovers() {
    let directory = tempfile::tempdir().unwrap();
    // The shell limits the size of files (to 32 or 64 KiB; shells differ in the unit) and ignores
    // the signal that goes with it, so that a write fails half-way as on a full disk.
    let limit = "ulimit -f 64; trap '' XFSZ; exec \"$0\" \"$@\"";
    let mut child = child_command(Path::new("sh"), "fill the disk", directory.path())
        .args(["-c", limit])
        .arg(std::env::current_exe().unwrap())
        .args(CHILD_ARGUMENTS)
        .spawn()
        .unwrap();
    let said: Vec<String> = lines(&mut child).collect();
    assert!(child.wait().unwrap().success(), "{said:?}");

    let number = |line: &str| line.parse::<u64>().unwrap();
    let acked: Vec<u64> = said
        .iter()
        .filter_map(|line| line.strip_prefix("acked "))
        .map(number)
        .collect();
    let refused: Vec<(u64, &str)> = said
        .iter()
        .filter_map(|line| line.strip_prefix("refused ")?.split_once(": "))
        .map(|(trace, why)| (number(trace), why))
        .collect();
    assert!(acked.len() > 10, "{said:?}");
    assert_eq!(refused.len(), 2, "{said:?}");
    for (_, why) in &refused {
        assert!(
            why.starts_with("no space left to write to ") && why.contains(".segment"),
            "{why}"
        );
    }

    // With space again, what was acked is there, what was refused is not, and more goes.
    let store = EmbeddedStore::open(config(directory.path())).unwrap();
    Runtime::new().unwrap().block_on(async {
        for trace in acked {
            assert_eq!(
                read(&store, trace).await,
                spans_in(&small(trace)),
                "trace {trace}"
            );
        }
        for (trace, _) in refused {
            assert!(read(&store, trace).await.is_empty(), "trace {trace}");
            store.write(too_large(trace)).await.unwrap();
            assert_eq!(read(&store, trace).await, spans_in(&too_large(trace)));
        }
    });
}
