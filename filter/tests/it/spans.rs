//! What a request's span says.

use crate::otlp::{Exported, spans};
use crate::sim::{Direction, Exchange, Process, Value, Worker, first};

const SERVER: i32 = 2;
const CLIENT: i32 = 3;

/// Serves one request in a worker of its own and returns its span.
fn span_of(configuration: &str, direction: Direction, exchange: Exchange) -> Exported {
    let mut worker = Worker::new(&Process::new());
    let root = worker.root(configuration, direction);
    worker.serve(root, exchange);
    worker.advance_ms(1000);
    let mut spans = spans(&worker.only_call());
    assert_eq!(spans.len(), 1);
    spans.remove(0)
}

#[test]
fn an_inbound_request_is_a_server_span() {
    let span = span_of("", Direction::Inbound, Exchange::get("/cart/17?a=b"));
    assert_eq!(span.span.kind, SERVER);
    assert_eq!(span.span.name, "GET");
    assert_eq!(span.text("http.request.method"), Some("GET"));
    assert_eq!(span.text("url.path"), Some("/cart/17"));
    assert_eq!(span.text("url.query"), Some("a=b"));
    assert_eq!(span.number("http.response.status_code"), Some(200));
    assert_eq!(span.resource("service.name"), Some("cart"));
    assert_eq!(span.status(), 0);
    let duration_ns = span.span.end_time_unix_nano - span.span.start_time_unix_nano;
    assert_eq!(duration_ns, 5_000_000);
}

#[test]
fn an_outbound_request_is_a_client_span() {
    let span = span_of(
        "",
        Direction::Outbound,
        Exchange::get("/cart").answered(404),
    );
    assert_eq!(span.span.kind, CLIENT);
    assert_eq!(span.text("url.full"), Some("http://cart.shop:8080/cart"));
    assert_eq!(span.text("server.address"), Some("cart.shop"));
    assert_eq!(span.number("server.port"), Some(8080));
    assert_eq!(span.status(), 2);
    assert_eq!(span.text("error.type"), Some("404"));
}

#[test]
fn the_next_one_is_told_of_the_span() {
    let mut worker = Worker::new(&Process::new());
    let root = worker.root("", Direction::Inbound);
    let served = worker.serve(root, Exchange::get("/"));
    worker.advance_ms(1000);
    let span = spans(&worker.only_call()).remove(0);
    let sent = format!("00-{}-{}-03", span.trace_id(), span.span_id());
    assert_eq!(first(&served.request, "traceparent"), Some(&*sent));
    assert_eq!(span.parent_span_id(), "");
}

#[test]
fn a_request_refused_before_the_filter_has_a_late_span() {
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let exchange = Exchange::get("/").header("traceparent", parent).refused(
        403,
        1 << 12,
        "rbac_access_denied",
    );
    let mut worker = Worker::new(&Process::new());
    let root = worker.root("", Direction::Inbound);
    let arrived_ns = worker.process().now_ns();
    let served = worker.refuse(root, exchange.clone());
    assert_eq!(
        served.request, exchange.request,
        "in the log nothing changes"
    );

    worker.advance_ms(1000);
    let span = spans(&worker.only_call()).remove(0);
    assert_eq!(span.parent_span_id(), "b7ad6b7169203331");
    assert_eq!(span.span.start_time_unix_nano, arrived_ns);
    assert_eq!(span.span.end_time_unix_nano, arrived_ns + 5_000_000);
    assert_eq!(span.number("http.response.status_code"), Some(403));
}

#[test]
fn a_response_of_envoy_s_own_says_why() {
    let exchange = Exchange::get("/").refused(503, 1 << 1, "no_healthy_upstream");
    let span = span_of("", Direction::Outbound, exchange);
    assert_eq!(span.text("error.type"), Some("no_healthy_upstream"));
    assert_eq!(
        span.text("envoy.response_code_details"),
        Some("no_healthy_upstream")
    );
    assert!(!span.has("network.peer.address"), "there was no upstream");
}

