//! The kinds of events that the history knows: a public contract, because API, command line and other clients read them.

/// Declares [`EventKind`] with the name and the meaning of each kind, so that none lacks either.
macro_rules! event_kinds {
    ($($kind:ident, $name:literal, $meaning:literal;)*) => {
        /// What happened. Stored by its name; a newer version may store names that this one does not know.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum EventKind {
            $(#[doc = $meaning] $kind,)*
        }

        impl EventKind {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$kind,)*];

            /// Its name in the store and in the API, in `snake_case`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)*
                }
            }

            /// What it tells, in a sentence, for docs/telemetry.md.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self {
                    $(Self::$kind => $meaning,)*
                }
            }
        }
    };
}

event_kinds! {
    Admitted, "admitted", "qron read a point of another client and took it on as a task.";
    UnknownField, "unknown_field", "A point that was admitted has a field that qron does not know.";
    KeptOut, "kept_out", "Another task has the unique key of a point, so that the point became a skipped task.";
    Rejected, "rejected", "A point cannot be read as a task and went to the dead letters.";
    DependenciesDone, "dependencies_done", "Every task that it waited for has ended, and it became pending.";
    DependencyFailed, "dependency_failed", "A task that it waited for did not complete, or it waits for itself: it is blocked.";
    Unroutable, "unroutable", "A due task stays pending because no agent of the replica fits.";
    KeptApart, "kept_apart", "A due task waits because its process died while running it, and another such task runs now.";
    Claimed, "claimed", "A replica won the right to run the task.";
    Limited, "limited", "The replica handed a claimed task back because the limit of its key or agent is reached.";
    Completed, "completed", "The task ended well.";
    Failed, "failed", "The task ended badly and is not tried again.";
    RetryScheduled, "retry_scheduled", "An attempt failed, and the next one has a time.";
    Released, "released", "The replica handed the task back unfinished, at no charge.";
    Postponed, "postponed", "The model is away, and the task is tried again later, at no charge.";
    Rescued, "rescued", "A replica died, and another one took its tasks back.";
    Lost, "lost", "The outcome of a run was not recorded because another run has the task.";
    CancelRequested, "cancel_requested", "A person, a later firing of its schedule, or the task whose step it carries out, asked to stop a running task.";
    Cancelled, "cancelled", "The task was stopped on request.";
    Requeued, "requeued", "A person had the task done again, from a clean slate.";
    Reprioritised, "reprioritised", "A person gave the task another priority.";
    Snoozed, "snoozed", "A person moved the time at which the task becomes due.";
    ApprovalNeeded, "approval_needed", "A run waits until a person has decided on its calls.";
    TasksAwaited, "tasks_awaited", "The run waits until a task that carries out one of its steps has ended.";
    AwaitedTaskEnded, "awaited_task_ended", "A task that carries out a step has ended, or is overdue, and the run that waits for it goes on.";
    Approved, "approved", "A person approved what the task asked for.";
    Denied, "denied", "A person denied what the task asked for.";
    ApprovalExpired, "approval_expired", "No person decided in time, which counts as a denial.";
    Planned, "planned", "The run has a plan.";
    Unchanged, "unchanged", "All tools gave what they gave to the run before, whose answer was taken over without a model.";
    Replanned, "replanned", "The run has a new plan after a failure.";
    Resumed, "resumed", "The run goes on from the checkpoint of an earlier one.";
    CheckpointDiscarded, "checkpoint_discarded", "The checkpoint of an earlier run cannot be used, and the run starts over.";
    StepStarted, "step_started", "A step of the plan started.";
    StepListed, "step_listed", "The list of a step with each was read: the step runs once for each element.";
    StepSplit, "step_split", "A step refers to a text that is too long for one question: other steps read its parts first.";
    StepFinished, "step_finished", "A step of the plan ended well.";
    StepFailed, "step_failed", "A step of the plan failed.";
    StepBlocked, "step_blocked", "A step cannot start because one that it depends on failed.";
    StepDelegated, "step_delegated", "A step needs a capability that the agent lacks, and became a task for another agent.";
    StepKept, "step_kept", "A step needs a capability that the agent lacks, and the run carries it out itself, with the reason.";
    StepWithdrawn, "step_withdrawn", "The task of a step was taken back before an agent began it, or stopped with an earlier run, and the step is placed anew.";
    ModelCalled, "model_called", "A model answered or failed.";
    DataLeftOut, "data_left_out", "Data were left out of a question, because the model reads no more at once.";
    ToolCalled, "tool_called", "A tool returned or failed.";
    AnswerRejected, "answer_rejected", "A model's answer cannot be used, and the run asks again.";
    AnswerUnconfirmed, "answer_unconfirmed", "The run takes an answer although the model did not confirm it.";
    AnswerUngrounded, "answer_ungrounded", "The result states numbers or addresses that stand in no output and not in the goal.";
    OutputLimitRaised, "output_limit_raised", "A model's answer was cut off, and the run asks again with more room.";
    RecallFailed, "recall_failed", "The run plans without memories of earlier tasks.";
    RememberFailed, "remember_failed", "The run could not be kept as a memory.";
    EmbeddingFailed, "embedding_failed", "The embedding model failed, and memory is searched by words alone.";
    Fired, "fired", "A schedule made the task.";
    FiringSkipped, "firing_skipped", "A firing of a schedule became no task, with the reason.";
    FiringsMissed, "firings_missed", "Several firings of a schedule were missed, with their range and number.";
    ScheduleCreated, "schedule_created", "A person created a schedule.";
    ScheduleChanged, "schedule_changed", "A person changed a schedule.";
    SchedulePaused, "schedule_paused", "A person paused a schedule.";
    ScheduleResumed, "schedule_resumed", "A person resumed a schedule.";
    ScheduleRemoved, "schedule_removed", "A person removed a schedule.";
    PlanPinned, "plan_pinned", "A person pinned the plan that the runs of a schedule begin with.";
    PlanForgotten, "plan_forgotten", "A person had the plan of a schedule forgotten.";
    ScheduleTriggered, "schedule_triggered", "A person triggered a schedule, and the firing waits for its turn.";
    ScheduleBackfilled, "schedule_backfilled", "A person had the missed firings of a range made up for.";
    ScheduleFailed, "schedule_failed", "The store refuses what a schedule wants, and the schedule does not fire.";
    Paused, "paused", "A person paused the fleet or an agent.";
    PauseNoteChanged, "pause_note_changed", "A person changed the note of a pause.";
    ResumedWork, "resumed_work", "A person resumed the fleet or an agent.";
    Pruned, "pruned", "Retention removed what is old.";
    EventsDropped, "events_dropped", "The history has a gap: events came faster than the store takes them.";
}

impl std::fmt::Display for EventKind {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_kind_has_a_name_of_its_own_and_a_meaning() {
        let names: HashSet<&str> = EventKind::ALL.iter().map(|kind| kind.as_str()).collect();
        assert_eq!(names.len(), EventKind::ALL.len());
        for kind in EventKind::ALL {
            assert!(kind.as_str().bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{kind}");
            assert!(kind.meaning().ends_with('.') && !kind.meaning().contains('|'), "{kind}");
        }
    }
}
