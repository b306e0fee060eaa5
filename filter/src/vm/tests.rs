//! The VM as a worker drives it, on a host without phases.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use proptest::prelude::*;
use prost::Message;

use super::Vm;
use crate::fake_host::FakeHost;
use crate::host::{MapKind, Status};

const ROOT: u32 = 1;
const OTHER_ROOT: u32 = 2;
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const UNSAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

/// A worker with one root; its exports go over OTLP/HTTP, so that bodies need no unframing.
struct Worker {
    vm: Vm,
    host: FakeHost,
    last_id: u32,
}

impl Worker {
    fn new(configuration: &str) -> Self {
        let mut worker = Self {
            vm: Vm::new(),
            host: FakeHost::default(),
            last_id: 100,
        };
        worker.host.advance_ms(1_000_000);
        worker.add_root(ROOT, configuration);
        worker
    }

    fn add_root(&mut self, id: u32, configuration: &str) {
        let mut json: serde_json::Value = serde_json::from_str(configuration).unwrap();
        json["exporter"]["protocol"] = "http".into();
        self.host.configuration = json.to_string();
        self.vm.on_context_create(id, 0);
        let length = self.host.configuration.len();
        self.vm.on_configure(&mut self.host, id, length);
    }

    /// A request as far as the upstream; its id.
    fn request(&mut self, headers: &[(&str, &str)]) -> u32 {
        let pseudo = [
            (":method", "GET"),
            (":scheme", "http"),
            (":authority", "cart"),
            (":path", "/cart/7"),
        ];
        let headers: Vec<_> = pseudo.iter().chain(headers).copied().collect();
        self.host.set_headers(MapKind::RequestHeaders, &headers);
        self.last_id += 1;
        self.host.context_id = self.last_id;
        self.vm.on_context_create(self.last_id, ROOT);
        self.vm
            .on_request_headers(&mut self.host, self.last_id, false);
        self.last_id
    }

    fn end(&mut self, id: u32, status: i64) {
        self.host.set_number("response.code", status);
        self.host.context_id = id;
        self.vm.on_log(&mut self.host, id);
        assert!(self.vm.on_done(&mut self.host, id));
    }

    fn tick(&mut self, root_id: u32) {
        self.host.context_id = root_id;
        self.vm.on_tick(&mut self.host, root_id);
    }

    /// The collector answers a call with this status.
    fn answer(&mut self, token: u32, status: &str) {
        let call = self
            .host
            .calls
            .iter()
            .find(|call| call.token == token)
            .unwrap();
        let root_id = call.context_id;
        self.host.context_id = root_id;
        self.host
            .set_headers(MapKind::CallResponseHeaders, &[(":status", status)]);
        self.vm
            .on_http_call_response(&mut self.host, root_id, token, 1, 0);
    }

    /// The spans of a call.
    fn spans(&self, at: usize) -> Vec<Span> {
        let request = ExportTraceServiceRequest::decode(&*self.host.calls[at].body).unwrap();
        let scopes = request
            .resource_spans
            .into_iter()
            .flat_map(|spans| spans.scope_spans);
        scopes.flat_map(|scope| scope.spans).collect()
    }

    /// The only span of a request that ends with this status, if it gets one.
    fn span_of(&mut self, headers: &[(&str, &str)], status: i64) -> Option<Span> {
        let id = self.request(headers);
        self.end(id, status);
        let n_before = self.host.calls.len();
        self.tick(ROOT);
        (self.host.calls.len() > n_before).then(|| {
            let mut spans = self.spans(n_before);
            assert_eq!(spans.len(), 1);
            spans.remove(0)
        })
    }
}

fn attribute(span: &Span, key: &str) -> Option<String> {
    use opentelemetry_proto::tonic::common::v1::any_value::Value;
    let found = span
        .attributes
        .iter()
        .find(|attribute| attribute.key == key)?;
    Some(match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        other => format!("{other:?}"),
    })
}

