//! The body of one task: what a request may say of it, and how that becomes a specification.

use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::api::files;
use crate::api::schemas::{NewTaskId, PlanInput, TimeInput};
use crate::domain::approval::ApprovalRequirement;
use crate::domain::dependency::OnDependencyFailure;
use crate::domain::id::TaskId;
use crate::domain::json;
use crate::domain::plan::Plan;
use crate::domain::schedule::zone::Zone;
use crate::domain::task::{
    DEFAULT_MAX_ATTEMPTS, DEFAULT_PRIORITY, DEFAULT_TIMEOUT_S, InvalidSpec, SpecLimits, TaskSpec,
};
use crate::domain::time::Timestamp;
use crate::domain::tree::Lineage;
use crate::domain::unique::UniqueFor;

/// A task to submit. Only `goal` is required.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewTask, examples(json!({"goal": "Sum up the release notes of PostgreSQL 19", "tags": ["news"]})))]
pub(in crate::api) struct TaskBody {
    /// Id for the task: a UUID or an unsigned number. Submitting it again changes nothing. Without it the task gets a new UUID.
    #[schema(value_type = Option<NewTaskId>)]
    id: Option<Value>,
    /// What the agent must achieve. The field may also be called `description`, `prompt` or `task`.
    #[serde(alias = "description", alias = "prompt", alias = "task")]
    #[schema(min_length = 10, max_length = 5_000)]
    goal: String,
    /// When the task becomes due; at once without it.
    #[schema(value_type = Option<TimeInput>)]
    run_at: Option<Value>,
    /// 0 (can wait) to 10 (urgent); 5 without it.
    #[schema(maximum = 10)]
    priority: Option<u8>,
    /// Name of the agent that must run the task; any capable agent without it.
    #[schema(min_length = 1, max_length = 200)]
    agent: Option<String>,
    /// Capabilities that its agent must have.
    #[serde(default)]
    #[schema(max_items = 100)]
    capabilities: Vec<String>,
    /// Ids of tasks that must be completed first. They belong to the same user.
    #[serde(default)]
    #[schema(max_items = 10_000)]
    depends_on: Vec<TaskId>,
    /// What the task does when a task in `depends_on` does not complete.
    #[serde(default)]
    on_dependency_failure: OnDependencyFailure,
    /// Task of the same user that this task is a part of. It gives the task no rights and no budget.
    parent: Option<TaskId>,
    /// Key that keeps out other tasks with the same key, for as long as `unique_for` says.
    #[schema(min_length = 1, max_length = 512)]
    unique_key: Option<String>,
    /// How long the task holds its `unique_key`; needs a `unique_key`. `alive` without it.
    unique_for: Option<UniqueFor>,
    /// Key by which tasks share the capacity, such as the name of a customer.
    #[schema(min_length = 1, max_length = 200)]
    concurrency_key: Option<String>,
    /// Attempts that the task may have; 3 without it.
    #[schema(minimum = 1, maximum = 1_000)]
    max_attempts: Option<u32>,
    /// Time limit of one attempt, in seconds; 600 without it.
    #[schema(minimum = 1, maximum = 2_592_000)]
    timeout_s: Option<u64>,
    /// Steps to carry out. Without it the model of the agent makes a plan.
    #[schema(value_type = Option<PlanInput>)]
    plan: Option<Plan>,
    /// Data for the agent, at most 1 MiB of JSON and 16 levels deep.
    #[serde(default)]
    context: Map<String, Value>,
    /// Names of files that were uploaded for `id`, which is required then.
    #[serde(default)]
    #[schema(max_items = 100)]
    files: Vec<String>,
    /// Words to find the task by.
    #[serde(default)]
    #[schema(max_items = 100)]
    tags: Vec<String>,
    /// Name of the user on whose behalf the task runs.
    #[schema(min_length = 1, max_length = 200)]
    user: Option<String>,
    /// Whether a person must approve the task before it runs.
    #[serde(default)]
    approval: ApprovalRequirement,
}

/// One task, or a list of 1 to 10,000 tasks.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, clippy::large_enum_variant, reason = "describes the body; `read` takes it apart")]
pub(in crate::api) enum NewTasks {
    One(TaskBody),
    Many(Vec<TaskBody>),
}

/// One task of a request.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) id: TaskId,
    pub(super) spec: TaskSpec,
    /// Names of its files.
    pub(super) files: Vec<String>,
}

/// Reads one task and the id that it chooses, or a new one; what it says may still be impossible.
pub(super) fn parse(body: Value, zone: Zone, now: Timestamp) -> Result<Order, Vec<String>> {
    let Value::Object(fields) = &body else { return Err(vec!["a task must be a JSON object with a goal".to_owned()]) };
    let known = json::field_names::<TaskBody>();
    let mut unknown: Vec<&str> = fields.keys().map(String::as_str).filter(|key| !known.contains(key)).collect();
    // The order of a JSON object's fields depends on how serde_json was built.
    unknown.sort_unstable();
    if !unknown.is_empty() {
        return Err(vec![format!("unknown fields {unknown:?}; known are {}", known.join(", "))]);
    }
    let body: TaskBody = json::from_value(body).map_err(|error| vec![error])?;
    let mut errors = Vec::new();
    let (has_id, files) = (body.id.is_some(), body.files.clone());
    let (id, spec) = body.into_spec(zone, now, &mut errors);
    let order = Order { id, spec, files };
    files::check_names(&order.files, has_id, &order.spec, &mut errors);
    errors.extend(order.spec.validate(&SpecLimits::API).err().iter().flat_map(InvalidSpec::messages));
    if errors.is_empty() { Ok(order) } else { Err(errors) }
}

