//! Makes tasks of the points that other clients wrote. What cannot be read goes to the dead letters with the
//! reason; one bad point never keeps another from being admitted.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::{StreamExt as _, stream};

use crate::domain::approval::Approval;
use crate::domain::dead_letter::DeadLetter;
use crate::domain::event::{Event, Level};
use crate::domain::failure::{Failure, FailureClass};
use crate::domain::id::TaskId;
use crate::domain::limit::Limits;
use crate::domain::schedule::zone::Zone;
use crate::domain::task::{Task, TaskStatus};
use crate::domain::time::Timestamp;
use crate::store::{EarlierRun, KeyOf, RawTask, SeenLetter, StoreError};
use crate::telemetry::metrics;
use crate::worker::execute::Worker;

mod again;
mod queues;
mod tree;

use again::{TakenUp, take_up};
use queues::Queues;

/// Points handled at once; their writes share commits.
const PARALLEL: usize = 64;

/// What an admission came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Admitted {
    /// Points that are tasks now.
    pub(crate) admitted: usize,
    /// Points that went to the dead letters.
    pub(crate) rejected: usize,
}

/// Admits what other clients wrote.
pub(crate) struct Admission {
    pub(crate) worker: Arc<Worker>,
    pub(crate) batch: u32,
    /// Zone of times without an offset.
    pub(crate) zone: Zone,
    /// Section `[limits]`.
    pub(crate) limits: Limits,
}

/// What became of one point.
enum Fate {
    Admitted,
    /// Another task has its unique key, so it never runs.
    KeptOut,
    Rejected,
    /// Another replica was first.
    Taken,
    /// The store refused every write about it, or who has its key is not settled; it is met again.
    Stuck,
}

impl Admission {
    /// Admits all there is, and wakes dispatch for each batch: due tasks do not wait for the points after them.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]; what was done is done.
    pub(crate) async fn run_once(&self, now: Timestamp) -> Result<Admitted, StoreError> {
        self.readmit_overlooked(now).await;
        let (mut total, mut earlier) = (Admitted::default(), Admitted::default());
        let mut after: Option<String> = None;
        loop {
            let page = self.worker.store.unadmitted(self.batch, after.as_deref()).await?;
            let is_all = after.is_none() && page.next.is_none();
            after = page.next;
            self.admit_all(page.items, &mut total, now).await?;
            if after.is_some() {
                continue;
            }
            // Points may have come before the place reached; looking again ends when nothing comes of it.
            if is_all || total == earlier {
                return Ok(total);
            }
            earlier = total;
        }
    }

    /// Has points that other clients changed read anew. What goes wrong here keeps no new point waiting.
    async fn readmit_overlooked(&self, now: Timestamp) {
        match self.worker.store.readmit_overlooked(now).await {
            Ok(0) => {}
            Ok(points) => tracing::info!(points, "points that other clients changed are read anew"),
            Err(error) => tracing::warn!(%error, "changed points could not be looked for; the next sweep tries again"),
        }
    }

