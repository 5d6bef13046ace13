//! How many calls a model is given at once. qron learns it; there is no setting for it.
//!
//! A server that answers one call at a time, such as llama.cpp or Ollama on a laptop, puts the others in a queue, and the
//! time in that queue counts against the time limit of each call. Of many calls the last ones would fail although
//! nothing is wrong. So each model has a limit of calls in flight, over all calls of this process:
//!
//! - To begin with there is no limit.
//! - A call that runs into its time limit while others are in flight was **queued**. The limit falls to half of the calls
//!   that were in flight, or to as many as the model has answered meanwhile where those are fewer, and never below 1. Calls
//!   that were sent before the last fall do not make it fall again: they tell of the time before it.
//! - A queued call is asked again when its turn comes. Neither the task nor the circuit is charged, up to [`MAX_REPEATS`]
//!   times; when the model has answered nobody meanwhile, [`MAX_UNANSWERED`] times, because then it probably hangs.
//! - A call that had the model to itself, and one that was **overtaken**, failed on its own. Servers answer in order, so the
//!   answer to a call that was sent a good while later shows that this one was not in a queue.
//! - While the limit is reached, answers in less than half of the time limit let it grow, by one for each round of so many
//!   answers. A server that answers one call at a time needs at most twice as long with one call more, which is within the
//!   time limit: so the limit comes to rest where calls are not queued too long, and does not swing. After
//!   [`ANSWERS_TO_PROBE`] answers without a failure it grows by one in any case.
//! - The limit is lifted when it has grown to the number of calls with which it fell.
//!
//! Calls that wait for a place are served in order. Their waiting counts against no time limit but that of the run.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::telemetry::metrics;

/// How often one call is asked again that was queued.
const MAX_REPEATS: u32 = 5;
/// The same when the model has answered no call meanwhile.
const MAX_UNANSWERED: u32 = 1;
/// Answers in a row, at the limit, after which the limit grows however slow they were. The try may cost a call its time
/// limit, which is little beside so many answers.
const ANSWERS_TO_PROBE: u32 = 100;
/// A call is overtaken by one that was sent this part of the time limit later: connections made at the same time need not
/// arrive in order.
const LATER: u32 = 4;

/// The limit of calls in flight of one model.
pub(super) struct InFlightLimit {
    model: Arc<str>,
    state: Mutex<LimitState>,
    /// First come, first served: who holds it is next.
    turn: tokio::sync::Mutex<()>,
    /// A place may have become free.
    freed: Notify,
}

#[derive(Debug, Default)]
struct LimitState {
    /// `None` for no limit.
    limit: Option<u32>,
    /// The most calls with which the limit has fallen since there was none.
    fell_with: u32,
    in_flight: u32,
    waiting: u32,
    /// How often calls were sent, were answered, and made the limit fall.
    sent: u64,
    answered: u64,
    falls: u64,
    /// When the call was sent that was sent last of those that were answered.
    answered_latest: Option<Instant>,
    /// Answers at the limit since it changed, and those of them in a row that came in good time.
    at_limit: u32,
    quick: u32,
}

/// A place for one call. Dropping it frees it.
pub(super) struct Place<'a> {
    limit: &'a InFlightLimit,
    sent_at: Instant,
    /// The state when the call was sent.
    in_flight: u32,
    sent: u64,
    answered: u64,
    falls: u64,
}

/// What the time limit of a call tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Expiry {
    /// Whether the call was queued behind others, so that the time limit says nothing about it.
    pub(super) was_queued: bool,
    /// Whether the model has answered any other call meanwhile.
    pub(super) others_answered: bool,
    /// Whether the model has answered a call meanwhile that was sent after this one.
    pub(super) was_overtaken: bool,
}

/// The repeats of one call.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Repeats {
    all: u32,
    unanswered: u32,
}

