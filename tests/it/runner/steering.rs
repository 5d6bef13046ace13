//! Cancelling, draining, and tasks that wait for others.

use qron::clock;
use qron::domain::approval::{Approval, ApprovalDecision, ApprovalOutcome, Subject};
use qron::domain::attempt::AttemptStatus;
use qron::domain::id::TaskId;
use qron::domain::task::{Task, TaskEvent, TaskStatus};
use serde_json::{Map, json};

use crate::support::world::{World, planned, sum};
use crate::support::{DEADLINE, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn a_pending_task_that_is_cancelled_never_runs() {
    let world = World::new(&[]).await;
    let task = planned("visit", &json!([world.web.step("s1", "open/page")]));
    world.insert(std::slice::from_ref(&task)).await;
    world.store.transition(&task, &TaskEvent::CancelRequested, clock::now()).await.expect("cancelled");
    let runner = world.runner("r1").await;
    let other = sum("another");
    world.insert(std::slice::from_ref(&other)).await;
    world.until(other.id, TaskStatus::Completed).await;
    assert_eq!(world.task(task.id).await.state.status, TaskStatus::Cancelled);
    assert_eq!(world.web.visits("open/page"), 0);
    runner.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_task_is_stopped_whoever_is_asked() {
    // Polling is far away in the first world, so only the direct call can stop the task; in the second nobody calls.
    for (poll_ms, direct) in [("3600000", true), ("50", false)] {
        let world = World::new(&[("WORKER__CANCEL_POLL_MS", poll_ms)]).await;
        let runner = world.runner("r1").await;
        let task = planned("slow", &json!([world.web.step("s1", "held/slow")]));
        world.insert(std::slice::from_ref(&task)).await;
        world.web.until_visited("held/slow", 1).await;
        let running = world.task(task.id).await;
        world.store.transition(&running, &TaskEvent::CancelRequested, clock::now()).await.expect("asked");
        if direct {
            assert!(runner.cancel(task.id));
        }
        let cancelled = world.until(task.id, TaskStatus::Cancelled).await;
        assert!(cancelled.state.claim.is_none());
        assert!(!runner.cancel(TaskId::fresh()), "a task that does not run here");
        runner.shutdown().await;
        let attempts = world.store.attempts(task.id).await.expect("readable");
        assert_eq!(attempts[0].status, AttemptStatus::Cancelled);
        assert_eq!(world.store.dead_letter(task.id).await.expect("readable"), None);
    }
}

/// The wish comes while the run ends otherwise: it must not wait for a person, or for the next attempt.
#[tokio::test(flavor = "multi_thread")]
async fn a_task_whose_run_ends_before_it_hears_of_its_cancellation_is_cancelled() {
    let an_hour = "3600000";
    let world = World::new(&[
        ("WORKER__CANCEL_POLL_MS", an_hour),
        ("RETRY__BASE_MS", an_hour),
        ("RETRY__MAX_MS", an_hour),
        ("AGENTS__GENERALIST__NEEDS_APPROVAL", r#"["save_artifact"]"#),
    ])
    .await;
    let runner = world.runner("r1").await;
    let save = json!({"id": "s2", "tool": "save_artifact", "arguments": {"name": "a", "content": "b"}});
    let fetch = world.web.step("s2", "failing/page");
    for (name, mut second) in [("asks", save), ("fails", fetch)] {
        second["depends_on"] = json!(["s1"]);
        let task = planned(name, &json!([world.web.step("s1", &format!("held/{name}")), second]));
        world.insert(std::slice::from_ref(&task)).await;
        world.web.until_visited(&format!("held/{name}"), 1).await;
        let running = world.task(task.id).await;
        world.store.transition(&running, &TaskEvent::CancelRequested, clock::now()).await.expect("asked");
        world.web.release(name);
        let cancelled = world.until(task.id, TaskStatus::Cancelled).await;
        assert!(cancelled.state.finished_at.is_some());
    }
    runner.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_lets_running_tasks_finish_and_claims_no_more() {
    let world = World::new(&[]).await;
    let runner = world.runner("r1").await;
    let task = planned("slow", &json!([world.web.step("s1", "held/slow")]));
    world.insert(std::slice::from_ref(&task)).await;
    world.web.until_visited("held/slow", 1).await;
    let drain = tokio::spawn({
        let runner = runner.clone();
        async move { runner.shutdown().await }
    });
    eventually("the replica says that it drains", async || {
        let replicas = world.store.replicas().await.map_err(|error| error.to_string())?;
        if replicas.iter().any(|replica| replica.draining) { Ok(()) } else { Err(format!("{replicas:?}")) }
    })
    .await;
    let late = sum("too late");
    world.insert(std::slice::from_ref(&late)).await;
    world.web.release("slow");
    drain.await.expect("drained");
    assert_eq!(world.task(task.id).await.state.status, TaskStatus::Completed);
    assert_eq!(world.task(late.id).await.state.status, TaskStatus::Pending);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_finish_in_the_grace_period_is_handed_back_uncharged() {
    let world = World::new(&[("WORKER__GRACE_S", "1")]).await;
    let runner = world.runner("r1").await;
    let task = planned("slow", &json!([world.web.step("s1", "held/slow")]));
    world.insert(std::slice::from_ref(&task)).await;
    world.web.until_visited("held/slow", 1).await;
    runner.shutdown().await;
    let released = world.task(task.id).await;
    assert_eq!((released.state.status, released.state.attempt, released.state.releases), (TaskStatus::Pending, 0, 1));
    assert!(released.state.claim.is_none());
    let attempts = world.store.attempts(task.id).await.expect("readable");
    assert_eq!(attempts[0].status, AttemptStatus::Released);
    assert!(world.store.replicas().await.expect("readable").is_empty(), "it has signed off");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_the_grace_period() {
    let world = World::new(&[("WORKER__GRACE_S", "3600")]).await;
    let runner = world.runner("r1").await;
    let task = planned("slow", &json!([world.web.step("s1", "held/slow")]));
    world.insert(std::slice::from_ref(&task)).await;
    world.web.until_visited("held/slow", 1).await;
    runner.stop_now();
    tokio::time::timeout(DEADLINE, runner.shutdown()).await.expect("it does not wait for the end of the grace period");
    assert_eq!(world.task(task.id).await.state.status, TaskStatus::Pending);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_runs_after_those_it_depends_on() {
    let world = World::new(&[]).await;
    let runner = world.runner("r1").await;
    let first = planned("first", &json!([world.web.step("s1", "held/first")]));
    let second = sum("second").with(|task| {
        task.spec.depends_on = vec![first.id];
        task.state.status = TaskStatus::Waiting;
    });
    let third = sum("third").with(|task| {
        task.spec.depends_on = vec![first.id, second.id];
        task.state.status = TaskStatus::Waiting;
    });
    world.insert(&[third.clone(), second.clone(), first.clone()]).await;
    world.web.until_visited("held/first", 1).await;
    assert_eq!(world.task(second.id).await.state.status, TaskStatus::Waiting);
    world.web.release("first");
    world.until(third.id, TaskStatus::Completed).await;
    // One whose dependencies are completed already does not wait for a sweep either.
    let late = sum("late").with(|task| {
        task.spec.depends_on = vec![first.id, third.id];
        task.state.status = TaskStatus::Waiting;
    });
    world.insert(std::slice::from_ref(&late)).await;
    world.until(late.id, TaskStatus::Completed).await;
    runner.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dependents_of_a_failed_task_are_blocked_and_not_run() {
    let world = World::new(&[]).await;
    let runner = world.runner("r1").await;
    let bad = planned("bad", &json!([{"id": "s1", "tool": "no_such_tool", "arguments": {}}]));
    let next = planned("next", &json!([world.web.step("s1", "open/next")])).with(|task| {
        task.spec.depends_on = vec![bad.id];
        task.state.status = TaskStatus::Waiting;
    });
    let after = sum("after").with(|task| {
        task.spec.depends_on = vec![next.id];
        task.state.status = TaskStatus::Waiting;
    });
    let orphan = sum("waits for nothing there is").with(|task| {
        task.spec.depends_on = vec![TaskId::fresh()];
        task.state.status = TaskStatus::Waiting;
        task.state.created_at = clock::now().plus_millis(-120_000);
    });
    world.insert(&[bad.clone(), next.clone(), after.clone(), orphan.clone()]).await;
    let blocked = world.until(next.id, TaskStatus::Blocked).await;
    assert!(blocked.state.error.expect("a reason").message.contains(&bad.id.to_string()));
    world.until(after.id, TaskStatus::Blocked).await;
    world.until(orphan.id, TaskStatus::Blocked).await;
    assert_eq!(world.web.visits("open/next"), 0);
    runner.shutdown().await;
}

/// Questions that were decided long ago stay with tasks that ask another one; however many there are, what nobody
/// decided in time is refused.
#[tokio::test(flavor = "multi_thread")]
async fn an_overdue_question_behind_many_decided_ones_is_refused() {
    let world = World::new(&[]).await;
    let ago = |ms: i64| clock::now().plus_millis(-ms);
    let call = |step: &str| Subject::Call {
        id: format!("{step}#1"),
        step: step.into(),
        tool: "save_artifact".into(),
        arguments: "{}".into(),
        extra: Map::new(),
    };
    let open = |hash: &str, subject, expires_at| Approval::new(hash, subject, ago(10_000), expires_at);
    let (at, extra) = (ago(9_000), Map::new());
    let approved = ApprovalDecision { verdict: ApprovalOutcome::Approved, by: None, note: None, at, extra };
    let decided = Approval { decision: Some(approved), ..open("one", call("s1"), Some(ago(5_000))) };
    let asking = |id: u64, approvals: Vec<Approval>| {
        Task::new(TaskId::Number(id), "ask", clock::now()).with(|task| {
            task.state.status = TaskStatus::AwaitingApproval;
            task.state.approvals = approvals;
        })
    };
    let patient: Vec<Task> =
        (1..=600).map(|id| asking(id, vec![decided.clone(), open("two", call("s2"), None)])).collect();
    world.insert(&patient).await;
    let overdue = asking(10_000, vec![open("task", Subject::Task, Some(ago(1)))]);
    world.insert(std::slice::from_ref(&overdue)).await;
    let runner = world.runner("r1").await;
    world.until(overdue.id, TaskStatus::Cancelled).await;
    assert_eq!(world.task(TaskId::Number(1)).await.state.status, TaskStatus::AwaitingApproval);
    runner.shutdown().await;
}
