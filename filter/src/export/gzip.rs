//! Gzip (RFC 1952) around deflate (RFC 1951), for bodies of export requests.
//!
//! Spans repeat the same keys and values over and over, so the cheapest form does most of the work:
//! one block of fixed codes, and for each place one candidate to copy from, the last with the same
//! four bytes. A crate would bring levels and tables that cost each proxy more code than this saves,
//! and its own panics. Memory is bounded: 32 KiB for the candidates, and the output.

/// Bytes whose last place is looked up; shorter copies are not worth their codes.
const MATCH_MIN: usize = 4;
/// The longest copy that has a code.
const MATCH_MAX: usize = 258;
/// The farthest place that has a code.
const DISTANCE_MAX: usize = 32_768;
const SLOT_BITS: u32 = 13;
const END_OF_BLOCK: u32 = 256;

/// Appends `bytes` in gzip to `out`.
pub(super) fn append(out: &mut Vec<u8>, bytes: &[u8]) {
    // Deflate, no flags, no time, no extra flags, written by an unknown system.
    out.extend_from_slice(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff]);
    deflate(out, bytes);
    out.extend_from_slice(&crc32(bytes).to_le_bytes());
    // RFC 1952: the length modulo 2^32. A body is a few megabytes at most.
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_le_bytes());
}

fn deflate(out: &mut Vec<u8>, bytes: &[u8]) {
    let mut bits = Bits {
        out,
        held: 0,
        n_held: 0,
    };
    // The last block (1), of fixed codes (01, the low bit first).
    bits.put(0b011, 3);
    let mut candidates = Candidates::new();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let length = match candidates.exchange(bytes, at) {
            Some(from) => common(bytes, from, at).map(|length| (length, at.wrapping_sub(from))),
            None => None,
        };
        let Some((length, distance)) = length else {
            bits.literal(u32::from(*byte));
            at = at.wrapping_add(1);
            continue;
        };
        bits.copy(length, distance);
        let end = at.wrapping_add(length);
        for inside in at.wrapping_add(1)..end {
            candidates.exchange(bytes, inside);
        }
        at = end;
    }
    bits.literal(END_OF_BLOCK);
    bits.finish();
}

/// The last place of each four bytes, by their hash: one place too many is found out in
/// [`common`].
struct Candidates(Vec<u32>);

impl Candidates {
    const NONE: u32 = u32::MAX;

    fn new() -> Self {
        Self(vec![Self::NONE; 1 << SLOT_BITS])
    }

    /// Where the bytes at `at` stood last, if anywhere, and notes that they stand here.
    fn exchange(&mut self, bytes: &[u8], at: usize) -> Option<usize> {
        let word = u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?);
        let hash = word.wrapping_mul(0x9e37_79b1) >> 32_u32.wrapping_sub(SLOT_BITS);
        let slot = self.0.get_mut(usize::try_from(hash).ok()?)?;
        let from = std::mem::replace(slot, u32::try_from(at).ok()?);
        let from = usize::try_from(from).ok().filter(|_| from != Self::NONE)?;
        (at.wrapping_sub(from) <= DISTANCE_MAX).then_some(from)
    }
}

/// How many bytes at `from` and `at` are the same, if they are worth a copy.
fn common(bytes: &[u8], from: usize, at: usize) -> Option<usize> {
    let (before, here) = (bytes.get(from..)?, bytes.get(at..)?);
    let same = before.iter().zip(here).take(MATCH_MAX);
    let length = same.take_while(|(a, b)| a == b).count();
    (length >= MATCH_MIN).then_some(length)
}

/// Bits on their way out, the low one first.
struct Bits<'a> {
    out: &'a mut Vec<u8>,
    held: u64,
    n_held: u32,
}

