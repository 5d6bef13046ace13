//! New tasks: reserved, inserted, and started or looked for, as one call.

use std::collections::HashMap;

use uuid::Uuid;

use super::{Queue, ReservedInsert};
use crate::domain::id::TaskId;
use crate::domain::task::{Claim, Task, TaskEvent, TaskStatus};
use crate::domain::time::Timestamp;
use crate::store::{Inserted, StoreError};
use crate::telemetry::{log_lines, metrics};

/// Tasks to insert, all of them checked.
#[derive(Debug)]
pub struct Submission {
    /// The tasks. Those that depend on each other may be in any order.
    pub tasks: Vec<Task>,
    /// Where their ids come from.
    pub ids: Ids,
    /// Where they come from.
    pub source: Source,
}

/// Where the ids of new tasks come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ids {
    /// Made for this one submission ([`TaskId::fresh`]): none can be taken, which spares reading back. Such a submission must
    /// not be repeated.
    Fresh,
    /// From elsewhere: another insert may have used them, or this one before.
    Chosen,
}

/// Where new tasks come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A request to the API.
    Api,
    /// A tool.
    Tool,
    /// A schedule.
    Schedule,
}

impl Source {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Tool => "tool",
            Self::Schedule => "schedule",
        }
    }
}

/// What became of a submission.
#[derive(Debug)]
pub struct Submitted {
    /// The tasks in the order of the submission: as they were inserted, claimed perhaps. For a request to the API, one that
    /// was there before is shown as it is.
    pub tasks: Vec<Task>,
    /// For each, its id and whether it is new.
    pub inserted: Vec<Inserted>,
}

impl Submitted {
    /// How many are new.
    #[must_use]
    pub fn created(&self) -> usize {
        self.inserted.iter().filter(|one| one.created).count()
    }
}

/// Why tasks were not inserted.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// Collections lack something, so that the tasks would be lost, or not found when they are due.
    #[error("{}", .0.join("; "))]
    Incomplete(Vec<String>),
    /// The store failed; some may have been inserted.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A fault of qron.
    #[error("the insert panicked, a fault of qron: its log says why")]
    Broken,
}

impl Queue {
    /// Inserts tasks as far as their ids and unique keys are free. What can start here at once does; for the rest, the parts
    /// that look for work are woken. Once called, it happens even if the caller stops waiting.
    ///
    /// # Errors
    /// [`SubmitError`].
    pub async fn submit(&self, submission: Submission, now: Timestamp) -> Result<Submitted, SubmitError> {
        let is_request = submission.source == Source::Api;
        if is_request {
            self.check_collections().await?;
        }
        let queue = self.clone();
        // A caller that goes away must not leave tasks behind that are claimed and not started.
        let inserting = tokio::spawn(async move { queue.insert(submission, now).await });
        let mut submitted = inserting.await.map_err(|_| SubmitError::Broken)??;
        if is_request {
            self.show_existing(&mut submitted).await?;
        }
        Ok(submitted)
    }

    async fn check_collections(&self) -> Result<(), SubmitError> {
        match self.store().lacks_for_inserts().await {
            Ok(faults) if faults.is_empty() => Ok(()),
            Ok(faults) => Err(SubmitError::Incomplete(faults)),
            Err(error) => {
                // A store that does not answer this refuses the insert itself, or takes it.
                tracing::debug!(%error, "inserting without having looked at the collections");
                Ok(())
            }
        }
    }

    async fn insert(&self, submission: Submission, now: Timestamp) -> Result<Submitted, StoreError> {
        let Submission { mut tasks, ids, source } = submission;
        let reserved = self.local().map(|local| local.reserve_for_insert(&tasks, now));
        if let Some(reserved) = &reserved {
            self.claim_reserved(&mut tasks, reserved.as_ref(), now);
        }
        let inserted = match ids {
            Ids::Fresh => self.store().insert_fresh(&tasks).await?,
            Ids::Chosen => self.store().insert(&tasks).await?,
        };
        count_inserted(&tasks, &inserted, source);
        let must_look = match reserved {
            Some(reserved) => reserved.start(&tasks, &inserted),
            None => inserted.iter().any(|one| one.created),
        };
        if must_look {
            self.announce(&tasks, &inserted, now);
        }
        Ok(Submitted { tasks, inserted })
    }

    /// Makes the tasks that have a slot claimed ones; they share one claim.
    fn claim_reserved(&self, tasks: &mut [Task], reserved: &dyn ReservedInsert, now: Timestamp) {
        let claim = Claim { token: Uuid::now_v7().to_string(), owner: self.replica_id().to_owned() };
        let claimed = TaskEvent::Claimed(claim);
        for (_, task) in tasks.iter_mut().enumerate().filter(|(index, _)| reserved.has_slot(*index)) {
            match task.apply(&claimed, now) {
                Ok(next) => *task = next,
                Err(error) => {
                    tracing::error!(task = %task.id, %error, "a slot was reserved for a task that is not due");
                }
            }
        }
    }

    /// Wakes the parts that look for new tasks.
    fn announce(&self, tasks: &[Task], inserted: &[Inserted], now: Timestamp) {
        let signals = self.signals();
        let mut waiting = Vec::new();
        let mut next_due: Option<Timestamp> = None;
        for (task, one) in tasks.iter().zip(inserted).filter(|(_, one)| one.created) {
            match task.state.status {
                TaskStatus::Waiting => waiting.push(one.id),
                TaskStatus::Pending if task.spec.run_at > now => {
                    next_due = Some(next_due.map_or(task.spec.run_at, |due| due.min(task.spec.run_at)));
                }
                status if status.is_terminal() => signals.ended(one.id, status == TaskStatus::Completed),
                _ => {}
            }
        }
        if let Some(due) = next_due {
            signals.due_at(due);
        }
        signals.found();
        if !waiting.is_empty() {
            signals.inserted_waiting(&waiting);
        }
    }

    /// Puts those that were there before in the place of those that were not inserted.
    async fn show_existing(&self, submitted: &mut Submitted) -> Result<(), StoreError> {
        let there: Vec<TaskId> = submitted.inserted.iter().filter(|one| !one.created).map(|one| one.id).collect();
        let there: HashMap<TaskId, Task> =
            self.store().tasks_by_id(&there).await?.into_iter().map(|task| (task.id, task)).collect();
        for (task, Inserted { id, created }) in submitted.tasks.iter_mut().zip(&submitted.inserted) {
            match there.get(id).filter(|_| !created) {
                Some(known) => *task = known.clone(),
                // One that cannot be read, or was pruned at this very moment, is shown as it would have been.
                None => task.id = *id,
            }
        }
        Ok(())
    }
}

fn count_inserted(tasks: &[Task], inserted: &[Inserted], source: Source) {
    let (mut created, mut requested, mut existing) = (0_usize, 0_usize, 0_usize);
    for (task, one) in tasks.iter().zip(inserted) {
        match task.state.status {
            _ if !one.created => existing += 1,
            // The record of a firing that became no task.
            TaskStatus::Skipped => {}
            TaskStatus::AwaitingApproval => {
                created += 1;
                requested += task.state.approvals.len();
                log_lines::approvals_requested(task.id, "whether it may run");
            }
            _ => created += 1,
        }
    }
    metrics::TASKS_INSERTED.add(created, [source.as_str()]);
    metrics::APPROVALS_REQUESTED.add(requested, []);
    // Every replica inserts each firing, and one of them creates it.
    if source != Source::Schedule {
        metrics::TASKS_NOT_CREATED.add(existing, [source.as_str()]);
    }
}
