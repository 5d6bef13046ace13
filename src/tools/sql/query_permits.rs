//! Limits how many queries run on a database at once. Further queries wait for a permit, but not for long.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::SqlError;
use crate::domain::failure::Failure;

/// The permits of one database.
#[derive(Debug)]
pub(super) struct QueryPermits {
    free: Arc<Semaphore>,
    count: usize,
    /// What they are, for an error.
    what: &'static str,
    /// What can be done when none is free, for an error.
    way_out: &'static str,
}

/// A permit: free again once this is dropped.
#[derive(Debug)]
pub(super) struct QueryPermit {
    _permit: OwnedSemaphorePermit,
}

impl QueryPermits {
    /// `count` permits, at least one. Errors call them `what`, and name `way_out`.
    pub(super) fn new(count: usize, what: &'static str, way_out: &'static str) -> Self {
        let count = count.clamp(1, Semaphore::MAX_PERMITS);
        Self { free: Arc::new(Semaphore::new(count)), count, what, way_out }
    }

    /// Takes a permit, waiting at most for `time`.
    pub(super) async fn take(&self, time: Duration) -> Result<QueryPermit, SqlError> {
        let waiting = Arc::clone(&self.free).acquire_owned();
        match tokio::time::timeout(time, waiting).await {
            Ok(Ok(permit)) => Ok(QueryPermit { _permit: permit }),
            Ok(Err(_)) | Err(_) => Err(SqlError::Failed(Failure::transient(format!(
                "all {} {} were in use for {} ms; {}",
                self.count,
                self.what,
                time.as_millis(),
                self.way_out
            )))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::failure::FailureClass;

    #[tokio::test(start_paused = true)]
    async fn a_place_is_waited_for_and_given_on() {
        let permits = QueryPermits::new(2, "connections", "wait");
        let wait = Duration::from_millis(700);
        let (first, _second) = (permits.take(wait).await, permits.take(wait).await);
        let Err(SqlError::Failed(failure)) = permits.take(wait).await else { panic!("a third place") };
        assert_eq!(failure.class, FailureClass::Transient);
        assert!(failure.message.contains("all 2 connections") && failure.message.contains("700 ms"), "{failure}");
        drop(first);
        assert!(permits.take(wait).await.is_ok());
    }
}
