//! The formats of other tracing systems, rule by rule, and all of them round and round.

use std::cell::RefCell;
use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use spanloom_wire::context::{
    Caller, Format, Outgoing, Parent, SamplingState, TraceContext, TraceFlags, extract_first,
    inject_in_kind,
};
use spanloom_wire::{SpanId, TraceId, baggage};

const TRACE: &str = "463ac35c9f6413ad48485a3953bb6124";
const SPAN: &str = "a2fb4a1d1a96d312";
const OTHER: &str = "0020000000000001";

/// A request's headers. Changes are noted, so that needless ones are seen.
#[derive(Default)]
struct Headers {
    values: RefCell<BTreeMap<String, Vec<u8>>>,
    changed: RefCell<Vec<&'static str>>,
}

impl Headers {
    fn new(values: &[(&str, &str)]) -> Self {
        let values = values
            .iter()
            .map(|(k, v)| ((*k).to_owned(), v.as_bytes().to_vec()));
        Self {
            values: RefCell::new(values.collect()),
            changed: RefCell::default(),
        }
    }

    fn get(&self, name: &str) -> Option<Vec<u8>> {
        self.values.borrow().get(name).cloned()
    }

    fn set(&self, name: &'static str, value: Option<&[u8]>) {
        self.changed.borrow_mut().push(name);
        match value {
            Some(value) => self
                .values
                .borrow_mut()
                .insert(name.to_owned(), value.to_vec()),
            None => self.values.borrow_mut().remove(name),
        };
    }

    fn text(&self, name: &str) -> Option<String> {
        self.get(name)
            .map(|value| String::from_utf8(value).expect("text"))
    }

    fn extract(&self, format: Format) -> Option<Caller> {
        format.extract(&mut |name| self.get(name))
    }

    fn inject(&self, format: Format, outgoing: &Outgoing) {
        format.inject(outgoing, &mut |name| self.get(name), &mut |name, value| {
            self.set(name, value);
        });
    }
}

fn trace_id(digits: &str) -> TraceId {
    digits.parse().expect("a trace id")
}

fn span_id(digits: &str) -> SpanId {
    digits.parse().expect("a span id")
}

fn outgoing(sampled: bool) -> Outgoing {
    Outgoing {
        context: TraceContext {
            trace_id: trace_id(TRACE),
            span_id: span_id(OTHER),
            flags: TraceFlags::NONE.with_sampled(sampled),
        },
        parent: Some(span_id(SPAN)),
        debug: false,
    }
}

const KEEP: SamplingState = SamplingState::Keep;
const DROP: SamplingState = SamplingState::Drop;
const DEFERRED: SamplingState = SamplingState::Deferred;
const DEBUG: SamplingState = SamplingState::Debug;

#[track_caller]
fn check_span(format: Format, headers: &[(&str, &str)], trace: &str, sampling: SamplingState) {
    let parent = Parent::Span(trace_id(trace), span_id(SPAN));
    check_caller(format, headers, parent, sampling);
}

#[track_caller]
fn check_caller(format: Format, headers: &[(&str, &str)], parent: Parent, sampling: SamplingState) {
    let expected = Caller {
        format,
        parent,
        sampling,
        random: false,
    };
    assert_eq!(
        Headers::new(headers).extract(format),
        Some(expected),
        "{headers:?}"
    );
}

#[track_caller]
fn check_refused(format: Format, headers: &[(&str, &str)]) {
    assert_eq!(Headers::new(headers).extract(format), None, "{headers:?}");
}

#[track_caller]
fn check_injected(
    format: Format,
    before: &[(&str, &str)],
    outgoing: &Outgoing,
    after: &[(&str, &str)],
) {
    let headers = Headers::new(before);
    headers.inject(format, outgoing);
    assert_eq!(
        *headers.values.borrow(),
        *Headers::new(after).values.borrow()
    );
}

