//! Takes back the tasks of replicas that died.
//!
//! Liveness is judged by the heartbeat counter alone, on this replica's own monotonic clock; wall clocks of two
//! hosts are never compared. Tasks that no living run answers for are found as well: those of a replica without a
//! record, and those that this replica holds in the store but does not run.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::clocks::{Clocks, Looked};
use super::guard::guarded;
use crate::clock;
use crate::domain::attempt::Attempt;
use crate::domain::event::{Event, Level};
use crate::domain::failure::{Failure, FailureClass};
use crate::domain::id::TaskId;
use crate::domain::replica::Replica;
use crate::domain::task::{MAX_CRASHES, Task, TaskEvent, TaskStatus};
use crate::domain::time::Timestamp;
use crate::store::{SeenLetter, StoreError, TaskFilter, TransitionError};
use crate::telemetry::metrics;
use crate::worker::execute::Worker;
use crate::worker::{dead_letter, persist};

mod watch;

use watch::Watch;

/// Running tasks read at once.
const PAGE: u32 = 512;
/// Runs in which a task must have moved on for a crash not to be held against it.
const LATELY: u32 = MAX_CRASHES;
/// Most tasks of a dead replica that are looked at one by one.
const MAX_HELD: usize = 10_000;

/// Watches the other replicas and rescues.
pub(crate) struct Rescuer {
    worker: Arc<Worker>,
    watch: Watch,
    period: Duration,
    /// Claims found without a run at the last check, and when that was.
    stray: HashSet<(TaskId, String)>,
    checked: Instant,
    clocks: Clocks,
    /// How often each of the others had nudged at the last look.
    nudges: HashMap<String, u64>,
    /// When the request of the last look was sent.
    looked: Option<Instant>,
    /// Whether it has been told that the own clock is wrong.
    is_off: bool,
}

impl Rescuer {
    pub(crate) fn new(worker: Arc<Worker>, heartbeat: Duration) -> Self {
        let period = (heartbeat / 5).clamp(Duration::from_millis(20), Duration::from_secs(1));
        let watch = Watch::new(worker.lease.length(), period * 2);
        Self {
            worker,
            watch,
            period,
            stray: HashSet::new(),
            checked: Instant::now(),
            clocks: Clocks::default(),
            nudges: HashMap::new(),
            looked: None,
            is_off: false,
        }
    }

    /// Watches until the drain begins.
    pub(crate) async fn run(mut self, drain: CancellationToken) {
        loop {
            tokio::select! {
                biased;
                () = drain.cancelled() => return,
                () = tokio::time::sleep(self.period) => {}
            }
            tokio::select! {
                () = drain.cancelled() => return,
                round = guarded("rescue", self.run_once(clock::now())) => if let Some(Err(error)) = round {
                    tracing::warn!(%error, "the other replicas could not be looked after");
                },
            }
        }
    }

    /// One look at the other replicas, and what follows from it.
    pub(crate) async fn run_once(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let sent = Instant::now();
        let replicas = self.worker.store.replicas().await?;
        self.compare_clocks(&replicas, sent);
        metrics::REPLICAS.set(replicas.len(), []);
        let others = replicas.iter().filter(|replica| replica.id != self.worker.replica_id);
        let heartbeats = others.map(|replica| (replica.id.as_str(), replica.heartbeat));
        let look = self.watch.look(heartbeats, sent, Instant::now());
        if look.gone {
            self.worker.signals.look_at_all();
        }
        if self.hear(&replicas) || look.gone {
            self.worker.signals.work.notify_one();
        }
        for (id, still) in look.dead {
            if Instant::now() >= look.valid_until {
                tracing::warn!(replica = id, "seemed dead too long ago to act upon it; looking again");
                break;
            }
            tracing::warn!(replica = id, ?still, "a replica is dead: its heartbeat stands still");
            rescue(&self.worker, &id, now).await?;
            metrics::RECOVERY_SECONDS.record(still, []);
        }
        if self.checked.elapsed() >= self.worker.lease.length() {
            self.check_strays(&replicas, now).await?;
            self.checked = Instant::now();
        }
        Ok(())
    }

