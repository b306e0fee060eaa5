//! A service with a database: its queries in the trace of its requests.

use anyhow::Result;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Json, Router, routing};
use spanloom::sqlx::{IntoTraced, Pool};
use spanloom::tower::ServerLayer;
use sqlx::Sqlite;
use sqlx::sqlite::SqlitePoolOptions;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<()> {
    let _tracing = spanloom::builder().service_name("sqlx-service").init()?;
    let listener = TcpListener::bind("127.0.0.1:3000").await?;
    let app = app(open().await?);
    let interrupted = async { drop(tokio::signal::ctrl_c().await) };
    axum::serve(listener, app)
        .with_graceful_shutdown(interrupted)
        .await?;
    Ok(())
}

async fn open() -> Result<Pool<Sqlite>, sqlx::Error> {
    // A database in memory is its connection's, so there is one, and it stays.
    let pool = SqlitePoolOptions::new()
        .max_connections(1)
        .idle_timeout(None)
        .max_lifetime(None)
        .connect("sqlite::memory:")
        .await?
        .traced();
    sqlx::raw_sql(
        "CREATE TABLE stock (item TEXT PRIMARY KEY, n INTEGER NOT NULL CHECK (n >= 0));
         CREATE TABLE orders (id INTEGER PRIMARY KEY, item TEXT NOT NULL);
         INSERT INTO stock VALUES ('tea', 100), ('cake', 1)",
    )
    .execute(&pool)
    .await?;
    Ok(pool)
}

fn app(pool: Pool<Sqlite>) -> Router {
    Router::new()
        .route("/orders", routing::get(list))
        .route("/orders/{item}", routing::post(order))
        .with_state(pool)
        .layer(ServerLayer::new())
}

async fn list(State(pool): State<Pool<Sqlite>>) -> Result<Json<Vec<String>>, StatusCode> {
    let items = sqlx::query_scalar("SELECT item FROM orders ORDER BY id")
        .fetch_all(&pool)
        .await;
    items.map(Json).map_err(|error| status(&error))
}

async fn order(
    State(pool): State<Pool<Sqlite>>,
    Path(item): Path<String>,
) -> Result<StatusCode, StatusCode> {
    match place(&pool, &item).await {
        Ok(()) => Ok(StatusCode::CREATED),
        Err(error) => Err(status(&error)),
    }
}

/// Takes the item from the stock and notes the order, both or neither.
async fn place(pool: &Pool<Sqlite>, item: &str) -> Result<(), sqlx::Error> {
    let mut transaction = pool.begin().await?;
    let taken = sqlx::query("UPDATE stock SET n = n - 1 WHERE item = $1")
        .bind(item)
        .execute(&mut *transaction)
        .await?;
    if taken.rows_affected() == 0 {
        transaction.rollback().await?;
        return Err(sqlx::Error::RowNotFound);
    }
    sqlx::query("INSERT INTO orders (item) VALUES ($1)")
        .bind(item)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await
}

fn status(error: &sqlx::Error) -> StatusCode {
    match error {
        sqlx::Error::RowNotFound => StatusCode::NOT_FOUND,
        sqlx::Error::Database(error) if error.is_check_violation() => StatusCode::CONFLICT,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use spanloom::opentelemetry::trace::{Link, SpanKind, TraceContextExt, TraceId};
    use spanloom::opentelemetry::{Context, KeyValue};
    use spanloom::opentelemetry_sdk::trace::{SamplingDecision, SamplingResult, ShouldSample};
    use spanloom::testing::Sink;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Keeps all traces but those that begin with a `DELETE`, and counts how often it is asked for
    /// one that begins.
    #[derive(Clone, Debug, Default)]
    struct Sampler(Arc<AtomicUsize>);

    impl ShouldSample for Sampler {
        fn should_sample(
            &self,
            parent: Option<&Context>,
            _: TraceId,
            name: &str,
            _: &SpanKind,
            _: &[KeyValue],
            _: &[Link],
        ) -> SamplingResult {
            if parent.is_none_or(|parent| !parent.span().span_context().is_valid()) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
            SamplingResult {
                decision: match name.starts_with("DELETE") {
                    true => SamplingDecision::Drop,
                    false => SamplingDecision::RecordAndSample,
                },
                attributes: Vec::new(),
                trace_state: Default::default(),
            }
        }
    }

    #[tokio::test]
    async fn queries_are_children_of_their_requests() {
        let sink = Sink::default();
        let builder = spanloom::builder()
            .environment(|_| None)
            .without_subscriber();
        let sampler = Sampler::default();
        let builder = builder.exporter(sink.clone()).sampler(sampler.clone());
        let tracing = builder.init().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}/orders", listener.local_addr().unwrap());
        let pool = open().await.unwrap();
        let app = app(pool.clone());
        tokio::spawn(async { axum::serve(listener, app).await });
        let client = reqwest::Client::new();
        for (item, expected) in [("cake", 201), ("cake", 409), ("gin", 404)] {
            let response = client.post(format!("{base}/{item}")).send().await.unwrap();
            assert_eq!(response.status(), expected);
        }
        let items: Vec<String> = client.get(base).send().await.unwrap().json().await.unwrap();
        assert_eq!(items, ["cake"]);
        // A trace that the sampler refuses, about which nobody else asks it again.
        let n_asked = sampler.0.load(Ordering::Relaxed);
        let delete = sqlx::query("DELETE FROM orders WHERE id = $1").bind(1);
        delete.execute(&pool).await.unwrap();
        assert_eq!(sampler.0.load(Ordering::Relaxed) - n_asked, 1);
        tracing.flush().unwrap();
        let tree = sink.tree(&["db.response.returned_rows"]);
        // sqlx's own query has a span only when `cargo spanloom` builds this.
        let own = "CLIENT PRAGMA db.response.returned_rows=0\n";
        assert_eq!(
            tree.strip_prefix(own).unwrap_or(&tree),
            "CLIENT CREATE TABLE stock CREATE TABLE orders INSERT stock db.response.returned_rows=0\n\
             SERVER POST /orders/{item}\n  \
             CLIENT BEGIN\n  \
             CLIENT UPDATE stock db.response.returned_rows=0\n  \
             CLIENT INSERT orders db.response.returned_rows=0\n  \
             CLIENT COMMIT\n\
             SERVER POST /orders/{item}\n  \
             CLIENT BEGIN\n  \
             CLIENT UPDATE stock ERROR: CHECK constraint failed: n >= 0\n\
             SERVER POST /orders/{item}\n  \
             CLIENT BEGIN\n  \
             CLIENT UPDATE stock db.response.returned_rows=0\n  \
             CLIENT ROLLBACK\n\
             SERVER GET /orders\n  \
             CLIENT SELECT orders db.response.returned_rows=1\n"
        );
    }
}
