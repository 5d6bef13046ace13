//! Step records from the checkpoint of a run, for people.

use serde_json::Value;

use super::account::given;
use super::state::{Status, Step};
use crate::domain::attempt::{StepRecord, StepStatus};

/// The steps in a state from [`Machine::state`](super::Machine::state): those that a new plan replaced first, then
/// those of the plan in force, in its order. A step that this version cannot read is left out.
#[must_use]
pub fn steps_of(state: &Value) -> Vec<StepRecord> {
    let steps = |key: &str| state.get(key).and_then(Value::as_array).into_iter().flatten();
    let read = steps("abandoned").chain(steps("steps"));
    read.filter_map(|step| serde_json::from_value::<Step>(step.clone()).ok()).map(record).collect()
}

fn record(step: Step) -> StepRecord {
    let error = match &step.status {
        Status::Failed { failure, .. } => Some(failure.to_string()),
        Status::Blocked { by } => Some(format!("not run, because step {by} failed")),
        _ => None,
    };
    let status = match &step.status {
        // Its elements are being carried out.
        Status::Pending if step.elements.is_some() => StepStatus::Running,
        Status::Pending | Status::Calling { started: false, tries: 0 } => StepStatus::Pending,
        Status::Listing | Status::Calling { .. } | Status::Acting(_) | Status::Ordered(_) => StepStatus::Running,
        Status::Done { .. } => StepStatus::Done,
        Status::Failed { .. } => StepStatus::Failed,
        Status::Blocked { .. } => StepStatus::Blocked,
    };
    let account = step.account.clone();
    StepRecord {
        output: step.output().cloned(),
        depends_on: step.plan.dependencies().into_iter().map(str::to_owned).collect(),
        id: step.plan.id,
        plan: step.revision,
        tool: step.plan.tool,
        instruction: step.plan.instruction,
        arguments: given(step.plan.arguments),
        status,
        task: step.orders.task,
        error,
        started_at: account.started_at,
        finished_at: account.finished_at,
        calls: account.calls,
        more_calls: account.more_calls,
        model_calls: account.model_calls,
        usage: account.usage,
        cost_usd: account.cost_usd,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::failure::Failure;
    use crate::domain::plan::PlanStep;

    fn step(id: &str, status: Status) -> Value {
        let plan: PlanStep = serde_json::from_value(json!({"id": id, "tool": "t"})).expect("a step");
        serde_json::to_value(Step { status, ..Step::new(plan, 1) }).expect("JSON")
    }

    #[test]
    fn every_step_is_recorded_with_its_output_or_its_error() {
        let failed = Status::Failed { failure: Failure::permanent("no such file"), act: None };
        let state = json!({
            "version": 1,
            "abandoned": [step("old", failed.clone())],
            "steps": [
                step("a", Status::Done { output: json!({"n": 1}) }),
                step("b", failed),
                step("c", Status::Blocked { by: "b".into() }),
                step("d", Status::Calling { started: true, tries: 0 }),
                step("e", Status::Pending),
                {"a step": "of a newer version"},
            ],
        });
        let steps = steps_of(&state);
        let statuses: Vec<(&str, StepStatus)> = steps.iter().map(|step| (step.id.as_str(), step.status)).collect();
        let expected = [
            ("old", StepStatus::Failed),
            ("a", StepStatus::Done),
            ("b", StepStatus::Failed),
            ("c", StepStatus::Blocked),
            ("d", StepStatus::Running),
            ("e", StepStatus::Pending),
        ];
        assert_eq!(statuses, expected);
        assert_eq!((steps[1].output.as_ref(), steps[1].tool.as_deref()), (Some(&json!({"n": 1})), Some("t")));
        assert!(steps[2].error.as_deref().is_some_and(|error| error.contains("no such file")));
        assert!(steps[3].error.as_deref().is_some_and(|error| error.contains("step b failed")));
    }

    #[test]
    fn a_state_without_steps_has_none() {
        for state in [json!(null), json!({}), json!({"steps": 3}), json!("text")] {
            assert_eq!(steps_of(&state), Vec::new());
        }
    }
}
