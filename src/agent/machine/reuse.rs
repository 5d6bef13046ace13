//! A run that begins with the plan of earlier runs of its schedule.
//!
//! A model made that plan, so that it has no rights of a plan that a person wrote. Whatever goes wrong with it is no failure of
//! the run: a new plan is made at once, for the steps that are left.

use serde_json::{Value, json};

use super::reused_plan::{Reuse, ReusedPlan};
use super::state::{OpenQuestion, Phase, Status, Step};
use super::{Machine, plan_check};
use crate::domain::approval::ApprovalRequirement;
use crate::domain::event::{EventKind, Level};
use crate::domain::id::TaskId;
use crate::domain::plan::Plan;
use crate::domain::plan_reuse::outputs_hash;

impl Machine {
    /// Puts the plan of earlier runs in force, if there is one that can be carried out here.
    pub(super) fn begin_with_reused(&mut self) {
        let Some(ReusedPlan { mut plan, runs, earlier }) = self.setup.reused.take() else { return };
        for step in &mut plan.steps {
            step.approval = ApprovalRequirement::None;
        }
        let checked = plan_check::check(&plan, &plan.steps, &self.state, &self.setup.tools, &self.files)
            .and_then(|()| self.check_size(plan.steps.len()));
        if checked.is_err() || plan.steps.is_empty() {
            return;
        }
        let names: Vec<&str> = plan.steps.iter().map(|step| step.id.as_str()).collect();
        let message = format!("steps of {runs} earlier runs: {}", names.join(", "));
        let data = [("steps", json!(names)), ("fallback", json!(false)), ("origin", json!("reused"))];
        self.note(EventKind::Planned, Level::Info, message, &data);
        // Its tools could not all be called before a model is asked.
        let earlier = earlier.filter(|_| !tools_need_judgement(&plan));
        self.state.reuse = Some(Reuse { earlier, replaced: false });
        // It was made before anything was read, and from what its author was given alone.
        let seen = self.provenance_of_plan();
        self.state.planned_from.insert(0, seen);
        self.state.answer = plan.answer;
        self.state.steps = plan.steps.into_iter().map(|step| Step::new(step, 0)).collect();
        self.state.phase = Phase::Steps;
    }

    /// Whether the plan in force is that of earlier runs.
    pub(super) fn runs_reused_plan(&self) -> bool {
        self.state.reuse.as_ref().is_some_and(|reuse| !reuse.replaced)
    }

    /// Gives up the hope for an earlier answer; `false` when there was none.
    pub(super) fn forget_earlier_answer(&mut self) -> bool {
        self.state.reuse.as_mut().is_some_and(|reuse| reuse.earlier.take().is_some())
    }

    /// Asks for a new plan in the place of the reused one. It counts as no replan, because the run has made none yet.
    pub(super) fn replace_reused_plan(&mut self) {
        if let Some(reuse) = &mut self.state.reuse {
            (reuse.earlier, reuse.replaced) = (None, true);
        }
        self.state.phase = Phase::Replanning(OpenQuestion::default());
    }

    /// The task whose answer this run may take over; its result is wanted by [`Machine::set_earlier_answer`].
    #[must_use]
    pub fn wants_earlier_answer(&self) -> Option<TaskId> {
        let earlier = self.state.reuse.as_ref()?.earlier.as_ref()?;
        self.state.ended.is_none().then_some(earlier.task)
    }

    /// Supplies the result of the task that this run may take the answer over from.
    pub fn set_earlier_answer(&mut self, result: Option<Value>) {
        self.earlier_answer =
            result.filter(|result| result.get("output").is_some() && result.get("confirmed").is_none());
    }

    /// Whether instruction steps wait for the tools: while these may still give what they gave before, no model is asked.
    pub(super) fn waits_for_tools(&self, index: usize) -> bool {
        let may_be_unchanged = self.earlier_answer.is_some() && self.expected_outputs().is_some();
        let tools = || self.state.steps.iter().filter(|step| step.plan.tool.is_some());
        let is_lost = |step: &Step| matches!(step.status, Status::Failed { .. } | Status::Blocked { .. });
        self.state.steps[index].plan.tool.is_none()
            && may_be_unchanged
            && !tools().any(is_lost)
            && tools().any(|step| step.output().is_none())
    }

    /// Hash of the outputs that an earlier answer stands on, while it may be taken over.
    #[must_use]
    pub fn expected_outputs_hash(&self) -> Option<String> {
        self.expected_outputs().map(str::to_owned)
    }

    fn expected_outputs(&self) -> Option<&str> {
        self.state.reuse.as_ref()?.earlier.as_ref().map(|earlier| earlier.hash.as_str())
    }

    /// Takes the answer of an earlier run over once all tools gave what they gave then.
    pub(super) fn take_answer_over(&mut self) {
        let (Some(expected), Some(answer)) = (self.expected_outputs(), &self.earlier_answer) else { return };
        if self.state.steps.iter().any(|step| step.plan.tool.is_some() && step.output().is_none()) {
            return;
        }
        if self.outputs_hash().as_deref() != Some(expected) {
            if let Some(reuse) = &mut self.state.reuse {
                reuse.earlier = None;
            }
            return;
        }
        let mut answer = answer.clone();
        answer["unchanged"] = Value::Bool(true);
        let message = "all tools gave what they gave before, so the answer is that of the run before".to_owned();
        let from = self.state.reuse.as_ref().and_then(|reuse| reuse.earlier.as_ref()).map(|earlier| earlier.task);
        self.note(EventKind::Unchanged, Level::Info, message, &[("from", json!(from))]);
        self.end(Ok(answer));
    }

    /// Hash of the outputs of the tool steps, in the order of the plan; `None` when one is missing or not whole, or there is none.
    pub(super) fn outputs_hash(&self) -> Option<String> {
        let tools = || self.state.steps.iter().filter_map(|step| Some((step.plan.tool.as_deref()?, step)));
        let outputs: Option<Vec<(&str, &Value)>> = tools().map(|(tool, step)| Some((tool, step.output()?))).collect();
        let names_headers = self.state.steps.iter().any(|step| {
            let texts = [step.plan.arguments.to_string(), step.plan.instruction.clone().unwrap_or_default()];
            texts.iter().any(|text| text.contains(".headers"))
        });
        outputs_hash(&outputs.filter(|outputs| !outputs.is_empty())?, names_headers)
    }
}

/// Whether a tool step of `plan` depends on a step that a model judges.
fn tools_need_judgement(plan: &Plan) -> bool {
    let is_judged = |id: &str| plan.steps.iter().any(|step| step.id == id && step.tool.is_none());
    let mut tools = plan.steps.iter().filter(|step| step.tool.is_some());
    tools.any(|step| step.dependencies().into_iter().any(is_judged))
}
