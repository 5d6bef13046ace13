//! What a run takes from earlier runs of its schedule, and what it leaves to later ones.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;

use super::Agent;
use super::machine::{EarlierOutputs, Machine, ReusedPlan};
use super::memory::{GOAL_BYTES, TIMEOUT, clipped};
use crate::clock;
use crate::domain::adoption::Adoption;
use crate::domain::agent::AgentProfile;
use crate::domain::drift::ResultForm;
use crate::domain::failure::Failure;
use crate::domain::files::TaskFile;
use crate::domain::id::{TaskId, derived};
use crate::domain::memory::{Memory, PlanOrigin, RunFacts, goal_hash};
use crate::domain::plan::Plan;
use crate::domain::plan_reuse::{self, GivenRun, MAX_GIVEN_BYTES, MAX_PLAN_BYTES, Moment, PlanDecision, PlannedRun};
use crate::domain::schedule::zone::Zone;
use crate::domain::task::{Task, TaskStatus};
use crate::domain::time::Timestamp;
use crate::domain::tool::ToolSpec;

/// Longest summary, in bytes.
const SUMMARY_BYTES: usize = 1_000;
/// Longest outline, in bytes.
const OUTLINE_BYTES: usize = 4_000;
/// Most hosts that are noted.
const MAX_HOSTS: usize = 16;

/// What a run is given, as far as later runs compare it with what they are given.
pub(super) struct Given {
    /// `None` when it is too large to compare, or the run continues one that another process began.
    run: Option<GivenRun>,
    /// Hash of what a later run must be given to take the answer over.
    hash: String,
    tool_hash: String,
    moment: Moment,
    started: Instant,
}

impl Given {
    pub(super) fn new(
        task: &Task,
        profile: &AgentProfile,
        model: &str,
        tools: &[Arc<ToolSpec>],
        clock: (Timestamp, Zone),
        is_resumed: bool,
    ) -> Self {
        let (goal, context) = (&task.spec.goal, &task.spec.context);
        let (basis, moment) = (plan_reuse::basis(profile, model, tools), Moment::of(clock.0, clock.1));
        let has_files = !TaskFile::named_in(context).is_empty();
        let is_plain = task.spec.depends_on.is_empty() && task.spec.parent.is_none() && !has_files;
        let run = (is_plain && !is_resumed && goal.len() <= MAX_GIVEN_BYTES)
            .then(|| plan_reuse::variables(context))
            .flatten()
            .map(|variables| GivenRun { goal: goal.clone(), variables, moment: moment.clone(), basis: basis.clone() });
        Self {
            run,
            hash: plan_reuse::given_hash(goal, context, &basis),
            tool_hash: plan_reuse::tool_hash(tools),
            moment,
            started: Instant::now(),
        }
    }

    /// `plan` as evidence for later runs, unless it is too long.
    fn planned(&self, plan: Plan) -> Option<PlannedRun> {
        let GivenRun { goal, variables, moment, basis } = self.run.clone()?;
        let is_short = serde_json::to_string(&plan).is_ok_and(|text| text.len() <= MAX_PLAN_BYTES);
        is_short.then_some(PlannedRun { plan, goal, variables, moment, basis })
    }
}

impl Agent {
    /// The plan that a run of a schedule begins with, from `memories` of its earlier runs; `None` for any doubt.
    pub(super) async fn reused_plan(&self, task: &Task, given: &Given, memories: &[Memory]) -> Option<ReusedPlan> {
        let schedule = task.spec.schedule_id.as_deref().filter(|_| task.spec.plan.is_none())?;
        let run = given.run.as_ref()?;
        let decision = match tokio::time::timeout(TIMEOUT, self.store.schedule(schedule)).await {
            Ok(Ok(found)) => found.map_or_else(PlanDecision::default, |schedule| schedule.plan_decision),
            Ok(Err(error)) => {
                tracing::warn!(%error, schedule, "the plan is made anew, because the schedule cannot be read");
                return None;
            }
            Err(_) => return None,
        };
        let adoption = Adoption::of(memories, &decision);
        let plan = adoption.plan_for(run)?;
        let last = memories.iter().find(|memory| memory.succeeded);
        let earlier = last.and_then(|memory| {
            let facts = memory.facts.as_ref().filter(|facts| facts.given_hash.as_ref() == Some(&given.hash))?;
            Some(EarlierOutputs { hash: facts.outputs_hash.clone()?, task: memory.task_id })
        });
        Some(ReusedPlan { plan, runs: adoption.runs.len(), earlier })
    }

