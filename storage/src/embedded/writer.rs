//! The one thread that writes: group commit, new segments, ageing.

use std::fs;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use spanloom_wire::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::format::{RECORD_HEADER_BYTES, SEGMENT_HEADER_BYTES};
use super::search::Segments;
use super::segment::Segment;
use crate::{Clock, StorageError};

/// At most this many requests share a sync. Each is two slices of a vectored write, of which the
/// system takes 1,024.
const GROUP_REQUESTS_MAX: usize = 256;

/// No further request joins a group of this size.
const GROUP_BYTES_MAX: usize = 8 << 20;

/// How often an idle store looks for what has become too old.
const IDLE: Duration = Duration::from_secs(30);

/// A request on its way to the disk.
pub(super) struct WriteRequest {
    pub(super) payload: Bytes,
    pub(super) ack: oneshot::Sender<Result<(), StorageError>>,
    /// Its share of the queue, given back when it is done.
    pub(super) permit: OwnedSemaphorePermit,
}

/// How long and how much is kept.
pub(super) struct Limits {
    pub(super) retention: Duration,
    pub(super) bytes_max: u64,
    pub(super) segment_bytes_max: u64,
}

/// The writing half of the store. It owns what only one may do: append, make segments, delete them.
pub(super) struct Writer {
    pub(super) directory: PathBuf,
    pub(super) limits: Limits,
    pub(super) clock: Clock,
    /// What readers see.
    pub(super) segments: Arc<RwLock<Segments>>,
    /// The times of all segments, in the order of `segments`.
    pub(super) ages: Vec<Age>,
    /// Whether the youngest segment may grow.
    pub(super) youngest_grows: bool,
    /// Whether the youngest segment has bytes at its end that were not acked.
    pub(super) uncut: bool,
    pub(super) next_number: u64,
}

/// When the records of a segment were received.
#[derive(Clone, Copy)]
pub(super) struct Age {
    pub(super) first: Timestamp,
    pub(super) last: Timestamp,
}