#[test]
fn b3_single_has_ids_and_a_sampling_state() {
    let b3 = |value: &str| check_span(Format::B3, &[("b3", value)], TRACE, DEFERRED);
    b3(&format!("{TRACE}-{SPAN}"));
    b3(&format!(" {TRACE}-{SPAN}\t"));
    for (state, sampling) in [("0", DROP), ("1", KEEP), ("d", DEBUG)] {
        let value = format!("{TRACE}-{SPAN}-{state}");
        check_span(Format::B3, &[("b3", &value)], TRACE, sampling);
        let value = format!("{TRACE}-{SPAN}-{state}-{OTHER}");
        check_span(Format::B3, &[("b3", &value)], TRACE, sampling);
    }
}

#[test]
fn b3_ids_may_be_upper_case_and_trace_ids_half_as_long() {
    let upper = format!("{}-{}-1", TRACE.to_uppercase(), SPAN.to_uppercase());
    check_span(Format::B3, &[("b3", &upper)], TRACE, KEEP);
    let short = format!("{}-{SPAN}-1", &TRACE[16..]);
    let padded = format!("{}{}", "0".repeat(16), &TRACE[16..]);
    check_span(Format::B3, &[("b3", &short)], &padded, KEEP);
    let headers = [("x-b3-traceid", &TRACE[16..]), ("x-b3-spanid", SPAN)];
    check_span(Format::B3Multi, &headers, &padded, DEFERRED);
}

#[test]
fn b3_may_be_a_decision_alone() {
    for (state, sampling) in [("0", DROP), ("1", KEEP), ("d", DEBUG)] {
        check_caller(Format::B3, &[("b3", state)], Parent::None, sampling);
    }
    check_caller(
        Format::B3Multi,
        &[("x-b3-sampled", "0")],
        Parent::None,
        DROP,
    );
    check_caller(Format::B3Multi, &[("x-b3-flags", "1")], Parent::None, DEBUG);
}

#[test]
fn broken_b3_is_refused() {
    for value in [
        "".to_owned(),
        "2".to_owned(),
        TRACE.to_owned(),
        format!("{TRACE}-"),
        format!("{TRACE}-{SPAN}-"),
        format!("{TRACE}-{SPAN}-2"),
        format!("{TRACE}-{SPAN}-1-"),
        format!("{TRACE}-{SPAN}-1-{SPAN}-"),
        format!("{TRACE}-{SPAN}-1-x{}", &SPAN[1..]),
        format!("{}-{SPAN}-1", "0".repeat(32)),
        format!("{TRACE}-{}-1", "0".repeat(16)),
        format!("{}-{SPAN}-1", &TRACE[1..]),
        format!("x{}-{SPAN}-1", &TRACE[1..]),
    ] {
        check_refused(Format::B3, &[("b3", &value)]);
    }
    check_refused(Format::B3Multi, &[]);
    check_refused(
        Format::B3Multi,
        &[("x-b3-traceid", TRACE), ("x-b3-sampled", "1")],
    );
    check_refused(
        Format::B3Multi,
        &[("x-b3-spanid", SPAN), ("x-b3-sampled", "1")],
    );
    let ids = [("x-b3-traceid", TRACE), ("x-b3-spanid", SPAN)];
    check_refused(
        Format::B3Multi,
        &[&ids[..], &[("x-b3-sampled", "yes")]].concat(),
    );
}

#[test]
fn b3_multi_has_a_decision_in_old_words_too() {
    let ids = [("x-b3-traceid", TRACE), ("x-b3-spanid", SPAN)];
    check_span(Format::B3Multi, &ids, TRACE, DEFERRED);
    for (text, sampling) in [
        ("1", KEEP),
        ("0", DROP),
        ("true", KEEP),
        ("false", DROP),
        ("True", KEEP),
        ("", DEFERRED),
    ] {
        let headers = [&ids[..], &[("x-b3-sampled", text)]].concat();
        check_span(Format::B3Multi, &headers, TRACE, sampling);
    }
}

