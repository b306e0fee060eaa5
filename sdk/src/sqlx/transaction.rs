//! Transactions whose beginning and end have spans, too.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use ::sqlx::{Database, Error};
use opentelemetry::trace::FutureExt;

use super::Traced;
use super::describe::{Tracing, on_error};

/// A [`sqlx::Transaction`] whose queries have spans. `&mut *transaction` is an
/// executor.
pub struct Transaction<'c, DB: Database> {
    traced: Traced<::sqlx::Transaction<'c, DB>>,
    is_savepoint: bool,
}

impl<'c, DB: Database> Transaction<'c, DB> {
    pub(super) async fn begin(
        tracing: &Arc<Tracing>,
        is_savepoint: bool,
        begin: impl Future<Output = Result<::sqlx::Transaction<'c, DB>, Error>>,
    ) -> Result<Self, Error> {
        let operation = if is_savepoint { "SAVEPOINT" } else { "BEGIN" };
        let inner = statement(tracing, operation, begin).await?;
        let traced = Traced {
            inner,
            tracing: Arc::clone(tracing),
        };
        Ok(Self {
            traced,
            is_savepoint,
        })
    }

    /// As [`sqlx::Transaction::commit`].
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn commit(self) -> Result<(), Error> {
        let operation = match self.is_savepoint {
            true => "RELEASE SAVEPOINT",
            false => "COMMIT",
        };
        let Traced { inner, tracing } = self.traced;
        statement(&tracing, operation, inner.commit()).await
    }

    /// As [`sqlx::Transaction::rollback`].
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn rollback(self) -> Result<(), Error> {
        let operation = match self.is_savepoint {
            true => "ROLLBACK TO SAVEPOINT",
            false => "ROLLBACK",
        };
        let Traced { inner, tracing } = self.traced;
        statement(&tracing, operation, inner.rollback()).await
    }

    /// sqlx's own, without spans.
    #[must_use]
    pub fn into_inner(self) -> ::sqlx::Transaction<'c, DB> {
        self.traced.inner
    }
}

/// Runs one of sqlx's own statements in its span.
async fn statement<T>(
    tracing: &Tracing,
    operation: &'static str,
    future: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let Some(mut call) = tracing.statement(operation) else {
        return future.await;
    };
    let result = future.with_context(call.context().clone()).await;
    match &result {
        Ok(_) => call.on_answer(),
        Err(error) => on_error(&mut call, error),
    }
    result
}

impl<DB: Database> fmt::Debug for Transaction<'_, DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction").finish_non_exhaustive()
    }
}

impl<'c, DB: Database> Deref for Transaction<'c, DB> {
    type Target = Traced<::sqlx::Transaction<'c, DB>>;

    fn deref(&self) -> &Self::Target {
        &self.traced
    }
}

impl<DB: Database> DerefMut for Transaction<'_, DB> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.traced
    }
}
