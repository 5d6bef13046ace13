//! Tasks as payloads and back, and what a patch holds.

use proptest::prelude::*;

use super::*;
use crate::domain::approval::{Approval, ApprovalDecision, ApprovalOutcome, ApprovalRequirement, Subject};
use crate::domain::failure::Failure;
use crate::domain::outage::Postponement;
use crate::domain::step_origin::StepOrigin;
use crate::domain::task::{Claim, TaskEvent, TaskStatus};

const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);

/// A task with a value in every field. It names them all, so that a new field is written and read back by these tests.
fn full() -> Task {
    let plan = json!({"steps": [{"id": "s1", "tool": "calculate", "arguments": {"expression": "1+1"}}]});
    let spec = TaskSpec {
        goal: "do it".into(),
        run_at: NOW,
        priority: 9,
        agent: Some("writer".into()),
        capabilities: vec!["SQL".into()],
        depends_on: vec![TaskId::Number(7), "0192f0c1-2b3a-7c4d-8e5f-a0b1c2d3e4f5".parse().expect("an id")],
        on_dependency_failure: OnDependencyFailure::Continue,
        parent: Some(TaskId::Number(6)),
        lineage: lineage(),
        unique_key: Some("k".into()),
        unique_for: UniqueFor::Seconds(60),
        concurrency_key: Some("acme".into()),
        schedule_id: Some("s".into()),
        max_attempts: 5,
        timeout_s: 60,
        plan: Some(serde_json::from_value(plan).expect("a plan")),
        context: serde_json::from_value(json!({"a": {"b": [1, 2.5, null, "x"]}})).expect("a map"),
        tags: vec!["x".into(), "y z".into()],
        user: Some("u".into()),
        approval: ApprovalRequirement::Required,
    };
    let state = TaskState {
        status: TaskStatus::Pending,
        attempt: 1,
        crashes: 1,
        releases: 2,
        claim: None,
        created_at: NOW,
        updated_at: NOW,
        finished_at: None,
        result: Some(json!({"ok": true})),
        error: Some(Failure::transient("busy").retry_after(Some(5)).in_step("s1")),
        postponed: Some(postponement()),
        awaits: Some(Awaited { tasks: vec![TaskId::Number(8)], look_at: NOW }),
        cancel_requested: true,
        withdrawn: true,
        approvals: vec![approved()],
        extra: serde_json::from_value(json!({"colour": "red", "n": [1]})).expect("a map"),
    };
    Task { id: TaskId::fresh(), spec, state }
}

fn approved() -> Approval {
    let decision = ApprovalDecision {
        verdict: ApprovalOutcome::Approved,
        by: Some("ada".into()),
        note: None,
        at: NOW,
        extra: Map::new(),
    };
    let asked = Approval::new("h", Subject::Task, NOW, Some(NOW.plus_millis(1_000)));
    Approval { decision: Some(decision), ..asked }
}

fn lineage() -> Lineage {
    let rights = json!({"tools": ["calculate"], "needs_approval": ["*"], "delegates_to": ["writer"]});
    let handover = json!({"goal": "do ${deps.parent.s1}", "values": {"s1": "it"}});
    Lineage {
        root: Some(TaskId::Number(5)),
        generation: 2,
        rights: serde_json::from_value(rights).expect("rights"),
        handover: serde_json::from_value(handover).expect("a handover"),
        step: Some(StepOrigin { is_given: true, named: vec!["http://a.example".into()], ..StepOrigin::unknown() }),
    }
}

fn postponement() -> Postponement {
    Postponement {
        model: "m".into(),
        since: NOW,
        times: 3,
        last: NOW,
        not_before: Some(NOW),
        cause: Failure::unavailable("cannot connect"),
    }
}

fn claimed(task: &Task) -> Task {
    let claim = Claim { token: "t".into(), owner: "r".into() };
    task.apply(&TaskEvent::Claimed(claim), NOW.plus_millis(1)).expect("legal")
}

