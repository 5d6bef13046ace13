//! One claimed task: its run, under its time limit, until it ends by itself or is stopped.
//!
//! What follows from the end is decided and written in [`report`](super::report).

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::context::ReplicaContext;
use super::persist;
use super::recorder::RunRecorder;
use super::slots::Slot;
use crate::agent::Outcome;
use crate::domain::agent::AgentProfile;
use crate::domain::failure::Failure;
use crate::domain::memory::Memory;
use crate::domain::task::{Task, is_unapproved, task_hash};
use crate::telemetry::{log_lines, metrics};

/// How a run ended, before anything follows from it.
#[expect(clippy::large_enum_variant, reason = "there is one for each run, and it is moved twice")]
pub(super) enum Ending {
    /// The agent came to an end.
    Answered(Outcome),
    /// It failed outside the agent's own account: time limit, panic, unreadable checkpoint.
    Failed(Failure),
    /// Somebody asked to stop the task.
    Cancelled,
    /// The replica shuts down, or no longer counts as alive.
    HandedBack,
    /// It never began: a person must agree to the task as it is now.
    Unapproved,
}

impl ReplicaContext {
    /// Starts the run of a task that this replica has claimed.
    pub(crate) fn start(self: &Arc<Self>, task: Task, slot: Slot) {
        let context = Arc::clone(self);
        let (attempt, schedule) = (task.state.earlier_runs().saturating_add(1), task.spec.schedule_id.as_deref());
        let span = log_lines::run_span(task.id, attempt, &slot.profile().name, schedule);
        let run = async move {
            let recorder = RunRecorder::new(context.queue.clone(), &task, &slot.profile().name);
            let memory = context.execute(&task, slot, &recorder).await;
            context.queue.signals().freed();
            // The slot is free already: no other task waits for the memory.
            if let Some(memory) = memory {
                context.remember(&memory, &recorder).await;
            }
        };
        self.tracker.spawn(run.instrument(span));
    }

    /// Gives back what there is to remember of the run.
    async fn execute(&self, task: &Task, mut slot: Slot, recorder: &RunRecorder) -> Option<Memory> {
        let (started, profile) = (Instant::now(), Arc::clone(slot.profile()));
        let run = self.running.enter(task);
        if task.state.cancel_requested {
            run.stop.cancel();
        }
        let mut ending = self.carry_out(task, &profile, recorder, &run.stop).await;
        slot.ended();
        self.queue.signals().freed();
        let memory = if let Ending::Answered(outcome) = &mut ending { outcome.memory.take() } else { None };
        let outcome = self.report(task, &profile, recorder, ending).await;
        metrics::RUN_SECONDS.record(started.elapsed(), [&profile.name, outcome.as_str()]);
        // Only what counts is remembered.
        memory.filter(|_| outcome.is_final())
    }

    async fn remember(&self, memory: &Memory, recorder: &RunRecorder) {
        tokio::select! {
            () = self.agent.remember(memory, recorder) => {}
            () = self.cut.cancelled() => {}
        }
    }

    async fn carry_out(
        &self,
        task: &Task,
        profile: &AgentProfile,
        recorder: &RunRecorder,
        stop: &CancellationToken,
    ) -> Ending {
        if stop.is_cancelled() {
            return Ending::Cancelled;
        }
        if self.cut.is_cancelled() || !self.lease.is_certain() {
            return Ending::HandedBack;
        }
        // Another client may have changed the task since it was approved: what counts is what would run now.
        if is_unapproved(task) {
            return Ending::Unapproved;
        }
        let limit = Duration::from_secs(task.spec.timeout_s.max(1));
        let run = AssertUnwindSafe(self.run(task, profile, recorder)).catch_unwind();
        tokio::select! {
            // A run that has ended counts, even when it is told to stop at the same moment.
            biased;
            ended = tokio::time::timeout(limit, run) => match ended {
                Ok(Ok(ending)) => ending,
                Ok(Err(panic)) => Ending::Failed(panicked(panic.as_ref())),
                Err(_) => Ending::Failed(Failure::timeout(format!(
                    "the attempt did not end within its time limit of {} s: raise timeout_s, or split the task", limit.as_secs()
                ))),
            },
            () = stop.cancelled() => Ending::Cancelled,
            () = self.cut.cancelled() => Ending::HandedBack,
            () = self.lease.lost() => Ending::HandedBack,
        }
    }

    async fn run(&self, task: &Task, profile: &AgentProfile, recorder: &RunRecorder) -> Ending {
        // The first run cannot have a checkpoint, so it does not pay for looking.
        let checkpoint = if task.state.earlier_runs() == 0 {
            None
        } else {
            if let Err(error) = recorder.close_earlier().await {
                // They are records for people; the run does not depend on them.
                tracing::error!(task = %task.id, %error, "the records of lost attempts were not marked");
            }
            match persist("read the last checkpoint", || self.queue.store().last_checkpoint(task.id)).await {
                // What asked for something else is no beginning of this.
                Ok(attempt) => attempt
                    .filter(|attempt| attempt.spec.as_ref().is_none_or(|spec| *spec == task_hash(task)))
                    .and_then(|attempt| attempt.checkpoint),
                // Starting over would repeat steps that have been done.
                Err(error) => {
                    let message = format!("its checkpoint cannot be read, so it cannot go on safely: {error}");
                    return Ending::Failed(Failure::permanent(message));
                }
            }
        };
        Ending::Answered(self.agent.run(task, profile, checkpoint, recorder).await)
    }
}

fn panicked(panic: &(dyn Any + Send)) -> Failure {
    let message = panic
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned());
    tracing::error!(message, "a run panicked");
    Failure::new(crate::domain::failure::FailureClass::Crashed, format!("the agent panicked: {message}"))
}