    /// Whether another replica has nudged since the last look, or is new.
    fn hear(&mut self, replicas: &[Replica]) -> bool {
        let others = replicas.iter().filter(|replica| replica.id != self.worker.replica_id);
        let nudges = others.map(|replica| (replica.id.clone(), replica.nudges)).collect();
        let before = std::mem::replace(&mut self.nudges, nudges);
        self.nudges.iter().any(|(id, count)| before.get(id) != Some(count))
    }

    /// Tells when the others agree that the clock of this host is wrong, and when they no longer do.
    fn compare_clocks(&mut self, replicas: &[Replica], sent: Instant) {
        let since_last = self.looked.replace(sent).map(|last| last.elapsed().as_millis());
        let looked =
            Looked { since_last_ms: since_last.map(|ms| i64::try_from(ms).unwrap_or(i64::MAX)), at: clock::now() };
        let others = replicas.iter().filter(|replica| replica.id != self.worker.replica_id);
        let others = others.map(|replica| (replica.id.as_str(), replica.heartbeat, replica.updated_at));
        let behind_ms = self.clocks.look(others, looked);
        let is_off = behind_ms != 0;
        if is_off && !self.is_off {
            tracing::error!(
                behind_ms,
                "the clock of this host differs from those of most replicas: what is due starts too early or too late \
                 here; set it right"
            );
        } else if self.is_off && !is_off {
            tracing::info!("the clock of this host agrees with those of most replicas again");
        }
        self.is_off = is_off;
    }

