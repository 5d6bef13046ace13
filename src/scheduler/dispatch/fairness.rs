//! In which order due tasks are tried, so that concurrency keys share what there is. Pure but for the clock.
//!
//! Keys take turns: the next place goes to the key that has the fewest tasks in flight here. Tasks without a key count as
//! those of one more, and are looked behind as those of any key, if less often. Within a key the order stays what it was:
//! by rank, so that an urgent task has a head start and an old one still advances.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;

use crate::store::DueTask;

/// Time between two searches for keyed tasks beyond a window full of unkeyed ones, while such searches find none.
const LOOK: Duration = Duration::from_secs(1);
/// Such searches take at most one in this many parts of the time.
const SHARE: u32 = 20;

/// When the dispatcher searches for keyed tasks beyond a window that is full of unkeyed ones. A fleet without keys pays for
/// one query a second that finds nothing, and only while more is due than it has room for. While such searches find tasks,
/// each search is followed by one, as far as they take little of the time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct KeyedSearchBackoff {
    not_before: Option<Instant>,
}

impl KeyedSearchBackoff {
    pub(super) fn is_due(&self) -> bool {
        self.not_before.is_none_or(|at| Instant::now() >= at)
    }

    /// It was looked since `began`, and whether there was any.
    pub(super) fn record(&mut self, began: Instant, found: bool) {
        let wait = began.elapsed() * (SHARE - 1);
        self.not_before = Some(Instant::now() + if found { wait } else { wait.max(LOOK) });
    }
}

/// Whether any of `due` has a key. Without, nothing here costs anything.
pub(super) fn applies(due: &[DueTask]) -> bool {
    due.iter().any(|task| task.key.is_some())
}

/// Keys of `due`, each once.
pub(super) fn keys(due: &[DueTask]) -> Vec<String> {
    let mut seen = HashSet::new();
    due.iter().filter_map(|task| task.key.as_ref()).filter(|key| seen.insert(*key)).cloned().collect()
}

/// `order`, the indexes of `due`, as the keys take turns. A key begins behind as many turns as it has tasks `in_flight`
/// (`None` for those without a key), and ends when its `room` is used up.
pub(super) fn take_turns(
    due: &[DueTask],
    order: &[usize],
    in_flight: &HashMap<Option<String>, usize>,
    room: &HashMap<String, u32>,
) -> Vec<usize> {
    let mut turns: HashMap<&Option<String>, usize> = HashMap::new();
    let mut taken: HashMap<&Option<String>, u32> = HashMap::new();
    let mut placed = Vec::with_capacity(order.len());
    for index in order {
        let key = &due[*index].key;
        let taken = taken.entry(key).or_default();
        if key.as_ref().and_then(|key| room.get(key)).is_some_and(|room| *taken >= *room) {
            continue;
        }
        *taken += 1;
        let turn = turns.entry(key).or_insert_with(|| in_flight.get(key).copied().unwrap_or(0));
        placed.push((*turn, *index));
        *turn += 1;
    }
    // Stable: of one turn, the order stays.
    placed.sort_by_key(|(turn, _)| *turn);
    placed.into_iter().map(|(_, index)| index).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::TaskId;

    fn due(keys: &[&str]) -> Vec<DueTask> {
        let task = |(index, key): (usize, &&str)| DueTask {
            id: TaskId::Number(index as u64),
            rank: 0,
            agent: None,
            capabilities: Vec::new(),
            key: (!key.is_empty()).then(|| (*key).to_owned()),
            is_suspect: false,
            needs_model: false,
        };
        keys.iter().enumerate().map(task).collect()
    }

    fn turns(due: &[DueTask], in_flight: &[(&str, usize)], room: &[(&str, u32)]) -> Vec<usize> {
        let key = |key: &str| (!key.is_empty()).then(|| key.to_owned());
        let in_flight = in_flight.iter().map(|(name, count)| (key(name), *count)).collect();
        let room = room.iter().map(|(name, room)| ((*name).to_owned(), *room)).collect();
        take_turns(due, &(0..due.len()).collect::<Vec<_>>(), &in_flight, &room)
    }

    #[test]
    fn keys_take_turns_and_each_keeps_its_order() {
        let due = due(&["noisy", "noisy", "noisy", "", "quiet", "noisy", "", "quiet"]);
        assert!(applies(&due));
        assert_eq!(keys(&due), ["noisy", "quiet"]);
        assert_eq!(turns(&due, &[], &[]), [0, 3, 4, 1, 6, 7, 2, 5]);
    }

    #[test]
    fn a_free_place_goes_to_the_key_with_the_fewest_in_flight() {
        let due = due(&["noisy", "noisy", "quiet", ""]);
        assert_eq!(turns(&due, &[("noisy", 99), ("", 1)], &[]), [2, 3, 0, 1]);
    }

    #[test]
    fn nothing_is_tried_beyond_the_room_of_a_key() {
        let due = due(&["a", "a", "b", "a", "b"]);
        assert_eq!(turns(&due, &[], &[("a", 1), ("b", 0)]), [0]);
    }

    #[tokio::test(start_paused = true)]
    async fn where_there_are_no_keys_they_are_not_looked_for_all_the_time() {
        let mut backoff = KeyedSearchBackoff::default();
        assert!(backoff.is_due());
        let began = Instant::now();
        tokio::time::advance(Duration::from_millis(2)).await;
        backoff.record(began, true);
        tokio::time::advance(Duration::from_millis(37)).await;
        assert!(!backoff.is_due(), "a twentieth of the time");
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(backoff.is_due());
        backoff.record(Instant::now(), false);
        tokio::time::advance(Duration::from_millis(999)).await;
        assert!(!backoff.is_due());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(backoff.is_due());
    }

    #[test]
    fn without_keys_the_order_stays() {
        let due = due(&["", "", ""]);
        assert!(!applies(&due));
        assert_eq!(turns(&due, &[("", 7)], &[]), [0, 1, 2]);
    }
}
