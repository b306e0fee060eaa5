//! Executors that make a span for each query.

use std::fmt::Debug;
use std::ops::DerefMut;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll, ready};

use ::sqlx::error::BoxDynError;
use ::sqlx::{Arguments, Connection, Database, Describe, Either, Error, Execute, Executor, SqlStr};
use futures::Stream;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use opentelemetry::trace::FutureExt;

use super::describe::{Tracing, on_error};
use super::{Pool, Traced};
use crate::db::Call;

impl<'p, DB: Database> Executor<'p> for &'p Pool<DB>
where
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
{
    type Database = DB;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Item<DB>>
    where
        'p: 'e,
        E: 'q + Execute<'q, DB>,
    {
        let (call, query) = begin(&self.tracing, query);
        traced_rows(call, self.inner.fetch_many(query))
    }

    fn fetch_optional<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxFuture<'e, Result<Option<DB::Row>, Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, DB>,
    {
        let (call, query) = begin(&self.tracing, query);
        traced_row(call, self.inner.fetch_optional(query))
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [DB::TypeInfo],
    ) -> BoxFuture<'e, Result<DB::Statement, Error>>
    where
        'p: 'e,
    {
        self.inner.prepare_with(sql, parameters)
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<DB>, Error>>
    where
        'p: 'e,
    {
        self.inner.describe(sql)
    }
}

impl<'c, C> Executor<'c> for &'c mut Traced<C>
where
    C: DerefMut<Target: Connection> + Debug + Send,
    for<'a> &'a mut C::Target: Executor<'a, Database = <C::Target as Connection>::Database>,
{
    type Database = <C::Target as Connection>::Database;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Item<Self::Database>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Self::Database>,
    {
        let (call, query) = begin(&self.tracing, query);
        traced_rows(call, self.inner.fetch_many(query))
    }

    fn fetch_optional<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxFuture<'e, Result<Option<<Self::Database as Database>::Row>, Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Self::Database>,
    {
        let (call, query) = begin(&self.tracing, query);
        traced_row(call, self.inner.fetch_optional(query))
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [<Self::Database as Database>::TypeInfo],
    ) -> BoxFuture<'e, Result<<Self::Database as Database>::Statement, Error>>
    where
        'c: 'e,
    {
        self.inner.prepare_with(sql, parameters)
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<Self::Database>, Error>>
    where
        'c: 'e,
    {
        self.inner.describe(sql)
    }
}

/// Of a query, one of its results or rows.
type Item<DB> = Result<Either<<DB as Database>::QueryResult, <DB as Database>::Row>, Error>;

/// A query in its parts: it gives its text only when it is given away itself.
struct Parts<DB: Database> {
    sql: SqlStr,
    statement: Option<DB::Statement>,
    arguments: Result<Option<DB::Arguments>, BoxDynError>,
    is_persistent: bool,
}

impl<DB: Database> Execute<'_, DB> for Parts<DB> {
    fn sql(self) -> SqlStr {
        self.sql
    }

    fn statement(&self) -> Option<&DB::Statement> {
        self.statement.as_ref()
    }

    fn take_arguments(&mut self) -> Result<Option<DB::Arguments>, BoxDynError> {
        std::mem::replace(&mut self.arguments, Ok(None))
    }

    fn persistent(&self) -> bool {
        self.is_persistent
    }
}

/// Starts the span of a query, if it is recorded, and returns the query to be run.
fn begin<'q, DB: Database>(
    tracing: &Tracing,
    mut query: impl Execute<'q, DB>,
) -> (Option<Call>, Parts<DB>) {
    let query: Parts<DB> = Parts {
        arguments: query.take_arguments(),
        statement: query.statement().cloned(),
        is_persistent: query.persistent(),
        sql: query.sql(),
    };
    let has_values = matches!(&query.arguments, Ok(Some(arguments)) if arguments.len() > 0);
    let call = tracing.query(query.sql.as_str(), has_values);
    (call, query)
}

fn traced_row<'e, Row: Send + 'e>(
    call: Option<Call>,
    future: BoxFuture<'e, Result<Option<Row>, Error>>,
) -> BoxFuture<'e, Result<Option<Row>, Error>> {
    let Some(mut call) = call else {
        return future;
    };
    Box::pin(async move {
        let result = future.with_context(call.context().clone()).await;
        match &result {
            Ok(row) => call.on_rows(row.is_some().into()),
            Err(error) => on_error(&mut call, error),
        }
        result
    })
}

fn traced_rows<'e, T: 'e, Row: 'e>(
    call: Option<Call>,
    stream: BoxStream<'e, Result<Either<T, Row>, Error>>,
) -> BoxStream<'e, Result<Either<T, Row>, Error>> {
    match call {
        Some(call) => Box::pin(Rows {
            stream,
            call: Some(call),
            n_rows: 0,
            is_answered: false,
        }),
        None => stream,
    }
}

/// Rows with the span of their query, which ends with the last of them.
struct Rows<'e, T, Row> {
    stream: BoxStream<'e, Result<Either<T, Row>, Error>>,
    /// Until the span has ended.
    call: Option<Call>,
    n_rows: i64,
    /// A row has come, or the end of a statement: what is not read after it is the caller's choice.
    is_answered: bool,
}

impl<T, Row> Stream for Rows<'_, T, Row> {
    type Item = Result<Either<T, Row>, Error>;

    fn poll_next(mut self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let Some(call) = &mut this.call else {
            return this.stream.as_mut().poll_next(task);
        };
        let attached = call.context().clone().attach();
        let item = ready!(this.stream.as_mut().poll_next(task));
        drop(attached);
        match &item {
            Some(Ok(answer)) => {
                this.is_answered = true;
                this.n_rows += i64::from(answer.is_right());
            }
            Some(Err(error)) => {
                on_error(call, error);
                this.call = None;
            }
            None => {
                call.on_rows(this.n_rows);
                this.call = None;
            }
        }
        Poll::Ready(item)
    }
}

impl<T, Row> Drop for Rows<'_, T, Row> {
    fn drop(&mut self) {
        if let Some(call) = self.call.as_mut().filter(|_| self.is_answered) {
            call.on_rows(self.n_rows);
        }
    }
}
