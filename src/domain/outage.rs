//! Outages of models, and tasks that are postponed because of them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::failure::{Failure, FailureClass};
use super::number;
use super::retry::RetryPolicy;
use super::time::Timestamp;

/// Shortest postponement of a task, in milliseconds.
const MIN_WAIT_MS: u64 = 1_000;
/// Random delay added to the wait. It is short, because the circuit breaker already spares the endpoint: all
/// postponed tasks run within a minute of the model's return, even after hours.
const JITTER: RetryPolicy = RetryPolicy { base_ms: 1_000, growth: 2, max_ms: 8_000, max_retry_after_ms: 0 };

/// Longest time without a failed try, in milliseconds, that still counts as waiting. After a longer one the machine
/// slept, or no request was made. A model in an outage is tried about every half a minute.
pub const UNTRIED_MS: u64 = 15 * 60 * 1_000;

/// Whether a model can be called now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It can be called.
    Usable,
    /// It was in an outage; one call may find out whether it is back.
    Probe,
    /// It must not be called before this time has passed.
    Away(Duration),
    /// No model is configured here.
    Absent,
}

impl Access {
    /// The better of two, for an agent that may use either model.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Usable, _) | (_, Self::Usable) => Self::Usable,
            (Self::Probe, _) | (_, Self::Probe) => Self::Probe,
            (Self::Away(left), Self::Away(right)) => Self::Away(left.min(right)),
            (Self::Away(left), Self::Absent) | (Self::Absent, Self::Away(left)) => Self::Away(left),
            (Self::Absent, Self::Absent) => Self::Absent,
        }
    }
}

/// The outage of a model: it has answered no call since a first failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outage {
    /// Name of the model; empty when none is configured.
    pub model: String,
    /// When the first call failed.
    pub since: Timestamp,
    /// How it failed.
    pub cause: Failure,
    /// Whether a call failed recently, so that the outage is known to continue.
    pub is_recent: bool,
}

/// Why a task waits for its model; stored with the task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Postponement {
    /// Name of the model; empty when none is configured.
    pub model: String,
    /// Since when it waits.
    pub since: Timestamp,
    /// How many of its runs ended because the model was unusable.
    #[serde(deserialize_with = "number::count")]
    pub times: u32,
    /// When it was tried last.
    #[serde(default)]
    pub last: Timestamp,
    /// When its model may be called again, where that is known and later than the task becomes due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// The failure that the wait began with.
    pub cause: Failure,
}

/// A run that ended because its model was unusable.
#[derive(Clone, Debug)]
pub struct Interrupted<'a> {
    /// The failure of the run.
    pub failure: &'a Failure,
    /// When the task became due.
    pub due: Timestamp,
    /// The earlier postponement of the task, if any.
    pub earlier: Option<&'a Postponement>,
    /// The outage, if it still lasts.
    pub outage: Option<&'a Outage>,
}

impl Interrupted<'_> {
    /// The postponement of the task from now on. An earlier postponement continues, whatever the model answers to
    /// other tasks, unless neither this task nor another one met the outage for [`UNTRIED_MS`].
    #[must_use]
    pub fn postponement(&self, now: Timestamp) -> Postponement {
        let begun = self.outage.filter(|outage| outage.is_recent).map_or(now, |outage| outage.since);
        let goes_on = |earlier: &&Postponement| begun.millis_since(earlier.last) <= UNTRIED_MS;
        if let Some(earlier) = self.earlier.filter(goes_on) {
            return Postponement {
                times: earlier.times.saturating_add(1),
                last: now,
                not_before: None,
                ..earlier.clone()
            };
        }
        Postponement {
            model: self.outage.map_or_else(String::new, |outage| outage.model.clone()),
            since: begun.max(self.due).min(now),
            times: 1,
            last: now,
            not_before: None,
            cause: Failure { retry_after_ms: None, ..self.outage.map_or(self.failure, |outage| &outage.cause).clone() },
        }
    }
}

