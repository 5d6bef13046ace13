//! Steps that become tasks for other agents. They are children like those of `create_task`: within the tree, with at most the
//! rights of the task whose step it is, and inserted once however often the order is repeated.

use serde_json::Value;

use super::create_task::{CreateTask, NAME};
use super::inputs::store_failure;
use super::{ToolContext, Toolbox};
use crate::clock;
use crate::domain::agent::AgentProfile;
use crate::domain::approval::ApprovalRequirement;
use crate::domain::attempt::Attempt;
use crate::domain::delegation::{OrderState, Recipient, StepOrder, StepWork, UnderWay, offered, recipient};
use crate::domain::failure::{Failure, FailureClass};
use crate::domain::files::{FILES, TaskFile};
use crate::domain::handover::{Handover, HandoverDraft};
use crate::domain::id::{TaskId, derived};
use crate::domain::plan::Plan;
use crate::domain::replica::AgentPresence;
use crate::domain::step_origin::STEP_TAG;
use crate::domain::task::{SpecLimits, Task, TaskSpec, TaskStatus};
use crate::domain::time::Timestamp;
use crate::domain::tool::{ToolResult, as_artifact_output};
use crate::domain::tree::{Lineage, Rights};

/// Name under which the goal of the parent stands in the context of the task that carries out an instruction.
const PARENT_GOAL: &str = "goal_of_the_whole";
/// Most characters of it.
const PARENT_GOAL_CHARS: usize = 4_000;

impl Toolbox {
    /// Capabilities that other agents of the fleet have and `profile` lacks, as far as it may give them work.
    ///
    /// # Errors
    /// When the store does not tell which agents there are.
    pub async fn offered(&self, profile: &AgentProfile) -> Result<Vec<String>, Failure> {
        Ok(offered(&profile.capabilities, &self.fleet().await?, &Rights::of(profile)))
    }

    /// Has a step of `parent`, which `profile` runs, carried out by another agent, or tells what has become of that.
    ///
    /// # Errors
    /// A failure that may pass. What cannot be ordered at all is [`OrderState::Refused`].
    pub async fn order(&self, profile: &AgentProfile, parent: &Task, order: &StepOrder) -> Result<OrderState, Failure> {
        let id = TaskId::Uuid(derived(&["step", &parent.id.to_string(), &order.key]));
        let child = self.store().task(id).await.map_err(|error| store_failure(&error))?;
        match (child, &order.work) {
            (Some(child), _) => self.state_of(profile, parent, order, child).await,
            (None, Some(work)) => self.place(profile, parent, order, work, id).await,
            (None, None) => {
                Ok(OrderState::Failed(Failure::permanent(format!("task {id}, which carried it out, was removed"))))
            }
        }
    }

    /// The agents of all replicas that take tasks.
    async fn fleet(&self) -> Result<Vec<AgentPresence>, Failure> {
        let replicas = self.store().replicas().await.map_err(|error| store_failure(&error))?;
        Ok(replicas.into_iter().filter(|replica| !replica.draining).flat_map(|replica| replica.agents).collect())
    }

    async fn place(
        &self,
        profile: &AgentProfile,
        parent: &Task,
        order: &StepOrder,
        work: &StepWork,
        id: TaskId,
    ) -> Result<OrderState, Failure> {
        let context = context_of(profile, parent, order, work);
        let rights = parent.rights_of_child(&context.rights);
        let Some(recipient) = recipient(&order.capability, &self.fleet().await?, &rights) else {
            let reason = format!("no agent that may get it has the capability {:?}", order.capability);
            return Ok(OrderState::Refused(reason));
        };
        let now = clock::now();
        let spec = spec_of(parent, order, work, recipient, &context, now);
        match self.orders().insert(spec, parent, rights, &context, id, now).await {
            Ok(()) => Ok(under_way(id, now, self.unclaimed_ms().unsigned_abs())),
            Err(failure) if failure.class == FailureClass::Transient => Err(failure),
            Err(failure) => Ok(OrderState::Refused(failure.message)),
        }
    }

