//! What strangers send: each fault gets its code, and the process goes on serving others.

use std::convert::Infallible;
use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::{StreamExt, stream};
use http_body::Frame;
use http_body_util::StreamBody;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use spanloom_collector::config::REQUEST_BYTES_MAX;
use spanloom_collector::grpc::{self, Code, RpcStatus, Status};
use tokio_util::task::AbortOnDropHandle;

use crate::support::{
    Collector, PATIENCE, export, framed, grpc_call, grpc_export, grpc_send, n_spans, request,
    trace_id,
};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Inflates to more than any limit, and to more than the test's byte budget.
fn bomb() -> Vec<u8> {
    let chunk = vec![0; 1 << 20];
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    for _ in 0..(REQUEST_BYTES_MAX >> 20) + 8 {
        encoder.write_all(&chunk).unwrap();
    }
    encoder.finish().unwrap()
}

/// Valid but for its ids.
fn with_zero_ids() -> Vec<u8> {
    request(1)
        .iter()
        .map(|&byte| if byte == 1 { 0 } else { byte })
        .collect()
}

/// Valid but for its name.
fn with_invalid_utf8() -> Vec<u8> {
    let mut bytes = request(1).to_vec();
    let at = bytes
        .windows(4)
        .position(|window| window == b"GET ")
        .unwrap();
    bytes[at] = 0xff;
    bytes
}

fn random_bytes(n: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    })
    .take(n)
    .collect()
}

/// Every span that a good request brought can be read, so nothing got stuck and nobody died.
async fn assert_serves(collector: &Collector) {
    assert_eq!(
        export(collector.address("otlp_grpc"), 0x77).await.code,
        Code::Ok
    );
    let response = reqwest::Client::new()
        .post(collector.url("otlp_http", "/v1/traces"))
        .header(CONTENT_TYPE, "application/x-protobuf")
        .body(request(0x78))
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()[CONTENT_TYPE], "application/x-protobuf");
    assert_eq!(n_spans(collector, 0x77).await, 1);
    assert_eq!(n_spans(collector, 0x78).await, 1);
    let health = reqwest::get(collector.url("health", "/status"))
        .await
        .unwrap();
    assert_eq!(health.status(), 200);
}

#[tokio::test]
async fn faults_over_grpc_get_their_codes_and_harm_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let collector = Collector::backend(directory.path());
    let address = collector.address("otlp_grpc");

    let mut oversize = vec![0];
    oversize.extend_from_slice(&(REQUEST_BYTES_MAX as u32 + 1).to_be_bytes());
    let mut two_messages = framed(0, &request(1));
    two_messages.extend(framed(0, &request(2)));
    let good = request(1);

    type Case = (
        &'static str,
        &'static [(&'static str, &'static str)],
        Vec<u8>,
        Code,
        &'static str,
    );
    let gzip_header: &'static [_] = &[("grpc-encoding", "gzip")];
    let cases: Vec<Case> = vec![
        (
            "random bytes",
            &[],
            framed(0, &random_bytes(500)),
            Code::InvalidArgument,
            "malformed",
        ),
        (
            "truncated protobuf",
            &[],
            framed(0, &good[..good.len() - 1]),
            Code::InvalidArgument,
            "cut off",
        ),
        (
            "zero ids",
            &[],
            framed(0, &with_zero_ids()),
            Code::InvalidArgument,
            "only zeros",
        ),
        (
            "invalid UTF-8",
            &[],
            framed(0, &with_invalid_utf8()),
            Code::InvalidArgument,
            "UTF-8",
        ),
        (
            "no message",
            &[],
            Vec::new(),
            Code::InvalidArgument,
            "cut off",
        ),
        (
            "half a prefix",
            &[],
            vec![0, 0, 0],
            Code::InvalidArgument,
            "cut off",
        ),
        (
            "half a message",
            &[],
            framed(0, &good)[..20].to_vec(),
            Code::InvalidArgument,
            "cut off",
        ),
        (
            "two messages",
            &[],
            two_messages,
            Code::InvalidArgument,
            "more after it",
        ),
        (
            "an unknown flag",
            &[],
            framed(2, &good),
            Code::InvalidArgument,
            "flag",
        ),
        (
            "oversize",
            &[],
            oversize,
            Code::ResourceExhausted,
            "larger than the limit",
        ),
        (
            "a gzip bomb",
            gzip_header,
            framed(1, &bomb()),
            Code::ResourceExhausted,
            "larger than",
        ),
        (
            "broken gzip",
            gzip_header,
            framed(1, b"not gzip"),
            Code::InvalidArgument,
            "gzip",
        ),
        (
            "cut gzip",
            gzip_header,
            framed(1, &gzip(&good)[..20]),
            Code::InvalidArgument,
            "gzip",
        ),
        (
            "a flag without encoding",
            &[],
            framed(1, &gzip(&good)),
            Code::InvalidArgument,
            "compressed",
        ),
        (
            "unknown encoding",
            &[("grpc-encoding", "br")],
            framed(1, &good),
            Code::Unimplemented,
            "br",
        ),
    ];
    for (name, headers, body, code, message) in cases {
        let status = grpc_export(address, headers, body).await;
        assert_eq!(status.code, code, "{name}: {status:?}");
        assert!(status.message.contains(message), "{name}: {status:?}");
        assert_eq!(status.retry_delay, None, "{name}");
    }
    let gzipped = grpc_export(address, gzip_header, framed(1, &gzip(&request(0x55)))).await;
    assert_eq!(gzipped.code, Code::Ok);
    assert_eq!(n_spans(&collector, 0x55).await, 1);
    assert_serves(&collector).await;
}