impl Postponement {
    /// When the task that becomes due at `run_at` is really tried: not before its model may be called.
    #[must_use]
    pub fn next_try(&self, run_at: Timestamp) -> Timestamp {
        self.not_before.map_or(run_at, |not_before| run_at.max(not_before))
    }

    /// When the patience of `patience_s` seconds ends.
    #[must_use]
    pub fn until(&self, patience_s: u64) -> Timestamp {
        self.since.plus_millis(i64::try_from(patience_s.saturating_mul(1_000)).unwrap_or(i64::MAX))
    }

    /// Describes the wait: `has waited for model "m" since 2026-01-31T09:00:00Z, next try 2026-01-31T09:00:30Z: cause`.
    /// `next` is unknown where no model is configured.
    #[must_use]
    pub fn describe(&self, next: Option<Timestamp>) -> String {
        let model = if self.model.is_empty() { "a model".to_owned() } else { format!("model {:?}", self.model) };
        let next = next.map_or_else(String::new, |at| format!(", next try {at}"));
        format!("has waited for {model} since {}{next}: {}", self.since, self.cause.message)
    }

    /// Milliseconds until the next try: the wait that the server asked for, cut to `max_requested_ms`, plus a random
    /// part.
    #[must_use]
    pub fn delay_ms(&self, requested_ms: Option<u64>, max_requested_ms: u64) -> u64 {
        let requested = requested_ms.unwrap_or(0).min(max_requested_ms).max(MIN_WAIT_MS);
        requested.saturating_add(JITTER.delay(self.times))
    }

