//! A server of ours answers, over a real socket.

use std::net::SocketAddr;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use opentelemetry::trace::{Span as _, Tracer as _, TracerProvider as _};
use prost::Message;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use super::*;
use crate::builder;
use crate::testing::Sink;

/// Answers every question with these bytes, as long as the runtime lives.
fn serve(answer: Answer) -> (Runtime, SocketAddr) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build();
    let runtime = runtime.unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    let app = axum::Router::new()
        .route(
            "/jaeger.api_v2.SamplingManager/GetSamplingStrategy",
            axum::routing::post(reply),
        )
        .with_state(answer);
    runtime.spawn(async move { axum::serve(listener, app).await });
    (runtime, address)
}

async fn reply(State(answer): State<Answer>, question: Body) -> axum::response::Response {
    let question = question.collect().await.unwrap().to_bytes();
    assert_eq!(Question::decode(&question[5..]).unwrap().service, "cart");
    let message = answer.encode_to_vec();
    let mut framed = vec![0];
    framed.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    framed.extend(message);
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let frames = [Frame::data(Bytes::from(framed)), Frame::trailers(trailers)];
    let frames = futures::stream::iter(frames.map(Ok::<_, std::io::Error>));
    let mut response = axum::response::Response::new(Body::new(StreamBody::new(frames)));
    let content = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert("content-type", content);
    response
}

#[test]
fn the_server_decides_by_name_once_it_has_answered() {
    let named = NamedRatio {
        name: "kept".into(),
        ratio: Some(Ratio { rate: 1.0 }),
    };
    let by_operation = ByOperation {
        default_rate: 0.0,
        at_least_per_second: 0.0,
        operations: vec![named],
    };
    let (_runtime, address) = serve(Answer {
        by_operation: Some(by_operation),
        ..Answer::default()
    });
    let lookup = move |name: &str| match name {
        "OTEL_SERVICE_NAME" => Some("cart".to_owned()),
        "OTEL_TRACES_SAMPLER" => Some("parentbased_jaeger_remote".to_owned()),
        "OTEL_TRACES_SAMPLER_ARG" => Some(format!(
            "endpoint=http://{address},pollingIntervalMs=10,initialSamplingRate=0"
        )),
        _ => None,
    };
    let sink = Sink::default();
    let guard = builder()
        .environment(lookup)
        .exporter(sink.clone())
        .start()
        .unwrap();
    let tracer = guard.tracer_provider().tracer("test");
    let deadline = Instant::now() + Duration::from_secs(20);
    while !tracer.start("kept").span_context().is_sampled() {
        assert!(
            Instant::now() < deadline,
            "the server's answer has no effect"
        );
        std::thread::yield_now();
    }
    assert!(!tracer.start("dropped").span_context().is_sampled());
}

#[test]
fn each_answer_becomes_its_strategy() {
    let sampled = |answer: Answer| {
        let sampler = RemoteSampler {
            strategy: Arc::new(RwLock::new(answer.into())),
        };
        let decide = |name| {
            let id = TraceId::from(u128::MAX);
            let result = sampler.should_sample(None, id, name, &SpanKind::Server, &[], &[]);
            result.decision == decision(true)
        };
        [decide("a"), decide("a"), decide("a")]
    };
    let none = Answer::default();
    assert_eq!(sampled(none.clone()), [false; 3]);
    let ratio = Answer {
        ratio: Some(Ratio { rate: 1.0 }),
        ..none.clone()
    };
    assert_eq!(sampled(ratio), [true; 3]);
    let limit = Answer {
        kind: 1,
        per_second: Some(PerSecond { traces: 2 }),
        ..none.clone()
    };
    assert_eq!(sampled(limit), [true, true, false]);
    let least = ByOperation {
        at_least_per_second: 0.1,
        ..ByOperation::default()
    };
    let least = Answer {
        by_operation: Some(least),
        ..none
    };
    assert_eq!(sampled(least), [true, false, false]);
}

#[test]
fn a_bucket_fills_again_but_never_over_its_rim() {
    let start = Instant::now();
    let bucket = Bucket::new(2.0, start);
    let take = |seconds| bucket.take(start + Duration::from_secs_f64(seconds));
    assert_eq!([take(0.0), take(0.0), take(0.0)], [true, true, false]);
    assert_eq!([take(0.5), take(0.5)], [true, false]);
    assert_eq!([take(60.0), take(60.0), take(60.0)], [true, true, false]);
    for hostile in [f64::NAN, f64::NEG_INFINITY, -1.0, 0.0] {
        assert!(!Bucket::new(hostile, start).take(start + Duration::from_secs(9)));
    }
}
