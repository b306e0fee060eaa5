//! Consistent probability sampling: who decides later decides the same, and whoever counts spans
//! knows how many each one stands for.
//!
//! Source: OpenTelemetry specification, "TraceState: Probability Sampling" and "TraceState
//! Handling". A trace carries 56 random bits, a sampler has a threshold, and it keeps the trace if
//! the bits are not below the threshold. What kept the trace is written as `th` into the `ot` member
//! of `tracestate`; bits that are not those of the trace id stand there as `rv`.
//!
//! ```
//! use spanloom_wire::TraceId;
//! use spanloom_wire::context::TraceState;
//! use spanloom_wire::sampling::{Decision, Threshold, randomness};
//!
//! let trace_id: TraceId = "4bf92f3577b34da6a3fe929d0e0e4736".parse().unwrap();
//! let incoming = TraceState::default();
//! let one_percent = Threshold::from_ratio(0.01);
//! let decision = Decision::independent(one_percent, randomness(trace_id, &incoming));
//! assert!(decision.sampled);
//! assert_eq!(decision.update(&incoming).as_str(), "ot=th:fd70a");
//! ```

use crate::TraceId;
use crate::context::{TraceContext, TraceState, VALUE_BYTES_MAX, split};
use crate::id::{hex_digit, hex_value};

/// How many values 56 bits have: the count that one span can stand for at most.
const ALL: u64 = 1 << 56;
/// How many hexadecimal digits 56 bits have.
const N_DIGITS: u32 = 14;
/// How many digits of a threshold that comes from a ratio are significant, as SDKs are told to do.
const PRECISION: u32 = 4;
/// The member of `tracestate` that is OpenTelemetry's.
const MEMBER: &str = "ot";

/// How many of 2^56 traces a sampler rejects: 0 keeps all, and no threshold rejects all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Threshold(u64);

impl Threshold {
    /// The threshold that keeps everything.
    pub const KEEP_ALL: Self = Self(0);

    /// The threshold that keeps this part of all traces, to four significant digits; `None` if that
    /// is none, which is not a probability: ratios below 2^-56, and what is not a number.
    pub fn from_ratio(ratio: f64) -> Option<Self> {
        if ratio >= 1.0 {
            return Some(Self::KEEP_ALL);
        }
        let kept = ratio * ALL as f64;
        if kept.is_nan() || kept < 1.0 {
            return None;
        }
        // Small ratios begin with digits `f` that say nothing: precision counts after them. The
        // ratio is m * 2^-exponent with m in [1/2, 1), and each such digit takes 4 of the exponent.
        let biased = ratio.to_bits() >> 52;
        let exponent = 1022_u64.saturating_sub(biased) as u32;
        let n_digits = (PRECISION + exponent / 4).min(N_DIGITS);
        let unit = 1_u64 << (4 * (N_DIGITS - n_digits));
        let exact = ALL - (kept.round() as u64).min(ALL);
        let rounded = (exact + unit / 2) / unit * unit;
        Some(Self(rounded.min(ALL - 1)))
    }

    /// Reads the value of `th`: 1 to 14 hexadecimal digits, zeros at the end left out.
    pub fn from_hex(digits: &str) -> Option<Self> {
        let n_digits = u32::try_from(digits.len())
            .ok()
            .filter(|n| (1..=N_DIGITS).contains(n))?;
        Some(Self(number(digits)? << (4 * (N_DIGITS - n_digits))))
    }

    /// Whether a trace with this randomness is kept.
    pub const fn keeps(self, randomness: Randomness) -> bool {
        randomness.0 >= self.0
    }

    /// The part of all traces that is kept: above 0, at most 1.
    pub fn ratio(self) -> f64 {
        (ALL - self.0) as f64 / ALL as f64
    }

    /// How many spans one kept span stands for: at least 1, at most 2^56.
    pub fn adjusted_count(self) -> f64 {
        ALL as f64 / (ALL - self.0) as f64
    }

    /// How many digits there are without the zeros at the end, of which one stays.
    fn n_digits(self) -> usize {
        let n_zeros = self.0.trailing_zeros() / 4;
        N_DIGITS.saturating_sub(n_zeros).max(1) as usize
    }

    fn push_hex(self, text: &mut String) {
        let mut digits = self.0;
        for _ in 0..self.n_digits() {
            text.push(char::from(hex_digit((digits >> 52) as u8)));
            digits = (digits << 4) % ALL;
        }
    }
}

/// The 56 random bits by which everybody decides about a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Randomness(u64);