impl Repeats {
    /// Whether a call is asked again that ended like `expiry`; counts the repeat.
    pub(super) const fn allow(&mut self, expiry: Expiry) -> bool {
        if !expiry.was_queued || self.all >= MAX_REPEATS {
            return false;
        }
        if !expiry.others_answered {
            if self.unanswered >= MAX_UNANSWERED {
                return false;
            }
            self.unanswered += 1;
        }
        self.all += 1;
        true
    }
}

impl InFlightLimit {
    pub(super) fn new(model: &str) -> Self {
        metrics::MODEL_IN_FLIGHT_LIMIT.set(0_u32, [model]);
        metrics::MODEL_CALLS_WAITING.set(0_u32, [model]);
        Self { model: model.into(), state: Mutex::default(), turn: tokio::sync::Mutex::new(()), freed: Notify::new() }
    }

    /// Waits for a place. Dropping the future leaves the queue.
    pub(super) async fn enter(&self) -> Place<'_> {
        if let Some(place) = self.free_place(false) {
            return place;
        }
        let _waiting = Waiting::begin(self);
        let _turn = self.turn.lock().await;
        loop {
            if let Some(place) = self.free_place(true) {
                return place;
            }
            self.freed.notified().await;
        }
    }

    /// A place, if one is free for a caller that is or is not first in the queue.
    fn free_place(&self, is_first: bool) -> Option<Place<'_>> {
        let mut state = self.state();
        let is_free = state.limit.is_none_or(|limit| state.in_flight < limit);
        if !is_free || (state.waiting > 0 && !is_first) {
            return None;
        }
        state.in_flight += 1;
        state.sent += 1;
        let LimitState { in_flight, sent, answered, falls, .. } = *state;
        Some(Place { limit: self, sent_at: Instant::now(), in_flight, sent, answered, falls })
    }

    fn state(&self) -> MutexGuard<'_, LimitState> {
        // Counts stay usable when a thread panicked between two of them.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the limit, tells of it, and lets the next call go.
    fn change(&self, mut state: MutexGuard<'_, LimitState>, limit: Option<u32>) {
        let before = state.limit;
        (state.limit, state.at_limit, state.quick) = (limit, 0, 0);
        if limit.is_none() {
            state.fell_with = 0;
        }
        let in_flight = state.in_flight;
        drop(state);
        if before == limit {
            return;
        }
        let model = &*self.model;
        metrics::MODEL_IN_FLIGHT_LIMIT.set(limit.unwrap_or(0), [model]);
        match limit {
            None => tracing::info!(
                model,
                "the model answers in time however many calls it is given: there is no limit on them now"
            ),
            Some(limit) if before.is_some_and(|before| before < limit) => {
                tracing::info!(model, limit, "the model answers in good time: it is given one more call at once");
            }
            Some(limit) => tracing::info!(
                model,
                limit,
                in_flight,
                "calls of the model waited for each other up to their time limit: it is given fewer at once"
            ),
        }
        self.freed.notify_one();
    }
}

