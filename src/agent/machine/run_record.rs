//! What a run is told of earlier ones, and what it tells later ones: facts, for the memory.

use serde_json::Value;

use super::state::{Phase, State, Step};
use super::{Machine, WHOLE_GOAL};
use crate::domain::failure::{Failure, FailureClass};
use crate::domain::memory::{PlanOrigin, StepFact};
use crate::domain::plan::Plan;
use crate::domain::plan_reuse::{AnswerBasis, Moment, follows_from_outputs};

/// Facts about a run, in no words but those of the program and of its plan.
#[derive(Clone, Debug, PartialEq)]
pub struct RunRecord {
    /// Where its first plan came from.
    pub origin: PlanOrigin,
    /// The plan that a model made before it saw any output, when nothing took its place.
    pub plan: Option<Plan>,
    /// The steps, those of earlier plans first.
    pub steps: Vec<StepFact>,
    /// Tool calls that it made.
    pub tool_calls: u32,
}

impl Machine {
    /// Whether the next action is to make a plan, for which memories are useful.
    #[must_use]
    pub const fn needs_plan(&self) -> bool {
        self.state.ended.is_none() && matches!(self.state.phase, Phase::Planning(_))
    }

    /// Whether the last plan that the model made here could be used; `None` when it made none.
    #[must_use]
    pub const fn planned(&self) -> Option<bool> {
        self.planned
    }

    /// Supplies what earlier runs tell, in the words of the program.
    pub fn set_experience(&mut self, experience: String) {
        self.setup.experience = experience;
    }

    /// Bytes of what the run was told of earlier ones.
    #[must_use]
    pub fn experience_bytes(&self) -> usize {
        self.setup.experience.len()
    }

    /// Whether `failure`, with which the run ended, is one of the endpoint, and no experience with the goal.
    #[must_use]
    pub const fn is_failure_of_endpoint(&self, failure: &Failure) -> bool {
        matches!(failure.class, FailureClass::Unavailable)
            || self.endpoint_failed
                && matches!(failure.class, FailureClass::Transient | FailureClass::RateLimited | FailureClass::Timeout)
    }

    /// Where the first plan of the run came from.
    #[must_use]
    pub const fn plan_origin(&self) -> PlanOrigin {
        match (&self.setup.plan, &self.state.reuse) {
            (Some(_), _) => PlanOrigin::Task,
            (None, Some(reuse)) if reuse.replaced => PlanOrigin::Replaced,
            (None, Some(_)) => PlanOrigin::Reused,
            (None, None) => PlanOrigin::Model,
        }
    }

    /// The facts about this run.
    #[must_use]
    pub fn record(&self) -> RunRecord {
        let all = || self.state.abandoned.iter().chain(&self.state.steps);
        let origin = self.plan_origin();
        let steps = all().map(|step| StepFact {
            tool: step.plan.tool.clone(),
            done: step.output().is_some(),
            failure: step.failure().map(|failure| failure.class),
        });
        let calls = |step: &Step| {
            u32::try_from(step.account.calls.len()).unwrap_or(u32::MAX).saturating_add(step.account.more_calls)
        };
        let tool_calls = all().map(calls).fold(0, u32::saturating_add);
        RunRecord {
            tool_calls,
            origin,
            plan: self.own_plan().filter(|_| origin == PlanOrigin::Model),
            steps: steps.collect(),
        }
    }

    /// The first plan, when a model made it and it is still in force.
    fn own_plan(&self) -> Option<Plan> {
        let State { steps, abandoned, revision, answer, turns, .. } = &self.state;
        let is_whole_goal = |step: &Step| step.plan.instruction.as_deref() == Some(WHOLE_GOAL);
        let is_own = !turns && *revision == 0 && abandoned.is_empty() && !steps.iter().any(is_whole_goal);
        let of_plan = steps.iter().filter(|step| step.element_of.is_none()).map(|step| {
            let mut plan = step.plan.clone();
            // The steps that the run itself added are no part of its plan.
            plan.depends_on.retain(|id| step.elements.as_ref().is_none_or(|added| !added.contains(id)));
            plan
        });
        (is_own && !steps.is_empty()).then(|| Plan { steps: of_plan.collect(), answer: answer.clone() })
    }

    /// Hash of the outputs of the tools, when the answer `result` followed from them alone and each was called by the plan, before
    /// any instruction: then equal outputs give the same answer. `moment` is when the model was told that it is.
    #[must_use]
    pub fn answering_outputs(&self, result: &Value, moment: &Moment) -> Option<String> {
        let steps = &self.state.steps;
        let is_instruction = |id: &str| self.state.step(id).is_some_and(|step| step.plan.tool.is_none());
        let is_plain = |step: &Step| match step.plan.tool {
            // What another agent may do for the step is not known.
            _ if step.plan.capability.is_some() => false,
            Some(_) => !step.plan.dependencies().into_iter().any(is_instruction),
            None => step.account.calls.is_empty() && step.account.more_calls == 0,
        };
        let is_confirmed = result.get("confirmed").is_none();
        let has_files = !self.files.is_empty() || !self.setup.dependencies.is_empty();
        if !is_confirmed || has_files || self.state.turns || !steps.iter().all(is_plain) {
            return None;
        }
        let asked = steps.iter().filter_map(|step| step.plan.instruction.as_deref());
        let basis = AnswerBasis {
            answer: result,
            asked: std::iter::once(self.setup.goal.as_str()).chain(asked).collect(),
            outputs: steps.iter().filter(|step| step.plan.tool.is_some()).filter_map(Step::output).collect(),
            moment,
        };
        follows_from_outputs(&basis).then(|| self.outputs_hash()).flatten()
    }
}