#[tokio::test]
async fn other_services_and_other_protocols_are_told_apart() {
    let directory = tempfile::tempdir().unwrap();
    let collector = Collector::backend(directory.path());
    let address = collector.address("otlp_grpc");

    let path = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
    let (_, headers) = grpc_call(address, path, &[], framed(0, b"")).await;
    assert_eq!(headers["grpc-status"], "12");
    assert_eq!(headers["grpc-accept-encoding"], "identity,gzip");

    let json = [("content-type", "application/json")];
    let (status, _) = grpc_call(address, grpc::EXPORT_PATH, &json, Vec::new()).await;
    assert_eq!(status, 415);
    assert_serves(&collector).await;
}

#[tokio::test]
async fn faults_over_http_get_their_codes_in_the_request_s_encoding() {
    let directory = tempfile::tempdir().unwrap();
    let collector = Collector::backend(directory.path());
    let client = reqwest::Client::new();
    let url = collector.url("otlp_http", "/v1/traces");
    const PROTOBUF: &str = "application/x-protobuf";
    const JSON: &str = "application/json; charset=utf-8";
    let good = request(1);
    let oversize = vec![0; REQUEST_BYTES_MAX + 1];

    type Case = (
        &'static str,
        &'static str,
        &'static str,
        Vec<u8>,
        u16,
        &'static str,
    );
    let cases: Vec<Case> = vec![
        ("random bytes", PROTOBUF, "", random_bytes(500), 400, "malformed"),
        ("random JSON", JSON, "", random_bytes(500), 400, "JSON"),
        ("truncated protobuf", PROTOBUF, "", good[..good.len() - 1].to_vec(), 400, "cut off"),
        ("truncated JSON", JSON, "", b"{\"resourceSpans\":[".to_vec(), 400, "EOF"),
        ("deep JSON", JSON, "", b"[{\"a\":".repeat(100_000), 400, "JSON"),
        ("zero ids", PROTOBUF, "", with_zero_ids(), 400, "only zeros"),
        ("zero ids in JSON", JSON, "", br#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"00000000000000000000000000000000","spanId":"0000000000000001"}]}]}]}"#.to_vec(), 400, "only zeros"),
        ("invalid UTF-8", PROTOBUF, "", with_invalid_utf8(), 400, "UTF-8"),
        ("invalid UTF-8 in JSON", JSON, "", b"{\"resourceSpans\":[{\"schemaUrl\":\"\xff\"}]}".to_vec(), 400, "JSON"),
        ("oversize", PROTOBUF, "", oversize, 413, "larger than the limit"),
        ("a gzip bomb", PROTOBUF, "gzip", bomb(), 413, "larger than the limit"),
        ("broken gzip", JSON, "gzip", b"not gzip".to_vec(), 400, "gzip"),
        ("an unknown encoding", JSON, "br", b"{}".to_vec(), 415, "br"),
        ("a wrong content type", "text/plain", "", good.to_vec(), 415, "content type"),
        ("no content type", "", "", good.to_vec(), 415, "content type"),
    ];
    for (name, content_type, encoding, body, status, message) in cases {
        let mut request = client.post(&url).body(body);
        if !content_type.is_empty() {
            request = request.header(CONTENT_TYPE, content_type);
        }
        if !encoding.is_empty() {
            request = request.header(CONTENT_ENCODING, encoding);
        }
        let response = request
            .send()
            .await
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(response.status(), status, "{name}");
        assert_eq!(response.headers().get(RETRY_AFTER), None, "{name}");
        let answered = response.headers()[CONTENT_TYPE]
            .to_str()
            .unwrap()
            .to_owned();
        let body = response.bytes().await.unwrap();
        let said = if content_type == JSON {
            assert_eq!(answered, "application/json", "{name}");
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
            body["message"].as_str().unwrap().to_owned()
        } else {
            assert_eq!(answered, PROTOBUF, "{name}");
            prost::Message::decode(body)
                .map(|status: RpcStatus| status.message)
                .unwrap()
        };
        assert!(said.contains(message), "{name}: {said}");
    }

    let wrong_method = client.get(&url).send().await.unwrap();
    assert_eq!(wrong_method.status(), 405);
    assert_eq!(wrong_method.headers()["allow"], "POST");
    let wrong_path = client
        .post(collector.url("otlp_http", "/v1/logs"))
        .send()
        .await
        .unwrap();
    assert_eq!(wrong_path.status(), 404);
    assert_serves(&collector).await;
}

#[tokio::test]
async fn json_gzip_and_empty_requests_are_taken_over_http() {
    let directory = tempfile::tempdir().unwrap();
    let collector = Collector::backend(directory.path());
    let client = reqwest::Client::new();
    let post = |body: Vec<u8>, encoding: &'static str| {
        client
            .post(collector.url("otlp_http", "/v1/traces"))
            .header(CONTENT_TYPE, "application/json")
            .header(CONTENT_ENCODING, encoding)
            .body(body)
            .send()
    };
    let json = format!(
        r#"{{"resourceSpans":[{{"resource":{{"attributes":[{{"key":"service.name",
        "value":{{"stringValue":"cart"}}}}]}},"scopeSpans":[{{"spans":[{{"traceId":"{}",
        "spanId":"00f067aa0ba902b7","name":"x","startTimeUnixNano":"1700000000000000000",
        "endTimeUnixNano":1700000000000000001}}]}}]}}]}}"#,
        trace_id(0x33).to_uppercase()
    );
    let response = post(gzip(json.as_bytes()), "gzip").await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.text().await.unwrap(), "{}");
    assert_eq!(n_spans(&collector, 0x33).await, 1);

    assert_eq!(
        post(b"{}".to_vec(), "identity").await.unwrap().status(),
        200
    );
    let empty = grpc_export(collector.address("otlp_grpc"), &[], framed(0, b"")).await;
    assert_eq!(empty.code, Code::Ok);
}

