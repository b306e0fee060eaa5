//! Durations of what is no request: queries, commands, messages. And whom a call over gRPC asks.

use std::convert::Infallible;

use axum::body::Body;
use futures::{FutureExt, StreamExt};
use opentelemetry::Context;
use opentelemetry::trace::{FutureExt as _, TraceContextExt};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use spanloom::messaging::{ProcessTraced, Tracing};
use spanloom::nats::PublishTraced;
use spanloom::redis::IntoTraced as _;
use spanloom::sqlx::IntoTraced as _;
use spanloom::{grpc, opentelemetry};
use tower::{Layer, ServiceExt};
use xtask::server::{Kind, Server};

use super::{TRACE, start};

/// In a trace that the caller does not sample.
fn unsampled() -> Context {
    let parent = opentelemetry::trace::SpanContext::new(
        opentelemetry::trace::TraceId::from_hex(TRACE).unwrap(),
        7.into(),
        opentelemetry::trace::TraceFlags::NOT_SAMPLED,
        true,
        opentelemetry::trace::TraceState::NONE,
    );
    Context::new().with_remote_span_context(parent)
}

#[tokio::test]
async fn queries_are_counted_by_what_they_do_and_a_sampled_one_is_the_example() {
    let (guard, sink) = start();
    let provider = guard.tracer_provider();
    let pool = sqlx::sqlite::SqlitePoolOptions::new().max_connections(1);
    let pool = pool.connect("sqlite::memory:").await.unwrap();
    let create = "CREATE TABLE orders (id INTEGER PRIMARY KEY)";
    sqlx::query(create).execute(&pool).await.unwrap();
    let pool = pool.traced_by(provider);
    let select = |id: i64| sqlx::query("SELECT id FROM orders WHERE id = $1").bind(id);
    select(1).fetch_all(&pool).await.unwrap();
    for id in 2..4 {
        let query = async { select(id).fetch_all(&pool).await };
        query.with_context(unsampled()).await.unwrap();
    }
    sqlx::query("DELETE FROM nowhere")
        .execute(&pool)
        .await
        .unwrap_err();
    let mut transaction = pool.begin().await.unwrap();
    sqlx::query("INSERT INTO orders VALUES (7)")
        .execute(&mut *transaction)
        .await
        .unwrap();
    transaction.commit().await.unwrap();
    // Whoever asked has lost interest.
    let connection = pool.acquire().await.unwrap();
    assert!(select(4).fetch_all(&pool).now_or_never().is_none());
    drop(connection);
    pool.close().await;
    select(1).fetch_all(&pool).await.unwrap_err();
    let told = [
        "db.system.name",
        "db.query.summary",
        "db.operation.name",
        "db.collection.name",
        "db.query.text",
        "db.response.status_code",
        "error.type",
    ];
    let line = |rest: &str| format!("db.client.operation.duration db.system.name=sqlite {rest}\n");
    let select = "db.query.summary=SELECT orders";
    assert_eq!(
        sink.figures(&told),
        [
            line("db.query.summary=BEGIN db.operation.name=BEGIN count=1 spans=1"),
            line("db.query.summary=COMMIT db.operation.name=COMMIT count=1 spans=1"),
            line(
                "db.query.summary=DELETE nowhere db.response.status_code=1 error.type=1 \
                 count=1 spans=1"
            ),
            line("db.query.summary=INSERT orders count=1 spans=1"),
            line(&format!("{select} count=3 spans=1")),
            line(&format!("{select} error.type=cancelled count=1 spans=1")),
            line(&format!("{select} error.type=pool_closed count=1 spans=1")),
        ]
        .concat()
    );
    let metric = sink.metrics().remove(0);
    let Some(Data::Histogram(histogram)) = metric.data else {
        panic!("{:?}", metric.data);
    };
    let point = &histogram.data_points[0];
    assert_eq!(
        point.explicit_bounds,
        [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0]
    );
    assert_eq!(point.bucket_counts.len(), 10);
}

#[tokio::test]
async fn commands_of_redis_are_counted_with_the_servers_errors() {
    let Some(server) = Server::shared(Kind::Redis) else {
        return;
    };
    let (guard, sink) = start();
    let client = redis::Client::open(format!("redis://{}/", server.address())).unwrap();
    let connection = client.get_multiplexed_async_connection().await.unwrap();
    let traced = connection.traced_by(guard.tracer_provider());
    let mut traced = traced.with_address_of(&client);
    let set = async |connection: &mut _, context: Context| {
        let set = redis::cmd("SET").arg("measured").arg(1).to_owned();
        set.exec_async(connection)
            .with_context(context)
            .await
            .unwrap();
    };
    set(&mut traced, Context::new()).await;
    set(&mut traced, unsampled()).await;
    let push = redis::cmd("LPUSH").arg("measured").arg(1).to_owned();
    push.exec_async(&mut traced).await.unwrap_err();
    let told = [
        "db.system.name",
        "db.operation.name",
        "server.address",
        "server.port",
        "db.response.status_code",
        "error.type",
    ];
    let port = server.address().port().to_string();
    let line = |operation: &str, rest: &str| {
        format!(
            "db.client.operation.duration db.system.name=redis db.operation.name={operation} \
             server.address=127.0.0.1 server.port={port} {rest}\n"
        )
    };
    let error = "db.response.status_code=WRONGTYPE error.type=WRONGTYPE count=1 spans=1";
    assert_eq!(
        sink.figures(&told),
        line("LPUSH", error) + &line("SET", "count=2 spans=1")
    );
}