#[test]
fn b3_multi_debug_implies_sampled() {
    let ids = [("x-b3-traceid", TRACE), ("x-b3-spanid", SPAN)];
    let headers = [&ids[..], &[("x-b3-flags", "1"), ("x-b3-sampled", "0")]].concat();
    check_span(Format::B3Multi, &headers, TRACE, DEBUG);
    let headers = [&ids[..], &[("x-b3-flags", "0"), ("x-b3-sampled", "0")]].concat();
    check_span(Format::B3Multi, &headers, TRACE, DROP);
}

#[test]
fn b3_single_wins_over_several_headers() {
    let single = format!("{TRACE}-{SPAN}-0");
    let headers = Headers::new(&[
        ("b3", &single),
        ("x-b3-traceid", &TRACE[16..]),
        ("x-b3-spanid", OTHER),
        ("x-b3-sampled", "1"),
    ]);
    let caller = extract_first(&Format::ALL, |name| headers.get(name)).unwrap();
    assert_eq!((caller.format, caller.sampling), (Format::B3, DROP));
}

#[test]
fn b3_is_written() {
    let kept = format!("{TRACE}-{OTHER}-1");
    check_injected(
        Format::B3,
        &[("b3", "0")],
        &outgoing(true),
        &[("b3", &kept)],
    );
    let dropped = format!("{TRACE}-{OTHER}-0");
    check_injected(Format::B3, &[], &outgoing(false), &[("b3", &dropped)]);
    let debug = Outgoing {
        debug: true,
        ..outgoing(true)
    };
    check_injected(
        Format::B3,
        &[],
        &debug,
        &[("b3", &format!("{TRACE}-{OTHER}-d"))],
    );
    let ids = [("x-b3-traceid", TRACE), ("x-b3-spanid", OTHER)];
    let after = [&ids[..], &[("x-b3-sampled", "1")]].concat();
    check_injected(Format::B3Multi, &[], &outgoing(true), &after);
}

#[test]
fn b3_multi_headers_that_would_be_wrong_now_are_corrected_or_removed() {
    let before = [
        ("x-b3-traceid", TRACE),
        ("x-b3-spanid", SPAN),
        ("x-b3-parentspanid", "0000000000000007"),
        ("x-b3-sampled", "0"),
    ];
    let debug = Outgoing {
        debug: true,
        ..outgoing(true)
    };
    let ids = [("x-b3-traceid", TRACE), ("x-b3-spanid", OTHER)];
    let after = [
        &ids[..],
        &[("x-b3-parentspanid", SPAN), ("x-b3-flags", "1")],
    ]
    .concat();
    check_injected(Format::B3Multi, &before, &debug, &after);
    let root = Outgoing {
        parent: None,
        ..outgoing(false)
    };
    let after_root = [&ids[..], &[("x-b3-sampled", "0")]].concat();
    check_injected(Format::B3Multi, &after, &root, &after_root);
}

#[test]
fn jaeger_ids_may_have_lost_their_zeros_and_colons_may_be_encoded() {
    let trace = "0000000000000000000000000000abcd";
    let headers = [("uber-trace-id", &*format!("abcd:{SPAN}:0:1"))];
    check_span(Format::Jaeger, &headers, trace, KEEP);
    for colon in ["%3A", "%3a"] {
        let value = [TRACE, SPAN, "0", "1"].join(colon);
        check_span(Format::Jaeger, &[("uber-trace-id", &value)], TRACE, KEEP);
    }
    let parent = Parent::Span(trace_id(TRACE), span_id("0000000000000007"));
    let value = format!("{TRACE}:7:{SPAN}:0");
    check_caller(Format::Jaeger, &[("uber-trace-id", &value)], parent, DROP);
}

#[test]
fn jaeger_flags_are_bits() {
    for (flags, sampling) in [
        ("0", DROP),
        ("1", KEEP),
        ("01", KEEP),
        ("2", DEBUG),
        ("3", DEBUG),
        ("03", DEBUG),
        ("8", DROP),
        ("9", KEEP),
        ("f1", KEEP),
    ] {
        let value = format!("{TRACE}:{SPAN}:0:{flags}");
        check_span(
            Format::Jaeger,
            &[("uber-trace-id", &value)],
            TRACE,
            sampling,
        );
    }
}