#[test]
fn a_sampled_trace_goes_on_through_the_span() {
    let mut worker = Worker::new("{}");
    let span = worker
        .span_of(&[("traceparent", SAMPLED), ("tracestate", "a=b")], 200)
        .unwrap();
    let sent = worker.host.sent("traceparent").unwrap();
    let hex = |bytes: &[u8]| {
        bytes
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    assert_eq!(sent, format!("00-{TRACE}-{}-01", hex(&span.span_id)));
    assert_eq!(hex(&span.parent_span_id), "b7ad6b7169203331");
    assert_eq!(span.trace_state, "a=b");
    assert_eq!(span.flags, 0x301);
    assert_eq!(worker.host.sent("tracestate").unwrap(), "a=b");
}

#[test]
fn an_unsampled_context_passes_untouched_and_cheaply() {
    let mut worker = Worker::new("{}");
    worker.host.n_calls = 0;
    let id = worker.request(&[("traceparent", UNSAMPLED), ("tracestate", "a=b")]);
    assert_eq!(worker.host.sent("traceparent").unwrap(), UNSAMPLED);
    worker.end(id, 200);
    assert_eq!(worker.host.n_calls, 1, "one look at all headers");
}

#[test]
fn an_unsampled_context_with_a_broken_tracestate_does_not_pass() {
    let mut worker = Worker::new("{}");
    worker.request(&[("traceparent", UNSAMPLED), ("tracestate", "no member")]);
    assert_eq!(worker.host.sent("tracestate"), None);
    assert!(
        worker
            .host
            .sent("traceparent")
            .unwrap()
            .starts_with("00-0af7651916cd")
    );
}

#[test]
fn a_new_trace_that_is_not_sampled_is_told_in_three_calls() {
    let mut worker = Worker::new(r#"{"sampling": {"ratio": 0}}"#);
    worker.host.n_calls = 0;
    let id = worker.request(&[]);
    worker.end(id, 500);
    assert_eq!(
        worker.host.n_calls, 3,
        "is there a traceparent, set it, is there a tracestate"
    );
    assert!(worker.host.sent("traceparent").unwrap().ends_with("-02"));
}

#[test]
fn a_tracestate_without_a_traceparent_is_dropped_either_way() {
    for ratio in ["0", "1"] {
        let mut worker = Worker::new(&format!(r#"{{"sampling": {{"ratio": {ratio}}}}}"#));
        worker.request(&[("tracestate", "a=b")]);
        assert_eq!(worker.host.sent("tracestate"), None);
    }
}

#[test]
fn probability_is_told_unless_it_is_one() {
    let mut worker = Worker::new(r#"{"sampling": {"ratio": 0.99}}"#);
    worker.request(&[]);
    assert!(
        worker
            .host
            .sent("tracestate")
            .unwrap()
            .starts_with("ot=th:")
    );
    let mut worker = Worker::new("{}");
    worker.request(&[]);
    assert_eq!(worker.host.sent("tracestate"), None);
}

#[test]
fn several_traceparents_start_anew() {
    let mut worker = Worker::new("{}");
    let span = worker.span_of(&[("traceparent", UNSAMPLED), ("traceparent", SAMPLED)], 200);
    assert!(span.unwrap().parent_span_id.is_empty());
    worker.tick(ROOT);
    assert_eq!(worker.host.counted("context_restarted"), 1);
}

#[test]
fn errors_and_slow_requests_are_kept_though_their_trace_is_not() {
    let configuration = r#"{"sampling": {"keep_errors": true, "keep_slower_than_ms": 100}}"#;
    let mut worker = Worker::new(configuration);
    assert!(worker.span_of(&[("traceparent", UNSAMPLED)], 200).is_none());
    let span = worker.span_of(&[("traceparent", UNSAMPLED)], 500).unwrap();
    assert_eq!(
        attribute(&span, "spanloom.sampling.reason").unwrap(),
        "error"
    );
    assert_eq!(span.flags, 0x300);
    let id = worker.request(&[("traceparent", UNSAMPLED)]);
    worker.host.advance_ms(101);
    worker.end(id, 200);
    worker.tick(ROOT);
    let spans = worker.spans(worker.host.calls.len() - 1);
    assert_eq!(
        attribute(&spans[0], "spanloom.sampling.reason").unwrap(),
        "slow"
    );
}

#[test]
fn a_failed_grpc_call_is_kept_by_its_own_status() {
    let mut worker = Worker::new(r#"{"sampling": {"keep_errors": true}}"#);
    worker.host.set_number("response.grpc_status", 14);
    let grpc = [
        ("traceparent", UNSAMPLED),
        ("content-type", "application/grpc"),
    ];
    let span = worker.span_of(&grpc, 200).unwrap();
    assert_eq!(attribute(&span, "error.type").unwrap(), "UNAVAILABLE");
    assert_eq!(span.name, "cart/7");
    assert!(worker.span_of(&[("traceparent", UNSAMPLED)], 200).is_none());
}

#[test]
fn a_rule_of_ratio_zero_drops_even_a_sampled_trace() {
    let rules = r#"{"sampling": {"rules": [{"path": "/cart/*", "method": "GET", "ratio": 0}]}}"#;
    let mut worker = Worker::new(rules);
    assert!(worker.span_of(&[("traceparent", SAMPLED)], 200).is_none());
    assert!(worker.host.sent("traceparent").unwrap().ends_with("-00"));
}

#[test]
fn the_first_rule_that_matches_gives_the_ratio() {
    let rules = r#"{"sampling": {"ratio": 0, "rules": [
        {"headers": {"X-Debug": "yes*"}, "direction": "inbound", "ratio": 1},
        {"host": "cart", "ratio": 0}]}}"#;
    let mut worker = Worker::new(rules);
    assert!(worker.span_of(&[], 200).is_none());
    assert!(worker.span_of(&[("x-debug", "yes please")], 200).is_some());
    worker.host.set_number("xds.listener_direction", 2);
    assert!(worker.span_of(&[("x-debug", "yes please")], 200).is_none());
}

#[test]
fn probes_make_no_traces_but_are_followed_in_one() {
    let mut worker = Worker::new("{}");
    assert!(
        worker
            .span_of(&[("user-agent", "kube-probe/1.36")], 200)
            .is_none()
    );
    let continued = [("user-agent", "kube-probe/1.36"), ("traceparent", SAMPLED)];
    assert!(worker.span_of(&continued, 200).is_some());
}

#[test]
fn the_outside_world_can_be_sampled_anew() {
    let mut worker = Worker::new(r#"{"sampling": {"ratio": 0, "on_remote": "resample"}}"#);
    assert!(worker.span_of(&[("traceparent", SAMPLED)], 200).is_none());
    assert!(
        worker
            .host
            .sent("traceparent")
            .unwrap()
            .starts_with(&format!("00-{TRACE}-"))
    );
}

#[test]
fn observing_touches_no_header() {
    let mut worker = Worker::new(r#"{"mode": "observe"}"#);
    let span = worker
        .span_of(&[("traceparent", SAMPLED), ("tracestate", "!")], 200)
        .unwrap();
    assert_eq!(worker.host.sent("traceparent").unwrap(), SAMPLED);
    assert_eq!(worker.host.sent("tracestate").unwrap(), "!");
    assert!(!span.parent_span_id.is_empty());
}

#[test]
fn a_request_refused_before_the_filter_gets_a_late_span() {
    let mut worker = Worker::new("{}");
    let began = worker.host.now.as_nanos().cast_signed() - 5_000_000;
    worker.host.set_number("request.time", began);
    worker.host.set_number("response.flags", 1 << 18);
    worker
        .host
        .set_headers(MapKind::RequestHeaders, &[("traceparent", SAMPLED)]);
    worker.vm.on_context_create(500, ROOT);
    worker.end(500, 400);
    worker.tick(ROOT);
    let span = worker.spans(0).remove(0);
    assert_eq!(span.name, "HTTP");
    assert_eq!(
        span.end_time_unix_nano - span.start_time_unix_nano,
        5_000_000
    );
    assert_eq!(worker.host.sent("traceparent").unwrap(), SAMPLED);
}

#[test]
fn a_wrong_configuration_leaves_traffic_alone() {
    let mut worker = Worker::new(r#"{"sampling": {"ratio": 2}}"#);
    worker.host.n_calls = 0;
    let id = worker.request(&[("traceparent", SAMPLED)]);
    worker.end(id, 200);
    assert_eq!(worker.host.n_calls, 0);
    assert_eq!(worker.host.counted("configuration_errors"), 1);
    let line = "spanloom: requests pass untraced: configuration: \
                sampling.ratio: expected a number from 0 to 1, got 2";
    assert_eq!(worker.host.lines, [line]);
}

#[test]
fn the_response_says_who_answered_if_asked() {
    let mut worker = Worker::new(r#"{"propagation": {"traceresponse": true}}"#);
    worker.host.set_headers(MapKind::ResponseHeaders, &[]);
    let id = worker.request(&[]);
    worker.vm.on_response_headers(&mut worker.host, id);
    let response = &worker.host.maps[&MapKind::ResponseHeaders];
    let sent = worker.host.sent("traceparent").unwrap();
    assert_eq!(
        response[..],
        [("traceresponse".to_owned(), sent.into_bytes())]
    );
}

#[test]
fn routes_come_from_templates_first_and_from_route_names_that_are_paths() {
    let mut worker = Worker::new(r#"{"route": {"templates": ["/cart/{id}"]}}"#);
    worker
        .host
        .properties
        .insert("xds.route_name".to_owned(), b"/other".to_vec());
    assert_eq!(worker.span_of(&[], 200).unwrap().name, "GET /cart/{id}");
    let mut worker = Worker::new(r#"{"route": {"name": "auto"}}"#);
    for (route_name, name) in [("/other", "GET /other"), ("default", "GET")] {
        worker
            .host
            .properties
            .insert("xds.route_name".to_owned(), route_name.into());
        assert_eq!(worker.span_of(&[], 200).unwrap().name, name);
    }
}

#[test]
fn chosen_attributes_come_from_everywhere() {
    let mut worker = Worker::new(
        r#"{"attributes": {"request_headers": ["X-A"], "custom": [
            {"key": "literal", "value": "l"}, {"key": "header", "request_header": "x-a"},
            {"key": "bag", "baggage": "tenant"}, {"key": "env", "environment": "POD"},
            {"key": "property", "property": "connection.tls_version"}, {"key": "absent", "property": "x"}]}}"#,
    );
    worker
        .host
        .environment
        .insert("POD".to_owned(), "cart-1".to_owned());
    worker
        .host
        .properties
        .insert("connection.tls_version".to_owned(), b"TLSv1.3".to_vec());
    let headers = [("x-a", "1"), ("x-a", "2"), ("baggage", "tenant=a%20b,c=d")];
    let span = worker.span_of(&headers, 200).unwrap();
    for (key, value) in [
        ("literal", "l"),
        ("header", "1,2"),
        ("bag", "a b"),
        ("env", "cart-1"),
        ("property", "TLSv1.3"),
    ] {
        assert_eq!(attribute(&span, key).as_deref(), Some(value), "{key}");
    }
    assert!(attribute(&span, "http.request.header.x-a").is_some());
    assert_eq!(attribute(&span, "absent"), None);
}

#[test]
fn a_full_batch_leaves_at_once_and_as_the_root() {
    let mut worker = Worker::new(r#"{"batch": {"spans_max": 2}}"#);
    for _ in 0..2 {
        let id = worker.request(&[]);
        worker.end(id, 200);
    }
    assert_eq!(worker.spans(0).len(), 2);
    assert_eq!(worker.host.calls[0].context_id, ROOT);
    assert_eq!(
        worker.host.context_id, worker.last_id,
        "the stream's own context again"
    );
}

#[test]
fn retries_wait_and_end() {
    let mut worker =
        Worker::new(r#"{"exporter": {"retry": {"initial_ms": 1000, "elapsed_ms_max": 10000}}}"#);
    worker.span_of(&[], 200);
    worker.answer(1, "503");
    worker.tick(ROOT);
    assert_eq!(worker.host.calls.len(), 1, "not before the pause is over");
    for _ in 0..40 {
        worker.host.advance_ms(500);
        worker.tick(ROOT);
        let last = worker.host.calls.last().unwrap().token;
        if worker.host.counted("spans_dropped.retries_exhausted") == 0 {
            worker.answer_if_under_way(last);
        }
    }
    let n_calls = worker.host.calls.len();
    assert!((3..=8).contains(&n_calls), "{n_calls} calls in 20 s");
    assert_eq!(worker.host.counted("spans_dropped.retries_exhausted"), 1);
    assert_eq!(worker.host.lines.len(), 1, "one line for one outage");
}

#[test]
fn a_refusal_is_not_retried() {
    let mut worker = Worker::new("{}");
    worker.span_of(&[], 200);
    worker.answer(1, "400");
    worker.host.advance_ms(60_000);
    worker.tick(ROOT);
    assert_eq!(worker.host.calls.len(), 1);
    assert_eq!(worker.host.counted("spans_dropped.refused"), 1);
}

#[test]
fn a_missing_cluster_is_named_and_tried_again() {
    let mut worker = Worker::new("{}");
    worker.host.refusal = Some(Status::BadArgument);
    worker.span_of(&[], 200);
    assert_eq!(worker.host.counted("export_cluster_missing"), 1);
    assert_eq!(
        worker.host.lines,
        ["spanloom: export to cluster otel_collector: the proxy has no such cluster"]
    );
    worker.host.refusal = None;
    worker.host.advance_ms(2_000);
    worker.tick(ROOT);
    worker.answer(1, "200");
    worker.tick(ROOT);
    assert_eq!(worker.host.counted("spans_exported"), 1);
}

#[test]
fn the_buffer_is_bounded() {
    let mut worker =
        Worker::new(r#"{"exporter": {"buffer_bytes_max": 65536}, "batch": {"spans_max": 10}}"#);
    for _ in 0..1000 {
        let id = worker.request(&[]);
        worker.end(id, 200);
    }
    worker.tick(ROOT);
    let dropped = worker.host.counted("spans_dropped.buffer_full");
    assert!(dropped > 500, "{dropped}");
    let held: usize = worker.host.calls.iter().map(|call| call.body.len()).sum();
    assert!(held < 65_536);
}

#[test]
fn the_next_root_exports_when_the_first_ends() {
    let mut worker = Worker::new("{}");
    worker.add_root(OTHER_ROOT, "{}");
    let id = worker.request(&[]);
    worker.end(id, 200);
    worker.tick(OTHER_ROOT);
    assert!(worker.host.calls.is_empty(), "the first root exports");
    assert!(
        worker.vm.on_done(&mut worker.host, ROOT),
        "nothing of its own is under way"
    );
    worker.tick(OTHER_ROOT);
    assert_eq!(worker.host.calls[0].context_id, OTHER_ROOT);
}

#[test]
fn a_root_stays_until_its_calls_are_answered() {
    let mut worker = Worker::new("{}");
    worker.add_root(OTHER_ROOT, "{}");
    worker.span_of(&[], 200);
    assert!(!worker.vm.on_done(&mut worker.host, ROOT));
    worker.answer(1, "200");
    assert_eq!(worker.host.done, [ROOT]);
}

#[test]
fn the_last_root_drains_and_leaves_in_time() {
    for is_answered in [true, false] {
        let mut worker = Worker::new("{}");
        let id = worker.request(&[]);
        worker.end(id, 200);
        worker.host.context_id = ROOT;
        assert!(!worker.vm.on_done(&mut worker.host, ROOT));
        if is_answered {
            worker.answer(1, "200");
        } else {
            worker.host.advance_ms(5_001);
        }
        worker.tick(ROOT);
        assert_eq!(worker.host.done, [ROOT]);
        let name = if is_answered {
            "spans_exported"
        } else {
            "spans_dropped.shutdown"
        };
        assert_eq!(worker.host.counted(name), 1);
    }
}

#[test]
fn a_root_with_nothing_to_say_ends_at_once() {
    let mut worker = Worker::new("{}");
    assert!(worker.vm.on_done(&mut worker.host, ROOT));
    assert!(worker.host.done.is_empty());
}

impl Worker {
    fn answer_if_under_way(&mut self, token: u32) {
        // An answer to a call that is answered already changes nothing.
        self.answer(token, "503");
    }
}

#[derive(Clone, Debug)]
enum Step {
    Request,
    Tick,
    Answer(u8, &'static str),
    Wait(u64),
    Refuse(bool),
}

fn step() -> impl Strategy<Value = Step> {
    let status = prop_oneof![
        Just("200"),
        Just("503"),
        Just("429"),
        Just("400"),
        Just("junk")
    ];
    prop_oneof![
        8 => Just(Step::Request),
        3 => Just(Step::Tick),
        4 => (any::<u8>(), status).prop_map(|(at, status)| Step::Answer(at, status)),
        2 => (0u64..20_000).prop_map(Step::Wait),
        1 => any::<bool>().prop_map(Step::Refuse),
    ]
}

proptest! {
    /// accepted = exported + dropped{reason}, whatever the collector does, once the root is gone.
    #[test]
    fn the_ledger_balances(steps in proptest::collection::vec(step(), 0..120)) {
        let mut worker = Worker::new(r#"{"batch": {"spans_max": 3}, "exporter":
            {"buffer_bytes_max": 65536, "retry": {"elapsed_ms_max": 20000}}}"#);
        for step in steps {
            match step {
                Step::Request => {
                    let id = worker.request(&[]);
                    worker.end(id, 200);
                }
                Step::Tick => worker.tick(ROOT),
                Step::Answer(at, status) => {
                    let n_calls = worker.host.calls.len();
                    if n_calls > 0 {
                        let token = worker.host.calls[usize::from(at) % n_calls].token;
                        worker.answer(token, status);
                    }
                }
                Step::Wait(ms) => worker.host.advance_ms(ms),
                Step::Refuse(refuses) => {
                    worker.host.refusal = refuses.then_some(Status::InternalFailure);
                }
            }
        }
        if !worker.vm.on_done(&mut worker.host, ROOT) {
            worker.host.advance_ms(10_000);
            worker.tick(ROOT);
            prop_assert_eq!(&worker.host.done, &[ROOT]);
        }
        worker.tick(ROOT);
        let counters = &worker.host.counters;
        let dropped: i64 = counters.iter().filter(|(name, _)| name.contains("dropped")).map(|(_, n)| n).sum();
        prop_assert_eq!(worker.host.counted("spans_accepted"), worker.host.counted("spans_exported") + dropped);
    }
}
