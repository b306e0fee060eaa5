//! Serves the pages with made-up traces, to look at them while changing them:
//!
//! ```text
//! cargo run -p spanloom-query --example pages [PORT]
//! ```
//!
//! Beside a shop's ordinary requests there are traces of the awkward kinds: 100,000 spans, a chain
//! 500 deep, a missing parent, hostile text. They keep their ids from run to run; the page that
//! lists them is printed at the start.

#![expect(clippy::print_stdout, reason = "a program for people")]
#![expect(clippy::disallowed_methods, reason = "made-up traces end now")]

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use spanloom_query::{Options, router};
use spanloom_storage::{MemoryStore, TraceWriter as _};
use spanloom_wire::otlp::{AttributesWriter, SpanKind, StatusCode, TracesWriter};
use spanloom_wire::{SpanId, Timestamp, TraceId};

const MS: u64 = 1_000_000;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let port: u16 = std::env::args().nth(1).map_or(Ok(0), |port| port.parse())?;
    let store = MemoryStore::new(10_000);
    let now = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos())?;
    let mut random = Random(7);
    for n in 0..60 {
        let start = now - random.below(55 * 60_000) * MS;
        store.write(checkout(1000 + n, start, &mut random)).await?;
    }
    store.write(flat(1, now - 200_000 * MS, 100_000)).await?;
    store.write(chain(2, now - 100_000 * MS, 500)).await?;
    store.write(awkward(3, now - 50_000 * MS)).await?;

    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    println!("http://{}/?limit=100", listener.local_addr()?);
    axum::serve(listener, router(Arc::new(store), Options::default())).await?;
    Ok(())
}

/// A small generator (splitmix64), so that every run draws the same traces.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ (mixed >> 27)) % bound
    }
}

/// One span of a made-up trace; times in nanoseconds since the trace's start.
struct Made<'a> {
    service: &'a str,
    id: u64,
    parent: u64,
    name: &'a str,
    kind: SpanKind,
    start: u64,
    duration: u64,
    error: &'a str,
}

