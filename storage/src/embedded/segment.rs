//! One segment: its file, and the index of what is in it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use bytes::Bytes;
use spanloom_wire::Timestamp;

use super::format::{
    RECORD_HEADER_BYTES, RECORD_MAGIC, RecordHeader, SEGMENT_HEADER_BYTES, SegmentHeader, VERSION,
};
use super::index::SegmentIndex;
use crate::StorageError;

/// How much of a damaged file is looked through at a time.
const SEARCH_BYTES: usize = 64 << 10;

/// A segment, growing or sealed. Readers share it with the one thread that writes.
pub(super) struct Segment {
    /// As its header has it, or else its name.
    number: u64,
    path: PathBuf,
    file: File,
    index: RwLock<SegmentIndex>,
    /// How much of the file is synced and indexed.
    bytes: AtomicU64,
}

/// A segment as it was found at start.
pub(super) struct Recovered {
    pub(super) segment: Segment,
    /// Whether it may grow: a damaged header must not get more behind it.
    pub(super) header_is_valid: bool,
}

impl Segment {
    /// Makes an empty segment, durably.
    pub(super) fn create(directory: &Path, number: u64) -> Result<Self, StorageError> {
        let path = directory.join(format!("{number:016}.segment"));
        let temporary = directory.join(format!("{number:016}.segment.tmp"));
        let create = || {
            let mut file = OpenOptions::new()
                .read(true)
                .append(true)
                .create_new(true)
                .open(&temporary)?;
            file.write_all(&SegmentHeader::write(number))?;
            file.sync_data()?;
            fs::rename(&temporary, &path)?;
            File::open(directory)?.sync_all()?;
            Ok(file)
        };
        let file = create().map_err(|error| {
            // Whatever was made of it; a half-made segment is also deleted at the next start.
            let _ = fs::remove_file(&temporary);
            StorageError::io("create", &path, error)
        })?;
        Ok(Self {
            number,
            path,
            file,
            index: RwLock::default(),
            bytes: AtomicU64::new(SEGMENT_HEADER_BYTES as u64),
        })
    }

