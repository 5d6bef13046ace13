//! Moves waiting tasks on once the tasks they depend on have ended.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

mod awaited;
mod cycles;

use self::cycles::CycleSearch;
use crate::background::guarded;
use crate::clock;
use crate::domain::dependency::OnDependencyFailure;
use crate::domain::id::TaskId;
use crate::domain::task::{Task, TaskEvent, TaskStatus};
use crate::domain::time::Timestamp;
use crate::queue::{Actor, Queue};
use crate::store::{MAX_DEPENDENTS, Standing, StoreError, TransitionError};
use crate::worker::STORE_RETRY;

/// Waiting tasks read at once.
const PAGE: u32 = 256;
/// Pages of one look at all; the next goes on where it ended.
const PAGES: u32 = 16;
/// A task with more dependencies than this is looked at by itself, from its last dependency on.
const MANY: usize = 64;
/// Dependencies of such a task looked at in one request.
const STRETCH: usize = 512;
/// Least time between two looks at all, so that a stream of inserts does not turn into a stream of scans.
const PAUSE: Duration = Duration::from_millis(50);
/// A look at all is followed by a rest this many times as long, so that many waiting tasks do not slow others down.
const REST: u32 = 4;
/// The same for a look at the dependents of what ended.
const SHORT_REST: u32 = 2;
/// When no task waits for others, ends of tasks cause no query for this long, unless a task that waits is inserted.
const NOBODY: Duration = Duration::from_secs(1);
/// Most waiting tasks of which an open dependency is remembered.
const MAX_WATCHED: usize = 50_000;
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
    /// Wait, for this one at least.
    Wait(TaskId),
    Go(TaskEvent),
}

/// Judges a task that waits since `since` for `dependencies`.
fn judge(
    dependencies: impl Iterator<Item = (TaskId, Dependency)>,
    policy: OnDependencyFailure,
    since: Timestamp,
    now: Timestamp,
) -> Verdict {
    let mut open = None;
    for (id, dependency) in dependencies {
        let ended_badly = match dependency {
            Dependency::Status(TaskStatus::Completed) => continue,
            Dependency::Status(status) => status.is_terminal(),
            Dependency::Missing => now.millis_since(since) >= MISSING_GRACE_MS,
            Dependency::Unread => false,
        };
        match policy {
            OnDependencyFailure::Block if ended_badly => return Verdict::Go(TaskEvent::DependencyFailed(id)),
            OnDependencyFailure::Continue if ended_badly => {}
            // The last one: tasks of a list mostly end in its order, so it is open for longest.
            _ => open = Some(id),
        }
    }
    open.map_or(Verdict::Go(TaskEvent::DependenciesDone), Verdict::Wait)
}

/// Checks waiting tasks: those that depend on what just ended, found through an index, and now and then all of them,
/// for what ended without a word.
pub(crate) struct Dependencies {
    pub(crate) queue: Queue,
    /// Waiting tasks, and a dependency of each that was open when last looked at: until that one has completed, the
    /// completion of others cannot set the task free. So a task with ten thousand dependencies is read a few times.
    watched: HashMap<TaskId, TaskId>,
    /// Whether a look at all is under way, and where it goes on.
    all: bool,
    after: Option<String>,
    /// Whether the last look moved any on.
    moved: bool,
    /// The waiting tasks that the look at all has met so far.
    cycles: CycleSearch,
}

/// What a look came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Looked {
    /// No task waits.
    NoneWait,
    /// At the dependents of what ended.
    Some,
    /// At some pages of all, too.
    All,
}

/// A task that another one may depend on.
#[derive(Clone, Debug)]
struct Seen {
    dependency: Dependency,
    user: Option<String>,
}

impl Seen {
    /// What it is for a task of `user`: one of another user does not exist.
    fn by(&self, user: Option<&str>) -> Dependency {
        if self.user.as_deref() == user || self.dependency == Dependency::Unread {
            self.dependency
        } else {
            Dependency::Missing
        }
    }
}

type Known = HashMap<TaskId, Seen>;

impl Dependencies {
    pub(crate) fn new(queue: Queue) -> Self {
        Self { queue, watched: HashMap::new(), all: false, after: None, moved: false, cycles: CycleSearch::default() }
    }

