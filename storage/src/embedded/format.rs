//! The bytes of segment and record headers. `FORMAT.md` has the tables; this is their code.

use crc_fast::CrcAlgorithm;
use spanloom_wire::Timestamp;

/// The version that is written and the only one that is read.
pub(super) const VERSION: u32 = 1;

pub(super) const SEGMENT_HEADER_BYTES: usize = 32;
pub(super) const RECORD_HEADER_BYTES: usize = 24;

/// A longer payload is refused; a longer length in a file is damage.
pub(super) const PAYLOAD_BYTES_MAX: usize = 64 << 20;

const SEGMENT_MAGIC: &[u8; 8] = b"SPANLOOM";

/// What a record of kind 1 (an OTLP request as it came) starts with.
pub(super) const RECORD_MAGIC: &[u8; 4] = b"SLR\x01";

/// What the first bytes of a segment say.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum SegmentHeader {
    /// A segment of our version with this number.
    Valid { number: u64 },
    /// A segment of another version.
    OtherVersion(u32),
    /// Anything else.
    Damaged,
}

impl SegmentHeader {
    pub(super) fn write(number: u64) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut header = [0; SEGMENT_HEADER_BYTES];
        header[..8].copy_from_slice(SEGMENT_MAGIC);
        header[8..12].copy_from_slice(&VERSION.to_le_bytes());
        let checksum = crc(&[&header[..12]]);
        header[12..16].copy_from_slice(&checksum.to_le_bytes());
        header[16..24].copy_from_slice(&number.to_le_bytes());
        let checksum = crc(&[&header[..28]]);
        header[28..32].copy_from_slice(&checksum.to_le_bytes());
        header
    }

    pub(super) fn read(header: &[u8; SEGMENT_HEADER_BYTES]) -> Self {
        let version = u32_at(header, 8);
        if header[..8] != *SEGMENT_MAGIC || u32_at(header, 12) != crc(&[&header[..12]]) {
            Self::Damaged
        } else if version != VERSION {
            Self::OtherVersion(version)
        } else if u32_at(header, 28) != crc(&[&header[..28]]) {
            Self::Damaged
        } else {
            Self::Valid {
                number: u64_at(header, 16),
            }
        }
    }
}

/// What stands before each payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordHeader {
    pub(super) payload_bytes: usize,
    pub(super) received: Timestamp,
    pub(super) payload_crc: u32,
}

impl RecordHeader {
    /// The header for this payload, which must not be longer than [`PAYLOAD_BYTES_MAX`].
    pub(super) fn of(payload: &[u8], received: Timestamp) -> Self {
        Self {
            payload_bytes: payload.len(),
            received,
            payload_crc: crc(&[payload]),
        }
    }

    /// The bytes of the header at this place.
    pub(super) fn write(&self, segment_number: u64, offset: u64) -> [u8; RECORD_HEADER_BYTES] {
        let mut header = [0; RECORD_HEADER_BYTES];
        header[..4].copy_from_slice(RECORD_MAGIC);
        header[4..8].copy_from_slice(&(self.payload_bytes as u32).to_le_bytes());
        header[8..16].copy_from_slice(&self.received.as_nanos().to_le_bytes());
        header[16..20].copy_from_slice(&self.payload_crc.to_le_bytes());
        let checksum = header_crc(&header, segment_number, offset);
        header[20..24].copy_from_slice(&checksum.to_le_bytes());
        header
    }

    /// The header in these bytes; `None` where they are not one of this place.
    pub(super) fn read(
        header: &[u8; RECORD_HEADER_BYTES],
        segment_number: u64,
        offset: u64,
    ) -> Option<Self> {
        let payload_bytes = u32_at(header, 4) as usize;
        let valid = header[..4] == *RECORD_MAGIC
            && payload_bytes <= PAYLOAD_BYTES_MAX
            && u32_at(header, 20) == header_crc(header, segment_number, offset);
        valid.then(|| Self {
            payload_bytes,
            received: Timestamp::from_nanos(u64_at(header, 8)),
            payload_crc: u32_at(header, 16),
        })
    }

    /// Whether this is the payload that the header was made for.
    pub(super) fn fits(&self, payload: &[u8]) -> bool {
        payload.len() == self.payload_bytes && crc(&[payload]) == self.payload_crc
    }
}

fn header_crc(header: &[u8; RECORD_HEADER_BYTES], segment_number: u64, offset: u64) -> u32 {
    crc(&[
        &segment_number.to_le_bytes(),
        &offset.to_le_bytes(),
        &header[..20],
    ])
}

/// The CRC-32C of these parts, one after the other.
fn crc(parts: &[&[u8]]) -> u32 {
    let mut digest = crc_fast::Digest::new(CrcAlgorithm::Crc32Iscsi);
    for part in parts {
        digest.update(part);
    }
    // A 32-bit checksum in the low half of the 64 bits that the crate gives for all its kinds.
    digest.finalize() as u32
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_crc32c() {
        // The check value of CRC-32/ISCSI in the catalogue of parametrised CRC algorithms.
        assert_eq!(crc(&[b"1234", b"56789"]), 0xe306_9283);
    }

    #[test]
    fn headers_read_back_and_every_flipped_bit_shows() {
        let segment = SegmentHeader::write(7);
        assert_eq!(
            SegmentHeader::read(&segment),
            SegmentHeader::Valid { number: 7 }
        );
        let record = RecordHeader::of(b"payload", Timestamp::from_nanos(99));
        let bytes = record.write(7, 32);
        assert_eq!(RecordHeader::read(&bytes, 7, 32), Some(record));
        assert!(record.fits(b"payload"));
        assert!(!record.fits(b"pAyload"));

        for bit in 0..8 * SEGMENT_HEADER_BYTES {
            let mut flipped = segment;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                SegmentHeader::read(&flipped),
                SegmentHeader::Damaged,
                "bit {bit}"
            );
        }
        for bit in 0..8 * RECORD_HEADER_BYTES {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(RecordHeader::read(&flipped, 7, 32), None, "bit {bit}");
        }
    }

    #[test]
    fn a_record_is_valid_in_its_own_place_only() {
        let bytes = RecordHeader::of(b"payload", Timestamp::default()).write(7, 32);
        assert_eq!(RecordHeader::read(&bytes, 8, 32), None);
        assert_eq!(RecordHeader::read(&bytes, 7, 33), None);
    }

    #[test]
    fn another_version_is_not_damage() {
        let mut header = SegmentHeader::write(7);
        header[8..12].copy_from_slice(&2_u32.to_le_bytes());
        let checksum = crc(&[&header[..12]]);
        header[12..16].copy_from_slice(&checksum.to_le_bytes());
        // What stands behind is that version's affair.
        header[16..].fill(0xee);
        assert_eq!(SegmentHeader::read(&header), SegmentHeader::OtherVersion(2));
    }
}
