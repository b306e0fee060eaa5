//! What the sender hears of what destinations answer.

use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use spanloom_collector::config::Config;
use spanloom_collector::grpc::{Code, ExportResponse, PartialSuccess, Status};
use spanloom_collector::ledger::Balance;
use spanloom_collector::reason::Reason;
use spanloom_collector::service::Service;

use crate::support::{
    Answer, Destination, PATIENCE, export, framed, http_answer, message_answer, request,
    status_answer,
};

const BUDGET: usize = 1 << 20;

/// A collector in this process, with these exporters in one pipeline.
async fn relay(exporters: &[(&str, String)]) -> Service {
    let ids: Vec<&str> = exporters.iter().map(|(id, _)| *id).collect();
    let definitions: String = exporters
        .iter()
        .map(|(id, keys)| format!("  {id}: {keys}\n"))
        .collect();
    let yaml = format!(
        "receivers: {{otlp: {{protocols: {{grpc: {{endpoint: '127.0.0.1:0'}}}}}}}}\n\
         exporters:\n{definitions}\
         service: {{pipelines: {{traces: {{receivers: [otlp], exporters: [{}]}}}}}}\n",
        ids.join(", ")
    );
    let config = Config::parse(&yaml, &|_| None).unwrap_or_else(|error| panic!("{error}"));
    Service::start(config, BUDGET).await.unwrap()
}

const QUICK: &str = "retry_on_failure: {initial_interval: 1ms, max_interval: 1ms}";

fn grpc_to(destination: &Destination) -> String {
    format!(
        "{{endpoint: '{}', tls: {{insecure: true}}, {QUICK}}}",
        destination.address
    )
}

fn http_to(destination: &Destination) -> String {
    format!("{{endpoint: 'http://{}', {QUICK}}}", destination.address)
}

fn balance(service: &Service, id: &str) -> Balance {
    let mut exporters = service.accounts().filter(|(kind, ..)| *kind == "exporter");
    let (_, _, account) = exporters.find(|(_, exporter, _)| *exporter == id).unwrap();
    account.balance()
}

async fn send(service: &Service) -> Status {
    let address = service.addresses()["otlp_grpc"].to_string();
    tokio::time::timeout(PATIENCE, export(&address, 1))
        .await
        .expect("an answer")
}

#[tokio::test]
async fn the_same_bytes_arrive_over_both_protocols() {
    let (mut grpc, mut http) = (Destination::start().await, Destination::start().await);
    let relay = relay(&[("otlp", grpc_to(&grpc)), ("otlp_http", http_to(&http))]).await;
    grpc.answer(message_answer(b"")).await;
    http.answer(http_answer(200, &[])).await;

    assert_eq!(send(&relay).await.code, Code::Ok);
    let (headers, body) = grpc.received().await;
    assert_eq!(headers["te"], "trailers");
    assert_eq!(body, framed(0, &request(1)));
    let (headers, body) = http.received().await;
    assert_eq!(headers["content-type"], "application/x-protobuf");
    assert_eq!(body, request(1));
    for id in ["otlp", "otlp_http"] {
        let balance = balance(&relay, id);
        assert_eq!((balance.done, balance.in_flight()), (1, 0), "{id}");
    }
}

#[tokio::test]
async fn passing_failures_are_tried_again_until_they_pass() {
    let (grpc, http) = (Destination::start().await, Destination::start().await);
    let relay = relay(&[("otlp", grpc_to(&grpc)), ("otlp_http", http_to(&http))]).await;
    let exhausted = Status {
        retry_delay: Some(Duration::from_millis(2)),
        ..Status::new(Code::ResourceExhausted, "busy")
    };
    grpc.answer(status_answer(&exhausted)).await;
    grpc.answer(status_answer(&Status::new(Code::Unavailable, "restarting")))
        .await;
    grpc.answer(message_answer(b"")).await;
    http.answer(http_answer(503, &[("retry-after", "0")])).await;
    http.answer(http_answer(429, &[])).await;
    http.answer(http_answer(200, &[])).await;

    assert_eq!(send(&relay).await.code, Code::Ok);
    assert_eq!((grpc.n_unseen(), http.n_unseen()), (3, 3));
}

/// Sends one request to a destination that answers so, once.
async fn after(answer: Answer, to: fn(&Destination) -> String, id: &str) -> (Status, Balance) {
    let destination = Destination::start().await;
    let relay = relay(&[(id, to(&destination))]).await;
    destination.answer(answer).await;
    let status = send(&relay).await;
    assert_eq!(destination.n_unseen(), 1, "it was tried again");
    (status, balance(&relay, id))
}