#[test]
fn broken_jaeger_is_refused() {
    for value in [
        "".to_owned(),
        format!("{TRACE}:{SPAN}:0"),
        format!("{TRACE}:{SPAN}:0:"),
        format!("{TRACE}:{SPAN}:0:001"),
        format!("{TRACE}:{SPAN}:0:x"),
        format!("{TRACE}:{SPAN}:0:x1"),
        format!("{TRACE}:{SPAN}:0:1:"),
        format!("0:{SPAN}:0:1"),
        format!(":{SPAN}:0:1"),
        format!("{TRACE}:0:0:1"),
        format!("{TRACE}0:{SPAN}:0:1"),
        format!("{TRACE}:{SPAN}0:0:1"),
    ] {
        check_refused(Format::Jaeger, &[("uber-trace-id", &value)]);
    }
}

#[test]
fn jaeger_is_written_without_a_parent() {
    let value = format!("{TRACE}:{OTHER}:0:1");
    check_injected(
        Format::Jaeger,
        &[],
        &outgoing(true),
        &[("uber-trace-id", &value)],
    );
    let value = format!("{TRACE}:{OTHER}:0:0");
    check_injected(
        Format::Jaeger,
        &[],
        &outgoing(false),
        &[("uber-trace-id", &value)],
    );
    let debug = Outgoing {
        debug: true,
        ..outgoing(true)
    };
    let value = format!("{TRACE}:{OTHER}:0:3");
    check_injected(Format::Jaeger, &[], &debug, &[("uber-trace-id", &value)]);
}

/// The ids of [`TRACE`] and [`SPAN`] as Datadog writes them.
const DATADOG: [(&str, &str); 3] = [
    ("x-datadog-trace-id", "5208512171318403364"),
    ("x-datadog-parent-id", "11744061942159299346"),
    ("x-datadog-tags", "_dd.p.dm=-4,_dd.p.tid=463ac35c9f6413ad"),
];

#[test]
fn datadog_ids_are_decimal_and_the_high_half_is_a_tag() {
    check_span(Format::Datadog, &DATADOG, TRACE, DEFERRED);
    let low = format!("{}{}", "0".repeat(16), &TRACE[16..]);
    check_span(Format::Datadog, &DATADOG[..2], &low, DEFERRED);
    for broken in [
        "_dd.p.tid=463ac35c",
        "_dd.p.tid=",
        "_dd.p.tid=0000000000000000",
    ] {
        let headers = [&DATADOG[..2], &[("x-datadog-tags", broken)]].concat();
        check_span(Format::Datadog, &headers, &low, DEFERRED);
    }
}

#[test]
fn datadog_priorities_above_zero_keep() {
    for (priority, sampling) in [
        ("-1", DROP),
        ("0", DROP),
        ("1", KEEP),
        ("2", KEEP),
        ("", DEFERRED),
        ("x", DEFERRED),
    ] {
        let headers = [&DATADOG[..], &[("x-datadog-sampling-priority", priority)]].concat();
        check_span(Format::Datadog, &headers, TRACE, sampling);
    }
}

#[test]
fn datadog_traces_may_begin_without_a_span() {
    let parent = Parent::Trace(trace_id("00000000000000000000000000000001"));
    let headers = [("x-datadog-trace-id", "1"), ("x-datadog-parent-id", "0")];
    check_caller(Format::Datadog, &headers, parent, DEFERRED);
    check_caller(Format::Datadog, &headers[..1], parent, DEFERRED);
}

#[test]
fn broken_datadog_is_refused() {
    for id in [
        "",
        "0",
        "-1",
        "+1",
        "1x",
        "18446744073709551616",
        "20000000000000000000",
    ] {
        check_refused(Format::Datadog, &[("x-datadog-trace-id", id)]);
    }
    check_refused(
        Format::Datadog,
        &[("x-datadog-trace-id", "1"), ("x-datadog-parent-id", "x")],
    );
    check_refused(Format::Datadog, &[("x-datadog-parent-id", "1")]);
}

