//! What `deploy/` holds is what the filter and Envoy take.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use spanloom_filter::config::Settings;
use xtask::workspace::root;

/// The filter's configuration in a manifest, wherever its kind has it.
fn plugin_config(manifest: &Value) -> Option<&Value> {
    let spec = &manifest["spec"];
    match manifest["kind"].as_str()? {
        "WasmPlugin" => spec.get("pluginConfig"),
        "TrafficExtension" => spec["wasm"].get("pluginConfig"),
        "EnvoyExtensionPolicy" => spec["wasm"][0].get("config"),
        _ => None,
    }
}

#[test]
fn the_filter_understands_the_configuration_in_every_manifest() {
    let mut n_configurations = 0;
    for file in [
        "istio/wasmplugin.yaml",
        "istio/trafficextension.yaml",
        "envoy-gateway/envoy-extension-policy.yaml",
    ] {
        let text = fs::read_to_string(root().join("deploy").join(file)).expect(file);
        let manifests: Vec<Value> = serde_saphyr::from_multiple(&text).expect(file);
        for configuration in manifests.iter().filter_map(plugin_config) {
            let json = configuration.to_string();
            Settings::parse(json.as_bytes()).unwrap_or_else(|fault| panic!("{file}: {fault}"));
            n_configurations += 1;
        }
    }
    assert_eq!(
        n_configurations, 4,
        "one a manifest, two in the one with waypoints"
    );
}

#[test]
fn envoy_takes_the_static_configuration() {
    let Some((envoy, module)) = spanloom_tests::envoy_and_filter().expect("a built filter") else {
        return spanloom_tests::not_run("Envoy: cargo xtask parts envoy");
    };
    let folder = tempfile::tempdir().expect("a folder");
    // The configuration names the module without a folder.
    fs::copy(module, folder.path().join("spanloom_filter.wasm")).expect("a copy");
    let configuration = root().join("deploy/envoy/envoy.yaml");
    let output = validate(&envoy, &configuration, folder.path());
    assert!(output.contains("OK"), "{output}");

    let text = fs::read_to_string(&configuration).expect("the configuration");
    let json = text
        .split_once("value: |")
        .and_then(|(_, rest)| rest.split_once("- name:"));
    let json = json.expect("the filter's configuration").0.trim();
    Settings::parse(json.as_bytes()).expect("keys that the filter knows");
}

fn validate(envoy: &Path, configuration: &Path, folder: &Path) -> String {
    let output = Command::new(envoy)
        .args(["--mode", "validate", "--config-path"])
        .arg(configuration)
        .current_dir(folder)
        .output()
        .expect("envoy");
    let said = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&said).into_owned()
}
