//! Changes of tasks in the words of the history.

use serde_json::json;

use super::change::Actor;
use crate::domain::approval::Approval;
use crate::domain::dependency::OnDependencyFailure;
use crate::domain::event::{Event, EventKind, Level};
use crate::domain::failure::Failure;
use crate::domain::task::{Task, TaskEvent, TaskStatus};
use crate::domain::time::Timestamp;

/// Characters of a hash that a message shows.
const HASH_CHARS: usize = 12;
/// Most tasks that a message names.
const SHOWN_TASKS: usize = 8;

/// The history event of `kind` that tells of `event`, which `actor` caused and which made `task` what it is now.
pub(super) fn event(
    kind: EventKind,
    level: Level,
    task: &Task,
    event: &TaskEvent,
    actor: Actor<'_>,
    now: Timestamp,
) -> Event {
    let mut entry = Event::new(kind, message(task, event, actor), now).level(level).task(task.id);
    if let Some(agent) = actor.agent() {
        entry = entry.agent(agent);
    }
    if kind == EventKind::Failed || kind == EventKind::RetryScheduled {
        entry = match failure(task, event) {
            Some(failure) => entry.with("class", failure.class.as_str()),
            None => entry,
        };
    }
    match event {
        TaskEvent::Postponed(_, postponement) => {
            entry = entry.with("model", postponement.model.as_str()).with("times", postponement.times);
        }
        TaskEvent::ApprovalNeeded(requested) => {
            let hashes: Vec<&str> = requested.iter().map(|approval| approval.hash.as_str()).collect();
            entry = entry.with("hashes", hashes);
        }
        TaskEvent::TasksAwaited(awaited) => entry = entry.with("tasks", json!(awaited.tasks)),
        _ => {}
    }
    match actor {
        Actor::Person(person) => person.sign(entry),
        _ => entry,
    }
}

fn message(task: &Task, event: &TaskEvent, actor: Actor<'_>) -> String {
    match event {
        TaskEvent::DependenciesDone => match task.spec.on_dependency_failure {
            OnDependencyFailure::Continue => "every task it depends on has ended".to_owned(),
            OnDependencyFailure::Block => "every task it depends on is completed".to_owned(),
        },
        TaskEvent::DependencyFailed(id) => format!("blocked: task {id}, which it depends on, did not complete"),
        TaskEvent::WaitsInCycle(cycle) => format!("blocked: {cycle}"),
        TaskEvent::Claimed(claim) => format!("claimed by replica {}", claim.owner),
        TaskEvent::Completed(_) => "completed".to_owned(),
        TaskEvent::Failed(failure) => format!("failed for good after attempt {}: {failure}", task.state.attempt),
        TaskEvent::RetryAt(at, failure) => {
            format!("attempt {} failed, the next one starts at {at}: {failure}", task.state.attempt)
        }
        TaskEvent::Postponed(until, postponement) => postponement.describe(Some(postponement.next_try(*until))),
        TaskEvent::Rescued => match &task.state.error {
            Some(failure) if task.state.status == TaskStatus::Failed => failure.to_string(),
            _ => "taken back from a replica that died".to_owned(),
        },
        TaskEvent::Released => handed_back(actor),
        TaskEvent::CancelRequested | TaskEvent::StepWithdrawn => stopped(task.state.status, actor).to_owned(),
        TaskEvent::Cancelled => "stopped on request".to_owned(),
        TaskEvent::Requeued => "requeued through the API".to_owned(),
        TaskEvent::ApprovalNeeded(requested) => {
            let calls: Vec<String> = requested.iter().map(Approval::title).collect();
            format!("the task waits for a person to decide on {}", calls.join(", "))
        }
        TaskEvent::TasksAwaited(awaited) => {
            let tasks: Vec<String> = awaited.tasks.iter().take(SHOWN_TASKS).map(ToString::to_string).collect();
            let others = if awaited.tasks.len() > SHOWN_TASKS { ", …" } else { "" };
            format!("the run waits for the tasks that carry out its steps: {}{others}", tasks.join(", "))
        }
        TaskEvent::AwaitedTaskEnded => "goes on: a task that it waits for has ended, or is overdue".to_owned(),
        TaskEvent::Approved(ruling) | TaskEvent::Denied(ruling) => {
            let hashes: Vec<&str> = ruling.hashes.iter().map(|hash| hash.get(..HASH_CHARS).unwrap_or(hash)).collect();
            format!("{} {}", event.name(), hashes.join(", "))
        }
        TaskEvent::ApprovalExpired => "no person decided before the approval expired, so it is refused".to_owned(),
        TaskEvent::Reprioritised(priority) => format!("priority set to {priority}"),
        TaskEvent::Snoozed(until) => format!("due time moved to {until}"),
    }
}

