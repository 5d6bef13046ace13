//! Which calls need the approval of a person, and whether it was given. No model decides about this: the agent's
//! profile, the plan of the task and the origin of the values say what needs approval, and the task holds the decisions.

use super::{Machine, Setup};
use crate::domain::approval::{ApprovalRequirement, call_hash};
use crate::domain::failure::Failure;
use crate::domain::plan::PlanStep;
use crate::domain::provenance::{Provenance, Verdict};
use crate::domain::tool::ToolCall;

/// Whether a call may be made.
pub(super) enum Consent {
    /// No approval is needed, or it was given.
    Given,
    /// A person has not decided yet.
    Open,
    /// A person denied it, or the time to decide ran out.
    Refused(Failure),
}

impl Machine {
    /// Whether step `index` may make `call`, which depends on values of `provenance`.
    pub(super) fn consent(&self, index: usize, call: &ToolCall, provenance: &Provenance) -> Consent {
        let step = &self.state.steps[index];
        if !is_needed(&self.setup, &step.plan, step.revision, &call.tool) {
            match self.verdict(index, call, provenance) {
                Verdict::Allowed => return Consent::Given,
                Verdict::NeedsApproval(_) => {}
                Verdict::Refused(why) => {
                    let way_out = format!(
                        "name it in the goal or in egress of the agent, or list {} in needs_approval",
                        call.tool
                    );
                    return Consent::Refused(Failure::permanent(format!("refused: {why}: {way_out}")));
                }
            }
        }
        let hash = call_hash(call);
        let Some(approval) = self.setup.approvals.iter().find(|approval| approval.hash == hash) else {
            return Consent::Open;
        };
        match approval.refusal() {
            Some(refusal) => Consent::Refused(refusal),
            None if approval.is_open() => Consent::Open,
            None => Consent::Given,
        }
    }
}

fn is_needed(setup: &Setup, step: &PlanStep, revision: u32, tool: &str) -> bool {
    let listed = setup.needs_approval.iter().any(|name| name == "*" || name == tool);
    // A new plan must not avoid an approval that the plan of the task requires.
    let planned =
        setup.plan.iter().flat_map(|plan| &plan.steps).filter(|step| step.approval == ApprovalRequirement::Required);
    let outlives = |given: &PlanStep| match &given.tool {
        Some(given) => given == tool,
        None => revision > 0,
    };
    listed || step.approval == ApprovalRequirement::Required || planned.into_iter().any(outlives)
}
