//! Making up for the firings of a range that never ran.

use super::desk::{Desk, ScheduleError, TRIES};
use super::{count_asked, task_of};
use crate::domain::schedule::due::{Cause, MAX_FIRINGS, MAX_QUEUE, Start};
use crate::domain::schedule::{Overlap, Queued, Schedule, backfill_id, firing_id};
use crate::domain::task::{Task, TaskStatus};
use crate::domain::time::Timestamp;
use crate::store::StoreError;

/// What became of a range that was made up for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backfilled {
    /// Firings in the range.
    pub firings: usize,
    /// Those that had run, or were under way.
    pub ran_before: usize,
    /// Those that are tasks now.
    pub inserted: usize,
    /// Those that wait for their turn, as the overlap policy wants it.
    pub queued: usize,
}

impl Desk {
    /// Makes up for the firings from `from` to `until`, both included, that never ran; those that ran are left alone.
    /// It may be asked for again. With `dry_run` nothing changes.
    ///
    /// # Errors
    /// [`ScheduleError`].
    pub async fn backfill(
        &self,
        id: &str,
        (from, until): (Timestamp, Timestamp),
        dry_run: bool,
        now: Timestamp,
    ) -> Result<Backfilled, ScheduleError> {
        if until < from || until > now {
            let message =
                format!("{from} to {until} is no range of the past: use from <= until <= now, which is {now}");
            return Err(ScheduleError::Range(message));
        }
        for _ in 0..TRIES {
            let schedule = self.find(id).await?;
            let firings = firings(&schedule, from, until)?;
            let open = self.open(&schedule, &firings).await?;
            let mut done =
                Backfilled { firings: firings.len(), ran_before: firings.len() - open.len(), ..Backfilled::default() };
            if schedule.definition.overlap == Overlap::Allow {
                done.inserted = open.len();
                if !dry_run {
                    self.insert(&schedule, &open, now).await?;
                }
                return Ok(done);
            }
            done.queued = open.len();
            let mut after = schedule.clone();
            after.progress.queue.extend(open.into_iter().map(|at| Queued { at, backfill: true, overlap: None }));
            after.progress.queue.sort_by_key(|waiting| waiting.at);
            if after.progress.queue.len() > MAX_QUEUE {
                let message = format!("more than {MAX_QUEUE} firings of schedule {id:?} would wait: narrow the range");
                return Err(ScheduleError::Range(message));
            }
            if dry_run || done.queued == 0 {
                return Ok(done);
            }
            if let Some(schedule) = self.worker.store.replace_schedule(&schedule, &after).await? {
                let message = format!("{} firings of schedule {id} wait to be made up for", done.queued);
                self.tell(&schedule, "schedule_backfilled", message, now);
                return Ok(done);
            }
        }
        Err(ScheduleError::Busy(id.to_owned()))
    }

    /// Those of `firings` that never ran and do not wait to.
    async fn open(&self, schedule: &Schedule, firings: &[Timestamp]) -> Result<Vec<Timestamp>, StoreError> {
        let ids = firings.iter().flat_map(|at| [firing_id(&schedule.id, *at), backfill_id(&schedule.id, *at)]);
        // One whose status cannot be read is there: a newer version may have it.
        let statuses = self.worker.store.statuses(&ids.collect::<Vec<_>>()).await?;
        let is_open = |at: &&Timestamp| {
            let fired = statuses.get(&firing_id(&schedule.id, **at));
            fired.is_none_or(|status| *status == Some(TaskStatus::Skipped))
                && !statuses.contains_key(&backfill_id(&schedule.id, **at))
                && !schedule.progress.queue.iter().any(|waiting| waiting.at == **at)
        };
        Ok(firings.iter().filter(is_open).copied().collect())
    }

    async fn insert(&self, schedule: &Schedule, firings: &[Timestamp], now: Timestamp) -> Result<(), StoreError> {
        let start = |at: &Timestamp| Start { at: *at, id: backfill_id(&schedule.id, *at), cause: Cause::Backfill };
        let tasks: Vec<Task> =
            firings.iter().map(|at| task_of(schedule, start(at), &self.worker.approvals, now)).collect();
        let inserted = self.worker.store.insert(&tasks).await?;
        let created = tasks.iter().zip(&inserted).filter(|(_, one)| one.created).map(|(task, _)| task.clone());
        let created: Vec<Task> = created.collect();
        self.started(schedule, created.len(), "backfill");
        count_asked(&created);
        let message = format!("{} firings of schedule {} are made up for", tasks.len(), schedule.id);
        self.tell(schedule, "schedule_backfilled", message, now);
        Ok(())
    }
}

/// The firings of a range that are decided, or will never be.
fn firings(schedule: &Schedule, from: Timestamp, until: Timestamp) -> Result<Vec<Timestamp>, ScheduleError> {
    let timing = schedule.timing()?;
    // What comes after the cursor fires by itself; while it is paused, it does not.
    let until = if schedule.paused { until } else { until.min(schedule.progress.cursor) };
    let range = timing.upcoming(from.plus_millis(-1)).take_while(|at| *at <= until);
    let firings: Vec<Timestamp> = range.take(MAX_FIRINGS + 1).collect();
    if firings.len() > MAX_FIRINGS {
        let message = format!("the range holds more than {MAX_FIRINGS} firings: narrow it, and ask again for the rest");
        return Err(ScheduleError::Range(message));
    }
    Ok(firings)
}
