//! A store that refuses single writes, or does not answer them: each part says what is wrong, keeps what is done, and disturbs
//! no other task.

use qron::clock;
use qron::domain::approval::{Approval, Subject};
use qron::domain::id::TaskId;
use qron::domain::limit::{Limit, Limits};
use qron::domain::task::{Task, TaskEvent, TaskStatus};
use qron::queue::{Ids, Person, Source, Submission};
use qron::scheduler::{Runner, RunnerError};
use serde_json::json;

use crate::support::eventually;
use crate::support::world::{EVERY_SECOND, World, agent, planned, sum};

const SHORT_LEASE: [(&str, &str); 2] = [("WORKER__LEASE_MS", "1500"), ("WORKER__HEARTBEAT_MS", "300")];

/// A task that fails as long as the test wants it, and whose first failure is its last.
fn failing(world: &World, page: &str) -> Task {
    planned("fetch", &json!([world.web.step("s1", &format!("failing/{page}"))])).with(|task| task.spec.max_attempts = 1)
}

/// A task with a call that must not be made twice, so that a checkpoint is stored before it.
fn posting(world: &World, page: &str) -> Task {
    let step = json!({"id": "s1", "tool": "http_request", "arguments": {"url": world.web.url(page), "method": "POST"}});
    planned("post", &json!([step])).with(|task| task.spec.max_attempts = 1)
}

async fn names(world: &World) -> Vec<String> {
    world.store.replicas().await.expect("readable").into_iter().map(|replica| replica.id).collect()
}

async fn failure_of(world: &World, task: &Task) -> String {
    world.until(task.id, TaskStatus::Failed).await.state.error.expect("a failure").message
}