impl Bits<'_> {
    fn put(&mut self, bits: u32, n: u32) {
        self.held |= u64::from(bits).wrapping_shl(self.n_held);
        self.n_held = self.n_held.wrapping_add(n);
        while self.n_held >= 8 {
            let [low, ..] = self.held.to_le_bytes();
            self.out.push(low);
            self.held >>= 8;
            self.n_held = self.n_held.wrapping_sub(8);
        }
    }

    /// A Huffman code, which stands with its high bit first.
    fn code(&mut self, code: u32, n: u32) {
        self.put(code.reverse_bits().wrapping_shr(32_u32.wrapping_sub(n)), n);
    }

    /// A symbol of the alphabet of literals and lengths (RFC 1951, section 3.2.6).
    fn literal(&mut self, symbol: u32) {
        match symbol {
            0..144 => self.code(symbol.wrapping_add(0x30), 8),
            144..256 => self.code(symbol.wrapping_sub(144).wrapping_add(0x190), 9),
            256..280 => self.code(symbol.wrapping_sub(256), 7),
            _ => self.code(symbol.wrapping_sub(280).wrapping_add(0xc0), 8),
        }
    }

    /// A copy of what stands `distance` bytes before. The tables of section 3.2.5 in closed form:
    /// four lengths, and two distances, to each number of further bits.
    fn copy(&mut self, length: usize, distance: usize) {
        let length = u32::try_from(length.saturating_sub(3)).unwrap_or_default();
        match length {
            0..8 => self.literal(length.wrapping_add(257)),
            255.. => self.literal(285),
            _ => {
                let n = length.max(1).ilog2().wrapping_sub(2);
                let step = length.wrapping_shr(n) & 3;
                self.literal(n.wrapping_mul(4).wrapping_add(261).wrapping_add(step));
                self.put(low(length, n), n);
            }
        }
        let distance = u32::try_from(distance.saturating_sub(1)).unwrap_or_default();
        match distance {
            0..4 => self.code(distance, 5),
            _ => {
                let n = distance.max(1).ilog2().wrapping_sub(1);
                let step = distance.wrapping_shr(n) & 1;
                self.code(n.wrapping_mul(2).wrapping_add(2).wrapping_add(step), 5);
                self.put(low(distance, n), n);
            }
        }
    }

    fn finish(&mut self) {
        if self.n_held > 0 {
            let [low, ..] = self.held.to_le_bytes();
            self.out.push(low);
        }
    }
}

/// The `n` low bits of a number.
const fn low(number: u32, n: u32) -> u32 {
    number & 1_u32.wrapping_shl(n).wrapping_sub(1)
}

/// The check sum of gzip (RFC 1952, section 8), half a byte at a time: its table is 64 bytes.
fn crc32(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 16] = [
        0x0000_0000,
        0x1db7_1064,
        0x3b6e_20c8,
        0x26d9_30ac,
        0x76dc_4190,
        0x6b6b_51f4,
        0x4db2_6158,
        0x5005_713c,
        0xedb8_8320,
        0xf00f_9344,
        0xd6d6_a3e8,
        0xcb61_b38c,
        0x9b64_c2b0,
        0x86d3_d2d4,
        0xa00a_e278,
        0xbdbd_f21c,
    ];
    let half = |crc: u32| {
        let entry = usize::try_from(crc & 15).ok().and_then(|at| TABLE.get(at));
        crc >> 4 ^ entry.copied().unwrap_or_default()
    };
    let crc = bytes
        .iter()
        .fold(u32::MAX, |crc, byte| half(half(crc ^ u32::from(*byte))));
    !crc
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What another implementation reads, the check sum and the length included.
    fn read(gzip: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut decoder = flate2::read::GzDecoder::new(gzip);
        std::io::copy(&mut decoder, &mut bytes).unwrap();
        bytes
    }

    fn round_trip(bytes: &[u8]) -> usize {
        let mut gzip = Vec::new();
        append(&mut gzip, bytes);
        assert_eq!(read(&gzip), bytes);
        gzip.len()
    }

    #[test]
    fn every_length_and_many_distances_are_copied() {
        let noise = |n: usize| -> Vec<u8> {
            let mut state = 1u64;
            let step = |_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                (state >> 56) as u8
            };
            (0..n).map(step).collect()
        };
        for length in 1..600 {
            round_trip(&[noise(300), noise(length)].concat());
            round_trip(&vec![7; length]);
        }
        for distance in [1, 4, 5, 255, 256, 4097, 32_767, 32_768, 32_769, 70_000] {
            let bytes = noise(distance);
            round_trip(&[&*bytes, bytes.get(..100).unwrap_or(&bytes)].concat());
        }
    }

    #[test]
    fn what_repeats_becomes_small() {
        let bytes = "http.request.method\u{3}GET url.path /cart ".repeat(500);
        let n_bytes = round_trip(bytes.as_bytes());
        assert!(n_bytes * 20 < bytes.len(), "{n_bytes} of {}", bytes.len());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_come_back(bytes: Vec<u8>) {
            // Nine bits for a byte at worst, and what stands around.
            prop_assert!(round_trip(&bytes) <= bytes.len() * 9 / 8 + 21);
        }

        #[test]
        fn few_letters_come_back(bytes in "[ab]{0,2000}") {
            round_trip(bytes.as_bytes());
        }
    }
}
