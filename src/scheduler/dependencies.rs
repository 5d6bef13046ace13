//! Moves waiting tasks on once the tasks they depend on have ended.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::guard::guarded;
use crate::clock;
use crate::domain::event::{Event, Level};
use crate::domain::id::TaskId;
use crate::domain::task::{Task, TaskEvent, TaskStatus};
use crate::domain::time::Timestamp;
use crate::store::{StoreError, TransitionError};
use crate::worker::execute::Worker;
use crate::worker::{MaybeTransient as _, STORE_RETRY};

/// Waiting tasks read at once.
const PAGE: u32 = 256;
/// Pages of one run; the next run goes on where it ended.
const PAGES: u32 = 16;
/// Statuses read, and transitions written, at once.
const PARALLEL: usize = 32;
/// Least time between two runs, so that a stream of completions does not turn into a stream of scans.
const PAUSE: Duration = Duration::from_millis(50);
/// A run is followed by a rest this many times as long, so that many waiting tasks do not slow others down.
const REST: u32 = 4;
/// How long a dependency may be missing after its dependent was inserted, in milliseconds: other clients may write
/// the two in any order.
const MISSING_GRACE_MS: u64 = 60_000;

/// What is known of a task that another one depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dependency {
    Status(TaskStatus),
    /// There is no such task.
    Missing,
    /// There is a point that does not read as a task, yet.
    Unread,
}

/// What a waiting task is to do.
#[derive(Clone, Debug, PartialEq)]
enum Verdict {
    Wait,
    Go(TaskEvent),
}

/// Judges a task that waits since `since` for `dependencies`.
fn judge(dependencies: &[(TaskId, Dependency)], since: Timestamp, now: Timestamp) -> Verdict {
    let mut all_done = true;
    for (id, dependency) in dependencies {
        match dependency {
            Dependency::Status(TaskStatus::Completed) => {}
            Dependency::Status(status) if status.is_terminal() => {
                return Verdict::Go(TaskEvent::DependencyFailed(*id));
            }
            Dependency::Missing if now.millis_since(since) >= MISSING_GRACE_MS => {
                return Verdict::Go(TaskEvent::DependencyFailed(*id));
            }
            _ => all_done = false,
        }
    }
    if all_done { Verdict::Go(TaskEvent::DependenciesDone) } else { Verdict::Wait }
}

/// Checks waiting tasks.
pub(crate) struct Dependencies {
    pub(crate) worker: Arc<Worker>,
    /// Where the next run goes on.
    after: Option<String>,
}

/// What a check came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Checked {
    /// Tasks that waited when they were read.
    pub(crate) waiting: usize,
    /// Tasks moved on.
    pub(crate) moved: usize,
    /// Whether there are more to read.
    pub(crate) more: bool,
}

impl Dependencies {
    pub(crate) const fn new(worker: Arc<Worker>) -> Self {
        Self { worker, after: None }
    }

