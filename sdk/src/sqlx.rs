//! CLIENT spans for [`sqlx`]: one more word where the pool is made.
//!
//! ```no_run
//! # #[derive(sqlx::FromRow)] struct Order { id: i64 }
//! # type Sqlite = sqlx::Sqlite;
//! # async fn example() -> Result<(), sqlx::Error> {
//! use spanloom::sqlx::{IntoTraced, Pool};
//!
//! let pool: Pool<Sqlite> = sqlx::SqlitePool::connect("sqlite::memory:").await?.traced();
//!
//! // What follows is the same with and without it.
//! let orders: Vec<Order> = sqlx::query_as("SELECT id FROM orders WHERE shop = $1")
//!     .bind("tea")
//!     .fetch_all(&pool)
//!     .await?;
//! let mut transaction = pool.begin().await?;
//! sqlx::query("DELETE FROM orders").execute(&mut *transaction).await?;
//! transaction.commit().await?;
//! # Ok(())
//! # }
//! ```
//!
//! A query's span lasts until its last row was read, or until its stream is dropped; waiting for a
//! connection of the pool is a part of it. It is named by its summary, `SELECT orders`, and follows
//! the stable [database conventions]. `BEGIN`, `COMMIT` and `ROLLBACK` have spans, too, but not the
//! rollback of a transaction that is only dropped, which happens later and by itself.
//!
//! **What leaves the process.** The text of a query with bound values is told as it is, since the
//! values are not in it; of a query without any, the literals are hidden, as they may be such
//! values, and so are a database's messages that quote values. Where a literal ends can depend on
//! settings, such as MySQL's `NO_BACKSLASH_ESCAPES`: what is one in any of them is hidden, and so is
//! all that follows MySQL's `/*!`. No more than 16 KiB are told of a text. In a trace that is not
//! sampled nothing of this is worked out.
//!
//! **Addresses.** The features `sqlx-postgres` and `sqlx-mysql` add `server.address`, `server.port`
//! and `db.namespace`; with `sqlx` alone the spans of any driver have all the rest. What runs on
//! the driver `Any` is `other_sql`.
//!
//! **Where it stops.** The types here dereference to sqlx's, so what needs one of those gets it:
//! `migrate!().run(&*pool)`, or a function that takes a `&mut PgConnection`. Inside, queries are
//! traced again after `connection.traced()`. `PgPool::copy_in_raw`, listeners and `prepare` make no
//! spans.
//!
//! [database conventions]: https://opentelemetry.io/docs/specs/semconv/database/database-spans/

mod describe;
mod execute;
mod transaction;

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use ::sqlx::{Connection, Database, Error, SqlSafeStr};

use crate::trace::TracerProvider;
use describe::Tracing;

pub use transaction::Transaction;

/// Makes a pool or a connection traced.
pub trait IntoTraced: Sized {
    /// The same with spans.
    type Traced;

    /// Spans go to the provider that [`init`](crate::init) installs, before or after this call.
    fn traced(self) -> Self::Traced;

    /// Spans go to this provider instead.
    fn traced_by(self, provider: &TracerProvider) -> Self::Traced;
}

impl<DB: Database> IntoTraced for ::sqlx::Pool<DB> {
    type Traced = Pool<DB>;

    fn traced(self) -> Pool<DB> {
        let tracing = Tracing::new::<DB>(&*self.connect_options());
        Pool {
            inner: self,
            tracing: Arc::new(tracing),
        }
    }

    fn traced_by(self, provider: &TracerProvider) -> Pool<DB> {
        let mut tracing = Tracing::new::<DB>(&*self.connect_options());
        tracing.spans.fix(provider);
        Pool {
            inner: self,
            tracing: Arc::new(tracing),
        }
    }
}

/// A connection does not know where it is connected to: its spans have no address.
impl<'c, C: Connection> IntoTraced for &'c mut C {
    type Traced = Traced<&'c mut C>;