impl Place<'_> {
    /// When the call was sent.
    pub(super) const fn sent_at(&self) -> Instant {
        self.sent_at
    }

    /// Records an answer, of which the first piece came after `first`. The time limit of calls is `time_limit`.
    pub(super) fn answered(&self, first: Duration, time_limit: Duration) {
        let mut state = self.limit.state();
        state.answered += 1;
        state.answered_latest = state.answered_latest.max(Some(self.sent_at));
        let Some(limit) = state.limit.filter(|limit| state.in_flight >= *limit) else { return };
        // A call alone has nothing to wait for, but the next one may have to wait for the whole of it.
        let took = if limit == 1 { self.sent_at.elapsed() } else { first };
        state.at_limit += 1;
        state.quick = if took < time_limit / 2 { state.quick + 1 } else { 0 };
        if state.quick >= limit || state.at_limit >= ANSWERS_TO_PROBE.max(limit) {
            let next = Some(limit + 1).filter(|next| *next < state.fell_with);
            self.limit.change(state, next);
        }
    }

    /// Judges a call that has reached its time limit, and lowers the limit if the call was queued.
    pub(super) fn expired(&self, time_limit: Duration) -> Expiry {
        let state = self.limit.state();
        let answered = u32::try_from(state.answered - self.answered).unwrap_or(u32::MAX);
        let later = state.answered_latest.and_then(|latest| latest.checked_duration_since(self.sent_at));
        let later = later.filter(|later| !later.is_zero());
        let had_company = self.in_flight > 1 || state.sent > self.sent;
        let is_passed_over = later.is_some_and(|later| later >= time_limit / LATER);
        let expiry = Expiry {
            was_queued: had_company && !is_passed_over,
            others_answered: answered > 0,
            was_overtaken: later.is_some(),
        };
        if expiry.was_queued && state.falls == self.falls {
            let in_flight = state.in_flight.max(self.in_flight);
            let half = in_flight / 2;
            let next = if answered == 0 { half } else { half.min(answered) }.max(1);
            let mut state = state;
            state.falls += 1;
            state.fell_with = state.fell_with.max(in_flight);
            let next = state.limit.map_or(next, |limit| limit.min(next));
            self.limit.change(state, Some(next));
        }
        expiry
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.limit.state().in_flight -= 1;
        self.limit.freed.notify_one();
    }
}

/// Counts a call that waits for a place until it is dropped.
struct Waiting<'a>(&'a InFlightLimit);

impl<'a> Waiting<'a> {
    fn begin(limit: &'a InFlightLimit) -> Self {
        let mut state = limit.state();
        state.waiting += 1;
        metrics::MODEL_CALLS_WAITING.set(state.waiting, [&limit.model]);
        drop(state);
        Self(limit)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.waiting -= 1;
        metrics::MODEL_CALLS_WAITING.set(state.waiting, [&self.0.model]);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    const TIME_LIMIT: Duration = Duration::from_secs(10);

    fn limit() -> InFlightLimit {
        InFlightLimit::new("m")
    }

    fn in_force(limit: &InFlightLimit) -> Option<u32> {
        limit.state().limit
    }

    fn enter(limit: &InFlightLimit) -> Place<'_> {
        limit.enter().now_or_never().expect("a free place")
    }

