//! How many requests in a second the API takes from those who hold its token.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota};

use super::error::Problem;

/// After a pause as many requests may come at once as the rate allows in so many seconds, so that a program may insert
/// thousands of tasks one by one.
const BURST_S: u32 = 20;

/// Counts requests, and refuses those beyond the rate.
#[derive(Debug)]
pub(super) struct Rate {
    limiter: Option<DefaultDirectRateLimiter>,
    per_s: u32,
}

impl Rate {
    /// So many requests in a second; 0 for any number.
    pub(super) fn new(per_s: u32) -> Self {
        let limiter = NonZeroU32::new(per_s).map(|rate| {
            let burst = rate.saturating_mul(NonZeroU32::new(BURST_S).unwrap_or(NonZeroU32::MIN));
            DefaultDirectRateLimiter::direct(Quota::per_second(rate).allow_burst(burst))
        });
        Self { limiter, per_s }
    }

    /// Counts one request.
    ///
    /// # Errors
    /// 429 with the time to wait when there have been too many.
    pub(super) fn count(&self) -> Result<(), Problem> {
        let Some(limiter) = &self.limiter else { return Ok(()) };
        let Err(early) = limiter.check() else { return Ok(()) };
        let wait = early.wait_time_from(DefaultClock::default().now());
        let detail = format!(
            "there are more than {} requests per second (api.requests_per_s): wait, or send several tasks in one request",
            self.per_s
        );
        Err(Problem::too_many(detail, whole_seconds(wait)))
    }
}

/// Rounded up: a client that waits so long is let through.
fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_what_comes_after_it_waits() {
        let rate = Rate::new(1);
        for _ in 0..BURST_S {
            rate.count().expect("within the burst");
        }
        let problem = rate.count().expect_err("beyond it");
        assert_eq!((problem.status, problem.retry_after_s), (429, Some(1)));
        assert!(problem.detail.contains("api.requests_per_s"), "{}", problem.detail);
    }

    #[test]
    fn no_rate_takes_any_number() {
        let rate = Rate::new(0);
        assert!((0..100_000).all(|_| rate.count().is_ok()));
    }

    #[test]
    fn waits_are_told_in_whole_seconds() {
        for (millis, seconds) in [(0, 0), (1, 1), (1_000, 1), (1_001, 2)] {
            assert_eq!(whole_seconds(Duration::from_millis(millis)), seconds, "{millis}");
        }
    }
}