fn request(trace: u128, trace_start: u64, spans: &[Made<'_>]) -> Bytes {
    let mut out = Vec::new();
    for span in spans {
        TracesWriter::new(&mut out).resource_spans(|resource_spans| {
            resource_spans.resource(|resource| write_resource(resource, span.service));
            resource_spans.scope_spans(|scope_spans| {
                scope_spans.scope("spanloom-filter", "0.1.0");
                scope_spans.span(|out| {
                    out.trace_id(TraceId::from_bytes(trace.to_be_bytes()).expect("not zero"));
                    out.span_id(SpanId::from_bytes(span.id.to_be_bytes()).expect("not zero"));
                    if let Some(parent) = SpanId::from_bytes(span.parent.to_be_bytes()) {
                        out.parent_span_id(parent);
                    }
                    out.name(span.name);
                    out.kind(span.kind);
                    let start = trace_start + span.start;
                    out.start(Timestamp::from_nanos(start));
                    out.end(Timestamp::from_nanos(start + span.duration));
                    out.attributes(|attributes| write_attributes(attributes, span));
                    if !span.error.is_empty() {
                        let at = Timestamp::from_nanos(start + span.duration / 2);
                        out.event(at, "exception", |event| {
                            event.attribute("exception.type", "reqwest::Error");
                            event.attribute("exception.message", span.error);
                        });
                        out.status(StatusCode::Error, span.error);
                    }
                });
            });
        });
    }
    out.into()
}

fn write_resource(resource: &mut AttributesWriter<'_>, service: &str) {
    resource.attribute("service.name", service);
    resource.attribute("service.version", "1.4.2");
    resource.attribute("k8s.namespace.name", "shop");
    resource.attribute(
        "k8s.pod.name",
        format!("{service}-7c9f8d6b5-x2x7k").as_str(),
    );
    resource.attribute("telemetry.sdk.language", "rust");
}

fn write_attributes(attributes: &mut AttributesWriter<'_>, span: &Made<'_>) {
    match span.kind {
        SpanKind::Server | SpanKind::Client => {
            attributes.attribute("http.request.method", "POST");
            attributes.attribute("url.path", "/checkout/4711");
            let status = if span.error.is_empty() { 200_i64 } else { 503 };
            attributes.attribute("http.response.status_code", status);
            attributes.attribute("server.address", "checkout.shop.svc.cluster.local");
            attributes.attribute("network.protocol.version", "2");
            attributes.attribute(
                "user_agent.original",
                "Mozilla/5.0 (X11; Linux x86_64) Gecko",
            );
        }
        _ => attributes.attribute("code.function.name", "shop::cart::price"),
    }
}

/// A request through a shop: gateway, frontend, checkout, stock, payment.
fn checkout(trace: u128, start: u64, random: &mut Random) -> Bytes {
    let slow = if random.below(10) == 0 { 5 } else { 1 };
    let mut took = |ms: u64| (ms * MS / 2 + random.below(ms * MS)) * slow;
    let (stock, price, pay) = (took(12), took(6), took(45));
    let error = if pay % 7 == 0 {
        "upstream connect error: connection refused"
    } else {
        ""
    };
    let (server, client, internal) = (SpanKind::Server, SpanKind::Client, SpanKind::Internal);
    let total = stock + price + pay;
    let made = |service, id, parent, name, kind, start, duration, error| Made {
        service,
        id,
        parent,
        name,
        kind,
        start,
        duration,
        error,
    };
    request(
        trace,
        start,
        &[
            made(
                "gateway",
                1,
                0,
                "POST /checkout/{id}",
                server,
                0,
                total + 14 * MS,
                error,
            ),
            made(
                "gateway",
                2,
                1,
                "POST frontend",
                client,
                MS,
                total + 12 * MS,
                error,
            ),
            made(
                "frontend",
                3,
                2,
                "POST /checkout/{id}",
                server,
                2 * MS,
                total + 10 * MS,
                error,
            ),
            made(
                "frontend",
                4,
                3,
                "load session",
                internal,
                2 * MS + 300_000,
                MS,
                "",
            ),
            made(
                "frontend",
                5,
                3,
                "render basket",
                internal,
                4 * MS,
                total + 7 * MS,
                "",
            ),
            made(
                "frontend",
                6,
                5,
                "POST checkout",
                client,
                5 * MS,
                total + 5 * MS,
                error,
            ),
            made(
                "checkout",
                7,
                6,
                "POST /order",
                server,
                6 * MS,
                total + 3 * MS,
                error,
            ),
            made("checkout", 8, 7, "GET stock", client, 7 * MS, stock, ""),
            made(
                "stock",
                9,
                8,
                "GET /items/{sku}",
                server,
                7 * MS + 400_000,
                stock - MS,
                "",
            ),
            made(
                "stock",
                10,
                9,
                "SELECT items",
                client,
                8 * MS,
                stock / 2,
                "",
            ),
            made(
                "checkout",
                11,
                7,
                "price basket",
                internal,
                7 * MS + stock,
                price,
                "",
            ),
            made(
                "checkout",
                12,
                7,
                "POST payment",
                client,
                7 * MS + stock + price,
                pay,
                error,
            ),
            made(
                "payment",
                13,
                12,
                "POST /charges",
                server,
                8 * MS + stock + price,
                pay - 2 * MS,
                error,
            ),
            made(
                "checkout",
                14,
                7,
                "orders publish",
                SpanKind::Producer,
                8 * MS + total,
                40_000,
                "",
            ),
            made(
                "mailer",
                15,
                14,
                "orders process",
                SpanKind::Consumer,
                10 * MS + total,
                3 * MS,
                "",
            ),
        ],
    )
}

fn flat(trace: u128, start: u64, n: u64) -> Bytes {
    let spans = (0..n).map(|i| Made {
        service: ["batch", "worker", "store", "cache"][(i % 4) as usize],
        id: i + 1,
        parent: if i == 0 { 0 } else { (i - 1) / 8 + 1 },
        name: if i == 0 {
            "nightly import"
        } else {
            "import row"
        },
        kind: SpanKind::Internal,
        start: i * MS / 10,
        duration: if i == 0 {
            n * MS / 10
        } else {
            MS * (1 + i % 50)
        },
        error: if i % 9973 == 5 { "row refused" } else { "" },
    });
    request(trace, start, &spans.collect::<Vec<_>>())
}

fn chain(trace: u128, start: u64, n: u64) -> Bytes {
    let spans = (0..n).map(|i| Made {
        service: "recursion",
        id: i + 1,
        parent: i,
        name: "visit node",
        kind: SpanKind::Internal,
        start: i * MS,
        duration: (2 * n - 2 * i) * MS,
        error: "",
    });
    request(trace, start, &spans.collect::<Vec<_>>())
}

fn awkward(trace: u128, start: u64) -> Bytes {
    let made = |service, id, parent, name, start, duration| Made {
        service,
        id,
        parent,
        name,
        kind: SpanKind::Unspecified,
        start,
        duration,
        error: "",
    };
    request(
        trace,
        start,
        &[
            made(
                "<script>alert(1)</script>",
                1,
                0,
                "\"><img src=x onerror=alert(1)>",
                0,
                9 * MS,
            ),
            made("orphans", 2, 99, "its parent never came", 2 * MS, 3 * MS),
            made("circles", 3, 4, "hangs from its child", 3 * MS, 2 * MS),
            made("circles", 4, 3, "hangs from its parent", 4 * MS, 0),
            made("twins", 5, 1, "the same id", 5 * MS, MS),
            made("twins", 5, 1, "as this one", 6 * MS, MS),
            made(
                "a-service-with-a-very-long-name-such-as-generators-of-names-make-them-up",
                6,
                1,
                "and an operation that goes on and on and on and on and on and on and on and on",
                7 * MS,
                MS,
            ),
        ],
    )
}
