//! From the body of a submission to tasks that can be inserted: everything about them is checked first.

use std::collections::{BTreeMap, HashMap, HashSet};

use axum::http::StatusCode;
use futures_util::{StreamExt as _, TryStreamExt as _};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::Parts;
use super::error::Problem;
use super::extract;
use crate::domain::agent::{AgentProfile, too_long};
use crate::domain::approval::{Approval, ApprovalPolicy, Need};
use crate::domain::dependency::{OnDependencyFailure, unknown};
use crate::domain::id::{TaskId, derived};
use crate::domain::plan::Plan;
use crate::domain::replica::AgentPresence;
use crate::domain::schedule::zone::Zone;
use crate::domain::task::{Task, TaskStatus, limits};
use crate::domain::time::Timestamp;
use crate::domain::unique::UniqueFor;
use crate::queue::Ids;

/// Fields of a submission. `goal` goes by other names too.
const FIELDS: [&str; 22] = [
    "id",
    "goal",
    "description",
    "prompt",
    "task",
    "run_at",
    "priority",
    "agent",
    "capabilities",
    "depends_on",
    "on_dependency_failure",
    "parent",
    "unique_key",
    "unique_for",
    "concurrency_key",
    "max_attempts",
    "timeout_s",
    "plan",
    "context",
    "tags",
    "user",
    "approval",
];

/// Tasks of one request.
const MAX_TASKS: usize = 10_000;
/// Seconds after which a request may be sent again that was refused because of a full queue.
const QUEUE_RETRY_S: u64 = 60;
/// Users whose queues are counted at the same time.
const QUEUES_AT_ONCE: usize = 16;

#[derive(Debug, Deserialize)]
struct NewTask {
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
    #[serde(default)]
    tags: Vec<String>,
    user: Option<String>,
    #[serde(default)]
    approval: Need,
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
        Value::Array(items) if items.is_empty() => return Err(Problem::bad_request("the list of tasks is empty")),
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
    let place = |index: usize| if listed { format!("task {index} of the list: ") } else { String::new() };
    let mut tasks = Vec::with_capacity(bodies.len());
    let mut errors = Vec::new();
    let mut fresh = idempotency_key.is_none();
    for (index, body) in bodies.into_iter().enumerate() {
        let has_id = body.get("id").is_some_and(|id| !id.is_null());
        fresh &= !has_id;
        match parse(body, &parts.approvals, parts.zone, now) {
            Ok(mut task) => {
                if let Some(key) = idempotency_key.filter(|_| !has_id) {
                    task.id = TaskId::Uuid(derived(&["request", key, &index.to_string()]));
                }
                tasks.push(task);
            }
            Err(found) => errors.extend(found.into_iter().map(|error| place(index) + &error)),
        }
    }
    if !errors.is_empty() {
        return Err(Problem::several(StatusCode::BAD_REQUEST, errors));
    }
    let mut checks = Checks::new(parts, &tasks).await?;
    for (index, task) in tasks.iter().enumerate() {
        for error in checks.faults_of(task).await? {
            errors.push(place(index) + &error);
        }
    }
    if errors.is_empty() {
        errors.extend(parts.store.check_circles(&tasks).await?.err().map(|circle| circle.to_string()));
    }
    if errors.is_empty() {
        check_queues(parts, &tasks).await?;
        Ok(Read { tasks, listed, ids: if fresh { Ids::Fresh } else { Ids::Chosen } })
    } else {
        Err(Problem::several(StatusCode::UNPROCESSABLE_ENTITY, errors))
    }
}

