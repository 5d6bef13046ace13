//! Tasks that carry out steps of another task: they stop when that task has ended without them.

use tracing::Instrument as _;

use super::Queue;
use super::change::Actor;
use crate::clock;
use crate::domain::id::TaskId;
use crate::domain::step_origin::STEP_TAG;
use crate::domain::task::{Task, TaskEvent, TaskStatus};
use crate::store::{StoreError, TaskFilter, TransitionError, persist};

/// Tasks read at once.
const PAGE: u32 = 100;
/// How often a task is asked to stop while others change it.
const TRIES: usize = 4;

const ALIVE: [TaskStatus; 4] =
    [TaskStatus::Waiting, TaskStatus::Pending, TaskStatus::Running, TaskStatus::AwaitingApproval];

impl Queue {
    /// Stops the tasks that carry out steps of `parent`, beside the caller. What a death of this process leaves goes on, and its
    /// result is read by no run.
    pub(super) fn stop_steps_of(&self, parent: TaskId) {
        let queue = self.clone();
        let stopping = async move {
            if let Err(error) = queue.stop_all_steps(parent).await {
                tracing::warn!(task = %parent, %error, "tasks that carry out its steps were not stopped");
            }
        };
        tokio::spawn(stopping.in_current_span());
    }

    async fn stop_all_steps(&self, parent: TaskId) -> Result<(), StoreError> {
        let filter = TaskFilter {
            parent: Some(parent),
            tag: Some(STEP_TAG.to_owned()),
            statuses: ALIVE.to_vec(),
            ..TaskFilter::default()
        };
        let mut after = None;
        loop {
            let page =
                persist("read the tasks of steps", || self.store().tasks(&filter, PAGE, after.as_deref())).await?;
            for task in page.items {
                let id = task.id;
                let stopped = persist("stop the task of a step", || self.stop_step(task.clone())).await;
                if let Err(error) = stopped {
                    tracing::warn!(task = %id, %parent, %error, "it carries out a step that is wanted no longer, and was not stopped");
                }
            }
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// Stops a task that carries out a step: at once when no replica runs it, else as soon as the one that runs it knows. Gives
    /// back the task as it is then.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn stop_step(&self, mut task: Task) -> Result<Task, StoreError> {
        for _ in 0..TRIES {
            if task.state.status.is_terminal() || task.state.cancel_requested {
                break;
            }
            match self.change_once(&task, &TaskEvent::StepWithdrawn, Actor::Parent, clock::now()).await {
                Ok(next) => return Ok(next),
                Err(TransitionError::Store(error)) => return Err(error),
                Err(_) => match self.store().task(task.id).await? {
                    Some(now) => task = now,
                    None => break,
                },
            }
        }
        Ok(task)
    }
}
