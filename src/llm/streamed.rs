//! Reads an answer that comes in pieces, within its limits of time and size.
//!
//! - The first piece of the answer comes within `model.timeout_ms` of the call. Once the answer has begun it has no limit of
//!   its own: only silence ends it, and the time limit of the run.
//! - A connection that is silent for [`Settings::read_timeout_ms`](super::Settings) in the middle of an answer, or of a line, is
//!   lost.
//! - Comments and pieces that say nothing are signs of life: a proxy or a model that thinks sends them. As long as they come,
//!   the next piece may take [`LIVELY`] times as long.
//! - Bytes that never end do not keep a limit from holding, and are read by permits that other answers get as well.
//! - What breaks off before the model said why it ended is no answer.

use std::time::Duration;

use bytes::Bytes;
use reqwest::Response;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout, timeout_at};

use super::errors::CallError;
use super::events::{Event, EventReader};
use super::memory_budget::{MemoryBudget, MemoryReservation};
use super::pieces::{Piece, Pieces};
use super::refusal::Refusal;
use crate::telemetry::large::beside_other_work;

/// How many time limits of a call may pass between two pieces of an answer while there are signs of life.
const LIVELY: u32 = 5;
/// Longest wait for the usage and the end of a stream whose answer is complete.
const END_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest wait for the end of the response behind the end of the stream, so that its connection can be used again.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(50);
/// Most bytes of a stream. Each piece of a few letters takes some 300, so that this is far more than the answer in it, which has
/// a limit of its own.
const MAX_STREAM_BYTES: usize = 64 * 1024 * 1024;
/// Bytes of a stream that are read with one permit.
const SLICE_BYTES: usize = 64 * 1024;
/// Field of an answer that came in pieces: after how many milliseconds the first one came.
const FIRST_PIECE: &str = "qron_first_piece_ms";

/// Limits of an answer that comes in pieces.
#[derive(Clone, Copy, Debug)]
pub(super) struct StreamLimits {
    /// Longest time to the first piece.
    pub(super) first: Duration,
    /// Longest silence in the middle.
    pub(super) silence: Duration,
    /// Largest answer, in bytes.
    pub(super) max_bytes: usize,
}

/// After which time the first piece of `body` came; `None` for an answer that came whole.
pub(super) fn first_piece(body: &Value) -> Option<Duration> {
    body.get(FIRST_PIECE).and_then(Value::as_u64).map(Duration::from_millis)
}

/// The answer in `response`, which was requested at `began`, in the form of one that came whole. `head` is what was read of it,
/// `memory` is what it has reserved of `budget`.
///
/// # Errors
/// When the answer has an error inside, is too large, exceeds the budget, breaks off, or is silent for too long.
pub(super) async fn read(
    response: &mut Response,
    head: Vec<u8>,
    began: Instant,
    limits: StreamLimits,
    key: &str,
    budget: &MemoryBudget,
    memory: &mut MemoryReservation,
) -> Result<Value, CallError> {
    let mut reader = EventReader::new(limits.max_bytes);
    let mut pieces = Pieces::new(limits.max_bytes);
    let mut clock = StreamClock { limits, sign: began, piece: began, first: None, finished: None };
    let (mut unread, mut read) = (Bytes::from(head), 0_usize);
    let mut events = Vec::new();
    loop {
        let slice = unread.split_to(unread.len().min(SLICE_BYTES));
        read += slice.len();
        if read > MAX_STREAM_BYTES {
            return Err(CallError::TooLarge(MAX_STREAM_BYTES));
        }
        reader.push(&slice, &mut events).map_err(|_| CallError::TooLarge(limits.max_bytes))?;
        let mut is_end = false;
        if !events.is_empty() {
            let _permit = budget.read_permit(events.iter().map(Event::bytes).max().unwrap_or(0)).await;
            for event in events.drain(..) {
                is_end = take(event, &mut pieces, &mut clock, key)?;
                if is_end {
                    break;
                }
            }
        }
        if is_end {
            drop(timeout(DRAIN_TIMEOUT, response.chunk()).await);
            return Ok(whole(pieces, &clock, began));
        }
        memory.resize(reader.held_bytes() + pieces.memory())?;
        let (until, error) = clock.limit(reader.is_within_line());
        let is_whole = pieces.is_finished();
        if Instant::now() >= until {
            return if is_whole { Ok(whole(pieces, &clock, began)) } else { Err(error) };
        }
        if !unread.is_empty() {
            tokio::task::yield_now().await;
            continue;
        }
        unread = match timeout_at(until, response.chunk()).await {
            Ok(Ok(Some(chunk))) => chunk,
            _ if is_whole => return Ok(whole(pieces, &clock, began)),
            Err(_) => return Err(error),
            Ok(Err(error)) => return Err(CallError::from_reqwest(&error)),
            Ok(Ok(None)) => {
                // The last line of a stream that broke off may be half of one.
                let mut is_end = false;
                for event in reader.end() {
                    match take(event, &mut pieces, &mut clock, key) {
                        Err(error @ CallError::Refused(_)) => return Err(error),
                        taken => is_end |= taken.unwrap_or(false),
                    }
                }
                let broken = || CallError::Broken("the answer came in pieces and its end is missing".to_owned());
                return if is_end || pieces.is_finished() { Ok(whole(pieces, &clock, began)) } else { Err(broken()) };
            }
        };
    }
}

