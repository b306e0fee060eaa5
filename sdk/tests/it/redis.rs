//! Commands to a real Redis.

use opentelemetry::trace::{FutureExt, TraceContextExt, Tracer, TracerProvider};
use opentelemetry::{Context, KeyValue};
use redis::aio::{ConnectionManager, MultiplexedConnection};
use redis::{AsyncCommands, Client, Cmd, Commands, Pipeline, RedisFuture, Value};
use spanloom::redis::{IntoTraced, Traced};
use spanloom::testing::Sink;
use spanloom::{Guard, opentelemetry};
use xtask::server::{Kind, Server};

const TOLD: [&str; 5] = [
    "db.operation.name",
    "db.query.text",
    "db.operation.batch.size",
    "db.response.status_code",
    "error.type",
];

fn start() -> (Guard, Sink) {
    let sink = Sink::default();
    let builder = spanloom::builder()
        .environment(|_| None)
        .exporter(sink.clone());
    (builder.start().unwrap(), sink)
}

/// A client of a database of its own on the server that all tests share.
fn client(db: u8) -> Option<Client> {
    let redis = Server::shared(Kind::Redis)?;
    Some(Client::open(format!("redis://{}/{db}", redis.address())).unwrap())
}

async fn connect(client: &Client, guard: &Guard) -> Traced<MultiplexedConnection> {
    let connection = client.get_multiplexed_async_connection().await.unwrap();
    connection.traced_by(guard.tracer_provider())
}

#[tokio::test]
async fn a_command_is_a_child_of_its_request_and_hides_its_arguments() {
    let Some(client) = client(1) else { return };
    let (guard, sink) = start();
    let mut connection = connect(&client, &guard).await.with_address_of(&client);
    let tracer = guard.tracer_provider().tracer("test");
    let request = Context::new().with_span(tracer.start("request"));
    let set = connection
        .set("secret", "tea")
        .with_context(request.clone());
    let () = set.await.unwrap();
    request.span().end();
    guard.flush().unwrap();
    assert_eq!(
        sink.tree(&[
            "db.system.name",
            "db.namespace",
            "db.operation.name",
            "db.query.text"
        ]),
        "INTERNAL request\n  CLIENT SET db.system.name=redis db.namespace=1 \
         db.operation.name=SET db.query.text=SET ? ?\n"
    );
    let address = Server::shared(Kind::Redis).unwrap().address();
    let attributes = &sink.spans()[0].attributes;
    assert!(attributes.contains(&KeyValue::new("server.address", address.ip().to_string())));
    assert!(attributes.contains(&KeyValue::new("server.port", i64::from(address.port()))));
}

#[tokio::test]
async fn a_pipeline_and_a_transaction_are_one_span_each() {
    let Some(client) = client(2) else { return };
    let (guard, sink) = start();
    let mut connection = connect(&client, &guard).await;
    let mut pipeline = redis::pipe();
    pipeline.set("a", 1).ignore().get("a");
    let (a,): (i64,) = pipeline.query_async(&mut connection).await.unwrap();
    let mut transaction = redis::pipe();
    transaction.atomic().incr("a", 1).incr("a", 1);
    let (_, c): (i64, i64) = transaction.query_async(&mut connection).await.unwrap();
    assert_eq!((a, c), (1, 3));
    guard.flush().unwrap();
    assert_eq!(
        sink.tree(&TOLD),
        "CLIENT PIPELINE db.operation.name=PIPELINE db.query.text=SET ? ?\nGET ? \
         db.operation.batch.size=2\n\
         CLIENT MULTI INCRBY db.operation.name=MULTI INCRBY \
         db.query.text=INCRBY ? ?\nINCRBY ? ? db.operation.batch.size=2\n"
    );
}

#[tokio::test]
async fn errors_have_the_servers_prefix_wherever_they_are() {
    let Some(client) = client(3) else { return };
    let (guard, sink) = start();
    let mut connection = connect(&client, &guard).await;
    let () = connection.set("text", "tea").await.unwrap();
    let incr: redis::RedisResult<i64> = connection.incr("text", 1).await;
    incr.unwrap_err();
    let push: redis::RedisResult<i64> = connection.lpush("text", 1).await;
    push.unwrap_err();
    let mut unknown = redis::cmd("unheard");
    let unknown = unknown.arg("secret").exec_async(&mut connection);
    unknown.await.unwrap_err();
    for atomic in [false, true] {
        let mut pipeline = redis::pipe();
        if atomic {
            pipeline.atomic();
        }
        pipeline.get("text").lpush("text", 1);
        let answer: redis::RedisResult<(String, i64)> = pipeline.query_async(&mut connection).await;
        answer.unwrap_err();
    }
    guard.flush().unwrap();
    let wrong = "Operation against a key holding the wrong kind of value";
    assert_eq!(
        sink.tree(&["db.response.status_code", "error.type"]),
        format!(
            "CLIENT SET\n\
             CLIENT INCRBY db.response.status_code=ERR error.type=ERR \
             ERROR: value is not an integer or out of range\n\
             CLIENT LPUSH db.response.status_code=WRONGTYPE error.type=WRONGTYPE ERROR: {wrong}\n\
             CLIENT UNHEARD db.response.status_code=ERR error.type=ERR \
             ERROR: unknown command 'unheard'\n\
             CLIENT PIPELINE db.response.status_code=WRONGTYPE error.type=WRONGTYPE ERROR: {wrong}\n\
             CLIENT MULTI db.response.status_code=WRONGTYPE error.type=WRONGTYPE ERROR: {wrong}\n"
        )
    );
}

