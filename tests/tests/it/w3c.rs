//! W3C Trace Context, level 2, through a real Envoy: what goes in at the inbound listener, passes an
//! application that copies headers, and comes out of the outbound listener.
//!
//! The cases are those of the W3C's test suite: one test here for each of its 41, named alike.

use std::collections::HashSet;
use std::sync::OnceLock;

use anyhow::Result;
use serde_json::json;
use spanloom_tests::lab::{Delivery, EnvoyOptions, Lab, Message, Sink, Tracing};
use spanloom_wire::context::{TraceContext, TraceState};

const TRACE_ID: &str = "12345678901234567890123456789012";
const PARENT_ID: &str = "1234567890123456";
const PARENT: &str = "00-12345678901234567890123456789012-1234567890123456-01";

/// What came out of the outbound listener.
struct Sent {
    context: TraceContext,
    /// All `tracestate` headers, joined as their order is.
    tracestate: String,
}

impl Sent {
    /// The headers of a call must be valid, whatever came in.
    fn of(call: &Message) -> Self {
        let traceparent = call.headers.only("traceparent").expect("a traceparent");
        let context = TraceContext::from_traceparent(traceparent).expect("a valid traceparent");
        let values: Vec<_> = call
            .headers
            .all("tracestate")
            .map(|value| String::from_utf8_lossy(value))
            .collect();
        Self {
            context,
            tracestate: values.join(","),
        }
    }

    fn goes_on_with(&self, trace_id: &str) {
        assert_eq!(self.context.trace_id.to_string(), trace_id);
        assert_ne!(self.context.span_id.to_string(), PARENT_ID);
    }

    fn starts_anew(&self) {
        assert_ne!(self.context.trace_id.to_string(), TRACE_ID);
        assert_eq!(self.tracestate, "");
    }

    fn member(&self, key: &str) -> Option<String> {
        let state = TraceState::parse(self.tracestate.as_bytes()).expect("a valid tracestate");
        state.get(key).map(str::to_owned)
    }
}

/// The Envoy that all cases share; `None` without Envoy, which the test then says.
fn lab() -> Option<&'static Lab> {
    static LAB: OnceLock<Result<Option<Lab>>> = OnceLock::new();
    let start = || -> Result<Option<Lab>> {
        let Some((envoy, module)) = spanloom_tests::envoy_and_filter()? else {
            return Ok(None);
        };
        let sink = Sink::start()?;
        let configuration = json!({ "service_name": "orders" });
        let tracing = Tracing::Filter {
            module,
            configuration,
            delivery: Delivery::Inline,
        };
        Lab::start(&envoy, EnvoyOptions::new(tracing, sink.address())).map(Some)
    };
    match LAB.get_or_init(start) {
        Ok(Some(lab)) => Some(lab),
        Ok(None) => {
            spanloom_tests::not_run("Envoy: cargo xtask parts envoy");
            None
        }
        Err(error) => panic!("{error:#}"),
    }
}

/// Sends a request with these headers, the application calling `n_calls` times, and checks what the
/// calls carried.
fn check_calls(headers: &[(&str, &str)], n_calls: usize, check: impl FnOnce(&[Sent])) {
    let Some(lab) = lab() else { return };
    let headers: Vec<_> = headers
        .iter()
        .map(|(name, value)| (*name, value.as_bytes()))
        .collect();
    let outcome = lab.send(&headers, n_calls).expect("an answer");
    assert_eq!(outcome.answer.status(), 200);
    assert_eq!(outcome.calls.len(), n_calls);
    let sent: Vec<_> = outcome.calls.iter().map(Sent::of).collect();
    check(&sent);
}

fn check(headers: &[(&str, &str)], check: impl FnOnce(&Sent)) {
    check_calls(headers, 1, |sent| check(&sent[0]));
}

fn check_parent(traceparent: &str, expected: impl FnOnce(&Sent)) {
    check(&[("traceparent", traceparent)], expected);
}

fn check_state(tracestates: &[&str], expected: impl FnOnce(&Sent)) {
    let mut headers = vec![("traceparent", PARENT)];
    headers.extend(tracestates.iter().map(|value| ("tracestate", *value)));
    check(&headers, |sent| {
        sent.goes_on_with(TRACE_ID);
        expected(sent);
    });
}

fn check_state_dropped(tracestates: &[&str]) {
    check_state(tracestates, |sent| assert_eq!(sent.tracestate, ""));
}

