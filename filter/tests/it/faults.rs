//! Every host call fails in every way: the filter neither traps nor holds traffic up.
//!
//! Both are asserted where the simulator calls back; what is left to assert here is that a request
//! loses nothing but, at worst, its trace.

use crate::sim::{
    Direction, Exchange, FALLIBLE, Fault, Process, Reply, When, Worker, without_context,
};

/// `proxy_status_t` has numbers up to 12, with gaps; one that nobody knows has to be borne too.
const STATUSES: [u32; 13] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 1000];

/// Everything that the filter asks the host for.
const CONFIGURATION: &str = r#"{
    "propagation": {"traceresponse": true, "extract": ["tracecontext", "b3"], "inject": ["tracecontext", "b3"]},
    "sampling": {"keep_errors": true, "keep_slower_than_ms": 1, "rules": [{"path": "/none", "ratio": 0}]},
    "attributes": {
        "request_headers": ["user-agent"],
        "response_headers": ["content-type"],
        "custom": [{"key": "a", "property": "xds.route_name"}, {"key": "b", "environment": "B"}]
    },
    "exporter": {"buffer_bytes_max": 65536},
    "batch": {"spans_max": 2}
}"#;

/// The cheapest way that a request can go.
const UNSAMPLED: &str = r#"{"sampling": {"ratio": 0}}"#;

/// The life of a worker with every callback that the filter has.
fn live(fault: Fault) -> u64 {
    let mut worker = Worker::new(&Process::new());
    worker.fail(fault);
    let inbound = worker.root(CONFIGURATION, Direction::Inbound);
    let outbound = worker.root(CONFIGURATION, Direction::Outbound);
    let unsampled = worker.root(UNSAMPLED, Direction::Inbound);
    let exchanges = [
        Exchange::get("/"),
        Exchange::get("/none")
            .answered(500)
            .header("tracestate", "a=1"),
        Exchange::grpc("/shop.Stock/Take", 14),
        Exchange::get("/").refused(503, 2, "no_healthy_upstream"),
    ];
    for exchange in &exchanges {
        for root in [inbound, outbound, unsampled] {
            let served = worker.serve(root, exchange.clone());
            assert_eq!(
                without_context(&served.request),
                without_context(&exchange.request),
                "{fault:?}"
            );
            worker.refuse(root, exchange.clone());
        }
        worker.advance_ms(1000);
        for (i, call) in worker.calls().iter().enumerate() {
            let replies = [Reply::grpc_ok(&[]), Reply::grpc(14, &[]), Reply::nothing()];
            worker.answer(call.token, replies[i % 3].clone());
        }
    }
    for root in [inbound, outbound, unsampled] {
        worker.end_root(root);
    }
    worker.advance_ms(20_000);
    worker.n_faults_struck()
}

#[test]
fn the_configurations_of_these_scenarios_are_taken() {
    let process = Process::new();
    let mut worker = Worker::new(&process);
    worker.root(CONFIGURATION, Direction::Inbound);
    worker.root(UNSAMPLED, Direction::Inbound);
    assert_eq!(process.log(), [""; 0]);
}

#[test]
fn a_host_call_that_fails_once_is_borne() {
    for call in FALLIBLE {
        for status in STATUSES {
            let when = When::Nth(u64::from(status) % 3);
            live(Fault { call, status, when });
        }
    }
}

#[test]
fn a_host_call_that_always_fails_is_borne() {
    for call in FALLIBLE {
        for status in [1, 2, 6, 10, 1000] {
            let when = When::Always;
            let n_struck = live(Fault { call, status, when });
            assert!(n_struck > 0, "the scenario never calls {call}");
        }
    }
}

/// A failure may come at any point of a worker's life.
#[test]
fn a_host_call_may_fail_at_any_time() {
    for call in FALLIBLE {
        let mut n = 0;
        let is_struck = |n| {
            let when = When::Nth(n);
            live(Fault {
                call,
                status: 10,
                when,
            }) > 0
        };
        while n < 2000 && is_struck(n) {
            n = n * 5 / 4 + 1;
        }
    }
}
