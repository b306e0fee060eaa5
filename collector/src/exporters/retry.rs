//! Trying again: exponential back-off with jitter, in a timer.
//!
//! The keys and defaults are those of the OpenTelemetry Collector's `retry_on_failure`.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::reason::{Failure, Reason};

/// When and how often to try again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryPolicy {
    /// Whether to try again at all.
    pub enabled: bool,
    /// The first wait.
    pub initial_interval: Duration,
    /// Waits differ from the plan by up to this share, so that many senders do not march in step.
    pub randomization_factor: f64,
    /// Each wait is this much longer than the one before.
    pub multiplier: f64,
    /// No wait of our own is longer.
    pub max_interval: Duration,
    /// After this time a batch is given up; zero for never.
    pub max_elapsed_time: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            enabled: true,
            initial_interval: Duration::from_secs(5),
            randomization_factor: 0.5,
            multiplier: 1.5,
            max_interval: Duration::from_secs(30),
            max_elapsed_time: Duration::from_secs(300),
        }
    }
}

/// How one attempt failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptError {
    /// What happened, naming the peer.
    pub message: String,
    /// What to do about it.
    pub verdict: Verdict,
}

/// What a failed attempt means for the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Trying again may help, no sooner than after this delay where the destination named one.
    Retry(Option<Duration>),
    /// It will not help.
    Final,
    /// It will not help, and the fault is in what the sender sent.
    FinalInvalid,
}

/// Runs `attempt` until it succeeds, fails for good, or waiting longer makes no sense: the policy's
/// time is over, the sender's deadline would pass, or the collector is stopping.
///
/// # Errors
/// The last attempt's, as the sender is to hear it.
pub async fn with_retries<T, F>(
    policy: &RetryPolicy,
    jitter: &Jitter,
    deadline: Option<Instant>,
    stop: &CancellationToken,
    mut attempt: impl FnMut() -> F,
) -> Result<T, Failure>
where
    F: Future<Output = Result<T, AttemptError>>,
{
    // The clock is read only when something failed: the good path costs nothing here.
    let mut first_failure = None;
    let mut interval = policy.initial_interval;
    loop {
        let error = match attempt().await {
            Ok(outcome) => return Ok(outcome),
            Err(error) => error,
        };
        let asked = match error.verdict {
            Verdict::Retry(asked) => asked,
            Verdict::Final => return Err(Failure::new(Reason::DestinationRejected, error.message)),
            Verdict::FinalInvalid => return Err(Failure::new(Reason::Malformed, error.message)),
        };
        let now = Instant::now();
        let started = *first_failure.get_or_insert(now);
        // The destination's word is a lower bound (OTLP specification, "Throttling").
        let wait = jitter
            .around(interval, policy.randomization_factor)
            .max(asked.unwrap_or_default());
        interval = interval.mul_f64(policy.multiplier).min(policy.max_interval);

        let is_too_late = |end: Instant| now.checked_add(wait).is_none_or(|then| then > end);
        let patience_ends = (!policy.max_elapsed_time.is_zero())
            .then(|| started.checked_add(policy.max_elapsed_time))
            .flatten();
        if !policy.enabled
            || deadline.is_some_and(is_too_late)
            || patience_ends.is_some_and(is_too_late)
        {
            return Err(
                Failure::new(Reason::DestinationUnavailable, error.message).retry_after(asked)
            );
        }
        tracing::debug!(
            wait_ms = wait.as_millis() as u64,
            "trying again: {}",
            error.message
        );
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = stop.cancelled() => return Err(Failure::new(Reason::Stopping, error.message).retry_after(asked)),
        }
    }
}

/// A source of jitter: a small generator, seeded by whoever makes it.
#[derive(Debug)]
pub struct Jitter(AtomicU64);

