//! `create_task`: a follow-up task, once however often the call is repeated.
//!
//! The new task runs on behalf of the same user, belongs to the tree of the task that makes it, and has at most the rights
//! of that task: the tools that both agents may use, and the approvals that both need. The generations and the tasks of a
//! tree are limited, and so are the children of one task, so that a run cannot multiply without end.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::sync::Mutex;

use super::inputs::{object, parse, refused};
use super::toolbox::store_failure;
use super::{Settings, Tool, ToolContext};
use crate::clock;
use crate::domain::approval::{Approval, ApprovalPolicy, Subject};
use crate::domain::dependency::unknown;
use crate::domain::failure::Failure;
use crate::domain::handover::MAX_HANDOVER_BYTES;
use crate::domain::id::{TaskId, derived, joined};
use crate::domain::plan::Plan;
use crate::domain::schedule::zone::Zone;
use crate::domain::task::{DEFAULT_PRIORITY, MAX_GOAL_CHARS, MAX_PRIORITY, Task, TaskStatus, limits};
use crate::domain::time::Timestamp;
use crate::domain::tool::{Effect, ToolResult, ToolSpec};
use crate::domain::tree::{Lineage, Rights, TreeBudget};
use crate::domain::unique::UniqueFor;
use crate::queue::{ChildError, Queue, SubmitError, TreeSlots};
use crate::store::{Store, TaskFilter};

/// Name of the tool.
pub const NAME: &str = "create_task";
/// Generations of tasks below one that a person or a schedule made.
const MAX_GENERATIONS: u32 = 5;
/// Tasks that one task may make, all its attempts together.
const MAX_CHILDREN: u64 = 100;
/// Largest context, in bytes of JSON.
const MAX_CONTEXT: usize = 64 * 1024;

/// Names of the tools there are.
pub(super) type Names = Arc<RwLock<BTreeSet<String>>>;

/// The tool `create_task`.
pub struct CreateTask {
    store: Store,
    zone: Zone,
    tree: TreeBudget,
    approvals: ApprovalPolicy,
    queue: Queue,
    tools: Names,
    /// Parallel steps of one task count its children one after the other.
    counting: [Mutex<()>; 16],
}

