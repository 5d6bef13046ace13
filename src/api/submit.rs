//! From the body of a submission to tasks that can be inserted: everything about them is checked first.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use axum::http::StatusCode;
use futures_util::{StreamExt as _, TryStreamExt as _};
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::Parts;
use super::error::Problem;
use super::files;
use crate::domain::agent::{AgentProfile, plan_over_budget};
use crate::domain::approval::ApprovalRequirement;
use crate::domain::dependency::{OnDependencyFailure, unknown};
use crate::domain::files::TaskFile;
use crate::domain::id::{TaskId, derived};
use crate::domain::json;
use crate::domain::plan::Plan;
use crate::domain::plan_faults::{missing_dependencies, missing_files};
use crate::domain::replica::AgentPresence;
use crate::domain::schedule::zone::Zone;
use crate::domain::task::{
    DEFAULT_MAX_ATTEMPTS, DEFAULT_PRIORITY, DEFAULT_TIMEOUT_S, InvalidSpec, SpecLimits, Task, TaskSpec,
};
use crate::domain::time::Timestamp;
use crate::domain::tree::Lineage;
use crate::domain::unique::UniqueFor;
use crate::queue::{Ids, KnownAgents};

/// Tasks of one request.
const MAX_TASKS: usize = 10_000;
/// Seconds after which a request may be sent again that was refused because of a full queue.
const QUEUE_RETRY_S: u64 = 60;
/// Users whose queues are counted at the same time.
const QUEUES_AT_ONCE: usize = 16;

/// How long the tools try the arguments of the plans of one request, beside what their schemas say.
const TRYING: Duration = Duration::from_secs(1);

/// The body of one task, as a request writes it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TaskBody {
    id: Option<Value>,
    #[serde(alias = "description", alias = "prompt", alias = "task")]
    goal: String,
    run_at: Option<Value>,
    priority: Option<u8>,
    agent: Option<String>,
    #[serde(default)]
    capabilities: Vec<String>,
    #[serde(default)]
    depends_on: Vec<TaskId>,
    #[serde(default)]
    on_dependency_failure: OnDependencyFailure,
    parent: Option<TaskId>,
    unique_key: Option<String>,
    unique_for: Option<UniqueFor>,
    concurrency_key: Option<String>,
    max_attempts: Option<u32>,
    timeout_s: Option<u64>,
    plan: Option<Plan>,
    #[serde(default)]
    context: Map<String, Value>,
    /// Names of files that were uploaded for the id.
    #[serde(default)]
    files: Vec<String>,
    #[serde(default)]
    tags: Vec<String>,
    user: Option<String>,
    #[serde(default)]
    approval: ApprovalRequirement,
}

/// One task of a request.
#[derive(Debug)]
struct Order {
    id: TaskId,
    spec: TaskSpec,
    /// Names of its files.
    files: Vec<String>,
}

/// What a request submits.
pub(super) struct Read {
    pub(super) tasks: Vec<Task>,
    /// Whether the body was a list.
    pub(super) listed: bool,
    /// Whether the request chose any id.
    pub(super) ids: Ids,
}

/// The tasks that `body` describes, one or a list. All of them are valid, or none is given back. With an
/// `idempotency_key` the same request made again names the same tasks.
pub(super) async fn read(
    parts: &Parts,
    body: Value,
    idempotency_key: Option<&str>,
    now: Timestamp,
) -> Result<Read, Problem> {
    let (bodies, listed) = match body {
        Value::Array(items) if items.is_empty() => {
            return Err(Problem::bad_request("the list of tasks is empty: send one task or more"));
        }
        Value::Array(items) if items.len() > MAX_TASKS => {
            let count = items.len();
            return Err(Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("the list has {count} tasks; the most is {MAX_TASKS}: send several requests"),
            ));
        }
        Value::Array(items) => (items, true),
        other => (vec![other], false),
    };
    let mut orders = Vec::with_capacity(bodies.len());
    let mut errors = Vec::new();
    let mut fresh = idempotency_key.is_none();
    for (index, body) in bodies.into_iter().enumerate() {
        let has_id = body.get("id").is_some_and(|id| !id.is_null());
        fresh &= !has_id;
        match parse(body, parts.zone, now) {
            Ok(Order { id, mut spec, files }) => {
                let id = match idempotency_key.filter(|_| !has_id) {
                    Some(key) => TaskId::Uuid(derived(&["request", key, &index.to_string()])),
                    None => id,
                };
                let missing = files::attach(parts, id, &mut spec, &files).await?;
                errors.extend(missing.into_iter().map(|error| place(listed, index) + &error));
                orders.push((id, spec));
            }
            Err(found) => errors.extend(found.into_iter().map(|error| place(listed, index) + &error)),
        }
    }
    if !errors.is_empty() {
        return Err(Problem::several(StatusCode::BAD_REQUEST, errors));
    }
    let tasks: Vec<Task> = orders.into_iter().map(|(id, spec)| spec.into_task(id, &parts.approvals, now)).collect();
    check(parts, &tasks, listed).await?;
    Ok(Read { tasks, listed, ids: if fresh { Ids::Fresh } else { Ids::Chosen } })
}

