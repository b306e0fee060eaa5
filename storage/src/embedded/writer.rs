//! The one thread that writes: group commit, new segments, ageing.

use std::fs;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use bytes::Bytes;
use spanloom_wire::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::format::{RECORD_HEADER_BYTES, SEGMENT_HEADER_BYTES};
use super::search::Segments;
use super::segment::Segment;
use crate::{EmbeddedStoreConfig, StorageError};

/// At most this many requests share a sync. Each is two slices of a vectored write, of which the
/// system takes 1,024.
const GROUP_REQUESTS_MAX: usize = 256;

/// No further request joins a group of this size.
const GROUP_BYTES_MAX: usize = 8 << 20;

/// No segment is larger than this (but for a single record), so that its index counts in 32 bits.
const SEGMENT_BYTES_MAX: u64 = 4 << 30;

/// How often an idle store looks for what has become too old.
const IDLE: Duration = Duration::from_secs(30);

/// A request on its way to the disk.
pub(super) struct WriteRequest {
    pub(super) payload: Bytes,
    pub(super) ack: oneshot::Sender<Result<(), StorageError>>,
    /// Its share of the queue, given back when it is done.
    pub(super) permit: OwnedSemaphorePermit,
}

/// The writing half of the store. It owns what only one may do: append, make segments, delete them.
pub(super) struct Writer {
    config: EmbeddedStoreConfig,
    /// What the configuration comes to.
    segment_bytes_max: u64,
    /// What readers see, the oldest first.
    segments: Arc<RwLock<Segments>>,
    /// The youngest segment, while it is not sealed.
    growing: Option<Growing>,
    next_number: u64,
}

/// The one segment that is appended to.
struct Growing {
    segment: Arc<Segment>,
    /// Whether bytes that were not acked are at its end, to be cut before the next write.
    is_torn: bool,
}

impl Writer {
    /// A writer behind these segments; the youngest goes on growing where `youngest_grows`.
    pub(super) fn new(
        config: EmbeddedStoreConfig,
        segments: Arc<RwLock<Segments>>,
        next_number: u64,
        youngest_grows: bool,
    ) -> Self {
        // Few enough segments for the limit on open files, many enough for room to come in pieces.
        let (least, most) = (config.bytes_max / 512, config.bytes_max / 8);
        let segment_bytes_max = config
            .segment_bytes_max
            .clamp(least, most)
            .min(SEGMENT_BYTES_MAX);
        let youngest = read(&segments).last().cloned();
        let growing = youngest.filter(|_| youngest_grows);
        let growing = growing.map(|segment| Growing {
            segment,
            is_torn: false,
        });
        Self {
            config,
            segment_bytes_max,
            segments,
            growing,
            next_number,
        }
    }

