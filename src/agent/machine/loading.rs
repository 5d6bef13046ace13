//! Reads outputs back that were too long for the run and became artifacts, when a step refers to them.
//!
//! What is read back stays in memory, never in the state: a run that goes on elsewhere reads it again.

use std::collections::{BTreeSet, HashMap};

use serde_json::{Map, Value};

use super::state::{Act, Status, Step};
use super::{Load, Machine, NotInFlight};
use crate::domain::failure::Failure;
use crate::domain::plan::targets_of;
use crate::domain::tool::{ToolResult, kept_apart};

/// Longest output that a reference reads back, in bytes of JSON.
pub const MAX_LOADED_BYTES: u64 = 2 * 1024 * 1024;

/// Outputs that were read back, by step, and those that are being read.
#[derive(Clone, Debug, Default)]
pub(super) struct Loads {
    loaded: HashMap<String, ToolResult>,
    in_flight: BTreeSet<String>,
}

impl Loads {
    pub(super) fn is_busy(&self) -> bool {
        !self.in_flight.is_empty()
    }
}

impl Machine {
    /// The artifacts that steps about to go on refer to and that have not been read back, marked as being read.
    pub(super) fn take_loads(&mut self) -> Vec<Load> {
        let used: BTreeSet<String> =
            self.state.steps.iter().filter(|step| !step.has_ended()).flat_map(referred).collect();
        self.loads.loaded.retain(|step, _| used.contains(step));
        let mut due = Vec::new();
        for step in self.state.steps.iter().filter(|step| is_about_to_go_on(step)).flat_map(referred) {
            let Some(artifact) = self.state.step(&step).and_then(Step::output).and_then(kept_apart) else { continue };
            if self.loads.loaded.contains_key(&step) || self.loads.in_flight.contains(&step) {
                continue;
            }
            if artifact.bytes > MAX_LOADED_BYTES {
                let (bytes, name) = (artifact.bytes, artifact.name);
                let failure = Failure::invalid(format!(
                    "the output of step {step} has {bytes} bytes, and a reference reads back at most {MAX_LOADED_BYTES}; it \
                     became artifact {name:?}: read parts of it with read_artifact in an instruction step"
                ));
                self.loads.loaded.insert(step, Err(failure));
                continue;
            }
            due.push(Load { step: step.clone(), artifact: artifact.name.to_owned() });
            self.loads.in_flight.insert(step);
        }
        due
    }

    /// Takes what the artifact of `step` came to.
    ///
    /// # Errors
    /// [`NotInFlight`] when it was not asked for; nothing changes.
    pub fn loaded(&mut self, step: &str, result: ToolResult) -> Result<(), NotInFlight> {
        if !self.loads.in_flight.remove(step) {
            return Err(NotInFlight(step.to_owned()));
        }
        self.loads.loaded.insert(step.to_owned(), result);
        Ok(())
    }

    /// What references can point at, with outputs that were read back in their places.
    pub(super) fn targets(&self) -> HashMap<String, Value> {
        let mut targets = self.state.targets(&self.setup.dependencies);
        for (step, result) in &self.loads.loaded {
            if let (Some(target), Ok(value)) = (targets.get_mut(step), result) {
                target.clone_from(value);
            }
        }
        targets
    }

    /// The artifacts whose content stands in [`Machine::targets`], by step.
    pub(super) fn artifacts(&self) -> HashMap<String, String> {
        let name = |step: &String| {
            let artifact = kept_apart(self.state.step(step)?.output()?)?;
            Some((step.clone(), artifact.name.to_owned()))
        };
        self.loads.loaded.keys().filter_map(name).collect()
    }

    /// Whether the step waits for an artifact. When one that it refers to cannot be read back, it fails, and with it every
    /// step that is about to go on and refers to the same one: none of them may take the stub for the output.
    pub(super) fn waits_for_load(&mut self, index: usize) -> bool {
        let used = referred(&self.state.steps[index]);
        if used.iter().any(|step| self.loads.in_flight.contains(step)) {
            return true;
        }
        let failed = |step: &String| Some((step.clone(), self.loads.loaded.get(step)?.clone().err()?));
        let Some((step, failure)) = used.iter().find_map(failed) else {
            // It may have become due after the artifacts of this round were taken.
            return used.iter().any(|step| self.is_unread(step));
        };
        for index in 0..self.state.steps.len() {
            let waiting = &self.state.steps[index];
            if is_about_to_go_on(waiting) && referred(waiting).contains(&step) {
                self.fail(index, failure.clone());
            }
        }
        // A step that comes later, or another try, reads it again.
        self.loads.loaded.remove(&step);
        true
    }

    /// Whether the output of `step` became an artifact that has not been read back.
    fn is_unread(&self, step: &str) -> bool {
        let output = self.state.step(step).and_then(Step::output);
        output.and_then(kept_apart).is_some() && !self.loads.loaded.contains_key(step)
    }
}

/// Steps whose outputs the arguments or the instruction of `step` refer to.
fn referred(step: &Step) -> Vec<String> {
    let instruction = step.plan.instruction.as_deref().map(Value::from);
    let empty = Value::Object(Map::new());
    let texts = [&step.plan.arguments, instruction.as_ref().unwrap_or(&empty)];
    texts.into_iter().flat_map(targets_of).map(str::to_owned).collect()
}

fn is_about_to_go_on(step: &Step) -> bool {
    match &step.status {
        Status::Calling { started, .. } => !started,
        Status::Acting(Act { in_flight, calls, .. }) => !in_flight && calls.is_empty(),
        _ => false,
    }
}
