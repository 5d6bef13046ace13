//! From the body of a submission to tasks that can be inserted: everything about them is checked first.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use axum::http::StatusCode;
use futures_util::{StreamExt as _, TryStreamExt as _};
use serde_json::Value;
use tokio::time::Instant;

use super::Parts;
use super::error::Problem;
use super::files;
use crate::domain::agent::{AgentProfile, plan_over_budget};
use crate::domain::dependency::unknown;
use crate::domain::files::TaskFile;
use crate::domain::id::{TaskId, derived};
use crate::domain::plan::Plan;
use crate::domain::plan_faults::{missing_dependencies, missing_files};
use crate::domain::replica::AgentPresence;
use crate::domain::task::{SpecLimits, Task, TaskSpec};
use crate::domain::time::Timestamp;
use crate::queue::{Ids, KnownAgents};
use body::{Order, parse};

pub(super) mod body;

/// Tasks of one request.
const MAX_TASKS: usize = 10_000;
/// Seconds after which a request may be sent again that was refused because of a full queue.
const QUEUE_RETRY_S: u64 = 60;
/// Users whose queues are counted at the same time.
const QUEUES_AT_ONCE: usize = 16;

/// How long the tools try the arguments of the plans of one request, beside what their schemas say.
const TRYING: Duration = Duration::from_secs(1);

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
