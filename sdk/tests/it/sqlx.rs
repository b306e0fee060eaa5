//! Queries on real databases: SQLite in the process, and servers.

mod server;

use futures::{StreamExt, TryStreamExt};
use opentelemetry::Context;
use opentelemetry::trace::FutureExt;
use opentelemetry::trace::{TraceContextExt, Tracer, TracerProvider};
use spanloom::sqlx::{IntoTraced, Pool};
use spanloom::testing::Sink;
use spanloom::{Guard, opentelemetry};
use sqlx::sqlite::SqlitePoolOptions;
use sqlx::{Row, Sqlite, SqliteConnection, SqlitePool};

fn start() -> (Guard, Sink) {
    start_in(|_| None)
}

fn start_in(environment: impl Fn(&str) -> Option<String> + 'static) -> (Guard, Sink) {
    let sink = Sink::default();
    let builder = spanloom::builder()
        .environment(environment)
        .exporter(sink.clone());
    (builder.start().unwrap(), sink)
}

/// A database with three orders. It has one connection, since each has a memory of its own.
async fn orders() -> SqlitePool {
    let pool = SqlitePoolOptions::new().max_connections(1);
    let pool = pool.connect("sqlite::memory:").await.unwrap();
    let sql = "CREATE TABLE orders (id INTEGER PRIMARY KEY, item TEXT NOT NULL UNIQUE);
        INSERT INTO orders (item) VALUES ('tea'), ('cake'), ('milk')";
    sqlx::raw_sql(sql).execute(&pool).await.unwrap();
    pool
}

async fn traced_orders() -> (Guard, Sink, Pool<Sqlite>) {
    let (guard, sink) = start();
    let pool = orders().await.traced_by(guard.tracer_provider());
    (guard, sink, pool)
}

#[tokio::test]
async fn a_query_is_a_child_of_its_request_and_says_what_it_does() {
    let (guard, sink, pool) = traced_orders().await;
    let tracer = guard.tracer_provider().tracer("test");
    let request = Context::new().with_span(tracer.start("request"));
    let select = "SELECT item FROM orders WHERE id < $1 AND item <> 'it''s'";
    let rows = async { sqlx::query(select).bind(3).fetch_all(&pool).await };
    let rows = rows.with_context(request.clone()).await.unwrap();
    assert_eq!(rows.len(), 2);
    request.span().end();
    guard.flush().unwrap();
    let attributes = [
        "db.system.name",
        "db.operation.name",
        "db.collection.name",
        "db.query.summary",
        "db.query.text",
        "db.response.returned_rows",
        "error.type",
    ];
    assert_eq!(
        sink.tree(&attributes),
        "INTERNAL request\n  \
         CLIENT SELECT orders db.system.name=sqlite db.query.summary=SELECT orders \
         db.query.text=SELECT item FROM orders WHERE id < $1 AND item <> 'it''s' \
         db.response.returned_rows=2\n"
    );
    assert_eq!(
        sink.spans()[0].instrumentation_scope.name(),
        "spanloom::sqlx"
    );
}

#[tokio::test]
async fn literals_of_a_query_without_values_are_hidden() {
    let (guard, sink, pool) = traced_orders().await;
    let one = sqlx::query("SELECT id FROM orders WHERE item = 'tea'").fetch_one(&pool);
    assert_eq!(one.await.unwrap().get::<i64, _>(0), 1);
    let none = sqlx::query("SELECT id FROM orders WHERE item = 'gin'").fetch_one(&pool);
    assert!(matches!(none.await, Err(sqlx::Error::RowNotFound)));
    let two = "INSERT INTO orders (item) VALUES ('salt'); DELETE FROM orders WHERE id = 7";
    let done = sqlx::raw_sql(two).execute(&pool).await.unwrap();
    assert_eq!(done.rows_affected(), 1);
    guard.flush().unwrap();
    assert_eq!(
        sink.tree(&["db.query.text", "db.response.returned_rows"]),
        "CLIENT SELECT orders db.query.text=SELECT id FROM orders WHERE item = ? \
         db.response.returned_rows=1\n\
         CLIENT SELECT orders db.query.text=SELECT id FROM orders WHERE item = ? \
         db.response.returned_rows=0\n\
         CLIENT INSERT orders DELETE orders \
         db.query.text=INSERT INTO orders (item) VALUES (?); DELETE FROM orders WHERE id = ? \
         db.response.returned_rows=0\n"
    );
}

#[tokio::test]
async fn an_error_has_the_code_of_the_database() {
    let (guard, sink, pool) = traced_orders().await;
    let again = sqlx::query("INSERT INTO orders (item) VALUES ($1)").bind("tea");
    again.execute(&pool).await.unwrap_err();
    sqlx::query("SELECT * FROM nowhere")
        .fetch_optional(&pool)
        .await
        .unwrap_err();
    for sql in ["SELECT 1 'secret' 2", "SELECT 'secret"] {
        sqlx::query(sql).execute(&pool).await.unwrap_err();
    }
    pool.close().await;
    sqlx::query("SELECT 1").execute(&pool).await.unwrap_err();
    guard.flush().unwrap();
    assert_eq!(
        sink.tree(&["db.response.status_code", "error.type"]),
        "CLIENT INSERT orders db.response.status_code=2067 error.type=2067 \
         ERROR: UNIQUE constraint failed: orders.item\n\
         CLIENT SELECT nowhere db.response.status_code=1 error.type=1 \
         ERROR: no such table: nowhere\n\
         CLIENT SELECT db.response.status_code=1 error.type=1 ERROR: syntax error\n\
         CLIENT SELECT db.response.status_code=1 error.type=1 ERROR: syntax error\n\
         CLIENT SELECT error.type=pool_closed \
         ERROR: attempted to acquire a connection on a closed pool\n"
    );
}

