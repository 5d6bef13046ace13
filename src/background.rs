//! Background loops: each runs its job on a timer, on a signal or on both until the drain begins, and outlives failures and
//! panics of single runs. Loops that choose their pace by what a run found (dispatch, dependencies, schedules) have their own
//! `run` and use [`guarded`] alone.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

/// What the loops of one replica share. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Background {
    drain: CancellationToken,
    /// How many runs of each job have ended.
    runs: Arc<watch::Sender<BTreeMap<&'static str, u64>>>,
}

/// When and how the job of one loop runs.
pub(crate) struct BackgroundJob<'a> {
    name: &'static str,
    failure: &'static str,
    first: Option<Duration>,
    period: Option<Duration>,
    signal: Option<&'a Notify>,
    is_carried_through: bool,
}

impl<'a> BackgroundJob<'a> {
    /// A job that runs again `period` after each run. The log says `failure` when a run fails.
    pub(crate) const fn every(period: Duration, name: &'static str, failure: &'static str) -> Self {
        Self { name, failure, first: Some(period), period: Some(period), signal: None, is_carried_through: false }
    }

    /// A job that runs when `signal` is notified. The log says `failure` when a run fails.
    pub(crate) const fn on(signal: &'a Notify, name: &'static str, failure: &'static str) -> Self {
        Self { name, failure, first: None, period: None, signal: Some(signal), is_carried_through: false }
    }

    /// Runs for the first time after `first`.
    pub(crate) const fn first_after(self, first: Duration) -> Self {
        Self { first: Some(first), ..self }
    }

    /// Runs ahead of its time when `signal` is notified.
    pub(crate) const fn or_on(self, signal: &'a Notify) -> Self {
        Self { signal: Some(signal), ..self }
    }

    /// A run that has begun ends, although the drain begins meanwhile. Other jobs are left at any point.
    pub(crate) const fn carried_through(self) -> Self {
        Self { is_carried_through: true, ..self }
    }
}

impl Background {
    /// Loops that end when `drain` is cancelled.
    pub(crate) fn new(drain: CancellationToken) -> Self {
        Self { drain, runs: Arc::new(watch::Sender::default()) }
    }

    /// Does `work` whenever `job` says, until the drain begins.
    pub(crate) async fn repeat<E, Run>(&self, job: BackgroundJob<'_>, mut work: impl FnMut() -> Run)
    where
        E: Display,
        Run: Future<Output = Result<(), E>>,
    {
        let mut wait = job.first;
        loop {
            tokio::select! {
                biased;
                () = self.drain.cancelled() => return,
                () = notified(job.signal) => {}
                () = sleep_or_forever(wait) => {}
            }
            wait = job.period;
            let run = guarded(job.name, work());
            let outcome = if job.is_carried_through {
                run.await
            } else {
                tokio::select! {
                    () = self.drain.cancelled() => return,
                    outcome = run => outcome,
                }
            };
            if let Some(Err(error)) = outcome {
                tracing::warn!(job = job.name, %error, "{}", job.failure);
            }
            self.runs.send_modify(|runs| *runs.entry(job.name).or_default() += 1);
        }
    }

    /// Returns once a run of the job called `name` has ended since the start, successful or not.
    pub(crate) async fn has_run(&self, name: &str) {
        // The sender is held here, so that the wait cannot fail.
        drop(self.runs.subscribe().wait_for(|runs| runs.contains_key(name)).await);
    }
}

/// Awaits `work`; `None` when it panicked, which the log tells under the name `job`.
pub(crate) async fn guarded<T>(job: &'static str, work: impl Future<Output = T>) -> Option<T> {
    match AssertUnwindSafe(work).catch_unwind().await {
        Ok(value) => Some(value),
        Err(panic) => {
            let message = panic
                .downcast_ref::<&str>()
                .map(ToString::to_string)
                .or_else(|| panic.downcast_ref::<String>().cloned());
            tracing::error!(job, message, "a background job panicked; its next run goes on");
            None
        }
    }
}

async fn notified(signal: Option<&Notify>) {
    match signal {
        Some(signal) => signal.notified().await,
        None => std::future::pending().await,
    }
}

/// Sleeps for `wait`; `None` is for ever.
pub(crate) async fn sleep_or_forever(wait: Option<Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::{pending, ready};

    use tokio::time::{Instant, timeout};

    use super::*;

    const PERIOD: Duration = Duration::from_secs(10);

    fn job<'a>() -> BackgroundJob<'a> {
        BackgroundJob::every(PERIOD, "test", "it failed")
    }

    /// The seconds after which `job` ran while `meanwhile` lasted.
    async fn moments(job: BackgroundJob<'_>, meanwhile: impl Future<Output = ()>) -> Vec<u64> {
        let (began, mut moments) = (Instant::now(), Vec::new());
        let background = Background::new(CancellationToken::new());
        let work = || {
            moments.push(began.elapsed().as_secs());
            ready(Ok::<_, String>(()))
        };
        tokio::select! {
            () = background.repeat(job, work) => {}
            () = meanwhile => {}
        }
        moments
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_runs_on_its_timer_and_on_its_signal() {
        let sleep = |seconds| tokio::time::sleep(Duration::from_secs(seconds));
        assert_eq!(moments(job(), sleep(35)).await, [10, 20, 30]);
        assert_eq!(moments(job().first_after(Duration::from_secs(2)), sleep(35)).await, [2, 12, 22, 32]);
        let signal = Notify::new();
        let signalled = async || {
            sleep(3).await;
            signal.notify_one();
            sleep(12).await;
        };
        assert_eq!(moments(job().or_on(&signal), signalled()).await, [3, 13]);
        assert_eq!(moments(BackgroundJob::on(&signal, "test", "it failed"), signalled()).await, [3]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_loop_outlives_failures_and_panics() {
        let background = Background::new(CancellationToken::new());
        let runs = Cell::new(0);
        let work = || async {
            runs.set(runs.get() + 1);
            assert_ne!(runs.get(), 2, "a fault of the job");
            if runs.get() == 1 { Err("no") } else { Ok(()) }
        };
        assert!(timeout(PERIOD * 7 / 2, background.repeat(job(), work)).await.is_err());
        assert_eq!(runs.get(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_the_first_run_can_be_awaited() {
        let background = Background::new(CancellationToken::new());
        let began = Instant::now();
        let work = || async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            Ok::<_, String>(())
        };
        tokio::select! {
            () = background.repeat(job(), work) => {}
            () = background.has_run("test") => {}
        }
        assert_eq!(began.elapsed(), Duration::from_secs(15));
        background.has_run("test").await;
        assert!(timeout(PERIOD, background.has_run("another")).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn the_drain_leaves_a_run_unless_it_is_carried_through() {
        for (job, ends_after_s) in [(job(), 12), (job().carried_through(), 15)] {
            let drain = CancellationToken::new();
            let background = Background::new(drain.clone());
            let began = Instant::now();
            let work = || async {
                tokio::time::sleep(Duration::from_secs(5)).await;
                Ok::<_, String>(())
            };
            let draining = async {
                tokio::time::sleep(Duration::from_secs(12)).await;
                drain.cancel();
                pending::<()>().await;
            };
            tokio::select! {
                () = background.repeat(job, work) => {}
                () = draining => {}
            }
            assert_eq!(began.elapsed(), Duration::from_secs(ends_after_s));
        }
    }
}