    /// What has become of `child`. One that no agent can take is taken back, and one that is at work for longer than an attempt
    /// of its parent may be is stopped. Neither the queue, nor a person who has to decide, nor a wait for steps of its own counts.
    async fn state_of(
        &self,
        profile: &AgentProfile,
        parent: &Task,
        order: &StepOrder,
        child: Task,
    ) -> Result<OrderState, Failure> {
        if child.state.status.is_terminal() {
            return self.end_of(parent, order, &child).await;
        }
        let (now, id) = (clock::now(), child.id);
        let has_begun = child.state.status == TaskStatus::Running || child.state.earlier_runs() > 0;
        let unclaimed_ms = self.unclaimed_ms().unsigned_abs();
        let limit_ms = parent.spec.timeout_s.saturating_mul(1_000);
        let is_pending = child.state.status == TaskStatus::Pending;
        let pending_ms = now.millis_since(child.state.updated_at.max(child.spec.run_at));
        if is_pending && pending_ms >= unclaimed_ms && !self.can_be_taken(profile, order, &child).await? {
            let stopped = self.orders().stop(child).await?;
            let reason = format!("no agent with the capability {:?} is left to take task {id}", order.capability);
            return match (stopped.state.status, has_begun) {
                (TaskStatus::Cancelled, false) if stopped.state.withdrawn => {
                    Ok(OrderState::Withdrawn { reason, had_begun: false })
                }
                (TaskStatus::Cancelled, true) if stopped.state.withdrawn => {
                    Ok(OrderState::Failed(Failure::timeout(reason)))
                }
                (status, _) if status.is_terminal() => self.end_of(parent, order, &stopped).await,
                _ => Ok(under_way(id, now, unclaimed_ms)),
            };
        }
        let look_in_ms = match child.state.status {
            TaskStatus::AwaitingApproval | TaskStatus::Waiting => limit_ms.max(unclaimed_ms),
            _ if !has_begun => unclaimed_ms,
            status => {
                let left_ms = limit_ms.saturating_sub(self.worked_ms(&child, now).await?);
                if left_ms == 0 {
                    return self.stop_overdue(parent, order, child).await;
                }
                // While it does not run, what is left does not become less.
                if status == TaskStatus::Running { left_ms } else { left_ms.max(unclaimed_ms) }
            }
        };
        Ok(under_way(id, now, look_in_ms))
    }

    /// Stops `child`, which takes too long, and tells what has become of it.
    async fn stop_overdue(&self, parent: &Task, order: &StepOrder, child: Task) -> Result<OrderState, Failure> {
        let (id, limit_s) = (child.id, parent.spec.timeout_s);
        let stopped = self.orders().stop(child).await?;
        let state = &stopped.state;
        if state.status == TaskStatus::Completed || state.status.is_terminal() && !state.withdrawn {
            return self.end_of(parent, order, &stopped).await;
        }
        // A person or another replica is about to end it.
        if !state.withdrawn {
            return Ok(under_way(id, clock::now(), self.unclaimed_ms().unsigned_abs()));
        }
        Ok(OrderState::Failed(Failure::timeout(format!(
            "task {id}, which carries it out, was at work for more than the {limit_s} s that an attempt has (raise timeout_s, or \
             split the step)"
        ))))
    }

    /// How long agents have been at work on `child`, in milliseconds.
    async fn worked_ms(&self, child: &Task, now: Timestamp) -> Result<u64, Failure> {
        let attempts = self.store().attempts(child.id).await.map_err(|error| store_failure(&error))?;
        let is_running =
            |attempt: &Attempt| child.state.claim.as_ref().is_some_and(|claim| claim.token == attempt.claim);
        let worked = attempts.iter().map(|attempt| {
            let open_until = if is_running(attempt) { now } else { attempt.updated_at };
            attempt.finished_at.unwrap_or(open_until).millis_since(attempt.started_at)
        });
        Ok(worked.fold(0, u64::saturating_add))
    }

    /// What has become of `child`, which has ended.
    async fn end_of(&self, parent: &Task, order: &StepOrder, child: &Task) -> Result<OrderState, Failure> {
        match child.state.status {
            TaskStatus::Completed => self.output_of(parent, order, child).await.map(OrderState::Done),
            _ => Ok(ended(child)),
        }
    }

    /// Whether an agent is there that may take `child`.
    async fn can_be_taken(&self, profile: &AgentProfile, order: &StepOrder, child: &Task) -> Result<bool, Failure> {
        let fleet = self.fleet().await?;
        Ok(match &child.spec.agent {
            Some(name) => fleet.iter().any(|agent| agent.name == *name),
            None => recipient(&order.capability, &fleet, &Rights::of(profile)).is_some(),
        })
    }

    /// The output of the step that `child` has carried out. One that is an artifact of the child becomes one of `parent`.
    async fn output_of(&self, parent: &Task, order: &StepOrder, child: &Task) -> ToolResult {
        let result = child.state.result.clone().unwrap_or_default();
        let output = match result {
            Value::Object(mut fields) if fields.contains_key("output") => fields.remove("output").unwrap_or_default(),
            other => other,
        };
        let Some(artifact) = as_artifact_output(&output) else { return Ok(output) };
        let whole = match self.content(child.id, artifact.name, false).await {
            Ok(whole) => whole,
            Err(failure) if failure.class == FailureClass::Transient => return Err(failure),
            Err(failure) => return Err(Failure::transient(failure.message)),
        };
        let idempotency_key = format!("{}:{}", parent.id, order.key);
        let context = ToolContext {
            task_id: parent.id,
            user: parent.spec.user.clone(),
            goal: parent.spec.goal.clone(),
            step: order.step.clone(),
            idempotency_key,
            rights: Rights::default(),
            redirects: None,
            handed_over: None,
        };
        self.shorten("step", &context, whole).await
    }
}