#[test]
fn both_traceparent_and_tracestate_missing() {
    check(&[], |sent| assert!(sent.context.flags.is_random()));
}

#[test]
fn traceparent_included_tracestate_missing() {
    check_parent(PARENT, |sent| sent.goes_on_with(TRACE_ID));
}

#[test]
fn traceparent_duplicated() {
    let other = "00-12345678901234567890123456789011-1234567890123456-01";
    check(&[("traceparent", other), ("traceparent", PARENT)], |sent| {
        sent.starts_anew();
        assert_ne!(
            sent.context.trace_id.to_string(),
            "12345678901234567890123456789011"
        );
    });
}

#[test]
fn traceparent_header_name() {
    check(&[("trace-parent", PARENT)], Sent::starts_anew);
    check(&[("trace.parent", PARENT)], Sent::starts_anew);
}

#[test]
fn traceparent_header_name_valid_casing() {
    for name in ["TraceParent", "TrAcEpArEnT", "TRACEPARENT"] {
        check(&[(name, PARENT)], |sent| sent.goes_on_with(TRACE_ID));
    }
}

#[test]
fn traceparent_version_0x00() {
    check_parent(&format!("{PARENT}."), Sent::starts_anew);
    check_parent(
        &format!("{PARENT}-what-the-future-will-be-like"),
        Sent::starts_anew,
    );
}

#[test]
fn traceparent_version_0xcc() {
    let future = PARENT.replacen("00", "cc", 1);
    check_parent(&future, |sent| sent.goes_on_with(TRACE_ID));
    let longer = format!("{future}-what-the-future-will-be-like");
    check_parent(&longer, |sent| sent.goes_on_with(TRACE_ID));
    check_parent(
        &format!("{future}.what-the-future-will-be-like"),
        Sent::starts_anew,
    );
}

#[test]
fn traceparent_version_0xff() {
    check_parent(&PARENT.replacen("00", "ff", 1), Sent::starts_anew);
}

#[test]
fn traceparent_version_illegal_characters() {
    check_parent(&PARENT.replacen("00", ".0", 1), Sent::starts_anew);
    check_parent(&PARENT.replacen("00", "0.", 1), Sent::starts_anew);
}

#[test]
fn traceparent_version_too_long() {
    check_parent(&format!("0{PARENT}"), Sent::starts_anew);
    check_parent(&format!("00{PARENT}"), Sent::starts_anew);
}

#[test]
fn traceparent_version_too_short() {
    check_parent(&PARENT[1..], Sent::starts_anew);
}

/// A `traceparent` whose fields are these.
fn parent_of(trace_id: &str, parent_id: &str, flags: &str) -> String {
    format!("00-{trace_id}-{parent_id}-{flags}")
}

#[test]
fn traceparent_trace_id_all_zero() {
    check_parent(
        &parent_of(&"0".repeat(32), PARENT_ID, "01"),
        Sent::starts_anew,
    );
}

#[test]
fn traceparent_trace_id_illegal_characters() {
    check_parent(
        &parent_of(&format!(".{}", &TRACE_ID[1..]), PARENT_ID, "01"),
        Sent::starts_anew,
    );
    check_parent(
        &parent_of(&format!("{}.", &TRACE_ID[1..]), PARENT_ID, "01"),
        Sent::starts_anew,
    );
}

#[test]
fn traceparent_trace_id_too_long() {
    check_parent(
        &parent_of(&format!("{TRACE_ID}3"), PARENT_ID, "01"),
        |sent| {
            sent.starts_anew();
            assert_ne!(
                sent.context.trace_id.to_string(),
                "23456789012345678901234567890123"
            );
        },
    );
}

#[test]
fn traceparent_trace_id_too_short() {
    check_parent(
        &parent_of(&TRACE_ID[1..], PARENT_ID, "01"),
        Sent::starts_anew,
    );
}

#[test]
fn traceparent_parent_id_all_zero() {
    check_parent(
        &parent_of(TRACE_ID, &"0".repeat(16), "01"),
        Sent::starts_anew,
    );
}

#[test]
fn traceparent_parent_id_illegal_characters() {
    check_parent(
        &parent_of(TRACE_ID, &format!(".{}", &PARENT_ID[1..]), "01"),
        Sent::starts_anew,
    );
    check_parent(
        &parent_of(TRACE_ID, &format!("{}.", &PARENT_ID[1..]), "01"),
        Sent::starts_anew,
    );
}

