//! Who is dead: heartbeat counters that stand still, on the clock of the one who looks.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

/// Observes heartbeats. Pure: the time is an argument.
///
/// Only time during which this observer looked counts as stillness, up to `gap` between two looks: an observer
/// that was stopped itself, or could not reach the store, must not take its own absence for the death of others.
pub(crate) struct Watch {
    lease: Duration,
    gap: Duration,
    last_look: Option<Instant>,
    seen: HashMap<String, Seen>,
}

/// What a look at the other replicas came to.
pub(crate) struct Look {
    /// Those that are dead, with how long they have been still.
    pub(crate) dead: Vec<(String, Duration)>,
    /// Whether one that was there has left, or was rescued by another observer: its tasks may be free now.
    pub(crate) gone: bool,
    /// Until when it may be acted upon: an observer that is stopped in between may find the dead alive again, with
    /// claims that are sound.
    pub(crate) valid_until: Instant,
}

#[derive(Clone, Copy)]
struct Seen {
    heartbeat: u64,
    still: Duration,
}

impl Watch {
    /// A watch that has seen nobody yet, so nobody is dead before a whole lease has passed.
    pub(crate) fn new(lease: Duration, gap: Duration) -> Self {
        Self { lease, gap, last_look: None, seen: HashMap::new() }
    }

    /// Takes a look at `replicas` with their heartbeats, which were asked for at `asked`.
    pub(crate) fn look<'a>(
        &mut self,
        replicas: impl Iterator<Item = (&'a str, u64)>,
        read_began: Instant,
        now: Instant,
    ) -> Look {
        let passed = self.last_look.map_or(Duration::ZERO, |last| now.duration_since(last)).min(self.gap);
        self.last_look = Some(now);
        let mut seen = HashMap::new();
        let mut dead = Vec::new();
        for (id, heartbeat) in replicas {
            let still = match self.seen.get(id) {
                Some(before) if before.heartbeat == heartbeat => before.still + passed,
                _ => Duration::ZERO,
            };
            if still >= self.lease {
                dead.push((id.to_owned(), still));
            }
            seen.insert(id.to_owned(), Seen { heartbeat, still });
        }
        let gone = self.seen.keys().any(|id| !seen.contains_key(id));
        self.seen = seen;
        Look { dead, gone, valid_until: read_began + self.lease / 2 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(15);
    const PERIOD: Duration = Duration::from_secs(1);

    struct Observer {
        watch: Watch,
        now: Instant,
    }

    impl Observer {
        fn new() -> Self {
            Self { watch: Watch::new(LEASE, PERIOD * 2), now: Instant::now() }
        }

        fn look_after(&mut self, passed: Duration, replicas: &[(&str, u64)]) -> Vec<String> {
            self.now += passed;
            self.look(replicas).dead.into_iter().map(|(id, _)| id).collect()
        }

        fn look(&mut self, replicas: &[(&str, u64)]) -> Look {
            self.watch.look(replicas.iter().copied(), self.now, self.now)
        }
    }

    #[test]
    fn a_counter_that_stands_still_for_the_lease_is_a_death_and_not_before() {
        let mut observer = Observer::new();
        for second in 0..15 {
            let dead = observer.look_after(PERIOD, &[("a", 7), ("b", second)]);
            assert!(dead.is_empty(), "second {second}: {dead:?}");
        }
        assert_eq!(observer.look_after(PERIOD, &[("a", 7), ("b", 15)]), ["a"]);
    }

    #[test]
    fn any_change_of_the_counter_is_a_sign_of_life() {
        let mut observer = Observer::new();
        for second in 0..100 {
            assert!(observer.look_after(PERIOD, &[("a", second / 14)]).is_empty());
        }
    }

    #[test]
    fn an_observer_that_just_started_waits_a_whole_lease() {
        let mut observer = Observer::new();
        assert!(observer.look_after(Duration::from_hours(1), &[("long dead", 7)]).is_empty());
    }

    #[test]
    fn the_absence_of_the_observer_is_not_held_against_others() {
        let mut observer = Observer::new();
        assert!(observer.look_after(PERIOD, &[("a", 7)]).is_empty());
        assert!(observer.look_after(Duration::from_hours(1), &[("a", 7)]).is_empty());
    }

    #[test]
    fn what_was_read_half_a_lease_ago_is_not_acted_upon() {
        let mut observer = Observer::new();
        let (read_began, answered) = (observer.now, observer.now + LEASE / 2);
        let look = observer.watch.look([("a", 7)].into_iter(), read_began, answered);
        assert!(look.valid_until <= answered);
    }

    #[test]
    fn a_replica_that_left_is_noticed_once() {
        let mut observer = Observer::new();
        assert!(!observer.look(&[("a", 7), ("b", 1)]).gone);
        assert!(observer.look(&[("a", 8)]).gone);
        assert!(!observer.look(&[("a", 8)]).gone);
    }

    #[test]
    fn one_that_comes_back_under_its_name_starts_afresh() {
        let mut observer = Observer::new();
        for _ in 0..20 {
            observer.look_after(PERIOD, &[("a", 7)]);
        }
        assert!(observer.look_after(PERIOD, &[]).is_empty());
        assert!(observer.look_after(PERIOD, &[("a", 7)]).is_empty());
    }
}