    /// Opens the segment in this file and reads it from end to end. A torn tail is cut off where
    /// `is_youngest` says that there can be one.
    pub(super) fn open(
        path: PathBuf,
        number: u64,
        is_youngest: bool,
    ) -> Result<Recovered, StorageError> {
        let read = |error| StorageError::io("read", &path, error);
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .open(&path)
            .map_err(read)?;
        let file_bytes = file.metadata().map_err(read)?.len();

        let mut header = [0; SEGMENT_HEADER_BYTES];
        let header = match file.read_exact_at(&mut header, 0) {
            Ok(()) => SegmentHeader::read(&header),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => SegmentHeader::Damaged,
            Err(error) => return Err(read(error)),
        };
        let (number, header_is_valid) = match header {
            SegmentHeader::Valid { number } => (number, true),
            SegmentHeader::OtherVersion(version) => {
                return Err(StorageError::Format {
                    path,
                    version,
                    known: VERSION,
                });
            }
            SegmentHeader::Damaged => {
                tracing::error!(path = %path.display(), "the segment's header is damaged");
                (number, false)
            }
        };

        let mut scan = Scan {
            path: &path,
            file: &file,
            file_bytes,
            number,
            index: SegmentIndex::default(),
            end: SEGMENT_HEADER_BYTES as u64,
        };
        scan.run().map_err(read)?;
        let Scan { mut index, end, .. } = scan;
        if is_youngest && header_is_valid && end < file_bytes {
            let cut = file.set_len(end).and_then(|()| file.sync_data());
            cut.map_err(|error| StorageError::io("cut the torn tail of", &path, error))?;
        }
        index.shrink();
        let bytes = if header_is_valid && is_youngest {
            end
        } else {
            file_bytes
        };
        let bytes = AtomicU64::new(bytes);
        let segment = Self {
            number,
            path,
            file,
            index: RwLock::new(index),
            bytes,
        };
        Ok(Recovered {
            segment,
            header_is_valid,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// How many bytes of the file are in use.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(super) fn index(&self) -> RwLockReadGuard<'_, SegmentIndex> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends these payloads, waits until they are on the disk, and shows them to readers.
    /// Only one thread may call this.
    ///
    /// On an error nothing of it is shown, and the file may have to be [`cut`](Self::cut).
    pub(super) fn append(&self, payloads: &[Bytes], received: Timestamp) -> io::Result<()> {
        let begin = self.bytes();
        let mut offset = begin;
        let mut offsets = Vec::with_capacity(payloads.len());
        let mut headers = Vec::with_capacity(payloads.len());
        for payload in payloads {
            headers.push(RecordHeader::of(payload, received).write(self.number, offset));
            offsets.push(offset);
            offset += (RECORD_HEADER_BYTES + payload.len()) as u64;
        }
        let parts = headers.iter().zip(payloads);
        let mut slices: Vec<IoSlice<'_>> = parts
            .flat_map(|(header, payload)| [IoSlice::new(header), IoSlice::new(payload)])
            .collect();
        write_all_vectored(&self.file, &mut slices)?;
        self.file.sync_data()?;

        for (payload, offset) in payloads.iter().zip(offsets) {
            // Locked for one record at a time, so that a search waits for no more than that.
            self.index_mut(|index| index.add_record(offset, received, payload));
        }
        self.bytes.store(offset, Ordering::Relaxed);
        Ok(())
    }

    /// Cuts the file back to what was acked.
    pub(super) fn cut(&self) -> io::Result<()> {
        self.file.set_len(self.bytes())?;
        self.file.sync_data()
    }

    /// Nothing more will be appended.
    pub(super) fn seal(&self) {
        self.index_mut(SegmentIndex::shrink);
    }

    fn index_mut(&self, change: impl FnOnce(&mut SegmentIndex)) {
        change(&mut self.index.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// The payload of the record at this offset; `None`, and a line in the log, where its bytes
    /// are not those that were written.
    pub(super) fn read_record(&self, offset: u64) -> Result<Option<Vec<u8>>, StorageError> {
        let read = || -> io::Result<Option<Vec<u8>>> {
            let mut header = [0; RECORD_HEADER_BYTES];
            self.file.read_exact_at(&mut header, offset)?;
            let Some(header) = RecordHeader::read(&header, self.number, offset) else {
                return Ok(None);
            };
            let mut payload = vec![0; header.payload_bytes];
            self.file
                .read_exact_at(&mut payload, offset + RECORD_HEADER_BYTES as u64)?;
            Ok(header.fits(&payload).then_some(payload))
        };
        let payload = read().map_err(|error| StorageError::io("read", &self.path, error))?;
        if payload.is_none() {
            let path = self.path.display();
            tracing::error!(%path, offset, "a record is damaged and left out of the answer");
        }
        Ok(payload)
    }
}

/// Writes all of these slices, in order. (The standard library's is not stable yet.)
fn write_all_vectored(mut file: &File, mut slices: &mut [IoSlice<'_>]) -> io::Result<()> {
    // Drops slices that are empty from the start, which a write of zero bytes would be.
    IoSlice::advance_slices(&mut slices, 0);
    while !slices.is_empty() {
        match file.write_vectored(slices) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => IoSlice::advance_slices(&mut slices, n),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads a segment from end to end, over whatever damage there is.
struct Scan<'a> {
    path: &'a Path,
    file: &'a File,
    file_bytes: u64,
    number: u64,
    index: SegmentIndex,
    /// The end of the last valid record.
    end: u64,
}

impl Scan<'_> {
    fn run(&mut self) -> io::Result<()> {
        let mut offset = self.end;
        let mut payload = Vec::new();
        while offset < self.file_bytes {
            let header = self.header_at(offset)?;
            if let Some(header) = header
                && self.read_payload(offset, &header, &mut payload)?
            {
                self.add(offset, &header, &payload);
                offset = self.end;
                continue;
            }
            match self.next_header(offset + 1)? {
                Some(next) => {
                    let path = self.path.display();
                    let bytes = next - offset;
                    tracing::error!(%path, offset, bytes, "damaged, and skipped");
                    offset = next;
                }
                None => break,
            }
        }
        if self.end < self.file_bytes {
            let path = self.path.display();
            let bytes = self.file_bytes - self.end;
            tracing::warn!(%path, offset = self.end, bytes, "a torn tail");
        }
        Ok(())
    }

    /// Reads the payload behind this header; whether it is what was written.
    fn read_payload(
        &self,
        offset: u64,
        header: &RecordHeader,
        payload: &mut Vec<u8>,
    ) -> io::Result<bool> {
        let begin = offset + RECORD_HEADER_BYTES as u64;
        if begin + header.payload_bytes as u64 > self.file_bytes {
            return Ok(false);
        }
        payload.resize(header.payload_bytes, 0);
        self.file.read_exact_at(payload, begin)?;
        Ok(header.fits(payload))
    }

    fn add(&mut self, offset: u64, header: &RecordHeader, payload: &[u8]) {
        self.index.add_record(offset, header.received, payload);
        self.end = offset + (RECORD_HEADER_BYTES + payload.len()) as u64;
    }

    fn header_at(&self, offset: u64) -> io::Result<Option<RecordHeader>> {
        if offset + RECORD_HEADER_BYTES as u64 > self.file_bytes {
            return Ok(None);
        }
        let mut header = [0; RECORD_HEADER_BYTES];
        self.file.read_exact_at(&mut header, offset)?;
        Ok(RecordHeader::read(&header, self.number, offset))
    }

    /// The first offset from here on with a valid record header.
    fn next_header(&self, from: u64) -> io::Result<Option<u64>> {
        let mut found = None;
        let mut begin = from;
        let mut window = vec![0; SEARCH_BYTES];
        while begin + RECORD_HEADER_BYTES as u64 <= self.file_bytes && found.is_none() {
            let n_bytes = (self.file_bytes - begin).min(SEARCH_BYTES as u64) as usize;
            let window = &mut window[..n_bytes];
            self.file.read_exact_at(window, begin)?;
            let magic = window.windows(RECORD_MAGIC.len());
            let places = magic
                .enumerate()
                .filter(|(_, bytes)| *bytes == RECORD_MAGIC);
            for (place, _) in places {
                let offset = begin + place as u64;
                if self.header_at(offset)?.is_some() {
                    found = Some(offset);
                    break;
                }
            }
            // The last three bytes may be the beginning of a magic that goes on.
            begin += (n_bytes + 1 - RECORD_MAGIC.len()) as u64;
        }
        Ok(found)
    }
}