#[test]
fn datadog_is_written_and_tags_and_priority_that_are_right_are_left_alone() {
    let headers = Headers::new(&DATADOG);
    headers.set("x-datadog-sampling-priority", Some(b"2"));
    headers.changed.borrow_mut().clear();
    headers.inject(Format::Datadog, &outgoing(true));
    assert_eq!(*headers.changed.borrow(), ["x-datadog-parent-id"]);
    assert_eq!(
        headers.text("x-datadog-parent-id").as_deref(),
        Some("9007199254740993")
    );
    headers.inject(Format::Datadog, &outgoing(false));
    assert_eq!(
        headers.text("x-datadog-sampling-priority").as_deref(),
        Some("0")
    );
}

#[test]
fn datadog_high_half_is_replaced_among_the_other_tags() {
    let tags = |before: &str, trace: &str| {
        let headers = Headers::new(&[("x-datadog-tags", before)]);
        let mut outgoing = outgoing(true);
        outgoing.context.trace_id = trace_id(trace);
        headers.inject(Format::Datadog, &outgoing);
        headers.text("x-datadog-tags")
    };
    let before = "_dd.p.dm=-4,_dd.p.tid=00000000000000ff,_dd.p.usr=x";
    let after = "_dd.p.tid=463ac35c9f6413ad,_dd.p.dm=-4,_dd.p.usr=x";
    assert_eq!(tags(before, TRACE).as_deref(), Some(after));
    let low = format!("{}{}", "0".repeat(16), &TRACE[16..]);
    assert_eq!(
        tags(before, &low).as_deref(),
        Some("_dd.p.dm=-4,_dd.p.usr=x")
    );
    assert_eq!(tags("_dd.p.tid=00000000000000ff", &low), None);
}

#[test]
fn xray_has_a_root_and_maybe_a_parent_and_a_decision() {
    let root = format!("Root=1-{}-{}", &TRACE[..8], &TRACE[8..]);
    let xray = |rest: &str, parent, sampling| {
        let value = format!("{root}{rest}");
        check_caller(
            Format::XRay,
            &[("x-amzn-trace-id", &value)],
            parent,
            sampling,
        );
    };
    let (trace, span) = (trace_id(TRACE), span_id(SPAN));
    xray("", Parent::Trace(trace), DEFERRED);
    xray(";Sampled=1", Parent::Trace(trace), KEEP);
    xray(
        &format!(";Parent={SPAN};Sampled=0"),
        Parent::Span(trace, span),
        DROP,
    );
    xray(
        &format!("; Parent={SPAN} ; Sampled=? "),
        Parent::Span(trace, span),
        DEFERRED,
    );
    xray(
        &format!(";Lineage=a:1|b:2;Parent={SPAN};Sampled=1"),
        Parent::Span(trace, span),
        KEEP,
    );
    let value = format!("Self=1-67891233-abcdef012345678912345678;Sampled=1;{root}");
    check_caller(
        Format::XRay,
        &[("x-amzn-trace-id", &value)],
        Parent::Trace(trace),
        KEEP,
    );
}

#[test]
fn broken_xray_is_refused() {
    let (time, unique) = (&TRACE[..8], &TRACE[8..]);
    for value in [
        "".to_owned(),
        "Root".to_owned(),
        "Root=".to_owned(),
        format!("Root=2-{time}-{unique}"),
        format!("Root=1-{time}{unique}"),
        format!("Root=1-{time}-{unique}0"),
        format!("Root=1-{time}-{}", &unique[1..]),
        format!("Root=1-x{}-{unique}", &time[1..]),
        format!("Root=1-{time}-{unique};Parent=1"),
        format!("Root=1-{time}-{unique};Sampled=yes"),
        format!("Root=1-{}-{}", "0".repeat(8), "0".repeat(24)),
        format!("Parent={SPAN};Sampled=1"),
    ] {
        check_refused(Format::XRay, &[("x-amzn-trace-id", &value)]);
    }
}