    async fn admit_all(&self, points: Vec<RawTask>, total: &mut Admitted, now: Timestamp) -> Result<(), StoreError> {
        let before = total.admitted;
        let ids: Vec<TaskId> = points.iter().map(|raw| raw.id).collect();
        let (runs, letters) = self.left_of(&ids).await?;
        let queues = Queues::new(&self.worker.store, &self.limits);
        let (runs, letters, queues) = (&runs, &letters, &queues);
        let fates = stream::iter(points).map(|raw| self.admit(raw, runs, letters, queues, now));
        let mut fates = fates.buffer_unordered(PARALLEL);
        let mut outcome = Ok(());
        while let Some(fate) = fates.next().await {
            match fate {
                Ok(Fate::Admitted) => total.admitted += 1,
                Ok(Fate::Rejected) => total.rejected += 1,
                Ok(Fate::Taken | Fate::KeptOut | Fate::Stuck) => {}
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
        }
        if total.admitted > before {
            self.worker.signals.found();
        }
        outcome
    }

    /// What earlier runs of these tasks left: the newest of each, and their dead letters.
    async fn left_of(&self, ids: &[TaskId]) -> Result<(HashMap<TaskId, EarlierRun>, Vec<SeenLetter>), StoreError> {
        if ids.is_empty() {
            return Ok((HashMap::new(), Vec::new()));
        }
        tokio::try_join!(self.worker.store.earlier_runs(ids), self.worker.store.seen_letters(ids))
    }

    async fn admit(
        &self,
        raw: RawTask,
        runs: &HashMap<TaskId, EarlierRun>,
        letters: &[SeenLetter],
        queues: &Queues<'_>,
        now: Timestamp,
    ) -> Result<Fate, StoreError> {
        let task = match raw.read(self.zone, now) {
            Ok(task) => self.with_time_limit(tree::confirmed(&self.worker.store, task).await?, now),
            Err(failure) => return self.reject(&raw, failure, now).await,
        };
        // A task that ran before has its place already.
        if !runs.contains_key(&raw.id)
            && let Some(failure) = queues.refusal(&task).await?
        {
            return self.reject(&raw, failure, now).await;
        }
        if !task.depends_on.is_empty()
            && let Err(circle) = self.worker.store.check_circles(std::slice::from_ref(&task)).await?
        {
            return self.reject(&raw, Failure::invalid(circle.to_string()), now).await;
        }
        if task.unique_key.is_some() && !task.status.is_terminal() {
            match self.worker.store.take_key(&task, now).await? {
                KeyOf::Itself => {}
                // Somebody else's program carries it out already, with the key or without.
                _ if task.status == TaskStatus::Running => {}
                KeyOf::Other(holder) => return self.keep_out(task, holder, now).await,
                KeyOf::Unsettled => return Ok(Fate::Stuck),
            }
        }
        let (task, story) = match take_up(task, runs.get(&raw.id), raw.tells_of_an_end(), now) {
            TakenUp::Later => return Ok(Fate::Stuck),
            TakenUp::Anew(task, story) => {
                self.worker.store.retire_attempts(task.id).await?;
                (*task, Some(story))
            }
            TakenUp::As(task, story) => (*task, story),
        };
        match self.worker.store.admit(&task).await {
            Ok(true) => {
                metrics::TASKS_ADMITTED.inc([]);
                self.tell(&raw, &task, story, now);
                // It lives again, or never died.
                if !task.status.is_terminal() {
                    let letters: Vec<SeenLetter> =
                        letters.iter().filter(|letter| letter.task == task.id).copied().collect();
                    self.worker.store.purge_seen_letters(&letters).await?;
                }
                Ok(Fate::Admitted)
            }
            Ok(false) => Ok(Fate::Taken),
            Err(error) if error.is_transient() => Err(error),
            Err(error) => {
                let failure = Failure::invalid(format!("the store refuses it as a task: {error}"));
                self.reject(&raw, failure, now).await
            }
        }
    }

    /// Tells what became of a point, and what its writer may have meant otherwise.
    fn tell(&self, raw: &RawTask, task: &Task, story: Option<String>, now: Timestamp) {
        let mut message = format!("admitted as {}", task.status);
        if let Some(story) = story {
            message = format!("{message}: {story}");
        }
        self.worker.events.note(Event::new("admitted", message, now).task(task.id));
        if task.status.is_terminal() {
            return;
        }
        for hint in raw.hints() {
            tracing::warn!(task = %task.id, hint, "a point has a field that qron does not know");
            self.worker.events.note(Event::new("unknown_field", hint, now).level(Level::Warn).task(task.id));
        }
    }

    /// Records that another task has its unique key.
    async fn keep_out(&self, task: Task, holder: TaskId, now: Timestamp) -> Result<Fate, StoreError> {
        let key = task.unique_key.as_deref().unwrap_or_default();
        let reason = format!("task {holder} has the unique key {key:?}");
        let skipped = Task {
            status: TaskStatus::Skipped,
            error: Some(Failure::new(FailureClass::Cancelled, reason.clone())),
            finished_at: Some(now),
            ..task
        };
        if !self.worker.store.skip(&skipped).await? {
            return Ok(Fate::Taken);
        }
        metrics::TASKS_NOT_CREATED.inc(["point"]);
        let event = Event::new("kept_out", format!("skipped: {reason}"), now).level(Level::Warn);
        self.worker.events.note(event.task(skipped.id).with("holder", holder.to_string()));
        self.worker.signals.ended(skipped.id, false);
        Ok(Fate::KeptOut)
    }

    /// What is asked about it may be decided for as long as the configuration says.
    fn with_time_limit(&self, mut task: Task, now: Timestamp) -> Task {
        if !task.approvals.is_empty() {
            task.approvals = vec![Approval::of_task(&task, &self.worker.approvals, now)];
            metrics::APPROVALS_ASKED.inc([]);
        }
        task
    }

    /// The dead letter comes first: a rejected point without one would be a silent loss.
    async fn reject(&self, raw: &RawTask, failure: Failure, now: Timestamp) -> Result<Fate, StoreError> {
        let letter = DeadLetter {
            task_id: raw.id,
            goal: raw.goal(),
            agent: None,
            failure: failure.clone(),
            attempts: 0,
            earlier_failures: Vec::new(),
            payload: raw.payload.clone(),
            buried_at: now,
        };
        let answer = match self.worker.store.bury(&letter).await {
            Ok(()) => self.worker.store.reject(raw, &failure, self.zone, now).await,
            Err(error) => Err(error),
        };
        match answer {
            Ok(true) => {
                metrics::TASKS_REJECTED.inc([]);
                metrics::DEAD_LETTERED.inc([failure.class.as_str()]);
                let event = Event::new("rejected", format!("not a task: {failure}"), now).level(Level::Error);
                self.worker.events.note(event.task(raw.id));
                Ok(Fate::Rejected)
            }
            Ok(false) => Ok(Fate::Taken),
            Err(error) if error.is_transient() => Err(error),
            Err(error) => {
                tracing::error!(task = %raw.id, %error, "a point that is no task could not be set aside");
                Ok(Fate::Stuck)
            }
        }
    }
}