impl Randomness {
    /// The low 56 bits of a trace id. They are presumed random even without the flag that says so,
    /// as the specification has it: else older senders could not be sampled at all.
    pub const fn from_trace_id(id: TraceId) -> Self {
        Self(u128::from_be_bytes(id.to_bytes()) as u64 % ALL)
    }

    /// Reads the value of `rv`: exactly 14 hexadecimal digits.
    pub fn from_hex(digits: &str) -> Option<Self> {
        if digits.len() != N_DIGITS as usize {
            return None;
        }
        number(digits).map(Self)
    }
}

/// The randomness of a trace: what `rv` says, else the trace id's.
pub fn randomness(trace_id: TraceId, state: &TraceState<'_>) -> Randomness {
    randomness_of(trace_id, state.get(MEMBER).unwrap_or_default())
}

fn randomness_of(trace_id: TraceId, member: &str) -> Randomness {
    sub_value(member, "rv")
        .and_then(Randomness::from_hex)
        .unwrap_or_else(|| Randomness::from_trace_id(trace_id))
}

/// The threshold that kept a trace so far, where `th` says one.
pub fn threshold(state: &TraceState<'_>) -> Option<Threshold> {
    threshold_of(state.get(MEMBER)?)
}

fn threshold_of(member: &str) -> Option<Threshold> {
    sub_value(member, "th").and_then(Threshold::from_hex)
}

/// Whether a span is kept, and with what known probability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether the span is kept: the sampled flag of its context.
    pub sampled: bool,
    /// The threshold that kept it; `None` where it was dropped, or kept for another reason than
    /// probability, so that nobody counts it for more than itself.
    pub threshold: Option<Threshold>,
}

impl Decision {
    /// Not kept.
    pub const DROP: Self = Self {
        sampled: false,
        threshold: None,
    };

    /// Kept for another reason than probability: a rule, a debug flag, an error.
    pub const FORCE: Self = Self {
        sampled: true,
        threshold: None,
    };

    /// The decision of a root, or of a sampler that does not care what its parent decided. No
    /// threshold drops everything.
    pub fn independent(threshold: Option<Threshold>, randomness: Randomness) -> Self {
        match threshold {
            Some(threshold) if threshold.keeps(randomness) => Self {
                sampled: true,
                threshold: Some(threshold),
            },
            _ => Self::DROP,
        }
    }

    /// The parent's decision. A threshold that would not have kept the trace is not believed.
    pub fn of_parent(parent: &TraceContext, state: &TraceState<'_>) -> Self {
        if !parent.flags.is_sampled() {
            return Self::DROP;
        }
        let randomness = randomness(parent.trace_id, state);
        let threshold = threshold(state).filter(|threshold| threshold.keeps(randomness));
        Self {
            sampled: true,
            threshold,
        }
    }

    /// The `tracestate` to send on: with this decision's threshold, or without any. All other
    /// sub-keys stay. A list that says the same already is returned as it is.
    ///
    /// Where the member would grow longer than a value may be, it goes without a threshold: an
    /// unknown probability is better than a wrong one.
    pub fn update<'a>(self, state: &TraceState<'a>) -> TraceState<'a> {
        let member = state.get(MEMBER).unwrap_or_default();
        let has_threshold = sub_values(member).any(|(key, _)| key == "th");
        if has_threshold == self.threshold.is_some() && threshold_of(member) == self.threshold {
            return state.clone();
        }
        let mut text = String::with_capacity(member.len() + 4 + N_DIGITS as usize);
        for (_, part) in sub_values(member).filter(|(key, _)| *key != "th") {
            if !text.is_empty() {
                text.push(';');
            }
            text.push_str(part);
        }
        if let Some(threshold) = self.threshold {
            let separator = if text.is_empty() { "th:" } else { ";th:" };
            if text.len() + separator.len() + threshold.n_digits() <= VALUE_BYTES_MAX {
                text.push_str(separator);
                threshold.push_hex(&mut text);
            }
        }
        if text.is_empty() {
            return state.without(MEMBER);
        }
        state
            .with(MEMBER, &text)
            .unwrap_or_else(|_| state.without(MEMBER))
    }
}

/// The value of a sub-key of the `ot` member.
fn sub_value<'a>(member: &'a str, key: &str) -> Option<&'a str> {
    let (_, part) = sub_values(member).find(|(k, _)| *k == key)?;
    part.get(key.len() + 1..)
}

/// The sub-keys of the `ot` member, each with its whole `key:value` text.
fn sub_values(member: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = member;
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            let (part, more) = split(rest, b';').unwrap_or((rest, ""));
            rest = more;
            if !part.is_empty() {
                return Some((split(part, b':').map_or(part, |(key, _)| key), part));
            }
        }
        None
    })
}

