//! What follows from a change of a task: one total match from event, status and actor to metrics, history and signal.
//!
//! Every change that [`Queue`] writes goes through it, so that no caller can count, record or signal otherwise.

use super::Queue;
use super::change::Actor;
use super::describe::{self, failure};
use crate::domain::approval::{Approval, ApprovalOutcome};
use crate::domain::event::{Event, EventKind, Level};
use crate::domain::id::TaskId;
use crate::domain::plan::Plan;
use crate::domain::task::{Task, TaskEvent, TaskStatus};
use crate::domain::time::Timestamp;
use crate::telemetry::{log_lines, metrics};

/// Label of tasks whose agent is not known.
const UNKNOWN_AGENT: &str = "unknown";

/// What follows from one change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Effects {
    /// What to count.
    pub(super) counts: &'static [Count],
    /// What to record in the history, if anything.
    pub(super) recorded: Option<(EventKind, Level)>,
    /// What this replica does about it.
    pub(super) signal: Signal,
}

/// A metric that a change counts in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Count {
    Completed,
    Failed,
    DeadLettered,
    Retried,
    Released,
    Postponed,
    Cancelled,
    Limited,
    DependentMoved,
    ApprovalsRequested,
    ApprovalsDecided(ApprovalOutcome),
}

/// What this replica does about a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    /// Nothing.
    None,
    /// The task may be due: every replica looks for due tasks.
    Due,
    /// Only the other replicas look for due tasks.
    DueElsewhere,
    /// The task becomes due at its `run_at`.
    DueLater,
    /// The task may have all that it waits for.
    Waiting,
    /// The task has ended, with whether it completed; its dependents may go on.
    Ended { completed: bool },
    /// Its run is to stop, if it runs here.
    StopRun,
    /// The next sweep reads it anew.
    Sweep,
}

const fn all(counts: &'static [Count], kind: EventKind, level: Level, signal: Signal) -> Effects {
    Effects { counts, recorded: Some((kind, level)), signal }
}

/// What follows from `event`, which `actor` caused and after which the task has this `status`.
pub(super) fn effects(event: &TaskEvent, status: TaskStatus, actor: Actor<'_>) -> Effects {
    use Level::{Error, Info, Warn};

    const ENDED_BADLY: Signal = Signal::Ended { completed: false };
    match event {
        TaskEvent::DependenciesDone => all(&[Count::DependentMoved], EventKind::DependenciesDone, Info, Signal::Due),
        // It may itself be what others wait for.
        TaskEvent::DependencyFailed(_) | TaskEvent::WaitsInCycle(_) => {
            all(&[Count::DependentMoved], EventKind::DependencyFailed, Error, ENDED_BADLY)
        }
        // The claim of a batch is counted and recorded where it is won.
        TaskEvent::Claimed(_) => Effects { counts: &[], recorded: None, signal: Signal::None },
        TaskEvent::Completed(_) => {
            all(&[Count::Completed], EventKind::Completed, Info, Signal::Ended { completed: true })
        }
        TaskEvent::Failed(_) => failed(),
        TaskEvent::Rescued => match status {
            TaskStatus::Failed => failed(),
            _ => Effects { counts: &[], recorded: None, signal: Signal::Due },
        },
        TaskEvent::RetryAt(..) => all(&[Count::Retried], EventKind::RetryScheduled, Warn, Signal::DueLater),
        TaskEvent::Postponed(..) => all(&[Count::Postponed], EventKind::Postponed, Warn, Signal::DueLater),
        TaskEvent::Released => handed_back(actor),
        TaskEvent::CancelRequested | TaskEvent::StepWithdrawn => match status {
            TaskStatus::Running => all(&[], EventKind::CancelRequested, Info, Signal::StopRun),
            _ => all(&[Count::Cancelled], EventKind::Cancelled, Info, ENDED_BADLY),
        },
        TaskEvent::Cancelled => all(&[Count::Cancelled], EventKind::Cancelled, Info, ENDED_BADLY),
        // A task that was refused as unreadable is read anew, which the sweep does.
        TaskEvent::Requeued => all(&[], EventKind::Requeued, Info, Signal::Sweep),
        TaskEvent::ApprovalNeeded(_) => {
            all(&[Count::ApprovalsRequested], EventKind::ApprovalNeeded, Info, Signal::None)
        }
        // What it waits for may have ended before this was written.
        TaskEvent::TasksAwaited(_) => all(&[], EventKind::TasksAwaited, Info, Signal::Waiting),
        TaskEvent::AwaitedTaskEnded => all(&[], EventKind::AwaitedTaskEnded, Info, Signal::Due),
        TaskEvent::Approved(_) => {
            all(&[Count::ApprovalsDecided(ApprovalOutcome::Approved)], EventKind::Approved, Info, goes_on(status))
        }
        TaskEvent::Denied(_) => match status {
            TaskStatus::Cancelled => {
                let counts = &[Count::ApprovalsDecided(ApprovalOutcome::Denied), Count::Cancelled];
                all(counts, EventKind::Denied, Info, ENDED_BADLY)
            }
            _ => all(&[Count::ApprovalsDecided(ApprovalOutcome::Denied)], EventKind::Denied, Info, goes_on(status)),
        },
        TaskEvent::ApprovalExpired => match status {
            TaskStatus::Cancelled => {
                let counts = &[Count::ApprovalsDecided(ApprovalOutcome::Expired), Count::Cancelled];
                all(counts, EventKind::ApprovalExpired, Warn, ENDED_BADLY)
            }
            _ => all(
                &[Count::ApprovalsDecided(ApprovalOutcome::Expired)],
                EventKind::ApprovalExpired,
                Warn,
                goes_on(status),
            ),
        },
        TaskEvent::Reprioritised(_) => all(&[], EventKind::Reprioritised, Info, goes_on(status)),
        TaskEvent::Snoozed(_) => all(&[], EventKind::Snoozed, Info, goes_on(status)),
    }
}

