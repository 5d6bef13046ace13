//! When each part of a shutdown ends at the latest.

use std::time::Duration;

/// The time before the end in which tasks are handed back and everything stops.
const RESERVE: Duration = Duration::from_secs(4);
/// Time to hand running tasks back; also when that begins before its time, because a second signal came.
pub(super) const HAND_BACK: Duration = Duration::from_secs(2);
/// Time to write the rest of the history, and to remove the record of this replica.
const SIGN_OFF: Duration = Duration::from_millis(500);
/// Time for the open connections of the API.
const API: Duration = Duration::from_millis(500);
/// Time for the embedded store to write everything down. What it does not write is in its journal.
const FLUSH: Duration = Duration::from_millis(500);

/// When each part of a shutdown ends at the latest, counted from the signal. A part that ends early leaves its time to the next ones,
/// and none takes time of the next ones, so that the process ends in time whatever happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShutdownTimes {
    /// Running tasks are handed back from here on.
    pub hand_back: Duration,
    /// Tasks that are not handed back by now are left to their rescue.
    pub abandon: Duration,
    /// This replica has signed off.
    pub signed_off: Duration,
    /// The connections of the API are closed.
    pub api_closed: Duration,
    /// The embedded store has written everything down; the rest of the time is for the process to end.
    pub flushed: Duration,
}

impl ShutdownTimes {
    /// The times of a grace period. Tasks get all of it but [`RESERVE`], or half of it where that is more.
    #[must_use]
    pub fn new(grace: Duration) -> Self {
        let hand_back = grace.saturating_sub(RESERVE).max(grace / 2);
        let abandon = hand_back + HAND_BACK;
        let signed_off = abandon + SIGN_OFF;
        let api_closed = signed_off + API;
        Self { hand_back, abandon, signed_off, api_closed, flushed: api_closed + FLUSH }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shutdown_ends_within_the_grace_period_or_four_seconds_after_half_of_a_short_one() {
        // What the process needs to end behind the last part.
        let exit = Duration::from_millis(500);
        for half_seconds in 0..=1_200_u32 {
            let grace = Duration::from_millis(500) * half_seconds;
            let times = ShutdownTimes::new(grace);
            let ShutdownTimes { hand_back, abandon, signed_off, api_closed, flushed } = times;
            assert!([abandon, signed_off, api_closed, flushed].is_sorted() && hand_back < abandon, "{times:?}");
            assert_eq!(hand_back + HAND_BACK, abandon, "{times:?}");
            let most = if grace >= Duration::from_secs(8) { grace } else { grace / 2 + RESERVE };
            assert_eq!(flushed + exit, most, "a grace of {grace:?}");
            assert!(hand_back >= grace / 2, "{times:?}");
        }
    }
}
