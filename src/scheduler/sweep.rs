//! The sweep: the cron job that looks for work that no signal announced, and the work it drives.
//!
//! The job itself only sends a notification. Its library fires it again while it still runs, and a panic in the
//! synchronous part of a job would end it for good; so nothing that can fail or take time happens there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::Utc;
use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::RunnerError;
use super::admission::Admission;
use crate::background::{Background, BackgroundJob};
use crate::clock;
use crate::domain::task::TaskStatus;
use crate::domain::time::Timestamp;
use crate::queue::{Queue, Signals};
use crate::store::StoreError;
use crate::telemetry::metrics;

/// How often it is looked whether the clock was set back.
const LOOK: Duration = Duration::from_secs(1);

/// A cron job that wants a sweep by its signal, unless `busy` says that the last one is still at work.
pub(crate) fn job(expression: &str, signals: Arc<Signals>, busy: Arc<AtomicBool>) -> Result<Job, RunnerError> {
    // In UTC: the library would freeze any other zone at today's offset.
    Job::new_async_tz(expression, Utc, move |_, _| {
        let (signals, busy) = (Arc::clone(&signals), Arc::clone(&busy));
        Box::pin(async move {
            if busy.load(Ordering::Acquire) {
                tracing::debug!("the last sweep is still at work; this one is left out");
            } else {
                signals.sweep.notify_one();
            }
        })
    })
    .map_err(|_| RunnerError::BadSweep(expression.to_owned()))
}

/// The cron job at work.
pub(crate) struct Alarm {
    cron: JobScheduler,
    current: Uuid,
    /// Makes the job once more.
    job: Box<dyn Fn() -> Result<Job, RunnerError> + Send + Sync>,
}

impl Alarm {
    /// Starts what `job` makes.
    pub(crate) async fn start(
        job: impl Fn() -> Result<Job, RunnerError> + Send + Sync + 'static,
    ) -> Result<Self, RunnerError> {
        let cron = JobScheduler::new().await?;
        let current = cron.add(job()?).await?;
        cron.start().await?;
        Ok(Self { cron, current, job: Box::new(job) })
    }

    /// Keeps the job firing until the drain begins. Its library goes by the time of the next firing, and after the clock
    /// was set back it would wait until that has come.
    pub(crate) async fn run(mut self, drain: CancellationToken) {
        let mut last = clock::now();
        loop {
            tokio::select! {
                () = drain.cancelled() => break,
                () = tokio::time::sleep(LOOK) => {}
            }
            let now = clock::now();
            if now < last
                && let Err(error) = self.renew().await
            {
                tracing::warn!(%error, "the clock was set back, so the sweep is late; scheduling it again");
                continue;
            }
            last = now;
        }
        if let Err(error) = self.cron.shutdown().await {
            tracing::warn!(%error, "the cron scheduler did not shut down");
        }
    }

    async fn renew(&mut self) -> Result<(), RunnerError> {
        let fresh = self.cron.add((self.job)()?).await?;
        let before = std::mem::replace(&mut self.current, fresh);
        self.cron.remove(&before).await?;
        Ok(())
    }
}

impl From<JobSchedulerError> for RunnerError {
    fn from(error: JobSchedulerError) -> Self {
        Self::Cron(error.to_string())
    }
}

/// What the cron job drives.
pub(crate) struct Sweep {
    pub(crate) queue: Queue,
    pub(crate) admission: Admission,
    pub(crate) busy: Arc<AtomicBool>,
    /// Tells the dispatcher that a sweep came by.
    pub(crate) swept: Arc<AtomicBool>,
}

impl Sweep {
    /// Sweeps whenever a sweep is wanted, until the drain begins.
    pub(crate) async fn run(self, background: Background) {
        let job = BackgroundJob::on(&self.queue.signals().sweep, "sweep", "the sweep failed; the next one tries again");
        let work = || async {
            let _busy = Busy::new(&self.busy);
            self.run_once(clock::now()).await
        };
        background.repeat(job, work).await;
    }

    /// Admits what other clients wrote, wakes dispatch and the check of dependencies, and reads off the queue.
    pub(crate) async fn run_once(&self, now: Timestamp) -> Result<(), StoreError> {
        // Due tasks do not wait for points that have yet to be read.
        self.swept.store(true, Ordering::Release);
        self.queue.signals().work.notify_one();
        let admitted = self.admission.run_once(now).await;
        self.queue.signals().look_at_all();
        let gauges = self.read_off(now).await;
        admitted.map(|_| ()).and(gauges)
    }

    async fn read_off(&self, now: Timestamp) -> Result<(), StoreError> {
        let counts = self.queue.store().task_counts().await?;
        for status in TaskStatus::ALL {
            metrics::QUEUE_TASKS.set(counts.get(&status).copied().unwrap_or(0), [status.as_str()]);
        }
        let oldest = self.queue.store().oldest_due(now).await?;
        let age_ms = oldest.map_or(0, |at| now.millis_since(at));
        metrics::OLDEST_DUE_SECONDS.set_f64(Duration::from_millis(age_ms).as_secs_f64(), []);
        metrics::DEAD_LETTERS.set(self.queue.store().dead_letter_count().await?, []);
        Ok(())
    }
}

/// Says that a sweep is at work, until it is dropped: also when the sweep panics.
struct Busy<'a>(&'a AtomicBool);

impl<'a> Busy<'a> {
    fn new(busy: &'a AtomicBool) -> Self {
        busy.store(true, Ordering::Release);
        Self(busy)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(expression: &str) -> Result<Job, RunnerError> {
        job(expression, Arc::new(Signals::new()), Arc::default())
    }

    #[test]
    fn a_sweep_is_a_cron_expression_with_seconds() {
        for good in ["0 * * * * *", "*/5 * * * * *", "0 0 0 1 1 *"] {
            assert!(read(good).is_ok(), "{good}");
        }
        for bad in ["", "* * * * *", "every minute", "99 * * * * *"] {
            let error = read(bad).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains(&format!("{bad:?}")), "{bad}: {error}");
        }
    }
}
