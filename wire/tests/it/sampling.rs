//! Consistent sampling on arbitrary ratios and `ot` members.

use proptest::prelude::*;
use spanloom_wire::TraceId;
use spanloom_wire::context::TraceState;
use spanloom_wire::sampling::{Decision, Randomness, Threshold, randomness, threshold};

fn id() -> impl Strategy<Value = TraceId> {
    (1..=u128::MAX).prop_map(|id| TraceId::from_bytes(id.to_be_bytes()).expect("not zero"))
}

proptest! {
    #[test]
    fn a_threshold_keeps_nearly_the_ratio_that_it_was_made_from(exponent in 0.0..55.0_f64) {
        let ratio = (-exponent).exp2();
        let kept = Threshold::from_ratio(ratio).unwrap().ratio();
        // Four significant digits of 16, or what 56 bits can tell apart.
        let tolerance = ratio / 4096.0 + 2_f64.powi(-56);
        prop_assert!((kept - ratio).abs() <= tolerance, "{} became {}", ratio, kept);
    }

    #[test]
    fn what_a_lower_ratio_keeps_a_higher_one_keeps(id in id(), a in 0.0..1.0_f64, b in 0.0..1.0_f64) {
        let kept = |ratio| {
            Decision::independent(Threshold::from_ratio(ratio), Randomness::from_trace_id(id)).sampled
        };
        prop_assert!(!kept(a.min(b)) || kept(a.max(b)));
    }

    #[test]
    fn a_decision_is_read_back_as_it_was_written(
        ratio in 0.0..=1.0_f64,
        id in id(),
        incoming in "(ot=(th:[0-9a-f]{1,14};)?(rv:[0-9a-f]{14};)?p:8)?(,a=1)?",
    ) {
        let incoming = TraceState::parse(incoming.as_bytes()).unwrap();
        let before = randomness(id, &incoming);
        let decision = Decision::independent(Threshold::from_ratio(ratio), before);
        let updated = decision.update(&incoming);
        prop_assert_eq!(threshold(&updated), decision.threshold);
        prop_assert_eq!(randomness(id, &updated), before);
        prop_assert_eq!(updated.get("a"), incoming.get("a"));
        prop_assert_eq!(decision.update(&updated), updated);
    }

    #[test]
    fn any_ot_member_is_safe_to_handle(
        value in "[thrv:;0-9a-fz]{1,40}", long in 0..300usize, ratio in 0.0..=1.0_f64, id in id(),
    ) {
        let member = format!("ot={value}{}", "x".repeat(long));
        let Ok(incoming) = TraceState::parse(member.as_bytes()) else { return Ok(()) };
        let decision = Decision::independent(
            Threshold::from_ratio(ratio), randomness(id, &incoming),
        );
        for decision in [decision, Decision::DROP, Decision::FORCE] {
            let updated = decision.update(&incoming);
            prop_assert!(TraceState::parse(updated.as_str().as_bytes()).is_ok());
            // Too long a member loses the threshold, never gets another.
            let read = threshold(&updated);
            prop_assert!(read.is_none() || read == decision.threshold);
        }
    }
}