    /// Finds claims that nobody answers for. One must be found by two checks, a lease apart: it may just be
    /// about to start or to end.
    async fn check_strays(&mut self, replicas: &[Replica], now: Timestamp) -> Result<(), StoreError> {
        let alive: HashSet<&str> = replicas.iter().map(|replica| replica.id.as_str()).collect();
        let filter = TaskFilter { statuses: vec![TaskStatus::Running], ..TaskFilter::default() };
        let mut after: Option<String> = None;
        let mut stray = HashSet::new();
        loop {
            let page = self.worker.store.tasks(&filter, PAGE, after.as_deref()).await?;
            for task in &page.items {
                let Some(claim) = &task.claim else { continue };
                let own = claim.owner == self.worker.replica_id;
                let answered = if own { self.worker.running.holds(task) } else { alive.contains(claim.owner.as_str()) };
                if answered {
                    continue;
                }
                let key = (task.id, claim.token.clone());
                if !self.stray.contains(&key) {
                    stray.insert(key);
                } else if own {
                    self.release(task, now).await?;
                } else {
                    rescue(&self.worker, &claim.owner, now).await?;
                }
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        self.stray = stray;
        Ok(())
    }

    /// Hands back a task that this replica holds but does not run, after a claim or an end that was never confirmed.
    async fn release(&self, task: &Task, now: Timestamp) -> Result<(), StoreError> {
        tracing::warn!(task = %task.id, "handing back a task that is claimed here but does not run");
        match self.worker.store.transition(task, &TaskEvent::Released, now).await {
            Ok(_) => {
                metrics::TASKS_RELEASED.inc([]);
                let event = Event::new("released", "claimed, but never started: handed back, at no charge", now);
                self.worker.events.note(event.task(task.id).level(Level::Warn));
                self.worker.signals.found();
                Ok(())
            }
            Err(TransitionError::Store(error)) => Err(error),
            Err(_) => Ok(()),
        }
    }
}

/// Returns the tasks of the dead replica `owner` and removes its record; gives back how many tasks there were.
pub(crate) async fn rescue(worker: &Worker, owner: &str, now: Timestamp) -> Result<u64, StoreError> {
    let (mut returned, doomed) = sort_out(worker, owner, now).await?;
    // Their letters come first: a failed task without one would be a silent loss if this process died in between.
    let mut buried = Vec::with_capacity(doomed.len());
    for task in &doomed {
        buried.push(bury(worker, task).await?);
    }
    let rescue = worker.store.rescue(owner, now).await?;
    returned += rescue.returned;
    let poisoned = rescue.poisoned.len() as u64;
    metrics::TASKS_RESCUED.add(returned + poisoned, []);
    for task in &rescue.poisoned {
        let failure = crashed(task);
        metrics::DEAD_LETTERED.inc([failure.class.as_str()]);
        worker.events.note(Event::new("failed", failure.to_string(), now).level(Level::Error).task(task.id));
    }
    settle_letters(worker, &buried, &rescue.poisoned).await?;
    if returned + poisoned > 0 {
        let message = format!("replica {owner} died: {returned} tasks returned, {poisoned} given up");
        worker.events.note(Event::new("rescued", message, now).level(Level::Warn).with("owner", owner));
        tracing::warn!(owner, returned, poisoned, "took the tasks of a dead replica");
    }
    worker.store.remove_replica(owner).await?;
    worker.signals.found();
    for task in &rescue.poisoned {
        worker.signals.ended(task.id, false);
    }
    Ok(returned + poisoned)
}

/// Looks at the tasks of `owner` that one more crash would end. Those that have moved on lately are handed back,
/// uncharged: what takes its process down does so again and again at the same step. Gives back how many these were,
/// and the others, as they will be after the rescue.
async fn sort_out(worker: &Worker, owner: &str, now: Timestamp) -> Result<(u64, Vec<Task>), StoreError> {
    let (mut spared, mut doomed) = (0, Vec::new());
    for task in worker.store.held(owner, MAX_HELD).await? {
        if task.crashes + 1 < MAX_CRASHES {
            continue;
        }
        if !moved_on(task.earlier_runs() + 1, &worker.store.attempts(task.id).await?) {
            doomed.extend(task.apply(&TaskEvent::Rescued, now));
            continue;
        }
        match worker.store.transition(&task, &TaskEvent::Released, now).await {
            Ok(_) => spared += 1,
            Err(TransitionError::Store(error)) => return Err(error),
            // Another observer was faster.
            Err(_) => {}
        }
    }
    Ok((spared, doomed))
}

/// Buries who was ended without having been looked at, and takes back the letters of those who were not ended.
async fn settle_letters(worker: &Worker, buried: &[SeenLetter], ended: &[Task]) -> Result<(), StoreError> {
    for task in ended.iter().filter(|task| !buried.iter().any(|letter| letter.task == task.id)) {
        bury(worker, task).await?;
    }
    for letter in buried.iter().filter(|letter| !ended.iter().any(|task| task.id == letter.task)) {
        // Another observer may have ended it; then the letter is right. So is one that has taken its place since.
        let now = worker.store.task(letter.task).await?;
        if now.is_some_and(|now| now.status != TaskStatus::Failed) {
            worker.store.purge_seen_letters(&[*letter]).await?;
        }
    }
    Ok(())
}

/// Whether one of the last [`LATELY`] runs of a task up to the `current` one got further than all `attempts` before.
fn moved_on(current: u32, attempts: &[Attempt]) -> bool {
    let furthest = |lately: bool| {
        let of_runs = attempts.iter().filter(move |attempt| (attempt.number + LATELY > current) == lately);
        of_runs.map(|attempt| attempt.progress.done).max().unwrap_or(0)
    };
    furthest(true) > furthest(false)
}

fn crashed(task: &Task) -> Failure {
    let failure = task.error.clone().filter(|failure| failure.class == FailureClass::Crashed);
    failure.unwrap_or_else(|| Failure::new(FailureClass::Crashed, "the process that ran it died too often"))
}

async fn bury(worker: &Worker, task: &Task) -> Result<SeenLetter, StoreError> {
    let letter = dead_letter(&worker.store, task, None, &crashed(task), task.earlier_runs()).await;
    persist("store a dead letter", || worker.store.bury(&letter)).await?;
    Ok(SeenLetter::from(&letter))
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
