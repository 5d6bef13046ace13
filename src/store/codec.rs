//! A task as the payload of its point: what is written, what a change writes, and how it is read back.

use serde_json::{Map, Value, json};

use super::foreign::{Origin, read};
use super::values::is_within;
use super::{StoreError, values};
use crate::domain::dependency::OnDependencyFailure;
use crate::domain::id::TaskId;
use crate::domain::schedule::zone::Zone;
use crate::domain::task::{Task, limits};
use crate::domain::time::Timestamp;
use crate::domain::unique::UniqueFor;

/// Every field that qron itself writes into a task's point. All others belong to whoever inserted it.
pub(super) const FIELDS: &[&str] = &[
    "goal",
    "status",
    "run_at",
    "rank",
    "priority",
    "agent",
    "capabilities",
    "needs",
    "depends_on",
    "on_dependency_failure",
    "parent",
    "unique_key",
    "unique_for",
    "concurrency_key",
    "schedule_id",
    "attempt",
    "max_attempts",
    "crashes",
    "releases",
    "timeout_s",
    "plan",
    "context",
    "tags",
    "user",
    "claim",
    "owner",
    "created_at",
    "updated_at",
    "finished_at",
    "result",
    "error",
    POSTPONED,
    NEEDS_MODEL,
    "cancel_requested",
    "approval",
    "approvals",
    RUNS_AS,
    ADMITTED,
    SETTLED_BY,
    INSERTED_BY,
];

/// Agent that a limit counts the task for while it runs; written by claims of such agents alone.
pub(super) const RUNS_AS: &str = "runs_as";
/// Why the task waits for its model.
pub(super) const POSTPONED: &str = "postponed";
/// Set on tasks whose run asks a model, so that a replica without one leaves them out of its scans.
pub(super) const NEEDS_MODEL: &str = "needs_model";
/// Set once a point is known to be a task in qron's own form.
pub(super) const ADMITTED: &str = "admitted";
/// Who made the last change that is not a claim; the writer reads it back to learn whether it won.
pub(super) const SETTLED_BY: &str = "settled_by";
/// Which insert made the point, where that may be asked.
pub(super) const INSERTED_BY: &str = "inserted_by";

/// The fields of `task`, without its unknown ones. Absent and empty fields, and counts of nothing, are left out: the server
/// reads and writes the whole payload at each change.
pub(super) fn encode(task: &Task) -> Map<String, Value> {
    let mut payload = encode_spec(task);
    payload.append(&mut encode_state(task));
    payload
}

/// What was asked for, which no transition changes.
fn encode_spec(task: &Task) -> Map<String, Value> {
    let mut payload = Map::new();
    let mut put = |key: &str, value: Value| {
        payload.insert(key.to_owned(), value);
    };
    put("goal", json!(task.goal));
    put("max_attempts", json!(task.max_attempts));
    put("timeout_s", json!(task.timeout_s));
    put("created_at", json!(task.created_at));
    put(ADMITTED, json!(true));
    // What routing must find an agent for. Whoever is named takes the task, whatever it asks for.
    if task.agent.is_none() && !task.capabilities.is_empty() {
        put("needs", task.capabilities.iter().map(|word| Value::from(word.to_lowercase())).collect());
    }
    if task.needs_model() {
        put(NEEDS_MODEL, json!(true));
    }
    let lists = [("capabilities", &task.capabilities), ("tags", &task.tags)];
    for (key, words) in lists.into_iter().filter(|(_, words)| !words.is_empty()) {
        put(key, json!(words));
    }
    let texts = [
        ("agent", &task.agent),
        ("unique_key", &task.unique_key),
        ("concurrency_key", &task.concurrency_key),
        ("schedule_id", &task.schedule_id),
        ("user", &task.user),
    ];
    for (key, text) in texts {
        if let Some(text) = text {
            put(key, json!(text));
        }
    }
    if !task.depends_on.is_empty() {
        put("depends_on", json!(task.depends_on));
    }
    if task.on_dependency_failure != OnDependencyFailure::default() {
        put("on_dependency_failure", json!(task.on_dependency_failure));
    }
    if task.unique_for != UniqueFor::default() {
        put("unique_for", json!(task.unique_for));
    }
    if let Some(parent) = task.parent {
        put("parent", json!(parent));
    }
    if let Some(plan) = &task.plan {
        put("plan", json!(plan));
    }
    if !task.context.is_empty() {
        put("context", Value::Object(task.context.clone()));
    }
    payload
}

