//! What an approval of a task is bound to.

use serde_json::{Map, json};

use super::*;
use crate::domain::approval::{Ruling, apply_ruling};
use crate::domain::dependency::OnDependencyFailure;
use crate::domain::handover::Handover;
use crate::domain::id::TaskId;
use crate::domain::step_origin::StepOrigin;

const NOW: Timestamp = Timestamp::from_millis(1_000);
const POLICY: ApprovalPolicy = ApprovalPolicy { expire_s: 60 };

fn asked() -> Task {
    let plan = json!([{"id": "a", "tool": "t", "arguments": {"x": 1}}]);
    let mut task = Task::new(TaskId::Number(1), "pay ada", NOW).with(|task| {
        task.spec.plan = serde_json::from_value(plan).expect("a plan");
        task.spec.context = serde_json::from_value(json!({"k": 1})).expect("a map");
    });
    task.state.approvals = vec![Approval::of_task(&task, &POLICY, NOW)];
    task
}

fn approved() -> Task {
    let mut task = asked();
    let ruling = Ruling { hashes: vec![task.state.approvals[0].hash.clone()], by: None, note: None };
    assert!(apply_ruling(&mut task.state.approvals, &ruling, ApprovalOutcome::Approved, NOW));
    task
}

type Change = (&'static str, fn(&mut Task));

const CHANGES: [Change; 17] = [
    ("id", |task| task.id = TaskId::Number(2)),
    ("goal", |task| task.spec.goal = "pay eve".into()),
    ("plan", |task| task.spec.plan = None),
    ("arguments", |task| {
        task.spec.plan =
            serde_json::from_value(json!([{"id": "a", "tool": "t", "arguments": {"x": 2}}])).expect("a plan");
    }),
    ("context", |task| drop(task.spec.context.insert("k".into(), json!(2)))),
    ("agent", |task| task.spec.agent = Some("admin".into())),
    ("capabilities", |task| task.spec.capabilities = vec!["shell".into()]),
    ("depends_on", |task| task.spec.depends_on = vec![TaskId::Number(9)]),
    ("on_dependency_failure", |task| task.spec.on_dependency_failure = OnDependencyFailure::Continue),
    ("parent", |task| task.spec.parent = Some(TaskId::Number(9))),
    ("user", |task| task.spec.user = Some("eve".into())),
    ("schedule", |task| task.spec.schedule_id = Some("s".into())),
    ("time limit", |task| task.spec.timeout_s = 86_400),
    ("root", |task| task.spec.lineage.root = Some(TaskId::Number(9))),
    ("rights", |task| task.spec.lineage.rights.tools = vec!["shell".into()]),
    ("handover", |task| task.spec.lineage.handover = Some(Handover { goal: None, values: Map::new() })),
    ("step", |task| task.spec.lineage.step = Some(StepOrigin::unknown())),
];

#[test]
fn a_task_runs_only_as_it_was_approved() {
    assert!(!is_unapproved(&asked().with(|task| task.state.approvals = Vec::new())), "nobody asked");
    assert!(is_unapproved(&asked()), "nobody decided");
    assert!(!is_unapproved(&approved()));
    for (what, change) in CHANGES {
        let mut task = approved();
        change(&mut task);
        assert!(is_unapproved(&task), "{what}");
    }
    let later = approved().with(|task| {
        task.spec.run_at = NOW.plus_millis(5);
        task.spec.priority = 9;
        task.state.attempt = 2;
    });
    assert!(!is_unapproved(&later), "when it runs is no question");
    let mut denied = asked();
    let ruling = Ruling { hashes: vec![denied.state.approvals[0].hash.clone()], by: None, note: None };
    apply_ruling(&mut denied.state.approvals, &ruling, ApprovalOutcome::Denied, NOW);
    assert!(is_unapproved(&denied));
}

#[test]
fn a_changed_task_asks_another_question() {
    for (what, change) in CHANGES {
        let mut task = asked();
        let before = task.state.approvals[0].hash.clone();
        change(&mut task);
        rebind_open_question(&mut task);
        let ruling = Ruling { hashes: vec![before], by: None, note: None };
        assert!(!apply_ruling(&mut task.state.approvals, &ruling, ApprovalOutcome::Approved, NOW), "{what}");
        let ruling = Ruling { hashes: vec![task.state.approvals[0].hash.clone()], by: None, note: None };
        assert!(apply_ruling(&mut task.state.approvals, &ruling, ApprovalOutcome::Approved, NOW), "{what}");
        assert!(!is_unapproved(&task), "{what}");
    }
    let mut decided = approved();
    decided.spec.goal = "pay eve".into();
    let before = decided.clone();
    rebind_open_question(&mut decided);
    assert_eq!(decided, before, "what was decided stays as it was");
}