fn handed_back(actor: Actor<'_>) -> String {
    match actor {
        Actor::Limit(kind) => format!("waits: the limit of its {kind} is reached"),
        Actor::StrayCheck => {
            "claimed but never started: handed back to the queue; the attempt does not count".to_owned()
        }
        _ => "handed back to the queue unfinished; the attempt does not count".to_owned(),
    }
}

const fn stopped(status: TaskStatus, actor: Actor<'_>) -> &'static str {
    match (status, actor) {
        (TaskStatus::Running, Actor::LaterFiring) => "asked to stop: a later firing of its schedule takes its place",
        (TaskStatus::Running, Actor::Parent) => "asked to stop: the task whose step it carries out no longer wants it",
        (_, Actor::Parent) => "cancelled: the task whose step it carries out no longer wants it",
        (_, Actor::LaterFiring) => "cancelled: a later firing of its schedule replaces it",
        (TaskStatus::Running, _) => "cancel requested through the API",
        _ => "cancelled through the API",
    }
}

/// The failure that `event` carries; otherwise the last failure of the task.
pub(super) fn failure<'a>(task: &'a Task, event: &'a TaskEvent) -> Option<&'a Failure> {
    match event {
        TaskEvent::Failed(failure) | TaskEvent::RetryAt(_, failure) => Some(failure),
        _ => task.state.error.as_ref(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::delegation::Awaited;
    use crate::domain::id::TaskId;
    use crate::queue::Person;

    const NOW: Timestamp = Timestamp::from_millis(0);

    fn task(status: TaskStatus) -> Task {
        Task::new(TaskId::Number(1), "do it", NOW).with(|task| task.state.status = status)
    }

    /// Who reads the history learns who stopped the task, and whether it has stopped.
    #[test]
    fn a_task_that_is_stopped_says_by_whom() {
        let person = Person::default();
        let said = |status, actor| message(&task(status), &TaskEvent::CancelRequested, actor);
        let (running, cancelled) = (TaskStatus::Running, TaskStatus::Cancelled);
        for (actor, cause) in [
            (Actor::Person(&person), "through the API"),
            (Actor::LaterFiring, "later firing of its schedule"),
            (Actor::Parent, "the task whose step it carries out no longer wants it"),
        ] {
            let (asked, done) = (said(running, actor), said(cancelled, actor));
            assert!(asked.contains(cause), "{asked}");
            assert!(done.starts_with("cancelled") && done.contains(cause), "{done}");
            assert_ne!(asked, done);
        }
    }

    #[test]
    fn a_task_that_is_handed_back_says_why() {
        let said = |actor| message(&task(TaskStatus::Pending), &TaskEvent::Released, actor);
        assert_eq!(said(Actor::Limit("agent")), "waits: the limit of its agent is reached");
        assert!(said(Actor::StrayCheck).starts_with("claimed but never started"));
        assert!(said(Actor::Run { agent: "a" }).starts_with("handed back to the queue unfinished"));
    }

    #[test]
    fn a_task_that_was_rescued_says_what_became_of_it() {
        let rescue = Actor::Rescue { agent: None };
        let returned = task(TaskStatus::Pending).with(|task| task.state.error = Some(Failure::permanent("earlier")));
        assert_eq!(message(&returned, &TaskEvent::Rescued, rescue), "taken back from a replica that died");
        let given_up = returned.with(|task| task.state.status = TaskStatus::Failed);
        assert!(message(&given_up, &TaskEvent::Rescued, rescue).contains("earlier"));
    }

    #[test]
    fn a_dependent_that_goes_on_says_what_it_has_waited_for() {
        let said = |policy| {
            let task = task(TaskStatus::Pending).with(|task| task.spec.on_dependency_failure = policy);
            message(&task, &TaskEvent::DependenciesDone, Actor::Scheduler)
        };
        assert_eq!(said(OnDependencyFailure::Block), "every task it depends on is completed");
        assert_eq!(said(OnDependencyFailure::Continue), "every task it depends on has ended");
    }

    #[test]
    fn of_many_awaited_tasks_the_first_are_named_and_all_are_recorded() {
        let ids: Vec<TaskId> = (1..=9).map(TaskId::Number).collect();
        let awaits = |count: usize| TaskEvent::TasksAwaited(Awaited { tasks: ids[..count].to_vec(), look_at: NOW });
        let (task, run) = (task(TaskStatus::Waiting), Actor::Run { agent: "a" });
        assert!(message(&task, &awaits(8), run).ends_with(": 1, 2, 3, 4, 5, 6, 7, 8"));
        assert!(message(&task, &awaits(9), run).ends_with("7, 8, …"));
        let entry = event(EventKind::TasksAwaited, Level::Info, &task, &awaits(9), run, NOW);
        assert_eq!(entry.data["tasks"].as_array().map(Vec::len), Some(9));
        assert_eq!(entry.agent.as_deref(), Some("a"));
    }
}