/// What an error about a task begins with.
fn place(listed: bool, index: usize) -> String {
    if listed { format!("task {index} of the list: ") } else { String::new() }
}

/// Whether `spec` could be submitted, as a request that orders it alone would be told.
pub(super) async fn check_spec(parts: &Parts, spec: TaskSpec, now: Timestamp) -> Result<(), Problem> {
    if let Err(invalid) = spec.validate(&SpecLimits::API) {
        return Err(Problem::several(StatusCode::BAD_REQUEST, invalid.messages().collect()));
    }
    check(parts, &[spec.into_task(TaskId::fresh(), &parts.approvals, now)], false).await
}

/// Refuses tasks that name what is not there, wait for each other, or make a queue too long.
async fn check(parts: &Parts, tasks: &[Task], listed: bool) -> Result<(), Problem> {
    let mut errors = Vec::new();
    let mut checks = Checks::new(parts, tasks).await?;
    for (index, task) in tasks.iter().enumerate() {
        for error in checks.faults_of(task).await? {
            errors.push(place(listed, index) + &error);
        }
    }
    if errors.is_empty() {
        errors.extend(parts.store.check_cycles(tasks).await?.err().map(|cycle| cycle.to_string()));
    }
    if !errors.is_empty() {
        return Err(Problem::several(StatusCode::UNPROCESSABLE_ENTITY, errors));
    }
    check_queues(parts, tasks).await
}

/// Refuses tasks of users whose queue would become too long. What other replicas insert at the same time is not seen, so that a
/// queue may become longer by that.
async fn check_queues(parts: &Parts, tasks: &[Task]) -> Result<(), Problem> {
    let mut added: BTreeMap<&str, Vec<TaskId>> = BTreeMap::new();
    for task in tasks {
        if let Some(user) = task.spec.user.as_deref() {
            added.entry(user).or_default().push(task.id);
        }
    }
    let mut checks = Vec::with_capacity(added.len());
    for (user, ids) in added {
        if let Some(most) = parts.limits.max_queued_of(user) {
            checks.push(check_queue(parts, user, ids, u64::from(most)));
        }
    }
    futures_util::stream::iter(checks).buffer_unordered(QUEUES_AT_ONCE).try_collect().await
}

async fn check_queue(parts: &Parts, user: &str, ids: Vec<TaskId>, most: u64) -> Result<(), Problem> {
    let added = ids.len() as u64;
    let length = parts.store.join_queue(user, added, most).await?;
    if length <= most {
        return Ok(());
    }
    // A request that is sent again adds only what is not there yet.
    let there = parts.store.task_statuses(&ids).await?.len() as u64;
    if length - there <= most || there == added {
        return Ok(());
    }
    let (queued, added) = (length - added, added - there);
    let detail = format!(
        "user {user:?} has {queued} tasks that have not ended, and this request adds {added}; the most is {most} \
         (limits.users): wait until some have ended, or cancel some"
    );
    Err(Problem::too_many(detail, QUEUE_RETRY_S))
}

/// Reads one task and the id that it chooses, or a new one; what it says may still be impossible.
fn parse(body: Value, zone: Zone, now: Timestamp) -> Result<Order, Vec<String>> {
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

/// Checks against what there is: agents, tools, other tasks. What it has looked up it does not look up again.
struct Checks<'a> {
    parts: &'a Parts,
    /// Other tasks that are there, or will be, and whose they are.
    known: HashMap<TaskId, Option<String>>,
    /// The agents of all replicas, once a task names one that this replica does not have.
    elsewhere: Option<KnownAgents>,
    /// When tools stop to try the arguments of plans.
    until: Instant,
}

