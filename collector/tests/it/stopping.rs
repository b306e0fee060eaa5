//! What a crash and a stop leave behind.

use spanloom_collector::grpc::Code;

use crate::support::{Collector, Destination, export, framed, message_answer, n_spans, request};

fn relay_to(destination: &Destination) -> String {
    format!(
        "
receivers: {{otlp: {{protocols: {{grpc: {{endpoint: '127.0.0.1:0'}}}}}}}}
exporters: {{otlp: {{endpoint: '{}', tls: {{insecure: true}}, timeout: 60s}}}}
extensions: {{health_check: {{endpoint: '127.0.0.1:0'}}}}
service: {{extensions: [health_check], pipelines: {{traces: {{receivers: [otlp], exporters: [otlp]}}}}}}
",
        destination.address
    )
}

#[tokio::test]
async fn what_was_acked_is_there_after_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let collector = Collector::backend(directory.path());
    for id in 1..=20 {
        assert_eq!(
            export(collector.address("otlp_grpc"), id).await.code,
            Code::Ok
        );
    }
    collector.kill();

    let collector = Collector::backend(directory.path());
    for id in 1..=20 {
        assert_eq!(n_spans(&collector, id).await, 1, "trace {id}");
    }
    assert_eq!(
        export(collector.address("otlp_grpc"), 21).await.code,
        Code::Ok
    );
}

#[tokio::test]
async fn a_stop_finishes_what_was_accepted_and_accepts_no_more() {
    let directory = tempfile::tempdir().unwrap();
    let mut destination = Destination::start().await;
    let collector = Collector::configured(directory.path(), &relay_to(&destination), &[]);
    let address = collector.address("otlp_grpc").to_owned();
    let health = collector.url("health", "/");
    let sending = tokio::spawn({
        let address = address.clone();
        async move { export(&address, 1).await }
    });
    assert_eq!(destination.received().await.1, framed(0, &request(1)));

    collector.signal("-TERM");
    collector.wait_for_line("stopping");
    assert_eq!(reqwest::get(health).await.unwrap().status(), 503);
    tokio::time::timeout(crate::support::PATIENCE, async {
        while tokio::net::TcpStream::connect(&address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the listener to close");

    destination.answer(message_answer(b"")).await;
    assert_eq!(sending.await.unwrap().code, Code::Ok);
    let (status, lines) = collector.wait().await;
    assert!(status.success(), "{status}");
    let books: Vec<_> = lines
        .iter()
        .filter(|line| line.contains("taken="))
        .collect();
    assert_eq!(books.len(), 2, "{lines:?}");
    for line in books {
        assert!(line.contains("taken=1 done=1 in_flight=0"), "{line}");
    }
}

#[tokio::test]
async fn a_stop_that_cannot_finish_says_so_after_its_time() {
    let directory = tempfile::tempdir().unwrap();
    let mut destination = Destination::start().await;
    let yaml = relay_to(&destination);
    let collector = Collector::configured(directory.path(), &yaml, &["--stop-timeout-s=0"]);
    let address = collector.address("otlp_grpc").to_owned();
    let sending =
        tokio::spawn(async move { tokio::spawn(async move { export(&address, 1).await }).await });
    destination.received().await;
    collector.signal("-INT");
    let (status, lines) = collector.wait().await;
    assert_eq!(status.code(), Some(1));
    assert!(
        lines
            .iter()
            .any(|line| line.contains("taken=1 done=0 in_flight=1")),
        "{lines:?}"
    );
    // The sender lost its connection, and so knows that it was not acked.
    assert!(sending.await.unwrap().is_err());
}

#[tokio::test]
async fn a_second_signal_stops_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let mut destination = Destination::start().await;
    let collector = Collector::configured(directory.path(), &relay_to(&destination), &[]);
    let address = collector.address("otlp_grpc").to_owned();
    let sending = tokio::spawn(async move { export(&address, 1).await });
    destination.received().await;
    collector.signal("-TERM");
    collector.wait_for_line("stopping");
    collector.signal("-TERM");
    let (status, _) = collector.wait().await;
    assert_eq!(status.code(), Some(1));
    sending.abort();
}
