//! What the filter says about a request in a real Envoy, whatever it read and whatever it concluded.

use std::collections::BTreeMap;

use serde_json::json;
use spanloom_tests::lab::{Delivery, Envoy, EnvoyOptions, Sink, Tracing, load};
use spanloom_wire::otlp::TracesView;
use xtask::wait;

type Attributes = BTreeMap<String, String>;

/// The attributes of `n` requests to the listener, sent over one connection.
async fn attributes(envoy: &Envoy, sink: &Sink, listener: &str, n: usize) -> Vec<Attributes> {
    let n_before = all(sink).len();
    let listener = envoy.listener(listener).expect("a listener");
    load::run(listener, 1, n).await.expect("answers");
    wait::until("the spans", || {
        Ok((all(sink).len() == n_before + n).then_some(()))
    })
    .expect("spans");
    all(sink).split_off(n_before)
}

fn all(sink: &Sink) -> Vec<Attributes> {
    let mut spans = Vec::new();
    for request in sink.requests() {
        for span in TracesView::new(&request).spans() {
            let attributes = span.span.attributes();
            let text = |value| match value {
                spanloom_wire::otlp::Value::Str(text) => text.to_owned(),
                spanloom_wire::otlp::Value::Int(number) => number.to_string(),
                other => format!("{other:?}"),
            };
            spans.push(
                attributes
                    .map(|attribute| (attribute.key.to_owned(), text(attribute.value)))
                    .collect(),
            );
        }
    }
    spans
}

/// Both protocols, as another implementation of gzip reads them.
#[tokio::test(flavor = "multi_thread")]
async fn compressed_exports_arrive_whole() {
    let Some((binary, module)) = spanloom_tests::envoy_and_filter().expect("a built filter") else {
        return spanloom_tests::not_run("Envoy: cargo xtask parts envoy");
    };
    for (protocol, cluster) in [("grpc", "otel_collector"), ("http", "otel_collector_http")] {
        let sink = Sink::start().expect("a sink");
        sink.keep_requests();
        let exporter = json!({ "protocol": protocol, "cluster": cluster, "compression": "gzip" });
        let tracing = Tracing::Filter {
            module: module.clone(),
            configuration: json!({ "batch": { "interval_ms": 50 }, "exporter": exporter }),
            delivery: Delivery::Inline,
        };
        let mut options = EnvoyOptions::new(tracing, sink.address());
        options.answers_itself = true;
        let envoy = Envoy::start(&binary, &options).expect("an Envoy");
        for span in attributes(&envoy, &sink, "inbound", 100).await {
            check(&span, &[("url.path", "/api/orders/4711")]);
        }
        assert_eq!(sink.n_invalid(), 0, "{protocol}");
        assert_eq!(sink.n_gzip(), sink.requests().len() as u64, "{protocol}");
    }
}

fn check(attributes: &Attributes, expected: &[(&str, &str)]) {
    for (key, value) in expected {
        assert_eq!(
            attributes.get(*key).map(String::as_str),
            Some(*value),
            "{key} of {attributes:#?}"
        );
    }
}

/// Ports differ from run to run; everything else is known.
fn port(attributes: &Attributes, key: &str) -> u16 {
    attributes[key].parse().expect("a port")
}

#[tokio::test(flavor = "multi_thread")]
async fn each_request_of_a_connection_is_described_in_full() {
    let Some((binary, module)) = spanloom_tests::envoy_and_filter().expect("a built filter") else {
        return spanloom_tests::not_run("Envoy: cargo xtask parts envoy");
    };
    let sink = Sink::start().expect("a sink");
    sink.keep_requests();
    let tracing = Tracing::Filter {
        module,
        configuration: json!({
            "batch": { "interval_ms": 50 },
            // Plain Envoy knows nothing of peers: asking must cost no attribute and no error.
            "attributes": { "istio_peers": true }
        }),
        delivery: Delivery::Inline,
    };
    let mut options = EnvoyOptions::new(tracing, sink.address());
    options.app = load::start_upstream().await.expect("an upstream");
    options.next = options.app;
    let upstream_port = options.app.port();
    let envoy = Envoy::start(&binary, &options).expect("an Envoy");

    let size = load::ANSWER.len().to_string();
    let both = [
        ("http.request.method", "GET"),
        ("http.response.status_code", "200"),
        ("network.protocol.version", "1.1"),
        ("http.request.body.size", "0"),
        ("http.response.body.size", &*size),
        ("envoy.response_code_details", "via_upstream"),
        ("network.peer.address", "127.0.0.1"),
    ];
    let inbound = attributes(&envoy, &sink, "inbound", 3).await;
    for span in &inbound {
        check(span, &both);
        assert!(span.keys().all(|key| !key.starts_with("istio.")));
        check(
            span,
            &[
                ("url.path", "/api/orders/4711"),
                ("envoy.upstream_cluster", "inbound|8080||"),
            ],
        );
        assert_eq!(
            port(span, "network.peer.port"),
            port(&inbound[0], "network.peer.port"),
            "the caller's connection"
        );
    }
    assert_ne!(port(&inbound[0], "network.peer.port"), upstream_port);

    // The same root serves the other direction, over another connection.
    for span in attributes(&envoy, &sink, "outbound", 2).await {
        check(&span, &both);
        let cluster = "outbound|8080||stock.shop.svc.cluster.local";
        check(&span, &[("envoy.upstream_cluster", cluster)]);
        assert!(span["url.full"].ends_with("/api/orders/4711?expand=items"));
        assert_eq!(port(&span, "network.peer.port"), upstream_port);
    }
}
