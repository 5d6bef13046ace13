//! Leaves a model alone for a while after failures in a row, then lets one call try it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use failsafe::StateMachine;
use failsafe::backoff::{Constant, constant};
use failsafe::failure_policy::{self, ConsecutiveFailures};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::telemetry::metrics;

/// The circuit breaker of one model.
pub(super) struct Circuit {
    /// `None` when it is switched off.
    machine: Option<StateMachine<ConsecutiveFailures<Constant>, Watch>>,
    watch: Watch,
    /// The crate lets everybody through once the wait is over; a model that may still be down gets one call.
    probe: Arc<Semaphore>,
    open_for: Duration,
}

/// Follows the state, for the metric and for the way out that errors name.
#[derive(Clone)]
struct Watch {
    model: Arc<str>,
    half_open: Arc<AtomicBool>,
    opened: Arc<Mutex<Option<Instant>>>,
}

/// Leave to call. The caller says how it ended; a call that was dropped counts as neither.
pub(super) struct Permit<'a> {
    circuit: &'a Circuit,
    probe: Option<OwnedSemaphorePermit>,
}

impl Circuit {
    /// A circuit that opens after `failures` in a row (0: never) for `open_ms` milliseconds.
    pub(super) fn new(model: &str, failures: u32, open_ms: u64) -> Self {
        let open_for = Duration::from_millis(open_ms);
        let watch = Watch { model: model.into(), half_open: Arc::default(), opened: Arc::default() };
        let policy = failure_policy::consecutive_failures(failures, constant(open_for));
        let machine = (failures > 0).then(|| StateMachine::new(policy, watch.clone()));
        Self { machine, watch, probe: Arc::new(Semaphore::new(1)), open_for }
    }

    /// Leave to call, or the time until it may be given.
    pub(super) fn enter(&self) -> Result<Permit<'_>, Duration> {
        let permitted = self.machine.as_ref().is_none_or(StateMachine::is_call_permitted);
        if !permitted {
            return Err(self.time_left());
        }
        if !self.watch.half_open.load(Ordering::Acquire) {
            return Ok(Permit { circuit: self, probe: None });
        }
        let probe = Arc::clone(&self.probe).try_acquire_owned().map_err(|_| self.time_left())?;
        Ok(Permit { circuit: self, probe: Some(probe) })
    }

    fn time_left(&self) -> Duration {
        let opened = *self.watch.opened.lock().unwrap_or_else(PoisonError::into_inner);
        opened.map_or(Duration::ZERO, |opened| self.open_for.saturating_sub(opened.elapsed()))
    }
}

impl Permit<'_> {
    /// The model answered, be it with a refusal.
    pub(super) fn succeed(self) {
        if let Some(machine) = &self.circuit.machine {
            machine.on_success();
        }
    }

    /// The model is out of order. Only the last try of a question counts, so that one question that brings the model
    /// down each time does not take it from all others; a probe counts at once.
    pub(super) fn fail(self, is_last_try: bool) {
        if let Some(machine) = &self.circuit.machine
            && (is_last_try || self.probe.is_some())
        {
            machine.on_error();
        }
    }
}

impl Watch {
    fn set(&self, open: bool, half_open: bool) {
        self.half_open.store(half_open, Ordering::Release);
        metrics::MODEL_CIRCUIT_OPEN.set(u64::from(open || half_open), [&self.model]);
    }
}

impl failsafe::Instrument for Watch {
    fn on_call_rejected(&self) {}

    fn on_open(&self) {
        *self.opened.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        self.set(true, false);
        tracing::warn!(model = &*self.model, "model fails again and again; leaving it alone for a while");
    }

    fn on_half_open(&self) {
        self.set(false, true);
    }

    fn on_closed(&self) {
        self.set(false, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enter(circuit: &Circuit) -> Permit<'_> {
        circuit.enter().map_err(|left| format!("{left:?} left")).expect("leave to call")
    }

    #[test]
    fn only_failures_in_a_row_open_it() {
        let circuit = Circuit::new("m", 2, 60_000);
        for _ in 0..3 {
            enter(&circuit).fail(true);
            enter(&circuit).succeed();
        }
        enter(&circuit).fail(true);
        enter(&circuit).fail(true);
        let left = circuit.enter().err().expect("refused");
        assert!(left > Duration::from_secs(50), "{left:?}");
    }

    #[test]
    fn one_call_at_a_time_tries_a_model_that_was_left_alone() {
        let circuit = Circuit::new("m", 1, 0);
        enter(&circuit).fail(true);
        std::thread::sleep(Duration::from_millis(1));
        let probe = enter(&circuit);
        assert!(circuit.enter().is_err(), "a second probe");
        drop(probe);
        enter(&circuit).succeed();
        let (_first, _second) = (enter(&circuit), enter(&circuit));
    }

    #[test]
    fn tries_that_are_followed_by_another_do_not_count_but_those_of_a_probe_do() {
        let circuit = Circuit::new("m", 1, 20);
        for _ in 0..10 {
            enter(&circuit).fail(false);
        }
        enter(&circuit).fail(true);
        assert!(circuit.enter().is_err());
        std::thread::sleep(Duration::from_millis(25));
        enter(&circuit).fail(false);
        assert!(circuit.enter().is_err());
    }

    #[test]
    fn zero_switches_it_off() {
        let circuit = Circuit::new("m", 0, 60_000);
        for _ in 0..100 {
            enter(&circuit).fail(true);
        }
        enter(&circuit).succeed();
    }
}
