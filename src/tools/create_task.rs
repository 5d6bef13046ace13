//! `create_task`: a follow-up task, once however often the call is repeated.
//!
//! The new task runs on behalf of the same user and under the allow-list of the agent that gets it. Generations and
//! children are limited, so that a run cannot multiply without end.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::sync::{Mutex, Notify};

use super::inputs::{object, parse, refused};
use super::toolbox::store_failure;
use super::{Tool, ToolContext};
use crate::clock;
use crate::domain::failure::Failure;
use crate::domain::id::{TaskId, derived};
use crate::domain::plan::Plan;
use crate::domain::schedule::zone::Zone;
use crate::domain::task::{DEFAULT_PRIORITY, MAX_GOAL_CHARS, MAX_PRIORITY, Task, TaskStatus, limits};
use crate::domain::time::Timestamp;
use crate::domain::tool::{Effect, ToolResult, ToolSpec};
use crate::domain::unique::UniqueFor;
use crate::store::{Store, TaskFilter};
use crate::telemetry::metrics;

const NAME: &str = "create_task";
/// Generations of tasks below one that a person or a schedule made.
const MAX_DEPTH: u64 = 5;
/// Tasks that one task may make, all its attempts together.
const MAX_CHILDREN: u64 = 100;
/// Largest context, in bytes of JSON.
const MAX_CONTEXT: usize = 64 * 1024;
/// Key of the context that counts the generations. Only this tool writes it.
const DEPTH: &str = "spawn_depth";
/// Key of the context that names the task that made this one.
const PARENT: &str = "spawned_by";

/// Names of the tools there are.
pub(super) type Names = Arc<RwLock<BTreeSet<String>>>;

/// The tool `create_task`.
pub struct CreateTask {
    store: Store,
    zone: Zone,
    wake: Arc<Notify>,
    tools: Names,
    /// Parallel steps of one task count its children one after the other.
    counting: [Mutex<()>; 16],
}

