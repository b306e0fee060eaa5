//! The books: what came in, what went where, and what is on its way.
//!
//! For every receiver, `received = acked + refused{reason} + in flight`; for every exporter,
//! `taken = delivered + dropped{reason} + in flight`; always, in spans. A request that is abandoned
//! half-way (its future dropped, since the sender hung up) is booked by its guard's drop.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::reason::Reason;

const N_REASONS: usize = Reason::ALL.len();

/// The account of one receiver or one exporter, in spans.
#[derive(Debug, Default)]
pub struct Account {
    taken: AtomicU64,
    done: AtomicU64,
    lost: [AtomicU64; N_REASONS],
    /// Requests refused before their spans could be counted.
    refused_requests: [AtomicU64; N_REASONS],
}

impl Account {
    /// Books `n_spans` as taken; they are in flight until the entry is closed.
    pub fn open(&self, n_spans: usize) -> Entry<'_> {
        let n_spans = n_spans as u64;
        self.taken.fetch_add(n_spans, Relaxed);
        Entry {
            account: self,
            n_spans,
        }
    }

    /// Books a request that was refused before its spans could be counted.
    pub fn refuse_request(&self, reason: Reason) {
        self.refused_requests[reason as usize].fetch_add(1, Relaxed);
    }

    /// What the account says now.
    pub fn balance(&self) -> Balance {
        // Taken is read last: what closes in between then counts as in flight, never as negative.
        let done = self.done.load(Relaxed);
        let lost = std::array::from_fn(|i| self.lost[i].load(Relaxed));
        let refused_requests = std::array::from_fn(|i| self.refused_requests[i].load(Relaxed));
        Balance {
            taken: self.taken.load(Relaxed),
            done,
            lost,
            refused_requests,
        }
    }
}

/// Spans in flight. Dropped without being closed, it books them as [`Reason::SenderGone`].
#[derive(Debug)]
pub struct Entry<'a> {
    account: &'a Account,
    n_spans: u64,
}

impl Entry<'_> {
    /// Everything arrived, except `n_rejected` spans that the destination took out.
    pub fn done(mut self, n_rejected: u64) {
        let n_rejected = n_rejected.min(self.n_spans);
        self.account
            .done
            .fetch_add(self.n_spans - n_rejected, Relaxed);
        self.account.lost[Reason::PartialSuccess as usize].fetch_add(n_rejected, Relaxed);
        self.n_spans = 0;
    }

    /// Nothing arrived.
    pub fn lost(mut self, reason: Reason) {
        self.account.lost[reason as usize].fetch_add(self.n_spans, Relaxed);
        self.n_spans = 0;
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.account.lost[Reason::SenderGone as usize].fetch_add(self.n_spans, Relaxed);
    }
}

/// An account at one moment, in spans.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Balance {
    /// Received, or given to the exporter.
    pub taken: u64,
    /// Acked, or delivered.
    pub done: u64,
    lost: [u64; N_REASONS],
    refused_requests: [u64; N_REASONS],
}

impl Balance {
    /// Refused or dropped for this reason.
    pub const fn lost(&self, reason: Reason) -> u64 {
        self.lost[reason as usize]
    }

    /// Requests refused for this reason before their spans could be counted.
    pub const fn refused_requests(&self, reason: Reason) -> u64 {
        self.refused_requests[reason as usize]
    }

    /// Neither done nor lost yet.
    pub fn in_flight(&self) -> u64 {
        self.taken
            .saturating_sub(self.done + self.lost.iter().sum::<u64>())
    }
}

/// `taken=12 done=10 in_flight=0 lost{overloaded}=2`; reasons with nothing to say are left out.
impl fmt::Display for Balance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "taken={} done={} in_flight={}",
            self.taken,
            self.done,
            self.in_flight()
        )?;
        for &reason in Reason::ALL {
            if self.lost(reason) > 0 {
                write!(f, " lost{{{reason}}}={}", self.lost(reason))?;
            }
        }
        for &reason in Reason::ALL {
            if self.refused_requests(reason) > 0 {
                write!(
                    f,
                    " refused_requests{{{reason}}}={}",
                    self.refused_requests(reason)
                )?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_books_balance_whatever_becomes_of_a_request() {
        let account = Account::default();
        account.open(10).done(3);
        account.open(5).lost(Reason::DestinationRejected);
        drop(account.open(2));
        let open = account.open(1);
        let balance = account.balance();
        assert_eq!(
            (balance.taken, balance.done, balance.in_flight()),
            (18, 7, 1)
        );
        assert_eq!(
            balance.to_string(),
            "taken=18 done=7 in_flight=1 lost{destination_rejected}=5 \
             lost{partial_success}=3 lost{sender_gone}=2"
        );
        open.done(0);
        assert_eq!(account.balance().in_flight(), 0);
    }

    #[test]
    fn a_destination_cannot_reject_more_than_it_got() {
        let account = Account::default();
        account.open(1).done(u64::MAX);
        assert_eq!(account.balance().lost(Reason::PartialSuccess), 1);
        assert_eq!(account.balance().in_flight(), 0);
    }
}
