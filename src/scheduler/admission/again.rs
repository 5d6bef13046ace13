//! What becomes of a task whose point another client has written again, or set back to pending, after it had run.
//!
//! The attempts of a task outlive its point, so that they tell what a point that was overwritten does not: whether the task
//! runs, how far it came, and whether it ended. Pure.

use crate::domain::attempt::AttemptStatus;
use crate::domain::task::{Task, TaskStatus, task_hash};
use crate::domain::time::Timestamp;
use crate::store::EarlierRun;

/// For so long after a run completed, in milliseconds, its outcome may be on its way to the task.
const SETTLING_MS: i64 = 10_000;

/// How a task is admitted.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum TakenUp {
    /// Like this, with what there is to tell about it.
    As(Box<Task>, Option<String>),
    /// Like this, once its attempts are retired: it completed, and is done again from the beginning.
    Anew(Box<Task>, String),
    /// Not yet.
    Later,
}

/// Decides how `task`, as its point now reads, is admitted after `run`, the newest that its attempts know of. `ended` says that
/// the point itself tells of an end.
pub(super) fn take_up(mut task: Task, run: Option<&EarlierRun>, ended: bool, now: Timestamp) -> TakenUp {
    let Some(run) = run else { return TakenUp::As(Box::new(task), None) };
    // What another program runs is its own business, and a point that remembers its runs goes on by itself.
    if task.state.status.is_terminal()
        || task.state.status == TaskStatus::Running
        || task.state.earlier_runs() >= run.number
    {
        return TakenUp::As(Box::new(task), None);
    }
    let number = run.number;
    let is_same = run.spec.as_ref().is_none_or(|spec| *spec == task_hash(&task));
    if !is_same {
        count_runs(&mut task, number);
        let story = format!(
            "written again with another goal, plan or context after attempt {number}: starts from the beginning"
        );
        return TakenUp::As(Box::new(task), Some(story));
    }
    match run.status {
        AttemptStatus::Running => {
            count_runs(&mut task, number.saturating_sub(1));
            task.state.status = TaskStatus::Running;
            task.state.claim = Some(run.claim.clone());
            let story = format!("written again while attempt {number} runs, which goes on");
            TakenUp::As(Box::new(task), Some(story))
        }
        AttemptStatus::Completed if !ended && run.finished_at.is_some_and(|at| is_settling(at, now)) => TakenUp::Later,
        AttemptStatus::Completed => {
            count_runs(&mut task, number);
            let story = format!(
                "written again after attempt {number} completed: runs once more; what came of that attempt stays with it"
            );
            TakenUp::Anew(Box::new(task), story)
        }
        _ => {
            count_runs(&mut task, number);
            let story = format!("written again after attempt {number}: goes on where that one ended");
            TakenUp::As(Box::new(task), Some(story))
        }
    }
}

/// Whether the outcome of a run that completed at `at` may be on its way. A clock ahead of this one says nothing of that.
fn is_settling(at: Timestamp, now: Timestamp) -> bool {
    (0..SETTLING_MS).contains(&now.as_millis().saturating_sub(at.as_millis()))
}

/// Makes the task remember `runs` earlier runs at least.
fn count_runs(task: &mut Task, runs: u32) {
    let missing = runs.saturating_sub(task.state.earlier_runs());
    task.state.releases = task.state.releases.saturating_add(missing);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::TaskId;
    use crate::domain::task::Claim;

    const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);

    fn task() -> Task {
        Task::new(TaskId::Number(1), "do it", NOW)
    }

    fn run(status: AttemptStatus, task: &Task) -> EarlierRun {
        EarlierRun {
            number: 3,
            status,
            claim: Claim { token: "t".into(), owner: "r".into() },
            finished_at: Some(NOW.plus_millis(-60_000)),
            spec: Some(task_hash(task)),
        }
    }

    #[test]
    fn a_run_under_way_goes_on() {
        for pending in [
            task(),
            task().with(|task| {
                task.state.status = TaskStatus::Waiting;
                task.spec.depends_on = vec![TaskId::Number(2)];
            }),
        ] {
            let run = run(AttemptStatus::Running, &pending);
            let TakenUp::As(taken, Some(story)) = take_up(pending, Some(&run), false, NOW) else { panic!("taken up") };
            assert_eq!((taken.state.status, taken.state.claim.as_ref()), (TaskStatus::Running, Some(&run.claim)));
            assert_eq!(taken.state.earlier_runs() + 1, run.number);
            assert!(story.contains("attempt 3 runs"), "{story}");
        }
    }

    #[test]
    fn what_completed_is_done_again_from_the_beginning_once_its_outcome_is_settled() {
        let run = run(AttemptStatus::Completed, &task());
        let TakenUp::Anew(taken, _) = take_up(task(), Some(&run), false, NOW) else { panic!("anew") };
        assert_eq!((taken.state.status, taken.state.earlier_runs()), (TaskStatus::Pending, 3));
        let just_now = EarlierRun { finished_at: Some(NOW.plus_millis(-9_999)), ..run };
        assert_eq!(take_up(task(), Some(&just_now), false, NOW), TakenUp::Later);
        let ahead = EarlierRun { finished_at: Some(NOW.plus_millis(60_000)), ..just_now.clone() };
        assert_ne!(take_up(task(), Some(&ahead), false, NOW), TakenUp::Later, "a clock that is ahead");
        assert!(
            matches!(take_up(task(), Some(&just_now), true, NOW), TakenUp::Anew(..)),
            "its point says that it ended"
        );
    }

    #[test]
    fn what_did_not_complete_goes_on_from_its_checkpoint() {
        for status in [
            AttemptStatus::Failed,
            AttemptStatus::Lost,
            AttemptStatus::Released,
            AttemptStatus::Cancelled,
            AttemptStatus::AwaitingApproval,
        ] {
            let TakenUp::As(taken, Some(story)) = take_up(task(), Some(&run(status, &task())), false, NOW) else {
                panic!("{status:?}")
            };
            assert_eq!(
                (taken.state.status, taken.state.claim.is_none(), taken.state.earlier_runs()),
                (TaskStatus::Pending, true, 3)
            );
            assert!(story.contains("goes on"), "{story}");
        }
    }

    #[test]
    fn another_goal_is_another_task() {
        let other = task().with(|task| task.spec.goal = "do something else".into());
        for status in [AttemptStatus::Running, AttemptStatus::Completed, AttemptStatus::Failed] {
            let TakenUp::As(taken, Some(story)) = take_up(other.clone(), Some(&run(status, &task())), false, NOW)
            else {
                panic!("{status:?}")
            };
            assert_eq!((taken.state.status, taken.state.claim.is_none()), (TaskStatus::Pending, true));
            assert!(story.contains("from the beginning"), "{story}");
        }
    }

    #[test]
    fn a_point_that_remembers_its_runs_is_left_as_it_is() {
        for known in [
            task().with(|task| task.state.attempt = 3),
            task().with(|task| {
                task.state.releases = 1;
                task.state.crashes = 2;
            }),
            task().with(|task| task.state.status = TaskStatus::Completed),
            task().with(|task| task.state.status = TaskStatus::Running),
        ] {
            let expected = TakenUp::As(Box::new(known.clone()), None);
            assert_eq!(take_up(known, Some(&run(AttemptStatus::Running, &task())), false, NOW), expected);
        }
        assert_eq!(take_up(task(), None, false, NOW), TakenUp::As(Box::new(task()), None));
    }
}