#[test]
fn xray_is_written_with_what_else_stood_there() {
    let (time, unique) = (&TRACE[..8], &TRACE[8..]);
    let before = format!("Self=1-2-3;Root=1-{time}-{unique};Sampled=?;Lineage=a:1|b:2");
    let after =
        format!("Root=1-{time}-{unique};Parent={OTHER};Sampled=1;Self=1-2-3;Lineage=a:1|b:2");
    let header = "x-amzn-trace-id";
    check_injected(
        Format::XRay,
        &[(header, &before)],
        &outgoing(true),
        &[(header, &after)],
    );
    let after = format!("Root=1-{time}-{unique};Parent={OTHER};Sampled=0");
    check_injected(Format::XRay, &[], &outgoing(false), &[(header, &after)]);
}

/// [`TRACE`] and [`SPAN`], sampled.
const GRPC_TRACE_BIN: &str = "AABGOsNcn2QTrUhIWjlTu2EkAaL7Sh0altMSAgE";

#[test]
fn grpc_trace_bin_is_base64_with_or_without_padding() {
    for padding in ["", "="] {
        let value = format!("{GRPC_TRACE_BIN}{padding}");
        check_span(
            Format::GrpcTraceBin,
            &[("grpc-trace-bin", &value)],
            TRACE,
            KEEP,
        );
    }
}

#[test]
fn grpc_trace_bin_without_options_is_unsampled_and_unknown_fields_end_it() {
    // The first 36 digits are the ids' 27 bytes with the version.
    let ids = &GRPC_TRACE_BIN[..36];
    check_span(
        Format::GrpcTraceBin,
        &[("grpc-trace-bin", ids)],
        TRACE,
        DROP,
    );
    let unknown = format!("{ids}CQEC");
    check_span(
        Format::GrpcTraceBin,
        &[("grpc-trace-bin", &unknown)],
        TRACE,
        DROP,
    );
}

#[test]
fn broken_grpc_trace_bin_is_refused() {
    for value in [
        "".to_owned(),
        "AA".to_owned(),
        GRPC_TRACE_BIN[..35].to_owned(),
        GRPC_TRACE_BIN[..24].to_owned(),
        format!("B{}", &GRPC_TRACE_BIN[1..]),
        format!("AQ{}", &GRPC_TRACE_BIN[2..]),
        format!("*{}", &GRPC_TRACE_BIN[1..]),
        format!("{}Ag", &GRPC_TRACE_BIN[..36]),
        format!("{GRPC_TRACE_BIN}{}", "A".repeat(128)),
    ] {
        check_refused(Format::GrpcTraceBin, &[("grpc-trace-bin", &value)]);
    }
}

#[test]
fn grpc_trace_bin_is_written() {
    let mut outgoing = outgoing(true);
    outgoing.context.span_id = span_id(SPAN);
    let after = [("grpc-trace-bin", GRPC_TRACE_BIN)];
    check_injected(Format::GrpcTraceBin, &[], &outgoing, &after);
}

#[test]
fn the_first_valid_format_in_the_configured_order_wins() {
    let traceparent = format!("00-{TRACE}-{SPAN}-03");
    let b3 = format!("{TRACE}-{OTHER}-0");
    let first = |formats: &[Format], traceparent: &str| {
        let headers = Headers::new(&[("traceparent", traceparent), ("b3", &b3)]);
        extract_first(formats, |name| headers.get(name))
    };
    let w3c = first(&Format::ALL, &traceparent).unwrap();
    assert_eq!(
        (w3c.format, w3c.sampling, w3c.random),
        (Format::TraceContext, KEEP, true)
    );
    assert_eq!(
        w3c.context().unwrap().to_traceparent(),
        traceparent.as_bytes()
    );
    let b3_first = first(&[Format::B3, Format::TraceContext], &traceparent).unwrap();
    assert_eq!(b3_first.format, Format::B3);
    assert_eq!(first(&Format::ALL, "ff-broken").unwrap().format, Format::B3);
    assert_eq!(first(&[Format::Jaeger], &traceparent), None);
}