#[test]
fn the_stored_form_of_a_full_task_is_fixed() {
    let ordered = json!({
        "goal": "do it",
        "max_attempts": 5,
        "timeout_s": 60,
        "created_at": 1_767_225_600_000_i64,
        "admitted": true,
        "capabilities": ["SQL"],
        "tags": ["x", "y z"],
        "agent": "writer",
        "unique_key": "k",
        "concurrency_key": "acme",
        "schedule_id": "s",
        "user": "u",
        "depends_on": ["7", "0192f0c1-2b3a-7c4d-8e5f-a0b1c2d3e4f5"],
        "on_dependency_failure": "continue",
        "unique_for": 60,
        "parent": "6",
        "tree_root": "5",
        "tree_generation": 2,
        "tree_rights": {"tools": ["calculate"], "needs_approval": ["*"], "delegates_to": ["writer"]},
        "tree_handover": {"goal": "do ${deps.parent.s1}", "values": {"s1": "it"}},
        "tree_step": {
            "is_given": true,
            "planned_from": {"sources": ["an earlier part of the run"]},
            "provenance": {"sources": ["an earlier part of the run"]},
            "named": ["http://a.example"],
            "egress": [],
            "has_sent_composed": true,
        },
        "plan": {"steps": [{"id": "s1", "tool": "calculate", "arguments": {"expression": "1+1"}}]},
        "context": {"a": {"b": [1, 2.5, null, "x"]}},
    });
    let reached = json!({
        "status": "running",
        "run_at": 1_767_225_600_000_i64,
        "priority": 9,
        "updated_at": 1_767_225_600_001_i64,
        "attempt": 1,
        "crashes": 1,
        "releases": 2,
        "cancel_requested": true,
        "step_withdrawn": true,
        "rank": 1_767_225_060_000_i64,
        "claim": "t",
        "owner": "r",
        "approvals": [{
            "hash": "h",
            "subject": {"kind": "task"},
            "asked_at": 1_767_225_600_000_i64,
            "expires_at": 1_767_225_601_000_i64,
            "decision": {"verdict": "approved", "by": "ada", "at": 1_767_225_600_000_i64},
        }],
        "result": {"ok": true},
        "error": {"class": "transient", "message": "busy", "retry_after_ms": 5, "step": "s1"},
        "postponed": {
            "model": "m",
            "since": 1_767_225_600_000_i64,
            "times": 3,
            "last": 1_767_225_600_000_i64,
            "not_before": 1_767_225_600_000_i64,
            "cause": {"class": "unavailable", "message": "cannot connect"},
        },
        "awaits": ["8"],
        "awaits_until": 1_767_225_600_000_i64,
        "colour": "red",
        "n": [1],
    });
    let written: Map<String, Value> =
        [ordered, reached].into_iter().filter_map(|half| half.as_object().cloned()).flatten().collect();
    assert_eq!(task_payload(&claimed(&full())), written);
}

#[test]
fn a_task_comes_back_as_it_was_written() {
    for task in [full(), claimed(&full()), Task::new(TaskId::Number(3), "x", NOW)] {
        let payload = encode_new(&task, Some("n")).expect("not deep");
        assert_eq!(decode(task.id, payload, Zone::UTC, NOW).expect("readable"), task);
    }
}

#[test]
fn the_origin_of_a_step_that_cannot_be_read_is_one_of_which_nothing_is_known() {
    let mut payload = encode_new(&full(), None).expect("not deep");
    for broken in [json!({"is_given": true}), json!("given"), json!([])] {
        payload.insert(TREE_STEP.to_owned(), broken);
        let task = decode(full().id, payload.clone(), Zone::UTC, NOW).expect("readable");
        assert_eq!(task.spec.lineage.step, Some(StepOrigin::unknown()));
    }
}

#[test]
fn a_patch_leads_from_one_state_to_the_next() {
    let (pending, running) = (full(), claimed(&full()));
    let failed = running.apply(&TaskEvent::Failed(Failure::permanent("no")), NOW).expect("legal");
    for (before, event) in [
        (&running, TaskEvent::Completed(json!({"answer": 42}))),
        (&running, TaskEvent::Failed(Failure::permanent("no"))),
        (&running, TaskEvent::RetryAt(NOW.plus_millis(500), Failure::transient("busy"))),
        (&running, TaskEvent::Released),
        (&running, TaskEvent::Postponed(NOW.plus_millis(500), postponement())),
        (&running, TaskEvent::Rescued),
        (&running, TaskEvent::Cancelled),
        (&pending, TaskEvent::Reprioritised(1)),
        (&pending, TaskEvent::Snoozed(NOW.plus_millis(5))),
        (&pending, TaskEvent::CancelRequested),
        (&pending, TaskEvent::StepWithdrawn),
        (&failed, TaskEvent::Requeued),
    ] {
        let after = before.apply(&event, NOW.plus_millis(9)).expect("legal");
        let mut payload = encode_new(before, Some("n")).expect("not deep");
        for (key, value) in patch(before, &after) {
            if value.is_null() {
                payload.remove(&key)
            } else {
                payload.insert(key, value)
            };
        }
        assert_eq!(payload.contains_key("rank"), !after.state.status.is_terminal(), "{}", event.name());
        assert!(!payload.contains_key("claim") && !payload.contains_key("owner"));
        assert_eq!(decode(after.id, payload, Zone::UTC, NOW).expect("readable"), after, "{}", event.name());
    }
}

#[test]
fn a_patch_holds_only_what_changed() {
    let running = claimed(&full());
    let after = running.apply(&TaskEvent::CancelRequested, NOW.plus_millis(9)).expect("legal");
    let before = running.with(|task| task.state.cancel_requested = false);
    let keys: Vec<String> = patch(&before, &after).into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["updated_at", "cancel_requested"]);
}

#[test]
fn who_is_named_needs_no_capability() {
    assert!(!encode(&full()).contains_key("needs"));
    assert_eq!(encode(&full().with(|task| task.spec.agent = None))["needs"], json!(["sql"]));
}

#[test]
fn only_tasks_that_ask_a_model_are_marked() {
    let marked = |task: &Task| encode(task).contains_key(NEEDS_MODEL);
    let with = |plan: Value| full().with(|task| task.spec.plan = Some(serde_json::from_value(plan).expect("a plan")));
    assert!(marked(&full().with(|task| task.spec.plan = None)));
    assert!(marked(&with(json!([{"id": "a", "tool": "calculate"}, {"id": "b", "instruction": "think"}]))));
    assert!(!marked(&full()));
    assert!(!marked(&with(json!([]))));
}