    fn many(limit: &InFlightLimit, count: usize) -> Vec<Place<'_>> {
        (0..count).map(|_| enter(limit)).collect()
    }

    async fn pass(part: f64) {
        tokio::time::advance(TIME_LIMIT.mul_f64(part)).await;
    }

    /// Answers `count` calls, one after another, each after `part` of the time limit.
    async fn answer(limit: &InFlightLimit, count: usize, part: f64) {
        for _ in 0..count {
            let place = enter(limit);
            pass(part).await;
            place.answered(TIME_LIMIT.mul_f64(part), TIME_LIMIT);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_alone_fails_on_its_own_and_changes_nothing() {
        let limit = limit();
        let place = enter(&limit);
        pass(1.0).await;
        let expiry = place.expired(TIME_LIMIT);
        assert_eq!(expiry, Expiry { was_queued: false, others_answered: false, was_overtaken: false });
        assert_eq!(in_force(&limit), None);
    }

    #[tokio::test(start_paused = true)]
    async fn the_limit_falls_once_for_all_calls_that_were_in_flight_and_at_most_to_what_was_answered() {
        for (answered, falls_to) in [(0, 4), (1, 1), (2, 2), (3, 3)] {
            let limit = limit();
            let mut places = many(&limit, 8 + answered);
            pass(0.9).await;
            for place in places.drain(..answered) {
                place.answered(Duration::ZERO, TIME_LIMIT);
            }
            pass(0.1).await;
            for place in places.drain(..) {
                let expiry = place.expired(TIME_LIMIT);
                assert_eq!((expiry.was_queued, expiry.others_answered), (true, answered > 0));
            }
            assert_eq!(in_force(&limit), Some(falls_to), "{answered} answered");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_was_overtaken_failed_on_its_own() {
        for (later, was_queued) in [(0.01, true), (0.3, false)] {
            let limit = limit();
            let hanging = enter(&limit);
            pass(later).await;
            answer(&limit, 1, 0.1).await;
            pass(1.0).await;
            let expiry = hanging.expired(TIME_LIMIT);
            assert_eq!(expiry, Expiry { was_queued, others_answered: true, was_overtaken: true });
            assert_eq!(in_force(&limit), was_queued.then_some(1));
        }
    }

    /// Makes the limit fall to one call while seven are in flight.
    async fn limit_to_one(limit: &InFlightLimit) {
        let mut places = many(limit, 8);
        places.remove(0).answered(Duration::ZERO, TIME_LIMIT);
        pass(1.0).await;
        places[0].expired(TIME_LIMIT);
        assert_eq!(in_force(limit), Some(1));
    }

    #[tokio::test(start_paused = true)]
    async fn it_grows_by_one_each_round_of_answers_in_good_time_until_it_is_lifted() {
        let limit = limit();
        limit_to_one(&limit).await;
        for next in 2..7 {
            let places = many(&limit, next - 1);
            for place in places {
                assert_eq!(in_force(&limit), u32::try_from(next - 1).ok());
                place.answered(Duration::from_secs(1), TIME_LIMIT);
                // The place is taken again at once.
                std::mem::forget(place);
            }
            limit.state().in_flight = 0;
            assert_eq!(in_force(&limit), u32::try_from(next).ok());
        }
        let places = many(&limit, 6);
        for place in &places {
            place.answered(Duration::from_secs(1), TIME_LIMIT);
        }
        assert_eq!(in_force(&limit), None);
        assert_eq!(many(&limit, 100).len(), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn it_stays_where_answers_take_more_than_half_of_the_time_limit_and_is_tried_rarely() {
        let limit = limit();
        limit_to_one(&limit).await;
        answer(&limit, 99, 0.6).await;
        assert_eq!(in_force(&limit), Some(1));
        answer(&limit, 1, 0.6).await;
        assert_eq!(in_force(&limit), Some(2));
        answer(&limit, 99, 0.1).await;
        assert_eq!(in_force(&limit), Some(2), "a limit that is not reached tells nothing");
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_is_served_in_order_and_who_gives_up_is_passed_over() {
        let limit = limit();
        limit_to_one(&limit).await;
        let only = enter(&limit);
        let (mut first, mut second, mut third) =
            (Box::pin(limit.enter()), Box::pin(limit.enter()), Box::pin(limit.enter()));
        assert!(first.as_mut().now_or_never().is_none());
        assert!(second.as_mut().now_or_never().is_none());
        assert!(third.as_mut().now_or_never().is_none());
        assert_eq!(limit.state().waiting, 3);
        drop(only);
        assert!(limit.enter().now_or_never().is_none(), "who comes later does not push in");
        assert!(second.as_mut().now_or_never().is_none());
        let place = first.as_mut().now_or_never().expect("the first");
        drop((first, second));
        assert!(third.as_mut().now_or_never().is_none());
        drop(place);
        drop(third.as_mut().now_or_never().expect("the third"));
        drop(third);
        let state = limit.state();
        assert_eq!((state.waiting, state.in_flight), (0, 0));
    }

    #[test]
    fn repeats_are_bounded_and_fewer_while_nobody_is_answered() {
        let expiry = |was_queued, others_answered| Expiry { was_queued, others_answered, was_overtaken: false };
        let allowed = |expiry| {
            let mut repeats = Repeats::default();
            std::iter::repeat_with(|| repeats.allow(expiry)).take_while(|allowed| *allowed).count()
        };
        assert_eq!(allowed(expiry(false, true)), 0);
        assert_eq!(allowed(expiry(true, false)), 1);
        assert_eq!(allowed(expiry(true, true)), 5);
    }
}
