//! Whether this replica still counts as alive, by its own monotonic clock.
//!
//! A heartbeat that the store confirmed keeps the replica alive for the lease time, counted from the moment it was
//! *sent*: an observer cannot have seen it earlier, so it cannot declare this replica dead before the replica
//! itself stops. Knows nothing of how heartbeats are written.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The right to run tasks, as far as this replica knows.
pub(crate) struct Lease {
    length: Duration,
    confirmed: Mutex<Option<Instant>>,
}

impl Lease {
    /// A lease of `length` that is not confirmed yet.
    pub(crate) const fn new(length: Duration) -> Self {
        Self { length, confirmed: Mutex::new(None) }
    }

    /// How long a confirmed heartbeat holds.
    pub(crate) const fn length(&self) -> Duration {
        self.length
    }

    /// A heartbeat sent at `sent` has been stored. Gives back whether the lease had run out before, or not begun: then
    /// work that was stopped, or not started, can go on.
    pub(crate) fn confirm(&self, sent: Instant) -> bool {
        let mut confirmed = self.confirmed.lock().unwrap_or_else(PoisonError::into_inner);
        let had_run_out = confirmed.is_none_or(|before| Instant::now() >= before + self.length);
        *confirmed = (*confirmed).max(Some(sent));
        had_run_out
    }

    /// Whether the replica may start and go on with work.
    pub(crate) fn is_certain(&self) -> bool {
        self.deadline().is_some_and(|deadline| Instant::now() < deadline)
    }

    /// Returns once the lease has run out. Cancel-safe.
    pub(crate) async fn lost(&self) {
        while let Some(deadline) = self.deadline() {
            if Instant::now() >= deadline {
                return;
            }
            tokio::time::sleep_until(deadline).await;
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let confirmed = *self.confirmed.lock().unwrap_or_else(PoisonError::into_inner);
        confirmed.map(|sent| sent + self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_lease_lasts_from_the_sending_of_the_last_confirmed_heartbeat() {
        let lease = Lease::new(Duration::from_secs(15));
        assert!(!lease.is_certain(), "never confirmed");
        lease.lost().await;

        let sent = Instant::now();
        tokio::time::advance(Duration::from_secs(4)).await;
        assert!(lease.confirm(sent), "it begins");
        tokio::time::advance(Duration::from_secs(10)).await;
        assert!(lease.is_certain());
        assert!(!lease.confirm(Instant::now()), "it goes on");
        assert!(!lease.confirm(sent));
        tokio::time::advance(Duration::from_secs(14)).await;
        assert!(lease.is_certain(), "an older confirmation does not shorten it");

        let began = Instant::now();
        lease.lost().await;
        assert!(!lease.is_certain());
        assert!(began.elapsed() < Duration::from_millis(1_100));
    }

    #[tokio::test(start_paused = true)]
    async fn a_confirmation_that_comes_too_late_tells_that_there_was_a_gap() {
        let lease = Lease::new(Duration::from_secs(15));
        lease.confirm(Instant::now());
        tokio::time::advance(Duration::from_secs(14)).await;
        let sent = Instant::now();
        tokio::time::advance(Duration::from_secs(4)).await;
        assert!(!lease.is_certain());
        assert!(lease.confirm(sent), "what ran has been stopped meanwhile");
        assert!(lease.is_certain(), "the rest of it");
    }
}