#[tokio::test]
async fn over_the_byte_budget_senders_are_told_to_wait_in_both_protocols() {
    let directory = tempfile::tempdir().unwrap();
    let collector = Collector::backend(directory.path());
    // Two unfinished requests of 39 MiB take the 80 MiB: their prefix says what is coming.
    let length = 39_u32 << 20;
    let mut prefix = vec![0];
    prefix.extend_from_slice(&length.to_be_bytes());
    let address = collector.address("otlp_grpc");
    let held = [hold(address, &prefix), hold(address, &prefix)];

    let large = framed(0, &vec![0; 3 << 20]);
    let status = wait_until_overloaded(address, &large).await;
    assert_eq!(status.code, Code::Unavailable);
    assert!(status.retry_delay.is_some());

    let response = reqwest::Client::new()
        .post(collector.url("otlp_http", "/v1/traces"))
        .header(CONTENT_TYPE, "application/x-protobuf")
        .body(vec![0; 3 << 20])
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 429);
    assert_eq!(response.headers()[RETRY_AFTER], "1");

    // Small requests still fit, and the room comes back.
    assert_eq!(export(address, 0x21).await.code, Code::Ok);
    drop(held);
    assert_serves(&collector).await;
}

/// Asks until the held requests have arrived and there is no room left.
async fn wait_until_overloaded(address: &str, large: &[u8]) -> Status {
    let asking = async {
        loop {
            let status = grpc_export(address, &[], large.to_vec()).await;
            if status.code != Code::InvalidArgument {
                return status;
            }
        }
    };
    tokio::time::timeout(PATIENCE, asking)
        .await
        .expect("the budget to be used up")
}

/// Sends the beginning of a body over gRPC and keeps the request open while the result lives. If it
/// is refused, since another request happens to be read just then, it is sent again.
fn hold(address: &str, beginning: &[u8]) -> AbortOnDropHandle<()> {
    let beginning = Bytes::copy_from_slice(beginning);
    let address = address.to_owned();
    AbortOnDropHandle::new(tokio::spawn(async move {
        loop {
            let first = stream::iter([Ok::<_, Infallible>(Frame::data(beginning.clone()))]);
            let body = StreamBody::new(first.chain(stream::pending()));
            let _ = grpc_send(&address, grpc::EXPORT_PATH, &[], body).await;
        }
    }))
}
