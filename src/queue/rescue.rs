//! The tasks of a replica that died: returned to the queue, or given up when their process died too often.

use super::{Actor, Queue};
use crate::domain::attempt::Attempt;
use crate::domain::counted::counted;
use crate::domain::event::{Event, EventKind, Level};
use crate::domain::failure::{Failure, FailureClass};
use crate::domain::task::{MAX_CRASHES, Task, TaskEvent, TaskStatus};
use crate::domain::time::Timestamp;
use crate::store::{SeenLetter, StoreError, TransitionError};
use crate::telemetry::metrics;

/// Runs in which a task must have moved on for a crash not to be held against it.
const LATELY: u32 = MAX_CRASHES;
/// Most tasks of a dead replica that are looked at one by one.
const MAX_HELD: usize = 10_000;

/// A task that one more crash ends.
struct Doomed {
    /// As it will be after the rescue.
    task: Task,
    /// The agent of its last attempt.
    agent: Option<String>,
}

impl Queue {
    /// Takes the tasks of the dead replica `owner` back and removes its record. Returns how many tasks it had.
    ///
    /// # Errors
    /// A failure of the store; what was done is done, and another call does the rest.
    pub(crate) async fn rescue(&self, owner: &str, now: Timestamp) -> Result<u64, StoreError> {
        let (mut returned, doomed) = self.sort_out(owner, now).await?;
        // Their letters come first: a failed task without one would be a silent loss if this process died in between.
        let mut buried = Vec::with_capacity(doomed.len());
        for one in &doomed {
            buried.push(self.bury_crashed(&one.task).await?);
        }
        let rescue = self.store().rescue(owner, now).await?;
        returned += rescue.returned;
        let given_up = rescue.poisoned.len() as u64;
        metrics::TASKS_RESCUED.add(returned + given_up, []);
        for task in &rescue.poisoned {
            let known = doomed.iter().find(|one| one.task.id == task.id);
            let agent = known.and_then(|one| one.agent.as_deref());
            self.follow_and_note(task, &TaskEvent::Rescued, Actor::Rescue { agent }, now);
        }
        self.settle_letters(&buried, &rescue.poisoned).await?;
        if returned + given_up > 0 {
            let message = format!("replica {owner} died: {} returned, {given_up} given up", counted(returned, "task"));
            let event = Event::new(EventKind::Rescued, message, now).level(Level::Warn);
            self.history().note(event.with("owner", owner));
            tracing::warn!(owner, returned, given_up, "took the tasks of a dead replica");
        }
        self.store().remove_replica(owner).await?;
        self.signals().found();
        Ok(returned + given_up)
    }

    /// Looks at the tasks of `owner` that one more crash would end. Those that have moved on lately are handed back,
    /// uncharged: a task that takes its process down does so again and again at the same step. Returns how many these were,
    /// and the others.
    async fn sort_out(&self, owner: &str, now: Timestamp) -> Result<(u64, Vec<Doomed>), StoreError> {
        let (mut spared, mut doomed) = (0, Vec::new());
        for task in self.store().held(owner, MAX_HELD).await? {
            if task.state.crashes + 1 < MAX_CRASHES {
                continue;
            }
            let attempts = self.store().attempts(task.id).await?;
            let agent = attempts.last().map(|attempt| attempt.agent.clone());
            if !moved_on(task.state.earlier_runs() + 1, &attempts) {
                doomed.extend(task.apply(&TaskEvent::Rescued, now).map(|task| Doomed { task, agent }));
                continue;
            }
            let actor = Actor::Rescue { agent: agent.as_deref() };
            match self.change_once(&task, &TaskEvent::Released, actor, now).await {
                Ok(_) => spared += 1,
                Err(TransitionError::Store(error)) => return Err(error),
                // Another observer was faster.
                Err(_) => {}
            }
        }
        Ok((spared, doomed))
    }

    /// Buries the tasks that ended without having been looked at, and takes back the letters of those that did not end.
    async fn settle_letters(&self, buried: &[SeenLetter], ended: &[Task]) -> Result<(), StoreError> {
        for task in ended.iter().filter(|task| !buried.iter().any(|letter| letter.task == task.id)) {
            self.bury_crashed(task).await?;
        }
        for letter in buried.iter().filter(|letter| !ended.iter().any(|task| task.id == letter.task)) {
            // Another observer may have ended it; then the letter is right. So is one that has taken its place since.
            let now = self.store().task(letter.task).await?;
            if now.is_some_and(|now| now.state.status != TaskStatus::Failed) {
                self.store().purge_seen_letters(&[*letter]).await?;
            }
        }
        Ok(())
    }

    async fn bury_crashed(&self, task: &Task) -> Result<SeenLetter, StoreError> {
        let letter = self.bury(task, None, &crashed(task), task.state.earlier_runs()).await?;
        Ok(SeenLetter::from(&letter))
    }
}

/// Whether one of the last [`LATELY`] runs of a task up to the `current` one got further than all `attempts` before.
fn moved_on(current: u32, attempts: &[Attempt]) -> bool {
    let furthest = |lately: bool| {
        let of_runs = attempts.iter().filter(move |attempt| (attempt.number + LATELY > current) == lately);
        of_runs.map(|attempt| attempt.progress.settled()).max().unwrap_or(0)
    };
    furthest(true) > furthest(false)
}

fn crashed(task: &Task) -> Failure {
    let failure = task.state.error.clone().filter(|failure| failure.class == FailureClass::Crashed);
    failure.unwrap_or_else(|| {
        Failure::new(FailureClass::Crashed, "the process that ran the task died too often, so the task is given up")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(done: &[u32]) -> Vec<Attempt> {
        let attempt = |(number, done): (u32, &u32)| {
            let value = serde_json::json!({
                "id": uuid::Uuid::nil(), "task_id": "1", "number": number, "claim": "c", "replica": "r", "agent": "a",
                "status": "running", "started_at": 0, "updated_at": 0, "progress": {"done": done},
            });
            serde_json::from_value(value).expect("an attempt")
        };
        (1..).zip(done).map(attempt).collect()
    }

    #[test]
    fn a_task_that_moved_on_lately_is_not_what_crashes() {
        assert!(!moved_on(3, &[]), "never recorded anything");
        assert!(moved_on(3, &runs(&[1, 1, 1])), "stuck for two runs only");
        assert!(!moved_on(4, &runs(&[1, 1, 1, 1])), "stuck for three runs");
        assert!(moved_on(5, &runs(&[1, 1, 2, 2, 2])));
        assert!(!moved_on(6, &runs(&[1, 1, 2, 2, 2])), "the sixth run left no record");
    }
}
