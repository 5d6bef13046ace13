//! Which calls need the approval of a person, and whether it was given. No model decides about this: the agent's
//! profile and the plan of the task say what needs approval, and the task holds the decisions.

use super::Setup;
use crate::domain::approval::{ApprovalRequirement, call_hash};
use crate::domain::failure::Failure;
use crate::domain::plan::PlanStep;
use crate::domain::table_source::{HTTP_REQUEST, makes_request};
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

/// Whether `call` may be made by `step`, which belongs to plan number `revision`.
pub(super) fn consent(setup: &Setup, step: &PlanStep, revision: u32, call: &ToolCall) -> Consent {
    // A table at an address is got as http_request gets it.
    let requests = makes_request(&call.tool, &call.arguments) && is_needed(setup, step, revision, HTTP_REQUEST);
    if !requests && !is_needed(setup, step, revision, &call.tool) {
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
    // A new plan must not avoid an approval that the plan of the task requires.
    let planned =
        setup.plan.iter().flat_map(|plan| &plan.steps).filter(|step| step.approval == ApprovalRequirement::Required);
    let outlives = |given: &PlanStep| match &given.tool {
        Some(given) => given == tool,
        None => revision > 0,
    };
    listed || step.approval == ApprovalRequirement::Required || planned.into_iter().any(outlives)
}
