//! Limits at their edges, and what becomes of an order.

use serde_json::json;

use super::*;

const NOW: Timestamp = Timestamp::from_millis(0);

fn order() -> TaskSpec {
    TaskSpec::new("a goal that is long enough", NOW)
}

fn nested(levels: usize) -> Value {
    (0..levels).fold(json!(1), |inner, _| json!([inner]))
}

/// What is wrong with `spec`, a sentence each.
fn faults(spec: &TaskSpec, limits: &SpecLimits) -> Vec<String> {
    spec.validate(limits).err().map(|invalid| invalid.messages().collect()).unwrap_or_default()
}

#[test]
fn each_limit_is_named_with_field_value_and_limit() {
    let text = |length: usize| Some("x".repeat(length));
    let plan = |levels| serde_json::from_value(json!([{"id": "a", "tool": "t", "arguments": {"x": nested(levels)}}]));
    let of = |value: Value| Map::from_iter([("x".to_owned(), value)]);
    let most = SpecLimits::API.max_context_bytes;
    let context = |value: Value| TaskSpec { context: of(value), ..order() };
    let cases = vec![
        (
            TaskSpec { goal: " ".into(), ..order() },
            TaskSpec { goal: "x".repeat(10), ..order() },
            "0 characters: use 10 to 5000",
        ),
        (
            TaskSpec { goal: "x".repeat(5_001), ..order() },
            TaskSpec { goal: "ä".repeat(5_000), ..order() },
            "5001 characters",
        ),
        (
            TaskSpec { priority: 11, ..order() },
            TaskSpec { priority: 10, ..order() },
            "priority 11 is out of range: use 0 to 10",
        ),
        (
            TaskSpec { max_attempts: 0, ..order() },
            TaskSpec { max_attempts: 1, ..order() },
            "max_attempts 0 is out of range",
        ),
        (TaskSpec { max_attempts: 1_001, ..order() }, TaskSpec { max_attempts: 1_000, ..order() }, "use 1 to 1000"),
        (TaskSpec { timeout_s: 0, ..order() }, TaskSpec { timeout_s: 1, ..order() }, "timeout_s 0 is out of range"),
        (
            TaskSpec { timeout_s: 2_592_001, ..order() },
            TaskSpec { timeout_s: 2_592_000, ..order() },
            "timeout_s 2592001 is out of range: use 1 to 2592000 (30 days)",
        ),
        (
            TaskSpec { agent: text(201), ..order() },
            TaskSpec { agent: text(200), ..order() },
            "agent: a text of 201 characters",
        ),
        (TaskSpec { user: text(0), ..order() }, TaskSpec { user: text(1), ..order() }, "user: a text of 0 characters;"),
        (TaskSpec { unique_key: text(513), ..order() }, TaskSpec { unique_key: text(512), ..order() }, "use 1 to 512"),
        (TaskSpec { concurrency_key: text(201), ..order() }, order(), "concurrency_key"),
        (
            TaskSpec { tags: vec!["x".into(); 101], ..order() },
            TaskSpec { tags: vec!["x".into(); 100], ..order() },
            "tags has 101 entries; the most is 100",
        ),
        (TaskSpec { capabilities: vec!["x".into(); 101], ..order() }, order(), "capabilities has 101 entries"),
        (
            TaskSpec { depends_on: vec![TaskId::Number(2); 10_001], ..order() },
            TaskSpec { depends_on: vec![TaskId::Number(2); 10_000], ..order() },
            "depends_on has 10001 entries",
        ),
        (
            TaskSpec { tags: vec![" ".into()], ..order() },
            TaskSpec { tags: vec!["x".into()], ..order() },
            "tags: a text of 1 characters, all of them blank",
        ),
        (TaskSpec { capabilities: vec!["x".repeat(201)], ..order() }, order(), "capabilities"),
        (context(nested(17)), context(nested(16)), "context is nested deeper"),
        (
            context("x".repeat(most).into()),
            context("x".repeat(most - 10).into()),
            "context has 1048582 bytes: use at most 1048576",
        ),
        (context(vec![1; 300_000].into()), context(vec![1; 100_000].into()), "bytes of memory: use at most 8388608"),
        (
            TaskSpec { plan: plan(13).ok(), ..order() },
            TaskSpec { plan: plan(12).ok(), ..order() },
            "plan is nested deeper than 16 levels",
        ),
    ];
    for (outside, within, told) in cases {
        let found = faults(&outside, &SpecLimits::API);
        assert!(found.len() == 1 && found[0].contains(told), "{found:?} does not say {told:?}");
        assert_eq!(faults(&within, &SpecLimits::API), Vec::<String>::new(), "{told}");
        // A task is held to what its order was held to.
        let told_of = |spec: TaskSpec| {
            let task = spec.into_task(TaskId::Number(1), &ApprovalPolicy::default(), NOW);
            task.validate(&SpecLimits::API).err().map(|invalid| invalid.messages().collect::<Vec<_>>())
        };
        assert_eq!((told_of(outside), told_of(within)), (Some(found), None));
    }
}

#[test]
fn all_faults_are_told_at_once() {
    let spec = TaskSpec { priority: 11, timeout_s: 0, tags: vec![String::new()], ..TaskSpec::new("short", NOW) };
    let invalid = spec.validate(&SpecLimits::default()).expect_err("four faults");
    let fields: Vec<&str> = invalid.0.iter().map(|fault| fault.field).collect();
    assert_eq!(fields, ["goal", "priority", "timeout_s", "tags"]);
    assert_eq!(invalid.to_string(), invalid.messages().collect::<Vec<_>>().join("; "));
}

#[test]
fn agents_write_goals_within_the_limits_of_people() {
    assert_eq!(SpecLimits::TOOL.goal_chars, SpecLimits::API.goal_chars);
}

#[test]
fn programs_may_write_longer_and_shorter_goals_than_people() {
    for limits in [SpecLimits::FOREIGN, SpecLimits::FIRING, SpecLimits::STORED] {
        for (length, faulty) in [(0, true), (1, false), (50_000, false), (50_001, true)] {
            let found = faults(&TaskSpec { goal: "ö".repeat(length), ..order() }, &limits);
            assert_eq!(!found.is_empty(), faulty, "{length}: {found:?}");
        }
    }
}

#[test]
fn what_has_ended_is_a_record() {
    let record = Task::new(TaskId::Number(1), "", NOW).with(|task| {
        task.state.status = TaskStatus::Skipped;
        task.spec.timeout_s = 0;
    });
    assert_eq!(record.validate(&SpecLimits::STORED), Ok(()));
}

#[test]
fn an_order_waits_for_a_person_before_it_waits_for_other_tasks() {
    let task = |spec: TaskSpec| spec.into_task(TaskId::Number(1), &ApprovalPolicy::default(), NOW);
    let depends_on = vec![TaskId::Number(2)];
    assert_eq!(task(order()), Task::new(TaskId::Number(1), "a goal that is long enough", NOW));
    assert_eq!(task(TaskSpec { depends_on: depends_on.clone(), ..order() }).state.status, TaskStatus::Waiting);
    let asked = task(TaskSpec { depends_on, approval: ApprovalRequirement::Required, ..order() });
    assert_eq!((asked.state.status, asked.state.approvals.len()), (TaskStatus::AwaitingApproval, 1));
    assert!(crate::domain::task::is_unapproved(&asked));
}
