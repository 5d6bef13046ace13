//! The circuit breaker of a model: after failures in a row it blocks calls for a while, or for as long as the server
//! asks, then lets a single call through. Keeps the time and the first failure of an outage.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use failsafe::StateMachine;
use failsafe::backoff::{Constant, constant};
use failsafe::failure_policy::{self, ConsecutiveFailures};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;

use crate::clock;
use crate::domain::failure::Failure;
use crate::domain::outage::{Access, Outage, UNTRIED_MS};
use crate::domain::time::Timestamp;
use crate::telemetry::metrics;

/// The first pause after a refusal that does not say for how long, and the longest, in milliseconds: each is twice the one before.
const FIRST_PAUSE_MS: u64 = 1_000;
const MAX_PAUSE_MS: u64 = 60_000;
/// Longest pause that a `Retry-After` of the server causes.
const MAX_REST: Duration = Duration::from_mins(5);
/// Time between two checks whether a probe has ended.
const PROBE_POLL: Duration = Duration::from_secs(1);

/// The circuit breaker of one model.
pub(super) struct Circuit {
    /// `None` when it is switched off.
    machine: Option<StateMachine<ConsecutiveFailures<Constant>, CircuitObserver>>,
    watch: CircuitObserver,
    /// The crate lets every call through once the wait is over; this semaphore lets one through, because the model
    /// may still be down.
    probe: Arc<Semaphore>,
    open_for: Duration,
}

/// Observes the circuit, for the metric, for tasks that wait for the model, and for the cause that errors name.
#[derive(Clone)]
struct CircuitObserver {
    model: Arc<str>,
    half_open: Arc<AtomicBool>,
    health: Arc<Mutex<Health>>,
    /// Changes when the model may have become usable or unusable.
    changed: watch::Sender<u64>,
    /// Time without a failure, in milliseconds, after which the next failure begins a new outage. Longer than the
    /// circuit stays open.
    untried_ms: u64,
}

/// Recent answers and failures of the model.
#[derive(Debug, Default)]
struct Health {
    /// When the circuit opened last, unless it has closed again.
    opened: Option<Instant>,
    /// When the pause ends that the server asked for.
    rests_until: Option<Instant>,
    /// Pauses that the server has asked for since the last answer.
    pauses: u32,
    /// The first failure since the last answer, and its time.
    failed: Option<(Timestamp, Failure)>,
    /// When a call failed last.
    failed_last: Option<Timestamp>,
    answered: Option<(Instant, Timestamp)>,
}

/// Permission for one call. The caller reports how the call ended; a dropped permit counts as neither success nor
/// failure.
pub(super) struct Permit<'a> {
    circuit: &'a Circuit,
    probe: Option<OwnedSemaphorePermit>,
}

impl Circuit {
    /// A circuit that opens after `failures` in a row (0: never) for `open_ms` milliseconds, and notifies `changed`.
    pub(super) fn new(model: &str, failures: u32, open_ms: u64, changed: watch::Sender<u64>) -> Self {
        let open_for = Duration::from_millis(open_ms);
        let untried_ms = UNTRIED_MS.saturating_add(open_ms);
        let watch = CircuitObserver {
            model: model.into(),
            half_open: Arc::default(),
            health: Arc::default(),
            changed,
            untried_ms,
        };
        let policy = failure_policy::consecutive_failures(failures, constant(open_for));
        let machine = (failures > 0).then(|| StateMachine::new(policy, watch.clone()));
        Self { machine, watch, probe: Arc::new(Semaphore::new(1)), open_for }
    }

    /// A permit for one call, or the time until one may be given.
    pub(super) fn enter(&self) -> Result<Permit<'_>, Duration> {
        if let Some(left) = self.rest_left() {
            return Err(left);
        }
        let permitted = self.machine.as_ref().is_none_or(StateMachine::is_call_permitted);
        if !permitted {
            return Err(self.time_left());
        }
        if !self.watch.half_open.load(Ordering::Acquire) {
            return Ok(Permit { circuit: self, probe: None });
        }
        let probe = Arc::clone(&self.probe).try_acquire_owned().map_err(|_| PROBE_POLL)?;
        Ok(Permit { circuit: self, probe: Some(probe) })
    }

    /// Whether the model can be called now.
    pub(super) fn access(&self) -> Access {
        if let Some(left) = self.rest_left() {
            return Access::Away(left);
        }
        if self.watch.health().opened.is_none() {
            return Access::Usable;
        }
        match self.time_left() {
            Duration::ZERO if self.probe.available_permits() > 0 => Access::Probe,
            Duration::ZERO => Access::Away(PROBE_POLL),
            left => Access::Away(left),
        }
    }

    /// The outage, if a call failed since the last answer.
    pub(super) fn outage(&self) -> Option<Outage> {
        self.watch.health().outage(&self.watch.model, clock::now(), self.watch.untried_ms)
    }

    /// Whether the model has answered other calls since this one failed at `failed`, and no call failed since the
    /// last answer.
    pub(super) fn answers_others_since(&self, failed: Timestamp) -> bool {
        let health = self.watch.health();
        health.failed.is_none() && health.answered.is_some_and(|(_, at)| at > failed)
    }

    /// Whether the model has answered any call since `began`.
    pub(super) fn has_answered_since(&self, began: Instant) -> bool {
        self.watch.health().answered.is_some_and(|(at, _)| at >= began)
    }

    fn time_left(&self) -> Duration {
        let opened = self.watch.health().opened;
        opened.map_or(Duration::ZERO, |opened| self.open_for.saturating_sub(opened.elapsed()))
    }

    fn rest_left(&self) -> Option<Duration> {
        let until = self.watch.health().rests_until?;
        Some(until.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero())
    }
}