    /// The result of the earlier run `earlier` of the schedule of `task`; `None` when it is gone or no success any more.
    pub(super) async fn earlier_result(&self, task: &Task, earlier: TaskId) -> Option<Value> {
        let search = self.store.tasks_by_id(std::slice::from_ref(&earlier));
        let found = tokio::time::timeout(TIMEOUT, search).await.ok()?.ok()?;
        let is_like = |found: &Task| {
            found.spec.schedule_id == task.spec.schedule_id
                && found.spec.user == task.spec.user
                && found.state.status == TaskStatus::Completed
        };
        found.into_iter().find(is_like)?.state.result
    }
}

/// The memory of a run that ended in `result`.
pub(super) fn memory_of(
    task: &Task,
    agent: &str,
    result: &Result<Value, Failure>,
    machine: &Machine,
    given: &Given,
) -> Memory {
    let summary = match result {
        Ok(result) => match result.get("output").unwrap_or(result) {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        },
        Err(failure) => failure.to_string(),
    };
    let output = result.as_ref().ok().map(|result| result.get("output").unwrap_or(result));
    Memory {
        id: derived(&["memory", &task.id.to_string()]),
        task_id: task.id,
        agent: agent.to_owned(),
        user: task.spec.user.clone(),
        goal: clipped(&task.spec.goal, GOAL_BYTES).to_owned(),
        succeeded: result.is_ok(),
        summary: clipped(&summary, SUMMARY_BYTES).to_owned(),
        outline: clipped(&machine.outline(), OUTLINE_BYTES).to_owned(),
        at: clock::now(),
        schedule_id: task.spec.schedule_id.clone(),
        goal_hash: Some(goal_hash(&task.spec.goal)),
        form: output.map(ResultForm::of),
        facts: Some(facts_of(task, result, machine, given)),
    }
}

fn facts_of(task: &Task, result: &Result<Value, Failure>, machine: &Machine, given: &Given) -> RunFacts {
    let record = machine.record();
    let success = result.as_ref().ok();
    let hosts = record.plan.as_ref().map(hosts_of).unwrap_or_default();
    let unchanged = success.is_some_and(|result| result.get("unchanged") == Some(&Value::Bool(true)));
    let may_be_taken_over = given.run.is_some() && record.origin != PlanOrigin::Task;
    let outputs_hash = success.filter(|_| may_be_taken_over).and_then(|result| {
        if unchanged { machine.expected_outputs_hash() } else { machine.answering_outputs(result, &given.moment) }
    });
    RunFacts {
        untrusted: task.spec.parent.is_some() || machine.has_read_untrusted(),
        made_by_task: task.spec.parent.is_some(),
        origin: record.origin,
        steps: record.steps,
        tool_hash: given.tool_hash.clone(),
        hosts,
        tool_calls: record.tool_calls,
        suspect_in_a_row: 0,
        spent: machine.spent().clone(),
        wall_ms: u64::try_from(given.started.elapsed().as_millis()).unwrap_or(u64::MAX),
        failure: result.as_ref().err().map(|failure| failure.class),
        result_hash: success.map(plan_reuse::result_hash),
        planned: record.plan.filter(|_| success.is_some()).and_then(|plan| given.planned(plan)),
        given_hash: outputs_hash.is_some().then(|| given.hash.clone()),
        outputs_hash,
        unchanged,
        experience_bytes: u32::try_from(machine.experience_bytes()).unwrap_or(u32::MAX),
    }
}

/// The hosts of the addresses in the arguments of `plan`, each once.
fn hosts_of(plan: &Plan) -> Vec<String> {
    let texts = plan.steps.iter().map(|step| step.arguments.to_string());
    let mut hosts = BTreeSet::new();
    for text in texts {
        let addresses = text.split("://").skip(1);
        hosts.extend(addresses.filter_map(|address| {
            let is_of_host = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-');
            let host: String = address.chars().take_while(|letter| is_of_host(*letter)).take(253).collect();
            (!host.is_empty()).then(|| host.to_lowercase())
        }));
    }
    hosts.into_iter().take(MAX_HOSTS).collect()
}