const fn failed() -> Effects {
    let counts = &[Count::Failed, Count::DeadLettered];
    all(counts, EventKind::Failed, Level::Error, Signal::Ended { completed: false })
}

/// A task that its replica gives back unfinished: what follows depends on why.
const fn handed_back(actor: Actor<'_>) -> Effects {
    match actor {
        // This replica remembers that the limit is reached, and looks again by itself.
        Actor::Limit(_) => all(&[Count::Limited], EventKind::Limited, Level::Info, Signal::DueElsewhere),
        // The rescue counts and records all tasks of the dead replica together.
        Actor::Rescue { .. } => Effects { counts: &[], recorded: None, signal: Signal::Due },
        Actor::StrayCheck => all(&[Count::Released], EventKind::Released, Level::Warn, Signal::Due),
        Actor::Run { .. } | Actor::Person(_) | Actor::LaterFiring | Actor::Parent | Actor::Scheduler => {
            all(&[Count::Released], EventKind::Released, Level::Info, Signal::Due)
        }
    }
}

/// What a task that has not begun needs after a person, or the lapse of time, changed it.
const fn goes_on(status: TaskStatus) -> Signal {
    match status {
        TaskStatus::Waiting => Signal::Waiting,
        _ => Signal::Due,
    }
}

impl Queue {
    /// Counts and signals what follows from `event`, which made `task` what it is now; returns what the history has to know.
    pub(super) fn follow_up(&self, task: &Task, event: &TaskEvent, actor: Actor<'_>, now: Timestamp) -> Option<Event> {
        let effects = effects(event, task.state.status, actor);
        for what in effects.counts {
            count(*what, task, event, actor);
        }
        self.signal(effects.signal, task);
        log(task, event);
        if has_steps_to_stop(task) {
            self.stop_steps_of(task.id);
        }
        // A milestone leaves no trace but its own times and result.
        if matches!(event, TaskEvent::Completed(_)) && task.spec.is_milestone() {
            return None;
        }
        let (kind, level) = effects.recorded?;
        Some(describe::event(kind, level, task, event, actor, now))
    }

