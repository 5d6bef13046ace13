//! What goes wrong is tried again, or ends in the dead letters with its whole story.

use qron::clock;
use qron::domain::dead_letter::DeadLetter;
use qron::domain::failure::{Failure, FailureClass};
use qron::domain::task::{MAX_CRASHES, Task, TaskEvent, TaskStatus};
use serde_json::json;

use crate::support::eventually;
use crate::support::world::{World, planned, sum};

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_that_passes_is_tried_again_after_a_delay() {
    let world = World::new(&[]).await;
    let runner = world.runner("r1").await;
    let task =
        planned("fetch", &json!([world.web.step("s1", "failing/page")])).with(|task| task.spec.max_attempts = 50);
    world.insert(std::slice::from_ref(&task)).await;
    // The agent has its own tries within an attempt, so visits do not tell.
    eventually("an attempt has failed", async || {
        let task = world.task(task.id).await;
        if task.state.attempt >= 1 { Ok(()) } else { Err(task.state.status.to_string()) }
    })
    .await;
    world.web.release("page");
    let done = world.until(task.id, TaskStatus::Completed).await;
    assert!(done.state.attempt >= 1, "failed attempts are charged");
    assert!(done.state.error.is_none());
    runner.shutdown().await;
    let attempts = world.store.attempts(task.id).await.expect("readable");
    let first = attempts[0].failure.as_ref().expect("the first attempt failed");
    assert_eq!(first.class, FailureClass::Transient);
    assert_eq!(attempts.len(), done.state.attempt as usize + 1);
    assert!(world.history(task.id).await.contains(&"retry_scheduled".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exhausted_task_is_a_dead_letter_with_all_its_failures() {
    let world = World::new(&[]).await;
    let runner = world.runner("r1").await;
    let task = planned("fetch", &json!([world.web.step("s1", "failing/page")])).with(|task| {
        task.spec.max_attempts = 3;
        task.state.extra = serde_json::from_value(json!({"colour": "red"})).expect("a map");
    });
    world.insert(std::slice::from_ref(&task)).await;
    let failed = world.until(task.id, TaskStatus::Failed).await;
    assert_eq!(failed.state.attempt, 3);
    let letter = world.store.dead_letter(task.id).await.expect("readable").expect("a dead letter");
    assert_eq!((letter.attempts, letter.earlier_failures.len()), (3, 2));
    assert_eq!(letter.failure.class, FailureClass::Transient);
    assert!(letter.failure.message.contains("500"), "{}", letter.failure);
    assert_eq!(letter.goal, "fetch");
    assert_eq!(letter.payload["colour"], "red");
    assert!(letter.payload.contains_key("plan"));
    runner.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_never_work_is_not_tried_again() {
    let world = World::new(&[]).await;
    let runner = world.runner("r1").await;
    let task = planned("use a tool there is not", &json!([{"id": "s1", "tool": "no_such_tool", "arguments": {}}]));
    let no_model = Task::new(qron::domain::id::TaskId::fresh(), "needs a model", clock::now());
    world.insert(&[task.clone(), no_model.clone()]).await;
    let failed = world.until(task.id, TaskStatus::Failed).await;
    assert_eq!(failed.state.attempt, 1);
    let letter = world.store.dead_letter(task.id).await.expect("readable").expect("a dead letter");
    assert!(letter.failure.message.contains("no_such_tool"), "{}", letter.failure);
    assert_eq!(letter.failure.class, FailureClass::Invalid);
    runner.shutdown().await;
    let waiting = world.task(no_model.id).await;
    assert_eq!(
        (waiting.state.status, waiting.state.attempt),
        (TaskStatus::Pending, 0),
        "another replica may have a model"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_takes_longer_than_its_limit_is_stopped() {
    let world = World::new(&[]).await;
    let runner = world.runner("r1").await;
    let task = planned("wait for ever", &json!([world.web.step("s1", "held/never")])).with(|task| {
        task.spec.timeout_s = 1;
        task.spec.max_attempts = 1;
    });
    world.insert(std::slice::from_ref(&task)).await;
    let failed = world.until(task.id, TaskStatus::Failed).await;
    assert_eq!(failed.state.error.expect("a reason").class, FailureClass::Timeout);
    let neighbour = sum("not disturbed");
    world.insert(std::slice::from_ref(&neighbour)).await;
    world.until(neighbour.id, TaskStatus::Completed).await;
    runner.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dead_letter_of_an_earlier_life_goes_when_the_task_completes() {
    let world = World::new(&[]).await;
    let runner = world.runner("r1").await;
    let task = planned("fetch", &json!([world.web.step("s1", "failing/page")])).with(|task| task.spec.max_attempts = 1);
    world.insert(std::slice::from_ref(&task)).await;
    let failed = world.until(task.id, TaskStatus::Failed).await;
    assert!(world.store.dead_letter(task.id).await.expect("readable").is_some());
    world.web.release("page");
    world.store.transition(&failed, &TaskEvent::Requeued, clock::now()).await.expect("requeued");
    world.wake();
    world.until(task.id, TaskStatus::Completed).await;
    runner.shutdown().await;
    assert_eq!(world.store.dead_letter(task.id).await.expect("readable"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_claim_was_lost_records_nothing_on_the_task() {
    let world = World::new(&[]).await;
    let runner = world.runner("r1").await;
    let task = planned("slow", &json!([world.web.step("s1", "held/slow")]));
    world.insert(std::slice::from_ref(&task)).await;
    world.web.until_visited("held/slow", 1).await;
    // Somebody else has the say now.
    let running = world.task(task.id).await;
    let failure = Failure::permanent("settled by somebody else");
    world.store.transition(&running, &TaskEvent::Failed(failure.clone()), clock::now()).await.expect("settled");
    let letter = DeadLetter {
        task_id: task.id,
        goal: task.spec.goal.clone(),
        agent: None,
        failure,
        attempts: 1,
        earlier_failures: Vec::new(),
        payload: serde_json::Map::new(),
        buried_at: clock::now(),
    };
    world.store.bury(&letter).await.expect("buried");
    world.web.release("slow");
    eventually("the attempt is lost", async || {
        let attempts = world.store.attempts(task.id).await.map_err(|error| error.to_string())?;
        match attempts.first().map(|attempt| attempt.status) {
            Some(qron::domain::attempt::AttemptStatus::Lost) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    runner.shutdown().await;
    let after = world.task(task.id).await;
    assert_eq!((after.state.status, after.state.result), (TaskStatus::Failed, None));
    assert_eq!(world.store.dead_letter(task.id).await.expect("readable"), Some(letter));
}

/// The failure of a run that has lost its claim comes after the letter of the one that ended the task.
#[tokio::test(flavor = "multi_thread")]
async fn a_late_failure_of_a_run_whose_claim_was_lost_leaves_the_letter_of_the_end_that_counts() {
    let world = World::new(&[]).await;
    let runner = world.runner("r1").await;
    let observer = world.runner_of("observer", Vec::new()).await;
    let wrong = json!({"id": "s2", "tool": "calculate", "arguments": {"expression": "1 / 0"}, "depends_on": ["s1"]});
    let task = planned("slow", &json!([world.web.step("s1", "held/late"), wrong])).with(|task| {
        task.spec.max_attempts = 1;
        task.state.crashes = MAX_CRASHES - 1;
    });
    world.insert(std::slice::from_ref(&task)).await;
    world.web.until_visited("held/late", 1).await;
    assert_eq!(observer.rescue_now("r1").await.expect("rescued"), 1);
    let ended = world.until(task.id, TaskStatus::Failed).await;
    world.web.release("late");
    eventually("the attempt is lost", async || {
        let attempts = world.store.attempts(task.id).await.map_err(|error| error.to_string())?;
        let statuses: Vec<_> = attempts.iter().map(|attempt| attempt.status).collect();
        if statuses == [qron::domain::attempt::AttemptStatus::Lost] { Ok(()) } else { Err(format!("{statuses:?}")) }
    })
    .await;
    runner.shutdown().await;
    observer.shutdown().await;
    assert_eq!(world.task(task.id).await, ended);
    let letter = world.store.dead_letter(task.id).await.expect("readable").expect("a letter");
    assert_eq!((Some(letter.failure), letter.attempts), (ended.state.error, MAX_CRASHES));
}