impl<'a> Checks<'a> {
    async fn new(parts: &'a Parts, tasks: &[Task]) -> Result<Self, Problem> {
        let mut known: HashMap<TaskId, Option<String>> =
            tasks.iter().map(|task| (task.id, task.spec.user.clone())).collect();
        let named = tasks.iter().flat_map(|task| task.spec.depends_on.iter().copied().chain(task.spec.parent));
        let unknown: HashSet<TaskId> = named.filter(|id| !known.contains_key(id)).collect();
        let unknown: Vec<TaskId> = unknown.into_iter().collect();
        let found = parts.store.standings(&unknown).await?;
        known.extend(found.into_iter().map(|(id, standing)| (id, standing.user)));
        Ok(Self { parts, known, elsewhere: None, until: Instant::now() + TRYING })
    }

    async fn faults_of(&mut self, task: &Task) -> Result<Vec<String>, Problem> {
        let mut errors = Vec::new();
        if let Some(agent) = &task.spec.agent {
            errors.extend(self.unknown_agent(agent).await?);
        }
        if let Some(plan) = &task.spec.plan {
            errors.extend(self.plan_faults(plan, task.spec.agent.as_deref()).await);
            errors.extend(missing_dependencies(plan, &task.spec.depends_on));
            errors.extend(missing_files(&plan.steps, &TaskFile::named_in(&task.spec.context)));
            if let Some(fault) =
                plan_over_budget(plan, task.spec.agent.as_deref(), &task.spec.capabilities, &self.parts.agents)
                && !self.may_go_elsewhere(task).await?
            {
                errors.push(fault);
            }
        }
        let named = task.spec.depends_on.iter().map(|id| ("depends_on", id));
        for (field, id) in named.chain(task.spec.parent.iter().map(|id| ("parent", id))) {
            // One of another user does not exist for it.
            if self.known.get(id).is_none_or(|user| *user != task.spec.user) {
                errors.push(unknown(field, *id, task.spec.user.as_deref()));
            }
        }
        Ok(errors)
    }

    /// Whether an agent that lives in another replica alone, whose budget is not known here, could take the task.
    async fn may_go_elsewhere(&self, task: &Task) -> Result<bool, Problem> {
        if task.spec.agent.is_some() {
            return Ok(false);
        }
        let replicas = self.parts.store.replicas().await?;
        let others = replicas.iter().flat_map(|replica| &replica.agents);
        let mut others = others.filter(|other| self.parts.agents.iter().all(|here| here.name != other.name));
        let offers = |agent: &AgentPresence, wanted: &String| {
            agent.capabilities.iter().any(|offered| offered.eq_ignore_ascii_case(wanted))
        };
        Ok(others.any(|agent| task.spec.capabilities.iter().all(|wanted| offers(agent, wanted))))
    }

    async fn unknown_agent(&mut self, agent: &str) -> Result<Option<String>, Problem> {
        if self.parts.agents.iter().any(|profile| profile.name == agent) {
            return Ok(None);
        }
        let known = match &self.elsewhere {
            Some(known) => known,
            None => self.elsewhere.insert(self.parts.queue.known_agents(&self.parts.agents).await?),
        };
        Ok(known.check(agent).err().map(|error| error.to_string()))
    }

    /// What is wrong with a plan that may use the tools of `agent`, or those of all agents when the task names none. Nothing is
    /// known of the tools of an agent that lives in another replica.
    async fn plan_faults(&self, plan: &Plan, agent: Option<&str>) -> Vec<String> {
        let profiles = self.parts.agents.iter().filter(|profile| agent.is_none_or(|name| profile.name == name));
        let profiles: Vec<AgentProfile> = profiles.cloned().collect();
        if profiles.is_empty() || plan.steps.is_empty() {
            return Vec::new();
        }
        let (toolbox, plan, until) = (self.parts.tools.clone(), plan.clone(), self.until);
        // Expressions of a large plan take a while.
        let check =
            move || toolbox.plan_faults(&plan, |tool| profiles.iter().any(|profile| profile.allows(tool)), until);
        tokio::task::spawn_blocking(check)
            .await
            .unwrap_or_else(|_| vec!["the plan cannot be checked, a fault of qron".to_owned()])
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
