//! The filter comes as Istio delivers it: the listener names a resource, and extension configuration
//! discovery brings it. The discovery server is a file here; names and shapes are istiod's.

use serde_json::json;
use spanloom_tests::lab::{Delivery, EnvoyOptions, Lab, Sink, Tracing};
use xtask::wait;

fn check_delivered_as(resource: &str) {
    let Some((envoy, module)) = spanloom_tests::envoy_and_filter().expect("a built filter") else {
        return spanloom_tests::not_run("Envoy: cargo xtask parts envoy");
    };
    let sink = Sink::start().expect("a sink");
    let tracing = Tracing::Filter {
        module,
        configuration: json!({ "batch": { "interval_ms": 50 } }),
        delivery: Delivery::Discovered {
            resource: resource.to_owned(),
        },
    };
    let lab = Lab::start(&envoy, EnvoyOptions::new(tracing, sink.address())).expect("an Envoy");

    let outcome = lab.send(&[], 1).expect("an answer");
    assert_eq!(outcome.answer.status(), 200);
    outcome.calls[0]
        .headers
        .only("traceparent")
        .expect("a traceparent");
    // One span of the inbound listener, one of the outbound.
    wait::until("both spans", || Ok((sink.n_spans() == 2).then_some(()))).expect("spans");
    let updates = format!("extension_config_discovery.http_filter.{resource}.config_reload");
    lab.envoy()
        .wait_for_stat(&updates, |n| n > 0)
        .expect("a discovered filter");
}

#[test]
fn a_wasm_plugin_of_istio_up_to_1_29() {
    check_delivered_as("extensions.istio.io/wasmplugin/istio-system.spanloom");
}

#[test]
fn a_wasm_plugin_of_istio_1_30_and_later() {
    check_delivered_as(
        "extensions.istio.io/trafficextension/istio-system.spanloom~istio-translated-wasmplugin",
    );
}

#[test]
fn a_traffic_extension_of_istio_1_30_and_later() {
    check_delivered_as("extensions.istio.io/trafficextension/istio-system.spanloom");
}