fn under_way(task: TaskId, now: Timestamp, look_in_ms: u64) -> OrderState {
    let look_at = now.plus_millis(i64::try_from(look_in_ms).unwrap_or(i64::MAX));
    OrderState::UnderWay(UnderWay { task, look_at })
}

/// What it means for its parent that `child` did not complete.
fn ended(child: &Task) -> OrderState {
    let id = child.id;
    match (child.state.status, &child.state.error) {
        // A requeue does again what was stopped with the earlier run.
        (TaskStatus::Cancelled, _) if child.state.withdrawn => OrderState::Withdrawn {
            reason: format!("task {id}, which carried it out, was cancelled with an earlier run"),
            had_begun: child.state.earlier_runs() > 0,
        },
        (status, Some(error)) => {
            OrderState::Failed(Failure::permanent(format!("task {id}, which carried it out, is {status}: {error}")))
        }
        (status, None) => {
            OrderState::Failed(Failure::permanent(format!("task {id}, which carried it out, is {status}")))
        }
    }
}

fn context_of(profile: &AgentProfile, parent: &Task, order: &StepOrder, work: &StepWork) -> ToolContext {
    let handover = Handover { goal: None, values: work.values.clone() };
    let has_values = !work.values.is_empty();
    ToolContext {
        task_id: parent.id,
        user: parent.spec.user.clone(),
        goal: parent.spec.goal.clone(),
        step: order.step.clone(),
        idempotency_key: format!("{}:{}", parent.id, order.key),
        rights: Rights::of(profile),
        redirects: None,
        handed_over: has_values.then(|| HandoverDraft { handover, plan: None }),
    }
}

/// The task that carries out a step, before it is known whether it may be made.
fn spec_of(
    parent: &Task,
    order: &StepOrder,
    work: &StepWork,
    recipient: Recipient,
    context: &ToolContext,
    now: Timestamp,
) -> TaskSpec {
    let StepWork { goal, plan, origin, .. } = work;
    let mut data = serde_json::Map::new();
    if plan.instruction.is_some() {
        data.extend(parent.spec.context.clone());
        // The files lie in the folder of the parent.
        if !TaskFile::named_in(&data).is_empty() {
            data.remove(FILES);
        }
        let whole: String = parent.spec.goal.chars().take(PARENT_GOAL_CHARS).collect();
        data.insert(PARENT_GOAL.to_owned(), Value::from(whole));
    }
    // As for the tool by which a model makes tasks.
    let approval =
        if context.rights.must_ask(NAME) { ApprovalRequirement::Required } else { ApprovalRequirement::None };
    TaskSpec {
        priority: order.priority.unwrap_or(parent.spec.priority),
        agent: match recipient {
            Recipient::Named(name) => Some(name),
            Recipient::Capable => None,
        },
        capabilities: vec![order.capability.clone()],
        plan: Some(Plan { steps: vec![plan.clone()], answer: Some(plan.id.clone()) }),
        context: data,
        user: parent.spec.user.clone(),
        max_attempts: parent.spec.max_attempts,
        timeout_s: parent.spec.timeout_s,
        tags: vec![STEP_TAG.to_owned()],
        lineage: Lineage { step: Some(origin.clone()), ..Lineage::default() },
        approval,
        ..TaskSpec::new(goal.clone(), now)
    }
}

impl CreateTask {
    /// Inserts the task `id` of `spec` as a child of `parent`.
    async fn insert(
        &self,
        spec: TaskSpec,
        parent: &Task,
        rights: Rights,
        context: &ToolContext,
        id: TaskId,
        now: Timestamp,
    ) -> Result<(), Failure> {
        spec.validate(&SpecLimits::STORED).map_err(|error| Failure::invalid(error.to_string()))?;
        let _one_at_a_time = self.lock(parent.id).await;
        let task = Task { id, ..self.as_child(spec, parent, rights, context, now)? };
        let tree = self.slots_for(&task, parent, context).await?;
        let inserted = self.queue.submit_child(task, tree, now).await;
        inserted.map(drop).map_err(|error| self.failure(&error, parent.root(), context))
    }

    async fn stop(&self, child: Task) -> Result<Task, Failure> {
        self.queue.stop_step(child).await.map_err(|error| store_failure(&error))
    }
}