#[test]
fn answers_go_out_in_kind_and_in_what_is_configured() {
    let headers = Headers::new(&[("uber-trace-id", "broken"), ("x-b3-sampled", "1")]);
    inject_in_kind(
        &[Format::TraceContext, Format::B3],
        &[Format::TraceContext, Format::Jaeger, Format::Datadog],
        &outgoing(true),
        |name| headers.get(name),
        |name, value| headers.set(name, value),
    );
    assert_eq!(
        *headers.changed.borrow(),
        ["traceparent", "b3", "uber-trace-id"]
    );
}

#[test]
fn formats_have_names() {
    for format in Format::ALL {
        assert_eq!(Format::from_name(format.name()), Some(format));
    }
    assert_eq!(Format::from_name("w3c"), None);
}

fn any_outgoing() -> impl Strategy<Value = Outgoing> {
    let id = || (1..=u64::MAX).prop_map(|id| SpanId::from_bytes(id.to_be_bytes()).expect("not 0"));
    let trace_id = prop_oneof![1..=u128::MAX, 1..=u128::from(u64::MAX)];
    (
        trace_id,
        id(),
        proptest::option::of(id()),
        any::<(bool, bool)>(),
    )
        .prop_map(|(trace_id, span_id, parent, (sampled, debug))| {
            let trace_id = TraceId::from_bytes(trace_id.to_be_bytes()).expect("not 0");
            Outgoing {
                context: TraceContext {
                    trace_id,
                    span_id,
                    flags: TraceFlags::NONE.with_sampled(sampled || debug),
                },
                parent,
                debug,
            }
        })
}

/// Values that look like those of the formats, and bytes that do not.
fn any_value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(any::<u8>(), 0..80),
        "[0-9a-fA-F:;=,%-]{0,80}".prop_map(String::into_bytes),
        "[0-9a-f]{32}[-:][0-9a-f]{16}[-:][0-9a-f]{0,16}[-:][0-9d]".prop_map(String::into_bytes),
        "Root=1-[0-9a-f]{8}-[0-9a-f]{24}(;[A-Z][a-z]*=[0-9a-f?]*){0,3}"
            .prop_map(String::into_bytes),
        "[A-Za-z0-9+/]{0,44}=?".prop_map(String::into_bytes),
        "[0-9]{1,22}".prop_map(String::into_bytes),
        "(_dd.p.[a-z]{1,3}=[0-9a-f]{0,17},?){0,3}".prop_map(String::into_bytes),
    ]
}

const NAMES: [&str; 13] = [
    "traceparent",
    "b3",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "x-b3-flags",
    "uber-trace-id",
    "x-datadog-trace-id",
    "x-datadog-parent-id",
    "x-datadog-tags",
    "x-amzn-trace-id",
    "grpc-trace-bin",
];

proptest! {
    #[test]
    fn whatever_stood_there_what_is_written_is_read_back(
        before in vec((0..NAMES.len(), any_value()), 0..13),
        outgoing in any_outgoing(),
    ) {
        for format in Format::ALL {
            let headers = Headers::default();
            for (name, value) in &before {
                headers.values.borrow_mut().insert(NAMES[*name].to_owned(), value.clone());
            }
            let _ = headers.extract(format);
            headers.inject(format, &outgoing);
            let caller = headers.extract(format).unwrap();
            prop_assert_eq!(caller.context(), Some(outgoing.context));
            let tells_debug = matches!(format, Format::B3 | Format::B3Multi | Format::Jaeger);
            prop_assert_eq!(caller.sampling == DEBUG, outgoing.debug && tells_debug);

            headers.changed.borrow_mut().clear();
            let written = headers.values.borrow().clone();
            headers.inject(format, &outgoing);
            prop_assert_eq!(&*headers.values.borrow(), &written, "once more changes nothing");
        }
    }

    #[test]
    fn any_baggage_is_safe_to_look_into(header in vec(any::<u8>(), 0..80), text in "[ab=;,% 0-9]{0,60}") {
        let _ = baggage::get(&header, "a");
        if let Some(value) = baggage::get(text.as_bytes(), "a") {
            prop_assert!(text.contains('a') && text.contains('='));
            prop_assert!(value.len() <= text.len());
        }
    }
}