async fn until_recorded(world: &World, task: &Task, kind: &str) {
    eventually(&format!("the history has {kind}"), async || {
        let history = world.history(task.id).await;
        if history.iter().any(|there| there == kind) { Ok(()) } else { Err(format!("{history:?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_the_store_refuses_fails_the_task_with_the_reason() {
    let (world, gate) = World::gated(&[]).await;
    let runner = world.runner("r1").await;
    let _refused = gate.refuse("UpdateBatch", "tasks", &["/completed"]);
    let task = sum("a result that is not wanted");
    world.insert(std::slice::from_ref(&task)).await;
    let message = failure_of(&world, &task).await;
    assert!(message.contains("its result could not be stored") && message.contains("stopped by the test"), "{message}");
    assert!(world.store.dead_letter(task.id).await.expect("readable").is_some());
    runner.shutdown().await;
    assert!(names(&world).await.is_empty(), "nothing is left to be settled");
}

/// The task is held in the name of a replica that has stopped, so its record must stay: it is what others find.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_end_the_store_refuses_is_taken_back_from_its_replica() {
    let (world, gate) = World::gated(&[]).await;
    let runner = world.runner("r1").await;
    let refused = gate.refuse("UpdateBatch", "tasks", &["/failed"]);
    let task = failing(&world, "page");
    world.insert(std::slice::from_ref(&task)).await;
    refused.met(1).await;
    runner.shutdown().await;
    assert_eq!(world.task(task.id).await.state.status, TaskStatus::Running);
    assert_eq!(names(&world).await, ["r1"]);
    drop(refused);
    let heir = world.runner("heir").await;
    assert_eq!(heir.rescue_now("r1").await.expect("rescued"), 1);
    world.until(task.id, TaskStatus::Failed).await;
    heir.shutdown().await;
    assert!(names(&world).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exit_does_not_wait_for_ever_for_a_store_that_takes_no_end() {
    let (world, gate) = World::gated(&[SHORT_LEASE[0], SHORT_LEASE[1], ("WORKER__GRACE_S", "0")]).await;
    let runner = world.runner("r1").await;
    let silent = gate.silence("UpdateBatch", "tasks", &["/completed"]);
    let task = posting(&world, "open/page");
    world.insert(std::slice::from_ref(&task)).await;
    silent.met(1).await;
    runner.shutdown().await;
    assert_eq!(names(&world).await, ["r1"], "others find by it what it leaves");
    drop(silent);
    let heir = world.runner("heir").await;
    heir.rescue_now("r1").await.expect("rescued");
    world.until(task.id, TaskStatus::Completed).await;
    assert_eq!(world.web.visits("open/page"), 1, "what was done is known from the record of the run");
    heir.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_checkpoint_the_store_refuses_is_not_made() {
    let (world, gate) = World::gated(&[]).await;
    let runner = world.runner("r1").await;
    let _refused = gate.refuse("Upsert", "attempts", &[]);
    let task = posting(&world, "open/page");
    world.insert(std::slice::from_ref(&task)).await;
    let message = failure_of(&world, &task).await;
    assert!(message.contains("the checkpoint could not be stored"), "{message}");
    assert_eq!(world.web.visits("open/page"), 0);
    runner.shutdown().await;
}

/// Starting over would do again what was done.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_cannot_read_its_checkpoint_fails_and_its_letter_is_written_without_the_earlier_failures() {
    let (world, gate) = World::gated(&[("RETRY__BASE_MS", "2000")]).await;
    let runner = world.runner("r1").await;
    let unread = gate.refuse("Scroll", "attempts", &[]);
    let unmarked = gate.refuse("UpdateBatch", "attempts", &[]);
    let task = failing(&world, "page").with(|task| task.spec.max_attempts = 3);
    world.insert(std::slice::from_ref(&task)).await;
    eventually("the first attempt has failed", async || {
        let attempt = world.task(task.id).await.state.attempt;
        if attempt == 1 { Ok(()) } else { Err(format!("{attempt} attempts")) }
    })
    .await;
    let visits = world.web.visits("failing/page");
    let message = failure_of(&world, &task).await;
    assert!(message.contains("its checkpoint cannot be read, so it cannot go on safely"), "{message}");
    drop((unread, unmarked));
    let letter = world.store.dead_letter(task.id).await.expect("readable").expect("a letter");
    assert_eq!((letter.attempts, letter.earlier_failures.len()), (2, 0));
    assert_eq!(world.web.visits("failing/page"), visits, "the second attempt does nothing");
    runner.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_counts_although_the_store_refuses_the_letter_that_belongs_to_it() {
    let (world, gate) = World::gated(&[]).await;
    let runner = world.runner("r1").await;
    let unwritten = gate.refuse("Upsert", "dead_letters", &[]);
    let without = failing(&world, "page");
    world.insert(std::slice::from_ref(&without)).await;
    world.until(without.id, TaskStatus::Failed).await;
    drop(unwritten);
    assert_eq!(world.store.dead_letter(without.id).await.expect("readable"), None);

    let with = failing(&world, "page");
    world.insert(std::slice::from_ref(&with)).await;
    let failed = world.until(with.id, TaskStatus::Failed).await;
    world.web.release("page");
    let kept = gate.refuse("Delete", "dead_letters", &[]);
    world.store.transition(&failed, &TaskEvent::Requeued, clock::now()).await.expect("requeued");
    world.wake();
    world.until(with.id, TaskStatus::Completed).await;
    kept.met(1).await;
    assert!(world.store.dead_letter(with.id).await.expect("readable").is_some());
    runner.shutdown().await;
}

/// Which tasks the claim won is not known then, so that only a rescue can settle what the replica holds.
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_the_store_refuses_is_given_up_and_its_tasks_are_claimed_later() {
    let (world, gate) = World::gated(&[]).await;
    let runner = world.runner("claimer").await;
    let refused = gate.refuse("UpdateBatch", "tasks", &["claimer"]);
    let task = sum("claimed later");
    world.insert(std::slice::from_ref(&task)).await;
    // Three tries of one claim, and the first of the next.
    refused.met(4).await;
    assert_eq!(world.task(task.id).await.state.status, TaskStatus::Pending);
    drop(refused);
    assert_eq!(world.until(task.id, TaskStatus::Completed).await.state.attempt, 0, "it is not charged");
    runner.shutdown().await;
    assert_eq!(names(&world).await, ["claimer"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_cannot_be_checked_starts_nothing_until_it_can() {
    let (world, gate) = World::gated(&SHORT_LEASE).await;
    let limit = Limit { starts: Some(9), per_s: 60, ..Limit::default() };
    let mut config = world.config.clone();
    config.limits = Limits { keys: [("*".to_owned(), limit)].into(), ..Limits::default() };
    let unknown = gate.refuse("Get", "keys", &[]);
    let runner = world.start("r1", world.agents(), &config).await;
    let task = planned("visit", &json!([world.web.step("s1", "open/page")]))
        .with(|task| task.spec.concurrency_key = Some("acme".to_owned()));
    world.insert(std::slice::from_ref(&task)).await;
    until_recorded(&world, &task, "limited").await;
    // Neither may it start, nor can it be handed back: the check for claims without a run does that later.
    let held = gate.refuse("UpdateBatch", "tasks", &["/released"]);
    held.met(1).await;
    assert_eq!(world.web.visits("open/page"), 0);
    drop((unknown, held));
    let done = world.until(task.id, TaskStatus::Completed).await;
    assert_eq!((done.state.attempt, world.web.visits("open/page")), (0, 1), "it is not charged");
    runner.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_starts_before_it_is_known_what_is_paused() {
    let (world, gate) = World::gated(&[]).await;
    let unknown = gate.refuse("Scroll", "state", &[]);
    let runner = world.runner("r1").await;
    let task = sum("perhaps paused");
    world.insert(std::slice::from_ref(&task)).await;
    unknown.met(3).await;
    assert_eq!(world.task(task.id).await.state.status, TaskStatus::Pending);
    assert!(runner.loads().iter().all(|agent| agent.paused));
    drop(unknown);
    world.until(task.id, TaskStatus::Completed).await;
    runner.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_whose_heartbeats_the_store_refuses_hands_back_and_goes_on_once_they_are_taken() {
    let (world, gate) = World::gated(&SHORT_LEASE).await;
    let runner = world.runner("r1").await;
    let task = planned("slow", &json!([world.web.step("s1", "held/slow")]));
    world.insert(std::slice::from_ref(&task)).await;
    world.web.until_visited("held/slow", 1).await;
    let refused = gate.refuse("Upsert", "replicas", &[]);
    let back = world.until(task.id, TaskStatus::Pending).await;
    assert_eq!((back.state.attempt, back.state.releases), (0, 1), "it is not charged");
    assert!(!runner.is_confirmed());
    world.web.release("slow");
    drop(refused);
    world.until(task.id, TaskStatus::Completed).await;
    runner.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_store_refuses_of_the_history_holds_up_no_work() {
    let (world, gate) = World::gated(&[]).await;
    let runner = world.runner("r1").await;
    let refused = gate.refuse("Upsert", "events", &[]);
    let (untold, told) = (sum("untold"), sum("told"));
    world.insert(std::slice::from_ref(&untold)).await;
    world.until(untold.id, TaskStatus::Completed).await;
    refused.met(1).await;
    // A person's change is not undone for want of its record.
    let later = sum("later").with(|task| task.spec.run_at = clock::now().plus_millis(3_600_000));
    world.store.insert(std::slice::from_ref(&later)).await.expect("inserted");
    let cancelled = runner.queue().cancel(later.id, &Person::default()).await.expect("cancelled");
    assert_eq!(cancelled.task.state.status, TaskStatus::Cancelled);
    drop(refused);
    world.insert(std::slice::from_ref(&told)).await;
    until_recorded(&world, &told, "completed").await;
    assert_eq!(world.history(later.id).await, [""; 0]);
    runner.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exit_gives_up_the_rest_of_the_history_when_the_store_does_not_take_it() {
    let (world, gate) = World::gated(&[]).await;
    let runner = world.runner("r1").await;
    let silent = gate.silence("Upsert", "events", &[]);
    let task = sum("its history is lost");
    world.insert(std::slice::from_ref(&task)).await;
    world.until(task.id, TaskStatus::Completed).await;
    silent.met(1).await;
    runner.shutdown().await;
    assert!(names(&world).await.is_empty(), "it has signed off");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_that_cannot_be_refused_keeps_no_other_from_being_refused() {
    let (world, gate) = World::gated(&[]).await;
    let overdue = |goal: &str| {
        sum(goal).with(|task| {
            let (asked, expired) = (clock::now().plus_millis(-10_000), clock::now().plus_millis(-1));
            task.state.status = TaskStatus::AwaitingApproval;
            task.state.approvals = vec![Approval::new(goal, Subject::Task, asked, Some(expired))];
        })
    };
    let (stuck, other) = (overdue("one"), overdue("other"));
    world.insert(&[stuck.clone(), other.clone()]).await;
    let refused = gate.refuse("UpdateBatch", "tasks", &[&stuck.id.to_string()]);
    let runner = world.runner("r1").await;
    world.until(other.id, TaskStatus::Cancelled).await;
    refused.met(1).await;
    assert_eq!(world.task(stuck.id).await.state.status, TaskStatus::AwaitingApproval);
    drop(refused);
    world.until(stuck.id, TaskStatus::Cancelled).await;
    runner.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_task_that_cannot_be_moved_on_keeps_no_other_waiting() {
    let (world, gate) = World::gated(&[("SCHEDULER__SWEEP", EVERY_SECOND)]).await;
    let runner = world.runner("r1").await;
    let first = planned("first", &json!([world.web.step("s1", "held/first")]));
    let after = |goal: &str| {
        sum(goal).with(|task| {
            task.state.status = TaskStatus::Waiting;
            task.spec.depends_on = vec![first.id];
        })
    };
    let (stuck, other) = (after("stuck"), after("other"));
    world.insert(&[first.clone(), stuck.clone(), other.clone()]).await;
    let refused = gate.refuse("UpdateBatch", "tasks", &[&stuck.id.to_string()]);
    world.web.release("first");
    world.until(other.id, TaskStatus::Completed).await;
    refused.met(1).await;
    assert_eq!(world.task(stuck.id).await.state.status, TaskStatus::Waiting);
    drop(refused);
    world.until(stuck.id, TaskStatus::Completed).await;
    runner.shutdown().await;
}

/// An insert that failed may have stored the tasks as claimed: a place that was reserved for them is free again, and the task
/// that is inserted anew runs.
#[tokio::test(flavor = "multi_thread")]
async fn an_insert_that_the_store_refuses_leaves_its_place_to_others() {
    let (world, gate) = World::gated(&[]).await;
    let runner = world.runner_of("r1", vec![agent("one", &[], 1)]).await;
    let first = sum("makes the replica idle");
    world.insert(std::slice::from_ref(&first)).await;
    world.until(first.id, TaskStatus::Completed).await;
    let task = sum("refused once");
    let submit = async || {
        let submission = Submission { tasks: vec![task.clone()], ids: Ids::Chosen, source: Source::Api };
        runner.queue().submit(submission, clock::now()).await
    };
    let refused = gate.refuse("Upsert", "tasks", &[]);
    let error = submit().await.expect_err("refused").to_string();
    assert!(error.contains("stopped by the test"), "{error}");
    drop(refused);
    assert_eq!(submit().await.expect("inserted").created(), 1);
    world.until(task.id, TaskStatus::Completed).await;
    runner.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_serves_one_scheduler() {
    let world = World::new(&[]).await;
    let runner = world.runner("r1").await;
    let mut parts = world.parts("r2", world.agents(), &world.config);
    parts.queue = runner.queue().clone();
    let Err(error) = Runner::start(parts).await else { panic!("it starts") };
    assert!(matches!(error, RunnerError::QueueInUse), "{error}");
    let mut parts = world.parts("r3", world.agents(), &world.config);
    parts.scheduler.sweep = "every minute".to_owned();
    let Err(error) = Runner::start(parts).await else { panic!("it starts") };
    assert!(error.to_string().contains("\"every minute\""), "{error}");
    runner.shutdown().await;
}

/// Without a model its tasks wait; how many is a figure for people, which no failure of the store may take away.
#[tokio::test(flavor = "multi_thread")]
async fn a_count_that_the_store_refuses_is_the_one_of_before() {
    let (world, gate) = World::gated(&[]).await;
    let runner = world.runner("r1").await;
    let thinking = |goal: &str| Task::new(TaskId::fresh(), goal, clock::now());
    world.insert(&[thinking("think")]).await;
    assert_eq!(runner.waiting_for_model().await, 1);
    let refused = gate.refuse("Count", "tasks", &[]);
    world.insert(&[thinking("think again")]).await;
    assert_eq!(runner.waiting_for_model().await, 1);
    // This one asked, and the watch does every few seconds.
    refused.met(2).await;
    drop(refused);
    assert_eq!(runner.waiting_for_model().await, 2);
    runner.shutdown().await;
}
