//! Steps that other agents carry out: which those are, the orders for them, and what comes of these.
//!
//! A step waits in [`Status::Ordered`] from its start to the end of its task. The key of an order is the same in every process and
//! attempt, so that its task is made once. What the agent cannot give away it carries out itself.

use serde_json::json;

use super::order_phase::OrderPhase;
use super::state::{Act, Status, Step, as_known, unknown_outcome};
use super::{Machine, NotInFlight};
use crate::domain::delegation::{Awaited, OrderState, StepOrder, StepWork, UnderWay};
use crate::domain::event::{EventKind, Level};
use crate::domain::failure::Failure;
use crate::domain::id::TaskId;
use crate::domain::plan::PlanStep;
use crate::domain::provenance::Provenance;
use crate::domain::time::Timestamp;

impl Machine {
    /// Whether `step`, which is about to start, is for another agent.
    pub(super) fn is_for_another(&self, step: &Step) -> bool {
        let has = |wanted: &String| self.setup.capabilities.iter().any(|word| word.eq_ignore_ascii_case(wanted));
        // Who reads a part of a text reads it for a step that is carried out here.
        let is_whole = step.plan.each.is_none() && step.part.is_none();
        is_whole && !step.orders.is_kept && step.plan.capability.as_ref().is_some_and(|wanted| !has(wanted))
    }

    /// Removes the capability of a step of a model's plan that neither the agent nor another has: a word that the model made up.
    pub(super) fn keep_known_capability(&self, step: &mut PlanStep) {
        let is_known = |wanted: &String| {
            self.setup.offered.iter().chain(&self.setup.capabilities).any(|word| word.eq_ignore_ascii_case(wanted))
        };
        step.capability = step.capability.take().filter(is_known);
        step.priority = step.priority.filter(|_| step.capability.is_some());
    }

    /// The orders that are due, marked as in flight.
    pub(super) fn take_orders(&mut self) -> Vec<StepOrder> {
        let mut due = Vec::new();
        let mut named = None;
        for index in 0..self.state.steps.len() {
            if self.state.steps[index].status != Status::Ordered(OrderPhase::Due) {
                continue;
            }
            let is_open = self.state.steps[index].orders.is_open;
            if !is_open && self.waits_for_load(index) {
                continue;
            }
            let plan = &self.state.steps[index].plan;
            let work = (!is_open).then(|| {
                let named = named.get_or_insert_with(|| self.named_by_people());
                StepWork::new(plan, &self.targets(), self.origin_of(index, named))
            });
            let work = match work.transpose() {
                Ok(work) => work,
                Err(unresolved) => {
                    self.fail(index, Failure::invalid(unresolved.to_string()));
                    continue;
                }
            };
            // What its agent requests is not seen here.
            let is_of_people = work.as_ref().is_none_or(StepWork::sends_nothing_composed);
            self.state.has_sent_composed |= !is_of_people;
            let step = &mut self.state.steps[index];
            step.status = Status::Ordered(OrderPhase::InFlight);
            due.push(StepOrder {
                step: step.plan.id.clone(),
                key: format!("{}^{}", step.call_id(0), step.orders.ended),
                capability: step.plan.capability.clone().unwrap_or_default(),
                priority: step.plan.priority,
                work,
            });
        }
        due
    }

    /// Takes what has become of the order of `step`.
    ///
    /// # Errors
    /// [`NotInFlight`] when there was none; nothing changes.
    pub fn order_returned(&mut self, step: &str, result: Result<OrderState, Failure>) -> Result<(), NotInFlight> {
        let is_this = |one: &Step| one.plan.id == step && one.status == Status::Ordered(OrderPhase::InFlight);
        let index = self.state.steps.iter().position(is_this).ok_or_else(|| NotInFlight(step.to_owned()))?;
        let provenance = self.provenance_of(index);
        if matches!(result, Ok(OrderState::Done(_) | OrderState::Failed(_))) {
            self.state.steps[index].provenance.add(&Provenance::of("the task of another agent"));
        }
        match result {
            Ok(OrderState::UnderWay(under_way)) => self.order_under_way(index, under_way),
            Ok(OrderState::Done(output)) => {
                self.state.steps[index].orders.end();
                self.finish(index, output);
            }
            Ok(OrderState::Failed(failure)) => {
                self.state.steps[index].orders.end();
                // What an agent did for an instruction is not known here.
                let tool = self.state.steps[index].plan.tool.as_deref().unwrap_or("its tools");
                let failure = as_known(&failure, tool, self.is_repeatable(index));
                self.fail(index, failure);
            }
            Ok(OrderState::Withdrawn { reason, had_begun }) => {
                let one = &mut self.state.steps[index];
                one.orders.end();
                if let Some(tool) = one.plan.tool.clone().filter(|_| had_begun && !self.is_repeatable(index)) {
                    self.fail(index, unknown_outcome(&tool, &reason));
                    return Ok(());
                }
                let one = &mut self.state.steps[index];
                one.status = Status::Ordered(OrderPhase::Due);
                let message = format!("step {step} is placed anew: {reason}");
                self.note(EventKind::StepWithdrawn, Level::Warn, message, &[("step", json!(step))]);
            }
            Ok(OrderState::Refused(reason)) => {
                let one = &mut self.state.steps[index];
                one.orders.is_kept = true;
                one.status = begun(&one.plan, provenance);
                let data = [("step", json!(step)), ("capability", json!(one.plan.capability))];
                let message = format!("step {step} is carried out here: {reason}");
                self.note(EventKind::StepKept, Level::Warn, message, &data);
            }
            // The next attempt finds a task that was made all the same.
            Err(failure) => self.fail(index, failure),
        }
        Ok(())
    }

    fn order_under_way(&mut self, index: usize, UnderWay { task, look_at }: UnderWay) {
        let step = &mut self.state.steps[index];
        step.status = Status::Ordered(OrderPhase::UnderWay(look_at));
        if std::mem::replace(&mut step.orders.is_open, true) {
            return;
        }
        step.orders.task = Some(task);
        let (id, capability) = (step.plan.id.clone(), step.plan.capability.clone().unwrap_or_default());
        let message = format!("step {id} needs the capability {capability:?} and became task {task}");
        let data = [("step", json!(id)), ("capability", json!(capability)), ("child", json!(task))];
        self.note(EventKind::StepDelegated, Level::Info, message, &data);
    }

    /// The tasks that carry out steps and have not ended, when there are any.
    pub(super) fn awaited(&self) -> Option<Awaited> {
        let open = self.state.steps.iter().filter_map(|step| match step.status {
            Status::Ordered(OrderPhase::UnderWay(at)) => Some((step.orders.task?, at)),
            _ => None,
        });
        let (tasks, times): (Vec<TaskId>, Vec<Timestamp>) = open.unzip();
        Some(Awaited { tasks, look_at: times.into_iter().min()? })
    }
}

/// The status of a step that the agent of the run begins.
pub(super) fn begun(step: &PlanStep, provenance: Provenance) -> Status {
    match &step.tool {
        _ if step.each.is_some() => Status::Listing,
        Some(_) => Status::Calling { started: false, tries: 0 },
        None => Status::Acting(Act { provenance, ..Act::default() }),
    }
}
