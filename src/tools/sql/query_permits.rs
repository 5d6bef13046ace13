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
}

/// A permit: free again once this is dropped.
#[derive(Debug)]
pub(super) struct QueryPermit {
    _permit: OwnedSemaphorePermit,
}

impl QueryPermits {
    /// `count` permits, at least one.
    pub(super) fn new(count: usize) -> Self {
        let count = count.clamp(1, Semaphore::MAX_PERMITS);
        Self { free: Arc::new(Semaphore::new(count)), count }
    }

    /// Takes a permit, waiting at most for `time`.
    pub(super) async fn take(&self, time: Duration) -> Result<QueryPermit, SqlError> {
        let waiting = Arc::clone(&self.free).acquire_owned();
        match tokio::time::timeout(time, waiting).await {
            Ok(Ok(permit)) => Ok(QueryPermit { _permit: permit }),
            Ok(Err(_)) | Err(_) => Err(SqlError::Failed(Failure::transient(format!(
                "all {} connections were in use for {} ms; try again later, or raise max_connections of this database",
                self.count,
                time.as_millis()
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
        let permits = QueryPermits::new(2);
        let wait = Duration::from_millis(700);
        let (first, _second) = (permits.take(wait).await, permits.take(wait).await);
        let Err(SqlError::Failed(failure)) = permits.take(wait).await else { panic!("a third place") };
        assert_eq!(failure.class, FailureClass::Transient);
        assert!(failure.message.contains("all 2 connections") && failure.message.contains("700 ms"), "{failure}");
        drop(first);
        assert!(permits.take(wait).await.is_ok());
    }
}
