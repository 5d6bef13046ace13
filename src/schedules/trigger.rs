//! Firing a schedule now.

use std::time::Duration;

use super::advance::submit;
use super::firing::skipped_tasks;
use super::history::about;
use super::live_tasks::{alive, announced};
use super::service::{ScheduleError, ScheduleService, TRIES, started};
use crate::domain::event::EventKind;
use crate::domain::id::TaskId;
use crate::domain::schedule::due::FiringStart;
use crate::domain::schedule::due::manual_trigger::{TriggerOutcome, trigger};
use crate::domain::schedule::{Overlap, Schedule, ScheduleProgress};
use crate::domain::task::Task;
use crate::domain::time::Timestamp;

/// How long a trigger waits at most before each next try, so that several of one moment part.
const SPREAD_MS: u128 = 50;

/// What became of a firing that somebody wanted now.
#[derive(Clone, Debug)]
pub enum Triggered {
    /// It is this task.
    Task(Box<Task>),
    /// It waits for the end of earlier ones.
    Queued(Timestamp),
}

impl ScheduleService {
    /// Fires a schedule now, paused or not, whenever else it fires. `overlap` is used in the place of its own policy.
    ///
    /// # Errors
    /// [`ScheduleError`].
    pub async fn trigger(
        &self,
        id: &str,
        overlap: Option<Overlap>,
        now: Timestamp,
    ) -> Result<Triggered, ScheduleError> {
        let new = TaskId::fresh();
        for attempt in 0..TRIES {
            part(new, attempt).await;
            let schedule = self.find(id).await?;
            let tasks = alive(self.queue.store(), id).await?;
            let mut tasks: Vec<TaskId> = tasks.iter().map(|task| task.id).collect();
            tasks.extend(announced(self.queue.store(), &schedule, now).await?);
            let overlap = overlap.unwrap_or(schedule.definition.overlap);
            match trigger(&schedule, new, now, overlap, &tasks) {
                TriggerOutcome::Overlaps(task) => return Err(ScheduleError::Overlaps { id: id.to_owned(), task }),
                TriggerOutcome::Full => return Err(ScheduleError::Full(id.to_owned())),
                TriggerOutcome::Start(start, progress) => {
                    if let Some(task) = self.start(&schedule, start, progress, overlap, now).await? {
                        return Ok(Triggered::Task(Box::new(task)));
                    }
                }
                TriggerOutcome::Wait(progress, replaced) => {
                    let after = Schedule { progress, ..schedule.clone() };
                    if self.queue.store().replace_schedule(&schedule, &after).await?.is_some() {
                        // Not before: had another changed the schedule, they might have run after all. It waits now, and
                        // whoever was told of a failure would ask for another.
                        let skips: Vec<Task> = skipped_tasks(&schedule, &replaced, now).collect();
                        if let Err(error) = submit(&self.queue, skips, now).await {
                            tracing::error!(schedule = id, %error, "firings that a trigger replaced are not recorded");
                        }
                        self.record_event(
                            &schedule,
                            EventKind::ScheduleTriggered,
                            format!("schedule {id} was triggered"),
                            now,
                        );
                        return Ok(Triggered::Queued(now));
                    }
                }
            }
        }
        Err(ScheduleError::Busy(id.to_owned()))
    }

    /// Starts what somebody asked for; `None` when the schedule has changed since it was read.
    async fn start(
        &self,
        schedule: &Schedule,
        start: FiringStart,
        progress: ScheduleProgress,
        overlap: Overlap,
        now: Timestamp,
    ) -> Result<Option<Task>, ScheduleError> {
        let task = schedule.task(start, &self.approvals, now).map_err(ScheduleError::Template)?;
        // Of several who ask at once, one goes by what it has read of the tasks that are alive. Where they may run side
        // by side it does not matter, and whoever counts late counts late.
        let alone = overlap != Overlap::Allow;
        let after = Schedule { progress, ..schedule.clone() };
        if alone && self.queue.store().replace_schedule(schedule, &after).await?.is_none() {
            return Ok(None);
        }
        let mut submitted = submit(&self.queue, vec![task], now).await?;
        let Some(task) = submitted.tasks.pop() else { return Ok(None) };
        started(schedule, &[task.id], "triggered");
        let message = format!("schedule {} was triggered", schedule.id);
        self.queue.history().note(about(schedule, EventKind::Fired, message, now).task(task.id));
        if !alone {
            let counted = |before: &Schedule| {
                let mut after = before.clone();
                after.progress.count_fired(Some(start.at), task.id);
                Some(after)
            };
            if let Err(error) = self.change(&schedule.id, counted).await {
                tracing::warn!(schedule = %schedule.id, task = %task.id, %error, "a firing is not counted");
            }
        }
        Ok(Some(task))
    }
}

/// Waits a little before the try `attempt`, but for the first: for each task another time.
async fn part(task: TaskId, attempt: usize) {
    if let (TaskId::Uuid(id), 1..) = (task, attempt) {
        let pause = u64::try_from(id.as_u128() % SPREAD_MS).unwrap_or(0) + 1;
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
}
