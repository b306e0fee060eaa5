//! One budget of bytes for every request in memory, whichever protocol it came by.
//!
//! A request is charged before its body is read, and again at the size that it inflates to. What
//! does not fit is refused at once: a request that waits for room would hold a connection and, in
//! HTTP/2, its window.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::reason::{Failure, Reason};

/// What a refused sender is told to wait: long enough for a few exports to finish, short enough
/// that a sidecar's small buffer survives it.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The bytes that requests may occupy together.
#[derive(Clone, Debug)]
pub struct Budget {
    free: Arc<Semaphore>,
    limit_bytes: usize,
}

impl Budget {
    /// A budget of this many bytes, at most `u32::MAX`.
    pub fn new(limit_bytes: usize) -> Self {
        let limit_bytes = limit_bytes.min(u32::MAX as usize);
        Self {
            free: Arc::new(Semaphore::new(limit_bytes)),
            limit_bytes,
        }
    }

    /// Takes room for `n_bytes`, given back when the charge is dropped.
    ///
    /// # Errors
    /// [`Reason::Overloaded`] when there is not enough room now.
    pub fn charge(&self, n_bytes: usize) -> Result<Charge, Failure> {
        let permits = u32::try_from(n_bytes).map_err(|_| self.full())?;
        match Arc::clone(&self.free).try_acquire_many_owned(permits) {
            Ok(permit) => Ok(Charge {
                budget: self.clone(),
                permit,
            }),
            Err(_) => Err(self.full()),
        }
    }

    /// How many bytes are charged now.
    pub fn used_bytes(&self) -> usize {
        self.limit_bytes - self.free.available_permits()
    }

    fn full(&self) -> Failure {
        let message = format!(
            "too many requests at once: {} of the {} bytes for requests in memory are used",
            self.used_bytes(),
            self.limit_bytes
        );
        Failure::new(Reason::Overloaded, message).retry_after(RETRY_AFTER)
    }
}

/// The room that one request occupies.
#[derive(Debug)]
pub struct Charge {
    budget: Budget,
    permit: OwnedSemaphorePermit,
}

impl Charge {
    /// Takes more room for the same request.
    ///
    /// # Errors
    /// [`Reason::Overloaded`] when there is not enough room now.
    pub fn grow(&mut self, n_bytes: usize) -> Result<(), Failure> {
        let more = self.budget.charge(n_bytes)?;
        self.permit.merge(more.permit);
        Ok(())
    }

    /// Gives back what is above `n_bytes`.
    pub fn shrink_to(&mut self, n_bytes: usize) {
        let surplus = self.permit.num_permits().saturating_sub(n_bytes);
        drop(self.permit.split(surplus));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charges_fill_the_budget_and_give_back() {
        let budget = Budget::new(100);
        let mut first = budget.charge(60).unwrap();
        let refused = budget.charge(41).unwrap_err();
        assert_eq!(refused.reason, Reason::Overloaded);
        assert_eq!(refused.retry_after, Some(RETRY_AFTER));

        first.shrink_to(50);
        let second = budget.charge(41).unwrap();
        assert_eq!(budget.used_bytes(), 91);
        assert!(first.grow(10).is_err());
        assert!(first.grow(9).is_ok());

        drop((first, second));
        assert_eq!(budget.used_bytes(), 0);
    }

    #[test]
    fn what_can_never_fit_is_refused_and_not_a_panic() {
        assert!(Budget::new(10).charge(usize::MAX).is_err());
    }
}