    /// Checks whenever a task ended, until the drain begins.
    pub(crate) async fn run(mut self, drain: CancellationToken) {
        let queue = self.queue.clone();
        let signals = queue.signals();
        let mut failures = 0;
        loop {
            tokio::select! {
                biased;
                () = drain.cancelled() => return,
                () = signals.dependencies.notified() => {}
            }
            let began = Instant::now();
            let mut none_waits = false;
            let pause = match guarded("dependencies", self.run_once(clock::now())).await {
                Some(Ok(looked)) => {
                    failures = 0;
                    match looked {
                        Looked::NoneWait => {
                            none_waits = true;
                            PAUSE
                        }
                        // Most of the time went into the write, and what it set free may end soon.
                        Looked::Some if self.moved => Duration::from_millis(1),
                        Looked::Some => (began.elapsed() * SHORT_REST).max(Duration::from_millis(1)),
                        Looked::All => (began.elapsed() * REST).max(PAUSE),
                    }
                }
                failed => {
                    if let Some(Err(error)) = failed {
                        tracing::warn!(%error, "waiting tasks could not be checked");
                    }
                    failures += 1;
                    signals.look_at_all();
                    Duration::from_millis(STORE_RETRY.delay(failures)).max(PAUSE)
                }
            };
            tokio::select! {
                () = drain.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            if none_waits {
                tokio::select! {
                    () = drain.cancelled() => return,
                    () = signals.waiting.notified() => {}
                    () = tokio::time::sleep(NOBODY) => {}
                }
            }
        }
    }

    /// Checks the dependents of what ended since the last time, and some pages of all that wait when asked to.
    async fn run_once(&mut self, now: Timestamp) -> Result<Looked, StoreError> {
        // Taken before the question: who waits for one of these is inserted by now, or is looked at on its insert.
        let ended = self.queue.signals().take_ended();
        self.moved = false;
        self.all |= ended.others;
        if !self.queue.store().any_waiting().await? {
            self.watched.clear();
            (self.all, self.after) = (false, None);
            return Ok(Looked::NoneWait);
        }
        let mut known = Known::new();
        self.follow(&ended.tasks, &mut known, now).await?;
        self.look_at(&ended.inserted, &mut known, now).await?;
        if !self.all {
            return Ok(Looked::Some);
        }
        for _ in 0..PAGES {
            if self.after.is_none() {
                self.cycles.restart();
            }
            let page = self.queue.store().waiting(PAGE, self.after.as_deref()).await?;
            self.cycles.collect(&page.items);
            self.check(page.items, &mut known, now).await?;
            self.after = page.next;
            if self.after.is_none() {
                self.all = false;
                self.break_cycles(now).await?;
                return Ok(Looked::All);
            }
        }
        self.queue.signals().dependencies.notify_one();
        Ok(Looked::All)
    }

    /// Checks the dependents of tasks that ended.
    async fn follow(&mut self, ended: &[(TaskId, bool)], known: &mut Known, now: Timestamp) -> Result<(), StoreError> {
        let with_outcome = |wanted: bool| -> Vec<TaskId> {
            ended.iter().filter(|(_, completed)| *completed == wanted).map(|(id, _)| *id).collect()
        };
        let (good, bad) = (with_outcome(true), with_outcome(false));
        let mut dependents = self.queue.store().dependents(&good).await?;
        let of_bad = self.queue.store().dependents(&bad).await?;
        if dependents.len().max(of_bad.len()) >= MAX_DEPENDENTS {
            // There may be others, of which nobody tells again.
            (self.all, self.after) = (true, None);
        }
        // What was open may have ended in another replica, which did not move its dependent on because of these.
        let watched: Vec<TaskId> = dependents.iter().filter_map(|id| self.watched.get(id)).copied().collect();
        self.learn(watched.into_iter(), known).await?;
        dependents.retain(|id| self.watched.get(id).is_none_or(|open| !is_open(known, *open)));
        dependents.extend(of_bad);
        dependents.sort_unstable();
        dependents.dedup();
        self.look_at(&dependents, known, now).await
    }

    async fn look_at(&mut self, tasks: &[TaskId], known: &mut Known, now: Timestamp) -> Result<(), StoreError> {
        for page in tasks.chunks(PAGE as usize) {
            let mut tasks = self.queue.store().tasks_by_id(page).await?;
            tasks.retain(|task| task.state.status == TaskStatus::Waiting);
            self.check(tasks, known, now).await?;
        }
        Ok(())
    }

    async fn check(&mut self, tasks: Vec<Task>, known: &mut Known, now: Timestamp) -> Result<(), StoreError> {
        let (awaiting, tasks): (Vec<Task>, Vec<Task>) = tasks.into_iter().partition(|task| task.state.awaits.is_some());
        self.check_awaited(awaiting, known, now).await?;
        let few = tasks.iter().filter(|task| task.spec.depends_on.len() <= MANY);
        self.learn(few.flat_map(|task| task.spec.depends_on.iter().copied()), known).await?;
        let (mut done, mut failed) = (Vec::new(), BTreeMap::<TaskId, Vec<Task>>::new());
        for task in tasks {
            let verdict = if task.spec.depends_on.len() <= MANY {
                verdict(&task, known, now)
            } else {
                self.many(&task, known, now).await?
            };
            match verdict {
                Verdict::Wait(open) => self.watch(task.id, open),
                Verdict::Go(TaskEvent::DependencyFailed(id)) => failed.entry(id).or_default().push(task),
                Verdict::Go(_) => done.push(task),
            }
        }
        self.move_on(done, &TaskEvent::DependenciesDone, now).await?;
        for (id, tasks) in failed {
            self.move_on(tasks, &TaskEvent::DependencyFailed(id), now).await?;
        }
        Ok(())
    }

    /// Judges a task that has many dependencies, looking at no more of them than it takes to know that it waits on.
    async fn many(&self, task: &Task, known: &mut Known, now: Timestamp) -> Result<Verdict, StoreError> {
        let mut open = None;
        for stretch in task.spec.depends_on.rchunks(STRETCH) {
            self.learn(stretch.iter().copied(), known).await?;
            let seen = stretch.iter().map(|id| (*id, known[id].by(task.spec.user.as_deref())));
            match judge(seen, task.spec.on_dependency_failure, task.state.created_at, now) {
                Verdict::Wait(id) if self.all => open = open.or(Some(id)),
                // One that failed unheard-of among the others is found by the next look at all.
                Verdict::Wait(id) => return Ok(Verdict::Wait(id)),
                Verdict::Go(TaskEvent::DependenciesDone) => {}
                failed @ Verdict::Go(_) => return Ok(failed),
            }
        }
        Ok(open.map_or(Verdict::Go(TaskEvent::DependenciesDone), Verdict::Wait))
    }

    async fn learn(&self, ids: impl Iterator<Item = TaskId>, known: &mut Known) -> Result<(), StoreError> {
        let mut unknown: Vec<TaskId> = ids.filter(|id| !known.contains_key(id)).collect();
        unknown.sort_unstable();
        unknown.dedup();
        let mut found = self.queue.store().standings(&unknown).await?;
        known.extend(unknown.into_iter().map(|id| {
            let seen = match found.remove(&id) {
                Some(Standing { status: Some(status), user }) => Seen { dependency: Dependency::Status(status), user },
                Some(Standing { status: None, user }) => Seen { dependency: Dependency::Unread, user },
                None => Seen { dependency: Dependency::Missing, user: None },
            };
            (id, seen)
        }));
        Ok(())
    }

    fn watch(&mut self, task: TaskId, open: TaskId) {
        if self.watched.len() >= MAX_WATCHED {
            self.watched.clear();
        }
        self.watched.insert(task, open);
    }

    /// Moves tasks on, as far as no other replica did.
    async fn move_on(&mut self, tasks: Vec<Task>, event: &TaskEvent, now: Timestamp) -> Result<(), StoreError> {
        if tasks.is_empty() {
            return Ok(());
        }
        let mut broken = None;
        for (task, moved) in tasks.iter().zip(self.queue.change_all(&tasks, event, Actor::Scheduler, now).await) {
            self.watched.remove(&task.id);
            match moved {
                Ok(_) => self.moved = true,
                Err(TransitionError::Store(error)) if error.is_transient() => broken = Some(error),
                Err(TransitionError::Lost(_)) => {}
                Err(error) => tracing::error!(task = %task.id, %error, "a waiting task could not be moved on"),
            }
        }
        broken.map_or(Ok(()), Err)
    }
}

/// Whether this dependency is known to be one that its dependents still wait for.
fn is_open(known: &Known, id: TaskId) -> bool {
    match known.get(&id).map(|seen| seen.dependency) {
        Some(Dependency::Status(status)) => !status.is_terminal(),
        Some(Dependency::Unread) => true,
        Some(Dependency::Missing) | None => false,
    }
}

fn verdict(task: &Task, known: &Known, now: Timestamp) -> Verdict {
    let user = task.spec.user.as_deref();
    let seen =
        task.spec.depends_on.iter().map(|id| (*id, known.get(id).map_or(Dependency::Unread, |seen| seen.by(user))));
    judge(seen, task.spec.on_dependency_failure, task.state.created_at, now)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SINCE: Timestamp = Timestamp::from_millis(1_000_000);

    fn judged(dependencies: &[Dependency], policy: OnDependencyFailure, waited_ms: i64) -> Verdict {
        let numbered = dependencies.iter().zip(1..).map(|(dependency, id)| (TaskId::Number(id), *dependency));
        judge(numbered, policy, SINCE, SINCE.plus_millis(waited_ms))
    }

    const BLOCK: OnDependencyFailure = OnDependencyFailure::Block;
    const CONTINUE: OnDependencyFailure = OnDependencyFailure::Continue;
    const FAILED: [TaskStatus; 4] =
        [TaskStatus::Failed, TaskStatus::Cancelled, TaskStatus::Blocked, TaskStatus::Skipped];

    #[test]
    fn a_task_goes_when_all_it_depends_on_is_completed() {
        let done = Dependency::Status(TaskStatus::Completed);
        let second = Verdict::Wait(TaskId::Number(2));
        for policy in [BLOCK, CONTINUE] {
            assert_eq!(judged(&[done, done], policy, 0), Verdict::Go(TaskEvent::DependenciesDone));
            assert_eq!(judged(&[], policy, 0), Verdict::Go(TaskEvent::DependenciesDone));
            for open in [TaskStatus::Waiting, TaskStatus::Pending, TaskStatus::Running, TaskStatus::AwaitingApproval] {
                assert_eq!(judged(&[done, Dependency::Status(open)], policy, 0), second);
            }
            assert_eq!(judged(&[done, Dependency::Unread], policy, 1_000_000), second);
        }
    }

    #[test]
    fn a_dependency_that_ended_otherwise_blocks_whatever_the_others_do() {
        let open = Dependency::Status(TaskStatus::Running);
        for bad in FAILED {
            let verdict = judged(&[open, Dependency::Status(bad)], BLOCK, 0);
            assert_eq!(verdict, Verdict::Go(TaskEvent::DependencyFailed(TaskId::Number(2))));
        }
    }

    #[test]
    fn who_continues_waits_for_all_and_goes_whatever_came_of_them() {
        let open = Dependency::Status(TaskStatus::Running);
        for bad in FAILED.map(Dependency::Status) {
            assert_eq!(judged(&[bad, open], CONTINUE, 0), Verdict::Wait(TaskId::Number(2)));
            assert_eq!(judged(&[bad, bad], CONTINUE, 0), Verdict::Go(TaskEvent::DependenciesDone));
        }
        assert_eq!(judged(&[Dependency::Missing], CONTINUE, 60_000), Verdict::Go(TaskEvent::DependenciesDone));
    }

    #[test]
    fn a_missing_dependency_may_still_be_written_for_a_while() {
        assert_eq!(judged(&[Dependency::Missing], BLOCK, 59_000), Verdict::Wait(TaskId::Number(1)));
        let verdict = judged(&[Dependency::Missing], BLOCK, 60_000);
        assert_eq!(verdict, Verdict::Go(TaskEvent::DependencyFailed(TaskId::Number(1))));
    }
}