#[test]
fn a_call_that_fails_in_its_trailers_is_an_error() {
    let exchange = Exchange::grpc("/shop.Stock/Take", 14);
    let span = span_of("", Direction::Inbound, exchange);
    assert_eq!(span.span.name, "shop.Stock/Take");
    assert_eq!(span.text("rpc.response.status_code"), Some("UNAVAILABLE"));
    assert_eq!(span.number("http.response.status_code"), Some(200));
    assert_eq!(span.text("error.type"), Some("UNAVAILABLE"));
    assert_eq!(span.status(), 2);
}

/// A gRPC server that fails at once sends its status among the headers and no trailers.
#[test]
fn a_call_that_fails_without_trailers_is_an_error() {
    let mut exchange = Exchange::grpc("/shop.Stock/Take", 5);
    exchange.response.append(&mut exchange.trailers);
    let exchange = exchange.without_property("response.grpc_status");
    let span = span_of("", Direction::Outbound, exchange);
    assert_eq!(span.text("error.type"), Some("NOT_FOUND"));
    assert_eq!(span.status(), 2);
}

/// What a plain response's headers say need not be asked for; what they do not say is asked.
#[test]
fn sizes_come_from_headers_where_these_tell_them() {
    let sized = |mut exchange: Exchange, length: &str| {
        exchange
            .response
            .push((b"content-length".to_vec(), length.into()));
        exchange
    };
    let head = |mut exchange: Exchange| {
        exchange.request[0].1 = b"HEAD".to_vec();
        exchange
    };
    let asked = Some(512);
    for (what, exchange, size) in [
        ("told", sized(Exchange::get("/"), "77"), Some(77)),
        ("not told", Exchange::get("/"), asked),
        ("nonsense", sized(Exchange::get("/"), "7x"), asked),
        ("no body", sized(head(Exchange::get("/")), "77"), asked),
        (
            "not modified",
            sized(Exchange::get("/").answered(304), "77"),
            asked,
        ),
        (
            "cut short",
            sized(
                Exchange::get("/").property("response.flags", Value::Int(1 << 14)),
                "77",
            ),
            asked,
        ),
        (
            "of envoy",
            sized(
                Exchange::get("/").refused(503, 2, "no_healthy_upstream"),
                "77",
            ),
            asked,
        ),
    ] {
        let span = span_of("", Direction::Inbound, exchange);
        assert_eq!(span.number("http.response.body.size"), size, "{what}");
    }
    let post = Exchange::get("/").property("request.size", Value::Int(9));
    for (exchange, size) in [
        (post.clone(), 9),
        (post.header("content-length", "11"), 11),
        (Exchange::get("/"), 0),
    ] {
        let span = span_of("", Direction::Inbound, exchange);
        assert_eq!(span.number("http.request.body.size"), Some(size));
    }
}

#[test]
fn an_answer_of_the_upstream_is_told_from_one_of_envoy() {
    let details = |exchange| {
        let span = span_of("", Direction::Inbound, exchange);
        span.text("envoy.response_code_details").map(str::to_owned)
    };
    assert_eq!(details(Exchange::get("/")).as_deref(), Some("via_upstream"));
    let left = Exchange::get("/")
        .property("response.flags", Value::Int(1 << 14))
        .property(
            "response.code_details",
            Value::text("downstream_remote_disconnect"),
        );
    assert_eq!(
        details(left).as_deref(),
        Some("downstream_remote_disconnect")
    );
    let refused = Exchange::get("/").refused(403, 0, "rbac_access_denied");
    assert_eq!(details(refused).as_deref(), Some("rbac_access_denied"));
}

/// A response that never reached the filters has no headers, but Envoy knows its status.
#[test]
fn a_status_without_headers_is_asked_for() {
    let mut exchange = Exchange::get("/").refused(400, 1 << 18, "http1.codec_error");
    exchange.response.clear();
    let span = span_of("", Direction::Inbound, exchange);
    assert_eq!(span.number("http.response.status_code"), Some(400));
}

