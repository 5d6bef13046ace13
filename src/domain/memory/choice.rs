//! Chooses which of the memories that were found a planning model is shown.

use std::cmp::Reverse;

use super::Memory;
use crate::domain::plan_reuse::PlannedRun;

/// A memory that was found, and how it belongs to the run that is about to plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// The memory.
    pub memory: Memory,
    /// 0 for the same schedule, 1 for the same goal with other numbers, 2 for a goal that is alike.
    pub tier: u8,
    /// Likeness within its tier; higher is more alike.
    pub score: f64,
}

/// At most three memories: the most useful failure, the best success, and the newest when it is neither and its plan is
/// another one.
///
/// A nearer tier counts before everything else. Of successes the one that spent fewest tokens is the best, of failures the
/// newest.
#[must_use]
pub fn chosen(candidates: &[Candidate]) -> Vec<&Candidate> {
    let successes = candidates.iter().filter(|found| found.memory.succeeded);
    let best = successes.min_by_key(|found| {
        let facts = found.memory.facts.as_ref();
        let calls = facts.map_or(u32::MAX, |facts| facts.spent.model_calls);
        let tokens = facts.map_or(u64::MAX, |facts| facts.spent.usage.total());
        let is_bare = facts.is_none_or(|facts| facts.planned.is_none());
        (found.tier, is_bare, tokens, calls, Reverse(score_key(found.score)), found.memory.at)
    });
    let failures = candidates.iter().filter(|found| !found.memory.succeeded);
    let failure = failures.min_by_key(|found| (found.tier, Reverse(found.memory.at)));
    let newest = candidates.iter().min_by_key(|found| (found.tier, Reverse(found.memory.at)));
    let mut chosen: Vec<&Candidate> = Vec::new();
    for found in [failure, best, newest].into_iter().flatten() {
        let says_the_same = |other: &&Candidate| {
            other.memory.id == found.memory.id
                || (other.memory.succeeded && found.memory.succeeded && is_same_work(&other.memory, &found.memory))
        };
        if !chosen.iter().any(says_the_same) {
            chosen.push(found);
        }
    }
    chosen
}

/// A score as a key with an order.
#[expect(clippy::cast_possible_truncation, reason = "scores are small")]
fn score_key(score: f64) -> i64 {
    (score * 1e6) as i64
}

/// Whether both did the same steps, or nothing tells that they did not.
fn is_same_work(one: &Memory, other: &Memory) -> bool {
    let planned = |memory: &Memory| memory.facts.as_ref().and_then(|facts| facts.planned.clone());
    match (planned(one), planned(other)) {
        (Some(one), Some(other)) => PlannedRun::are_alike(&one, &other),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::budget::Spent;
    use crate::domain::conversation::Usage;
    use crate::domain::id::{TaskId, derived};
    use crate::domain::memory::RunFacts;
    use crate::domain::time::Timestamp;

    fn found(number: u64, tier: u8, succeeded: bool, tokens: u64) -> Candidate {
        let usage = Usage { prompt_tokens: tokens, completion_tokens: 0 };
        let memory = Memory {
            id: derived(&["memory", &number.to_string()]),
            task_id: TaskId::Number(number),
            agent: "a".to_owned(),
            user: None,
            goal: "g".to_owned(),
            succeeded,
            summary: String::new(),
            outline: String::new(),
            at: Timestamp::from_millis(i64::try_from(number).expect("small")),
            schedule_id: None,
            goal_hash: None,
            form: None,
            facts: Some(RunFacts { spent: Spent { usage, ..Spent::default() }, ..RunFacts::default() }),
        };
        Candidate { memory, tier, score: 1.0 }
    }

    #[test]
    fn identity_counts_before_cost_and_no_two_say_the_same() {
        let found = [
            found(1, 2, true, 1),
            found(2, 0, true, 90),
            found(3, 0, true, 50),
            found(4, 0, false, 5),
            found(5, 0, false, 5),
            found(6, 1, true, 5),
            found(7, 0, true, 70),
        ];
        let ids: Vec<TaskId> = chosen(&found).iter().map(|found| found.memory.task_id).collect();
        assert_eq!(ids, [5, 3].map(TaskId::Number), "the newest, 7, did what 3 did");
        assert!(chosen(&[]).is_empty());
    }
}