#[tokio::test]
async fn a_span_ends_with_the_stream_of_its_rows() {
    let (guard, sink, pool) = traced_orders().await;
    let mut rows = sqlx::query("SELECT item FROM orders").fetch(&pool);
    assert!(rows.next().await.unwrap().is_ok());
    guard.flush().unwrap();
    assert_eq!(sink.tree(&[]), "");
    while rows.try_next().await.unwrap().is_some() {}
    // The span has ended, though the stream is still there.
    guard.flush().unwrap();
    let told = ["db.response.returned_rows", "error.type"];
    assert_eq!(
        sink.tree(&told),
        "CLIENT SELECT orders db.response.returned_rows=3\n"
    );
}

#[tokio::test]
async fn a_stream_that_is_dropped_ends_its_span() {
    let (guard, sink, pool) = traced_orders().await;
    let mut rows = sqlx::query("SELECT item FROM orders").fetch(&pool);
    assert!(rows.next().await.unwrap().is_ok());
    drop(rows);
    // Nobody is served while the only connection is in use.
    let connection = pool.acquire().await.unwrap();
    let query = sqlx::query("DELETE FROM orders").execute(&pool);
    assert!(futures::poll!(Box::pin(query)).is_pending());
    drop(connection);
    guard.flush().unwrap();
    assert_eq!(
        sink.tree(&["db.response.returned_rows", "error.type"]),
        "CLIENT SELECT orders db.response.returned_rows=1\n\
         CLIENT DELETE orders error.type=cancelled ERROR: the call was dropped before its answer\n"
    );
}

#[tokio::test]
async fn transactions_and_connections_are_used_as_before() {
    async fn count(connection: &mut SqliteConnection) -> i64 {
        let count = sqlx::query_scalar("SELECT count(*) FROM orders");
        count.fetch_one(&mut connection.traced()).await.unwrap()
    }
    let (guard, sink, pool) = traced_orders().await;
    let mut transaction = pool.begin().await.unwrap();
    sqlx::query("DELETE FROM orders WHERE id = 1")
        .execute(&mut *transaction)
        .await
        .unwrap();
    let mut savepoint = transaction.begin().await.unwrap();
    sqlx::query("DELETE FROM orders")
        .execute(&mut *savepoint)
        .await
        .unwrap();
    // Its queries go elsewhere: to the provider that is installed, of which there is none.
    assert_eq!(count(&mut savepoint).await, 0);
    savepoint.rollback().await.unwrap();
    transaction.commit().await.unwrap();
    let abandoned = pool.begin().await.unwrap();
    abandoned.rollback().await.unwrap();
    let mut connection = pool.acquire().await.unwrap();
    let left = sqlx::query("SELECT id FROM orders");
    assert_eq!(left.fetch_all(&mut *connection).await.unwrap().len(), 2);
    guard.flush().unwrap();
    assert_eq!(
        sink.tree(&["db.response.returned_rows"]),
        "CLIENT BEGIN\n\
         CLIENT DELETE orders db.response.returned_rows=0\n\
         CLIENT SAVEPOINT\n\
         CLIENT DELETE orders db.response.returned_rows=0\n\
         CLIENT ROLLBACK TO SAVEPOINT\n\
         CLIENT COMMIT\n\
         CLIENT BEGIN\n\
         CLIENT ROLLBACK\n\
         CLIENT SELECT orders db.response.returned_rows=2\n"
    );
}

#[tokio::test]
async fn a_generic_function_takes_a_traced_pool_and_a_prepared_statement_works() {
    async fn first<'e>(database: impl sqlx::SqliteExecutor<'e>) -> String {
        let select = sqlx::query_scalar("SELECT item FROM orders ORDER BY id");
        select.fetch_one(database).await.unwrap()
    }
    let (guard, sink, pool) = traced_orders().await;
    assert_eq!(first(&pool).await, "tea");
    let sql = sqlx::SqlSafeStr::into_sql_str("SELECT item FROM orders WHERE id = $1");
    let statement = sqlx::Executor::prepare(&pool, sql).await.unwrap();
    let query = sqlx::Statement::query(&statement).bind(2);
    assert_eq!(
        query.fetch_one(&pool).await.unwrap().get::<String, _>(0),
        "cake"
    );
    guard.flush().unwrap();
    assert_eq!(
        sink.tree(&["db.query.text"]),
        "CLIENT SELECT orders db.query.text=SELECT item FROM orders ORDER BY id\n\
         CLIENT SELECT orders db.query.text=SELECT item FROM orders WHERE id = $1\n"
    );
}

#[tokio::test]
async fn in_an_unsampled_trace_and_without_a_tracer_queries_only_run() {
    let (guard, sink) = start_in(|name| {
        (name == "OTEL_TRACES_SAMPLER").then(|| "parentbased_always_off".to_owned())
    });
    let tracer = guard.tracer_provider().tracer("test");
    let request = Context::new().with_span(tracer.start("request"));
    let silent = orders().await.traced_by(guard.tracer_provider());
    let count = async {
        sqlx::query("SELECT id FROM orders")
            .fetch_all(&silent)
            .await
    };
    assert_eq!(count.with_context(request).await.unwrap().len(), 3);
    let pool = orders().await.traced();
    let mut rows = sqlx::query("SELECT id FROM orders").fetch(&pool);
    assert!(rows.next().await.unwrap().is_ok());
    drop(rows);
    pool.begin().await.unwrap().commit().await.unwrap();
    guard.flush().unwrap();
    assert_eq!(sink.tree(&[]), "");
}
