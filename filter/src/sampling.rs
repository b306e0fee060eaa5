//! Which requests are recorded.

use spanloom_wire::TraceId;
use spanloom_wire::context::TraceContext;

use crate::config::Sampling;

/// Whether the request with this trace is recorded. A request that continues a trace follows its
/// caller; a new trace is recorded by the low 56 bits of its id, as OpenTelemetry's consistent
/// probability sampling has it.
pub(crate) fn is_sampled(sampling: &Sampling, parent: Option<TraceContext>, id: TraceId) -> bool {
    match parent {
        Some(parent) => parent.flags.is_sampled(),
        None => {
            const MAX: u64 = 1 << 56;
            let [_, _, _, _, _, _, _, _, _, low @ ..] = id.to_bytes();
            let [a, b, c, d, e, f, g] = low;
            let randomness = u64::from_be_bytes([0, a, b, c, d, e, f, g]);
            #[expect(
                clippy::cast_precision_loss,
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a share of 2^56 from a ratio between 0 and 1"
            )]
            let threshold = ((1.0 - sampling.ratio) * MAX as f64) as u64;
            randomness >= threshold
        }
    }
}
