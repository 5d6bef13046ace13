//! What people ask of schedules: define, edit, hold, let go, remove; beside it `trigger` and `backfill`.

use std::sync::Arc;

use tokio::sync::Notify;

use super::advance::submit;
use super::firing::skipped_tasks;
use super::history::about;
use crate::domain::approval::ApprovalPolicy;
use crate::domain::counted::counted;
use crate::domain::event::EventKind;
use crate::domain::id::TaskId;
use crate::domain::schedule::due::manual_trigger::removed;
use crate::domain::schedule::due::{MAX_COUNTED, MAX_QUEUE};
use crate::domain::schedule::timing::InvalidTiming;
use crate::domain::schedule::{Definition, Schedule};
use crate::domain::task::Task;
use crate::domain::time::Timestamp;
use crate::queue::Queue;
use crate::store::StoreError;
use crate::telemetry::{log_lines, metrics};

/// How often a change is tried again on a schedule that somebody else, a firing mostly, changed meanwhile.
pub(super) const TRIES: usize = 8;

/// Takes requests about schedules. Cheap to clone.
#[derive(Clone)]
pub struct ScheduleService {
    pub(crate) queue: Queue,
    pub(crate) approvals: ApprovalPolicy,
    pub(crate) changed: Arc<Notify>,
}

