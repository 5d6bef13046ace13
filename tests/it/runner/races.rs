//! Two who change a task at the same moment, in an order that the test chooses: one wins, and what the other had begun leaves
//! nothing behind.

use qron::clock;
use qron::domain::attempt::Attempt;
use qron::domain::task::{Claim, MAX_CRASHES, Task, TaskEvent, TaskStatus};
use qron::queue::{BulkChange, BulkRequest, Person, Queue, Targets};
use serde_json::json;

use crate::support::world::{World, sum};

/// A queue of another process, without the gate.
async fn others(world: &World) -> Queue {
    let mut config = world.config.clone();
    config.store.url = crate::support::qdrant_url();
    Queue::new(World::over(config).await.store, "others")
}

/// A task that is due in an hour.
async fn later(world: &World, goal: &str) -> Task {
    let task = sum(goal).with(|task| task.spec.run_at = clock::now().plus_millis(3_600_000));
    world.store.insert(std::slice::from_ref(&task)).await.expect("inserted");
    task
}

/// A task that one more crash ends, claimed by a replica that is about to be declared dead.
async fn suspect(world: &World, goal: &str) -> Task {
    let task = sum(goal).with(|task| task.state.crashes = MAX_CRASHES - 1);
    world.store.insert(std::slice::from_ref(&task)).await.expect("inserted");
    let claim = Claim { token: format!("token of {goal}"), owner: "dead".to_owned() };
    world.store.claim(&[task.id], &claim, clock::now()).await.expect("claimed").remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wish_to_stop_that_others_outrun_again_and_again_says_so() {
    let (world, gate) = World::gated(&[]).await;
    let direct = others(&world).await;
    let task = sum("popular").with(|task| task.spec.run_at = clock::now().plus_millis(3_600_000));
    world.store.insert(std::slice::from_ref(&task)).await.expect("inserted");
    let queue = Queue::new(world.store.clone(), "a person");
    let mut held = gate.hold("UpdateBatch", "tasks", &[]);
    let outrun = async {
        for priority in 1..=4 {
            let request = held.next().await;
            direct.change(task.id, &TaskEvent::Reprioritised(priority), &Person::default()).await.expect("changed");
            drop(request);
        }
    };
    let person = Person::default();
    let (outcome, ()) = tokio::join!(queue.change(task.id, &TaskEvent::CancelRequested, &person), outrun);
    let error = outcome.expect_err("outrun").to_string();
    assert!(error.contains("send this request again"), "{error}");
    drop(held);
    assert_eq!(world.task(task.id).await.state.status, TaskStatus::Pending);
    queue.change(task.id, &TaskEvent::CancelRequested, &person).await.expect("cancelled");
}

/// The letter is written before the task fails. If the one that was taken for dead ends the task in between, it is wrong.
#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_completes_while_it_is_given_up_keeps_no_letter() {
    let (world, gate) = World::gated(&[]).await;
    let running = suspect(&world, "not deadly at all").await;
    let heir = world.runner_of("heir", Vec::new()).await;
    let mut held = gate.hold("Upsert", "dead_letters", &[]);
    let completed = async {
        let letter = held.next().await;
        world.store.transition(&running, &TaskEvent::Completed(json!(42)), clock::now()).await.expect("completed");
        drop(letter);
    };
    let (rescued, ()) = tokio::join!(heir.rescue_now("dead"), completed);
    assert_eq!(rescued.expect("an answer"), 0);
    assert_eq!(world.task(running.id).await.state.status, TaskStatus::Completed);
    assert_eq!(world.store.dead_letter(running.id).await.expect("readable"), None);
    heir.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_is_given_up_without_having_been_looked_at_has_its_letter_too() {
    let (world, gate) = World::gated(&[]).await;
    let first = suspect(&world, "seen").await;
    let heir = world.runner_of("heir", Vec::new()).await;
    let mut held = gate.hold("Upsert", "dead_letters", &[]);
    let claimed = async {
        let letter = held.next().await;
        let second = suspect(&world, "claimed by the dead one meanwhile").await;
        drop(letter);
        drop(held);
        second
    };
    let (rescued, second) = tokio::join!(heir.rescue_now("dead"), claimed);
    assert_eq!(rescued.expect("an answer"), 2);
    for task in [&first, &second] {
        assert_eq!(world.task(task.id).await.state.status, TaskStatus::Failed);
        let letter = world.store.dead_letter(task.id).await.expect("readable").expect("a letter");
        assert_eq!(letter.attempts, MAX_CRASHES);
    }
    heir.shutdown().await;
}

/// A task that has moved on lately is handed back uncharged, unless the one that was taken for dead is faster.
#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_completes_while_it_is_handed_back_stays_as_it_is() {
    let (world, gate) = World::gated(&[]).await;
    let running = suspect(&world, "moves on").await;
    let attempt: Attempt = serde_json::from_value(json!({
        "id": uuid::Uuid::new_v4(), "task_id": running.id, "number": 2, "claim": "earlier", "replica": "dead", "agent": "a",
        "status": "running", "started_at": 0, "updated_at": 0, "progress": {"done": 1},
    }))
    .expect("an attempt");
    world.store.save_attempt(&attempt).await.expect("stored");
    let heir = world.runner_of("heir", Vec::new()).await;

    let refused = gate.refuse("UpdateBatch", "tasks", &["/released"]);
    heir.rescue_now("dead").await.expect_err("refused");
    assert_eq!(world.task(running.id).await, running, "nothing is done by half");
    drop(refused);

    let others = others(&world).await;
    let mut held = gate.hold("UpdateBatch", "tasks", &["/released"]);
    let completed = async {
        let request = held.next().await;
        others.store().transition(&running, &TaskEvent::Completed(json!(42)), clock::now()).await.expect("completed");
        drop(request);
    };
    let (rescued, ()) = tokio::join!(heir.rescue_now("dead"), completed);
    assert_eq!(rescued.expect("an answer"), 0);
    let ended = world.task(running.id).await;
    assert_eq!((ended.state.status, ended.state.releases), (TaskStatus::Completed, 0));
    heir.shutdown().await;
}

