//! How a schedule stands with a plan of its own: what the memories of its runs and the decision of a person come to.

use serde::{Deserialize, Serialize};

use super::memory::{Memory, PlanOrigin};
use super::plan::Plan;
use super::plan_reuse::{GivenRun, PlanDecision, PlannedRun, SUCCESSES, instance};

/// Runs that begin with an adopted plan, one after another, before one plans anew.
pub const REUSES: usize = 19;

/// How a schedule stands with its plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Adoption {
    /// Whether there is a plan to begin with, and why not.
    pub state: AdoptionState,
    /// The runs that made the plan, the newest first; without adoption those that might become it.
    pub runs: Vec<PlannedRun>,
    /// Runs that began with it since the last that made a plan of its own.
    pub reuses: usize,
}

/// Whether a schedule has a plan to begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdoptionState {
    /// Too few successes with one plan.
    Learning,
    /// Two successes made it.
    Adopted,
    /// A person pinned it.
    Pinned,
    /// A run that began with it had to make a new one; two more successes are needed.
    SetAside,
}

impl AdoptionState {
    /// The state as it is shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Learning => "learning",
            Self::Adopted => "adopted",
            Self::Pinned => "pinned",
            Self::SetAside => "set_aside",
        }
    }
}

impl Adoption {
    /// What the runs of a schedule in `memories`, newest first, and the decision of a person come to.
    #[must_use]
    pub fn of(memories: &[Memory], decision: &PlanDecision) -> Self {
        let counts = |memory: &&Memory| decision.forgotten_at.is_none_or(|forgotten| memory.at > forgotten);
        let (mut runs, mut reuses, mut was_set_aside): (Vec<PlannedRun>, _, _) = (Vec::new(), 0, false);
        for memory in memories.iter().take_while(counts) {
            let Some(facts) = &memory.facts else { continue };
            let is_suspect = facts.suspect_in_a_row > 0 && facts.origin == PlanOrigin::Reused;
            if is_suspect
                || facts.origin == PlanOrigin::Replaced
                || (facts.origin == PlanOrigin::Reused && !memory.succeeded)
            {
                was_set_aside = true;
                break;
            }
            if facts.origin == PlanOrigin::Reused && runs.is_empty() {
                reuses += 1;
            }
            let Some(planned) = facts.planned.as_ref().filter(|_| memory.succeeded) else { continue };
            if runs.first().is_none_or(|newest| PlannedRun::are_alike(newest, planned)) {
                runs.push(planned.clone());
            }
        }
        let state = if !decision.pinned.is_empty() {
            runs.clone_from(&decision.pinned);
            AdoptionState::Pinned
        } else if runs.len() >= SUCCESSES {
            AdoptionState::Adopted
        } else if was_set_aside {
            AdoptionState::SetAside
        } else {
            AdoptionState::Learning
        };
        Self { state, runs, reuses }
    }

    /// The plan that a run that is given `given` may begin with.
    #[must_use]
    pub fn plan_for(&self, given: &GivenRun) -> Option<Plan> {
        let is_due = match self.state {
            AdoptionState::Pinned => false,
            AdoptionState::Adopted => self.reuses >= REUSES,
            AdoptionState::Learning | AdoptionState::SetAside => true,
        };
        if is_due { None } else { instance(&self.runs, given) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::domain::id::{TaskId, derived};
    use crate::domain::memory::RunFacts;
    use crate::domain::plan_reuse::Moment;
    use crate::domain::time::Timestamp;

    fn run() -> PlannedRun {
        PlannedRun {
            plan: serde_json::from_value(json!([{"id": "a", "tool": "t"}])).expect("a plan"),
            goal: "Report".to_owned(),
            variables: BTreeMap::new(),
            moment: Moment::default(),
            basis: "b".to_owned(),
        }
    }

    fn memory(number: i64, origin: PlanOrigin, planned: Option<PlannedRun>) -> Memory {
        Memory {
            id: derived(&["memory", &number.to_string()]),
            task_id: TaskId::Number(number.unsigned_abs()),
            agent: "a".to_owned(),
            user: None,
            goal: "Report".to_owned(),
            succeeded: true,
            summary: String::new(),
            outline: String::new(),
            at: Timestamp::from_millis(number),
            schedule_id: Some("s".to_owned()),
            goal_hash: None,
            form: None,
            facts: Some(RunFacts { origin, planned, ..RunFacts::default() }),
        }
    }

    #[test]
    fn two_successes_adopt_a_plan_one_failure_sets_it_aside_and_every_twentieth_run_plans_anew() {
        let made = |number| memory(number, PlanOrigin::Model, Some(run()));
        let reused = |number| memory(number, PlanOrigin::Reused, None);
        let PlannedRun { goal, variables, moment, basis, plan: _ } = run();
        let given = GivenRun { goal, variables, moment, basis };
        let none = PlanDecision::default();
        let state = |memories: &[Memory], decision: &PlanDecision| {
            let adoption = Adoption::of(memories, decision);
            (adoption.state, adoption.plan_for(&given).is_some())
        };
        assert_eq!(state(&[], &none), (AdoptionState::Learning, false));
        assert_eq!(state(&[made(1)], &none), (AdoptionState::Learning, false));
        assert_eq!(state(&[made(2), made(1)], &none), (AdoptionState::Adopted, true));
        let newest_first =
            |reuses: i64| -> Vec<Memory> { (0..reuses).map(|n| reused(100 - n)).chain([made(2), made(1)]).collect() };
        assert_eq!(state(&newest_first(18), &none), (AdoptionState::Adopted, true));
        assert_eq!(state(&newest_first(19), &none), (AdoptionState::Adopted, false), "it is time to look again");
        let replaced = memory(3, PlanOrigin::Replaced, None);
        assert_eq!(state(&[replaced.clone(), made(2), made(1)], &none), (AdoptionState::SetAside, false));
        assert_eq!(state(&[made(4), replaced.clone(), made(2), made(1)], &none).0, AdoptionState::SetAside);
        assert_eq!(state(&[made(5), made(4), replaced.clone()], &none), (AdoptionState::Adopted, true));
        let failed = Memory { succeeded: false, ..reused(3) };
        assert_eq!(state(&[failed, made(2), made(1)], &none), (AdoptionState::SetAside, false));

        let runs = Adoption::of(&[made(2), made(1)], &none).runs;
        let pinned = PlanDecision::pin(&runs, Timestamp::from_millis(3));
        assert_eq!(state(&[replaced], &pinned), (AdoptionState::Pinned, true));
        assert_eq!(state(&newest_first(40), &pinned), (AdoptionState::Pinned, true));
        let forgotten = PlanDecision::forget(Timestamp::from_millis(2));
        assert_eq!(state(&[made(2), made(1)], &forgotten), (AdoptionState::Learning, false));
        assert_eq!(state(&[made(4), made(3), made(2)], &forgotten), (AdoptionState::Adopted, true));
    }
}
