//! Where a task stands in its tree, and what its children may do.

use serde_json::Value;

use super::Task;
use crate::domain::approval::ApprovalRequirement;
use crate::domain::id::TaskId;
use crate::domain::step_origin::{STEP_TAG, StepOrigin};
use crate::domain::tree::{ALL, Rights};

/// Key of the context in which older versions counted generations.
const OLD_GENERATION: &str = "spawn_depth";

impl Task {
    /// The first task of its tree: itself, unless another task made it.
    #[must_use]
    pub fn root(&self) -> TaskId {
        self.spec.lineage.root.unwrap_or(self.id)
    }

    /// Number of ancestors; 0 for a task that no task created. For a child of an older version its context says it.
    #[must_use]
    pub fn generation(&self) -> u32 {
        if self.spec.lineage.root.is_some() || self.spec.parent.is_none() {
            return self.spec.lineage.generation;
        }
        let old = self.spec.context.get(OLD_GENERATION).and_then(Value::as_u64).unwrap_or(0);
        self.spec.lineage.generation.max(u32::try_from(old).unwrap_or(u32::MAX))
    }

    /// Whether this task says that another one made it, without a record of the tree that it belongs to: an older version made
    /// it, or another client wrote it.
    #[must_use]
    pub fn has_unrecorded_tree(&self) -> bool {
        self.spec.lineage.root.is_none() && self.generation() > 0
    }

    /// Where the step came from that this task carries out for its parent; `None` for any other task. Of one that an older
    /// version made nothing is known.
    #[must_use]
    pub fn step_origin(&self) -> Option<StepOrigin> {
        let is_step = || self.generation() > 0 && self.spec.tags.iter().any(|tag| tag == STEP_TAG);
        self.spec.lineage.step.clone().or_else(|| is_step().then(StepOrigin::unknown))
    }

    /// The rights of a child of this task, when the agent that runs this task has `rights`. Approvals that the plan
    /// of this task requires are required of the child, too.
    #[must_use]
    pub fn rights_of_child(&self, rights: &Rights) -> Rights {
        let requested = self
            .spec
            .plan
            .iter()
            .flat_map(|plan| &plan.steps)
            .filter(|step| step.approval == ApprovalRequirement::Required);
        let needs_approval = requested.map(|step| step.tool.clone().unwrap_or_else(|| ALL.to_owned())).collect();
        let planned = Rights { needs_approval, ..Rights::default() };
        rights.and(&self.spec.lineage.rights).and(&planned)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::time::Timestamp;
    use crate::domain::tree::Lineage;

    fn rights(tools: &[&str], needs_approval: &[&str], delegates_to: &[&str]) -> Rights {
        let list = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        let (tools, needs_approval, delegates_to) = (list(tools), list(needs_approval), list(delegates_to));
        Rights { tools, needs_approval, delegates_to, ..Rights::default() }
    }

    #[test]
    fn what_a_plan_asks_a_person_for_holds_for_the_children() {
        let plan = json!([
            {"id": "a", "tool": "calculate"},
            {"id": "b", "tool": "write_file", "approval": "required"},
        ]);
        let task = Task::new(TaskId::Number(1), "x", Timestamp::default())
            .with(|task| task.spec.plan = serde_json::from_value(plan).expect("a plan"));
        assert_eq!(task.rights_of_child(&Rights::default()).needs_approval, ["write_file"]);
        let judged = json!([{"id": "a", "instruction": "think", "approval": "required"}]);
        let task = task.with(|task| task.spec.plan = serde_json::from_value(judged).expect("a plan"));
        assert_eq!(task.rights_of_child(&rights(&["*"], &["b"], &["*"])).needs_approval, ["*"]);
    }

    #[test]
    fn of_a_step_without_a_record_nothing_is_known() {
        let task = Task::new(TaskId::Number(1), "x", Timestamp::default())
            .with(|task| task.spec.tags = vec![STEP_TAG.to_owned()]);
        assert_eq!(task.step_origin(), None, "a person may tag a task so");
        let mut child = task.with(|task| task.spec.parent = Some(TaskId::Number(7)));
        child.spec.lineage = Lineage { root: Some(TaskId::Number(7)), generation: 1, ..Lineage::default() };
        assert_eq!(child.step_origin(), Some(StepOrigin::unknown()));
        let known = StepOrigin { is_given: true, ..StepOrigin::unknown() };
        child.spec.lineage.step = Some(known.clone());
        assert_eq!(child.step_origin(), Some(known));
        child.spec.lineage.step = None;
        child.spec.tags = Vec::new();
        assert_eq!(child.step_origin(), None);
    }

    #[test]
    fn the_generation_of_an_older_child_is_read_from_its_context() {
        let made = |context: Value, parent: Option<TaskId>| {
            Task::new(TaskId::Number(1), "x", Timestamp::default()).with(|task| {
                task.spec.context = serde_json::from_value(context).expect("a map");
                task.spec.parent = parent;
            })
        };
        let parent = Some(TaskId::Number(7));
        assert_eq!(made(json!({"spawn_depth": 3}), parent).generation(), 3);
        assert_eq!(made(json!({"spawn_depth": u64::MAX}), parent).generation(), u32::MAX);
        assert_eq!(made(json!({"spawn_depth": 3}), None).generation(), 0, "data of a task that no task made");
        let mut child = made(json!({"spawn_depth": 0}), parent);
        child.spec.lineage = Lineage { root: parent, generation: 2, ..Lineage::default() };
        assert_eq!((child.generation(), child.root()), (2, TaskId::Number(7)));
        assert!(!child.has_unrecorded_tree());
        for (context, parent, expected) in [
            (json!({"spawn_depth": 1}), parent, true),
            (json!({"spawn_depth": 0}), parent, false),
            (json!({}), parent, false),
            (json!({"spawn_depth": 1}), None, false),
        ] {
            assert_eq!(made(context.clone(), parent).has_unrecorded_tree(), expected, "{context} {parent:?}");
        }
    }
}
