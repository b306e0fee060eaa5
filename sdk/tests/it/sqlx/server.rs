//! PostgreSQL, and MariaDB for MySQL: a server is named, and what it answers is told without values.

use std::net::SocketAddr;

use futures::TryStreamExt;
use opentelemetry::KeyValue;
use spanloom::sqlx::{IntoTraced, Pool};
use spanloom::testing::Sink;
use spanloom::{Guard, opentelemetry};
use sqlx::{MySql, Row};
use xtask::server::{Kind, Server};

use super::start;

/// Every span says what was asked.
fn is_named(sink: &Sink, system: &'static str, namespace: &'static str, address: SocketAddr) {
    for span in sink.spans() {
        let has = |attribute: KeyValue| span.attributes.contains(&attribute);
        assert!(has(KeyValue::new("db.system.name", system)));
        assert!(has(KeyValue::new("db.namespace", namespace)));
        let host = address.ip().to_string();
        assert!(has(KeyValue::new("server.address", host)));
        assert!(has(KeyValue::new("server.port", i64::from(address.port()))));
    }
}

#[tokio::test]
async fn postgresql_is_named_and_its_messages_are_told_without_values() {
    let Some(server) = Server::shared(Kind::Postgres) else {
        return;
    };
    let (guard, sink) = start();
    let url = format!("postgres://postgres@{}/postgres", server.address());
    let pool = sqlx::PgPool::connect(&url).await.unwrap();
    let pool = pool.traced_by(guard.tracer_provider());
    let mut transaction = pool.begin().await.unwrap();
    sqlx::raw_sql("CREATE TEMPORARY TABLE stock (item text PRIMARY KEY, n int)")
        .execute(&mut *transaction)
        .await
        .unwrap();
    let insert = "INSERT INTO stock VALUES ($1, $2)";
    for _ in 0..2 {
        let insert = sqlx::query(insert).bind("secret").bind(1);
        let mut attempt = transaction.begin().await.unwrap();
        match insert.execute(&mut *attempt).await {
            Ok(_) => attempt.commit().await.unwrap(),
            Err(_) => attempt.rollback().await.unwrap(),
        }
    }
    transaction.commit().await.unwrap();
    for sql in [
        "SELECT 'secret'::int",
        "SELECT 1 'secret' 2",
        "SELECT n FROM nowhere",
    ] {
        sqlx::query(sql).fetch_all(&pool).await.unwrap_err();
    }
    guard.flush().unwrap();
    assert_eq!(
        sink.tree(&["db.response.status_code", "error.type"]),
        "CLIENT BEGIN\n\
         CLIENT CREATE TABLE stock\n\
         CLIENT SAVEPOINT\n\
         CLIENT INSERT stock\n\
         CLIENT RELEASE SAVEPOINT\n\
         CLIENT SAVEPOINT\n\
         CLIENT INSERT stock db.response.status_code=23505 error.type=23505 \
         ERROR: unique violation: stock_pkey\n\
         CLIENT ROLLBACK TO SAVEPOINT\n\
         CLIENT COMMIT\n\
         CLIENT SELECT db.response.status_code=22P02 error.type=22P02 ERROR: error 22P02\n\
         CLIENT SELECT db.response.status_code=42601 error.type=42601 ERROR: error 42601\n\
         CLIENT SELECT nowhere db.response.status_code=42P01 error.type=42P01 \
         ERROR: relation \"nowhere\" does not exist\n"
    );
    is_named(&sink, "postgresql", "postgres", server.address());
    assert!(!format!("{:?}", sink.spans()).contains("secret"));
}

/// A traced pool of the shared server, and an empty table of that name, which no other test has.
async fn mysql(server: &Server, table: &str) -> (Guard, Sink, Pool<MySql>) {
    let (guard, sink) = start();
    let url = format!("mysql://root@{}/spanloom", server.address());
    let pool = sqlx::MySqlPool::connect(&url).await.unwrap();
    let sql = format!("CREATE TABLE {table} (item VARCHAR(9) PRIMARY KEY, n INT)");
    let create = sqlx::raw_sql(sqlx::AssertSqlSafe(sql));
    create.execute(&pool).await.unwrap();
    let pool = pool.traced_by(guard.tracer_provider());
    (guard, sink, pool)
}

#[tokio::test]
async fn mysql_is_named_and_its_messages_are_told_without_values() {
    let Some(server) = Server::shared(Kind::Mysql) else {
        return;
    };
    let (guard, sink, pool) = mysql(server, "stock").await;
    let mut transaction = pool.begin().await.unwrap();
    for _ in 0..2 {
        let insert = sqlx::query("INSERT INTO stock VALUES (?, ?)");
        let insert = insert.bind("secret").bind(1);
        let mut attempt = transaction.begin().await.unwrap();
        match insert.execute(&mut *attempt).await {
            Ok(_) => attempt.commit().await.unwrap(),
            Err(_) => attempt.rollback().await.unwrap(),
        }
    }
    transaction.commit().await.unwrap();
    for sql in [
        "INSERT INTO stock VALUES ('tea', 'secret')",
        "SELECT 1 'secret' 2",
        "SIGNAL SQLSTATE 'HY000' SET MESSAGE_TEXT = 'secret'",
        "SELECT n FROM nowhere",
    ] {
        sqlx::raw_sql(sql).fetch_all(&pool).await.unwrap_err();
    }
    guard.flush().unwrap();
    assert_eq!(
        sink.tree(&["db.response.status_code", "error.type"]),
        "CLIENT BEGIN\n\
         CLIENT SAVEPOINT\n\
         CLIENT INSERT stock\n\
         CLIENT RELEASE SAVEPOINT\n\
         CLIENT SAVEPOINT\n\
         CLIENT INSERT stock db.response.status_code=1062 error.type=1062 \
         ERROR: unique violation\n\
         CLIENT ROLLBACK TO SAVEPOINT\n\
         CLIENT COMMIT\n\
         CLIENT INSERT stock db.response.status_code=1366 error.type=1366 ERROR: error 22007\n\
         CLIENT SELECT db.response.status_code=1064 error.type=1064 ERROR: error 42000\n\
         CLIENT SIGNAL db.response.status_code=1644 error.type=1644 ERROR: error HY000\n\
         CLIENT SELECT nowhere db.response.status_code=1146 error.type=1146 \
         ERROR: Table 'spanloom.nowhere' doesn't exist\n"
    );
    is_named(&sink, "mysql", "spanloom", server.address());
    assert!(!format!("{:?}", sink.spans()).contains("secret"));
}

