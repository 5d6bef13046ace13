//! Whether the clock of this host is wrong: compares it with the clocks of the other replicas, as their heartbeats tell
//! them. The majority is right. Pure: all times are arguments. Liveness is no business of this: see
//! [`rescue`](super::rescue), which compares no clocks.

use std::collections::HashMap;

use crate::domain::time::Timestamp;

/// Clocks that differ by less are taken for right, in milliseconds: that much is the business of NTP.
const TOLERANCE_MS: i64 = 5_000;
/// Clocks that it takes to tell which of them is wrong, the own one included.
const MAJORITY_OF: usize = 3;

/// When this host looked at the other replicas.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Looked {
    /// Time since the request of the look before was sent, in milliseconds; none at the first look.
    pub(crate) since_last_ms: Option<i64>,
    /// The own clock when the answer had come.
    pub(crate) at: Timestamp,
}

/// What is known of the clocks of others.
#[derive(Default)]
pub(crate) struct Clocks {
    others: HashMap<String, Other>,
}

struct Other {
    heartbeat: u64,
    /// How far its clock is ahead of the own one, at least; none until it has beaten while it was looked at.
    ahead_ms: Option<i64>,
    is_right: bool,
}

impl Clocks {
    /// Takes a look at the `others`, each with its heartbeat and its clock at that heartbeat; gives back by what the own
    /// clock is behind the majority, in milliseconds: negative when it is ahead, 0 when it is right or nobody can tell.
    pub(crate) fn look<'a>(&mut self, others: impl Iterator<Item = (&'a str, u64, Timestamp)>, looked: Looked) -> i64 {
        let mut now = HashMap::new();
        for (id, heartbeat, clock) in others {
            let before = self.others.remove(id);
            let other = match before {
                Some(before) if before.heartbeat == heartbeat => before,
                Some(before) => before.measured(heartbeat, clock, looked),
                None => Other { heartbeat, ahead_ms: None, is_right: true },
            };
            now.insert(id.to_owned(), other);
        }
        self.others = now;
        self.behind()
    }

    /// The median of how far the clocks are ahead; of two in the middle, the one nearer to the own clock.
    fn behind(&self) -> i64 {
        let known = self.others.values().filter_map(|other| Some((other.ahead_ms?, other.is_right)));
        let mut ahead: Vec<i64> = known.map(|(ahead, is_right)| if is_right { 0 } else { ahead }).collect();
        ahead.push(0);
        if ahead.len() < MAJORITY_OF {
            return 0;
        }
        ahead.sort_unstable();
        let middle = [ahead[(ahead.len() - 1) / 2], ahead[ahead.len() / 2]];
        if middle[0].abs() < middle[1].abs() { middle[0] } else { middle[1] }
    }
}

impl Other {
    /// Its heartbeat was written between the request of the last look and the answer of this one. So its clock is ahead
    /// by no less than if it had been written just now, and by no more than if it had been written at that request.
    fn measured(self, heartbeat: u64, clock: Timestamp, looked: Looked) -> Self {
        let Some(since_last_ms) = looked.since_last_ms else { return Self { heartbeat, ..self } };
        let least = clock.as_millis().saturating_sub(looked.at.as_millis());
        let most = least.saturating_add(since_last_ms);
        // The largest lower bound is the best, unless one of the clocks was set meanwhile.
        let ahead_ms = match self.ahead_ms {
            Some(before) if before <= most => before.max(least),
            _ => least,
        };
        let is_right = least <= TOLERANCE_MS && most >= -TOLERANCE_MS;
        Self { heartbeat, ahead_ms: Some(ahead_ms), is_right }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks each second at replicas that beat each second and whose clocks are off by these seconds; the answers take
    /// `slow_ms`. Gives back by what the own one is told to be behind.
    fn behind(own_s: i64, others_s: &[i64], slow_ms: i64) -> Vec<i64> {
        let mut clocks = Clocks::default();
        let look = |second: i64| {
            let true_ms = 1_000_000_000 + second * 1_000;
            let others: Vec<(String, u64, Timestamp)> = (0..)
                .zip(others_s)
                .map(|(index, off): (usize, _)| {
                    let clock = Timestamp::from_millis(true_ms - 300 + off * 1_000);
                    (format!("replica{index}"), u64::try_from(second).expect("positive"), clock)
                })
                .collect();
            let looked = Looked {
                since_last_ms: (second > 0).then_some(1_000 + slow_ms),
                at: Timestamp::from_millis(true_ms + slow_ms + own_s * 1_000),
            };
            clocks.look(others.iter().map(|(id, beat, clock)| (id.as_str(), *beat, *clock)), looked)
        };
        (0..5).map(look).collect()
    }

    #[test]
    fn a_clock_that_most_others_contradict_is_told_by_what_it_is_off() {
        for (own, others) in [(300, [0, -300]), (300, [0, 0]), (-300, [0, 300]), (-300, [0, 0]), (600, [0, 300])] {
            let all = behind(own, &others, 50);
            let right = -own * 1_000 + if own == 600 { 300_000 } else { 0 };
            let last = all[4];
            assert!((right - 1_000..=right).contains(&last), "{own} s off, others {others:?}: {all:?}");
        }
    }

    #[test]
    fn a_clock_that_is_right_stays_as_it_is_whatever_single_ones_say() {
        for others in [vec![0, 300], vec![300, -300], vec![-300, 0], vec![0, 300, -300], vec![300], vec![-300], vec![]]
        {
            assert_eq!(behind(0, &others, 50), [0; 5], "{others:?}");
        }
    }

    #[test]
    fn small_differences_and_slow_answers_are_no_wrong_clocks() {
        assert_eq!(behind(0, &[2, 3], 50), [0; 5]);
        assert_eq!(behind(0, &[0, 0], 60_000), [0; 5], "an answer that took a minute");
        assert_eq!(behind(4, &[0, 0], 50), [0; 5]);
    }

    #[test]
    fn one_that_does_not_beat_says_nothing() {
        let mut clocks = Clocks::default();
        let wrong = Timestamp::from_millis(0);
        for second in 0..5 {
            let looked = Looked { since_last_ms: Some(1_000), at: Timestamp::from_millis(second * 1_000) };
            assert_eq!(clocks.look([("a", 7, wrong), ("b", 7, wrong)].into_iter(), looked), 0);
        }
    }

    #[test]
    fn a_clock_that_is_set_is_measured_anew() {
        let mut clocks = Clocks::default();
        let mut look = |beat: u64, clock_s: i64, own_s: i64| {
            let looked = Looked { since_last_ms: Some(1_000), at: Timestamp::from_millis(own_s * 1_000) };
            let clock = Timestamp::from_millis(clock_s * 1_000);
            clocks.look([("a", beat, clock), ("b", beat, clock)].into_iter(), looked)
        };
        assert_eq!((look(1, 1_000, 1_000), look(2, 1_001, 1_001)), (0, 0));
        assert_eq!(look(3, 1_002, 402), 600_000, "the own clock was set back");
        assert_eq!(look(4, 1_003, 1_003), 0, "and is right again");
        assert_eq!(look(5, 1_004, 1_604), -600_000, "it was set forward");
    }
}
