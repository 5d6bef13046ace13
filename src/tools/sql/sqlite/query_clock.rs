//! The time limit of a query, within the functions that it calls.

use std::cell::Cell;
use std::time::Instant;

/// Steps between two checks of the time. A step takes some nanoseconds, a check about thirty.
const STEPS: usize = 1024;

/// The time limit of the query is reached.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TimeLimitReached;

/// Checks the time limit of a query, at little cost for each step.
pub(super) struct QueryClock {
    deadline: Instant,
    left: Cell<usize>,
}

impl QueryClock {
    /// The clock of one call of a function. It checks the time once before the first step.
    pub(super) fn start(deadline: Instant) -> Result<Self, TimeLimitReached> {
        let clock = Self { deadline, left: Cell::new(STEPS) };
        clock.check()?;
        Ok(clock)
    }

    /// Counts one step.
    pub(super) fn step(&self) -> Result<(), TimeLimitReached> {
        self.steps(1)
    }

    /// Counts `steps`.
    pub(super) fn steps(&self, steps: usize) -> Result<(), TimeLimitReached> {
        let left = self.left.get();
        if left > steps {
            self.left.set(left - steps);
            return Ok(());
        }
        self.left.set(STEPS);
        self.check()
    }

    fn check(&self) -> Result<(), TimeLimitReached> {
        if Instant::now() >= self.deadline { Err(TimeLimitReached) } else { Ok(()) }
    }
}
