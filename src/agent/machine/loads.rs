//! Loads outputs that were too long for the run and became artifacts, when a step refers to them.
//!
//! A loaded output stays in memory and never becomes part of the state: a run that continues elsewhere loads it
//! again.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::{Map, Value};

use super::order_phase::OrderPhase;
use super::state::{Act, State, Status, Step};
use super::{Load, Machine, NotInFlight};
use crate::domain::failure::Failure;
use crate::domain::files::{FILES, TaskFile, file_in};
use crate::domain::json::Size;
use crate::domain::plan::{DEPS, Outputs, targets_of};
use crate::domain::tool::{ToolResult, as_artifact_output};

/// Longest output that a reference loads, in bytes of JSON.
pub const MAX_LOADED_BYTES: u64 = 2 * 1024 * 1024;
/// Most memory of a loaded output: many small values take far more memory than text.
const MAX_LOADED_MEMORY: usize = 64 * 1024 * 1024;
/// Most bytes of all outputs that are loaded at once. Steps that need more wait for the others.
const MAX_LOADED_AT_ONCE: u64 = 4 * MAX_LOADED_BYTES;

/// Loaded outputs, by step, and the loads in flight.
#[derive(Clone, Debug, Default)]
pub(super) struct LoadedOutputs {
    loaded: HashMap<String, Loaded>,
    /// Bytes of those being read.
    in_flight: BTreeMap<String, u64>,
}

#[derive(Clone, Debug)]
struct Loaded {
    result: ToolResult,
    bytes: u64,
}

/// Targets of references: outputs of the done steps, with loaded outputs in their places, and results of other tasks.
pub(super) struct Targets<'a> {
    state: &'a State,
    deps: Option<&'a Value>,
    loads: &'a LoadedOutputs,
    files: &'a [TaskFile],
}

impl Outputs for Targets<'_> {
    fn output(&self, step: &str) -> Option<&Value> {
        if step == DEPS {
            return self.deps;
        }
        let loaded = self.loads.loaded.get(step).and_then(|loaded| loaded.result.as_ref().ok());
        if file_in(step).is_some() {
            return loaded;
        }
        let output = self.state.output(step)?;
        Some(loaded.unwrap_or(output))
    }

    fn files(&self) -> Vec<&str> {
        self.files.iter().map(|file| file.name.as_str()).collect()
    }
}

impl LoadedOutputs {
    pub(super) fn is_busy(&self) -> bool {
        !self.in_flight.is_empty()
    }

    fn has(&self, step: &str) -> bool {
        self.loaded.contains_key(step) || self.in_flight.contains_key(step)
    }

    fn refuse(&mut self, step: String, failure: Failure) {
        self.loaded.insert(step, Loaded { result: Err(failure), bytes: 0 });
    }
}

impl Machine {
    /// The artifacts that must be loaded for steps that are about to continue, marked as in flight. Steps are served
    /// in their order: a step whose artifacts do not fit waits until others have continued.
    pub(super) fn take_loads(&mut self) -> Vec<Load> {
        let used: BTreeSet<String> =
            self.state.steps.iter().filter(|step| !step.has_ended()).flat_map(referred).collect();
        self.loads.loaded.retain(|step, _| used.contains(step));
        let mut wanted = self.loads.in_flight.clone();
        let mut due = Vec::new();
        for index in 0..self.state.steps.len() {
            if !is_about_to_go_on(&self.state.steps[index]) {
                continue;
            }
            let needed = self.needed(index);
            let all: u64 = needed.values().map(|load| load.bytes).sum();
            if all > MAX_LOADED_AT_ONCE {
                let message = format!(
                    "the outputs that it refers to have {all} bytes, and at most {MAX_LOADED_AT_ONCE} are read back at once; \
                     they are artifacts: read parts of them with read_artifact in an instruction step"
                );
                self.fail(index, Failure::invalid(message));
                continue;
            }
            let new = || needed.iter().filter(|(step, _)| !wanted.contains_key(*step));
            let bytes = new().map(|(_, load)| load.bytes).sum::<u64>() + wanted.values().sum::<u64>();
            if bytes > MAX_LOADED_AT_ONCE {
                continue;
            }
            for (step, Needed { artifact, bytes }) in needed {
                if !self.loads.has(&step) {
                    let is_file = file_in(&step).is_some();
                    due.push(Load { step: step.clone(), artifact, is_file });
                    self.loads.in_flight.insert(step.clone(), bytes);
                }
                wanted.insert(step, bytes);
            }
        }
        let held: u64 =
            self.loads.loaded.values().map(|loaded| loaded.bytes).chain(self.loads.in_flight.values().copied()).sum();
        if held > MAX_LOADED_AT_ONCE {
            self.loads.loaded.retain(|step, loaded| loaded.result.is_err() || wanted.contains_key(step));
        }
        due
    }

