//! An approval of a whole task lets run what was approved, and nothing that another client made of it.

use qron::clock;
use qron::domain::approval::{Approval, ApprovalPolicy, Ruling};
use qron::domain::id::TaskId;
use qron::domain::task::{Task, TaskEvent, TaskStatus};
use serde_json::{Value, json};

use super::changed::Other;
use crate::support::world::{EVERY_SECOND, World, planned};

/// A year, in milliseconds.
const YEAR_MS: i64 = 365 * 86_400_000;

/// A task that visits `path` once a person agreed.
fn cautious(world: &World, path: &str) -> Task {
    let mut task = planned("visit a page", &json!([world.web.step("s1", path)]));
    task.state.status = TaskStatus::AwaitingApproval;
    task.state.approvals = vec![Approval::of_task(&task, &ApprovalPolicy { expire_s: 0 }, clock::now())];
    task
}

fn plan(world: &World, path: &str) -> Value {
    json!({"steps": [world.web.step("s1", path)]})
}

fn question(task: &Task) -> String {
    let open = task.state.approvals.iter().find(|approval| approval.is_open());
    open.unwrap_or_else(|| panic!("nothing is asked: {task:?}")).hash.clone()
}

async fn approve(world: &World, id: TaskId, hash: String) -> bool {
    let ruling = Ruling { hashes: vec![hash], by: Some("ada".into()), note: None };
    world.store.transition(&world.task(id).await, &TaskEvent::Approved(ruling), clock::now()).await.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn approval_bypass_a_task_changed_before_the_decision_is_another_question() {
    let world = World::new(&[("SCHEDULER__SWEEP", EVERY_SECOND)]).await;
    let other = Other::of(&world);
    let runner = world.runner("r1").await;
    for (change, path) in [
        (json!({"plan": plan(&world, "open/evil-plan")}), "open/evil-plan"),
        (json!({"goal": "visit another page"}), "open/good-goal"),
        (json!({"context": {"to": "eve"}}), "open/good-context"),
        (json!({"user": "eve"}), "open/good-user"),
        (json!({"depends_on": ["4711"]}), "open/good-depends_on"),
        (json!({"timeout_s": 5_000}), "open/good-timeout_s"),
    ] {
        let first = if change.get("plan").is_some() { "open/before" } else { path };
        let task = cautious(&world, first);
        let before = question(&task);
        world.insert(std::slice::from_ref(&task)).await;
        assert_eq!(question(&world.task(task.id).await), before);
        other.set(task.id, change.clone()).await;
        assert!(!approve(&world, task.id, before.clone()).await, "{change}");
        let after = question(&world.task(task.id).await);
        assert_ne!(after, before, "{change}");
        assert_eq!(world.web.visits(path), 0, "{change}");
        assert!(approve(&world, task.id, after).await, "{change}");
        if change.get("depends_on").is_none() {
            world.until(task.id, TaskStatus::Completed).await;
            assert_eq!(world.web.visits(path), 1, "{change}");
        }
    }
    assert_eq!(world.web.visits("open/before"), 0);
    runner.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn approval_bypass_a_task_changed_after_the_decision_is_asked_anew_and_does_not_run() {
    let world = World::new(&[("SCHEDULER__SWEEP", EVERY_SECOND)]).await;
    let other = Other::of(&world);
    let runner = world.runner("r1").await;
    let now = clock::now().as_millis();
    let due = json!({"run_at": now - 60_000, "rank": now - 360_000});
    let with = |fields: Value| {
        let mut all = due.clone();
        all.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
        all
    };
    let cases = [
        (with(json!({"plan": plan(&world, "open/late-plan")})), "open/late-plan"),
        (with(json!({"goal": "visit another page"})), "open/late-goal"),
        (with(json!({"agent": "generalist"})), "open/late-agent"),
        (with(json!({"user": "eve"})), "open/late-user"),
        (with(json!({"parent": "4711"})), "open/late-parent"),
    ];
    for (change, path) in cases {
        let first = if change.get("plan").is_some() { "open/before" } else { path };
        let task = cautious(&world, first).with(|task| task.spec.run_at = clock::now().plus_millis(YEAR_MS));
        world.insert(std::slice::from_ref(&task)).await;
        let hash = question(&world.task(task.id).await);
        assert!(approve(&world, task.id, hash.clone()).await, "{change}");
        assert_eq!(world.task(task.id).await.state.status, TaskStatus::Pending);
        other.set(task.id, change.clone()).await;
        world.wake();
        let asking = world.until(task.id, TaskStatus::AwaitingApproval).await;
        assert_ne!(question(&asking), hash, "{change}");
        assert_eq!(asking.state.approvals.len(), 1, "what was said before is no answer: {asking:?}");
        assert_eq!(world.web.visits(path), 0, "{change}");
        assert!(world.store.attempts(task.id).await.expect("readable").is_empty(), "it never ran: {change}");
        assert!(!approve(&world, task.id, hash).await, "{change}");
        assert!(approve(&world, task.id, question(&asking)).await, "{change}");
        world.until(task.id, TaskStatus::Completed).await;
        assert_eq!(world.web.visits(path), 1, "{change}");
    }
    assert_eq!(world.web.visits("open/before"), 0);
    runner.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn approval_bypass_copies_and_skipped_questions_are_asked() {
    let world = World::new(&[("SCHEDULER__SWEEP", EVERY_SECOND)]).await;
    let other = Other::of(&world);
    let runner = world.runner("r1").await;

    // What was approved runs as it is.
    let good = cautious(&world, "open/copied");
    world.insert(std::slice::from_ref(&good)).await;
    assert!(approve(&world, good.id, question(&world.task(good.id).await)).await);
    world.until(good.id, TaskStatus::Completed).await;
    assert_eq!(world.web.visits("open/copied"), 1);

    // A copy of its point, approvals and all, under another id.
    let now = clock::now().as_millis();
    let mut copy = Value::Object(other.payload(good.id).await.into_iter().collect());
    for (field, value) in
        [("status", json!("pending")), ("rank", json!(now)), ("run_at", json!(now)), ("finished_at", Value::Null)]
    {
        copy[field] = value;
    }
    assert!(!copy["approvals"].is_null() && copy["admitted"] == json!(true), "{copy}");
    let id = TaskId::Number(4_712);
    other.upsert(id, copy).await;
    world.wake();
    world.until(id, TaskStatus::AwaitingApproval).await;

    // A client that sets the status past the question.
    let skipped = cautious(&world, "open/skipped");
    world.insert(std::slice::from_ref(&skipped)).await;
    other.set(skipped.id, json!({"status": "pending"})).await;
    world.wake();
    world.until(skipped.id, TaskStatus::AwaitingApproval).await;

    // A foreign point that brings a decision of its own.
    let mut forged = json!({"goal": "visit a page", "approval": "required", "plan": plan(&world, "open/forged")});
    forged["approvals"] = json!([{"hash": "0", "subject": {"kind": "task"}, "asked_at": now,
        "decision": {"verdict": "approved", "at": now}}]);
    let id = TaskId::Number(4_713);
    other.upsert(id, forged).await;
    world.until(id, TaskStatus::AwaitingApproval).await;

    assert_eq!(world.web.visits("open/copied"), 1);
    assert_eq!(world.web.visits("open/skipped") + world.web.visits("open/forged"), 0);
    runner.shutdown().await;
}
