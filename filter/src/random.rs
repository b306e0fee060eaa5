//! Ids by a generator that is seeded once: a host call for each id would cost more than the id.

use spanloom_wire::{SpanId, TraceId};

use crate::host::{Host, Status};

/// xoshiro256++ 1.0 (Blackman and Vigna, public domain). Ids have to be unique, not secret.
#[derive(Clone, Debug)]
pub(crate) struct Random {
    state: [u64; 4],
}

impl Random {
    /// A generator that goes on from `seed`; all zeros, which it could not leave, are replaced.
    pub(crate) const fn from_seed(seed: [u64; 4]) -> Self {
        match seed {
            [0, 0, 0, 0] => Self {
                state: [1, 2, 3, 4],
            },
            state => Self { state },
        }
    }

    /// A generator seeded by the host. Each worker's VM has a memory of its own, so each asks.
    ///
    /// # Errors
    /// What the host says.
    pub(crate) fn from_host(host: &mut impl Host) -> Result<Self, Status> {
        let mut bytes = [0; 32];
        host.fill_random(&mut bytes)?;
        let mut seed = [0; 4];
        for (word, bytes) in seed.iter_mut().zip(bytes.as_chunks().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        Ok(Self::from_seed(seed))
    }

    /// The next 64 bits.
    pub(crate) const fn bits(&mut self) -> u64 {
        let [a, b, c, d] = self.state;
        let result = a.wrapping_add(d).rotate_left(23).wrapping_add(a);
        let shifted = b << 17;
        let c = c ^ a;
        let d = d ^ b;
        self.state = [a ^ d, b ^ c, c ^ shifted, d.rotate_left(45)];
        result
    }

    /// A new span id.
    pub(crate) fn span_id(&mut self) -> SpanId {
        loop {
            // Zero is drawn once in 2^64 times.
            if let Some(id) = SpanId::from_bytes(self.bits().to_be_bytes()) {
                return id;
            }
        }
    }

    /// A new trace id, random in all its bits.
    pub(crate) fn trace_id(&mut self) -> TraceId {
        loop {
            let bits = u128::from(self.bits()) << 64 | u128::from(self.bits());
            if let Some(id) = TraceId::from_bytes(bits.to_be_bytes()) {
                return id;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_the_published_sequence() {
        // First outputs of the authors' reference code for the state 1, 2, 3, 4.
        let mut random = Random::from_seed([1, 2, 3, 4]);
        let drawn = [random.bits(), random.bits(), random.bits(), random.bits()];
        assert_eq!(
            drawn,
            [41943041, 58720359, 3588806011781223, 3591011842654386]
        );
    }

    #[test]
    fn a_seed_of_zeros_is_replaced() {
        let mut random = Random::from_seed([0; 4]);
        assert_ne!(random.bits(), random.bits());
    }
}
