//! Makes tasks of the points that other clients wrote. What cannot be read goes to the dead letters with the
//! reason; one bad point never keeps another from being admitted.

use std::collections::HashMap;

use futures_util::{StreamExt as _, stream};

use crate::domain::approval::{Approval, ApprovalPolicy};
use crate::domain::failure::Failure;
use crate::domain::id::TaskId;
use crate::domain::limit::Limits;
use crate::domain::schedule::zone::Zone;
use crate::domain::task::{Task, TaskStatus};
use crate::domain::time::Timestamp;
use crate::queue::Queue;
use crate::store::{EarlierRun, KeyOf, RawTask, SeenLetter, StoreError};

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
    pub(crate) queue: Queue,
    pub(crate) approvals: ApprovalPolicy,
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
            let page = self.queue.store().unadmitted(self.batch, after.as_deref()).await?;
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
        match self.queue.store().readmit_overlooked(now).await {
            Ok(0) => {}
            Ok(points) => tracing::info!(points, "points that other clients changed are read again"),
            Err(error) => {
                tracing::warn!(%error, "the search for points that other clients changed failed; the next sweep tries again");
            }
        }
    }

    async fn admit_all(&self, points: Vec<RawTask>, total: &mut Admitted, now: Timestamp) -> Result<(), StoreError> {
        let before = total.admitted;
        let ids: Vec<TaskId> = points.iter().map(|raw| raw.id).collect();
        let (runs, letters) = self.left_of(&ids).await?;
        let queues = Queues::new(self.queue.store(), &self.limits);
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
            self.queue.signals().found();
        }
        outcome
    }

    /// What earlier runs of these tasks left: the newest of each, and their dead letters.
    async fn left_of(&self, ids: &[TaskId]) -> Result<(HashMap<TaskId, EarlierRun>, Vec<SeenLetter>), StoreError> {
        if ids.is_empty() {
            return Ok((HashMap::new(), Vec::new()));
        }
        tokio::try_join!(self.queue.store().earlier_runs(ids), self.queue.store().seen_letters(ids))
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
            Ok(task) => self.with_time_limit(tree::confirmed(self.queue.store(), task).await?, now),
            Err(failure) => return self.reject(&raw, failure, now).await,
        };
        // A task that ran before has its place already.
        if !runs.contains_key(&raw.id)
            && let Some(failure) = queues.refusal(&task).await?
        {
            return self.reject(&raw, failure, now).await;
        }
        if !task.spec.depends_on.is_empty()
            && let Err(cycle) = self.queue.store().check_cycles(std::slice::from_ref(&task)).await?
        {
            return self.reject(&raw, Failure::invalid(cycle.to_string()), now).await;
        }
        if task.spec.unique_key.is_some() && !task.state.status.is_terminal() {
            match self.queue.store().take_key(&task, now).await? {
                KeyOf::Itself => {}
                // Somebody else's program carries it out already, with the key or without.
                _ if task.state.status == TaskStatus::Running => {}
                KeyOf::Other(holder) => {
                    let is_kept_out = self.queue.keep_out(task, holder, now).await?;
                    return Ok(if is_kept_out { Fate::KeptOut } else { Fate::Taken });
                }
                KeyOf::Unsettled => return Ok(Fate::Stuck),
            }
        }
        let (task, story) = match take_up(task, runs.get(&raw.id), raw.tells_of_an_end(), now) {
            TakenUp::Later => return Ok(Fate::Stuck),
            TakenUp::Anew(task, story) => {
                self.queue.store().retire_attempts(task.id).await?;
                (*task, Some(story))
            }
            TakenUp::As(task, story) => (*task, story),
        };
        match self.queue.admit(&task, story.as_deref(), letters, now).await {
            Ok(true) => {
                self.record_hints(&raw, &task, now);
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

    /// Records what the writer of a point may have meant otherwise.
    fn record_hints(&self, raw: &RawTask, task: &Task, now: Timestamp) {
        if task.state.status.is_terminal() {
            return;
        }
        for hint in raw.hints() {
            self.queue.record_unknown_field(task.id, hint, now);
        }
    }

    /// What is asked about it may be decided for as long as the configuration says.
    fn with_time_limit(&self, mut task: Task, now: Timestamp) -> Task {
        if !task.state.approvals.is_empty() {
            task.state.approvals = vec![Approval::of_task(&task, &self.approvals, now)];
        }
        task
    }

    async fn reject(&self, raw: &RawTask, failure: Failure, now: Timestamp) -> Result<Fate, StoreError> {
        match self.queue.reject(raw, failure, self.zone, now).await {
            Ok(true) => Ok(Fate::Rejected),
            Ok(false) => Ok(Fate::Taken),
            Err(error) if error.is_transient() => Err(error),
            Err(error) => {
                tracing::error!(task = %raw.id, %error, "a point that is no valid task could not be moved to the dead letters");
                Ok(Fate::Stuck)
            }
        }
    }
}