    /// The artifacts that step number `index` refers to, by the step whose output each is. One that is too long is
    /// marked as refused and left out.
    fn needed(&mut self, index: usize) -> BTreeMap<String, Needed> {
        let mut needed = BTreeMap::new();
        for step in referred(&self.state.steps[index]) {
            let Some(Needed { artifact, bytes }) = self.content_of(&step) else { continue };
            if bytes <= MAX_LOADED_BYTES {
                needed.insert(step, Needed { artifact, bytes });
            } else if !self.loads.has(&step) {
                let rule = format!("has {bytes} bytes, and a reference reads back at most {MAX_LOADED_BYTES}");
                let failure = Failure::invalid(match file_in(&step) {
                    Some(name) => format!(
                        "the file {name:?} {rule}: query it as a table with query_table, or read parts of it with \
                         read_artifact in an instruction step"
                    ),
                    None => format!(
                        "the output of step {step} {rule}; it became artifact {artifact:?}: read parts of it with \
                         read_artifact in an instruction step"
                    ),
                });
                self.loads.refuse(step, failure);
            }
        }
        needed
    }

    /// The artifact that holds what a reference to `target` stands for: an output that became one, or a file.
    fn content_of(&self, target: &str) -> Option<Needed> {
        if let Some(name) = file_in(target) {
            let file = self.files.iter().find(|file| file.name == name)?;
            // A step of that name takes it.
            return self.state.step(FILES).is_none().then(|| Needed { artifact: file.name.clone(), bytes: file.bytes });
        }
        let artifact = self.state.output(target).and_then(as_artifact_output)?;
        Some(Needed { artifact: artifact.name.to_owned(), bytes: artifact.bytes })
    }

    /// Takes the loaded output of `step`, or why it could not be loaded.
    ///
    /// # Errors
    /// [`NotInFlight`] when it was not requested; nothing changes.
    pub fn loaded(&mut self, step: &str, result: ToolResult) -> Result<(), NotInFlight> {
        let bytes = self.loads.in_flight.remove(step).ok_or_else(|| NotInFlight(step.to_owned()))?;
        let result = result.and_then(|output| {
            let memory = Size::of(&output).memory;
            if memory <= MAX_LOADED_MEMORY {
                return Ok(output);
            }
            Err(Failure::invalid(format!(
                "the output of step {step} holds so many values that it takes {memory} bytes of memory, and a reference reads \
                 back at most {MAX_LOADED_MEMORY}: read parts of it with read_artifact in an instruction step"
            )))
        });
        self.loads.loaded.insert(step.to_owned(), Loaded { result, bytes });
        Ok(())
    }

    /// What references can point at.
    pub(super) fn targets(&self) -> Targets<'_> {
        Targets { state: &self.state, deps: self.deps.as_ref(), loads: &self.loads, files: &self.files }
    }

    /// The artifacts whose content stands in [`Machine::targets`], by step.
    pub(super) fn artifacts(&self) -> HashMap<String, String> {
        let name = |step: &String| Some((step.clone(), self.content_of(step)?.artifact));
        self.loads.loaded.keys().filter_map(name).collect()
    }

    /// Whether the step waits for an artifact. When an artifact cannot be loaded, the step fails, and with it every
    /// step that is about to continue and refers to the same one: none of them may take the reference to the artifact
    /// for the output.
    pub(super) fn waits_for_load(&mut self, index: usize) -> bool {
        let used = referred(&self.state.steps[index]);
        if used.iter().any(|step| self.loads.in_flight.contains_key(step)) {
            return true;
        }
        let failed = |step: &String| Some((step.clone(), self.loads.loaded.get(step)?.result.clone().err()?));
        let Some((step, failure)) = used.iter().find_map(failed) else {
            // The step may have become due after the loads of this pass were taken.
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

    /// Whether step number `index` refers to an artifact that has not been read back.
    pub(super) fn has_unread(&self, index: usize) -> bool {
        referred(&self.state.steps[index]).iter().any(|step| self.is_unread(step))
    }

    /// Whether the output of `step` became an artifact that has not been read back.
    fn is_unread(&self, step: &str) -> bool {
        self.content_of(step).is_some() && !self.loads.loaded.contains_key(step)
    }
}

/// An artifact that a step refers to.
struct Needed {
    artifact: String,
    bytes: u64,
}

/// Steps whose outputs `step` refers to in what it does next.
fn referred(step: &Step) -> Vec<String> {
    if step.status == Status::Listing {
        let list = step.plan.each.as_deref().map(Value::from);
        return list.iter().flat_map(targets_of).map(str::to_owned).collect();
    }
    let instruction = step.plan.instruction.as_deref().map(Value::from);
    let empty = Value::Object(Map::new());
    let texts = [&step.plan.arguments, instruction.as_ref().unwrap_or(&empty)];
    texts.into_iter().flat_map(targets_of).map(str::to_owned).collect()
}

fn is_about_to_go_on(step: &Step) -> bool {
    match &step.status {
        Status::Listing => true,
        Status::Calling { started, .. } => !started,
        Status::Ordered(phase) => *phase == OrderPhase::Due && !step.orders.is_open,
        Status::Acting(Act { in_flight, calls, .. }) => !in_flight && calls.is_empty(),
        _ => false,
    }
}
