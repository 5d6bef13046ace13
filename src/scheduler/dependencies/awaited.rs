//! Moves tasks on that wait for the tasks which carry out their steps.

use super::{Dependencies, Dependency, Known, MISSING_GRACE_MS};
use crate::domain::task::{Task, TaskEvent};
use crate::domain::time::Timestamp;
use crate::store::StoreError;

impl Dependencies {
    /// Moves those of `tasks` on of whose awaited tasks one has ended, and those that want to look at them now.
    pub(super) async fn check_awaited(
        &mut self,
        mut tasks: Vec<Task>,
        known: &mut Known,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let awaited = tasks.iter().filter_map(|task| task.state.awaits.as_ref());
        let ids: Vec<_> = awaited.flat_map(|awaited| awaited.tasks.iter().copied()).collect();
        self.learn(ids.into_iter(), known).await?;
        tasks.retain(|task| goes_on(task, known, now));
        self.move_on(tasks, &TaskEvent::AwaitedTaskEnded, now).await
    }
}

/// Whether one of the tasks that `task` awaits has ended, or it is time to look at them.
fn goes_on(task: &Task, known: &Known, now: Timestamp) -> bool {
    let Some(awaited) = &task.state.awaits else { return false };
    let user = task.spec.user.as_deref();
    let has_ended = |dependency: Dependency| match dependency {
        Dependency::Status(status) => status.is_terminal(),
        // They were inserted before the task began to wait.
        Dependency::Missing => now.millis_since(task.state.updated_at) >= MISSING_GRACE_MS,
        Dependency::Unread => false,
    };
    let mut seen = awaited.tasks.iter().map(|id| known.get(id).map_or(Dependency::Unread, |seen| seen.by(user)));
    now >= awaited.look_at || seen.any(has_ended)
}

#[cfg(test)]
mod tests {
    use super::super::Seen;
    use super::*;
    use crate::domain::delegation::Awaited;
    use crate::domain::id::TaskId;
    use crate::domain::task::TaskStatus;

    const SINCE: Timestamp = Timestamp::from_millis(1_000_000);

    fn judged(standings: &[Dependency], waited_ms: i64) -> bool {
        let tasks: Vec<TaskId> = (1..).zip(standings).map(|(id, _)| TaskId::Number(id)).collect();
        let known =
            tasks.iter().zip(standings).map(|(id, dependency)| (*id, Seen { dependency: *dependency, user: None }));
        let task = Task::new(TaskId::Number(9), "wait", SINCE).with(|task| {
            task.state.awaits = Some(Awaited { tasks: tasks.clone(), look_at: SINCE.plus_millis(300_000) });
        });
        goes_on(&task, &known.collect(), SINCE.plus_millis(waited_ms))
    }

    #[test]
    fn the_end_of_one_is_enough_however_it_ended() {
        let open = Dependency::Status(TaskStatus::Running);
        assert!(!judged(&[open, Dependency::Status(TaskStatus::Pending)], 299_999));
        for status in TaskStatus::ALL {
            assert_eq!(judged(&[open, Dependency::Status(status)], 0), status.is_terminal(), "{status}");
        }
    }

    #[test]
    fn it_looks_again_in_time_and_waits_for_none_that_is_gone() {
        let open = Dependency::Status(TaskStatus::Pending);
        assert!(judged(&[open], 300_000));
        assert!(!judged(&[open, Dependency::Missing], 59_999));
        assert!(judged(&[open, Dependency::Missing], 60_000));
        assert!(!judged(&[Dependency::Unread], 299_999));
    }
}
