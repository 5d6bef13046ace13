//! A change of one task: written, tried again when the task was moved meanwhile, and followed by its effects.

use super::Queue;
use crate::clock;
use crate::domain::approval::{ApprovalOutcome, Ruling};
use crate::domain::event::Event;
use crate::domain::id::TaskId;
use crate::domain::task::{IllegalTransition, Task, TaskEvent, TaskStatus};
use crate::domain::time::Timestamp;
use crate::store::{Found, StoreError, TransitionError, persist};

/// How often a person's change is tried on a task that others change at the same moment.
const TRIES: usize = 4;

/// A person who changes something, and why, by their own account.
#[derive(Clone, Debug, Default)]
pub struct Person {
    /// Their name.
    pub by: Option<String>,
    /// Their reason.
    pub note: Option<String>,
}

impl Person {
    /// `event`, with who caused it and why.
    #[must_use]
    pub fn sign(&self, mut event: Event) -> Event {
        if let Some(by) = &self.by {
            event.message = format!("{} by {by}", event.message);
            event = event.with("by", by.as_str());
        }
        if let Some(note) = &self.note {
            event.message = format!("{}: {note}", event.message);
            event = event.with("note", note.as_str());
        }
        event
    }
}

/// Who changes a task.
#[derive(Clone, Copy, Debug)]
pub enum Actor<'a> {
    /// A person, through the API or the command line.
    Person(&'a Person),
    /// The run of the task.
    Run {
        /// The agent that carries it out.
        agent: &'a str,
    },
    /// A later firing of the schedule that made the task.
    LaterFiring,
    /// The task whose step the task carries out.
    Parent,
    /// A part of the scheduler: the check of dependencies, the expiry of approvals.
    Scheduler,
    /// The limit of a key or an agent, by this word.
    Limit(&'static str),
    /// The check for claims of this replica that have no run.
    StrayCheck,
    /// The rescue of the tasks of a replica that died.
    Rescue {
        /// The agent that last ran the task, if known.
        agent: Option<&'a str>,
    },
}

impl<'a> Actor<'a> {
    /// The agent that ran the task.
    pub(super) const fn agent(self) -> Option<&'a str> {
        match self {
            Self::Run { agent } => Some(agent),
            Self::Rescue { agent } => agent,
            _ => None,
        }
    }

    pub(super) const fn limit(self) -> Option<&'static str> {
        match self {
            Self::Limit(kind) => Some(kind),
            _ => None,
        }
    }
}

