//! When a schedule fires.
//!
//! A cron expression names times on the wall clock of its zone. A time that the zone leaves out, because the clock is
//! set forward over it, fires at the first instant after the gap; a time that comes twice, because the clock is set
//! back over it, fires the first time. An expression that fires in each of the 24 hours means "this often" instead of
//! "at this time of day": it makes up for nothing after a gap, and continues through the repeated hour.

use serde::{Deserialize, Serialize};

use super::cron::{CronExpression, InvalidCron};
use super::zone::{Instants, Zone};
use crate::domain::time::Timestamp;

/// Shortest interval, in milliseconds.
pub const MIN_EVERY_MS: u64 = 1_000;
/// Width of the first window that is searched backwards for the latest firings, in milliseconds; each next window is
/// wider by [`WIDEN`].
const FIRST_WINDOW_MS: i64 = 60_000;
const WIDEN: i64 = 8;
/// A wider window with more than this many times the wanted firings is not used.
const WIDEN_FIRINGS: usize = 8;
/// Most firings in the first window: one a second.
const MAX_IN_FIRST_WINDOW: usize = 60;
/// Most windows of the search for the latest firings. Each covers a gap between firings, and an expression has few
/// kinds of gaps.
const MAX_WINDOWS: usize = 64;

/// How a schedule recurs, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recurrence {
    /// A cron expression.
    Cron(String),
    /// An interval in milliseconds, counted from the start of the schedule, else from its creation.
    EveryMs(u64),
    /// Once.
    At(Timestamp),
}

/// Why the timing of a schedule is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTiming {
    /// The expression.
    #[error(transparent)]
    Cron(#[from] InvalidCron),
    /// Too short.
    #[error("an interval of {0} ms is too short: use 1s or more")]
    Interval(u64),
    /// Start and end.
    #[error("the end {end} is not after the start {start}: use a later end")]
    Ends {
        /// The start.
        start: Timestamp,
        /// The end.
        end: Timestamp,
    },
}

#[derive(Clone, Debug)]
enum Source {
    Cron(Box<CronExpression>, Zone),
    Every { ms: i64, anchor: Timestamp },
    At(Timestamp),
}

/// The firings of a schedule, ready to be computed.
#[derive(Clone, Debug)]
pub struct Timing {
    source: Source,
    start: Option<Timestamp>,
    end: Option<Timestamp>,
}

impl Timing {
    /// The firings of `spec` in `zone` from `start` to `end`, both included; intervals count from `start`, else from
    /// `created_at`.
    ///
    /// # Errors
    /// [`InvalidTiming`].
    pub fn new(
        spec: &Recurrence,
        zone: Zone,
        (start, end): (Option<Timestamp>, Option<Timestamp>),
        created_at: Timestamp,
    ) -> Result<Self, InvalidTiming> {
        if let (Some(start), Some(end)) = (start, end)
            && end <= start
        {
            return Err(InvalidTiming::Ends { start, end });
        }
        let source = match spec {
            Recurrence::Cron(text) => Source::Cron(Box::new(CronExpression::parse(text)?), zone),
            Recurrence::EveryMs(ms) => match i64::try_from(*ms) {
                Ok(every) if *ms >= MIN_EVERY_MS => Source::Every { ms: every, anchor: start.unwrap_or(created_at) },
                _ => return Err(InvalidTiming::Interval(*ms)),
            },
            Recurrence::At(at) => Source::At(*at),
        };
        Ok(Self { source, start, end })
    }