/// Refuses tasks of users whose queue would become too long. What other replicas insert at the same time is not seen, so that a
/// queue may become longer by that.
async fn check_queues(parts: &Parts, tasks: &[Task]) -> Result<(), Problem> {
    let mut added: BTreeMap<&str, Vec<TaskId>> = BTreeMap::new();
    for task in tasks {
        if let Some(user) = task.user.as_deref() {
            added.entry(user).or_default().push(task.id);
        }
    }
    let mut checks = Vec::with_capacity(added.len());
    for (user, ids) in added {
        if let Some(most) = parts.limits.queue_of(user) {
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

/// Reads one task; what it says may still be impossible.
fn parse(body: Value, approvals: &ApprovalPolicy, zone: Zone, now: Timestamp) -> Result<Task, Vec<String>> {
    let Value::Object(fields) = &body else { return Err(vec!["a task must be a JSON object".to_owned()]) };
    let mut unknown: Vec<&str> = fields.keys().map(String::as_str).filter(|key| !FIELDS.contains(key)).collect();
    // The order of a JSON object's fields depends on how serde_json was built.
    unknown.sort_unstable();
    if !unknown.is_empty() {
        return Err(vec![format!("unknown fields {unknown:?}; known are {}", FIELDS.join(", "))]);
    }
    let new: NewTask = extract::read(body).map_err(|error| vec![error])?;
    let mut errors = Vec::new();
    if new.unique_for.is_some() && new.unique_key.is_none() {
        errors.push("unique_for says how long a unique_key holds: give one, or leave it out".to_owned());
    }
    let mut task = Task::new(TaskId::fresh(), new.goal.trim(), now);
    if let Some(id) = &new.id {
        match read_id(id) {
            Ok(id) => task.id = id,
            Err(error) => errors.push(error),
        }
    }
    if let Some(run_at) = &new.run_at {
        match zone.read(run_at) {
            Ok(run_at) => task.run_at = run_at,
            Err(error) => errors.push(format!("run_at: {error}")),
        }
    }
    task.plan = new.plan;
    if !new.depends_on.is_empty() {
        task.status = TaskStatus::Waiting;
    }
    task.priority = new.priority.unwrap_or(task.priority);
    task.agent = new.agent;
    task.capabilities = new.capabilities;
    task.depends_on = new.depends_on;
    task.on_dependency_failure = new.on_dependency_failure;
    task.parent = new.parent;
    task.unique_key = new.unique_key;
    task.unique_for = new.unique_for.unwrap_or_default();
    task.concurrency_key = new.concurrency_key;
    task.max_attempts = new.max_attempts.unwrap_or(task.max_attempts);
    task.timeout_s = new.timeout_s.unwrap_or(task.timeout_s);
    task.context = new.context;
    task.tags = new.tags;
    task.user = new.user;
    errors.extend(limits::faults(&task, &limits::REQUEST_GOAL_CHARS));
    if !errors.is_empty() {
        return Err(errors);
    }
    if new.approval == Need::Required {
        task.status = TaskStatus::AwaitingApproval;
        task.approvals = vec![Approval::of_task(&task, approvals, now)];
    }
    Ok(task)
}

fn read_id(id: &Value) -> Result<TaskId, String> {
    match id {
        Value::Number(number) => {
            number.as_u64().map(TaskId::Number).ok_or_else(|| format!("id {number} is no unsigned number"))
        }
        Value::String(text) => text.parse().map_err(|error| format!("id: {error}")),
        other => Err(format!("id: {other} is neither a UUID nor an unsigned number")),
    }
}

/// Checks against what there is: agents, tools, other tasks. What it has looked up it does not look up again.
struct Checks<'a> {
    parts: &'a Parts,
    /// Other tasks that are there, or will be, and whose they are.
    known: HashMap<TaskId, Option<String>>,
    /// Names of all agents of all replicas, once asked for.
    elsewhere: Option<Vec<String>>,
}

impl<'a> Checks<'a> {
    async fn new(parts: &'a Parts, tasks: &[Task]) -> Result<Self, Problem> {
        let mut known: HashMap<TaskId, Option<String>> =
            tasks.iter().map(|task| (task.id, task.user.clone())).collect();
        let named = tasks.iter().flat_map(|task| task.depends_on.iter().copied().chain(task.parent));
        let unknown: HashSet<TaskId> = named.filter(|id| !known.contains_key(id)).collect();
        let unknown: Vec<TaskId> = unknown.into_iter().collect();
        let found = parts.store.standings(&unknown).await?;
        known.extend(found.into_iter().map(|(id, standing)| (id, standing.user)));
        Ok(Self { parts, known, elsewhere: None })
    }

    async fn faults_of(&mut self, task: &Task) -> Result<Vec<String>, Problem> {
        let mut errors = Vec::new();
        if let Some(agent) = &task.agent {
            errors.extend(self.unknown_agent(agent).await?);
        }
        if let Some(plan) = &task.plan {
            let tools = self.tools_for(task.agent.as_deref());
            if let Some(tools) = tools {
                let names: Vec<&str> = tools.iter().map(String::as_str).collect();
                errors.extend(plan.validate(&names).err().map(|error| error.to_string()));
            }
            if let Some(fault) = too_long(plan, task.agent.as_deref(), &task.capabilities, &self.parts.agents)
                && !self.may_go_elsewhere(task).await?
            {
                errors.push(fault);
            }
        }
        let named = task.depends_on.iter().map(|id| ("depends_on", id));
        for (field, id) in named.chain(task.parent.iter().map(|id| ("parent", id))) {
            // One of another user does not exist for it.
            if self.known.get(id).is_none_or(|user| *user != task.user) {
                errors.push(unknown(field, *id, task.user.as_deref()));
            }
        }
        Ok(errors)
    }

    /// Whether an agent that lives in another replica alone, whose budget is not known here, could take the task.
    async fn may_go_elsewhere(&self, task: &Task) -> Result<bool, Problem> {
        if task.agent.is_some() {
            return Ok(false);
        }
        let replicas = self.parts.store.replicas().await?;
        let others = replicas.iter().flat_map(|replica| &replica.agents);
        let mut others = others.filter(|other| self.parts.agents.iter().all(|here| here.name != other.name));
        let offers = |agent: &AgentPresence, wanted: &String| {
            agent.capabilities.iter().any(|offered| offered.eq_ignore_ascii_case(wanted))
        };
        Ok(others.any(|agent| task.capabilities.iter().all(|wanted| offers(agent, wanted))))
    }

    async fn unknown_agent(&mut self, agent: &str) -> Result<Option<String>, Problem> {
        if self.parts.agents.iter().any(|profile| profile.name == agent) {
            return Ok(None);
        }
        let known = if let Some(known) = &self.elsewhere {
            known
        } else {
            let replicas = self.parts.store.replicas().await?;
            let mut names: Vec<String> = self.parts.agents.iter().map(|profile| profile.name.clone()).collect();
            names.extend(replicas.into_iter().flat_map(|replica| replica.agents).map(|agent| agent.name));
            names.sort();
            names.dedup();
            self.elsewhere.insert(names)
        };
        if known.iter().any(|name| name == agent) {
            return Ok(None);
        }
        Ok(Some(format!("unknown agent {agent:?}; known are {}", known.join(", "))))
    }

    /// Tools that the task's plan may name; those of all agents when it names none, and `None` when its agent lives
    /// in another replica, whose tools are not known here.
    fn tools_for(&self, agent: Option<&str>) -> Option<Vec<String>> {
        let profiles: Vec<&AgentProfile> =
            self.parts.agents.iter().filter(|profile| agent.is_none_or(|name| profile.name == name)).collect();
        if profiles.is_empty() {
            return None;
        }
        let mut names: Vec<String> = profiles
            .into_iter()
            .flat_map(|profile| self.parts.tools.specs(profile))
            .map(|spec| spec.name.clone())
            .collect();
        names.sort();
        names.dedup();
        Some(names)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);
    const POLICY: ApprovalPolicy = ApprovalPolicy { expire_s: 60 };

    fn errors(body: Value) -> String {
        parse(body, &POLICY, Zone::UTC, NOW).expect_err("a fault").join("; ")
    }

    #[test]
    fn the_goal_goes_by_several_names() {
        for name in ["goal", "description", "prompt", "task"] {
            assert_eq!(
                parse(json!({ name: "factorial of 10" }), &POLICY, Zone::UTC, NOW).expect("valid").goal,
                "factorial of 10"
            );
        }
        assert!(errors(json!({"goal": "factorial of 10", "task": "twice"})).contains("duplicate"));
    }

    #[test]
    fn each_fault_is_named() {
        assert!(errors(json!({"goal": "short"})).contains("5 characters: use 10 to 5000"));
        assert!(errors(json!({"goal": "x".repeat(5_001)})).contains("5001 characters"));
        assert!(errors(json!({"goal": "long enough", "gaol": 1, "foo": 2})).contains(r#"["foo", "gaol"]"#));
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
    fn a_task_with_dependencies_waits() {
        let task = parse(json!({"goal": "long enough", "depends_on": ["2"]}), &POLICY, Zone::UTC, NOW).expect("valid");
        assert_eq!(task.status, TaskStatus::Waiting);
        assert!(errors(json!({"goal": "long enough", "on_dependency_failure": "panic"})).contains("panic"));
        assert!(errors(json!({"goal": "long enough", "unique_key": "k", "unique_for": "1w"})).contains("1w"));
        assert!(errors(json!({"goal": "long enough", "unique_for": "1d"})).contains("unique_key"));
    }
}
