//! A task as the payload of its point: what is written, what a change writes, and how it is read back.

use serde_json::{Map, Value, json};

use super::fields::{
    ADMITTED, AWAITS, FIELDS, INSERTED_BY, LOOK_AT, NEEDS_MODEL, POSTPONED, STEP_WITHDRAWN, TREE_GENERATION,
    TREE_HANDOVER, TREE_RIGHTS, TREE_ROOT, TREE_STEP,
};
use super::foreign::{Origin, read};
use crate::domain::delegation::Awaited;
use crate::domain::dependency::OnDependencyFailure;
use crate::domain::id::TaskId;
use crate::domain::schedule::zone::Zone;
use crate::domain::task::{SpecLimits, Task, TaskSpec, TaskState};
use crate::domain::time::Timestamp;
use crate::domain::tree::{Lineage, Rights};
use crate::domain::unique::UniqueFor;
use crate::store::StoreError;
use crate::store::qdrant::values;
use crate::store::qdrant::values::is_within;

/// The fields of `task`, without its unknown ones. Absent and empty fields, and counts of nothing, are left out: the server
/// reads and writes the whole payload at each change.
pub(in crate::store) fn encode(task: &Task) -> Map<String, Value> {
    let mut payload = encode_spec(&task.spec);
    payload.append(&mut encode_state(task));
    payload
}

/// What no transition changes of an order.
fn encode_spec(spec: &TaskSpec) -> Map<String, Value> {
    // `encode_state` writes the due time and the priority, which transitions change. `approvals` holds the request of a
    // task that needs the approval of a person, and `decode` derives the need from it.
    let TaskSpec {
        goal,
        agent,
        capabilities,
        depends_on,
        on_dependency_failure,
        parent,
        lineage,
        unique_key,
        unique_for,
        concurrency_key,
        schedule_id,
        max_attempts,
        timeout_s,
        plan,
        context,
        tags,
        user,
        run_at: _,
        priority: _,
        approval: _,
    } = spec;
    let mut payload = Map::new();
    let mut put = |key: &str, value: Value| {
        payload.insert(key.to_owned(), value);
    };
    put("goal", json!(goal));
    put("max_attempts", json!(max_attempts));
    put("timeout_s", json!(timeout_s));
    put(ADMITTED, json!(true));
    // What routing must find an agent for. Whoever is named takes the task, whatever it asks for.
    if agent.is_none() && !capabilities.is_empty() {
        put("needs", capabilities.iter().map(|word| Value::from(word.to_lowercase())).collect());
    }
    if spec.needs_model() {
        put(NEEDS_MODEL, json!(true));
    }
    let lists = [("capabilities", capabilities), ("tags", tags)];
    for (key, words) in lists.into_iter().filter(|(_, words)| !words.is_empty()) {
        put(key, json!(words));
    }
    let texts = [
        ("agent", agent),
        ("unique_key", unique_key),
        ("concurrency_key", concurrency_key),
        ("schedule_id", schedule_id),
        ("user", user),
    ];
    for (key, text) in texts {
        if let Some(text) = text {
            put(key, json!(text));
        }
    }
    if !depends_on.is_empty() {
        put("depends_on", json!(depends_on));
    }
    if *on_dependency_failure != OnDependencyFailure::default() {
        put("on_dependency_failure", json!(on_dependency_failure));
    }
    if *unique_for != UniqueFor::default() {
        put("unique_for", json!(unique_for));
    }
    if let Some(parent) = parent {
        put("parent", json!(parent));
    }
    put_lineage(lineage, &mut put);
    if let Some(plan) = plan {
        put("plan", json!(plan));
    }
    if !context.is_empty() {
        put("context", Value::Object(context.clone()));
    }
    payload
}

fn put_lineage(lineage: &Lineage, put: &mut impl FnMut(&str, Value)) {
    if let Some(root) = lineage.root {
        put(TREE_ROOT, json!(root));
    }
    if lineage.generation > 0 {
        put(TREE_GENERATION, json!(lineage.generation));
    }
    if lineage.rights != Rights::default() {
        put(TREE_RIGHTS, json!(lineage.rights));
    }
    if let Some(handover) = &lineage.handover {
        put(TREE_HANDOVER, json!(handover));
    }
    if let Some(step) = &lineage.step {
        put(TREE_STEP, json!(step));
    }
}

