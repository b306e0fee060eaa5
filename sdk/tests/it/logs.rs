//! `init` for a whole process: the one test that may, since a process has one subscriber.

use std::process::Command;

/// Runs this test binary again as a program of its own and reads its standard output.
#[test]
fn log_lines_carry_the_ids_of_their_span() {
    let program = std::env::current_exe().unwrap();
    let output = Command::new(program)
        .args([
            "--exact",
            "logs::program",
            "--nocapture",
            "--include-ignored",
        ])
        .env("SPANLOOM_TEST_PROGRAM", "1")
        .env("OTEL_TRACES_EXPORTER", "none")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text
        .lines()
        .find(|line| line.contains("inside"))
        .expect(&text);
    let ids = line.split_once(r#""trace_id":""#).expect(line).1;
    assert_eq!(ids.find('"'), Some(32), "{line}");
    assert!(
        ids.contains(r#""span_id":""#) && line.ends_with(r#""}"#),
        "{line}"
    );
    let line = text
        .lines()
        .find(|line| line.contains("outside"))
        .expect(&text);
    assert!(!line.contains("trace_id"), "{line}");
}

/// The program; nothing when it is run as a test.
#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the variable tells the two runs apart"
)]
fn program() {
    if std::env::var_os("SPANLOOM_TEST_PROGRAM").is_none() {
        return;
    }
    let _tracing = spanloom::builder()
        .log_format(spanloom::LogFormat::Json)
        .init()
        .unwrap();
    tracing::info!("outside");
    tracing::info_span!("work").in_scope(|| tracing::info!("inside"));
    assert!(matches!(
        spanloom::init(),
        Err(spanloom::Error::Subscriber(_))
    ));
}
