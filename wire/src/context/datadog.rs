//! Datadog's format: ids are decimal numbers of 64 bits, and the high half of a trace id of 128 bits
//! travels as the tag `_dd.p.tid` among others in `x-datadog-tags`.
//!
//! `x-datadog-origin` and the other tags pass through.

use super::format::{Caller, Format, Outgoing, Parent, SamplingState, put};
use super::trim;
use crate::{SpanId, TraceId};

pub(super) const TRACE_ID: &str = "x-datadog-trace-id";
pub(super) const PARENT_ID: &str = "x-datadog-parent-id";
pub(super) const SAMPLING_PRIORITY: &str = "x-datadog-sampling-priority";
pub(super) const TAGS: &str = "x-datadog-tags";

/// The tag with the high half of the trace id: 16 hexadecimal digits.
const HIGH_HALF_TAG: &[u8] = b"_dd.p.tid=";

pub(super) fn extract<V: AsRef<[u8]>>(
    get: &mut impl FnMut(&'static str) -> Option<V>,
) -> Option<Caller> {
    let low = number(get(TRACE_ID)?.as_ref()).filter(|low| *low != 0)?;
    let high = get(TAGS)
        .and_then(|tags| high_half(tags.as_ref()))
        .unwrap_or_default();
    let trace_id = (u128::from(high) << 64 | u128::from(low)).to_be_bytes();
    let trace_id = TraceId::from_bytes(trace_id)?;
    // A browser that starts a trace sends no parent, or 0.
    let parent_id = match get(PARENT_ID) {
        Some(id) => number(id.as_ref())?,
        None => 0,
    };
    let parent = match SpanId::from_bytes(parent_id.to_be_bytes()) {
        Some(span_id) => Parent::Span(trace_id, span_id),
        None => Parent::Trace(trace_id),
    };
    let priority = get(SAMPLING_PRIORITY);
    let sampled = priority.and_then(|priority| is_sampled(priority.as_ref()));
    let sampling = sampled.map_or(SamplingState::Deferred, SamplingState::from_sampled);
    Some(Caller {
        format: Format::Datadog,
        parent,
        sampling,
        random: false,
    })
}

pub(super) fn inject<V: AsRef<[u8]>>(
    outgoing: &Outgoing,
    get: &mut impl FnMut(&'static str) -> Option<V>,
    set: &mut impl FnMut(&'static str, Option<&[u8]>),
) {
    let context = outgoing.context;
    let trace_id = u128::from_be_bytes(context.trace_id.to_bytes());
    put(
        TRACE_ID,
        Some(Decimal::new(trace_id as u64).as_bytes()),
        get,
        set,
    );
    let span_id = u64::from_be_bytes(context.span_id.to_bytes());
    put(PARENT_ID, Some(Decimal::new(span_id).as_bytes()), get, set);

    // A priority also says who decided, so one that says the same is left alone.
    let sampled = context.flags.is_sampled();
    let priority = get(SAMPLING_PRIORITY);
    if priority.and_then(|priority| is_sampled(priority.as_ref())) != Some(sampled) {
        set(SAMPLING_PRIORITY, Some(if sampled { b"1" } else { b"0" }));
    }

    let tags = get(TAGS);
    let tags = tags.as_ref().map(AsRef::as_ref).unwrap_or_default();
    let high = (trace_id >> 64) as u64;
    if high_half(tags).unwrap_or_default() != high {
        let tags = with_high_half(tags, high);
        set(TAGS, (!tags.is_empty()).then_some(&tags));
    }
}

fn with_high_half(tags: &[u8], high: u64) -> Vec<u8> {
    let mut changed = Vec::with_capacity(tags.len() + HIGH_HALF_TAG.len() + 17);
    if let Some(high) = SpanId::from_bytes(high.to_be_bytes()) {
        changed.extend_from_slice(HIGH_HALF_TAG);
        changed.extend_from_slice(&high.to_hex());
    }
    for tag in tags.split(|byte| *byte == b',') {
        if !tag.is_empty() && !tag.starts_with(HIGH_HALF_TAG) {
            if !changed.is_empty() {
                changed.push(b',');
            }
            changed.extend_from_slice(tag);
        }
    }
    changed
}

/// The high half of the trace id; `None` where the tag is absent or broken.
fn high_half(tags: &[u8]) -> Option<u64> {
    let mut tags = tags.split(|byte| *byte == b',');
    let digits = tags.find_map(|tag| trim(tag).strip_prefix(HIGH_HALF_TAG))?;
    SpanId::from_hex(digits)
        .ok()
        .map(|half| u64::from_be_bytes(half.to_bytes()))
}

/// -1 and 0 drop, 1 and 2 keep.
fn is_sampled(priority: &[u8]) -> Option<bool> {
    match trim(priority) {
        [b'-', digits @ ..] => number(digits).map(|_| false),
        digits => number(digits).map(|priority| priority > 0),
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    let digits = trim(digits);
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, digit| match digit {
        b'0'..=b'9' => number.checked_mul(10)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    })
}

/// A number as decimal digits, without the weight of `format!`.
struct Decimal {
    digits: [u8; 20],
    n_digits: usize,
}

impl Decimal {
    fn new(number: u64) -> Self {
        let mut digits = [b'0'; 20];
        let mut n_digits = 0;
        let mut rest = number;
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
            n_digits += 1;
            if rest == 0 {
                break;
            }
        }
        Self { digits, n_digits }
    }

    fn as_bytes(&self) -> &[u8] {
        self.digits
            .get(self.digits.len() - self.n_digits..)
            .unwrap_or_default()
    }
}
