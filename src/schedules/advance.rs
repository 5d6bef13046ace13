//! One schedule: what its firings that have come turn into, done and stored.

use super::firing::{skipped_tasks, task_of};
use super::history::summary_event;
use super::live_tasks::{announced, in_the_way};
use super::runner::{ScheduleRunner, TROUBLE_MS, look_at};
use crate::domain::id::TaskId;
use crate::domain::schedule::due::{FiringPlan, LiveTask, NextCheck, next_check, plan_firings};
use crate::domain::schedule::{AnnouncedFiring, Overlap, Schedule, ScheduleProgress, fire_time};
use crate::domain::task::{Task, TaskEvent, TaskStatus};
use crate::domain::time::Timestamp;
use crate::queue::{Actor, Ids, Queue, Source, Submission, SubmitError, Submitted};
use crate::store::{MaybeTransient as _, StoreError, TransitionError};
use crate::telemetry::{log_lines, metrics};

impl ScheduleRunner {
    /// Decides and does what is due of one schedule; gives back when to look at it again.
    pub(super) async fn advance(&self, schedule: &Schedule, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        match next_check(schedule, now) {
            Ok(NextCheck::At(next)) => return Ok(Some(next)),
            Ok(NextCheck::Never) => return Ok(None),
            Ok(NextCheck::Now | NextCheck::Queue) | Err(_) => {}
        }
        let store = self.queue.store();
        let alive = in_the_way(store, schedule).await?;
        let mut others: Vec<LiveTask> = alive.iter().map(LiveTask::of).collect();
        if schedule.definition.overlap != Overlap::Allow {
            let announced = announced(store, schedule, now).await?;
            others.extend(announced.map(|id| LiveTask { id, makes_up: false }));
        }
        let plan = match plan_firings(schedule, now, self.missed_after_ms, &others) {
            Ok(plan) => plan,
            Err(error) => {
                tracing::warn!(schedule = %schedule.id, %error, "a schedule cannot be read: another version made it");
                return Ok(Some(now.plus_millis(TROUBLE_MS)));
            }
        };
        if let Some(before) = plan.cancel_before {
            self.cancel(&alive, before, now).await?;
        }
        if plan.progress == schedule.progress && plan.starts.is_empty() && plan.skips.is_empty() {
            return Ok(look_at(schedule, now));
        }
        if plan.cursor_was_ahead {
            tracing::warn!(schedule = %schedule.id, "the last firing of a schedule is far ahead of the clock of this host: set the clock right");
        }
        // Whoever was faster may have decided otherwise, so the next look is at what is stored then.
        let settled = self.settle(schedule, &plan, now).await?;
        Ok(settled.map_or(Some(now), |settled| look_at(&settled, now)))
    }

    /// Does what a firing plan says and gives back the schedule as it is then; `None` when it has changed since it was read.
    async fn settle(
        &self,
        schedule: &Schedule,
        plan: &FiringPlan,
        now: Timestamp,
    ) -> Result<Option<Schedule>, StoreError> {
        let Some(before) = self.announce(schedule, plan.progress.announced).await? else { return Ok(None) };
        let mut progress = self.carry_out(&before, plan, now).await?;
        if before.version != schedule.version {
            // What was announced is there now.
            progress.announced = None;
        }
        let after = Schedule { progress, ..before.clone() };
        let written = self.queue.store().replace_schedule(&before, &after).await?;
        if written.is_some()
            && let Some(summary) = plan.summary
        {
            metrics::FIRINGS.add(summary.count, ["missed"]);
            log_lines::firings_skipped(&schedule.id, summary.count, "missed");
        }
        Ok(written)
    }

    /// Names the task that must start alone in the schedule, before it is inserted: of all who have read that none is
    /// alive, one starts one. `None` when the schedule has changed since it was read.
    async fn announce(
        &self,
        schedule: &Schedule,
        announced: Option<AnnouncedFiring>,
    ) -> Result<Option<Schedule>, StoreError> {
        if announced == schedule.progress.announced {
            return Ok(Some(schedule.clone()));
        }
        let progress = ScheduleProgress { announced, ..schedule.progress.clone() };
        self.queue.store().replace_schedule(schedule, &Schedule { progress, ..schedule.clone() }).await
    }

    /// Inserts the tasks of a firing plan and gives back how far the schedule is, with what was counted.
    async fn carry_out(
        &self,
        schedule: &Schedule,
        plan: &FiringPlan,
        now: Timestamp,
    ) -> Result<ScheduleProgress, StoreError> {
        let starts = plan.starts.iter().map(|start| task_of(schedule, *start, &self.approvals, now));
        let tasks = starts.chain(skipped_tasks(schedule, &plan.skips, now)).collect();
        let submitted = submit(&self.queue, tasks, now).await?;
        if let Some(summary) = plan.summary {
            self.queue.store().record(&[summary_event(schedule, summary, now)]).await?;
        }
        self.record(schedule, plan, &submitted, now);
        self.count(plan, &submitted).await
    }

    /// Counts firings by what they became, which another replica may have settled first.
    async fn count(&self, plan: &FiringPlan, submitted: &Submitted) -> Result<ScheduleProgress, StoreError> {
        let settled: Vec<TaskId> = submitted.inserted.iter().filter(|one| !one.created).map(|one| one.id).collect();
        let settled = self.queue.store().task_statuses(&settled).await?;
        let mut progress = plan.progress.clone();
        progress.skipped = progress.skipped.saturating_add(plan.summary.map_or(0, |summary| summary.count as u64));
        for task in &submitted.tasks {
            if settled.get(&task.id).copied().unwrap_or(task.state.status) == TaskStatus::Skipped {
                progress.skipped = progress.skipped.saturating_add(1);
                continue;
            }
            progress.count_fired(fire_time(task), task.id);
        }
        Ok(progress)
    }

    /// Asks the tasks of firings before `before` to stop.
    async fn cancel(&self, alive: &[Task], before: Timestamp, now: Timestamp) -> Result<(), StoreError> {
        let earlier = alive.iter().filter(|task| fire_time(task).is_some_and(|at| at < before));
        for task in earlier.filter(|task| !task.state.cancel_requested) {
            match self.queue.change_once(task, &TaskEvent::CancelRequested, Actor::LaterFiring, now).await {
                Ok(_) => {}
                Err(TransitionError::Store(error)) if error.may_pass() => return Err(error),
                // It has just ended or been moved on; the next look tells.
                Err(error) => tracing::debug!(task = %task.id, %error, "not cancelled"),
            }
        }
        Ok(())
    }
}

/// Inserts the tasks of firings, as far as no other replica did.
pub(super) async fn submit(queue: &Queue, tasks: Vec<Task>, now: Timestamp) -> Result<Submitted, StoreError> {
    if tasks.is_empty() {
        return Ok(Submitted { tasks, inserted: Vec::new() });
    }
    queue.submit(Submission { tasks, ids: Ids::Chosen, source: Source::Schedule }, now).await.map_err(|error| {
        match error {
            SubmitError::Store(error) => error,
            other => StoreError::Refused { operation: "insert", reason: other.to_string() },
        }
    })
}
