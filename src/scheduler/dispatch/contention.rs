//! Which of the due tasks this replica tries to claim, so that replicas rarely try the same ones. Pure.
//!
//! Alone, a replica takes the head of the queue, in order. When it loses races it draws its batch from a longer
//! stretch of the queue, twice as long with each bad round, and comes back once rounds have gone well for a while.

use std::hash::{DefaultHasher, Hash, Hasher as _};

use crate::domain::id::TaskId;

/// Longest stretch, in batches.
const MAX_FACTOR: usize = 64;
/// Lost share of a round above which the stretch is widened.
const TOO_MANY_LOST: f64 = 0.2;
/// Rounds without such a loss after which it is narrowed.
const CALM_ROUNDS: u32 = 8;

/// How far this replica spreads its choice.
#[derive(Clone, Debug)]
pub(crate) struct ClaimSampler {
    seed: u64,
    draw: u64,
    factor: usize,
    calm: u32,
}

impl ClaimSampler {
    /// The spread of `replica`, at first none.
    pub(crate) fn new(replica: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        replica.hash(&mut hasher);
        Self { seed: hasher.finish(), draw: 0, factor: 1, calm: 0 }
    }

    /// Whether races were lost of late.
    pub(crate) const fn is_wide(&self) -> bool {
        self.factor > 1
    }

    /// How many due tasks a round that wants `wanted` of them chooses from.
    pub(crate) const fn stretch(&self, wanted: usize) -> usize {
        wanted.saturating_mul(self.factor)
    }

    /// The indexes of `due` in the order in which this round tries them.
    pub(crate) fn order(&mut self, due: &[TaskId], wanted: usize) -> Vec<usize> {
        self.draw += 1;
        let mut order: Vec<usize> = (0..due.len()).collect();
        let stretch = self.stretch(wanted).min(due.len());
        if self.factor > 1 {
            order[..stretch].sort_by_cached_key(|index| {
                let mut hasher = DefaultHasher::new();
                (self.seed, self.draw, due[*index]).hash(&mut hasher);
                hasher.finish()
            });
        }
        order
    }

    /// Learns from a round that tried to claim `tried` tasks and won `won`.
    #[expect(clippy::cast_precision_loss, reason = "a batch is small")]
    pub(crate) fn learn(&mut self, tried: usize, won: usize) {
        if tried == 0 {
            return;
        }
        let lost = tried.saturating_sub(won) as f64 / tried as f64;
        if lost > TOO_MANY_LOST {
            self.factor = (self.factor * 2).min(MAX_FACTOR);
            self.calm = 0;
            return;
        }
        self.calm += 1;
        if self.calm >= CALM_ROUNDS {
            self.factor = (self.factor / 2).max(1);
            self.calm = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn ids(count: u64) -> Vec<TaskId> {
        (0..count).map(TaskId::Number).collect()
    }

    #[test]
    fn alone_the_queue_is_taken_in_order() {
        let mut sampler = ClaimSampler::new("a");
        for _ in 0..20 {
            assert_eq!(sampler.order(&ids(9), 3), (0..9).collect::<Vec<_>>());
            sampler.learn(3, 3);
        }
    }

    #[test]
    fn every_index_appears_once_and_the_rest_follows_in_order() {
        let mut sampler = ClaimSampler::new("a");
        sampler.learn(10, 0);
        let order = sampler.order(&ids(50), 10);
        assert_eq!(order.iter().collect::<BTreeSet<_>>().len(), 50);
        assert!(order[..20].iter().all(|index| *index < 20));
        assert_eq!(order[20..], (20..50).collect::<Vec<_>>());
        assert_ne!(order[..20], (0..20).collect::<Vec<_>>());
    }

    #[test]
    fn calm_brings_the_order_back() {
        let mut sampler = ClaimSampler::new("a");
        for _ in 0..10 {
            sampler.learn(10, 0);
        }
        assert_eq!(sampler.stretch(10), 640);
        for _ in 0..100 {
            sampler.learn(10, 10);
        }
        assert_eq!(sampler.stretch(10), 10);
    }

    /// Eight replicas that all look at the same moment, again and again, over a deep queue.
    #[test]
    fn racing_replicas_soon_lose_few_races() {
        const WANTED: usize = 10;
        let mut replicas: Vec<ClaimSampler> =
            (0..8).map(|index| ClaimSampler::new(&format!("replica{index}"))).collect();
        let mut queue = ids(1_000);
        let mut next_id = 1_000;
        let (mut tried, mut won) = (0, 0);
        for draw in 0..200 {
            let choices: Vec<Vec<TaskId>> = replicas
                .iter_mut()
                .map(|sampler| {
                    sampler.order(&queue, WANTED).into_iter().take(WANTED).map(|index| queue[index]).collect()
                })
                .collect();
            let mut taken = BTreeSet::new();
            for (sampler, choice) in replicas.iter_mut().zip(choices) {
                let mine = choice.into_iter().filter(|id| taken.insert(*id)).count();
                sampler.learn(WANTED, mine);
                if draw >= 20 {
                    tried += WANTED;
                    won += mine;
                }
            }
            queue.retain(|id| !taken.contains(id));
            while queue.len() < 1_000 {
                queue.push(TaskId::Number(next_id));
                next_id += 1;
            }
        }
        let lost_percent = 100 * (tried - won) / tried;
        assert!(lost_percent <= 20, "{lost_percent} % lost");
    }
}
