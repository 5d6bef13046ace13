//! `create_task`: a follow-up task, once however often the call is repeated.
//!
//! The new task runs on behalf of the same user, belongs to the tree of the task that makes it, and has at most the rights
//! of that task: the tools that both agents may use, and the approvals that both need. The generations and the tasks of a
//! tree are limited, and so are the children of one task, so that a run cannot multiply without end.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::mem;
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::sync::{Mutex, MutexGuard};

use super::inputs::{argument_fault, constant, object, parse, refused, store_failure};
use super::{Settings, Tool, ToolContext};
use crate::clock;
use crate::domain::approval::{ApprovalPolicy, ApprovalRequirement, Subject};
use crate::domain::dependency::unknown;
use crate::domain::failure::Failure;
use crate::domain::handover::MAX_HANDOVER_BYTES;
use crate::domain::id::{TaskId, derived, joined};
use crate::domain::plan::{Plan, PlanStep, has_references};
use crate::domain::plan_faults::{KnownTool, plan_faults};
use crate::domain::schedule::zone::Zone;
use crate::domain::task::{DEFAULT_PRIORITY, InvalidSpec, SpecLimits, Task, TaskSpec};
use crate::domain::time::Timestamp;
use crate::domain::tool::{CREATE_TASK, Effect, ToolResult, ToolSpec};
use crate::domain::tree::{Lineage, Rights, TreeBudget};
use crate::domain::unique::UniqueFor;
use crate::queue::{ChildError, Queue, SubmitError, TreeSlots};
use crate::store::{Store, TaskFilter};

/// Name of the tool.
pub const NAME: &str = CREATE_TASK;
/// Generations of tasks below one that a person or a schedule made.
const MAX_GENERATIONS: u32 = 5;
/// Tasks that one task may make, all its attempts together.
const MAX_CHILDREN: u64 = 100;

/// The tools there are, by name.
pub(super) type KnownTools = Arc<RwLock<BTreeMap<String, KnownTool>>>;

/// The tool `create_task`.
pub struct CreateTask {
    store: Store,
    zone: Zone,
    tree: TreeBudget,
    approvals: ApprovalPolicy,
    pub(super) queue: Queue,
    tools: KnownTools,
    /// Parallel steps of one task count its children one after the other.
    counting: [Mutex<()>; 16],
}

impl CreateTask {
    /// Inserts through `queue`; a plan may name the tools in `tools`. The zone of times without an offset,
    /// the budget of a tree and the time limit of approvals are those of `settings`.
    pub(super) fn new(store: Store, queue: Queue, tools: KnownTools, settings: &Settings) -> Self {
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
        // The limits are told in words: what exceeds them is refused as at every other door, with all faults at once.
        let limits = SpecLimits::TOOL;
        let (goal, priority) = (limits.goal_chars, limits.priority);
        let text = |description: String| json!({ "type": "string", "description": description });
        let texts =
            |description: String| json!({ "type": "array", "items": { "type": "string" }, "description": description });
        ToolSpec {
            name: NAME.into(),
            description: "Creates a task that an agent carries out later, apart from this one. Answers {\"task_id\", \
                          \"created\": false when a task of that unique_key exists, \"run_at\"}."
                .into(),
            parameters: object(
                &json!({
                    "goal": text(format!(
                        "what shall be achieved, with all that is needed to understand it, in {} to {} characters",
                        goal.start(), goal.end()
                    )),
                    "run_at": text("RFC 3339, or without an offset on the local clock; at once when absent".to_owned()),
                    "priority": {
                        "type": "integer",
                        "description": format!(
                            "{} (can wait) to {} (urgent); {DEFAULT_PRIORITY} when absent", priority.start(), priority.end()
                        )
                    },
                    "agent": text("agent that shall do it; one that can when absent".to_owned()),
                    "capabilities": texts(format!(
                        "what its agent must be able to do, at most {} words", limits.max_capabilities
                    )),
                    "context": {
                        "type": "object",
                        "description": format!("data for the agent, up to {} KiB", limits.max_context_bytes / 1024)
                    },
                    "plan": { "type": "object", "description": "steps to carry out; planned by the agent when absent" },
                    "unique_key": text(format!(
                        "while a task of this user that has not ended carries it, no other is made; up to {} characters",
                        limits.unique_key_chars.end()
                    )),
                    "unique_for": text(
                        "how long the key keeps others out: alive (the default), forever, or 90s, 15m, 12h, 7d".to_owned()
                    ),
                    "depends_on": texts(format!(
                        "ids of tasks that must be completed first, at most {}", limits.max_dependencies
                    )),
                }),
                &["goal"],
            ),
            output: object(
                &json!({
                    "task_id": { "type": "string" }, "created": { "type": "boolean" }, "run_at": { "type": "string" },
                }),
                &["task_id", "created", "run_at"],
            ),
            effect: Effect::Write,
            idempotent: true,
            untrusted: false,
        }
    }

