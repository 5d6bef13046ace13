//! Making up for the firings of a range that never ran.

use std::collections::HashMap;

use super::advance::submit;
use super::firing::task_of;
use super::service::{ScheduleError, ScheduleService, TRIES, started};
use crate::domain::event::EventKind;
use crate::domain::id::TaskId;
use crate::domain::schedule::due::{FiringCause, FiringStart, MAX_FIRINGS, MAX_QUEUE};
use crate::domain::schedule::{Overlap, QueuedFiring, Schedule, backfill_id, firing_id};
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

impl ScheduleService {
    /// Makes up for the firings from `from` to `until`, both included, that never ran; those that ran are left alone.
    /// It may be asked for again, and then tries those once more that were cancelled while they were made up for. With
    /// `dry_run` nothing changes.
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
            let message = format!(
                "from {from} until {until} is not a range in the past: use a from that is not after until, and an until that is not after now, {now}"
            );
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
            let waiting = |(at, task)| QueuedFiring { at, backfill: true, overlap: None, task: Some(task) };
            after.progress.queue.extend(open.into_iter().map(waiting));
            after.progress.queue.sort_by_key(|waiting| waiting.at);
            if after.progress.queue.len() > MAX_QUEUE {
                let message = format!("more than {MAX_QUEUE} firings of schedule {id:?} would wait: narrow the range");
                return Err(ScheduleError::Range(message));
            }
            if dry_run || done.queued == 0 {
                return Ok(done);
            }
            if let Some(schedule) = self.queue.store().replace_schedule(&schedule, &after).await? {
                let message = format!("{} missed firings of schedule {id} wait to run", done.queued);
                self.record_event(&schedule, EventKind::ScheduleBackfilled, message, now);
                return Ok(done);
            }
        }
        Err(ScheduleError::Busy(id.to_owned()))
    }

    /// Those of `firings` that never ran and do not wait to, each with the task that it is to become.
    async fn open(&self, schedule: &Schedule, firings: &[Timestamp]) -> Result<Vec<(Timestamp, TaskId)>, StoreError> {
        let ids: Vec<TaskId> = firings.iter().map(|at| firing_id(&schedule.id, *at)).collect();
        let fired = self.queue.store().statuses(&ids).await?;
        let waits = |at: Timestamp| schedule.progress.queue.iter().any(|waiting| waiting.at == at);
        // One whose status cannot be read is there: a newer version may have it.
        let mut unsettled: Vec<Timestamp> = firings.to_vec();
        unsettled.retain(|at| {
            let status = fired.get(&firing_id(&schedule.id, *at));
            status.is_none_or(|status| *status == Some(TaskStatus::Skipped)) && !waits(*at)
        });
        let mut open = HashMap::new();
        let mut again = 0;
        while !unsettled.is_empty() {
            let ids: Vec<TaskId> = unsettled.iter().map(|at| backfill_id(&schedule.id, *at, again)).collect();
            let made_up = self.queue.store().statuses(&ids).await?;
            unsettled.retain(|at| {
                let id = backfill_id(&schedule.id, *at, again);
                let Some(status) = made_up.get(&id) else {
                    open.insert(*at, id);
                    return false;
                };
                // It came to nothing, so that it may be asked for once more.
                matches!(status, Some(TaskStatus::Cancelled | TaskStatus::Skipped))
            });
            again += 1;
        }
        Ok(firings.iter().filter_map(|at| Some((*at, *open.get(at)?))).collect())
    }

    async fn insert(
        &self,
        schedule: &Schedule,
        firings: &[(Timestamp, TaskId)],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let start = |(at, id): &(Timestamp, TaskId)| FiringStart { at: *at, id: *id, cause: FiringCause::Backfill };
        let tasks: Vec<Task> =
            firings.iter().map(|firing| task_of(schedule, start(firing), &self.approvals, now)).collect();
        let submitted = submit(&self.queue, tasks, now).await?;
        let created = submitted.tasks.iter().zip(&submitted.inserted).filter(|(_, one)| one.created);
        let created: Vec<TaskId> = created.map(|(task, _)| task.id).collect();
        started(schedule, &created, "backfill");
        let message = format!("{} missed firings of schedule {} run now", submitted.tasks.len(), schedule.id);
        self.record_event(schedule, EventKind::ScheduleBackfilled, message, now);
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
        let message =
            format!("the range holds more than {MAX_FIRINGS} firings: narrow it, and backfill the rest afterwards");
        return Err(ScheduleError::Range(message));
    }
    Ok(firings)
}