#[tokio::test]
async fn messages_are_counted_where_they_are_sent_and_where_they_are_processed() {
    let Some(server) = Server::shared(Kind::Nats) else {
        return;
    };
    let (guard, sink) = start();
    let tracing = Tracing::new().with_tracer_provider(guard.tracer_provider());
    let kitchen = tracing.clone().with_consumer_group("kitchen");
    let orders = tracing.clone().with_destination_template("measured.{id}");
    let client = async_nats::connect(server.address().to_string())
        .await
        .unwrap();
    let mut received = client.subscribe("measured.>").await.unwrap();
    // As everything is with which telemetry is sent.
    let suppressed = {
        let _suppressed = Context::enter_telemetry_suppressed_scope();
        Context::current()
    };
    for (tracing, subject, context) in [
        (&tracing, "elsewhere", suppressed),
        (&tracing, "measured.tea", Context::new()),
        (&tracing, "measured.tea", unsampled()),
        (&orders, "measured.17", Context::new()),
        (&orders, "measured.18", Context::new()),
    ] {
        let headers = async_nats::HeaderMap::new();
        let publish = client.publish_traced_by(tracing, subject, headers, "x".into());
        publish.with_context(context).await.unwrap();
    }
    let ok = received.next().await.unwrap();
    ok.process_traced_by(&kitchen, async |_| ()).await;
    let refused = received.next().await.unwrap();
    let refused = refused.process_traced_by(&kitchen, async |_| Err::<(), _>("burnt"));
    refused.await.unwrap_err();
    let dropped = received.next().await.unwrap();
    let dropped = dropped.process_traced_by(&orders, async |_| std::future::pending::<()>().await);
    assert!(dropped.now_or_never().is_none());
    let broken = received.next().await.unwrap();
    let broken = broken.process_traced_by(&orders, async |_| panic!("the pot is broken") as ());
    let broken = std::panic::AssertUnwindSafe(broken).catch_unwind();
    broken.await.unwrap_err();
    let told = [
        "messaging.system",
        "messaging.operation.name",
        "messaging.destination.name",
        "messaging.destination.template",
        "messaging.consumer.group.name",
        "error.type",
    ];
    let line = |name: &str, operation: &str, rest: &str| {
        let system = "messaging.system=nats messaging.operation.name";
        format!("messaging.{name} {system}={operation} {rest}\n")
    };
    let tea = "messaging.destination.name=measured.tea";
    let kitchen = format!("{tea} messaging.consumer.group.name=kitchen");
    let template = "messaging.destination.template=measured.{id}";
    let consumed = |rest: &str| line("client.consumed.messages", "process", rest);
    let sending = |rest: &str| line("client.operation.duration", "publish", rest);
    let sent = |rest: &str| line("client.sent.messages", "publish", rest);
    let in_work = |rest: &str| line("process.duration", "process", rest);
    assert_eq!(
        sink.figures(&told),
        [
            consumed(&format!("{kitchen} count=1")),
            consumed(&format!("{kitchen} error.type=&str count=1")),
            consumed(&format!("{template} error.type=cancelled count=1")),
            consumed(&format!("{template} error.type=panic count=1")),
            sending(&format!("{tea} count=2 spans=1")),
            sending(&format!("{template} count=2 spans=1")),
            sent(&format!("{tea} count=2")),
            sent(&format!("{template} count=2")),
            in_work(&format!("{kitchen} count=1 spans=1")),
            in_work(&format!("{kitchen} error.type=&str count=1 spans=0")),
            in_work(&format!("{template} error.type=cancelled count=1 spans=1")),
            in_work(&format!("{template} error.type=panic count=1 spans=1")),
        ]
        .concat()
    );
}

#[tokio::test]
async fn a_call_that_does_not_know_its_server_has_the_one_that_its_layer_was_told() {
    let (guard, sink) = start();
    let service = tower::service_fn(async |_: http::Request<Body>| {
        let answer = http::Response::builder().header("grpc-status", "0");
        Ok::<_, Infallible>(answer.body(Body::empty()).unwrap())
    });
    let layer = grpc::ClientLayer::new().with_tracer_provider(guard.tracer_provider());
    for (layer, uri) in [
        (layer.clone(), "/shop.Stock/Count"),
        (layer.clone(), "https://stock.shop/shop.Stock/Count"),
        (
            layer.clone().with_server("stock", 50051),
            "/shop.Stock/Count",
        ),
        // What the request says is nearer.
        (
            layer.with_server("stock", 50051),
            "http://other:50052/shop.Stock/Count",
        ),
    ] {
        let request = http::Request::post(uri).body(Body::empty()).unwrap();
        layer.layer(service).oneshot(request).await.unwrap();
    }
    guard.flush().unwrap();
    let told = ["server.address", "server.port"];
    let rpc = |rest: &str| format!("rpc.client.call.duration {rest}count=1 spans=1\n");
    assert_eq!(
        sink.figures(&told),
        [
            rpc(""),
            rpc("server.address=other server.port=50052 "),
            rpc("server.address=stock server.port=50051 "),
            rpc("server.address=stock.shop server.port=443 "),
        ]
        .concat()
    );
    assert_eq!(
        sink.tree(&told),
        "CLIENT shop.Stock/Count\n\
         CLIENT shop.Stock/Count server.address=stock.shop\n\
         CLIENT shop.Stock/Count server.address=stock server.port=50051\n\
         CLIENT shop.Stock/Count server.address=other server.port=50052\n"
    );
}
