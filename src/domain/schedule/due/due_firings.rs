//! Firings whose time has come, sorted by the catch-up policy.

use super::{FiringCause, MAX_COUNTED, MAX_FIRINGS, MAX_RECORDED, SkipSummary};
use crate::domain::schedule::timing::Timing;
use crate::domain::schedule::{CatchUp, Definition};
use crate::domain::time::Timestamp;

/// The due firings of a schedule. Missed ones come before wanted ones, whatever the policy.
pub(super) struct DueFirings {
    /// Firings that may start, oldest first.
    pub(super) wanted: Vec<(Timestamp, FiringCause)>,
    /// Missed firings that are recorded one by one.
    pub(super) recorded: Vec<Timestamp>,
    /// Summary of the missed firings before those.
    pub(super) summary: Option<SkipSummary>,
    /// The latest due firing.
    pub(super) last: Timestamp,
}

impl DueFirings {
    /// Sorts the firings after `cursor` and up to `now` by the catch-up policy of `definition`; a firing that is more
    /// than `missed_after_ms` late was missed. `None` when no firing is due.
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

/// Whether a missed firing is caught up with; `last` is the latest due firing.
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