/// Why a request about a schedule is not met.
#[derive(Debug, thiserror::Error)]
pub enum ScheduleError {
    /// There is none.
    #[error("there is no schedule named {0}; \"qron schedules list\" shows those that exist")]
    Missing(String),
    /// Its id is taken by another definition.
    #[error(
        "a schedule named {0} exists with other settings: replace it (PUT; --replace on the command line), edit it \
         (PATCH; qron schedules edit {0}), or choose another id"
    )]
    Taken(String),
    /// Others change it all the time.
    #[error("schedule {0} was changed by another request at the same time: send yours again")]
    Busy(String),
    /// A task of it is alive and it does not want two.
    #[error(
        "task {task} of schedule {id} has not ended, and its overlap policy is skip: wait for its end, or start one beside it with: \
         qron schedules trigger {id} --overlap allow (over HTTP, ?overlap=allow)"
    )]
    Overlaps {
        /// The schedule.
        id: String,
        /// The task.
        task: TaskId,
    },
    /// So many of its firings wait that no other may.
    #[error(
        "{MAX_QUEUE} firings of schedule {0:?} wait already: let some of them run, or start one beside them with: qron schedules \
         trigger {0} --overlap allow (over HTTP, ?overlap=allow)"
    )]
    Full(String),
    /// It has adopted no plan that could be pinned.
    #[error(
        "schedule {0:?} has no plan to pin: it adopts one after two successful runs with the same plan; see: qron schedules plan {0}"
    )]
    NoPlan(String),
    /// Its definition has a plan, so that it adopts none.
    #[error(
        "schedule {0:?} has a plan of its own, which its firings run: there is none to pin; change it with: qron schedules edit {0}"
    )]
    OwnPlan(String),
    /// A range that cannot be made up for.
    #[error("{0}")]
    Range(String),
    /// Its times make no sense.
    #[error(transparent)]
    Timing(#[from] InvalidTiming),
    /// The template makes no task.
    #[error("the schedule makes no task: {0}")]
    Template(String),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What became of a definition.
#[derive(Clone, Debug)]
pub struct Saved {
    /// The schedule.
    pub schedule: Schedule,
    /// Whether it is new.
    pub created: bool,
}

impl ScheduleService {
    /// Defines the schedule `id`, which then holds from `now` on; defining it again as it is changes nothing. With
    /// `replace` it takes the place of another definition. `paused` of `None` leaves it held or not, as it is.
    ///
    /// # Errors
    /// [`ScheduleError`].
    pub async fn save(
        &self,
        id: &str,
        definition: Definition,
        paused: Option<bool>,
        replace: bool,
        now: Timestamp,
    ) -> Result<Saved, ScheduleError> {
        let store = self.queue.store();
        for _ in 0..TRIES {
            let Some(before) = store.schedule(id).await? else {
                let paused = paused.unwrap_or(false);
                let paused_since = paused.then_some(now);
                let new = Schedule { paused, paused_since, ..Schedule::new(id, definition.clone(), now) };
                if let Some(schedule) = store.insert_schedule(&new).await? {
                    self.record_event(&schedule, EventKind::ScheduleCreated, format!("schedule {id} was created"), now);
                    return Ok(Saved { schedule, created: true });
                }
                continue;
            };
            let held = paused.unwrap_or(before.paused);
            if before.definition == definition && before.paused == held {
                return Ok(Saved { schedule: before, created: false });
            }
            if !replace {
                return Err(ScheduleError::Taken(id.to_owned()));
            }
            let after = before.redefined(definition.clone(), held, now);
            if let Some(schedule) = store.replace_schedule(&before, &after).await? {
                self.record_event(&schedule, EventKind::ScheduleChanged, format!("schedule {id} was changed"), now);
                return Ok(Saved { schedule, created: false });
            }
        }
        Err(ScheduleError::Busy(id.to_owned()))
    }

    /// Gives the schedule that was read as `before` another definition, unless somebody else has done so since.
    /// `paused` of `None` leaves it held or not, as it is.
    ///
    /// # Errors
    /// [`ScheduleError`].
    pub async fn edit(
        &self,
        before: &Schedule,
        definition: Definition,
        paused: Option<bool>,
        now: Timestamp,
    ) -> Result<Schedule, ScheduleError> {
        let edited = |known: &Schedule| {
            let held = paused.unwrap_or(known.paused);
            let differs = known.definition != definition || known.paused != held;
            (known.definition == before.definition && differs).then(|| known.redefined(definition.clone(), held, now))
        };
        let (schedule, changed) = self.change(&before.id, edited).await?;
        if schedule.definition != definition {
            return Err(ScheduleError::Busy(before.id.clone()));
        }
        if changed {
            self.record_event(
                &schedule,
                EventKind::ScheduleChanged,
                format!("schedule {} was changed", schedule.id),
                now,
            );
        }
        Ok(schedule)
    }

    /// Holds a schedule: nothing of it fires until it is resumed. Tasks that it has made go on.
    ///
    /// # Errors
    /// [`ScheduleError`].
    pub async fn pause(&self, id: &str, now: Timestamp) -> Result<Schedule, ScheduleError> {
        let change =
            |before: &Schedule| (!before.paused).then(|| before.redefined(before.definition.clone(), true, now));
        let (schedule, changed) = self.change(id, change).await?;
        if changed {
            self.record_event(&schedule, EventKind::SchedulePaused, format!("schedule {id} was paused"), now);
        }
        Ok(schedule)
    }

    /// Lets a schedule go on. Firings of the time that it was held are left out; the event says how many.
    ///
    /// # Errors
    /// [`ScheduleError`].
    pub async fn resume(&self, id: &str, now: Timestamp) -> Result<Schedule, ScheduleError> {
        let mut left_out = 0;
        let change = |before: &Schedule| {
            before.paused.then(|| {
                let timing = before.timing();
                left_out = timing.map_or(0, |timing| timing.count(before.progress.cursor, now, MAX_COUNTED + 1));
                before.redefined(before.definition.clone(), false, now)
            })
        };
        let (schedule, changed) = self.change(id, change).await?;
        if changed {
            let more = if left_out > MAX_COUNTED { "more than " } else { "" };
            let count = left_out.min(MAX_COUNTED);
            let verb = if count == 1 { "was" } else { "were" };
            let firings = counted(count, "firing");
            let message = format!("schedule {id} was resumed; {more}{firings} {verb} skipped while it was paused");
            self.record_event(&schedule, EventKind::ScheduleResumed, message, now);
        }
        Ok(schedule)
    }

    /// Removes a schedule; its tasks stay, and firings that wait are recorded as skipped.
    ///
    /// # Errors
    /// [`ScheduleError`].
    pub async fn remove(&self, id: &str, now: Timestamp) -> Result<(), ScheduleError> {
        let schedule = self.find(id).await?;
        let waiting = removed(&schedule);
        let tasks: Vec<Task> = skipped_tasks(&schedule, &waiting, now).collect();
        let submitted = submit(&self.queue, tasks, now).await?;
        for (skip, _) in waiting.iter().zip(&submitted.inserted).filter(|(_, one)| one.created) {
            metrics::FIRINGS.inc([skip.reason.as_str()]);
            log_lines::firing_skipped(id, skip.reason.as_str());
        }
        self.queue.store().remove_schedule(id).await?;
        self.record_event(&schedule, EventKind::ScheduleRemoved, format!("schedule {id} was removed"), now);
        Ok(())
    }

    pub(super) async fn find(&self, id: &str) -> Result<Schedule, ScheduleError> {
        self.queue.store().schedule(id).await?.ok_or_else(|| ScheduleError::Missing(id.to_owned()))
    }

    /// Changes a schedule as it is now; `change` gives nothing when there is nothing to change.
    pub(super) async fn change(
        &self,
        id: &str,
        mut change: impl FnMut(&Schedule) -> Option<Schedule>,
    ) -> Result<(Schedule, bool), ScheduleError> {
        for _ in 0..TRIES {
            let before = self.find(id).await?;
            let Some(after) = change(&before) else { return Ok((before, false)) };
            if let Some(schedule) = self.queue.store().replace_schedule(&before, &after).await? {
                return Ok((schedule, true));
            }
        }
        Err(ScheduleError::Busy(id.to_owned()))
    }

    /// Records what was done and has this replica look at its schedules anew.
    pub(super) fn record_event(&self, schedule: &Schedule, kind: EventKind, message: String, now: Timestamp) {
        self.queue.history().note(about(schedule, kind, message, now));
        self.changed.notify_one();
    }
}

/// Counts and logs the firings that a person requested, by the `tasks` that they became.
pub(super) fn started(schedule: &Schedule, tasks: &[TaskId], outcome: &str) {
    for task in tasks {
        log_lines::schedule_fired(&schedule.id, *task, outcome);
    }
    metrics::FIRINGS.add(tasks.len(), [outcome]);
}