#[test]
fn what_is_nested_too_deeply_is_refused_by_name() {
    let deep = (0..=values::MAX_DEPTH).fold(json!(1), |inner, _| json!([inner]));
    let mut task = full();
    task.spec.context.insert("deep".into(), deep);
    let error = encode_new(&task, Some("n")).expect_err("too deep").to_string();
    assert!(error.contains("context"), "{error}");
}

/// A text whose length is within `chars`, mostly, at one of its ends often, and now and then just beyond.
fn text(chars: std::ops::RangeInclusive<usize>) -> impl Strategy<Value = String> {
    let (least, most) = (*chars.start(), *chars.end());
    let within = proptest::sample::select(vec![least, least + 1, most - 1, most]);
    let beyond = proptest::sample::select(vec![least - 1, most + 1]);
    (prop_oneof![30 => within, 1 => beyond], "[a-zäß€]").prop_map(|(length, letter)| letter.repeat(length))
}

fn nested(depth: usize) -> Value {
    (0..depth).fold(json!({"x": 1}), |inner, level| if level % 2 == 0 { json!([inner]) } else { json!({"a": inner}) })
}

/// A task with every field anywhere around its bounds.
fn any_task() -> impl Strategy<Value = Task> {
    let numbers = (
        prop_oneof![30 => SpecLimits::STORED.timeout_s, 1 => Just(0), 1 => Just(2_592_001), 1 => any::<u64>()],
        prop_oneof![30 => SpecLimits::STORED.max_attempts, 1 => Just(0), 1 => Just(1_001), 1 => any::<u32>()],
        prop_oneof![30 => SpecLimits::STORED.priority, 1 => any::<u8>()],
        any::<[u32; 3]>(),
        0_i64..253_402_300_800_000,
    );
    let names = (
        proptest::option::of(text(SpecLimits::STORED.name_chars)),
        proptest::option::of(text(SpecLimits::STORED.unique_key_chars)),
        proptest::option::of(text(SpecLimits::STORED.name_chars)),
        proptest::collection::vec(text(SpecLimits::STORED.name_chars), 0..2),
        proptest::collection::vec("\\PC{1,8}", 0..3),
    );
    let rest = (
        proptest::sample::select(TaskStatus::ALL.to_vec()),
        prop_oneof![20 => "\\PC{1,40}", 1 => text(SpecLimits::STORED.goal_chars)],
        prop_oneof![20 => 0_usize..15, 1 => 15_usize..20],
        proptest::option::of(prop_oneof![20 => 0_usize..12, 1 => 12_usize..20]),
        prop_oneof![Just(UniqueFor::Alive), Just(UniqueFor::Forever), (1_u64..99).prop_map(UniqueFor::Seconds)],
    );
    (numbers, names, rest).prop_map(|(numbers, names, (status, goal, context, plan, unique_for))| {
        let (timeout_s, max_attempts, priority, [attempt, crashes, releases], run_at) = numbers;
        let (agent, unique_key, user, tags, capabilities) = names;
        let plan = plan.map(|depth| json!([{"id": "a", "tool": "t", "arguments": {"x": nested(depth)}}]));
        Task::new(TaskId::Number(1), goal, NOW).with(|task| {
            task.state.status = status;
            task.spec.timeout_s = timeout_s;
            task.spec.max_attempts = max_attempts;
            task.spec.priority = priority;
            task.state.attempt = attempt;
            task.state.crashes = crashes;
            task.state.releases = releases;
            task.spec.run_at = Timestamp::from_millis(run_at);
            task.spec.agent = agent;
            task.spec.unique_key = unique_key;
            task.spec.unique_for = unique_for;
            task.spec.concurrency_key = user.clone();
            task.spec.user = user;
            task.spec.tags = tags;
            task.spec.capabilities = capabilities;
            task.spec.plan = plan.and_then(|plan| serde_json::from_value(plan).ok());
            task.spec.context = Map::from_iter([("x".to_owned(), nested(context))]);
            task.state.finished_at = status.is_terminal().then_some(NOW);
        })
    })
}

proptest! {
    #[test]
    fn whatever_the_codec_writes_it_reads_as_it_was(task in any_task()) {
        let alive = task.clone().with(|task| task.state.status = TaskStatus::Pending);
        let is_within = alive.validate(&SpecLimits::STORED).is_ok();
        let written = encode_new(&task, Some("n"));
        // A record of what has ended may hold anything, and is shown as far as it can be read.
        if !task.state.status.is_terminal() {
            prop_assert_eq!(written.is_ok(), is_within);
        }
        let Ok(payload) = written else { return Ok(()) };
        let stored = values::from_payload(values::to_payload(payload));
        let read = decode(task.id, stored, Zone::UTC, NOW);
        prop_assert!(read.is_ok(), "{read:?}");
        if is_within {
            prop_assert_eq!(read.expect("readable"), task);
        }
    }
}
