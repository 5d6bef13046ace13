//! Marks the result of a run that is unlike the earlier results of its schedule.

use serde_json::{Value, json};

use super::{Agent, Recorder};
use crate::clock;
use crate::domain::drift::{self, EndedRun};
use crate::domain::event::{Event, EventKind, Level};
use crate::domain::memory::{Memory, RunFacts};
use crate::domain::task::Task;
use crate::telemetry::metrics;

/// Suspect results in a row after which they are compared with like the others.
const NEW_NORMAL: u32 = 3;

impl Agent {
    /// Marks `result` and its `memory` as suspect when it is unlike the earlier results of the schedule of `task`. Nothing else
    /// follows: the task completes with it.
    pub(super) async fn mark_suspect(
        &self,
        task: &Task,
        result: &mut Value,
        memory: &mut Memory,
        recorder: &dyn Recorder,
    ) {
        let is_new = memory.facts.as_ref().is_some_and(|facts| !facts.unchanged);
        if task.spec.schedule_id.is_none() || !is_new {
            return;
        }
        let earlier = self.memory_access(recorder).of_schedule(task).await;
        let of_goal: Vec<&Memory> =
            earlier.iter().filter(|earlier| earlier.succeeded && earlier.goal_hash == memory.goal_hash).collect();
        let in_a_row = |memory: &Memory| memory.facts.as_ref().map_or(0, |facts| facts.suspect_in_a_row);
        let before = of_goal.first().map_or(0, |memory| in_a_row(memory));
        // What came up again and again is how results are now.
        let is_usual = |memory: &&&Memory| before >= NEW_NORMAL || in_a_row(memory) == 0;
        let ended: Vec<EndedRun<'_>> = of_goal.iter().filter(is_usual).filter_map(|memory| ended_run(memory)).collect();
        let reasons = ended_run(memory).map(|run| drift::unlike(&run, &ended)).unwrap_or_default();
        if reasons.is_empty() {
            return;
        }
        let in_a_row = before.saturating_add(1);
        let message = format!("the result is unlike the last {} of its schedule: {}", ended.len(), reasons.join("; "));
        tracing::warn!(task = %task.id, schedule = task.spec.schedule_id.as_deref(), "{message}");
        let event = Event::new(EventKind::ResultSuspect, message, clock::now()).level(Level::Warn);
        recorder.note(event.with("in_a_row", in_a_row));
        metrics::RESULTS_SUSPECT.inc([memory.agent.as_str()]);
        if let Some(result) = result.as_object_mut() {
            result.insert(drift::MARK.to_owned(), json!({"reasons": reasons, "in_a_row": in_a_row}));
        }
        if let Some(facts) = &mut memory.facts {
            // The answer of such a run is not taken over by a later one.
            *facts = RunFacts { suspect_in_a_row: in_a_row, outputs_hash: None, given_hash: None, ..facts.clone() };
        }
    }
}

/// What is compared of a run that succeeded; `None` when an older version wrote its memory.
fn ended_run(memory: &Memory) -> Option<EndedRun<'_>> {
    let facts = memory.facts.as_ref()?;
    Some(EndedRun {
        text: &memory.summary,
        form: memory.form.as_ref()?,
        tool_calls: facts.tool_calls,
        undone_steps: facts.steps.iter().filter(|step| !step.done).count(),
        tokens: facts.spent.usage.total(),
    })
}
