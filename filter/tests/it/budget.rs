//! What a request costs: host calls and memory.

use crate::sim::{Direction, Exchange, Process, Reply, Served, Value, Worker};

const UNSAMPLED_MAX: u32 = 6;
const SAMPLED_MAX: u32 = 25;

/// The cost of the tenth request, when everything that is asked once has been asked.
fn cost(configuration: &str, direction: Direction, exchange: &Exchange) -> Served {
    let mut worker = Worker::new(&Process::new());
    // Another root of the same VM, as in a sidecar, has been in use before.
    let other = worker.root(configuration, Direction::Unspecified);
    let elsewhere = exchange.clone().property("connection_id", Value::Int(99));
    worker.serve(other, elsewhere);
    let root = worker.root(configuration, direction);
    for _ in 0..9 {
        worker.serve(root, exchange.clone());
    }
    worker.serve(root, exchange.clone())
}

#[test]
fn a_request_costs_few_host_calls() {
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331";
    let get = Exchange::get("/cart?a=b");
    let none = r#"{"sampling": {"ratio": 0}}"#;
    let few = r#"{"sampling": {"ratio": 1e-9, "rules": [{"path": "/x*", "ratio": 0.5}]}}"#;
    let unsampled = get.clone().header("traceparent", format!("{parent}-00"));
    let sampled = get
        .clone()
        .header("traceparent", format!("{parent}-01"))
        .header("tracestate", "vendor=1");
    let refused = get.clone().refused(503, 2, "no_healthy_upstream");
    let grpc = Exchange::grpc("/shop.Stock/Take", 0);
    for (what, configuration, exchange, n_max) in [
        ("new trace, unsampled", none, &get, UNSAMPLED_MAX),
        ("new trace, not picked by rules", few, &get, UNSAMPLED_MAX),
        ("unsampled caller", "", &unsampled, UNSAMPLED_MAX),
        ("new trace, sampled", "", &get, SAMPLED_MAX),
        ("sampled caller", "", &sampled, SAMPLED_MAX),
        ("answered by Envoy", "", &refused, SAMPLED_MAX),
        ("gRPC", "", &grpc, SAMPLED_MAX),
    ] {
        for direction in [Direction::Inbound, Direction::Outbound] {
            let n_hostcalls = cost(configuration, direction, exchange).n_hostcalls;
            println!("{what}, {direction:?}: {n_hostcalls} host calls");
            assert!(n_hostcalls <= n_max, "{what}: {n_hostcalls}");
        }
    }
}

/// A plain request, after others on its connection. The figures are promises of the README.
#[test]
fn a_plain_request_costs_what_the_readme_says() {
    let mut plain = Exchange::get("/cart").property("connection_id", Value::Int(7));
    plain
        .response
        .push((b"content-length".to_vec(), b"512".to_vec()));
    let outbound = plain
        .clone()
        .property("xds.cluster_name", Value::text("outbound|80||cart"));
    for (direction, exchange, n_hostcalls) in [
        (Direction::Inbound, plain, 7),
        (Direction::Outbound, outbound, 10),
    ] {
        let cost = cost("", direction, &exchange);
        assert_eq!(cost.n_hostcalls, n_hostcalls, "{direction:?}");
    }
}

#[test]
fn ten_thousand_requests_leave_no_memory_behind() {
    let mut worker = Worker::new(&Process::new());
    let root = worker.root("", Direction::Inbound);
    // All of a size: larger ones fill larger batches.
    let serve = |worker: &mut Worker, n: u32| {
        for i in 0..n {
            worker.serve(root, Exchange::get(&format!("/cart/{i:05}")));
            if i % 100 == 0 {
                worker.advance_ms(1000);
                for call in worker.calls() {
                    worker.answer(call.token, Reply::grpc_ok(&[]));
                }
            }
        }
        worker.n_memory_pages()
    };
    let n_before = serve(&mut worker, 1_000);
    let n_after = serve(&mut worker, 10_000);
    println!("{n_after} pages of 64 KiB after 11,000 requests");
    assert_eq!(n_before, n_after);
}