/// Why a task was not changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// There is no such task.
    #[error("there is no task {0}")]
    Missing(TaskId),
    /// Others changed it each time it was tried.
    #[error("task {0} was changed by another request or replica at the same time: send this request again")]
    Moved(TaskId),
    /// Its status does not allow the change.
    #[error(transparent)]
    Illegal(IllegalTransition),
    /// It would be pending again, and another task has its unique key.
    #[error("{0}")]
    KeyTaken(TransitionError),
    /// Its point does not read as a task.
    #[error("task {id} cannot be read, only cancelled: {reason}")]
    Unreadable {
        /// The task.
        id: TaskId,
        /// What is wrong with its point.
        reason: String,
    },
    /// Its point was refused as unreadable, and would be refused again.
    #[error(
        "task {id} cannot be requeued, because its point still cannot be read: {reason}; correct the point with a Qdrant client, then \
         requeue it"
    )]
    StillRefused {
        /// The task.
        id: TaskId,
        /// What is wrong with its point.
        reason: String,
    },
    /// It cannot be cancelled, because it has ended.
    #[error("task {id} is {status}, so it can no longer be cancelled")]
    Ended {
        /// The task.
        id: TaskId,
        /// How it ended.
        status: TaskStatus,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ChangeError {
    /// Whether the store does not answer or lacks a collection: other changes would fail the same way.
    #[must_use]
    pub const fn is_outage(&self) -> bool {
        matches!(self, Self::Store(StoreError::Unavailable { .. } | StoreError::CollectionMissing { .. }))
    }
}

/// The event of a decision.
pub(super) const fn decision(ruling: Ruling, verdict: ApprovalOutcome) -> TaskEvent {
    match verdict {
        ApprovalOutcome::Approved => TaskEvent::Approved(ruling),
        ApprovalOutcome::Denied | ApprovalOutcome::Expired => TaskEvent::Denied(ruling),
    }
}

impl From<TransitionError> for ChangeError {
    fn from(error: TransitionError) -> Self {
        match error {
            TransitionError::Lost(id) => Self::Moved(id),
            TransitionError::Illegal(error) => Self::Illegal(error),
            TransitionError::KeyTaken { .. } => Self::KeyTaken(error),
            TransitionError::Store(error) => Self::Store(error),
        }
    }
}

impl Queue {
    /// Applies `event`, which `person` caused, to the task `id` as it is now, and sees to what follows. The history has it
    /// on return. A task that is moved meanwhile is read and tried again.
    ///
    /// # Errors
    /// [`ChangeError`]; the task is unchanged unless the store failed.
    pub async fn change(&self, id: TaskId, event: &TaskEvent, person: &Person) -> Result<Task, ChangeError> {
        let task = self.find(id).await?;
        let (task, entry) = self.change_known(task, event, person).await?;
        self.history().record(entry.as_slice()).await;
        Ok(task)
    }

    /// Records the `verdict` of a person on what the task `id` asks for.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn decide(
        &self,
        id: TaskId,
        ruling: Ruling,
        verdict: ApprovalOutcome,
        person: &Person,
    ) -> Result<Task, ChangeError> {
        self.change(id, &decision(ruling, verdict), person).await
    }

    /// Stops a task: at once when no replica runs it, else as soon as the one that runs it knows. A task that is cancelled
    /// already stays as it is, and a point that cannot be read as a task is stopped, too.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn cancel(&self, id: TaskId, person: &Person) -> Result<Found, ChangeError> {
        let found = self.store().find(id).await?.ok_or(ChangeError::Missing(id))?;
        if found.task.state.status == TaskStatus::Cancelled {
            return Ok(found);
        }
        let task = match found {
            found @ Found { unreadable: Some(_), .. } => self.cancel_unreadable(found, person).await?,
            Found { task, .. } => {
                let (task, entry) = self.change_known(task, &TaskEvent::CancelRequested, person).await?;
                self.history().record(entry.as_slice()).await;
                task
            }
        };
        Ok(Found { task, unreadable: None })
    }

    /// Stops a point that cannot be read as a task.
    pub(super) async fn cancel_unreadable(&self, found: Found, person: &Person) -> Result<Task, ChangeError> {
        let Found { task, unreadable } = found;
        let (id, status, now) = (task.id, task.state.status, clock::now());
        if status.is_terminal() {
            return Err(ChangeError::Ended { id, status });
        }
        let cancelled = self.store().cancel_unreadable(&task, unreadable.as_deref().unwrap_or_default(), now).await?;
        let task = cancelled.ok_or(ChangeError::Moved(id))?;
        let entry = self.follow_up(&task, &TaskEvent::CancelRequested, Actor::Person(person), now);
        self.history().record(entry.as_slice()).await;
        Ok(task)
    }

    /// [`Queue::change`] of a task as the caller knows it; the caller records what is returned for the history.
    pub(super) async fn change_known(
        &self,
        mut task: Task,
        event: &TaskEvent,
        person: &Person,
    ) -> Result<(Task, Option<Event>), ChangeError> {
        let mut tries = 1;
        loop {
            let now = clock::now();
            match self.store().transition(&task, event, now).await {
                Ok(next) => {
                    let entry = self.follow_up(&next, event, Actor::Person(person), now);
                    return Ok((next, entry));
                }
                Err(TransitionError::Lost(id)) if tries < TRIES => task = self.find(id).await?,
                Err(error) => return Err(error.into()),
            }
            tries += 1;
        }
    }

    async fn find(&self, id: TaskId) -> Result<Task, ChangeError> {
        self.store().task(id).await?.ok_or(ChangeError::Missing(id))
    }

    /// Applies `event` to `task` if it is still what the caller knows, and sees to what follows.
    ///
    /// # Errors
    /// [`TransitionError`], as [`Store::transition`](crate::store::Store::transition) has it.
    pub(crate) async fn change_once(
        &self,
        task: &Task,
        event: &TaskEvent,
        actor: Actor<'_>,
        now: Timestamp,
    ) -> Result<Task, TransitionError> {
        let next = self.store().transition(task, event, now).await?;
        self.follow_and_note(&next, event, actor, now);
        Ok(next)
    }

    /// [`Queue::change_once`], repeated until the store answers; `what` says in the log what is tried.
    ///
    /// # Errors
    /// [`TransitionError`] when the store refuses, or the task is no longer what the caller knows.
    pub(crate) async fn change_until_known(
        &self,
        task: &Task,
        event: &TaskEvent,
        actor: Actor<'_>,
        what: &'static str,
    ) -> Result<Task, TransitionError> {
        let now = clock::now();
        let next = persist(what, || self.store().transition(task, event, now)).await?;
        self.follow_and_note(&next, event, actor, now);
        Ok(next)
    }

    /// Applies `event` to tasks that no claim holds, in one write. The answers are in the order of `tasks`.
    pub(crate) async fn change_all(
        &self,
        tasks: &[Task],
        event: &TaskEvent,
        actor: Actor<'_>,
        now: Timestamp,
    ) -> Vec<Result<Task, TransitionError>> {
        let moved = self.store().transition_all(tasks, event, now).await;
        for next in moved.iter().flatten() {
            self.follow_and_note(next, event, actor, now);
        }
        moved
    }

    pub(super) fn follow_and_note(&self, task: &Task, event: &TaskEvent, actor: Actor<'_>, now: Timestamp) {
        if let Some(entry) = self.follow_up(task, event, actor, now) {
            self.history().note(entry);
        }
    }
}
