//! The plan that the runs of a schedule begin with: shown, pinned, forgotten.

use super::service::{ScheduleError, ScheduleService};
use crate::domain::adoption::{Adoption, AdoptionState};
use crate::domain::event::EventKind;
use crate::domain::plan_reuse::PlanDecision;
use crate::domain::schedule::Schedule;
use crate::domain::time::Timestamp;
use crate::store::MemoryOf;

/// Memories of a schedule that are read.
const MEMORIES: u32 = 64;

impl ScheduleService {
    /// The schedule `id`, and how it stands with a plan of its own.
    ///
    /// # Errors
    /// [`ScheduleError`].
    pub async fn plan(&self, id: &str) -> Result<(Schedule, Adoption), ScheduleError> {
        let schedule = self.find(id).await?;
        let adoption = self.adoption(&schedule).await?;
        Ok((schedule, adoption))
    }

    /// Pins the plan that the schedule `id` has adopted: its runs begin with it until it is forgotten. A plan that is pinned
    /// already stays as it is.
    ///
    /// # Errors
    /// [`ScheduleError`]; [`ScheduleError::NoPlan`] when it has adopted none, [`ScheduleError::OwnPlan`] when its definition has one.
    pub async fn pin_plan(&self, id: &str, now: Timestamp) -> Result<(Schedule, Adoption), ScheduleError> {
        let schedule = self.find(id).await?;
        if schedule.definition.task.plan.is_some() {
            return Err(ScheduleError::OwnPlan(id.to_owned()));
        }
        let adoption = self.adoption(&schedule).await?;
        match adoption.state {
            AdoptionState::Pinned => return self.plan(id).await,
            AdoptionState::Adopted => {}
            AdoptionState::Learning | AdoptionState::SetAside => return Err(ScheduleError::NoPlan(id.to_owned())),
        }
        let message = format!("the plan of schedule {id} was pinned");
        self.decide(id, PlanDecision::pin(&adoption.runs, now), (EventKind::PlanPinned, message), now).await
    }

    /// Has the schedule `id` forget its plan, pinned or not: only runs that end later make one. Without a plan nothing is written.
    ///
    /// # Errors
    /// [`ScheduleError`].
    pub async fn forget_plan(&self, id: &str, now: Timestamp) -> Result<(Schedule, Adoption), ScheduleError> {
        let (schedule, adoption) = self.plan(id).await?;
        let is_pinned = schedule.plan_decision.pinned_at.is_some();
        if !is_pinned && (adoption.runs.is_empty() || schedule.definition.task.plan.is_some()) {
            return Ok((schedule, adoption));
        }
        let message = format!("the plan of schedule {id} was forgotten");
        self.decide(id, PlanDecision::forget(now), (EventKind::PlanForgotten, message), now).await
    }

    async fn decide(
        &self,
        id: &str,
        decision: PlanDecision,
        (kind, message): (EventKind, String),
        now: Timestamp,
    ) -> Result<(Schedule, Adoption), ScheduleError> {
        let change = |before: &Schedule| Some(Schedule { plan_decision: decision.clone(), ..before.clone() });
        let (schedule, _) = self.change(id, change).await?;
        self.record_event(&schedule, kind, message, now);
        let adoption = self.adoption(&schedule).await?;
        Ok((schedule, adoption))
    }

    async fn adoption(&self, schedule: &Schedule) -> Result<Adoption, ScheduleError> {
        let user = schedule.definition.task.user.as_deref();
        let memories = self.queue.store().memories_of(MemoryOf::Schedule(&schedule.id), user, MEMORIES).await?;
        Ok(Adoption::of(&memories, &schedule.plan_decision))
    }
}