    /// Checks whenever a task ended, until the drain begins.
    pub(crate) async fn run(mut self, drain: CancellationToken) {
        let mut failures = 0;
        loop {
            tokio::select! {
                biased;
                () = drain.cancelled() => return,
                () = self.worker.signals.dependencies.notified() => {}
            }
            let began = Instant::now();
            let pause = match guarded("dependencies", self.run_once(clock::now())).await {
                Some(Ok(checked)) => {
                    failures = 0;
                    // One that moved may be what another waits for: a blocked task blocks its dependents.
                    if checked.more || checked.moved > 0 {
                        self.worker.signals.dependencies.notify_one();
                    }
                    PAUSE.max(began.elapsed() * REST)
                }
                failed => {
                    if let Some(Err(error)) = failed {
                        tracing::warn!(%error, "waiting tasks could not be checked");
                    }
                    failures += 1;
                    self.worker.signals.dependencies.notify_one();
                    Duration::from_millis(STORE_RETRY.delay(failures)).max(PAUSE)
                }
            };
            tokio::select! {
                () = drain.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Checks some pages of waiting tasks.
    pub(crate) async fn run_once(&mut self, now: Timestamp) -> Result<Checked, StoreError> {
        let mut checked = Checked::default();
        // Set first, so that a task which ends during the scan is not missed.
        self.worker.signals.waiting.store(true, Ordering::Release);
        let from_the_start = self.after.is_none();
        let mut known = HashMap::new();
        for _ in 0..PAGES {
            let page = self.worker.store.waiting(PAGE, self.after.as_deref()).await?;
            checked.waiting += page.items.len();
            checked.moved += self.check(&page.items, &mut known, now).await?;
            self.after = page.next;
            if self.after.is_none() {
                break;
            }
        }
        checked.more = self.after.is_some();
        if from_the_start && !checked.more && checked.waiting == 0 {
            self.worker.signals.waiting.store(false, Ordering::Release);
        }
        Ok(checked)
    }

    async fn check(
        &self,
        tasks: &[Task],
        known: &mut HashMap<TaskId, Dependency>,
        now: Timestamp,
    ) -> Result<usize, StoreError> {
        let mut unknown: Vec<TaskId> = tasks.iter().flat_map(|task| task.depends_on.iter().copied()).collect();
        unknown.retain(|id| !known.contains_key(id));
        unknown.sort_unstable();
        unknown.dedup();
        let mut answers =
            stream::iter(unknown).map(|id| async move { (id, self.look(id).await) }).buffer_unordered(PARALLEL);
        while let Some((id, answer)) = answers.next().await {
            known.insert(id, answer?);
        }
        let ready = tasks.iter().filter_map(|task| {
            let dependencies: Vec<_> = task.depends_on.iter().map(|id| (*id, known[id])).collect();
            match judge(&dependencies, task.created_at, now) {
                Verdict::Go(event) => Some((task.clone(), event)),
                Verdict::Wait => None,
            }
        });
        let mut answers = stream::iter(ready.collect::<Vec<_>>())
            .map(|(task, event)| self.move_on(task, event, now))
            .buffer_unordered(PARALLEL);
        let mut moved = 0;
        while let Some(answer) = answers.next().await {
            moved += usize::from(answer?);
        }
        Ok(moved)
    }

    async fn look(&self, id: TaskId) -> Result<Dependency, StoreError> {
        match self.worker.store.task(id).await {
            Ok(Some(task)) => Ok(Dependency::Status(task.status)),
            Ok(None) => Ok(Dependency::Missing),
            Err(StoreError::Corrupt { .. }) => Ok(Dependency::Unread),
            Err(error) => Err(error),
        }
    }

    /// Moves one task on; `false` when somebody else did, or it was refused.
    async fn move_on(&self, task: Task, event: TaskEvent, now: Timestamp) -> Result<bool, StoreError> {
        match self.worker.store.transition(&task, &event, now).await {
            Ok(next) => {
                let (message, level) = match &event {
                    TaskEvent::DependencyFailed(id) => {
                        (format!("blocked: task {id}, which it depends on, did not complete"), Level::Error)
                    }
                    _ => ("every task it depends on is completed".to_owned(), Level::Info),
                };
                self.worker.events.note(Event::new(event.name(), message, now).level(level).task(task.id));
                if next.status == TaskStatus::Pending {
                    self.worker.signals.work.notify_one();
                }
                Ok(true)
            }
            Err(TransitionError::Store(error)) if error.may_pass() => Err(error),
            Err(TransitionError::Lost(_)) => Ok(false),
            Err(error) => {
                tracing::error!(task = %task.id, %error, "a waiting task could not be moved on");
                Ok(false)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SINCE: Timestamp = Timestamp::from_millis(1_000_000);

    fn judged(dependencies: &[Dependency], waited_ms: i64) -> Verdict {
        let numbered: Vec<_> =
            dependencies.iter().zip(1..).map(|(dependency, id)| (TaskId::Number(id), *dependency)).collect();
        judge(&numbered, SINCE, SINCE.plus_millis(waited_ms))
    }

    #[test]
    fn a_task_goes_when_all_it_depends_on_is_completed() {
        let done = Dependency::Status(TaskStatus::Completed);
        assert_eq!(judged(&[done, done], 0), Verdict::Go(TaskEvent::DependenciesDone));
        assert_eq!(judged(&[], 0), Verdict::Go(TaskEvent::DependenciesDone));
        for open in [TaskStatus::Waiting, TaskStatus::Pending, TaskStatus::Running, TaskStatus::AwaitingApproval] {
            assert_eq!(judged(&[done, Dependency::Status(open)], 0), Verdict::Wait);
        }
        assert_eq!(judged(&[done, Dependency::Unread], 1_000_000), Verdict::Wait);
    }

    #[test]
    fn a_dependency_that_ended_otherwise_blocks_whatever_the_others_do() {
        let open = Dependency::Status(TaskStatus::Running);
        for bad in [TaskStatus::Failed, TaskStatus::Cancelled, TaskStatus::Blocked, TaskStatus::Skipped] {
            let verdict = judged(&[open, Dependency::Status(bad)], 0);
            assert_eq!(verdict, Verdict::Go(TaskEvent::DependencyFailed(TaskId::Number(2))));
        }
    }

    #[test]
    fn a_missing_dependency_may_still_be_written_for_a_while() {
        assert_eq!(judged(&[Dependency::Missing], 59_000), Verdict::Wait);
        let verdict = judged(&[Dependency::Missing], 60_000);
        assert_eq!(verdict, Verdict::Go(TaskEvent::DependencyFailed(TaskId::Number(1))));
    }
}