#[test]
fn traceparent_parent_id_too_long() {
    check_parent(
        &parent_of(TRACE_ID, &format!("{PARENT_ID}7"), "01"),
        Sent::starts_anew,
    );
}

#[test]
fn traceparent_parent_id_too_short() {
    check_parent(
        &parent_of(TRACE_ID, &PARENT_ID[1..], "01"),
        Sent::starts_anew,
    );
}

#[test]
fn traceparent_trace_flags_illegal_characters() {
    check_parent(&parent_of(TRACE_ID, PARENT_ID, ".0"), Sent::starts_anew);
    check_parent(&parent_of(TRACE_ID, PARENT_ID, "0."), Sent::starts_anew);
}

#[test]
fn traceparent_trace_flags_too_long() {
    check_parent(&parent_of(TRACE_ID, PARENT_ID, "001"), Sent::starts_anew);
}

#[test]
fn traceparent_trace_flags_too_short() {
    check_parent(&parent_of(TRACE_ID, PARENT_ID, "1"), Sent::starts_anew);
}

#[test]
fn traceparent_ows_handling() {
    for (before, after) in [(" ", ""), ("\t", ""), ("", " "), ("", "\t"), ("\t ", " \t")] {
        let padded = format!("{before}{PARENT}{after}");
        check_parent(&padded, |sent| sent.goes_on_with(TRACE_ID));
    }
}

#[test]
fn tracestate_included_traceparent_missing() {
    check(&[("tracestate", "foo=1")], |sent| {
        assert_eq!(sent.member("foo"), None);
    });
    check(&[("tracestate", "foo=1,bar=2")], |sent| {
        assert_eq!(sent.member("foo"), None);
    });
}

#[test]
fn tracestate_included_traceparent_included() {
    check_state(&["foo=1,bar=2"], |sent| {
        assert_eq!(sent.member("foo").as_deref(), Some("1"));
        assert_eq!(sent.member("bar").as_deref(), Some("2"));
    });
}

#[test]
fn tracestate_header_name() {
    for name in ["trace-state", "trace.state"] {
        check(&[("traceparent", PARENT), (name, "foo=1")], |sent| {
            assert_eq!(sent.tracestate, "");
        });
    }
}

#[test]
fn tracestate_header_name_valid_casing() {
    for name in ["TraceState", "TrAcEsTaTe", "TRACESTATE"] {
        check(&[("traceparent", PARENT), (name, "foo=1")], |sent| {
            assert_eq!(sent.member("foo").as_deref(), Some("1"));
        });
    }
}

#[test]
fn tracestate_empty_header() {
    check_state(&[""], |sent| assert_eq!(sent.tracestate, ""));
    check_state(&["foo=1", ""], |sent| {
        assert_eq!(sent.member("foo").as_deref(), Some("1"));
    });
    check_state(&["", "foo=1"], |sent| {
        assert_eq!(sent.member("foo").as_deref(), Some("1"));
    });
}

#[test]
fn tracestate_multiple_headers_different_keys() {
    check_state(&["foo=1,bar=2", "rojo=1,congo=2", "baz=3"], |sent| {
        let members: Vec<_> = sent.tracestate.split(',').map(str::trim).collect();
        assert_eq!(members, ["foo=1", "bar=2", "rojo=1", "congo=2", "baz=3"]);
    });
}

#[test]
fn tracestate_duplicated_keys() {
    for states in [
        &["foo=1,foo=1"][..],
        &["foo=1,foo=2"],
        &["foo=1", "foo=1"],
        &["foo=1", "foo=2"],
    ] {
        check_state(states, |sent| {
            assert!(["1", "2"].contains(&sent.member("foo").as_deref().expect("foo")));
        });
    }
}

#[test]
fn tracestate_all_allowed_characters() {
    let key = "abcdefghijklmnopqrstuvwxyz0123456789_-*/";
    let value: String = (' '..='~').filter(|c| ![',', '='].contains(c)).collect();
    for key in [key.to_owned(), format!("{key}@a-z0-9_-*/")] {
        check_state(&[&format!("{key}={value}")], |sent| {
            assert_eq!(sent.member(&key).as_ref(), Some(&value));
        });
    }
}