    /// The failure that ends the wait once it has lasted longer than `patience_s` at `now`.
    #[must_use]
    pub fn out_of_patience(&self, patience_s: u64, now: Timestamp) -> Option<Failure> {
        let is_over = now > self.until(patience_s);
        is_over.then(|| {
            let waited = format!(
                "the task waited for model {:?} since {}, longer than model.patience_s of {patience_s} s; first cause: {}",
                self.model, self.since, self.cause.message
            );
            Failure::new(FailureClass::Unavailable, waited)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(second: i64) -> Timestamp {
        Timestamp::from_millis(second * 1_000)
    }

    fn outage(since: i64) -> Outage {
        Outage { model: "m".into(), since: at(since), cause: Failure::unavailable("cannot connect"), is_recent: true }
    }

    fn interrupted<'a>(failure: &'a Failure, outage: Option<&'a Outage>) -> Interrupted<'a> {
        Interrupted { failure, due: at(100), earlier: None, outage }
    }

    #[test]
    fn a_wait_begins_with_the_later_of_due_time_and_outage_and_keeps_the_first_cause() {
        let failure = Failure::unavailable("left alone").retry_after(Some(9));
        for (begun, since) in [(50, 100), (150, 150), (900, 300)] {
            let outage = outage(begun);
            let wait = interrupted(&failure, Some(&outage)).postponement(at(300));
            assert_eq!((wait.since, wait.times, wait.cause.message.as_str()), (at(since), 1, "cannot connect"));
        }
        let unknown = interrupted(&failure, None).postponement(at(300));
        assert_eq!((unknown.since, unknown.cause), (at(300), Failure::unavailable("left alone")));
    }

    /// What the model answers to others does not end the wait of a task that it never answers.
    #[test]
    fn a_wait_goes_on_as_long_as_something_is_tried() {
        let (failure, cause) = (Failure::unavailable("refused"), Failure::unavailable("cannot connect"));
        let first = Postponement {
            model: "m".into(),
            since: at(200),
            times: 1,
            last: at(300),
            not_before: Some(at(330)),
            cause,
        };
        let longest = i64::try_from(UNTRIED_MS / 1_000).expect("small");
        let next = |outage: Option<Outage>, now| {
            let again = Interrupted { earlier: Some(&first), ..interrupted(&failure, outage.as_ref()) };
            let wait = again.postponement(at(now));
            assert_eq!(wait.last, at(now));
            (wait.since, wait.times)
        };
        let stale = |since| Some(Outage { is_recent: false, ..outage(since) });
        let gap = 300 + longest;
        // The task itself was tried again soon enough.
        assert_eq!(next(None, gap), (at(200), 2));
        assert_eq!(next(Some(outage(gap)), gap), (at(200), 2));
        assert_eq!(next(stale(100), gap), (at(200), 2));
        // It stood in line for long, while others met the same outage, or one that began soon after.
        assert_eq!(next(Some(outage(100)), 90_000), (at(200), 2));
        assert_eq!(next(Some(outage(gap)), 90_000), (at(200), 2));
        // The machine slept, or another outage has begun much later.
        assert_eq!(next(None, gap + 1), (at(gap + 1), 1));
        assert_eq!(next(stale(100), 90_000), (at(90_000), 1));
        assert_eq!(next(Some(outage(gap + 1)), 90_000), (at(gap + 1), 1));
    }

    /// It became due while the machine slept.
    #[test]
    fn a_first_wait_does_not_begin_with_an_outage_of_long_ago() {
        let failure = Failure::unavailable("left alone");
        let stale = Outage { is_recent: false, ..outage(50) };
        let wait = interrupted(&failure, Some(&stale)).postponement(at(90_000));
        assert_eq!((wait.since, wait.model.as_str()), (at(90_000), "m"));
        assert_eq!(wait.out_of_patience(60, at(90_001)), None);
    }

    #[test]
    fn the_next_try_comes_soon_after_the_requested_wait_however_often() {
        let wait = |times| Postponement {
            model: "m".into(),
            since: at(0),
            times,
            last: at(0),
            not_before: None,
            cause: Failure::unavailable("x"),
        };
        for (times, requested, least, most) in [
            (1, None, 1_000, 2_000),
            (1, Some(30_000), 30_000, 31_000),
            (3, Some(30_000), 30_000, 34_000),
            (u32::MAX, Some(30_000), 30_000, 38_000),
            (u32::MAX, Some(u64::MAX), 300_000, 308_000),
        ] {
            for _ in 0..50 {
                let delay = wait(times).delay_ms(requested, 300_000);
                assert!((least..=most).contains(&delay), "{times} {requested:?}: {delay}");
            }
        }
    }

    #[test]
    fn a_task_is_tried_once_it_is_due_and_its_model_may_be_called() {
        let wait = |not_before| Postponement {
            model: "m".into(),
            since: at(0),
            times: 1,
            last: at(0),
            not_before,
            cause: Failure::unavailable("x"),
        };
        assert_eq!(wait(None).next_try(at(5)), at(5));
        assert_eq!(wait(Some(at(30))).next_try(at(5)), at(30));
        assert_eq!(wait(Some(at(30))).next_try(at(90)), at(90), "a person moved its due time");
    }

    #[test]
    fn patience_ends_with_the_first_cause() {
        let cause = Failure::unavailable("cannot connect");
        let wait = Postponement { model: "m".into(), since: at(0), times: 9, last: at(60), not_before: None, cause };
        assert_eq!(wait.out_of_patience(60, at(60)), None);
        let failure = wait.out_of_patience(60, at(61)).expect("over");
        assert_eq!(failure.class, FailureClass::Unavailable);
        assert!(failure.message.contains("first cause: cannot connect"), "{failure}");
        assert!(failure.message.contains("model.patience_s of 60 s"), "{failure}");
    }

    #[test]
    fn an_agent_may_ask_the_best_of_its_models() {
        let away = |ms| Access::Away(Duration::from_millis(ms));
        assert_eq!(away(5).or(away(3)), away(3));
        assert_eq!(Access::Absent.or(away(3)), away(3));
        assert_eq!(away(3).or(Access::Probe), Access::Probe);
        assert_eq!(Access::Probe.or(Access::Usable), Access::Usable);
        assert_eq!(Access::Absent.or(Access::Absent), Access::Absent);
    }
}
