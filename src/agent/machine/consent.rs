//! Which calls a person must agree to, and whether they did. No model has a say in this: what needs approval is in the
//! agent's profile and in the plan that came with the task, and what was decided is in the task.

use super::Setup;
use crate::domain::approval::{ApprovalRequirement, call_hash};
use crate::domain::failure::Failure;
use crate::domain::plan::PlanStep;
use crate::domain::tool::ToolCall;

/// Whether a call may be made.
pub(super) enum Consent {
    /// Nobody needs to be asked, or somebody agreed.
    Given,
    /// A person has yet to decide.
    Open,
    /// A person refused, or none decided in time.
    Refused(Failure),
}

/// Whether `call` may be made by `step`, which belongs to plan number `revision`.
pub(super) fn consent(setup: &Setup, step: &PlanStep, revision: u32, call: &ToolCall) -> Consent {
    if !is_needed(setup, step, revision, &call.tool) {
        return Consent::Given;
    }
    let hash = call_hash(call);
    let Some(approval) = setup.approvals.iter().find(|approval| approval.hash == hash) else { return Consent::Open };
    match approval.refusal() {
        Some(refusal) => Consent::Refused(refusal),
        None if approval.is_open() => Consent::Open,
        None => Consent::Given,
    }
}

fn is_needed(setup: &Setup, step: &PlanStep, revision: u32, tool: &str) -> bool {
    let listed = setup.needs_approval.iter().any(|name| name == "*" || name == tool);
    // A plan made anew must not get around what the plan of the task asks for.
    let planned =
        setup.plan.iter().flat_map(|plan| &plan.steps).filter(|step| step.approval == ApprovalRequirement::Required);
    let outlives = |given: &PlanStep| match &given.tool {
        Some(given) => given == tool,
        None => revision > 0,
    };
    listed || step.approval == ApprovalRequirement::Required || planned.into_iter().any(outlives)
}