fn number(digits: &str) -> Option<u64> {
    digits.bytes().try_fold(0, |number, digit| {
        Some(number << 4 | u64::from(hex_value(digit)?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SpanId;
    use crate::context::TraceFlags;

    fn state(value: &str) -> TraceState<'_> {
        TraceState::parse(value.as_bytes()).unwrap()
    }

    fn hex(threshold: Threshold) -> String {
        let mut text = String::new();
        threshold.push_hex(&mut text);
        text
    }

    fn parent(trace_id: &str, sampled: bool) -> TraceContext {
        TraceContext {
            trace_id: trace_id.parse().unwrap(),
            span_id: SpanId::from_bytes([1; 8]).unwrap(),
            flags: TraceFlags::NONE.with_sampled(sampled),
        }
    }

    /// A trace id whose low 56 bits are these digits.
    fn id(randomness: &str) -> String {
        format!("000000000000000100{randomness}")
    }

    #[test]
    fn ratios_become_the_thresholds_of_the_specification() {
        // The specification's table, precision 4.
        for (n, digits) in [
            (1.0, "0"),
            (2.0, "8"),
            (3.0, "aaab"),
            (4.0, "c"),
            (5.0, "cccd"),
            (8.0, "e"),
            (10.0, "e666"),
            (16.0, "f"),
            (100.0, "fd70a"),
            (1_000.0, "ffbe77"),
            (10_000.0, "fff9724"),
            (100_000.0, "ffff583a"),
            (1_000_000.0, "ffffef39"),
        ] {
            assert_eq!(
                hex(Threshold::from_ratio(1.0 / n).unwrap()),
                digits,
                "1 in {n}"
            );
        }
    }

    #[test]
    fn the_smallest_ratio_is_two_to_the_minus_56() {
        let smallest = Threshold::from_ratio(2_f64.powi(-56)).unwrap();
        assert_eq!(hex(smallest), "ffffffffffffff");
        assert_eq!(smallest.adjusted_count(), 2_f64.powi(56));
        assert_eq!(Threshold::from_ratio(2_f64.powi(-57)), None);
    }

    #[test]
    fn ratios_outside_their_range_keep_all_or_none() {
        for ratio in [1.0, 1.5, f64::INFINITY] {
            assert_eq!(Threshold::from_ratio(ratio), Some(Threshold::KEEP_ALL));
        }
        for ratio in [
            0.0,
            -0.0,
            -1.0,
            f64::NAN,
            f64::NEG_INFINITY,
            f64::MIN_POSITIVE,
        ] {
            assert_eq!(Threshold::from_ratio(ratio), None);
        }
    }

    #[test]
    fn thresholds_are_read_with_their_zeros_left_out_and_in_either_case() {
        assert_eq!(
            Threshold::from_hex("8"),
            Threshold::from_hex("80000000000000")
        );
        assert_eq!(Threshold::from_hex("FD70A"), Threshold::from_ratio(0.01));
        assert_eq!(Threshold::from_hex("0"), Some(Threshold::KEEP_ALL));
        for bad in ["", "g", "-1", "123456789abcdef", "8 "] {
            assert_eq!(Threshold::from_hex(bad), None, "{bad}");
        }
    }

    #[test]
    fn adjusted_count_is_the_inverse_of_the_ratio() {
        let quarter = Threshold::from_ratio(0.25).unwrap();
        assert_eq!((quarter.ratio(), quarter.adjusted_count()), (0.25, 4.0));
        assert_eq!(Threshold::KEEP_ALL.adjusted_count(), 1.0);
    }

    #[test]
    fn a_trace_at_the_threshold_is_kept_and_below_it_dropped() {
        let half = Threshold::from_hex("8").unwrap();
        assert!(half.keeps(Randomness::from_hex("80000000000000").unwrap()));
        assert!(!half.keeps(Randomness::from_hex("7fffffffffffff").unwrap()));
    }

    #[test]
    fn randomness_is_the_low_56_bits_of_the_id_unless_rv_says_other() {
        let id: TraceId = "4bf92f3577b34da6a3ce929d0e0e4736".parse().unwrap();
        let from_id = Randomness(0xce_929d_0e0e_4736);
        assert_eq!(randomness(id, &state("")), from_id);
        let rv = "ot=th:0;rv:123456789abcde";
        assert_eq!(randomness(id, &state(rv)), Randomness(0x12_3456_789a_bcde));
        for bad in [
            "ot=rv:123456789abcd",
            "ot=rv:123456789abcdef",
            "ot=rv:123456789abcdg",
            "ot=rv",
        ] {
            assert_eq!(randomness(id, &state(bad)), from_id, "{bad}");
        }
    }

    #[test]
    fn a_root_that_keeps_writes_its_threshold() {
        let kept = Decision::independent(Threshold::from_ratio(0.5), Randomness(ALL / 2));
        assert_eq!(kept.update(&state("")).as_str(), "ot=th:8");
        assert_eq!(kept.update(&state("a=1")).as_str(), "ot=th:8,a=1");
    }

    #[test]
    fn no_threshold_drops_everything() {
        assert_eq!(
            Decision::independent(None, Randomness(ALL - 1)),
            Decision::DROP
        );
    }

    #[test]
    fn a_sampler_that_drops_erases_the_threshold() {
        let dropped = Decision::independent(Threshold::from_ratio(0.5), Randomness(0));
        assert_eq!(dropped, Decision::DROP);
        assert_eq!(dropped.update(&state("a=1,ot=th:4")).as_str(), "a=1");
    }

    #[test]
    fn a_sampled_parents_threshold_is_kept_and_nothing_is_changed() {
        let incoming = state("a=1,ot=th:8");
        let decision = Decision::of_parent(&parent(&id("90000000000000"), true), &incoming);
        assert_eq!(decision.threshold, Threshold::from_hex("8"));
        assert_eq!(decision.update(&incoming), incoming);
    }

    #[test]
    fn a_sampled_parents_threshold_that_would_not_have_kept_is_erased() {
        let incoming = state("a=1,ot=th:8");
        let decision = Decision::of_parent(&parent(&id("70000000000000"), true), &incoming);
        assert_eq!(decision, Decision::FORCE);
        assert_eq!(decision.update(&incoming).as_str(), "a=1");
    }

    #[test]
    fn consistency_is_judged_by_rv_where_there_is_one() {
        let incoming = state("ot=th:8;rv:90000000000000");
        let decision = Decision::of_parent(&parent(&id("70000000000000"), true), &incoming);
        assert_eq!(decision.threshold, Threshold::from_hex("8"));
    }

    #[test]
    fn a_sampled_parent_without_threshold_has_none_to_pass_on() {
        let incoming = state("ot=rv:90000000000000,a=1");
        let decision = Decision::of_parent(&parent(&id("90000000000000"), true), &incoming);
        assert_eq!(decision, Decision::FORCE);
        assert_eq!(decision.update(&incoming), incoming);
    }

    #[test]
    fn an_unsampled_parent_is_followed_and_its_threshold_erased() {
        let incoming = state("ot=th:8;rv:70000000000000");
        let decision = Decision::of_parent(&parent(&id("90000000000000"), false), &incoming);
        assert_eq!(decision, Decision::DROP);
        assert_eq!(decision.update(&incoming).as_str(), "ot=rv:70000000000000");
    }

    #[test]
    fn a_forced_keep_erases_the_threshold() {
        assert_eq!(
            Decision::FORCE.update(&state("ot=th:8,a=1")).as_str(),
            "a=1"
        );
    }

    #[test]
    fn foreign_sub_keys_and_rv_are_kept_in_order() {
        let keep_all = Decision {
            sampled: true,
            threshold: Some(Threshold::KEEP_ALL),
        };
        let incoming = state("a=1,ot=p:8;th:c;rv:90000000000000;zz:Odd.-_");
        let updated = keep_all.update(&incoming);
        assert_eq!(
            updated.as_str(),
            "ot=p:8;rv:90000000000000;zz:Odd.-_;th:0,a=1"
        );
    }

    #[test]
    fn a_threshold_that_cannot_be_read_is_erased() {
        let incoming = state("ot=th:xyz;p:8");
        let decision = Decision::of_parent(&parent(&id("90000000000000"), true), &incoming);
        assert_eq!(decision.update(&incoming).as_str(), "ot=p:8");
    }

    #[test]
    fn a_member_that_would_grow_too_long_goes_without_a_threshold() {
        let keep_all = Decision {
            sampled: true,
            threshold: Some(Threshold::KEEP_ALL),
        };
        let fits = format!("ot=p:{}", "x".repeat(249));
        assert_eq!(
            keep_all.update(&state(&fits)).as_str(),
            format!("{fits};th:0")
        );
        let full = format!("ot=p:{}", "x".repeat(250));
        assert_eq!(keep_all.update(&state(&full)).as_str(), full);
        let stale = format!("{full};th:");
        assert_eq!(keep_all.update(&state(&stale)).as_str(), full);
    }
}
