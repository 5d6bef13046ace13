//! The right to run tasks: claims, counted and recorded.

use std::time::Duration;

use super::Queue;
use crate::clock;
use crate::domain::event::{Event, EventKind, Level};
use crate::domain::id::TaskId;
use crate::domain::task::{Claim, Task};
use crate::domain::time::Timestamp;
use crate::store::{AgentLimitTag, StoreError};
use crate::telemetry::metrics;

impl Queue {
    /// Claims those of the tasks `ids` that are due still, and returns the ones it won.
    ///
    /// # Errors
    /// A failure of the store, after which it is not known which it won; the same `claim` tells when it is made again.
    pub(crate) async fn claim(
        &self,
        ids: &[TaskId],
        claim: &Claim,
        runs_as: AgentLimitTag<'_>,
        now: Timestamp,
    ) -> Result<Vec<Task>, StoreError> {
        let won = self.store().claim_as(ids, claim, runs_as, now).await?;
        metrics::TASKS_CLAIMED.add(won.len(), []);
        metrics::CLAIM_RACES_LOST.add(ids.len().saturating_sub(won.len()), []);
        Ok(won)
    }

    /// Counts and records the start of a task that was inserted as claimed.
    pub(crate) fn record_reserved_start(&self, task: &Task, agent: &str) {
        metrics::TASKS_CLAIMED.inc([]);
        self.record_start(task, agent);
    }

    /// Records that `agent` starts a claimed task.
    pub(crate) fn record_start(&self, task: &Task, agent: &str) {
        let (now, since) = (clock::now(), task.spec.run_at.max(task.state.created_at));
        metrics::QUEUE_WAIT_SECONDS.record(Duration::from_millis(now.millis_since(since)), []);
        if task.spec.is_milestone() {
            return;
        }
        let message = format!("claimed for agent {agent:?}, run {}", task.state.earlier_runs() + 1);
        self.history().note(Event::new(EventKind::Claimed, message, now).task(task.id).agent(agent));
    }

    /// Records that the outcome of a run counts no longer, because the task was moved on.
    pub(crate) fn record_lost_claim(&self, task: TaskId, agent: &str, message: String) {
        metrics::CLAIMS_LOST.inc([]);
        let event = Event::new(EventKind::Lost, message, clock::now()).level(Level::Warn);
        self.history().note(event.task(task).agent(agent));
    }

    /// Counts and records a due task that no agent of this replica can run.
    pub(crate) fn record_unroutable(&self, task: TaskId, why: &str, now: Timestamp) {
        metrics::TASKS_UNROUTABLE.inc([]);
        tracing::warn!(task = %task, "a due task stays pending: {why}");
        let event = Event::new(EventKind::Unroutable, format!("stays pending: {why}"), now);
        self.history().note(event.level(Level::Warn).task(task));
    }
}
