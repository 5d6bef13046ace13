//! Points as other programs write them.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::domain::failure::FailureClass;

const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);

fn raw(payload: &Value) -> RawTask {
    let payload = payload.as_object().expect("an object").clone();
    RawTask { id: TaskId::Number(9), payload }
}

fn task(payload: &Value) -> Task {
    raw(payload).read(Zone::UTC, NOW).unwrap_or_else(|failure| panic!("{payload}: {failure}"))
}

#[test]
fn a_goal_is_all_it_takes() {
    assert_eq!(task(&json!({"goal": "do it"})), Task::new(TaskId::Number(9), "do it", NOW));
}

#[test]
fn other_words_are_understood() {
    let task = task(&json!({
        "STATUS": "PENDING", "description": "do it", "scheduled_at": "2026-01-01T01:00:00+01:00", "Priority": "High",
        "maxRetries": "4", "timeout": 30.0, "labels": "a, b,", "user_id": 42, "required-capabilities": ["sql"],
        "created_at": 1_767_225_500, "mood": {"x": null}, "agent": "",
    }));
    assert_eq!((task.spec.goal.as_str(), task.state.status, task.spec.priority), ("do it", TaskStatus::Pending, 8));
    assert_eq!((task.spec.max_attempts, task.spec.timeout_s), (5, 30));
    assert_eq!(task.spec.run_at, NOW);
    assert_eq!(task.state.created_at, NOW.plus_millis(-100_000));
    assert_eq!(task.spec.tags, ["a", "b"]);
    assert_eq!(task.spec.capabilities, ["sql"]);
    assert_eq!((task.spec.user.as_deref(), task.spec.agent), (Some("42"), None));
    assert_eq!(task.state.extra["mood"], json!({"x": null}));
    assert_eq!(task.state.extra["STATUS"], json!("PENDING"));
}

#[test]
fn the_first_name_that_is_not_null_counts() {
    assert_eq!(task(&json!({"prompt": "b", "goal": null, "description": "a"})).spec.goal, "a");
}

#[test]
fn priorities_end_at_the_bounds_unless_they_are_nonsense() {
    for (given, expected) in [(json!(11), 10), (json!(-3), 0), (json!("7"), 7), (json!(2.0), 2), (json!("urgent"), 10)]
    {
        assert_eq!(task(&json!({"goal": "x", "priority": given})).spec.priority, expected);
    }
}

#[test]
fn who_depends_on_others_waits() {
    let task = task(&json!({"goal": "x", "depends_on": [3, "550e8400-e29b-41d4-a716-446655440000"]}));
    assert_eq!(task.state.status, TaskStatus::Waiting);
    assert_eq!(task.spec.depends_on[0], TaskId::Number(3));
}

#[test]
fn what_is_wrong_is_named_with_its_field() {
    let long = "x".repeat(SpecLimits::FOREIGN.goal_chars.end() + 1);
    for (payload, key) in [
        (json!({}), "goal"),
        (json!({"goal": " "}), "goal"),
        (json!({"goal": 7}), "goal"),
        (json!({"goal": long}), "goal"),
        (json!({"goal": "x", "status": "sideways"}), "status"),
        (json!({"goal": "x", "state": 3}), "state"),
        (json!({"goal": "x", "run_at": "tomorrow"}), "run_at"),
        (json!({"goal": "x", "run_at": true}), "run_at"),
        (json!({"goal": "x", "priority": 1e9}), "priority"),
        (json!({"goal": "x", "priority": 2.5}), "priority"),
        (json!({"goal": "x", "priority": "very"}), "priority"),
        (json!({"goal": "x", "max_attempts": 0}), "max_attempts"),
        (json!({"goal": "x", "max_attempts": -1}), "max_attempts"),
        (json!({"goal": "x", "timeout": "soon"}), "timeout"),
        (json!({"goal": "x", "depends_on": ["../x"]}), "depends_on"),
        (json!({"goal": "x", "tags": {"a": 1}}), "tags"),
        (json!({"goal": "x", "tags": [[]]}), "tags"),
        (json!({"goal": "x", "context": "text"}), "context"),
        (json!({"goal": "x", "agent": ["a"]}), "agent"),
        (json!({"goal": "x", "plan": {"steps": [{"nonsense": 1}]}}), "plan"),
        (json!({"goal": "x", "plan": {"stages": []}}), "plan"),
        (json!({"goal": "x", "plan": [1]}), "plan"),
        (json!({"goal": "x", "cancel_requested": "perhaps"}), "cancel_requested"),
    ] {
        let failure = raw(&payload).read(Zone::UTC, NOW).expect_err(key);
        assert_eq!(failure.class, FailureClass::Invalid);
        assert!(failure.message.starts_with(&format!("{key}: ")), "{failure}");
        assert!(failure.message.len() < 400, "{}", failure.message.len());
    }
}