#[tokio::test]
async fn queries_of_mysql_say_what_they_do_and_how_many_rows_they_return() {
    let Some(server) = Server::shared(Kind::Mysql) else {
        return;
    };
    let (guard, sink, pool) = mysql(server, "orders").await;
    // In another setting the text goes on behind `it\'s'`, so all is hidden from there.
    let insert = r#"INSERT INTO orders VALUES ("tea", 1), ('it\'s', 2), ('cake', 3)"#;
    let done = sqlx::query(insert).execute(&pool).await.unwrap();
    assert_eq!(done.rows_affected(), 3);
    let rows = sqlx::query("SELECT item FROM `orders` WHERE n < ? ORDER BY n").bind(3);
    let rows = rows.fetch_all(&pool).await.unwrap();
    assert_eq!(rows[1].get::<String, _>(0), "it's");
    let sql = sqlx::SqlSafeStr::into_sql_str("SELECT n FROM orders WHERE item = ?");
    let statement = sqlx::Executor::prepare(&pool, sql).await.unwrap();
    let none = sqlx::Statement::query(&statement).bind("gin");
    assert!(none.fetch_optional(&pool).await.unwrap().is_none());
    let two = "UPDATE orders SET n = 7 WHERE item = 'tea'; SELECT n FROM orders";
    let mut rows = sqlx::raw_sql(two).fetch(&pool);
    while rows.try_next().await.unwrap().is_some() {}
    guard.flush().unwrap();
    assert_eq!(
        sink.tree(&["db.query.text", "db.response.returned_rows"]),
        "CLIENT INSERT orders db.query.text=INSERT INTO orders VALUES (?, ?), (? \
         db.response.returned_rows=0\n\
         CLIENT SELECT orders \
         db.query.text=SELECT item FROM `orders` WHERE n < ? ORDER BY n \
         db.response.returned_rows=2\n\
         CLIENT SELECT orders db.query.text=SELECT n FROM orders WHERE item = ? \
         db.response.returned_rows=0\n\
         CLIENT UPDATE orders SELECT orders \
         db.query.text=UPDATE orders SET n = ? WHERE item = ?; SELECT n FROM orders \
         db.response.returned_rows=3\n"
    );
    is_named(&sink, "mysql", "spanloom", server.address());
}

#[tokio::test]
async fn what_is_a_literal_in_a_setting_of_mysql_only_is_hidden() {
    let Some(server) = Server::shared(Kind::Mysql) else {
        return;
    };
    let (guard, sink, pool) = mysql(server, "hidden").await;
    let mut connection = pool.acquire().await.unwrap();
    for (mode, sql) in [
        ("", r"SELECT 'it\'s', 'secret'"),
        ("NO_BACKSLASH_ESCAPES", r"SELECT 'c:\', 'secret'"),
        ("ANSI_QUOTES", "SELECT 'secret' AS \"a'\", 'secret'"),
        ("", "SELECT 'a' /*! , 'secret' */"),
        ("", "SELECT 'a' /*M!100100 , 'secret' */"),
        ("", "SELECT 'a'--'7', 'secret'"),
    ] {
        let set = format!("SET sql_mode = '{mode}'");
        let set = sqlx::raw_sql(sqlx::AssertSqlSafe(set));
        set.execute(&mut *connection).await.unwrap();
        let row = sqlx::raw_sql(sql).fetch_one(&mut *connection).await;
        let row = row.unwrap_or_else(|error| panic!("{sql}: {error}"));
        // It is a literal to the server.
        assert_eq!(row.get::<String, _>(1), "secret", "{sql}");
    }
    guard.flush().unwrap();
    assert_eq!(sink.spans().len(), 12);
    assert!(!format!("{:?}", sink.spans()).contains("secret"));
}

#[tokio::test]
async fn a_mysql_server_is_named_before_it_is_reached() {
    let (guard, sink) = start();
    let pool = sqlx::MySqlPool::connect_lazy("mysql://root:word@db:3307/shop").unwrap();
    pool.close().await;
    let pool = pool.traced_by(guard.tracer_provider());
    let query = sqlx::query("SELECT \"secret\"").execute(&pool);
    query.await.unwrap_err();
    guard.flush().unwrap();
    let told = [
        "db.system.name",
        "db.namespace",
        "server.address",
        "server.port",
        "db.query.text",
        "error.type",
    ];
    let tree = sink.tree(&told);
    let expected = "CLIENT SELECT db.system.name=mysql db.namespace=shop server.address=db \
        server.port=3307 db.query.text=SELECT ? error.type=pool_closed ERROR";
    assert!(tree.starts_with(expected), "{tree}");
}
