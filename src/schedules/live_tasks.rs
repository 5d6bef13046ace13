//! Which tasks of a schedule have not ended, and so may keep its firings from starting.

use crate::domain::id::TaskId;
use crate::domain::schedule::{AnnouncedFiring, Overlap, Schedule, fire_time};
use crate::domain::task::{Task, TaskStatus};
use crate::domain::time::Timestamp;
use crate::store::{Store, StoreError, TaskFilter};

/// How long a task that was announced counts as alive without being there, in milliseconds.
const ANNOUNCED_MS: u64 = 10_000;
/// Most tasks of a schedule that are looked at as alive.
const MAX_ALIVE: u32 = 1_000;
/// Statuses of tasks that have not ended.
const ALIVE: [TaskStatus; 4] =
    [TaskStatus::Waiting, TaskStatus::Pending, TaskStatus::Running, TaskStatus::AwaitingApproval];

/// The tasks of a schedule that have not ended.
pub(super) async fn alive(store: &Store, schedule: &str) -> Result<Vec<Task>, StoreError> {
    let filter =
        TaskFilter { statuses: ALIVE.to_vec(), schedule_id: Some(schedule.to_owned()), ..TaskFilter::default() };
    Ok(store.tasks(&filter, MAX_ALIVE, None).await?.items)
}

/// The tasks of a schedule that may keep its firings from starting. Where firings run side by side it is only those
/// before one that was asked to wait, so that later ones do not hold that one up.
pub(super) async fn in_the_way(store: &Store, schedule: &Schedule) -> Result<Vec<Task>, StoreError> {
    if schedule.definition.overlap != Overlap::Allow {
        return alive(store, &schedule.id).await;
    }
    let Some(first) = schedule.progress.queue.iter().find(|waiting| waiting.overlap.is_some()) else {
        return Ok(Vec::new());
    };
    let mut tasks = alive(store, &schedule.id).await?;
    tasks.retain(|task| fire_time(task).is_some_and(|at| at < first.at));
    Ok(tasks)
}

/// The task of a firing that started a moment ago, unless it has ended: the schedule names it before it is inserted, and
/// it is in the way of others from then on.
pub(super) async fn announced(
    store: &Store,
    schedule: &Schedule,
    now: Timestamp,
) -> Result<Option<TaskId>, StoreError> {
    let Some(AnnouncedFiring { at, task }) = schedule.progress.announced else { return Ok(None) };
    if now.millis_since(at).max(at.millis_since(now)) > ANNOUNCED_MS {
        return Ok(None);
    }
    let statuses = store.statuses(&[task]).await?;
    let ended = statuses.get(&task).is_some_and(|status| status.is_none_or(|status| !ALIVE.contains(&status)));
    Ok((!ended).then_some(task))
}