impl Jitter {
    /// A generator with this seed.
    pub const fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    /// A duration within `factor` (0 to 1) of `interval`.
    fn around(&self, interval: Duration, factor: f64) -> Duration {
        // SplitMix64; its quality is far beyond what spreading retries needs.
        let mut z = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let unit = (z >> 11) as f64 / (1_u64 << 53) as f64;
        interval.mul_f64((1.0 - factor) + 2.0 * factor * unit)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const SEED: u64 = 7;

    fn retryable(asked: Option<Duration>) -> AttemptError {
        AttemptError {
            message: "unavailable".to_owned(),
            verdict: Verdict::Retry(asked),
        }
    }

    /// Attempts that fail `n_failures` times as `error` says; returns the outcome, how many
    /// attempts there were, and how long it took by the paused clock.
    async fn run(
        policy: RetryPolicy,
        deadline_s: Option<u64>,
        n_failures: u32,
        error: AttemptError,
    ) -> (Result<(), Failure>, u32, Duration) {
        let n_attempts = Cell::new(0);
        let started = Instant::now();
        let deadline = deadline_s.map(|s| started + Duration::from_secs(s));
        let stop = CancellationToken::new();
        let outcome = with_retries(&policy, &Jitter::new(SEED), deadline, &stop, || {
            n_attempts.set(n_attempts.get() + 1);
            let failed = (n_attempts.get() <= n_failures).then(|| error.clone());
            async move { failed.map_or(Ok(()), Err) }
        })
        .await;
        (outcome, n_attempts.get(), started.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn waits_grow_up_to_the_longest() {
        let policy = RetryPolicy {
            randomization_factor: 0.0,
            ..RetryPolicy::default()
        };
        let (outcome, n_attempts, took) = run(policy, None, 7, retryable(None)).await;
        assert_eq!((outcome, n_attempts), (Ok(()), 8));
        // 5 + 7.5 + 11.25 + 16.875 + 25.3125 + 30 + 30; the timer rounds up to milliseconds.
        assert!((125_937..125_950).contains(&took.as_millis()), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_is_given_up_after_the_longest_time() {
        let policy = RetryPolicy {
            randomization_factor: 0.0,
            ..RetryPolicy::default()
        };
        let (outcome, _, took) = run(policy, None, u32::MAX, retryable(None)).await;
        assert_eq!(outcome.unwrap_err().reason, Reason::DestinationUnavailable);
        assert!(
            took > Duration::from_secs(270) && took <= Duration::from_secs(300),
            "{took:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_destination_s_delay_is_a_lower_bound() {
        let asked = Duration::from_secs(60);
        let (outcome, _, took) = run(RetryPolicy::default(), None, 1, retryable(Some(asked))).await;
        assert_eq!((outcome, took), (Ok(()), asked));
    }

    #[tokio::test(start_paused = true)]
    async fn a_delay_beyond_patience_is_passed_on_at_once() {
        let asked = Some(Duration::from_secs(10_000));
        let (outcome, n_attempts, took) =
            run(RetryPolicy::default(), None, 1, retryable(asked)).await;
        assert_eq!(outcome.unwrap_err().retry_after, asked);
        assert_eq!((n_attempts, took), (1, Duration::ZERO));
        let (outcome, ..) = run(
            RetryPolicy::default(),
            None,
            1,
            retryable(Some(Duration::MAX)),
        )
        .await;
        assert!(outcome.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_tried_past_the_sender_s_deadline() {
        let (outcome, n_attempts, took) =
            run(RetryPolicy::default(), Some(2), u32::MAX, retryable(None)).await;
        assert_eq!(outcome.unwrap_err().reason, Reason::DestinationUnavailable);
        assert_eq!((n_attempts, took), (1, Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn a_final_failure_is_not_tried_again() {
        for (verdict, reason) in [
            (Verdict::Final, Reason::DestinationRejected),
            (Verdict::FinalInvalid, Reason::Malformed),
        ] {
            let error = AttemptError {
                message: "no".to_owned(),
                verdict,
            };
            let (outcome, n_attempts, _) = run(RetryPolicy::default(), None, 1, error).await;
            assert_eq!((outcome.unwrap_err().reason, n_attempts), (reason, 1));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn stopping_ends_the_wait() {
        let stop = CancellationToken::new();
        stop.cancel();
        let policy = RetryPolicy::default();
        let outcome = with_retries::<(), _>(&policy, &Jitter::new(SEED), None, &stop, || async {
            Err(retryable(None))
        })
        .await;
        assert_eq!(outcome.unwrap_err().reason, Reason::Stopping);
    }

    #[test]
    fn jitter_stays_within_its_factor() {
        let jitter = Jitter::new(SEED);
        for _ in 0..1000 {
            let wait = jitter.around(Duration::from_secs(10), 0.5);
            assert!(
                (Duration::from_secs(5)..=Duration::from_secs(15)).contains(&wait),
                "{wait:?}"
            );
        }
    }
}