#[test]
fn tracestate_ows_handling() {
    for state in [
        "foo=1 \t , \t bar=2, \t baz=3",
        "foo=1\t \t,\t \tbar=2,\t \tbaz=3",
    ] {
        check_state(&[state], |sent| {
            for (key, value) in [("foo", "1"), ("bar", "2"), ("baz", "3")] {
                assert_eq!(sent.member(key).as_deref(), Some(value));
            }
        });
    }
    for state in [" foo=1", "\tfoo=1", "foo=1 ", "foo=1\t", "\t foo=1 \t"] {
        check_state(&[state], |sent| {
            assert_eq!(sent.member("foo").as_deref(), Some("1"));
        });
    }
}

#[test]
fn tracestate_key_illegal_characters() {
    for state in ["foo =1", "FOO=1", "foo.bar=1"] {
        check_state_dropped(&[state]);
    }
}

#[test]
fn tracestate_key_illegal_vendor_format() {
    // Level 2 gives `@` no meaning, but a key still must not begin with it.
    check_state_dropped(&["@foo=1,bar=2"]);
    check_state(&["foo@=1,bar=2"], |sent| {
        assert_eq!(sent.member("bar").as_deref(), Some("2"));
    });
}

#[test]
fn tracestate_member_count_limit() {
    let members = |n: usize| {
        (1..=n)
            .map(|i| format!("bar{i:02}={i:02}"))
            .collect::<Vec<_>>()
    };
    let lines = |n: usize| -> Vec<String> { members(n).chunks(10).map(|c| c.join(",")).collect() };
    let of = |lines: &[String], check: &dyn Fn(&Sent)| {
        let lines: Vec<_> = lines.iter().map(String::as_str).collect();
        check_state(&lines, |sent| check(sent));
    };
    of(&lines(32), &|sent| {
        assert_eq!(sent.member("bar01").as_deref(), Some("01"));
        assert_eq!(sent.tracestate.split(',').count(), 32);
    });
    of(&lines(33), &|sent| assert_eq!(sent.tracestate, ""));
}

#[test]
fn tracestate_key_length_limit() {
    let key = |n: usize| format!("{}=1", "z".repeat(n));
    check_state(&["foo=1", &key(256)], |sent| {
        assert_eq!(sent.member("foo").as_deref(), Some("1"));
    });
    check_state_dropped(&["foo=1", &key(257)]);
    check_state(
        &[
            "foo=1",
            &format!("{}@{}=1", "t".repeat(241), "v".repeat(14)),
        ],
        |sent| {
            assert_eq!(sent.member("foo").as_deref(), Some("1"));
        },
    );
}

#[test]
fn tracestate_value_illegal_characters() {
    check_state_dropped(&["foo=bar=baz"]);
    check_state_dropped(&["foo=,bar=3"]);
}

/// The trace ids and the span ids of several calls of one request.
fn ids(sent: &[Sent]) -> (HashSet<String>, HashSet<String>) {
    sent.iter()
        .map(|sent| {
            (
                sent.context.trace_id.to_string(),
                sent.context.span_id.to_string(),
            )
        })
        .unzip()
}

#[test]
fn multiple_requests_with_valid_traceparent() {
    check_calls(&[("traceparent", PARENT)], 3, |sent| {
        let (trace_ids, span_ids) = ids(sent);
        assert_eq!(trace_ids, HashSet::from([TRACE_ID.to_owned()]));
        assert_eq!(span_ids.len(), 3);
    });
}

#[test]
fn multiple_requests_without_traceparent() {
    check_calls(&[], 3, |sent| assert_eq!(ids(sent).1.len(), 3));
}

#[test]
fn multiple_requests_with_illegal_traceparent() {
    let illegal = parent_of(&"0".repeat(32), PARENT_ID, "01");
    check_calls(&[("traceparent", &illegal)], 3, |sent| {
        let (trace_ids, span_ids) = ids(sent);
        assert!(!trace_ids.contains(&"0".repeat(32)));
        assert_eq!(span_ids.len(), 3);
    });
}

#[test]
fn traceparent_random_flag() {
    for (flags, is_random) in [("00", false), ("01", false), ("02", true), ("03", true)] {
        check_parent(&parent_of(TRACE_ID, PARENT_ID, flags), |sent| {
            // An unsampled context may pass on as it came: there is no span to be the next parent.
            assert_eq!(sent.context.trace_id.to_string(), TRACE_ID);
            assert_eq!(sent.context.flags.is_random(), is_random);
        });
    }
}