impl CreateTask {
    /// Inserts through `queue`; a plan may name the tools in `tools`. The zone of times without an offset,
    /// the budget of a tree and the time limit of approvals are those of `settings`.
    pub(super) fn new(store: Store, queue: Queue, tools: Names, settings: &Settings) -> Self {
        let (zone, tree, approvals) = (settings.zone, settings.tree.clone(), settings.approvals.clone());
        Self { store, zone, tree, approvals, queue, tools, counting: Default::default() }
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

    async fn call(&self, context: &ToolContext, mut arguments: Value) -> ToolResult {
        let now = clock::now();
        // A plan that refers to outputs is taken with its references: no output becomes a part of it.
        let plan = context.handed_over.as_ref().and_then(|handed_over| handed_over.plan.clone());
        if let (Some(plan), Some(fields)) = (plan, arguments.as_object_mut()) {
            check_form(&plan)?;
            fields.insert("plan".to_owned(), plan);
        }
        let arguments = parse(arguments)?;
        let _one_at_a_time = self.counting[shard(context.task_id, self.counting.len())].lock().await;
        let parent = self.store.task(context.task_id).await.map_err(|error| store_failure(&error))?;
        let parent = parent.ok_or_else(|| {
            refused(NAME, context, format!("task {} is no longer there, so it makes no more tasks", context.task_id))
        })?;
        let rights = parent.rights_of_child(&context.rights);
        let task = self.read(context, arguments, &rights, now)?;
        self.check_dependencies(&task).await?;
        let task = self.as_child(task, &parent, rights, context, now)?;
        let tree = self.slots_for(&task, &parent, context).await?;
        let run_at = task.run_at.to_rfc3339();
        let inserted = self.queue.submit_child(task, tree, now).await;
        let inserted = inserted.map_err(|error| self.failure(&error, parent.root(), context))?;
        Ok(json!({ "task_id": inserted.id, "created": inserted.created, "run_at": run_at }))
    }
}

impl CreateTask {
    /// The task that the arguments describe, before it is known whose child it is.
    fn read(
        &self,
        context: &ToolContext,
        arguments: Arguments,
        rights: &Rights,
        now: Timestamp,
    ) -> Result<Task, Failure> {
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
            let tools: Vec<&str> = tools.iter().map(String::as_str).filter(|tool| rights.allows_tool(tool)).collect();
            plan.validate(&tools).map_err(|error| Failure::invalid(error.to_string()))?;
        }
        let agent = delegate(agent, rights).map_err(|reason| refused(NAME, context, reason))?;
        let run_at = run_at.map(|run_at| self.zone.read(&run_at)).transpose();
        let run_at = run_at.map_err(|reason| Failure::invalid(format!("run_at: {reason}")))?.unwrap_or(now);
        // Keys of different users must not meet.
        let unique_key = arguments.unique_key.map(|key| match &context.user {
            Some(user) => format!("tool:user:{}", joined(user, &key)),
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

    /// A task that waits for one that does not exist would wait in vain. One of another user does not exist for it.
    async fn check_dependencies(&self, task: &Task) -> Result<(), Failure> {
        let known = self.store.standings(&task.depends_on).await.map_err(|error| store_failure(&error))?;
        match task.depends_on.iter().find(|id| known.get(id).is_none_or(|there| there.user != task.user)) {
            Some(id) => Err(Failure::invalid(unknown("depends_on", *id, task.user.as_deref()))),
            None => Ok(()),
        }
    }

    /// `task` as a child of the task that calls, unless that is itself too far down.
    fn as_child(
        &self,
        mut task: Task,
        parent: &Task,
        rights: Rights,
        context: &ToolContext,
        now: Timestamp,
    ) -> Result<Task, Failure> {
        let generation = parent.generation();
        if generation >= MAX_GENERATIONS {
            let reason = format!("task {} is {generation} generations deep and may make no more tasks", parent.id);
            return Err(refused(NAME, context, reason));
        }
        let handover = context.handed_over.as_ref().map(|handed| handed.handover.clone());
        let bytes = handover.as_ref().map_or(0, |handover| json!(handover.values).to_string().len());
        if bytes > MAX_HANDOVER_BYTES {
            return Err(Failure::invalid(format!(
                "goal and plan refer to outputs of {bytes} bytes; at most {MAX_HANDOVER_BYTES} are handed over: refer to smaller \
                 fields of them, or let the task read them itself"
            )));
        }
        task.tags.push(format!("spawned-by:{}", parent.id));
        task.parent = Some(parent.id);
        task.lineage = Lineage { root: Some(parent.root()), generation: generation + 1, rights, handover };
        // What a customer's task makes is the customer's, too.
        task.concurrency_key.clone_from(&parent.concurrency_key);
        // A person agreed to what the parent asks for, not to what it makes.
        if parent.approvals.iter().any(|approval| approval.subject == Subject::Task) {
            task.status = TaskStatus::AwaitingApproval;
            task.approvals = vec![Approval::of_task(&task, &self.approvals, now)];
        }
        Ok(task)
    }

    /// The slots of the tree that `task` joins; none when the same call made it before.
    async fn slots_for(&self, task: &Task, parent: &Task, context: &ToolContext) -> Result<Option<TreeSlots>, Failure> {
        if self.store.task(task.id).await.map_err(|error| store_failure(&error))?.is_some() {
            return Ok(None);
        }
        let root = parent.root();
        let children = TaskFilter { parent: Some(parent.id), tree_root: Some(root), ..TaskFilter::default() };
        let made = self.store.count_tasks(&children).await.map_err(|error| store_failure(&error))?;
        if made >= MAX_CHILDREN {
            let reason = format!("task {} has made {MAX_CHILDREN} tasks, the most allowed", parent.id);
            return Err(refused(NAME, context, reason));
        }
        Ok(Some(TreeSlots { root, slots: self.tree.places() }))
    }

    /// Why a child of the tree of `root` was not inserted, for the run that wanted it.
    fn failure(&self, error: &ChildError, root: TaskId, context: &ToolContext) -> Failure {
        let most = self.tree.max_tasks;
        match error {
            ChildError::Full => {
                let reason =
                    format!("task {root} and its descendants are {most} tasks, as many as tree.max_tasks allows");
                refused(NAME, context, reason)
            }
            ChildError::Unsettled => Failure::transient(format!(
                "all {most} places of the tree of task {root} are taken, some for tasks that are being made at this moment; \
                 tree.max_tasks says how many there are"
            )),
            ChildError::Submit(SubmitError::Store(error)) => store_failure(error),
            ChildError::Submit(error) => Failure::transient(error.to_string()),
        }
    }
}

/// Refuses a plan that is an output, or has steps that are.
fn check_form(plan: &Value) -> Result<(), Failure> {
    let read: Result<Plan, serde_json::Error> = serde_json::from_value(plan.clone());
    read.map(drop).map_err(|error| {
        Failure::invalid(format!(
            "plan: an output is data and cannot be the plan of a task or a step of it: write the steps, and refer to outputs \
             in their arguments and instructions ({error})"
        ))
    })
}

/// The agent that a task is for: the one that is named, or the only one that `rights` allow.
fn delegate(named: Option<String>, rights: &Rights) -> Result<Option<String>, String> {
    let allowed = rights.delegates_to.join(", ");
    match named {
        _ if rights.delegates_to.is_empty() => Err("its agent may create tasks for no agent".to_owned()),
        Some(name) if rights.allows_agent(&name) => Ok(Some(name)),
        Some(name) => Err(format!("its agent may not create tasks for agent {name:?}; it may for: {allowed}")),
        None if rights.allows_any_agent() => Ok(None),
        // Which agent would take it is not known here.
        None if rights.delegates_to.len() == 1 => Ok(rights.delegates_to.first().cloned()),
        None => Err(format!("name the agent: its agent may create tasks only for: {allowed}")),
    }
}

fn shard(task: TaskId, shards: usize) -> usize {
    let mut hasher = DefaultHasher::new();
    task.hash(&mut hasher);
    usize::try_from(hasher.finish() % shards as u64).unwrap_or(0)
}
