//! Requests and tokens per minute, over all calls of this process.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota};
use tokio::sync::Mutex;

/// Limits on requests and tokens per minute.
pub(super) struct RateLimits {
    requests: Option<DefaultDirectRateLimiter>,
    tokens: Option<TokenLimit>,
    /// First come, first served: without a queue, small calls overtake a large one for ever.
    queue: Mutex<()>,
}

struct TokenLimit {
    limiter: DefaultDirectRateLimiter,
    per_minute: NonZeroU32,
    /// Tokens that earlier calls used beyond their estimate (positive) or less (negative); charged to the next call.
    owed: AtomicI64,
}

impl RateLimits {
    /// Limits per minute; 0 for none.
    pub(super) fn new(requests_per_minute: u32, tokens_per_minute: u32) -> Self {
        let limiter = |per_minute| DefaultDirectRateLimiter::direct(Quota::per_minute(per_minute));
        Self {
            requests: NonZeroU32::new(requests_per_minute).map(limiter),
            tokens: NonZeroU32::new(tokens_per_minute).map(|per_minute| TokenLimit {
                limiter: limiter(per_minute),
                per_minute,
                owed: AtomicI64::new(0),
            }),
            queue: Mutex::new(()),
        }
    }

    /// Waits until a call of about `tokens` tokens may start. Dropping the future leaves the queue.
    pub(super) async fn wait(&self, tokens: u64) {
        if self.requests.is_none() && self.tokens.is_none() {
            return;
        }
        let _turn = self.queue.lock().await;
        if let Some(limiter) = &self.requests {
            wait_for(limiter, NonZeroU32::MIN).await;
        }
        if let Some(limited) = &self.tokens {
            wait_for(&limited.limiter, limited.charge(tokens)).await;
        }
    }

    /// Corrects the estimate of a call by what it used.
    pub(super) fn settle(&self, estimated: u64, used: u64) {
        if let Some(tokens) = &self.tokens {
            let difference = i64::try_from(used).unwrap_or(i64::MAX) - i64::try_from(estimated).unwrap_or(i64::MAX);
            tokens.owed.fetch_add(difference, Ordering::Relaxed);
        }
    }
}

impl TokenLimit {
    /// Tokens that a call of `tokens` takes from the limiter: at least one, at most a minute's worth; the rest stays
    /// owed.
    fn charge(&self, tokens: u64) -> NonZeroU32 {
        let owed = self.owed.swap(0, Ordering::Relaxed);
        let wanted = i64::try_from(tokens).unwrap_or(i64::MAX).saturating_add(owed);
        let claimed = wanted.clamp(1, i64::from(self.per_minute.get()));
        self.owed.fetch_add(wanted - claimed, Ordering::Relaxed);
        u32::try_from(claimed).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN)
    }
}

async fn wait_for(limiter: &DefaultDirectRateLimiter, cells: NonZeroU32) {
    // Asking for more than the burst is excluded by `charge`; a limiter that said so would never let the call go.
    while let Ok(Err(not_until)) = limiter.check_n(cells) {
        let wait = not_until.wait_time_from(DefaultClock::default().now());
        tokio::time::sleep(wait.max(Duration::from_millis(1))).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(limits: &RateLimits) -> &TokenLimit {
        limits.tokens.as_ref().expect("a limit")
    }

    #[test]
    fn what_a_call_left_of_its_estimate_is_credited_to_the_next() {
        let limits = RateLimits::new(0, 10_000);
        assert_eq!(tokens(&limits).charge(4_000).get(), 4_000);
        limits.settle(4_000, 500);
        assert_eq!(tokens(&limits).charge(4_000).get(), 500);
        limits.settle(4_000, 5_000);
        assert_eq!(tokens(&limits).charge(4_000).get(), 5_000);
    }

    #[test]
    fn a_call_larger_than_a_minute_goes_and_is_paid_by_the_next_ones() {
        let limits = RateLimits::new(0, 1_000);
        assert_eq!(tokens(&limits).charge(2_500).get(), 1_000);
        assert_eq!(tokens(&limits).charge(1).get(), 1_000);
        assert_eq!(tokens(&limits).charge(1).get(), 502);
    }
}
