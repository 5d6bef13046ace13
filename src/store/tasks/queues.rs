//! How many tasks each user has that have not ended.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use qdrant_client::qdrant::Condition;
use tokio::time::Instant;

use super::read::conditions;
use crate::domain::task::TaskStatus;
use crate::store::qdrant::collections::Collection;
use crate::store::tasks::fields::ADMITTED;
use crate::store::{Store, StoreError, TaskFilter};

/// How long a count holds: an exact one of a long queue takes the store milliseconds, and a client that inserts its tasks one
/// by one asks for it each time.
const HOLDS: Duration = Duration::from_secs(1);
/// Users whose counts are remembered.
const MOST_USERS: usize = 10_000;

/// The lengths of queues, as far as they were asked for within the last second, with what this process has added since.
#[derive(Default)]
pub(in crate::store) struct Queues(Mutex<HashMap<String, Queue>>);

struct Queue {
    length: u64,
    /// When it was counted.
    counted: Instant,
    /// When this process last added to it.
    joined: Instant,
}

impl Queues {
    fn known(&self) -> MutexGuard<'_, HashMap<String, Queue>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    /// How many tasks `user` would have that have not ended with `added` more, which are counted from now on when they are
    /// not more than `most` in all. More than `most` comes from a count of this moment. Other replicas may have added some
    /// within the last second that are not in it. Points that wait for admission do not count.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn join_queue(&self, user: &str, added: u64, most: u64) -> Result<u64, StoreError> {
        let queues = &self.local.queues;
        let now = Instant::now();
        if let Some(queue) = queues.known().get_mut(user)
            && queue.counted.elapsed() < HOLDS
            && queue.length + added <= most
        {
            (queue.length, queue.joined) = (queue.length + added, now);
            return Ok(queue.length);
        }
        let counted = self.count_unfinished_of(user).await?;
        let mut known = queues.known();
        // What others joined while this was counted may be missing in the count.
        let joined = known.get(user).filter(|queue| queue.joined >= now).map_or(0, |queue| queue.length);
        let length = counted.max(joined) + added;
        if known.len() >= MOST_USERS {
            known.retain(|_, queue| queue.counted.elapsed() < HOLDS);
        }
        if length <= most && (known.len() < MOST_USERS || known.contains_key(user)) {
            known.insert(user.to_owned(), Queue { length, counted: now, joined: Instant::now() });
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