    fn signal(&self, signal: Signal, task: &Task) {
        let signals = self.signals();
        match signal {
            Signal::None => {}
            Signal::Due => signals.found(),
            Signal::DueElsewhere => signals.nudge_others(),
            Signal::DueLater => signals.due_at(task.spec.run_at),
            Signal::Waiting => {
                signals.found();
                signals.inserted_waiting(&[task.id]);
            }
            Signal::Ended { completed } => signals.ended(task.id, completed),
            Signal::StopRun => self.stop_run(task.id),
            Signal::Sweep => signals.sweep_now(),
        }
    }

    fn stop_run(&self, task: TaskId) {
        let here = self.local().is_some_and(|local| local.stop_run(task));
        tracing::debug!(%task, here, "asked to stop");
    }
}

/// Whether other tasks may carry out steps that `task`, which has ended, wants no longer.
fn has_steps_to_stop(task: &Task) -> bool {
    // A plan with an instruction may have been replaced by one of a model.
    let may_delegate = |plan: &Plan| plan.needs_judgement() || plan.steps.iter().any(|step| step.capability.is_some());
    matches!(task.state.status, TaskStatus::Failed | TaskStatus::Cancelled)
        && task.state.earlier_runs() > 0
        && task.spec.plan.as_ref().is_none_or(may_delegate)
}

fn count(what: Count, task: &Task, event: &TaskEvent, actor: Actor<'_>) {
    let agent = || actor.agent().or(task.spec.agent.as_deref()).unwrap_or(UNKNOWN_AGENT);
    let class = || failure(task, event).map_or("permanent", |failure| failure.class.as_str());
    match what {
        Count::Completed => metrics::TASKS_COMPLETED.inc([agent()]),
        Count::Failed => metrics::TASKS_FAILED.inc([agent(), class()]),
        Count::DeadLettered => metrics::DEAD_LETTERED.inc([class()]),
        Count::Retried => metrics::TASKS_RETRIED.inc([class()]),
        Count::Released => metrics::TASKS_RELEASED.inc([]),
        Count::Postponed => metrics::TASKS_POSTPONED.inc([]),
        Count::Cancelled => metrics::TASKS_CANCELLED.inc([]),
        Count::Limited => metrics::LIMITED.inc([actor.limit().unwrap_or("key")]),
        Count::DependentMoved => metrics::DEPENDENTS_MOVED.inc([task.state.status.as_str()]),
        Count::ApprovalsRequested => {
            let requested = if let TaskEvent::ApprovalNeeded(requested) = event { requested.len() } else { 1 };
            metrics::APPROVALS_REQUESTED.add(requested, []);
        }
        Count::ApprovalsDecided(verdict) => {
            let decided = match event {
                TaskEvent::Approved(ruling) | TaskEvent::Denied(ruling) => ruling.hashes.len(),
                _ => 1,
            };
            metrics::APPROVALS_DECIDED.add(decided, [verdict.as_str()]);
        }
    }
}