#[test]
fn requests_of_one_connection_share_what_is_known_of_it() {
    let mut worker = Worker::new(&Process::new());
    let root = worker.root("", Direction::Inbound);
    let request = |id: i64, peer: &str| {
        Exchange::get("/")
            .property("connection_id", Value::Int(id))
            .property("source.address", Value::text(peer))
    };
    worker.serve(root, request(1, "10.0.0.1:1000"));
    worker.serve(root, request(2, "10.0.0.2:2000"));
    // Envoy says the same of a connection each time: other words show that it was not asked again.
    worker.serve(root, request(1, "10.0.0.3:3000"));
    worker.advance_ms(1000);
    let spans = spans(&worker.only_call());
    let peers: Vec<_> = spans
        .iter()
        .map(|span| span.text("network.peer.address"))
        .collect();
    assert_eq!(
        peers,
        [Some("10.0.0.1"), Some("10.0.0.2"), Some("10.0.0.1")]
    );
}

#[test]
fn the_node_and_the_environment_name_the_service() {
    let process = Process::new();
    process.set_node(&["metadata", "NAMESPACE"], "shop");
    process.set_node(&["metadata", "LABELS", "app.kubernetes.io/name"], "stock");
    process.set_environment("OTEL_RESOURCE_ATTRIBUTES", "team=blue,service.version=7");
    let mut worker = Worker::new(&process);
    let root = worker.root("", Direction::Inbound);
    worker.serve(root, Exchange::get("/"));
    worker.advance_ms(1000);
    let span = spans(&worker.only_call()).remove(0);
    assert_eq!(span.resource("service.name"), Some("stock"));
    assert_eq!(span.resource("service.namespace"), Some("shop"));
    assert_eq!(span.resource("service.version"), Some("7"));
    assert_eq!(span.resource("team"), Some("blue"));
}

#[test]
fn a_clock_that_goes_back_makes_no_negative_span() {
    let mut worker = Worker::new(&Process::new());
    let root = worker.root("", Direction::Inbound);
    let stream = worker.begin(root, Exchange::get("/"));
    let now_ns = worker.process().now_ns();
    worker.process().set_clock_ns(now_ns - 3_600_000_000_000);
    worker.respond(stream);
    worker.end(stream);
    worker.process().set_clock_ns(now_ns);
    worker.advance_ms(1000);
    let span = spans(&worker.only_call()).remove(0).span;
    assert!(span.end_time_unix_nano >= span.start_time_unix_nano);
}

/// Istio's filter leaves its findings in the filter state; their fields can be read one by one only.
#[test]
fn both_ends_are_said_as_istio_knows_them() {
    let peers = r#"{"attributes": {"istio_peers": true}}"#;
    let exchange = Exchange::get("/")
        .property(
            "filter_state.downstream_peer_obj.workload",
            Value::text("web"),
        )
        .property("filter_state.downstream_peer_obj.app", Value::text(""))
        .property("filter_state.upstream_peer_obj.workload", Value::text(""))
        .property(
            "filter_state.upstream_peer_obj.service",
            Value::text("cart"),
        )
        .property("filter_state.upstream_peer_obj.version", Value::text("v2"));
    let span = span_of(peers, Direction::Inbound, exchange.clone());
    assert_eq!(span.text("istio.source_workload"), Some("web"));
    assert_eq!(
        span.text("istio.destination_canonical_service"),
        Some("cart")
    );
    assert_eq!(span.text("istio.destination_app_version"), Some("v2"));
    assert!(!span.has("istio.source_app"), "empty is unknown");
    assert!(!span.has("istio.destination_workload"));

    let off = span_of("", Direction::Inbound, exchange);
    let unknown = span_of(peers, Direction::Inbound, Exchange::get("/"));
    for span in [off, unknown] {
        let mut keys = span.span.attributes.iter().map(|attribute| &attribute.key);
        assert!(keys.all(|key| !key.starts_with("istio.")));
    }
}
