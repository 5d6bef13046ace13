//! Firings that have come: which are wanted, and what is told of those that were missed.

use super::{FiringCause, MAX_COUNTED, MAX_FIRINGS, MAX_RECORDED, SkipSummary};
use crate::domain::schedule::timing::Timing;
use crate::domain::schedule::{CatchUp, Definition};
use crate::domain::time::Timestamp;

/// The firings of a schedule that have come, sorted. Missed ones come before wanted ones, whatever the policy.
pub(super) struct DueFirings {
    /// Those that may start, oldest first.
    pub(super) wanted: Vec<(Timestamp, FiringCause)>,
    /// Those that were missed and are recorded one by one.
    pub(super) recorded: Vec<Timestamp>,
    /// What is recorded about all before those.
    pub(super) summary: Option<SkipSummary>,
    /// The latest of all.
    pub(super) last: Timestamp,
}

impl DueFirings {
    /// Sorts the firings after `cursor` and up to `now`, as the catch-up policy of `definition` wants it; those more
    /// than `missed_after_ms` late were missed. `None` when there are none.
    pub(super) fn sorted(
        definition: &Definition,
        timing: &Timing,
        cursor: Timestamp,
        now: Timestamp,
        missed_after_ms: u64,
    ) -> Option<Self> {
        let (firings, older) = timing.latest(cursor, now, MAX_FIRINGS);
        let last = firings.last().copied()?;
        let (mut wanted, mut recorded) = (Vec::new(), Vec::new());
        for at in firings {
            if now.millis_since(at) <= missed_after_ms {
                wanted.push((at, FiringCause::OnTime));
            } else if is_made_up_for(definition, at, last, now) {
                wanted.push((at, FiringCause::CaughtUp));
            } else {
                recorded.push(at);
            }
        }
        let left_out = recorded.len().saturating_sub(MAX_RECORDED);
        recorded.drain(..left_out);
        let first_kept = recorded.first().or(wanted.first().map(|(at, _)| at)).copied().unwrap_or(last);
        let summary = (older || left_out > 0).then(|| summary(timing, cursor, first_kept));
        Some(Self { wanted, recorded, summary, last })
    }
}

/// Whether a missed firing is made up for; `last` is the latest that has come.
fn is_made_up_for(definition: &Definition, at: Timestamp, last: Timestamp, now: Timestamp) -> bool {
    let is_within = definition.window_ms().is_none_or(|window| now.millis_since(at) <= window);
    match definition.catch_up {
        CatchUp::None => false,
        CatchUp::Latest => at == last && is_within,
        CatchUp::All => is_within,
    }
}

fn summary(timing: &Timing, from: Timestamp, until: Timestamp) -> SkipSummary {
    let count = timing.count(from, until, MAX_COUNTED + 1);
    SkipSummary { from, until, count: count.min(MAX_COUNTED), more: count > MAX_COUNTED }
}
