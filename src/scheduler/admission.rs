//! Makes tasks of the points that other clients wrote. What cannot be read goes to the dead letters with the
//! reason; one bad point never keeps another from being admitted.

use std::sync::Arc;

use futures_util::{StreamExt as _, stream};

use crate::domain::approval::Approval;
use crate::domain::dead_letter::DeadLetter;
use crate::domain::event::{Event, Level};
use crate::domain::failure::Failure;
use crate::domain::task::Task;
use crate::domain::time::Timestamp;
use crate::store::{RawTask, StoreError};
use crate::telemetry::metrics;
use crate::worker::execute::Worker;

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
}

/// What became of one point.
enum Fate {
    Admitted,
    Rejected,
    /// Another replica was first.
    Taken,
    /// The store refused every write about it; it is met again.
    Stuck,
}

impl Admission {
    /// Admits all there is.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]; what was done is done.
    pub(crate) async fn run_once(&self, now: Timestamp) -> Result<Admitted, StoreError> {
        let mut total = Admitted::default();
        let mut stuck = 0;
        loop {
            // Points that nothing can be done about stay at the head of the scan and must not fill it.
            let limit = self.batch.saturating_add(stuck);
            let points = self.worker.store.unadmitted(limit).await?;
            let all_seen = points.len() < limit as usize;
            let mut fates = stream::iter(points).map(|raw| self.admit(raw, now)).buffer_unordered(PARALLEL);
            let mut stuck_now = 0;
            while let Some(fate) = fates.next().await {
                match fate? {
                    Fate::Admitted => total.admitted += 1,
                    Fate::Rejected => total.rejected += 1,
                    Fate::Taken => {}
                    Fate::Stuck => stuck_now += 1,
                }
            }
            let no_progress = stuck_now >= limit;
            stuck = stuck_now;
            if all_seen || (no_progress && limit >= self.batch.saturating_mul(16)) {
                return Ok(total);
            }
        }
    }

    async fn admit(&self, raw: RawTask, now: Timestamp) -> Result<Fate, StoreError> {
        let task = match raw.read(now) {
            Ok(task) => self.with_time_limit(task, now),
            Err(failure) => return self.reject(&raw, failure, now).await,
        };
        if !task.depends_on.is_empty()
            && let Err(circle) = self.worker.store.check_circles(std::slice::from_ref(&task)).await?
        {
            return self.reject(&raw, Failure::invalid(circle.to_string()), now).await;
        }
        match self.worker.store.admit(&task).await {
            Ok(true) => {
                metrics::TASKS_ADMITTED.inc([]);
                let message = format!("admitted as {}", task.status);
                self.worker.events.note(Event::new("admitted", message, now).task(task.id));
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
            goal: String::new(),
            agent: None,
            failure: failure.clone(),
            attempts: 0,
            earlier_failures: Vec::new(),
            payload: raw.payload.clone(),
            buried_at: now,
        };
        let answer = match self.worker.store.bury(&letter).await {
            Ok(()) => self.worker.store.reject(raw, &failure, now).await,
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