/// Where the task has got to.
fn encode_state(task: &Task) -> Map<String, Value> {
    let mut payload = Map::new();
    let mut put = |key: &str, value: Value| {
        payload.insert(key.to_owned(), value);
    };
    put("status", json!(task.status));
    put("run_at", json!(task.run_at));
    put("priority", json!(task.priority));
    put("updated_at", json!(task.updated_at));
    let counts = [("attempt", task.attempt), ("crashes", task.crashes), ("releases", task.releases)];
    for (key, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
        put(key, json!(count));
    }
    if task.cancel_requested {
        put("cancel_requested", json!(true));
    }
    // Finished tasks leave the ordered index, which stays as small as the work that is left.
    if !task.status.is_terminal() {
        put("rank", json!(task.rank()));
    }
    if let Some(claim) = &task.claim {
        put("claim", json!(claim.token));
        put("owner", json!(claim.owner));
    }
    if !task.approvals.is_empty() {
        put("approvals", json!(task.approvals));
    }
    if let Some(at) = task.finished_at {
        put("finished_at", json!(at));
    }
    if let Some(result) = &task.result {
        put("result", result.clone());
    }
    if let Some(error) = &task.error {
        put("error", json!(error));
    }
    if let Some(postponed) = &task.postponed {
        put(POSTPONED, json!(postponed));
    }
    payload
}

/// The payload of a task's point, unknown fields included; what a dead letter keeps of it.
#[must_use]
pub fn task_payload(task: &Task) -> Map<String, Value> {
    let mut payload = encode(task);
    for (key, value) in &task.extra {
        if !FIELDS.contains(&key.as_str()) {
            payload.insert(key.clone(), value.clone());
        }
    }
    payload
}

/// The whole payload of a new point: the fields of `task` and its unknown ones, and the nonce of an insert that must find
/// out whether it was the first.
///
/// # Errors
/// [`StoreError::Refused`] for data that would not come back: beyond the [bounds](limits) of a task, or nested too deeply.
pub(super) fn encode_new(task: &Task, nonce: Option<&str>) -> Result<Map<String, Value>, StoreError> {
    let faults = limits::faults(task, &limits::GOAL_CHARS);
    if !faults.is_empty() {
        let reason = format!("task {}: {}", task.id, faults.join("; "));
        return Err(StoreError::Refused { operation: "insert", reason });
    }
    let mut payload = task_payload(task);
    if let Some((key, _)) = payload.iter().find(|(_, value)| !is_within(value, values::MAX_DEPTH)) {
        return Err(StoreError::Refused {
            operation: "insert",
            reason: format!("{key} of task {} is nested deeper than {} levels", task.id, values::MAX_DEPTH),
        });
    }
    if let Some(nonce) = nonce {
        payload.insert(INSERTED_BY.to_owned(), json!(nonce));
    }
    Ok(payload)
}

/// What must be written to turn the point of `before` into that of `after`, which a transition made of it; `null` removes a
/// field.
pub(super) fn patch(before: &Task, after: &Task) -> Map<String, Value> {
    let mut old = encode_state(before);
    let mut patch = Map::new();
    for (key, value) in encode_state(after) {
        if old.remove(&key).as_ref() != Some(&value) {
            patch.insert(key, value);
        }
    }
    patch.extend(old.into_iter().map(|(key, _)| (key, Value::Null)));
    patch
}

/// Whether the payload is in qron's own form.
pub(super) fn is_admitted(payload: &Map<String, Value>) -> bool {
    payload.get(ADMITTED) == Some(&Value::Bool(true))
}