impl Permit<'_> {
    /// The model answered, even if it refused this call.
    pub(super) fn succeed(self) {
        let watch = &self.circuit.watch;
        let was_out = {
            let mut health = watch.health();
            health.answered = Some((Instant::now(), clock::now()));
            health.pauses = 0;
            health.failed.take().is_some()
        };
        if let Some(machine) = &self.circuit.machine {
            machine.on_success();
        }
        if was_out {
            watch.notify();
        }
    }

    /// The model failed. Only the last try of a call counts, so that a call that brings the model down each time does
    /// not block it for all others; a probe counts at once.
    pub(super) fn fail(self, is_last_try: bool, failure: &Failure) {
        self.circuit.watch.failed(failure);
        if !is_last_try && self.probe.is_none() {
            return;
        }
        self.circuit.watch.rest(failure);
        if let Some(machine) = &self.circuit.machine {
            machine.on_error();
        }
    }

    /// The call failed on its own, which does not count for the circuit. Another call that fails before the next
    /// answer is not blamed either.
    pub(super) fn suspect(self, failure: &Failure) {
        self.circuit.watch.failed(failure);
    }

    /// The server asked for a pause: the circuit blocks calls for that time, which does not count as a failure. When it does not
    /// say for how long, the pauses grow until it answers.
    pub(super) fn rest(self, failure: &Failure) {
        let watch = &self.circuit.watch;
        watch.failed(failure);
        let pauses = watch.count_pause();
        let named = failure.retry_after_ms.filter(|ms| *ms > 0);
        let grown = FIRST_PAUSE_MS.saturating_mul(1 << pauses.min(16)).min(MAX_PAUSE_MS);
        watch.rest(&failure.clone().retry_after(Some(named.unwrap_or(grown))));
    }
}

impl Health {
    /// Records a failed call. After a long time without a failure, in which no call was made or the machine slept, a
    /// new outage begins.
    fn fail(&mut self, failure: &Failure, now: Timestamp, untried_ms: u64) {
        if !self.has_failed_lately(now, untried_ms) {
            self.failed = None;
        }
        self.failed.get_or_insert_with(|| (now, failure.clone()));
        self.failed_last = Some(now);
    }

    fn outage(&self, model: &str, now: Timestamp, untried_ms: u64) -> Option<Outage> {
        let (since, cause) = self.failed.clone()?;
        let is_recent = self.has_failed_lately(now, untried_ms);
        Some(Outage { model: model.to_owned(), since, cause, is_recent })
    }

    fn has_failed_lately(&self, now: Timestamp, untried_ms: u64) -> bool {
        self.failed_last.is_some_and(|at| now.millis_since(at) <= untried_ms)
    }
}

impl CircuitObserver {
    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, failure: &Failure) {
        self.health().fail(failure, clock::now(), self.untried_ms);
    }

    /// Counts a pause, and returns how many there were before it since the last answer.
    fn count_pause(&self) -> u32 {
        let mut health = self.health();
        let before = health.pauses;
        // Calls that were sent together are refused together.
        let is_resting = health.rests_until.is_some_and(|until| until > Instant::now());
        if is_resting {
            return before.saturating_sub(1);
        }
        health.pauses = before.saturating_add(1);
        before
    }

    /// Blocks calls for as long as `failure` says.
    fn rest(&self, failure: &Failure) {
        let Some(ms) = failure.retry_after_ms.filter(|ms| *ms > 0) else { return };
        let until = Instant::now() + Duration::from_millis(ms).min(MAX_REST);
        {
            let mut health = self.health();
            health.rests_until = health.rests_until.max(Some(until));
        }
        self.notify();
    }

    fn notify(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    fn set(&self, open: bool, half_open: bool) {
        self.half_open.store(half_open, Ordering::Release);
        metrics::MODEL_CIRCUIT_OPEN.set(u64::from(open || half_open), [&self.model]);
    }
}

impl failsafe::Instrument for CircuitObserver {
    fn on_call_rejected(&self) {}

    fn on_open(&self) {
        let cause = {
            let mut health = self.health();
            health.opened = Some(Instant::now());
            health.failed.as_ref().map(|(_, cause)| cause.to_string()).unwrap_or_default()
        };
        self.set(true, false);
        self.notify();
        tracing::warn!(
            model = &*self.model,
            cause,
            "the model fails repeatedly; its circuit opens and blocks further calls for a while"
        );
    }

    fn on_half_open(&self) {
        self.set(false, true);
    }

    fn on_closed(&self) {
        let was_open = self.health().opened.take().is_some();
        self.set(false, false);
        self.notify();
        // A circuit is closed at the beginning, too.
        if was_open {
            tracing::info!(model = &*self.model, "the model answers again; its circuit is closed");
        }
    }
}

#[cfg(test)]
mod tests;