    /// Serves requests until nobody can send one any more.
    pub(super) fn run(mut self, requests: &Receiver<WriteRequest>) {
        self.age(self.config.clock.now());
        loop {
            match requests.recv_timeout(IDLE) {
                Ok(first) => self.commit(group(first, requests)),
                Err(RecvTimeoutError::Timeout) => self.age(self.config.clock.now()),
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
        let now = self.config.clock.now();
        self.age(now);
        self.make_room(n_bytes);
        let growing = self.growing_for(n_bytes)?;
        let segment = &growing.segment;
        if growing.is_torn {
            let cut = segment.cut();
            cut.map_err(|error| StorageError::io("cut back", segment.path(), error))?;
            growing.is_torn = false;
        }
        if let Err(error) = segment.append(payloads, now) {
            // Cut at once, to give the space back; if that fails too, before the next write.
            growing.is_torn = segment.cut().is_err();
            return Err(StorageError::io("write to", segment.path(), error));
        }
        Ok(())
    }

    /// The segment that these bytes go to: the one that grows, or a new one.
    fn growing_for(&mut self, n_bytes: u64) -> Result<&mut Growing, StorageError> {
        // A record larger than a segment may be gets a segment of its own.
        let has_room = |growing: &Growing| {
            let bytes = growing.segment.bytes();
            let is_empty = bytes <= SEGMENT_HEADER_BYTES as u64;
            is_empty || bytes + n_bytes <= self.segment_bytes_max
        };
        let growing = match self.growing.take_if(|growing| has_room(growing)) {
            Some(growing) => growing,
            None => {
                let segment = Arc::new(Segment::create(&self.config.directory, self.next_number)?);
                self.next_number += 1;
                self.seal();
                self.change_segments(|segments| segments.push(Arc::clone(&segment)));
                Growing {
                    segment,
                    is_torn: false,
                }
            }
        };
        Ok(self.growing.insert(growing))
    }

    /// Ends the growing segment.
    fn seal(&mut self) {
        let Some(Growing { segment, is_torn }) = self.growing.take() else {
            return;
        };
        if is_torn && segment.cut().is_err() {
            // What was never acked may be shown after the next start, which harms nobody.
            tracing::warn!(path = %segment.path().display(), "sealed with a torn tail");
        }
        segment.seal();
    }

    /// Deletes what is too old, and ends a segment that has been growing for long, so that it can
    /// become too old.
    fn age(&mut self, now: Timestamp) {
        let retention = self.config.retention;
        let received = |segment: &Segment| segment.index().received();
        if let Some(growing) = &self.growing
            && let Some(received) = received(&growing.segment)
            && now.since(received.start) > retention / 16
        {
            self.seal();
        }
        // Without a record there is nothing to keep.
        let is_old = |segment: &Segment| {
            received(segment).is_none_or(|received| now.since(received.end) > retention)
        };
        while let Some(oldest) = self.oldest_sealed()
            && is_old(&oldest)
        {
            self.delete(&oldest, "older than the retention");
        }
    }

    /// Deletes the oldest segments until so many bytes more are within what the store may take.
    fn make_room(&mut self, n_bytes: u64) {
        while let Some(oldest) = self.oldest_sealed()
            && self.all_bytes() + n_bytes > self.config.bytes_max
        {
            self.delete(&oldest, "more than the store may take");
        }
    }

    fn delete(&self, segment: &Arc<Segment>, reason: &str) {
        self.change_segments(|segments| segments.retain(|other| !Arc::ptr_eq(other, segment)));
        // Who reads it now has it open, and reads on.
        let path = segment.path().display();
        match fs::remove_file(segment.path()) {
            Ok(()) => tracing::info!(%path, bytes = segment.bytes(), reason, "deleted a segment"),
            Err(error) => tracing::error!(%path, reason, %error, "cannot delete a segment"),
        }
    }

    fn oldest_sealed(&self) -> Option<Arc<Segment>> {
        let oldest = read(&self.segments).first().cloned()?;
        let grows = self
            .growing
            .as_ref()
            .is_some_and(|growing| Arc::ptr_eq(&growing.segment, &oldest));
        (!grows).then_some(oldest)
    }

    fn all_bytes(&self) -> u64 {
        read(&self.segments)
            .iter()
            .map(|segment| segment.bytes())
            .sum()
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

fn read(segments: &RwLock<Segments>) -> RwLockReadGuard<'_, Segments> {
    segments.read().unwrap_or_else(PoisonError::into_inner)
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

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::embedded::search;

    #[test]
    fn what_could_not_be_cut_at_once_is_cut_before_the_next_write() {
        let directory = tempfile::tempdir().unwrap();
        let config = EmbeddedStoreConfig {
            directory: directory.path().to_owned(),
            ..EmbeddedStoreConfig::default()
        };
        let segments = Arc::new(RwLock::new(Segments::new()));
        let mut writer = Writer::new(config, Arc::clone(&segments), 1, false);
        let request = |name: &'static str| {
            let mut bytes = Vec::new();
            spanloom_wire::otlp::TracesWriter::new(&mut bytes).resource_spans(|resource_spans| {
                resource_spans.resource(|resource| resource.attribute("service.name", name));
                resource_spans.scope_spans(|scope_spans| {
                    scope_spans.span(|span| {
                        span.trace_id(spanloom_wire::TraceId::from_bytes([1; 16]).unwrap());
                    });
                });
            });
            Bytes::from(bytes)
        };
        writer.append(&[request("first")]).unwrap();

        // As a failed write and a failed cut leave it.
        let growing = writer.growing.as_mut().unwrap();
        growing.is_torn = true;
        let path = growing.segment.path().to_owned();
        fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .unwrap()
            .write_all(b"torn")
            .unwrap();

        writer.append(&[request("second")]).unwrap();
        let reopened = Segment::open(path, 1, false).unwrap().segment;
        assert_eq!(
            search::services(&vec![Arc::new(reopened)]),
            ["first", "second"]
        );
        // Bytes on the disk and bytes in use are the same.
        let segment = &read(&segments)[0];
        assert_eq!(fs::metadata(segment.path()).unwrap().len(), segment.bytes());
    }
}