/// A step that is wanted no longer is stopped as it is now, not as its parent last knew it.
#[tokio::test(flavor = "multi_thread")]
async fn a_step_is_stopped_whatever_became_of_it_meanwhile() {
    let (world, gate) = World::gated(&[]).await;
    let queue = others(&world).await;
    let person = Person::default();

    let moved = later(&world, "moved meanwhile").await;
    queue.change(moved.id, &TaskEvent::Reprioritised(9), &person).await.expect("changed");
    let stopped = queue.stop_step(moved).await.expect("an answer");
    assert_eq!((stopped.state.status, stopped.spec.priority), (TaskStatus::Cancelled, 9));

    let ended = later(&world, "ended meanwhile").await;
    queue.cancel(ended.id, &person).await.expect("cancelled");
    let at = world.task(ended.id).await.state.finished_at;
    let stopped = queue.stop_step(ended.clone()).await.expect("an answer");
    assert_eq!((stopped.state.status, stopped.state.finished_at), (TaskStatus::Cancelled, at));

    world.store.remove_ended(&[ended.id], TaskStatus::Cancelled, clock::now()).await.expect("removed");
    assert_eq!(queue.stop_step(ended.clone()).await.expect("an answer").id, ended.id, "it is gone");

    let kept = later(&world, "kept by a refusal").await;
    let _refused = gate.refuse("UpdateBatch", "tasks", &[]);
    let through = Queue::new(world.store.clone(), "through the gate");
    through.stop_step(kept.clone()).await.expect_err("refused");
    assert_eq!(world.task(kept.id).await, kept);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_many_ends_at_an_outage_and_can_be_asked_for_again() {
    let (world, gate) = World::gated(&[]).await;
    let queue = Queue::new(world.store.clone(), "a person");
    let (one, two) = (later(&world, "one").await, later(&world, "two").await);
    let cancel = async || {
        let targets = Targets::Ids(vec![one.id, two.id]);
        let change = BulkChange::Event(TaskEvent::CancelRequested);
        queue.change_many(BulkRequest { change, targets, dry_run: false, person: Person::default() }).await
    };
    let silent = gate.silence("UpdateBatch", "tasks", &[]);
    let error = cancel().await.expect_err("an outage");
    assert!(error.is_outage(), "{error}");
    drop(silent);
    let report = cancel().await.expect("an answer");
    assert_eq!((report.matched, report.done, report.refused.len()), (2, 2, 0));
}
