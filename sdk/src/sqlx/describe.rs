//! What a span says of a query and of its failure.

use std::any::Any;
use std::sync::{Arc, LazyLock};

use ::sqlx::error::{DatabaseError, ErrorKind};
use ::sqlx::{Database, Error};
use opentelemetry::KeyValue;
use opentelemetry::trace::{SpanBuilder, SpanKind};

use crate::db::sql::{Dialect, sanitized, shortened, summary};
use crate::db::{Call, Target};
use crate::trace::SpanSource;

/// What all queries of a pool share.
#[derive(Debug)]
pub(super) struct Tracing {
    pub(super) spans: SpanSource,
    target: Target,
    dialect: Dialect,
}

impl Tracing {
    /// `options` are those of the driver; others say nothing of the address.
    pub(super) fn new<DB: Database>(options: &dyn Any) -> Self {
        Self::of(DB::NAME, options)
    }

    /// The one for connections of which no more is known than their driver.
    pub(super) fn shared<DB: Database>() -> Arc<Self> {
        const NAMES: [&str; 4] = ["MySQL", "PostgreSQL", "SQLite", ""];
        static SHARED: LazyLock<[Arc<Tracing>; 4]> =
            LazyLock::new(|| NAMES.map(|name| Arc::new(Tracing::of(name, &()))));
        let known = NAMES.iter().position(|name| *name == DB::NAME);
        Arc::clone(&SHARED[known.unwrap_or(3)])
    }

    fn of(driver: &str, options: &dyn Any) -> Self {
        let (system, dialect) = match driver {
            "MySQL" => ("mysql", Dialect::MySql),
            "PostgreSQL" => ("postgresql", Dialect::PostgreSql),
            "SQLite" => ("sqlite", Dialect::Sqlite),
            _ => ("other_sql", Dialect::Other),
        };
        let mut target = Target::system(system);
        add_address(&mut target, options);
        Self {
            spans: SpanSource::installed("spanloom::sqlx"),
            target,
            dialect,
        }
    }

    /// Starts the span of a query, if it is recorded.
    pub(super) fn query(&self, sql: &str, has_values: bool) -> Option<Call> {
        Call::start(&self.spans, || self.describe(sql, has_values))
    }

    fn describe(&self, sql: &str, has_values: bool) -> SpanBuilder {
        let shown = sanitized(sql, self.dialect);
        let summary = summary(&shown, self.dialect);
        let text = match has_values {
            true => shortened(sql).to_owned(),
            false => shown,
        };
        let mut attributes = self.target.attributes(3);
        attributes.push(KeyValue::new("db.query.text", text));
        let builder = if summary.is_empty() {
            SpanBuilder::from_name(self.target.system)
        } else {
            attributes.push(KeyValue::new("db.query.summary", summary.clone()));
            SpanBuilder::from_name(summary)
        };
        builder
            .with_kind(SpanKind::Client)
            .with_attributes(attributes)
    }

    /// Starts the span of a statement that sqlx makes itself, if it is recorded.
    pub(super) fn statement(&self, operation: &'static str) -> Option<Call> {
        Call::start(&self.spans, || {
            let mut attributes = self.target.attributes(2);
            attributes.push(KeyValue::new("db.operation.name", operation));
            attributes.push(KeyValue::new("db.query.summary", operation));
            SpanBuilder::from_name(operation)
                .with_kind(SpanKind::Client)
                .with_attributes(attributes)
        })
    }
}

#[cfg_attr(
    not(any(feature = "sqlx-mysql", feature = "sqlx-postgres")),
    expect(unused_variables, reason = "no driver is known to say its address")
)]
fn add_address(target: &mut Target, options: &dyn Any) {
    #[cfg(feature = "sqlx-mysql")]
    if let Some(options) = options.downcast_ref::<::sqlx::mysql::MySqlConnectOptions>() {
        target.namespace = options.get_database().map(str::to_owned);
        target.server = Some(match options.get_socket() {
            Some(socket) => (socket.display().to_string(), None),
            None => (options.get_host().to_owned(), Some(options.get_port())),
        });
    }
    #[cfg(feature = "sqlx-postgres")]
    if let Some(options) = options.downcast_ref::<::sqlx::postgres::PgConnectOptions>() {
        // A server takes the user's name for that of the database if it is told none.
        let database = options.get_database().unwrap_or(options.get_username());
        target.namespace = Some(database.to_owned());
        let host = options.get_host();
        target.server = Some(match options.get_socket() {
            Some(socket) => (socket.display().to_string(), None),
            None if host.starts_with('/') => (host.to_owned(), None),
            None => (host.to_owned(), Some(options.get_port())),
        });
    }
}

/// Marks the call as failed.
pub(super) fn on_error(call: &mut Call, error: &Error) {
    let kind = match error {
        Error::Database(error) => {
            let code = code(&**error);
            return call.on_error(code, "database", message(&**error));
        }
        Error::Io(_) => "io",
        Error::Tls(_) => "tls",
        Error::Protocol(_) => "protocol",
        Error::Encode(_) => "encode",
        Error::Decode(_) | Error::ColumnDecode { .. } => "decode",
        Error::PoolTimedOut => "pool_timed_out",
        Error::PoolClosed => "pool_closed",
        Error::WorkerCrashed => "worker_crashed",
        _ => "_OTHER",
    };
    let description = match error {
        // They quote what they could not convert.
        Error::Encode(_) | Error::Decode(_) | Error::ColumnDecode { .. } => {
            "a value could not be converted".to_owned()
        }
        error => error.to_string(),
    };
    call.on_error(None, kind, description);
}

/// What `db.response.status_code` is for this database: the SQLSTATE, or its own number.
fn code(error: &dyn DatabaseError) -> Option<String> {
    #[cfg(feature = "sqlx-mysql")]
    if let Some(error) = error.try_downcast_ref::<::sqlx::mysql::MySqlDatabaseError>() {
        return Some(error.number().to_string());
    }
    error.code().map(String::from)
}

/// The database's message, unless it is of a kind that quotes values.
fn message(error: &dyn DatabaseError) -> String {
    let kind = match error.kind() {
        ErrorKind::UniqueViolation => "unique violation",
        ErrorKind::ForeignKeyViolation => "foreign key violation",
        ErrorKind::NotNullViolation => "not null violation",
        ErrorKind::CheckViolation => "check violation",
        _ => "",
    };
    let words = error.message();
    // SQLite's, with the piece of the text where it stopped: a value, or what it took for one.
    if ["near \"", "unrecognized token: ", "no such column: \""]
        .iter()
        .any(|beginning| words.starts_with(beginning))
    {
        return "syntax error".to_owned();
    }
    let state = error.code().unwrap_or_default();
    // Data exceptions, violated constraints, and syntax errors with the place where they are. What
    // MySQL has no state for, as `Incorrect integer value`, is HY000.
    let quotes_values = state.len() == 5
        && (state.starts_with("22")
            || state.starts_with("23")
            || matches!(&*state, "42000" | "42601" | "HY000"));
    match error.constraint() {
        _ if !quotes_values => words.to_owned(),
        Some(constraint) => format!("{kind}: {constraint}")
            .trim_start_matches(": ")
            .to_owned(),
        None if kind.is_empty() => format!("error {state}"),
        None => kind.to_owned(),
    }
}
