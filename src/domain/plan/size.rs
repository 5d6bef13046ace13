//! Size limits of a plan, checked before a task is admitted, when a model's plan is read, and before a run starts.

use super::references::{collect_texts, references};
use super::{Plan, PlanError, PlanStep};
use crate::domain::json::{Size, is_deeper};

/// Most steps of one plan.
pub const MAX_STEPS: usize = 200;
/// Most bytes of a plan as JSON.
pub const MAX_PLAN_BYTES: usize = 512 * 1024;
/// Most bytes of memory that its arguments may take: many small values take far more of it than of text.
pub const MAX_PLAN_MEMORY: usize = 8 * 1024 * 1024;
/// Most references and names in `depends_on` of one step: as many as let it use each other step, and a field of each.
pub const MAX_STEP_REFERENCES: usize = 400;
/// Most references and names in `depends_on` of all steps together.
pub const MAX_REFERENCES: usize = 4_000;
/// Levels to which a plan and the values of a context may be nested.
pub const MAX_NESTING: usize = 16;

/// Levels of a plan above the arguments of a step: the plan, its list, the step.
const ABOVE_ARGUMENTS: usize = 3;

impl Plan {
    /// Checks the number of its steps, its bytes, its nesting and the number of its references.
    ///
    /// # Errors
    /// The first bound that it exceeds.
    pub fn check_size(&self) -> Result<(), PlanError> {
        if self.steps.len() > MAX_STEPS {
            return Err(PlanError::TooLong(self.steps.len()));
        }
        if self.steps.iter().any(|step| is_deeper(&step.arguments, MAX_NESTING - ABOVE_ARGUMENTS)) {
            return Err(PlanError::TooDeep);
        }
        let bytes = self.steps.iter().map(PlanStep::bytes).sum();
        if bytes > MAX_PLAN_BYTES {
            return Err(PlanError::TooLarge(bytes));
        }
        let memory = self.steps.iter().map(|step| Size::of(&step.arguments).memory).sum();
        if memory > MAX_PLAN_MEMORY {
            return Err(PlanError::TooManyValues(memory));
        }
        let mut all = 0;
        for step in &self.steps {
            let count = step.count_references();
            if count > MAX_STEP_REFERENCES {
                return Err(PlanError::TooManyStepReferences { step: super::clipped(&step.id), count });
            }
            all += count;
        }
        if all > MAX_REFERENCES {
            return Err(PlanError::TooManyReferences(all));
        }
        Ok(())
    }
}

impl PlanStep {
    /// Bytes of its texts and arguments.
    fn bytes(&self) -> usize {
        let texts = [
            Some(&self.id),
            self.tool.as_ref(),
            self.instruction.as_ref(),
            self.each.as_ref(),
            self.capability.as_ref(),
        ];
        let texts: usize = texts.into_iter().flatten().map(String::len).sum();
        let names = self.depends_on.iter().chain(self.tools.iter().flatten());
        let names: usize = names.map(|name| name.len() + "\"\",".len()).sum();
        texts + names + Size::of(&self.arguments).text
    }

    fn count_references(&self) -> usize {
        let count = |text: &str| references(text).count();
        let names = self.depends_on.len() + self.tools.as_ref().map_or(0, Vec::len);
        self.texts().into_iter().map(count).sum::<usize>() + names
    }

    /// Every text that may hold references.
    #[must_use]
    pub fn texts(&self) -> Vec<&str> {
        let mut texts = Vec::new();
        collect_texts(&self.arguments, &mut texts);
        texts.extend(self.instruction.as_deref());
        texts.extend(self.each.as_deref());
        texts
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn plan(steps: Vec<Value>) -> Plan {
        serde_json::from_value(json!({ "steps": Value::Array(steps) })).expect("a plan")
    }

    fn step(id: &str, arguments: &Value) -> Value {
        json!({"id": id, "tool": "t", "arguments": {"x": arguments}})
    }

    #[test]
    fn each_bound_is_held_exactly() {
        let text = |bytes: usize| plan(vec![step("a", &json!("x".repeat(bytes)))]);
        let around = text(0).steps[0].bytes();
        let references = |count: usize| step("a", &json!("${b}".repeat(count)));
        let names = |count: usize| json!({"id": "a", "tool": "t", "depends_on": vec!["b"; count]});
        let over = json!({"id": "a", "instruction": "${b} ".repeat(MAX_STEP_REFERENCES + 1)});
        let nested = |levels: usize| step("a", &(0..levels).fold(json!(1), |inner, _| json!([inner])));
        let values = |count: usize| step("a", &Value::Array(vec![json!({"": 0}); count]));
        let many = |steps: usize| plan(vec![references(MAX_STEP_REFERENCES); steps]);
        for (inside, outside, error) in [
            (plan(vec![step("a", &json!(1)); 200]), plan(vec![step("a", &json!(1)); 201]), "the plan has 201 steps"),
            (text(MAX_PLAN_BYTES - around), text(MAX_PLAN_BYTES - around + 1), "the plan has 524289 bytes"),
            (plan(vec![values(10_000)]), plan(vec![values(20_000)]), "bytes of memory; at most 8388608"),
            (plan(vec![nested(12)]), plan(vec![nested(13)]), "plan is nested deeper than 16 levels"),
            (plan(vec![references(400)]), plan(vec![references(401)]), "step \"a\" has 401 references"),
            (plan(vec![names(400)]), plan(vec![names(401)]), "step \"a\" has 401 references"),
            (plan(vec![]), plan(vec![over]), "step \"a\" has 401 references"),
            (many(10), many(11), "the plan has 4400 references"),
        ] {
            assert_eq!(inside.check_size(), Ok(()), "{error}");
            let found = outside.check_size().expect_err(error).to_string();
            assert!(found.contains(error), "{found:?} does not say {error:?}");
            assert_eq!(outside.validate(&["t"]).map_err(|error| error.to_string()), Err(found));
        }
    }

    #[test]
    fn escaped_and_open_references_are_none() {
        let texts = json!(["$${b}".repeat(1_000), "${".repeat(1_000), "${}".repeat(1_000), "${.b}".repeat(1_000)]);
        assert_eq!(plan(vec![step("a", &texts)]).check_size(), Ok(()));
    }
}
