//! When a failed task is tried again. The only place that uses the `backoff` crate.

use std::time::Duration;

use backoff::ExponentialBackoff;
use backoff::backoff::Backoff as _;
use serde::{Deserialize, Serialize};

use super::failure::Failure;

/// Retry policy with exponential back-off: the bound of the delay grows from `base_ms` to `max_ms`, and each delay is
/// drawn from zero to its bound (full jitter,
/// <https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetryPolicy {
    /// Upper bound of the first delay, in milliseconds.
    pub base_ms: u64,
    /// How many times longer the bound of each delay is than that of the one before.
    pub growth: u32,
    /// Upper bound of every delay, in milliseconds.
    pub max_ms: u64,
    /// Longest `Retry-After` that is obeyed, in milliseconds; a longer one is cut to it.
    pub max_retry_after_ms: u64,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { base_ms: 60_000, growth: 90, max_ms: 21_600_000, max_retry_after_ms: 300_000 }
    }
}

/// What follows a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryDecision {
    /// Try again after this many milliseconds.
    RetryIn(u64),
    /// Do not try again: the task goes to the dead letters.
    GiveUp,
}

impl RetryPolicy {
    /// Decides what follows attempt number `attempt` (1 for the first) of at most `max_attempts`, which ended in
    /// `failure`.
    ///
    /// A `Retry-After` is a lower bound: the jittered delay is added, so that clients that were told the same time do
    /// not return at once.
    #[must_use]
    pub fn judge(&self, failure: &Failure, attempt: u32, max_attempts: u32) -> RetryDecision {
        if !failure.class.is_retryable() || attempt >= max_attempts {
            return RetryDecision::GiveUp;
        }
        let requested = failure.retry_after_ms.unwrap_or(0).min(self.max_retry_after_ms);
        RetryDecision::RetryIn(requested.saturating_add(self.delay(attempt)))
    }

    /// A random delay in milliseconds before the try that follows attempt number `attempt` (1 for the first).
    #[must_use]
    pub fn delay(&self, attempt: u32) -> u64 {
        let steps = attempt.saturating_sub(1);
        let grown = u64::from(self.growth.max(1)).saturating_pow(steps);
        let bound = self.base_ms.saturating_mul(grown).min(self.max_ms);
        // The crate draws from interval ± factor × interval: half the bound with factor 1 is full jitter.
        let half = Duration::from_millis(bound) / 2;
        let mut backoff = ExponentialBackoff {
            current_interval: half,
            initial_interval: half,
            max_interval: half,
            randomization_factor: 1.0,
            max_elapsed_time: None,
            ..ExponentialBackoff::default()
        };
        let delay = backoff.next_backoff().unwrap_or(Duration::ZERO);
        u64::try_from(delay.as_millis()).unwrap_or(bound).min(bound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::failure::FailureClass;

    const POLICY: RetryPolicy = RetryPolicy { base_ms: 100, growth: 2, max_ms: 1_000, max_retry_after_ms: 5_000 };

    #[test]
    fn delays_fill_the_range_up_to_a_growing_bound() {
        for (attempt, bound) in [(1, 100), (2, 200), (3, 400), (4, 800), (5, 1_000), (90, 1_000)] {
            let delays: Vec<u64> = (0..400).map(|_| POLICY.delay(attempt)).collect();
            assert!(delays.iter().all(|delay| *delay <= bound), "attempt {attempt}");
            assert!(delays.iter().any(|delay| *delay < bound / 4), "attempt {attempt}: no short delay");
            assert!(delays.iter().any(|delay| *delay > bound * 3 / 4), "attempt {attempt}: no long delay");
        }
    }

    #[test]
    fn by_default_the_first_retry_comes_within_a_minute_and_the_last_of_three_attempts_may_be_over_an_hour_later() {
        let policy = RetryPolicy::default();
        let longest = |attempt| (0..400).map(|_| policy.delay(attempt)).max().unwrap_or_default();
        assert!((30_000..=60_000).contains(&longest(1)), "{}", longest(1));
        assert!((3_600_000..=5_400_000).contains(&longest(2)), "{}", longest(2));
        assert!(longest(9) <= 21_600_000);
    }

    #[test]
    fn only_retryable_classes_with_attempts_left_are_tried_again() {
        for class in FailureClass::ALL {
            let verdict = POLICY.judge(&Failure::new(class, "x"), 1, 3);
            assert_eq!(matches!(verdict, RetryDecision::RetryIn(_)), class.is_retryable(), "{class}");
        }
        assert_eq!(POLICY.judge(&Failure::transient("x"), 3, 3), RetryDecision::GiveUp);
    }

    #[test]
    fn retry_after_is_a_capped_lower_bound() {
        let limited = |ms| Failure::new(FailureClass::RateLimited, "slow down").retry_after(Some(ms));
        let RetryDecision::RetryIn(ms) = POLICY.judge(&limited(2_000), 1, 3) else { panic!("must retry") };
        assert!((2_000..=2_100).contains(&ms), "{ms}");
        let RetryDecision::RetryIn(ms) = POLICY.judge(&limited(u64::MAX), 1, 3) else { panic!("must retry") };
        assert!((5_000..=5_100).contains(&ms), "{ms}");
    }
}