    fn fault(&self, arguments: &Value) -> Option<String> {
        let at = constant(arguments, "run_at").map(Value::from);
        if let Some(reason) = at.and_then(|at| self.zone.read(&at).err()) {
            return Some(argument_fault(NAME, "run_at", reason));
        }
        if let Some(reason) = arguments.get("plan").and_then(|plan| self.plan_fault(plan)) {
            return Some(argument_fault(NAME, "plan", reason));
        }
        let goal = constant(arguments, "goal")?;
        let length = if goal.trim().is_empty() { 0 } else { goal.chars().count() };
        let allowed = SpecLimits::TOOL.goal_chars;
        let reason = || format!("the goal has {length} characters: use {} to {}", allowed.start(), allowed.end());
        (!allowed.contains(&length)).then(|| argument_fault(NAME, "goal", reason()))
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
        let _one_at_a_time = self.lock(context.task_id).await;
        let parent = self.store.task(context.task_id).await.map_err(|error| store_failure(&error))?;
        let parent = parent.ok_or_else(|| {
            refused(NAME, context, format!("task {} is no longer there, so it makes no more tasks", context.task_id))
        })?;
        let rights = parent.rights_of_child(&context.rights);
        let spec = self.read(context, arguments, &rights, now)?;
        self.check_dependencies(&spec).await?;
        let task = self.as_child(spec, &parent, rights, context, now)?;
        let tree = self.slots_for(&task, &parent, context).await?;
        let run_at = task.spec.run_at.to_rfc3339();
        let inserted = self.queue.submit_child(task, tree, now).await;
        let inserted = inserted.map_err(|error| self.failure(&error, parent.root(), context))?;
        Ok(json!({ "task_id": inserted.id, "created": inserted.created, "run_at": run_at }))
    }
}

