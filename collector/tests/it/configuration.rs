//! The command line, from the outside.

use std::process::{Command, Output};

fn spanloom(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_spanloom"))
        .args(args)
        .output()
        .unwrap()
}

fn with_config(yaml: &str, command: &[&str]) -> (Option<i32>, String) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("collector.yaml");
    // A directory below a file can be made by nobody, root included.
    std::fs::write(&path, yaml.replace("FILE", path.to_str().unwrap())).unwrap();
    let mut args = command.to_vec();
    args.extend(["--config", path.to_str().unwrap()]);
    let output = spanloom(&args);
    let text = String::from_utf8(output.stderr).unwrap();
    (
        output.status.code(),
        text.replace(path.to_str().unwrap(), "collector.yaml"),
    )
}

const GOOD: &str = "
receivers: {otlp: {protocols: {grpc: {endpoint: '127.0.0.1:1'}}}}
exporters: {jaeger_storage_exporter: {trace_storage: main}}
extensions: {jaeger_storage: {backends: {main: {embedded: {directory: FILE/below}}}}}
service:
  extensions: [jaeger_storage]
  pipelines: {traces: {receivers: [otlp], exporters: [jaeger_storage_exporter]}}
";

#[test]
fn validate_opens_nothing() {
    let (code, text) = with_config(GOOD, &["validate"]);
    assert_eq!(
        (code, text.as_str()),
        (Some(0), "collector.yaml: a valid configuration\n")
    );
}

#[test]
fn a_wrong_key_is_named_and_exits_64() {
    for command in [&["validate"][..], &[]] {
        let (code, text) = with_config(&GOOD.replace("endpoint", "endpont"), command);
        assert_eq!(code, Some(64));
        insta::assert_snapshot!("a_wrong_key", text);
    }
}

#[test]
fn a_missing_file_a_wrong_flag_and_a_contradiction_exit_64() {
    assert_eq!(
        spanloom(&["--config", "/nowhere/at/all"]).status.code(),
        Some(64)
    );
    let output = spanloom(&["--otlp-grpc-prot", "1"]);
    assert_eq!(output.status.code(), Some(64));
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("--otlp-grpc-port")
    );
    let (code, text) = with_config(GOOD, &["--query-port", "0"]);
    assert_eq!(code, Some(64));
    assert!(text.contains("--query-port"), "{text}");
}

#[test]
fn what_cannot_be_opened_is_named() {
    let (code, text) = with_config(GOOD, &[]);
    assert_eq!(code, Some(1));
    assert!(text.contains("cannot open the store main"), "{text}");

    let yaml = GOOD.replace("embedded: {directory: FILE/below}", "memory: {}");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = taken.local_addr().unwrap().to_string();
    let (code, text) = with_config(&yaml.replace("127.0.0.1:1", &endpoint), &[]);
    assert_eq!(code, Some(1));
    assert!(
        text.contains(&format!("cannot listen on {endpoint} for otlp_grpc")),
        "{text}"
    );
}