#[test]
fn a_time_without_an_offset_is_on_the_wall_clock_of_the_zone() {
    let berlin: Zone = "Europe/Berlin".parse().expect("a zone");
    for (written, expected) in [
        (json!("2026-07-01T09:00:00"), "2026-07-01T07:00:00.000Z"),
        (json!("2026-07-01 09:00"), "2026-07-01T07:00:00.000Z"),
        (json!("2026-12-01 09:00:00.5"), "2026-12-01T08:00:00.500Z"),
        (json!("2026-07-01"), "2026-06-30T22:00:00.000Z"),
        (json!("2026-07-01T09:00:00Z"), "2026-07-01T09:00:00.000Z"),
        (json!("2026-07-01T09:00:00-04:00"), "2026-07-01T13:00:00.000Z"),
        (json!(1_782_889_200), "2026-07-01T07:00:00.000Z"),
    ] {
        for field in ["run_at", "scheduled_for", "due_at"] {
            let task = raw(&json!({"goal": "x", field: written})).read(berlin, NOW).expect("readable");
            assert_eq!(task.spec.run_at.to_rfc3339(), expected, "{field} = {written}");
        }
    }
}

#[test]
fn what_is_already_terminal_is_taken_as_it_is() {
    let task = task(&json!({"status": "DONE", "priority": [], "completed_at": "2025-12-31", "output": "42"}));
    assert_eq!(task.state.status, TaskStatus::Completed);
    assert_eq!(task.state.finished_at, Some(Timestamp::from_millis(1_767_139_200_000)));
    assert_eq!(task.state.result, Some(json!("42")));
}

#[test]
fn our_own_points_are_not_guessed_at() {
    let payload = json!({"goal": "x", "status": "pending", "run_at": 5, "output": "not a result", "admitted": true});
    let Value::Object(payload) = payload else { unreachable!() };
    let task = read(TaskId::Number(9), payload, Zone::UTC, NOW, Origin::Own).expect("readable");
    assert_eq!(task.spec.run_at, Timestamp::from_millis(5));
    assert_eq!(task.state.result, None);
    assert_eq!(task.state.extra["output"], json!("not a result"));
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        "[0-9.eE+-]{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::hash_map("[a-z]{1,4}", inner, 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn nothing_makes_it_panic_and_what_is_accepted_reads_the_same_again(
        fields in proptest::collection::hash_map(
            prop_oneof![
                proptest::sample::select(FIELDS.to_vec()).prop_map(str::to_owned),
                proptest::sample::select(vec!["description", "STATUS", "dueAt", "max-retries", "labels", "output"])
                    .prop_map(str::to_owned),
                "\\PC{0,8}",
            ],
            any_json(), 0..8),
        goal in proptest::option::of("\\PC{1,20}"),
    ) {
        let mut payload: Map<String, Value> = fields.into_iter().collect();
        if let Some(goal) = goal {
            payload.insert("goal".into(), goal.into());
        }
        let raw = RawTask { id: TaskId::Number(9), payload };
        match raw.read(Zone::UTC, NOW) {
            Err(failure) => prop_assert_eq!(failure.class, FailureClass::Invalid),
            Ok(task) => {
                let mut written = crate::store::tasks::codec::encode(&task);
                written.extend(task.state.extra.clone());
                let again = read(task.id, written, Zone::UTC, NOW, Origin::Own).expect("our own form");
                prop_assert_eq!(&again.spec.goal, &task.spec.goal);
                prop_assert_eq!((again.state.status, again.spec.run_at, again.spec.priority), (task.state.status, task.spec.run_at, task.spec.priority));
                prop_assert_eq!(again.state.extra, task.state.extra);
            }
        }
    }
}