impl CreateTask {
    /// Inserts into `store` and notifies `wake`; a plan may name the tools in `tools`. Times without an offset are on the
    /// wall clock of `zone`.
    pub(super) fn new(store: Store, wake: Arc<Notify>, tools: Names, zone: Zone) -> Self {
        Self { store, wake, tools, zone, counting: Default::default() }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Arguments {
    goal: String,
    #[serde(default)]
    run_at: Option<Value>,
    #[serde(default)]
    priority: Option<u8>,
    #[serde(default)]
    agent: Option<String>,
    #[serde(default)]
    capabilities: Vec<String>,
    #[serde(default)]
    context: Map<String, Value>,
    #[serde(default)]
    plan: Option<Plan>,
    #[serde(default)]
    depends_on: Vec<TaskId>,
    #[serde(default)]
    unique_key: Option<String>,
    #[serde(default)]
    unique_for: UniqueFor,
}

#[async_trait]
impl Tool for CreateTask {
    fn spec(&self) -> ToolSpec {
        let word = json!({ "type": "string", "minLength": 1, "maxLength": limits::NAME_CHARS.end() });
        ToolSpec {
            name: NAME.into(),
            description: "Creates a task that an agent carries out later, apart from this one. Answers {\"task_id\", \
                          \"created\": false when a task of that unique_key exists, \"run_at\"}."
                .into(),
            parameters: object(
                &json!({
                    "goal": {
                        "type": "string", "minLength": 1, "maxLength": MAX_GOAL_CHARS,
                        "description": "what shall be achieved, with all that is needed to understand it"
                    },
                    "run_at": { "type": "string", "description": "RFC 3339, or without an offset on the local clock; at once when absent" },
                    "priority": { "type": "integer", "minimum": 0, "maximum": MAX_PRIORITY },
                    "agent": word,
                    "capabilities": { "type": "array", "items": word, "maxItems": 20 },
                    "context": { "type": "object", "description": "data for the agent, up to 64 KiB" },
                    "plan": { "type": "object", "description": "steps to carry out; planned by the agent when absent" },
                    "unique_key": {
                        "type": "string", "minLength": 1, "maxLength": 256,
                        "description": "while a task of this user that has not ended carries it, no other is made"
                    },
                    "unique_for": {
                        "type": "string", "maxLength": 20,
                        "description": "how long the key keeps others out: alive (the default), forever, or 90s, 15m, 12h, 7d"
                    },
                    "depends_on": {
                        "type": "array", "items": { "type": "string", "maxLength": 40 }, "maxItems": 100,
                        "description": "ids of tasks that must be completed first"
                    },
                }),
                &["goal"],
            ),
            effect: Effect::Write,
            idempotent: true,
        }
    }

    async fn call(&self, context: &ToolContext, arguments: Value) -> ToolResult {
        let now = clock::now();
        let task = self.read(context, parse(arguments)?, now)?;
        let _one_at_a_time = self.counting[shard(context.task_id, self.counting.len())].lock().await;
        self.check_dependencies(&task).await?;
        let parent = self.store.task(context.task_id).await.map_err(|error| store_failure(&error))?;
        let task = self.as_child(task, parent.as_ref(), context).await?;
        let inserted = self.store.insert(std::slice::from_ref(&task)).await.map_err(|error| store_failure(&error))?;
        let inserted = inserted.first().ok_or_else(|| Failure::transient("the store did not say what became of it"))?;
        if inserted.created {
            metrics::TASKS_INSERTED.inc(["tool"]);
            self.wake.notify_one();
        } else {
            metrics::TASKS_NOT_CREATED.inc(["tool"]);
        }
        let run_at = task.run_at.to_rfc3339();
        Ok(json!({ "task_id": inserted.id, "created": inserted.created, "run_at": run_at }))
    }
}

impl CreateTask {
    /// The task that the arguments describe, before it is known whose child it is.
    fn read(&self, context: &ToolContext, arguments: Arguments, now: Timestamp) -> Result<Task, Failure> {
        let Arguments { goal, run_at, priority, agent, capabilities, context: data, plan, .. } = arguments;
        let (depends_on, unique_for) = (arguments.depends_on, arguments.unique_for);
        if goal.trim().is_empty() {
            return Err(Failure::invalid("goal is empty: say what shall be achieved"));
        }
        let bytes = Value::from(data.clone()).to_string().len();
        if bytes > MAX_CONTEXT {
            return Err(Failure::invalid(format!("context has {bytes} bytes; at most {MAX_CONTEXT} are allowed")));
        }
        if let Some(plan) = &plan {
            if plan.steps.is_empty() {
                return Err(Failure::invalid("plan: it has no steps; leave it out to have one made"));
            }
            let tools = self.tools.read().unwrap_or_else(PoisonError::into_inner).clone();
            let tools: Vec<&str> = tools.iter().map(String::as_str).collect();
            plan.validate(&tools).map_err(|error| Failure::invalid(error.to_string()))?;
        }
        let run_at = run_at.map(|run_at| self.zone.read(&run_at)).transpose();
        let run_at = run_at.map_err(|reason| Failure::invalid(format!("run_at: {reason}")))?.unwrap_or(now);
        // Keys of different users must not meet.
        let unique_key = arguments.unique_key.map(|key| match &context.user {
            Some(user) => format!("tool:user:{user}:{key}"),
            None => format!("tool:key:{key}"),
        });
        let status = if depends_on.is_empty() { TaskStatus::Pending } else { TaskStatus::Waiting };
        // A repeated call names the same task, so that it is made once even when it has ended meanwhile.
        let id = TaskId::Uuid(derived(&["call", &context.idempotency_key]));
        let task = Task {
            run_at,
            priority: priority.unwrap_or(DEFAULT_PRIORITY),
            agent,
            capabilities,
            context: data,
            plan,
            user: context.user.clone(),
            status,
            depends_on,
            unique_key,
            unique_for,
            ..Task::new(id, goal, now)
        };
        let faults = limits::faults(&task, &limits::GOAL_CHARS);
        if faults.is_empty() { Ok(task) } else { Err(Failure::invalid(faults.join("; "))) }
    }

    /// A task that waits for one that does not exist would wait in vain.
    async fn check_dependencies(&self, task: &Task) -> Result<(), Failure> {
        let known = self.store.statuses(&task.depends_on).await.map_err(|error| store_failure(&error))?;
        match task.depends_on.iter().find(|id| !known.contains_key(id)) {
            Some(id) => Err(Failure::invalid(format!("depends_on names task {id}, which does not exist"))),
            None => Ok(()),
        }
    }

    /// `task` as a child of the task that calls, unless that has too many or is itself too far down.
    async fn as_child(&self, mut task: Task, parent: Option<&Task>, context: &ToolContext) -> Result<Task, Failure> {
        // Generations above the task that calls.
        let depth = parent.and_then(|parent| parent.context.get(DEPTH).and_then(Value::as_u64)).unwrap_or(0);
        if depth >= MAX_DEPTH {
            let reason = format!("task {} is {depth} generations deep and may make no more tasks", context.task_id);
            return Err(refused(NAME, context, reason));
        }
        let tag = format!("spawned-by:{}", context.task_id);
        let children = TaskFilter { tag: Some(tag.clone()), ..TaskFilter::default() };
        let made = self.store.count_tasks(&children).await.map_err(|error| store_failure(&error))?;
        // A repeated call makes no new task.
        if made >= MAX_CHILDREN && self.store.task(task.id).await.map_err(|error| store_failure(&error))?.is_none() {
            let reason = format!("task {} has made {MAX_CHILDREN} tasks, the most allowed", context.task_id);
            return Err(refused(NAME, context, reason));
        }
        task.tags.push(tag);
        task.parent = Some(context.task_id);
        // What a customer's task makes is the customer's, too.
        task.concurrency_key = parent.and_then(|parent| parent.concurrency_key.clone());
        task.context.insert(DEPTH.to_owned(), (depth + 1).into());
        task.context.insert(PARENT.to_owned(), context.task_id.to_string().into());
        Ok(task)
    }
}

fn shard(task: TaskId, shards: usize) -> usize {
    let mut hasher = DefaultHasher::new();
    task.hash(&mut hasher);
    usize::try_from(hasher.finish() % shards as u64).unwrap_or(0)
}
