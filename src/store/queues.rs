//! How many tasks each user has that have not ended.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use qdrant_client::qdrant::Condition;
use tokio::time::Instant;

use super::collections::Collection;
use super::tasks::conditions;
use super::{Store, StoreError, TaskFilter};
use crate::domain::task::TaskStatus;
use crate::store::codec::ADMITTED;

/// How long a count holds: an exact one of a long queue takes the store milliseconds, and a client that inserts its tasks one
/// by one asks for it each time.
const HOLDS: Duration = Duration::from_secs(1);
/// Users whose counts are remembered.
const MOST_USERS: usize = 10_000;

/// The lengths of queues, as far as they were asked for within the last second, with what this process has added since.
#[derive(Default)]
pub(super) struct Queues(Mutex<HashMap<String, (Instant, u64)>>);

impl Queues {
    fn known(&self) -> MutexGuard<'_, HashMap<String, (Instant, u64)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    /// How many tasks `user` would have that have not ended with `added` more, which are counted from now on when they are
    /// not more than `most` in all. A refusal comes from an exact count; below, other replicas may have added some within the
    /// last second. Points that wait for admission do not count.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn join_queue(&self, user: &str, added: u64, most: u64) -> Result<u64, StoreError> {
        let queues = &self.inner.queues;
        if let Some((at, length)) = queues.known().get_mut(user)
            && at.elapsed() < HOLDS
            && *length + added <= most
        {
            *length += added;
            return Ok(*length);
        }
        let counted = Instant::now();
        let length = self.count_unfinished_of(user).await? + added;
        let mut known = queues.known();
        if known.len() >= MOST_USERS {
            known.retain(|_, (at, _)| at.elapsed() < HOLDS);
        }
        if length <= most && known.len() < MOST_USERS {
            known.insert(user.to_owned(), (counted, length));
        }
        Ok(length)
    }

    /// How many tasks of `user` have not ended, exactly. Points that wait for admission do not count.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn count_unfinished_of(&self, user: &str) -> Result<u64, StoreError> {
        let statuses = TaskStatus::ALL.into_iter().filter(|status| !status.is_terminal()).collect();
        let mut filter = conditions(&TaskFilter { statuses, user: Some(user.to_owned()), ..TaskFilter::default() });
        filter.must.push(Condition::matches(ADMITTED, true));
        self.inner.count("count_queue", Collection::Tasks, Some(filter), true).await
    }
}
