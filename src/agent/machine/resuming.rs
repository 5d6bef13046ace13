//! A run that goes on in another process: what of its state holds, and what is tried again.

use serde_json::json;

use super::Machine;
use super::order_phase::OrderPhase;
use super::state::{ActCall, CallStatus, OpenQuestion, Phase, Status, unknown_outcome};
use crate::domain::counted::counted;
use crate::domain::event::{EventKind, Level};

const CUT_OFF: &str = "the run was cut off while the call was under way";

impl Machine {
    /// Prepares a deserialised run to continue; see [`Machine::resume`].
    pub(super) fn prepare_to_resume(&mut self) {
        if matches!(self.state.ended, Some(Ok(_))) {
            return;
        }
        self.state.stopping = None;
        self.state.reserved.clear();
        if let Some(question) = self.question_mut() {
            question.in_flight = false;
        }
        let had_ended = self.state.ended.take().and_then(Result::err);
        // No retry follows such an end, so a person requeued the task and wants all of it tried again.
        let is_requeued = had_ended.as_ref().is_some_and(|failure| !failure.class.is_retryable());
        if let (Some(_), Some(question)) = (&had_ended, self.question_mut()) {
            question.rejected.clear();
        }
        if is_requeued || matches!(self.state.phase, Phase::Steps) {
            for index in 0..self.state.steps.len() {
                self.resume_step(index, is_requeued);
            }
        }
        if is_requeued {
            self.state.phase = self.phase_after_requeue();
        }
        let done = self.state.steps.iter().filter(|step| step.output().is_some()).count();
        let message = format!("continues an earlier attempt with {} done", counted(done, "step"));
        self.note(EventKind::Resumed, Level::Info, message, &[("done", json!(done))]);
    }

    /// Phase in which a requeued run continues: with its open steps, or with a new plan when all steps were done and
    /// the model declared a failure all the same.
    fn phase_after_requeue(&mut self) -> Phase {
        if self.state.steps.is_empty() {
            return Phase::Planning(OpenQuestion::default());
        }
        let all_done = self.state.steps.iter().all(|step| step.output().is_some());
        if all_done && self.can_replan() {
            self.state.spent.replans = self.state.spent.replans.saturating_add(1);
            return Phase::Replanning(OpenQuestion::default());
        }
        Phase::Steps
    }

    /// Prepares a step to continue in another process.
    fn resume_step(&mut self, index: usize, is_requeued: bool) {
        let step = &mut self.state.steps[index];
        match &mut step.status {
            Status::Pending | Status::Listing | Status::Done { .. } => {}
            Status::Blocked { .. } => step.status = Status::Pending,
            Status::Calling { started, .. } => {
                if std::mem::take(started) && !self.is_repeatable(index) {
                    let tool = self.state.steps[index].plan.tool.clone().unwrap_or_default();
                    self.fail(index, unknown_outcome(&tool, CUT_OFF));
                }
            }
            // What has become of its task is not known here.
            Status::Ordered(phase) => *phase = OrderPhase::Due,
            Status::Acting(act) => {
                act.in_flight = false;
                self.resume_calls(index);
            }
            Status::Failed { failure, act } => {
                let may_pass = failure.class.is_retryable();
                if may_pass && act.is_some() {
                    step.status = act.take().map_or(Status::Pending, |mut act| {
                        act.doors.failures = 0;
                        act.doors.has_repeated = false;
                        Status::Acting(act)
                    });
                    self.resume_calls(index);
                } else if may_pass || is_requeued {
                    step.status = Status::Pending;
                }
            }
        }
    }

    fn resume_calls(&mut self, index: usize) {
        let Status::Acting(act) = &self.state.steps[index].status else { return };
        let is_open = |call: &&ActCall| {
            call.status == CallStatus::Started
                && !self.tool(&call.tool).is_some_and(|tool| tool.is_repeatable(&call.arguments))
        };
        if let Some(call) = act.calls.iter().find(is_open) {
            let failure = unknown_outcome(&call.tool, CUT_OFF);
            self.fail(index, failure);
            return;
        }
        if let Status::Acting(act) = &mut self.state.steps[index].status {
            for call in act.calls.iter_mut().filter(|call| call.status == CallStatus::Started) {
                call.status = CallStatus::Queued;
            }
        }
    }
}
