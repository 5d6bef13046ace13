//! Steps with `each`: one step for each element of a list, and their outputs gathered in the order of the list.

use serde_json::{Value, json};

use super::Machine;
use super::state::{Status, Step};
use crate::domain::counted::counted;
use crate::domain::event::{EventKind, Level};
use crate::domain::failure::{BudgetLimit, Failure};
use crate::domain::json::Size;
use crate::domain::plan::{MAX_STEPS, check_targets, target};
use crate::domain::provenance::Provenance;

/// Calls of tools for one list at the same time: a page of links must not become a hundred requests at once.
const CALLS_AT_ONCE: usize = 8;
/// Instructions of one list at the same time: a local model answers one after another, and the last one waits for all.
const INSTRUCTIONS_AT_ONCE: usize = 4;
/// Most bytes of JSON of the gathered outputs: they stand in every state of the run that is recorded.
const MAX_GATHERED_BYTES: usize = 1024 * 1024;

impl Machine {
    /// Replaces each list that can be read by the steps for its elements. Gives back whether there was one.
    pub(super) fn read_lists(&mut self) -> bool {
        let mut has_read = false;
        // Steps are added at the end, and none of them has a list.
        for index in 0..self.state.steps.len() {
            if self.state.steps[index].status != Status::Listing || self.waits_for_load(index) {
                continue;
            }
            has_read = true;
            match self.length_of_list(index) {
                Ok(length) => self.add_elements(index, length),
                Err(failure) => self.fail(index, failure),
            }
        }
        has_read
    }

    /// The number of elements of the list of step `index`.
    ///
    /// # Errors
    /// It is no list, or a longer one than the run may carry out.
    fn length_of_list(&self, index: usize) -> Result<usize, Failure> {
        let plan = &self.state.steps[index].plan;
        let each = plan.each.as_deref().unwrap_or_default();
        let targets = self.targets();
        check_targets(each, &targets).map_err(|unresolved| Failure::invalid(unresolved.to_string()))?;
        let list = match plan.list().and_then(|list| target(list, &targets)) {
            Some(Value::Array(list)) => list.len(),
            other => {
                let found = other.map_or("nothing", kind);
                return Err(Failure::invalid(format!(
                    "each must refer to a list, but {each} is {found}: refer to a field of it that is a list"
                )));
            }
        };
        let over = |why: String| {
            let way_out = "refer to a shorter list, or raise the budget of the agent";
            Failure::over_budget(
                BudgetLimit::Steps,
                format!("{each} has {list} elements, a step each; {why}: {way_out}"),
            )
        };
        if list > MAX_STEPS {
            return Err(over(format!("at most {MAX_STEPS} are carried out")));
        }
        self.check_size(list).map_err(over)?;
        Ok(list)
    }

    fn add_elements(&mut self, index: usize, length: usize) {
        let Step { plan, revision, .. } = self.state.steps[index].clone();
        let ids: Vec<String> = (1..=length).map(|number| self.free_id(&plan.id, number)).collect();
        for (number, id) in ids.iter().enumerate() {
            let element = Step::new(plan.for_element(id.clone(), number), revision);
            self.state.steps.push(Step { element_of: Some(plan.id.clone()), ..element });
        }
        let message = format!("step {} runs once for each of {}", plan.id, counted(length, "element"));
        self.note(
            EventKind::StepListed,
            Level::Info,
            message,
            &[("step", json!(plan.id)), ("elements", json!(length))],
        );
        let step = &mut self.state.steps[index];
        step.plan.depends_on.extend(ids.iter().cloned());
        step.elements = Some(ids);
        step.status = Status::Pending;
    }

    /// A name for element number `number` of step `id` that no step has.
    pub(super) fn free_id(&self, id: &str, number: usize) -> String {
        let is_taken =
            |name: &str| self.state.steps.iter().chain(&self.state.abandoned).any(|step| step.plan.id == name);
        let mut name = format!("{id}-{number}");
        while is_taken(&name) {
            name = name.replacen(id, &format!("{id}-"), 1);
        }
        name
    }

    /// Whether enough elements of the same list are at work.
    pub(super) fn waits_for_siblings(&self, index: usize) -> bool {
        let step = &self.state.steps[index];
        let Some(list) = &step.element_of else { return false };
        let most = if step.plan.tool.is_some() { CALLS_AT_ONCE } else { INSTRUCTIONS_AT_ONCE };
        let is_at_work = |step: &&Step| {
            step.element_of.as_ref() == Some(list)
                && matches!(step.status, Status::Calling { .. } | Status::Acting(_) | Status::Ordered(_))
        };
        self.state.steps.iter().filter(is_at_work).count() >= most
    }

    /// Ends a step whose elements are done with the list of their outputs; `false` when it has none.
    pub(super) fn gather(&mut self, index: usize) -> bool {
        let step = &self.state.steps[index];
        let Some(elements) = step.elements.as_ref().filter(|_| step.plan.each.is_some()) else { return false };
        let mut provenance = Provenance::default();
        elements.iter().filter_map(|id| self.state.step(id)).for_each(|step| provenance.add(&step.provenance));
        let outputs: Vec<&Value> =
            elements.iter().map(|id| self.state.step(id).and_then(Step::output).unwrap_or(&Value::Null)).collect();
        let bytes: usize = outputs.iter().map(|output| Size::of(output).text).sum();
        if bytes > MAX_GATHERED_BYTES {
            self.fail(index, Failure::invalid(format!(
                "the outputs of its {} elements have {bytes} bytes together, and at most {MAX_GATHERED_BYTES} are gathered: \
                 have each element answer less, or save an artifact",
                outputs.len()
            )));
            return true;
        }
        let gathered = Value::Array(outputs.into_iter().cloned().collect());
        self.state.steps[index].provenance = provenance;
        self.finish(index, gathered);
        true
    }
}

const fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