impl CreateTask {
    /// Held while a child of `parent` is counted and inserted.
    pub(super) async fn lock(&self, parent: TaskId) -> MutexGuard<'_, ()> {
        self.counting[shard(parent, self.counting.len())].lock().await
    }

    /// What is wrong with a plan as a step writes it, whatever agent carries it out; `None` while it refers to anything outside of
    /// itself, which is known when the step runs alone.
    fn plan_fault(&self, plan: &Value) -> Option<String> {
        if !plan.is_object() {
            return None;
        }
        let read: Plan = match serde_json::from_value(plan.clone()) {
            Ok(read) => read,
            Err(_) if has_references(&plan.to_string()) => return None,
            Err(error) => return Some(error.to_string()),
        };
        let refers = |step: &PlanStep| step.texts().into_iter().any(has_references);
        if read.steps.iter().any(refers) {
            return None;
        }
        if read.steps.is_empty() {
            return Some("it has no steps; leave it out to have one made".to_owned());
        }
        let tools = self.tools.read().unwrap_or_else(PoisonError::into_inner).clone();
        let faults = plan_faults(&read, &tools.into_values().collect::<Vec<_>>());
        (!faults.is_empty()).then(|| faults.join("; "))
    }

    /// The order that the arguments describe, before it is known whose child its task is.
    fn read(
        &self,
        context: &ToolContext,
        arguments: Arguments,
        rights: &Rights,
        now: Timestamp,
    ) -> Result<TaskSpec, Failure> {
        let Arguments {
            goal,
            run_at,
            priority,
            agent,
            capabilities,
            context: data,
            plan,
            depends_on,
            unique_key,
            unique_for,
        } = arguments;
        let mut faults = Vec::new();
        let run_at = run_at.map_or(Ok(now), |run_at| self.zone.read(&run_at)).unwrap_or_else(|reason| {
            faults.push(format!("run_at: {reason}"));
            now
        });
        let mut spec = TaskSpec {
            priority: priority.unwrap_or(DEFAULT_PRIORITY),
            agent,
            capabilities,
            depends_on,
            unique_key,
            unique_for,
            plan,
            context: data,
            user: context.user.clone(),
            // The other fields have their defaults, or `as_child` takes them from the parent.
            ..TaskSpec::new(goal, run_at)
        };
        faults.extend(check_limits(&mut spec, context).err().iter().flat_map(InvalidSpec::messages));
        if !faults.is_empty() {
            return Err(Failure::invalid(faults.join("; ")));
        }
        if let Some(plan) = &spec.plan {
            if plan.steps.is_empty() {
                return Err(Failure::invalid("plan: it has no steps; leave it out to have one made"));
            }
            let tools = self.tools.read().unwrap_or_else(PoisonError::into_inner).clone();
            let allowed = tools.into_iter().filter(|(name, _)| rights.allows_tool(name)).map(|(_, tool)| tool);
            let faults = plan_faults(plan, &allowed.collect::<Vec<_>>());
            if !faults.is_empty() {
                return Err(Failure::invalid(faults.join("; ")));
            }
        }
        spec.agent = delegate(spec.agent, rights).map_err(|reason| refused(NAME, context, reason))?;
        // Keys of different users must not meet.
        spec.unique_key = spec.unique_key.map(|key| match &context.user {
            Some(user) => format!("tool:user:{}", joined(user, &key)),
            None => format!("tool:key:{key}"),
        });
        Ok(spec)
    }

    /// A task that waits for one that does not exist would wait in vain. One of another user does not exist for it.
    async fn check_dependencies(&self, spec: &TaskSpec) -> Result<(), Failure> {
        let known = self.store.standings(&spec.depends_on).await.map_err(|error| store_failure(&error))?;
        match spec.depends_on.iter().find(|id| known.get(id).is_none_or(|there| there.user != spec.user)) {
            Some(id) => Err(Failure::invalid(unknown("depends_on", *id, spec.user.as_deref()))),
            None => Ok(()),
        }
    }

    /// The task of `spec` as a child of the task that calls, unless that is itself too far down.
    pub(super) fn as_child(
        &self,
        mut spec: TaskSpec,
        parent: &Task,
        rights: Rights,
        context: &ToolContext,
        now: Timestamp,
    ) -> Result<Task, Failure> {
        if parent.has_unrecorded_tree() {
            let reason = format!(
                "task {} says that another task made it, but the tree that it belongs to is not recorded, so it may make no more tasks: \
                 run its work again as a new task",
                parent.id
            );
            return Err(refused(NAME, context, reason));
        }
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
        spec.tags.push(format!("spawned-by:{}", parent.id));
        spec.parent = Some(parent.id);
        let step = spec.lineage.step.take();
        spec.lineage = Lineage { root: Some(parent.root()), generation: generation + 1, rights, handover, step };
        // What a customer's task makes is the customer's, too.
        spec.concurrency_key.clone_from(&parent.spec.concurrency_key);
        // A person agreed to what the parent asks for, not to what it makes.
        if parent.state.approvals.iter().any(|approval| approval.subject == Subject::Task) {
            spec.approval = ApprovalRequirement::Required;
        }
        // A repeated call names the same task, so that it is made once even when it has ended meanwhile.
        let id = TaskId::Uuid(derived(&["call", &context.idempotency_key]));
        Ok(spec.into_task(id, &self.approvals, now))
    }

    /// The slots of the tree that `task` joins; none when the same call made it before.
    pub(super) async fn slots_for(
        &self,
        task: &Task,
        parent: &Task,
        context: &ToolContext,
    ) -> Result<Option<TreeSlots>, Failure> {
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
    pub(super) fn failure(&self, error: &ChildError, root: TaskId, context: &ToolContext) -> Failure {
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

/// Whether the order keeps the limits of the tool. They hold for the goal with references in place of outputs. With the
/// outputs it may be longer, as a firing may be longer than its template.
fn check_limits(spec: &mut TaskSpec, context: &ToolContext) -> Result<(), InvalidSpec> {
    let written = context.handed_over.as_ref().and_then(|handed_over| handed_over.handover.goal.clone());
    let Some(written) = written else { return spec.validate(&SpecLimits::TOOL) };
    let with_outputs = mem::replace(&mut spec.goal, written);
    let outcome = spec.validate(&SpecLimits::TOOL);
    spec.goal = with_outputs;
    outcome.and_then(|()| spec.validate(&SpecLimits::STORED))
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