/// Logs how the task ended, or what it waits for now.
fn log(task: &Task, event: &TaskEvent) {
    match event {
        TaskEvent::ApprovalNeeded(requested) => {
            let subjects: Vec<String> = requested.iter().map(Approval::title).collect();
            log_lines::approvals_requested(task.id, &subjects.join(", "));
        }
        _ if task.state.status.is_terminal() => log_lines::task_ended(task.id, task.state.status, failure(task, event)),
        _ => log_lines::task_goes_on(task.id, event.name(), failure(task, event)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::approval::Ruling;
    use crate::domain::failure::Failure;
    use crate::queue::Person;

    const PERSON: Actor<'_> = Actor::Person(&Person { by: None, note: None });

    fn kind_of(event: &TaskEvent, status: TaskStatus, actor: Actor<'_>) -> Option<EventKind> {
        effects(event, status, actor).recorded.map(|(kind, _)| kind)
    }

    #[test]
    fn a_cancelled_task_is_counted_recorded_and_signalled_whoever_cancelled_it() {
        for actor in [PERSON, Actor::LaterFiring] {
            let cancelled = effects(&TaskEvent::CancelRequested, TaskStatus::Cancelled, actor);
            assert_eq!(cancelled.counts, [Count::Cancelled]);
            assert_eq!(cancelled.recorded, Some((EventKind::Cancelled, Level::Info)));
            assert_eq!(cancelled.signal, Signal::Ended { completed: false });
            let requested = effects(&TaskEvent::CancelRequested, TaskStatus::Running, actor);
            assert_eq!(
                (requested.counts, requested.signal),
                (&[][..], Signal::StopRun),
                "it is counted once it has stopped"
            );
            assert_eq!(
                kind_of(&TaskEvent::CancelRequested, TaskStatus::Running, actor),
                Some(EventKind::CancelRequested)
            );
        }
        let by_its_run = effects(&TaskEvent::Cancelled, TaskStatus::Cancelled, Actor::Run { agent: "a" });
        assert_eq!(by_its_run.counts, [Count::Cancelled]);
    }

    #[test]
    fn a_task_that_took_its_process_down_fails_like_any_other() {
        let failure = TaskEvent::Failed(Failure::permanent("no"));
        let failed = effects(&failure, TaskStatus::Failed, Actor::Run { agent: "a" });
        assert_eq!(failed.counts, [Count::Failed, Count::DeadLettered]);
        assert_eq!(effects(&TaskEvent::Rescued, TaskStatus::Failed, Actor::Rescue { agent: None }), failed);
        let returned = effects(&TaskEvent::Rescued, TaskStatus::Pending, Actor::Rescue { agent: None });
        assert_eq!((returned.counts, returned.recorded), (&[][..], None), "the rescue counts all of them together");
    }

    #[test]
    fn a_task_that_may_have_given_steps_away_has_steps_to_stop() {
        let ended = |plan: &serde_json::Value| {
            Task::new(TaskId::Number(1), "x", Timestamp::default()).with(|task| {
                task.spec.plan = serde_json::from_value(plan.clone()).expect("a plan");
                task.state.status = TaskStatus::Cancelled;
                task.state.releases = 1;
            })
        };
        for (plan, expected) in [
            (serde_json::json!(null), true),
            (serde_json::json!([{"id": "a", "tool": "t"}]), false),
            (serde_json::json!([{"id": "a", "tool": "t", "capability": "sql"}]), true),
            (serde_json::json!([{"id": "a", "instruction": "think"}]), true),
        ] {
            assert_eq!(has_steps_to_stop(&ended(&plan)), expected, "{plan}");
        }
    }

    #[test]
    fn a_task_is_handed_back_for_a_reason() {
        let released = |actor| effects(&TaskEvent::Released, TaskStatus::Pending, actor);
        assert_eq!(released(Actor::Run { agent: "a" }).counts, [Count::Released]);
        assert_eq!(released(Actor::StrayCheck).recorded, Some((EventKind::Released, Level::Warn)));
        assert_eq!(released(Actor::Limit("key")).counts, [Count::Limited]);
        assert_eq!(released(Actor::Limit("key")).signal, Signal::DueElsewhere);
        assert_eq!(released(Actor::Rescue { agent: None }).counts, []);
    }

    #[test]
    fn a_decision_wakes_what_can_go_on() {
        let approved = TaskEvent::Approved(Ruling { hashes: vec!["h".to_owned()], by: None, note: None });
        let signal = |status| effects(&approved, status, PERSON).signal;
        assert_eq!(signal(TaskStatus::Waiting), Signal::Waiting);
        assert_eq!(signal(TaskStatus::Pending), Signal::Due);
        let expired = effects(&TaskEvent::ApprovalExpired, TaskStatus::Cancelled, Actor::Scheduler);
        assert_eq!(expired.counts, [Count::ApprovalsDecided(ApprovalOutcome::Expired), Count::Cancelled]);
        assert_eq!(expired.signal, Signal::Ended { completed: false });
        // The question of a call: its run goes on without the call.
        let denied = TaskEvent::Denied(Ruling { hashes: vec!["h".to_owned()], by: None, note: None });
        for (event, verdict) in
            [(TaskEvent::ApprovalExpired, ApprovalOutcome::Expired), (denied, ApprovalOutcome::Denied)]
        {
            let goes_on = effects(&event, TaskStatus::Pending, Actor::Scheduler);
            assert_eq!((goes_on.counts, goes_on.signal), (&[Count::ApprovalsDecided(verdict)][..], Signal::Due));
        }
    }
}