#[tokio::test]
async fn final_failures_are_told_once_and_booked() {
    for (code, told) in [
        (Code::Internal, Code::Internal),
        (Code::Unauthenticated, Code::Internal),
        (Code::ResourceExhausted, Code::Internal),
        (Code::InvalidArgument, Code::InvalidArgument),
    ] {
        let answer = status_answer(&Status::new(code, "no thanks"));
        let (status, balance) = after(answer, grpc_to, "otlp").await;
        assert_eq!(status.code, told, "{code:?}");
        assert!(status.message.contains("no thanks"), "{status:?}");
        assert_eq!((balance.done, balance.in_flight()), (0, 0), "{code:?}");
    }
    for (answered, told) in [
        (500, Code::Internal),
        (401, Code::Internal),
        (400, Code::InvalidArgument),
    ] {
        let (status, balance) = after(http_answer(answered, &[]), http_to, "otlp_http").await;
        assert_eq!(status.code, told, "{answered}");
        assert_eq!((balance.done, balance.in_flight()), (0, 0), "{answered}");
    }
}

#[tokio::test]
async fn a_partial_success_is_acked_and_booked_and_not_tried_again() {
    let partial = ExportResponse {
        partial_success: Some(PartialSuccess {
            rejected_spans: 1,
            error_message: "too old".to_owned(),
        }),
    };
    let (status, balance) = after(message_answer(&partial.encode_to_vec()), grpc_to, "otlp").await;
    assert_eq!(status.code, Code::Ok);
    assert_eq!((balance.done, balance.lost(Reason::PartialSuccess)), (0, 1));
}

#[tokio::test]
async fn a_destination_that_is_not_there_is_unavailable_when_patience_ends() {
    let gone = Destination::start().await.address;
    let keys = format!(
        "{{endpoint: '{gone}', tls: {{insecure: true}}, retry_on_failure: {{enabled: false}}}}"
    );
    let relay = relay(&[("otlp", keys)]).await;
    let status = send(&relay).await;
    assert_eq!(status.code, Code::Unavailable, "{status:?}");
    assert_eq!(
        balance(&relay, "otlp").lost(Reason::DestinationUnavailable),
        1
    );
}

#[tokio::test]
async fn one_failing_destination_does_not_keep_spans_from_another() {
    let (failing, mut working) = (Destination::start().await, Destination::start().await);
    let relay = relay(&[
        ("otlp/failing", grpc_to(&failing)),
        ("otlp/working", grpc_to(&working)),
    ])
    .await;
    working.answer(message_answer(b"")).await;
    let sending = tokio::spawn({
        let address = relay.addresses()["otlp_grpc"].to_string();
        async move { export(&address, 1).await }
    });
    // The failing one has not answered yet, and the other one has the spans.
    assert_eq!(working.received().await.1, framed(0, &request(1)));
    failing
        .answer(status_answer(&Status::new(Code::Internal, "no")))
        .await;
    assert_eq!(sending.await.unwrap().code, Code::Internal);
    assert_eq!(balance(&relay, "otlp/working").done, 1);
}

#[tokio::test]
async fn a_connection_that_the_destination_closed_is_made_again() {
    let mut first = Destination::start().await;
    let address = first.address;
    let relay = relay(&[("otlp", grpc_to(&first))]).await;
    first.answer(message_answer(b"")).await;
    assert_eq!(send(&relay).await.code, Code::Ok);
    first.received().await;
    drop(first);
    // A new one on the same port, which may take a moment to be free.
    let mut second = Destination::start_at(address).await;
    second.answer(message_answer(b"")).await;
    assert_eq!(send(&relay).await.code, Code::Ok);
    assert_eq!(
        second.received().await.1,
        Bytes::from(framed(0, &request(1)))
    );
}

#[tokio::test]
async fn the_sender_s_deadline_bounds_the_retries() {
    let destination = Destination::start().await;
    let keys = format!(
        "{{endpoint: '{}', tls: {{insecure: true}}}}",
        destination.address
    );
    let relay = relay(&[("otlp", keys)]).await;
    destination
        .answer(status_answer(&Status::new(Code::Unavailable, "restarting")))
        .await;
    // The first wait would be of seconds: too long for this sender, who hears of it at once.
    let address = relay.addresses()["otlp_grpc"].to_string();
    let timeout = [("grpc-timeout", "2S")];
    let status = crate::support::grpc_export(&address, &timeout, framed(0, &request(1))).await;
    assert_eq!(status.code, Code::Unavailable, "{status:?}");
    assert!(status.message.contains("restarting"), "{status:?}");
}
