//! Random ids: seeded from the keys that `std` draws for its hash maps.

use std::cell::Cell;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

thread_local! {
    static STATE: Cell<u64> = Cell::new(seed());
}

fn seed() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// One step of SplitMix64 on a state of this thread.
pub(crate) fn random() -> u64 {
    let state = STATE.try_with(|state| {
        let next = state.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        state.set(next);
        next
    });
    // Without thread-local storage the thread is ending: a fresh seed serves as well.
    let mut z = state.unwrap_or_else(|_| seed());
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A span id: never zero, which W3C Trace Context forbids.
pub(crate) fn span_id() -> u64 {
    random().max(1)
}

/// A trace id: never zero.
pub(crate) fn trace_id() -> u128 {
    (u128::from(random()) << 64) | u128::from(span_id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_do_not_repeat() {
        let mut seen = std::collections::HashSet::new();
        assert!((0..10_000).all(|_| seen.insert(trace_id())));
    }

    #[test]
    fn threads_draw_different_ids() {
        let other = std::thread::spawn(|| (0..100).map(|_| span_id()).collect::<Vec<_>>());
        let mine: Vec<_> = (0..100).map(|_| span_id()).collect();
        let theirs = other.join().expect("the thread only draws numbers");
        assert!(mine.iter().all(|id| !theirs.contains(id)));
    }
}