    fn traced(self) -> Traced<&'c mut C> {
        Traced {
            inner: self,
            tracing: Tracing::shared::<C::Database>(),
        }
    }

    fn traced_by(self, provider: &TracerProvider) -> Traced<&'c mut C> {
        let mut tracing = Tracing::new::<C::Database>(&());
        tracing.spans.fix(provider);
        Traced {
            inner: self,
            tracing: Arc::new(tracing),
        }
    }
}

/// A [`sqlx::Pool`] whose queries have spans. `&pool` is an executor.
pub struct Pool<DB: Database> {
    inner: ::sqlx::Pool<DB>,
    tracing: Arc<Tracing>,
}

impl<DB: Database> Pool<DB> {
    /// As [`sqlx::Pool::acquire`].
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn acquire(&self) -> Result<PoolConnection<DB>, Error> {
        Ok(self.connection(self.inner.acquire().await?))
    }

    /// As [`sqlx::Pool::try_acquire`].
    #[must_use]
    pub fn try_acquire(&self) -> Option<PoolConnection<DB>> {
        Some(self.connection(self.inner.try_acquire()?))
    }

    /// As [`sqlx::Pool::begin`].
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn begin(&self) -> Result<Transaction<'static, DB>, Error> {
        Transaction::begin(&self.tracing, false, self.inner.begin()).await
    }

    /// As [`sqlx::Pool::begin_with`].
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn begin_with(
        &self,
        statement: impl SqlSafeStr,
    ) -> Result<Transaction<'static, DB>, Error> {
        let statement = statement.into_sql_str();
        Transaction::begin(&self.tracing, false, self.inner.begin_with(statement)).await
    }

    fn connection(&self, inner: ::sqlx::pool::PoolConnection<DB>) -> PoolConnection<DB> {
        PoolConnection(Traced {
            inner,
            tracing: Arc::clone(&self.tracing),
        })
    }
}

impl<DB: Database> Clone for Pool<DB> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            tracing: Arc::clone(&self.tracing),
        }
    }
}

impl<DB: Database> fmt::Debug for Pool<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl<DB: Database> Deref for Pool<DB> {
    type Target = ::sqlx::Pool<DB>;

    fn deref(&self) -> &Self::Target {
        &self.inner
    }
}

/// A connection of a [`Pool`]. `&mut *connection` is an executor.
pub struct PoolConnection<DB: Database>(Traced<::sqlx::pool::PoolConnection<DB>>);

impl<DB: Database> PoolConnection<DB> {
    /// sqlx's own, without spans.
    #[must_use]
    pub fn into_inner(self) -> ::sqlx::pool::PoolConnection<DB> {
        self.0.inner
    }
}

impl<DB: Database> fmt::Debug for PoolConnection<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<DB: Database> Deref for PoolConnection<DB> {
    type Target = Traced<::sqlx::pool::PoolConnection<DB>>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<DB: Database> DerefMut for PoolConnection<DB> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

/// Anything that dereferences to a connection, with spans for its queries. A mutable reference to
/// it is an executor.
pub struct Traced<C> {
    inner: C,
    tracing: Arc<Tracing>,
}

impl<C> Traced<C>
where
    C: DerefMut<Target: Connection>,
{
    /// As [`sqlx::Connection::begin`]: a transaction, or a savepoint in
    /// the one that there is.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn begin(
        &mut self,
    ) -> Result<Transaction<'_, <C::Target as Connection>::Database>, Error> {
        let is_savepoint = self.inner.is_in_transaction();
        Transaction::begin(&self.tracing, is_savepoint, self.inner.begin()).await
    }
}

impl<C: fmt::Debug> fmt::Debug for Traced<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Traced").field(&self.inner).finish()
    }
}

impl<C: Deref> Deref for Traced<C> {
    type Target = C::Target;

    fn deref(&self) -> &C::Target {
        &self.inner
    }
}

impl<C: DerefMut> DerefMut for Traced<C> {
    fn deref_mut(&mut self) -> &mut C::Target {
        &mut self.inner
    }
}