    /// The first firing after `after`; `None` when there is none any more.
    #[must_use]
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let after = self.start.map_or(after, |start| after.max(start.plus_millis(-1)));
        let next = match &self.source {
            Source::Cron(cron, zone) if cron.is_hourly() => next_hourly(cron, *zone, after),
            Source::Cron(cron, zone) => next_daily(cron, *zone, after),
            Source::Every { ms, anchor } => next_interval(*ms, *anchor, after),
            Source::At(at) => (*at > after).then_some(*at),
        }?;
        (self.end.is_none_or(|end| next <= end)).then_some(next)
    }

    /// The firings after `after`, one by one.
    pub fn upcoming(&self, after: Timestamp) -> impl Iterator<Item = Timestamp> + '_ {
        std::iter::successors(self.next(after), |last| self.next(*last))
    }

    /// The latest firings in `(after, until]`, at most `most`, oldest first, and whether there are older ones in it.
    ///
    /// Few more than `most` firings are computed, wherever they lie: backwards from the latest one, in windows that
    /// widen while they hold too few, and again from the next earlier firing when a wider window would hold far too
    /// many.
    #[must_use]
    pub fn latest(&self, after: Timestamp, until: Timestamp, most: usize) -> (Vec<Timestamp>, bool) {
        let mut found: Vec<Timestamp> = Vec::new();
        let mut end = until;
        for _ in 0..MAX_WINDOWS {
            let Some(last) = self.last_within(after, end) else { break };
            let (from, mut firings) = self.window(after, last, most.saturating_sub(found.len()));
            firings.append(&mut found);
            found = firings;
            end = from;
            if found.len() >= most || end <= after {
                break;
            }
        }
        let older = found.len() > most || self.next(after).is_some_and(|first| Some(&first) < found.first());
        found.drain(..found.len().saturating_sub(most));
        (found, older)
    }

    /// Firings that end with the one at `last`: all in `(from, last]`, at least `most` when a window with an
    /// acceptable number holds that many.
    fn window(&self, after: Timestamp, last: Timestamp, most: usize) -> (Timestamp, Vec<Timestamp>) {
        let bearable = most.saturating_mul(WIDEN_FIRINGS).max(MAX_IN_FIRST_WINDOW);
        let mut window = (last.plus_millis(-1).max(after), vec![last]);
        let mut width = FIRST_WINDOW_MS;
        while window.1.len() < most && window.0 > after {
            let from = after.max(last.plus_millis(-width));
            let firings: Vec<Timestamp> = self.upcoming(from).take_while(|at| *at <= last).take(bearable + 1).collect();
            if firings.len() > bearable {
                break;
            }
            window = (from, firings);
            width = width.saturating_mul(WIDEN);
        }
        window
    }

    /// The last firing in `(after, until]`, found by halving: firings are only computed forwards.
    fn last_within(&self, after: Timestamp, until: Timestamp) -> Option<Timestamp> {
        let next_within = |from: Timestamp| self.next(from).filter(|next| *next <= until);
        // There is none after `to`.
        let mut to = until;
        let mut width = FIRST_WINDOW_MS;
        let mut found = loop {
            let from = after.max(until.plus_millis(-width));
            if let Some(found) = next_within(from) {
                break found;
            }
            if from == after {
                return None;
            }
            to = from;
            width = width.saturating_mul(WIDEN);
        };
        loop {
            let Some(later) = next_within(found) else { return Some(found) };
            let middle = Timestamp::from_millis(found.as_millis() + (to.as_millis() - found.as_millis()) / 2);
            found = later;
            match next_within(middle.max(later)) {
                Some(next) => found = next,
                None => to = middle.max(later),
            }
        }
    }

    /// The last firing before `at`; `None` when there is none.
    #[must_use]
    pub fn previous(&self, at: Timestamp) -> Option<Timestamp> {
        self.last_within(Timestamp::default(), at.plus_millis(-1))
    }

    /// How many firings there are in `(after, until)`, counted as far as `most`.
    #[must_use]
    pub fn count(&self, after: Timestamp, until: Timestamp, most: usize) -> usize {
        self.upcoming(after).take_while(|at| *at < until).take(most).count()
    }
}

const fn seconds(at: Timestamp) -> i64 {
    at.as_millis().div_euclid(1000)
}

const fn instant(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds.saturating_mul(1000))
}

fn next_interval(ms: i64, anchor: Timestamp, after: Timestamp) -> Option<Timestamp> {
    let passed = after.as_millis().checked_sub(anchor.as_millis())?;
    let index = passed.div_euclid(ms).checked_add(1)?.max(0);
    anchor.as_millis().checked_add(index.checked_mul(ms)?).map(Timestamp::from_millis)
}

/// Next firing of an expression for times of day: a time in a gap is made up for, a repeated time fires once.
fn next_daily(cron: &CronExpression, zone: Zone, after: Timestamp) -> Option<Timestamp> {
    // Wall-clock times before this one stand for no later instant.
    let mut wall = zone.wall(seconds(after));
    loop {
        wall = cron.next_wall(wall)?;
        let (Instants::One(utc) | Instants::Two(utc, _) | Instants::Gap(utc)) = zone.instants(wall);
        if instant(utc) > after {
            return Some(instant(utc));
        }
        wall += 1;
    }
}

/// Next firing of an expression for every hour: a time in a gap is left out, a repeated time fires twice.
fn next_hourly(cron: &CronExpression, zone: Zone, after: Timestamp) -> Option<Timestamp> {
    let utc = seconds(after);
    let here = zone.wall(utc);
    let Instants::Two(first, second) = zone.instants(here) else { return first_shown(cron, zone, here, after) };
    if utc != first {
        return first_shown(cron, zone, here, after);
    }
    // In the first pass of a repeated hour: the rest of this pass, then the hour from its beginning.
    let turn = zone.set_back(first, second);
    let end_of_pass = zone.wall(turn - 1);
    let mut wall = here;
    while let Some(matching) = cron.next_wall(wall).filter(|matching| *matching <= end_of_pass) {
        let found = instant(matching - here + utc);
        if found > after {
            return Some(found);
        }
        wall = matching + 1;
    }
    first_shown(cron, zone, zone.wall(turn), instant(turn - 1))
}

/// The first instant after `after` whose wall-clock time matches, searched from the wall-clock time `wall` on, which
/// occurs at most once from `after` on.
fn first_shown(cron: &CronExpression, zone: Zone, mut wall: i64, after: Timestamp) -> Option<Timestamp> {
    loop {
        wall = cron.next_wall(wall)?;
        let candidates = match zone.instants(wall) {
            Instants::One(utc) => [Some(utc), None],
            Instants::Two(first, second) => [Some(first), Some(second)],
            Instants::Gap(_) => [None, None],
        };
        if let Some(found) = candidates.into_iter().flatten().map(instant).find(|found| *found > after) {
            return Some(found);
        }
        wall += 1;
    }
}

#[cfg(test)]
mod tests;