#[tokio::test]
async fn a_manager_reconnects_and_a_dropped_command_is_cancelled() {
    let Some(server) = Server::start(Kind::Redis).unwrap() else {
        return;
    };
    let (guard, sink) = start();
    let client = Client::open(format!("redis://{}", server.address())).unwrap();
    let manager = ConnectionManager::new(client).await.unwrap();
    let mut manager = manager.traced_by(guard.tracer_provider());
    let () = manager.clone().set("a", 1).await.unwrap();
    let never = manager.blpop::<_, ()>("nothing", 0.0);
    assert!(futures::poll!(Box::pin(never)).is_pending());
    server.stop().unwrap();
    manager.get::<_, ()>("a").await.unwrap_err();
    guard.flush().unwrap();
    let tree = sink.tree(&["error.type"]);
    assert!(
        tree.starts_with(
            "CLIENT SET\n\
             CLIENT BLPOP error.type=cancelled ERROR: the call was dropped before its answer\n\
             CLIENT GET error.type=io ERROR: "
        ),
        "{tree}"
    );
}

#[test]
fn a_blocking_connection_has_the_same_spans() {
    let Some(client) = client(4) else { return };
    let (guard, sink) = start();
    let connection = client.get_connection().unwrap();
    let mut connection = Traced::new(connection).with_tracer_provider(guard.tracer_provider());
    let () = connection.set("a", "tea").unwrap();
    let push: redis::RedisResult<i64> = connection.lpush("a", 1);
    push.unwrap_err();
    let mut pipeline = redis::pipe();
    pipeline.get("a").get("b");
    let _: (String, Option<String>) = pipeline.query(&mut connection).unwrap();
    let (_, _): (String, i64) = redis::pipe()
        .atomic()
        .get("a")
        .del("a")
        .query(&mut connection)
        .unwrap();
    guard.flush().unwrap();
    assert_eq!(
        sink.tree(&["db.query.text", "db.operation.batch.size", "error.type"]),
        "CLIENT SET db.query.text=SET ? ?\n\
         CLIENT LPUSH db.query.text=LPUSH ? ? error.type=WRONGTYPE \
         ERROR: Operation against a key holding the wrong kind of value\n\
         CLIENT PIPELINE GET db.query.text=GET ?\nGET ? db.operation.batch.size=2\n\
         CLIENT MULTI db.query.text=GET ?\nDEL ? db.operation.batch.size=2\n"
    );
}

/// Answers with the id of the span in which it is asked.
struct Echo;

impl redis::aio::ConnectionLike for Echo {
    fn req_packed_command<'a>(&'a mut self, _: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(async {
            let id = Context::current().span().span_context().span_id();
            Ok(Value::SimpleString(id.to_string()))
        })
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        _: &'a Pipeline,
        _: usize,
        _: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        unreachable!("it is asked for one thing")
    }

    fn get_db(&self) -> i64 {
        0
    }
}

#[tokio::test]
async fn what_happens_below_a_command_is_in_its_span() {
    let (guard, sink) = start();
    let mut echo = Echo.traced_by(guard.tracer_provider());
    let id: String = redis::cmd("ID").query_async(&mut echo).await.unwrap();
    guard.flush().unwrap();
    assert_eq!(sink.spans()[0].span_context.span_id().to_string(), id);
}

#[tokio::test]
async fn in_an_unsampled_trace_and_without_a_tracer_commands_only_run() {
    let Some(client) = client(5) else { return };
    let sink = Sink::default();
    let builder = spanloom::builder()
        .environment(|name| (name == "OTEL_TRACES_SAMPLER").then(|| "always_off".to_owned()));
    let guard = builder.exporter(sink.clone()).start().unwrap();
    let mut connection = connect(&client, &guard).await;
    let () = connection.set("a", "tea").await.unwrap();
    let mut connection = connection.into_inner().traced();
    let tea: String = connection.get("a").await.unwrap();
    let two: (String, String) = redis::pipe()
        .get("a")
        .get("a")
        .query_async(&mut connection)
        .await
        .unwrap();
    assert_eq!((tea.as_str(), two.1.as_str()), ("tea", "tea"));
    guard.flush().unwrap();
    assert_eq!(sink.tree(&[]), "");
}