/// What a transition may change, and the times of the task.
fn encode_state(task: &Task) -> Map<String, Value> {
    // The id is the id of the point, and `extra` belongs to other programs.
    let TaskState {
        status,
        attempt,
        crashes,
        releases,
        claim,
        created_at,
        updated_at,
        finished_at,
        result,
        error,
        postponed,
        awaits,
        cancel_requested,
        withdrawn,
        approvals,
        extra: _,
    } = &task.state;
    let mut payload = Map::new();
    let mut put = |key: &str, value: Value| {
        payload.insert(key.to_owned(), value);
    };
    put("status", json!(status));
    put("run_at", json!(task.spec.run_at));
    put("priority", json!(task.spec.priority));
    put("created_at", json!(created_at));
    put("updated_at", json!(updated_at));
    let counts = [("attempt", attempt), ("crashes", crashes), ("releases", releases)];
    for (key, count) in counts.into_iter().filter(|(_, count)| **count > 0) {
        put(key, json!(count));
    }
    if *cancel_requested {
        put("cancel_requested", json!(true));
    }
    if *withdrawn {
        put(STEP_WITHDRAWN, json!(true));
    }
    // Finished tasks leave the ordered index, which stays as small as the work that is left.
    if !status.is_terminal() {
        put("rank", json!(task.spec.rank()));
    }
    if let Some(claim) = claim {
        put("claim", json!(claim.token));
        put("owner", json!(claim.owner));
    }
    if !approvals.is_empty() {
        put("approvals", json!(approvals));
    }
    if let Some(at) = finished_at {
        put("finished_at", json!(at));
    }
    if let Some(result) = result {
        put("result", result.clone());
    }
    if let Some(error) = error {
        put("error", json!(error));
    }
    if let Some(postponed) = postponed {
        put(POSTPONED, json!(postponed));
    }
    if let Some(awaited) = awaits {
        put(AWAITS, json!(awaited.tasks));
        put(LOOK_AT, json!(awaited.look_at));
    }
    payload
}

/// The payload of a task's point, unknown fields included; what a dead letter keeps of it.
#[must_use]
pub fn task_payload(task: &Task) -> Map<String, Value> {
    let mut payload = encode(task);
    for (key, value) in &task.state.extra {
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
/// [`StoreError::Refused`] for data that would not come back: beyond [`SpecLimits::STORED`], or nested too deeply.
pub(super) fn encode_new(task: &Task, nonce: Option<&str>) -> Result<Map<String, Value>, StoreError> {
    task.validate(&SpecLimits::STORED).map_err(|invalid| StoreError::Refused {
        operation: "insert",
        reason: format!("task {}: {invalid}", task.id),
    })?;
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
pub(in crate::store) fn patch(before: &Task, after: &Task) -> Map<String, Value> {
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
pub(in crate::store) fn decode(
    id: TaskId,
    payload: Map<String, Value>,
    zone: Zone,
    now: Timestamp,
) -> Result<Task, StoreError> {
    let origin = if is_admitted(&payload) { Origin::Own } else { Origin::Foreign };
    // Only words for people: what a newer version says otherwise is left out.
    let postponed = payload.get(POSTPONED).filter(|_| origin == Origin::Own).cloned();
    let postponed = postponed.and_then(|value| serde_json::from_value(value).ok());
    let awaits = awaits_of(&payload).filter(|_| origin == Origin::Own);
    let withdrawn = origin == Origin::Own && payload.get(STEP_WITHDRAWN) == Some(&Value::Bool(true));
    let mut task = read(id, payload, zone, now, origin).map_err(|failure| StoreError::Corrupt {
        collection: "tasks".to_owned(),
        id: id.to_string(),
        reason: failure.message,
    })?;
    task.state.postponed = postponed;
    task.state.awaits = awaits;
    task.state.withdrawn = withdrawn;
    Ok(task)
}

fn awaits_of(payload: &Map<String, Value>) -> Option<Awaited> {
    let tasks = serde_json::from_value(payload.get(AWAITS)?.clone()).ok()?;
    Some(Awaited { tasks, look_at: Timestamp::of_stored(payload.get(LOOK_AT)?)? })
}

#[cfg(test)]
mod tests;