impl TaskBody {
    /// The order and the id that it chooses; what cannot be read goes to `errors`.
    fn into_spec(self, zone: Zone, now: Timestamp, errors: &mut Vec<String>) -> (TaskId, TaskSpec) {
        let Self {
            id,
            goal,
            run_at,
            priority,
            agent,
            capabilities,
            depends_on,
            on_dependency_failure,
            parent,
            unique_key,
            unique_for,
            concurrency_key,
            max_attempts,
            timeout_s,
            plan,
            context,
            files: _,
            tags,
            user,
            approval,
        } = self;
        if unique_for.is_some() && unique_key.is_none() {
            errors.push(
                "unique_for has no effect without a unique_key: give a unique_key, or leave unique_for out".to_owned(),
            );
        }
        let id = id.map_or_else(|| Ok(TaskId::fresh()), |id| read_id(&id)).unwrap_or_else(|error| {
            errors.push(error);
            TaskId::fresh()
        });
        let run_at = run_at.map_or(Ok(now), |run_at| zone.read(&run_at)).unwrap_or_else(|error| {
            errors.push(format!("run_at: {error}"));
            now
        });
        let spec = TaskSpec {
            goal: goal.trim().to_owned(),
            run_at,
            priority: priority.unwrap_or(DEFAULT_PRIORITY),
            agent,
            capabilities,
            depends_on,
            on_dependency_failure,
            parent,
            // The tree of a task is that of the task which makes it: no request says so.
            lineage: Lineage::default(),
            unique_key,
            unique_for: unique_for.unwrap_or_default(),
            concurrency_key,
            schedule_id: None,
            max_attempts: max_attempts.unwrap_or(DEFAULT_MAX_ATTEMPTS),
            timeout_s: timeout_s.unwrap_or(DEFAULT_TIMEOUT_S),
            plan,
            context,
            tags,
            user,
            approval,
        };
        (id, spec)
    }
}

fn read_id(id: &Value) -> Result<TaskId, String> {
    match id {
        Value::Number(number) => number
            .as_u64()
            .map(TaskId::Number)
            .ok_or_else(|| format!("id: {number} is not a task id: use a UUID or an unsigned number")),
        Value::String(text) => text.parse().map_err(|error| format!("id: {error}")),
        other => Err(format!("id: {other} is not a task id: use a UUID or an unsigned number")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    fn errors(body: Value) -> String {
        parse(body, Zone::UTC, NOW).expect_err("a fault").join("; ")
    }

    #[test]
    fn the_goal_goes_by_several_names() {
        for name in ["goal", "description", "prompt", "task"] {
            let Order { spec, .. } = parse(json!({ name: "factorial of 10" }), Zone::UTC, NOW).expect("valid");
            assert_eq!(spec.goal, "factorial of 10");
        }
        assert!(errors(json!({"goal": "factorial of 10", "task": "twice"})).contains("duplicate"));
    }

    #[test]
    fn each_fault_is_named() {
        assert!(errors(json!({"goal": "short"})).contains("5 characters: use 10 to 5000"));
        assert!(errors(json!({"goal": "x".repeat(5_001)})).contains("5001 characters"));
        let unknown = errors(json!({"goal": "long enough", "gaol": 1, "foo": 2}));
        assert!(unknown.contains(r#"["foo", "gaol"]; known are "#), "{unknown}");
        assert!(["goal", "prompt", "depends_on", "approval"].iter().all(|name| unknown.contains(name)), "{unknown}");
        assert!(errors(json!({"goal": "long enough", "run_at": "tomorrow"})).contains("tomorrow"));
        assert!(errors(json!({"goal": "long enough", "priority": 11})).contains("0 to 10"));
        assert!(errors(json!({"goal": "long enough", "plan": {"stages": []}})).contains("stages"));
        let step = json!({"steps": [{"id": "a", "tool": 7}]});
        assert!(errors(json!({"goal": "long enough", "plan": step})).starts_with("plan.steps[0].tool: invalid type"));
        assert!(errors(json!({"goal": "long enough", "timeout_s": -5})).starts_with("timeout_s: invalid value"));
        assert!(errors(json!({"goal": "long enough", "tags": ["a", 1]})).starts_with("tags[1]: invalid type"));
        assert!(errors(json!({"goal": "long enough", "id": "../x"})).contains("../x"));
        assert!(errors(json!("do it")).contains("object"));
    }

    #[test]
    fn fields_of_dependencies_and_unique_keys_are_read() {
        let Order { spec, .. } =
            parse(json!({"goal": "long enough", "depends_on": ["2"]}), Zone::UTC, NOW).expect("valid");
        assert_eq!(spec.depends_on, [TaskId::Number(2)]);
        assert!(errors(json!({"goal": "long enough", "on_dependency_failure": "panic"})).contains("panic"));
        assert!(errors(json!({"goal": "long enough", "unique_key": "k", "unique_for": "1w"})).contains("1w"));
        assert!(errors(json!({"goal": "long enough", "unique_for": "1d"})).contains("unique_key"));
    }
}