impl Writer {
    /// Serves requests until nobody can send one any more.
    pub(super) fn run(mut self, requests: &Receiver<WriteRequest>) {
        self.age();
        loop {
            match requests.recv_timeout(IDLE) {
                Ok(first) => self.commit(group(first, requests)),
                Err(RecvTimeoutError::Timeout) => self.age(),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
    }

    fn commit(&mut self, group: Vec<WriteRequest>) {
        let payloads: Vec<Bytes> = group
            .iter()
            .map(|request| request.payload.clone())
            .collect();
        let result = self.append(&payloads);
        if let Err(error) = &result {
            let error: &dyn std::error::Error = error;
            tracing::error!(error, n_requests = group.len(), "spans were not written");
        }
        for WriteRequest { ack, permit, .. } in group {
            // Who asked may be gone.
            let _ = ack.send(match &result {
                Ok(()) => Ok(()),
                Err(error) => Err(error.duplicate()),
            });
            drop(permit);
        }
    }

    fn append(&mut self, payloads: &[Bytes]) -> Result<(), StorageError> {
        let payload_bytes: usize = payloads.iter().map(Bytes::len).sum();
        let n_bytes = (payload_bytes + payloads.len() * RECORD_HEADER_BYTES) as u64;
        let now = self.clock.now();
        self.age();
        let segment = self.segment_for(n_bytes, now)?;
        self.make_room(n_bytes);
        if self.uncut {
            let cut = segment.cut();
            cut.map_err(|error| StorageError::io("cut back", segment.path(), error))?;
            self.uncut = false;
        }
        if let Err(error) = segment.append(payloads, now) {
            // Cut at once, to give the space back; if that fails too, before the next write.
            self.uncut = segment.cut().is_err();
            return Err(StorageError::io("write to", segment.path(), error));
        }
        if let Some(age) = self.ages.last_mut() {
            age.last = now;
        }
        Ok(())
    }

    /// The segment that these bytes go to: the youngest, or a new one.
    fn segment_for(&mut self, n_bytes: u64, now: Timestamp) -> Result<Arc<Segment>, StorageError> {
        if let Some(youngest) = self.youngest() {
            let is_empty = youngest.bytes() <= SEGMENT_HEADER_BYTES as u64;
            let fits = youngest.bytes() + n_bytes <= self.limits.segment_bytes_max;
            // A record larger than a segment may be gets a segment of its own.
            if self.youngest_grows && (is_empty || fits) {
                return Ok(youngest);
            }
        }
        let segment = Arc::new(Segment::create(&self.directory, self.next_number)?);
        self.seal_youngest();
        self.next_number += 1;
        self.youngest_grows = true;
        self.ages.push(Age {
            first: now,
            last: now,
        });
        self.change_segments(|segments| segments.push(Arc::clone(&segment)));
        Ok(segment)
    }

    fn seal_youngest(&mut self) {
        if let Some(youngest) = self.youngest()
            && self.youngest_grows
        {
            if self.uncut && youngest.cut().is_err() {
                // Never acked; at the next start its records may be shown, which harms nobody.
                tracing::warn!(path = %youngest.path().display(), "sealed with a torn tail");
            }
            youngest.seal();
        }
        self.uncut = false;
        self.youngest_grows = false;
    }

    /// Deletes what is too old, and ends a segment that has been growing for long, so that it can
    /// become too old.
    fn age(&mut self) {
        let now = self.clock.now();
        let retention = self.limits.retention;
        if self
            .ages
            .last()
            .is_some_and(|age| now.since(age.first) > retention / 16)
        {
            self.seal_youngest();
        }
        let is_old = |age: &Age| now.since(age.last) > retention;
        // The youngest stays while it may grow: it is not old then.
        while self.ages.first().is_some_and(is_old) && (self.ages.len() > 1 || !self.youngest_grows)
        {
            self.delete_oldest("older than the retention");
        }
    }

    /// Deletes the oldest segments until so many bytes more are within what the store may take.
    fn make_room(&mut self, n_bytes: u64) {
        while self.ages.len() > 1 && self.all_bytes() + n_bytes > self.limits.bytes_max {
            self.delete_oldest("more than the store may take");
        }
    }

    fn delete_oldest(&mut self, reason: &str) {
        let mut oldest = None;
        self.change_segments(|segments| oldest = Some(segments.remove(0)));
        self.ages.remove(0);
        let Some(oldest) = oldest else { return };
        // Who reads it now has it open, and reads on.
        let path = oldest.path().display();
        match fs::remove_file(oldest.path()) {
            Ok(()) => tracing::info!(%path, bytes = oldest.bytes(), reason, "a segment is deleted"),
            Err(error) => tracing::error!(%path, reason, %error, "cannot delete a segment"),
        }
    }

    fn all_bytes(&self) -> u64 {
        self.segments().iter().map(|segment| segment.bytes()).sum()
    }

    fn youngest(&self) -> Option<Arc<Segment>> {
        self.segments().last().cloned()
    }

    fn segments(&self) -> std::sync::RwLockReadGuard<'_, Segments> {
        self.segments.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn change_segments(&self, change: impl FnOnce(&mut Segments)) {
        change(
            &mut self
                .segments
                .write()
                .unwrap_or_else(PoisonError::into_inner),
        );
    }
}

/// The request and those that wait behind it, as far as they go together.
fn group(first: WriteRequest, requests: &Receiver<WriteRequest>) -> Vec<WriteRequest> {
    let mut n_bytes = first.payload.len();
    let mut group = vec![first];
    while group.len() < GROUP_REQUESTS_MAX
        && n_bytes < GROUP_BYTES_MAX
        && let Ok(request) = requests.try_recv()
    {
        n_bytes += request.payload.len();
        group.push(request);
    }
    group
}
