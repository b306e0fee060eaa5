//! The context of a request from arbitrary header values.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use spanloom_wire::context::{MEMBERS_MAX, TraceContext, TraceFlags, TraceState, extract};
use spanloom_wire::{SpanId, TraceId};

fn context() -> impl Strategy<Value = TraceContext> {
    (1..=u128::MAX, 1..=u64::MAX, any::<u8>()).prop_map(|(trace_id, span_id, flags)| TraceContext {
        trace_id: TraceId::from_bytes(trace_id.to_be_bytes()).expect("not zero"),
        span_id: SpanId::from_bytes(span_id.to_be_bytes()).expect("not zero"),
        flags: TraceFlags::from_bits(flags),
    })
}

fn key() -> impl Strategy<Value = String> {
    "[a-z0-9][a-z0-9_*/@-]{0,12}"
}

fn value() -> impl Strategy<Value = String> {
    "[ -~&&[^,=]]{0,12}[!-~&&[^,=]]"
}

proptest! {
    #[test]
    fn traceparent_round_trips(context in context()) {
        let written = context.to_traceparent();
        prop_assert_eq!(TraceContext::from_traceparent(&written), Ok(context));
    }

    #[test]
    fn traceparent_with_one_other_byte_never_has_another_meaning_than_written(
        context in context(), at in any::<Index>(), byte: u8,
    ) {
        let mut value = context.to_traceparent();
        value[at.index(value.len())] = byte;
        if let Ok(read) = TraceContext::from_traceparent(&value) {
            // Version and flags may have changed to others that are read the same.
            let written = read.to_traceparent();
            prop_assert_eq!(&written[2..53], &value[2..53]);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(
        traceparent in vec(vec(any::<u8>(), 0..80), 0..3),
        tracestate in vec(vec(any::<u8>(), 0..80), 0..3),
    ) {
        let _ = extract(traceparent.iter().map(Vec::as_slice), tracestate.iter().map(Vec::as_slice));
    }

    #[test]
    fn text_that_looks_like_tracestate_is_safe_to_handle(
        text in "[a-c=, \t@A]{0,40}", bytes_max in 0..50usize,
    ) {
        if let Ok(state) = TraceState::parse(text.as_bytes()) {
            prop_assert_eq!(state.as_str(), &text);
            prop_assert!(state.fitted(bytes_max).as_str().len() <= bytes_max);
            check_rules(&state.with("ot", "th:8").unwrap());
            check_rules(&state.without("a"));
        }
    }

    #[test]
    fn members_are_read_as_written(
        members in proptest::collection::hash_map(key(), value(), 0..=MEMBERS_MAX),
        spaces in "[ \t]{0,2}",
    ) {
        let text: Vec<_> = members.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let text = text.join(&format!("{spaces},{spaces}"));
        let state = TraceState::parse(text.as_bytes()).unwrap();
        prop_assert_eq!(state.members().count(), members.len());
        for (key, value) in &members {
            prop_assert_eq!(state.get(key), Some(value.as_str()));
        }
    }

    #[test]
    fn setting_and_removing_touch_one_member(
        members in proptest::collection::hash_map(key(), value(), 0..MEMBERS_MAX),
        key in key(),
        value in value(),
    ) {
        let text: Vec<_> = members.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let text = text.join(",");
        let before = TraceState::parse(text.as_bytes()).unwrap();
        let after = before.with(&key, &value).unwrap();
        check_rules(&after);
        prop_assert_eq!(after.get(&key), Some(value.as_str()));
        prop_assert!(after.without(&key).members().eq(before.without(&key).members()));
    }
}

/// Whatever we write, others must accept.
fn check_rules(state: &TraceState<'_>) {
    assert_eq!(
        TraceState::parse(state.as_str().as_bytes()).as_ref(),
        Ok(state)
    );
}
