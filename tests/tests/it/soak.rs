//! A million requests while the collector comes and goes: the ledger balances to the span, and memory
//! stays where it was.

use serde_json::json;
use spanloom_tests::lab::{Delivery, Envoy, EnvoyOptions, Mood, Sink, Tracing, load};

/// What the collector does during each share of the requests.
const MOODS: [Mood; 10] = [
    Mood::Accept,
    Mood::Unavailable,
    Mood::Accept,
    Mood::Silent,
    Mood::Accept,
    Mood::Refuse,
    Mood::Unavailable,
    Mood::Silent,
    Mood::Garbage,
    Mood::Accept,
];

const N_REQUESTS: usize = 1_000_000;
const N_CONNECTIONS: usize = 16;

/// What a worker may hold beyond what it had after the first share: the buffer of spans, once in
/// the module and once on its way out, and what the allocators on both sides keep.
const GROWTH_KIB_MAX: u64 = 64 * 1024;

#[test]
fn a_million_requests_with_a_flapping_collector_lose_no_span_uncounted() {
    let Some((binary, module)) = spanloom_tests::envoy_and_filter().expect("a built filter") else {
        return spanloom_tests::not_run("Envoy: cargo xtask parts envoy");
    };
    let sink = Sink::start().expect("a sink");
    let configuration = json!({
        "exporter": {
            "protocol": "grpc", "cluster": "otel_collector", "timeout_ms": 500,
            "retry": { "initial_ms": 50, "interval_ms_max": 500, "elapsed_ms_max": 5000 }
        },
        "batch": { "interval_ms": 200 }
    });
    let tracing = Tracing::Filter {
        module,
        configuration,
        delivery: Delivery::Inline,
    };
    let mut options = EnvoyOptions::new(tracing, sink.address());
    options.answers_itself = true;
    let envoy = Envoy::start(&binary, &options).expect("an Envoy");
    let listener = envoy.listener("inbound").expect("a listener");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");

    let mut rss_kib_first = 0;
    for mood in MOODS {
        sink.set_mood(mood);
        let share = load::run(listener, N_CONNECTIONS, N_REQUESTS / MOODS.len());
        // Every answer is checked to be 200.
        runtime.block_on(share).expect("answers to all requests");
        if rss_kib_first == 0 {
            rss_kib_first = envoy.rss_kib();
        }
    }

    // Whatever is still held leaves or is given up.
    sink.set_mood(Mood::Accept);
    let count = |name: &str| {
        let name = format!("wasmcustom.spanloom.{name}");
        let stats = envoy.stats(&name).expect("statistics");
        stats
            .into_iter()
            .filter(|(n, _)| n.starts_with(&name))
            .map(|(_, n)| n)
            .sum::<u64>()
    };
    let accepted = envoy
        .wait_for_stat("wasmcustom.spanloom.spans_accepted", |n| {
            n == N_REQUESTS as u64
        })
        .expect("a span for each request");
    xtask::wait::until("the ledger to balance", || {
        let ended = count("spans_exported") + count("spans_dropped");
        Ok((ended == accepted).then_some(()))
    })
    .unwrap_or_else(|error| {
        panic!(
            "{error}: accepted {accepted}, exported {}, dropped {}",
            count("spans_exported"),
            count("spans_dropped")
        )
    });
    // What is called exported has arrived; a request whose answer was lost may have come twice.
    assert!(sink.n_spans() >= count("spans_exported"));
    assert_eq!(sink.n_invalid(), 0);
    assert!(
        count("spans_dropped") > 0,
        "the collector was well all the time"
    );
    let growth_kib = envoy.rss_kib().saturating_sub(rss_kib_first);
    assert!(
        growth_kib < GROWTH_KIB_MAX,
        "memory grew by {growth_kib} KiB"
    );
}
