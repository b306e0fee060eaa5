//! The closed loop: 4 connections, 4 requests in flight on each, every span's ids new.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use futures::future::try_join_all;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::SendRequest;
use spanloom_wire::otlp::{SpanKind, TracesWriter};
use spanloom_wire::{SpanId, Timestamp, TraceId};

use crate::relays::{EXPORT_PATH, connect};

const N_CONNECTIONS: usize = 4;
const N_IN_FLIGHT: usize = 4;

/// Spans of one trace, which in a mesh is a handful.
const SPANS_PER_TRACE: u64 = 8;

/// Counts spans over the whole run, so that no store sees one twice.
static NEXT_SPAN: AtomicU64 = AtomicU64::new(1);

/// Loads `target` for a time, and returns how many spans it acked.
pub(crate) async fn run(target: SocketAddr, n_spans: usize, time: Duration) -> Result<u64> {
    let template = Template::new(n_spans);
    let end = Instant::now() + time;
    let n_requests = AtomicU64::new(0);
    let mut senders = Vec::new();
    for _ in 0..N_CONNECTIONS {
        let connection = connect(&target.to_string()).await?;
        for _ in 0..N_IN_FLIGHT {
            senders.push(send_until(
                end,
                connection.clone(),
                target,
                &template,
                &n_requests,
            ));
        }
    }
    try_join_all(senders).await?;
    Ok(n_requests.load(Relaxed) * n_spans as u64)
}

async fn send_until(
    end: Instant,
    mut connection: SendRequest<Full<Bytes>>,
    target: SocketAddr,
    template: &Template,
    n_requests: &AtomicU64,
) -> Result<()> {
    let uri: http::Uri = format!("http://{target}{EXPORT_PATH}").parse()?;
    while Instant::now() < end {
        let mut request = Request::new(Full::new(template.instance()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri.clone();
        let headers = request.headers_mut();
        headers.insert(
            "content-type",
            http::HeaderValue::from_static("application/grpc"),
        );
        headers.insert("te", http::HeaderValue::from_static("trailers"));
        let response = connection.send_request(request).await?;
        let (head, body) = response.into_parts();
        let collected = body.collect().await?;
        let status = collected
            .trailers()
            .and_then(|trailers| trailers.get("grpc-status"));
        let status = status
            .or_else(|| head.headers.get("grpc-status"))
            .context("no status")?;
        let message = head.headers.get("grpc-message");
        ensure!(status == "0", "the target answered {status:?}: {message:?}");
        n_requests.fetch_add(1, Relaxed);
    }
    Ok(())
}

/// A request whose ids are to be replaced: everything else is the same every time.
struct Template {
    /// With the gRPC prefix.
    framed: Vec<u8>,
    n_spans: usize,
    trace_ids_at: Vec<usize>,
    span_ids_at: Vec<usize>,
}

impl Template {
    fn new(n_spans: usize) -> Self {
        let mut request = Vec::new();
        TracesWriter::new(&mut request).resource_spans(|group| {
            group.resource(|resource| {
                resource.attribute("service.name", "checkout");
                resource.attribute("k8s.pod.name", "checkout-6d4cf56db6-x7k2p");
                resource.attribute("k8s.namespace.name", "shop");
            });
            group.scope_spans(|group| {
                group.scope("spanloom", "0.1.0");
                for i in 0..n_spans {
                    group.span(|span| write_span(span, i as u64));
                }
            });
        });
        let mut framed = vec![0];
        framed.extend_from_slice(&(request.len() as u32).to_be_bytes());
        framed.extend_from_slice(&request);
        let found = |pattern: &[u8]| {
            let all = framed.windows(pattern.len()).enumerate();
            all.filter(|(_, window)| *window == pattern)
                .map(|(at, _)| at)
                .collect()
        };
        let trace_ids_at: Vec<usize> = found(&TRACE_ID);
        let span_ids_at: Vec<usize> = found(&SPAN_ID);
        assert_eq!((trace_ids_at.len(), span_ids_at.len()), (n_spans, n_spans));
        Self {
            framed,
            n_spans,
            trace_ids_at,
            span_ids_at,
        }
    }

    fn instance(&self) -> Bytes {
        let mut framed = self.framed.clone();
        let first = NEXT_SPAN.fetch_add(self.n_spans as u64, Relaxed);
        for (i, (&trace_id_at, &span_id_at)) in
            self.trace_ids_at.iter().zip(&self.span_ids_at).enumerate()
        {
            let span = first + i as u64;
            // Spread over the whole range, as real ids are.
            let trace = (span / SPANS_PER_TRACE).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            framed[trace_id_at..][..8].copy_from_slice(&trace.to_be_bytes());
            framed[trace_id_at + 8..][..8].copy_from_slice(&trace.rotate_left(32).to_be_bytes());
            let id = span.wrapping_mul(0xbf58_476d_1ce4_e5b9) | 1;
            framed[span_id_at..][..8].copy_from_slice(&id.to_be_bytes());
        }
        framed.into()
    }
}

const TRACE_ID: [u8; 16] = *b"a-whole-trace-id";
const SPAN_ID: [u8; 8] = *b"span-id!";

/// A server span as a sidecar makes it, of about 650 bytes.
fn write_span(span: &mut spanloom_wire::otlp::SpanWriter<'_>, i: u64) {
    let start = 1_700_000_000_000_000_000 + i * 1_000_000;
    span.trace_id(TraceId::from_bytes(TRACE_ID).expect("it is not zero"));
    span.span_id(SpanId::from_bytes(SPAN_ID).expect("it is not zero"));
    span.parent_span_id(SpanId::from_bytes([7; 8]).expect("it is not zero"));
    span.name("POST /api/v1/checkout/{cart}");
    span.kind(SpanKind::Server);
    span.start(Timestamp::from_nanos(start));
    span.end(Timestamp::from_nanos(start + 2_345_678));
    span.attributes(|attributes| {
        attributes.attribute("http.request.method", "POST");
        attributes.attribute("http.response.status_code", 200_i64);
        attributes.attribute("http.route", "/api/v1/checkout/{cart}");
        attributes.attribute(
            "url.path",
            "/api/v1/checkout/7f3a9c1e-5b2d-4e8f-a6c0-9d1b3e5f7a2c",
        );
        attributes.attribute("url.scheme", "http");
        attributes.attribute("server.address", "checkout.shop.svc.cluster.local");
        attributes.attribute("server.port", 8080_i64);
        attributes.attribute("network.peer.address", "10.244.3.117");
        attributes.attribute("user_agent.original", "shop-frontend/2.14.0 (linux; amd64)");
        attributes.attribute("http.request.body.size", 1482_i64);
        attributes.attribute("http.response.body.size", 371_i64);
        attributes.attribute(
            "upstream.cluster",
            "outbound|8080||stock.shop.svc.cluster.local",
        );
    });
}
