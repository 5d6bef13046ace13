//! The plan of a schedule in answers of the API.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::domain::adoption::{Adoption, AdoptionState};
use crate::domain::plan::Plan;
use crate::domain::schedule::Schedule;
use crate::domain::time::Timestamp;

/// The plan that the runs of a schedule begin with.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = SchedulePlan)]
pub struct SchedulePlanView {
    /// Id of the schedule.
    pub schedule: String,
    /// The plan that its definition carries, with its placeholders: its firings run it, and adopt none. Absent without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own: Option<Value>,
    /// Whether the next firing begins with the plan: `adopted` and `pinned` do when nothing else has changed.
    pub state: AdoptionState,
    /// The plan, as the newest of the runs that made it had it; absent without one.
    pub plan: Option<Plan>,
    /// Goal of that run.
    pub goal: Option<String>,
    /// Successful runs that made the same plan.
    pub runs: usize,
    /// Runs that began with it since a model was last asked for a plan.
    pub reuses: usize,
    /// When a person pinned it.
    pub pinned_at: Option<String>,
    /// When a person had the plan before it forgotten.
    pub forgotten_at: Option<String>,
}

impl SchedulePlanView {
    pub(in crate::api) fn new(schedule: &Schedule, adoption: Adoption) -> Self {
        let Adoption { state, runs, reuses } = adoption;
        let newest = runs.first();
        let decision = &schedule.plan_decision;
        Self {
            schedule: schedule.id.clone(),
            own: schedule.definition.task.plan.clone(),
            state,
            plan: newest.map(|run| run.plan.clone()),
            goal: newest.map(|run| run.goal.clone()),
            runs: runs.len(),
            reuses,
            pinned_at: decision.pinned_at.map(Timestamp::to_rfc3339),
            forgotten_at: decision.forgotten_at.map(Timestamp::to_rfc3339),
        }
    }
}