/// Takes the next event; returns whether it is the end.
fn take(event: Event, pieces: &mut Pieces, clock: &mut StreamClock, key: &str) -> Result<bool, CallError> {
    let piece = beside_other_work(event.bytes(), || pieces.take(event))?;
    clock.note(&piece, pieces.is_finished());
    match piece {
        Piece::Done => Ok(true),
        Piece::Error(text) => Err(CallError::Refused(Refusal::within_answer(text.as_bytes(), key))),
        Piece::Said | Piece::Sign => Ok(false),
    }
}

fn whole(pieces: Pieces, clock: &StreamClock, began: Instant) -> Value {
    let mut answer = pieces.whole();
    let first = clock.first.unwrap_or(clock.sign).saturating_duration_since(began);
    answer[FIRST_PIECE] = json!(u64::try_from(first.as_millis()).unwrap_or(u64::MAX));
    answer
}

/// The times that decide how long to wait.
struct StreamClock {
    limits: StreamLimits,
    /// When there was a sign of life last.
    sign: Instant,
    /// When the last piece came; until then when the call began.
    piece: Instant,
    first: Option<Instant>,
    /// When the model said why it ended.
    finished: Option<Instant>,
}

impl StreamClock {
    fn note(&mut self, piece: &Piece, is_finished: bool) {
        let now = Instant::now();
        self.sign = now;
        if *piece == Piece::Said {
            self.piece = now;
            self.first.get_or_insert(now);
        }
        if is_finished {
            self.finished.get_or_insert(now);
        }
    }

    /// Until when to wait for the next bytes, and the error when none come.
    fn limit(&self, is_within_line: bool) -> (Instant, CallError) {
        let StreamLimits { first, silence, .. } = self.limits;
        let lively = first.saturating_mul(LIVELY);
        let is_begun = self.first.is_some();
        let until_sign =
            if is_begun { CallError::Silent(first.as_millis()) } else { CallError::TimedOut(first.as_millis()) };
        let mut limits =
            vec![(self.sign + first, until_sign), (self.piece + lively, CallError::Stalled(lively.as_millis()))];
        if is_begun || is_within_line {
            limits.push((Instant::now() + silence, CallError::Silent(silence.as_millis())));
        }
        if let Some(finished) = self.finished {
            limits.push((finished + END_TIMEOUT, CallError::Silent(END_TIMEOUT.as_millis())));
        }
        let soonest = limits.into_iter().min_by_key(|(until, _)| *until);
        soonest.unwrap_or((self.sign + first, CallError::TimedOut(first.as_millis())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_wait_has_its_limit() {
        let limits = StreamLimits { first: Duration::from_mins(2), silence: Duration::from_mins(1), max_bytes: 1 };
        let began = Instant::now();
        let mut clock = StreamClock { limits, sign: began, piece: began, first: None, finished: None };
        let wait = |clock: &StreamClock, is_within_line| {
            let (until, error) = clock.limit(is_within_line);
            (until.duration_since(Instant::now()).as_secs(), error)
        };
        assert_eq!(wait(&clock, false), (120, CallError::TimedOut(120_000)));
        assert_eq!(wait(&clock, true), (60, CallError::Silent(60_000)));
        tokio::time::advance(Duration::from_secs(100)).await;
        assert_eq!(wait(&clock, false), (20, CallError::TimedOut(120_000)));
        clock.note(&Piece::Sign, false);
        assert_eq!(wait(&clock, false), (120, CallError::TimedOut(120_000)), "a sign of life");
        tokio::time::advance(Duration::from_secs(400)).await;
        clock.note(&Piece::Sign, false);
        assert_eq!(wait(&clock, false), (100, CallError::Stalled(600_000)), "nothing but signs of life");
        clock.note(&Piece::Said, false);
        assert_eq!(wait(&clock, false), (60, CallError::Silent(60_000)));
        tokio::time::advance(Duration::from_mins(150)).await;
        clock.note(&Piece::Said, false);
        assert_eq!(wait(&clock, false), (60, CallError::Silent(60_000)), "a long answer");
        clock.note(&Piece::Said, true);
        assert_eq!(wait(&clock, false), (2, CallError::Silent(2_000)), "only the end is missing");
    }
}