/// The task of a point. One that is not admitted yet is read as admission will read it: times without an offset are on the
/// wall clock of `zone`, and `now` stands for those that are left out.
///
/// # Errors
/// [`StoreError::Corrupt`] with what is wrong and in which field.
pub(super) fn decode(id: TaskId, payload: Map<String, Value>, zone: Zone, now: Timestamp) -> Result<Task, StoreError> {
    let origin = if is_admitted(&payload) { Origin::Own } else { Origin::Foreign };
    // Only words for people: what a newer version says otherwise is left out.
    let postponed = payload.get(POSTPONED).filter(|_| origin == Origin::Own).cloned();
    let postponed = postponed.and_then(|value| serde_json::from_value(value).ok());
    let task = read(id, payload, zone, now, origin).map_err(|failure| StoreError::Corrupt {
        collection: "tasks".to_owned(),
        id: id.to_string(),
        reason: failure.message,
    })?;
    Ok(Task { postponed, ..task })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::failure::Failure;
    use crate::domain::outage::Postponement;
    use crate::domain::task::{Claim, TaskEvent, TaskStatus};

    const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);

    fn full() -> Task {
        let plan = json!({"steps": [{"id": "s1", "tool": "calculate", "arguments": {"expression": "1+1"}}]});
        Task {
            priority: 9,
            agent: Some("writer".into()),
            capabilities: vec!["SQL".into()],
            depends_on: vec![TaskId::Number(7), TaskId::fresh()],
            on_dependency_failure: OnDependencyFailure::Continue,
            parent: Some(TaskId::Number(6)),
            unique_key: Some("k".into()),
            unique_for: UniqueFor::Seconds(60),
            concurrency_key: Some("acme".into()),
            schedule_id: Some("s".into()),
            attempt: 1,
            max_attempts: 5,
            crashes: 1,
            releases: 2,
            timeout_s: 60,
            plan: Some(serde_json::from_value(plan).expect("a plan")),
            context: serde_json::from_value(json!({"a": {"b": [1, 2.5, null, "x"]}})).expect("a map"),
            tags: vec!["x".into(), "y z".into()],
            user: Some("u".into()),
            result: Some(json!({"ok": true})),
            error: Some(Failure::transient("busy").retry_after(Some(5)).in_step("s1")),
            postponed: Some(postponement()),
            cancel_requested: true,
            extra: serde_json::from_value(json!({"colour": "red", "n": [1]})).expect("a map"),
            ..Task::new(TaskId::fresh(), "do it", NOW)
        }
    }

    fn postponement() -> Postponement {
        Postponement {
            model: "m".into(),
            since: NOW,
            times: 3,
            last: NOW,
            cause: Failure::unavailable("cannot connect"),
        }
    }

    fn claimed(task: &Task) -> Task {
        let claim = Claim { token: "t".into(), owner: "r".into() };
        task.apply(&TaskEvent::Claimed(claim), NOW.plus_millis(1)).expect("legal")
    }

    #[test]
    fn a_task_comes_back_as_it_was_written() {
        for task in [full(), claimed(&full()), Task::new(TaskId::Number(3), "x", NOW)] {
            let payload = encode_new(&task, Some("n")).expect("not deep");
            assert_eq!(decode(task.id, payload, Zone::UTC, NOW).expect("readable"), task);
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
            assert_eq!(payload.contains_key("rank"), !after.status.is_terminal(), "{}", event.name());
            assert!(!payload.contains_key("claim") && !payload.contains_key("owner"));
            assert_eq!(decode(after.id, payload, Zone::UTC, NOW).expect("readable"), after, "{}", event.name());
        }
    }

    #[test]
    fn a_patch_holds_only_what_changed() {
        let running = claimed(&full());
        let after = running.apply(&TaskEvent::CancelRequested, NOW.plus_millis(9)).expect("legal");
        let before = Task { cancel_requested: false, ..running };
        let keys: Vec<String> = patch(&before, &after).into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["updated_at", "cancel_requested"]);
    }

    #[test]
    fn who_is_named_needs_no_capability() {
        assert!(!encode(&full()).contains_key("needs"));
        assert_eq!(encode(&Task { agent: None, ..full() })["needs"], json!(["sql"]));
    }

    #[test]
    fn only_tasks_that_ask_a_model_are_marked() {
        let marked = |task: &Task| encode(task).contains_key(NEEDS_MODEL);
        let with = |plan: Value| Task { plan: Some(serde_json::from_value(plan).expect("a plan")), ..full() };
        assert!(marked(&Task { plan: None, ..full() }));
        assert!(marked(&with(json!([{"id": "a", "tool": "calculate"}, {"id": "b", "instruction": "think"}]))));
        assert!(!marked(&full()));
        assert!(!marked(&with(json!([]))));
    }

    #[test]
    fn what_is_nested_too_deeply_is_refused_by_name() {
        let deep = (0..=values::MAX_DEPTH).fold(json!(1), |inner, _| json!([inner]));
        let mut task = full();
        task.context.insert("deep".into(), deep);
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
        (0..depth)
            .fold(json!({"x": 1}), |inner, level| if level % 2 == 0 { json!([inner]) } else { json!({"a": inner}) })
    }

    /// A task with every field anywhere around its bounds.
    fn any_task() -> impl Strategy<Value = Task> {
        let numbers = (
            prop_oneof![30 => limits::TIMEOUT_S, 1 => Just(0), 1 => Just(2_592_001), 1 => any::<u64>()],
            prop_oneof![30 => limits::ATTEMPTS, 1 => Just(0), 1 => Just(1_001), 1 => any::<u32>()],
            prop_oneof![30 => limits::PRIORITY, 1 => any::<u8>()],
            any::<[u32; 3]>(),
            0_i64..253_402_300_800_000,
        );
        let names = (
            proptest::option::of(text(limits::NAME_CHARS)),
            proptest::option::of(text(limits::UNIQUE_KEY_CHARS)),
            proptest::option::of(text(limits::NAME_CHARS)),
            proptest::collection::vec(text(limits::NAME_CHARS), 0..2),
            proptest::collection::vec("\\PC{1,8}", 0..3),
        );
        let rest = (
            proptest::sample::select(TaskStatus::ALL.to_vec()),
            prop_oneof![20 => "\\PC{1,40}", 1 => text(limits::GOAL_CHARS)],
            prop_oneof![20 => 0_usize..15, 1 => 15_usize..20],
            proptest::option::of(prop_oneof![20 => 0_usize..12, 1 => 12_usize..20]),
            prop_oneof![Just(UniqueFor::Alive), Just(UniqueFor::Forever), (1_u64..99).prop_map(UniqueFor::Seconds)],
        );
        (numbers, names, rest).prop_map(|(numbers, names, (status, goal, context, plan, unique_for))| {
            let (timeout_s, max_attempts, priority, [attempt, crashes, releases], run_at) = numbers;
            let (agent, unique_key, user, tags, capabilities) = names;
            let plan = plan.map(|depth| json!([{"id": "a", "tool": "t", "arguments": {"x": nested(depth)}}]));
            Task {
                status,
                timeout_s,
                max_attempts,
                priority,
                attempt,
                crashes,
                releases,
                run_at: Timestamp::from_millis(run_at),
                agent,
                unique_key,
                unique_for,
                concurrency_key: user.clone(),
                user,
                tags,
                capabilities,
                plan: plan.and_then(|plan| serde_json::from_value(plan).ok()),
                context: Map::from_iter([("x".to_owned(), nested(context))]),
                finished_at: status.is_terminal().then_some(NOW),
                ..Task::new(TaskId::Number(1), goal, NOW)
            }
        })
    }

    proptest! {
        #[test]
        fn whatever_the_codec_writes_it_reads_as_it_was(task in any_task()) {
            let alive = Task { status: TaskStatus::Pending, ..task.clone() };
            let is_within = limits::faults(&alive, &limits::GOAL_CHARS).is_empty();
            let written = encode_new(&task, Some("n"));
            // A record of what has ended may hold anything, and is shown as far as it can be read.
            if !task.status.is_terminal() {
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
}
