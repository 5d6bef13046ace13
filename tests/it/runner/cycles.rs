//! Tasks that wait for each other end blocked, with the cycle as the reason, however they were written.

use qron::clock;
use qron::domain::id::TaskId;
use qron::domain::task::{Task, TaskStatus};
use serde_json::{Value, json};

use super::changed::Other;
use crate::support::eventually;
use crate::support::world::{EVERY_SECOND, World};

fn needs(id: u64, on: &[u64], more: &Value) -> (TaskId, Value) {
    let on: Vec<String> = on.iter().map(u64::to_string).collect();
    let plan = json!({"steps": [{"id": "s1", "tool": "calculate", "arguments": {"expression": "1 + 1"}}]});
    let mut point = json!({"goal": "wait for others", "depends_on": on, "plan": plan});
    point.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    (TaskId::Number(id), point)
}

/// The reason why a task ended without having run.
async fn refused(world: &World, id: u64) -> String {
    eventually(&format!("task {id} has ended"), async || {
        let found = world.store.find(TaskId::Number(id)).await.expect("readable").expect("there");
        match found.task.state.status {
            TaskStatus::Blocked | TaskStatus::Failed => Ok(found.task.state.error.expect("a reason").message),
            status => Err(status.to_string()),
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn cycles_of_points_written_in_one_request_are_found() {
    let world = World::new(&[("SCHEDULER__SWEEP", EVERY_SECOND)]).await;
    let other = Other::of(&world);
    let plain = json!({});
    let go_on = json!({"on_dependency_failure": "continue"});
    let waiting = json!({"status": "waiting"});
    other
        .upsert_all(vec![
            // Two, three that go on whatever happens, one alone, and two with the status that they will have.
            needs(1, &[2], &plain),
            needs(2, &[1], &plain),
            needs(11, &[12], &go_on),
            needs(12, &[13], &go_on),
            needs(13, &[11, 50], &go_on),
            needs(21, &[21], &plain),
            needs(31, &[32], &waiting),
            needs(32, &[31], &waiting),
            // What hangs on a cycle, and what only leads to the same tasks twice.
            needs(40, &[1], &plain),
            needs(50, &[], &plain),
            needs(51, &[50], &plain),
            needs(52, &[50, 51], &plain),
        ])
        .await;
    // A long one, in two requests, each of which closes half of it.
    let long = |from: u64| (from..from + 50).map(|id| needs(id, &[100 + (id + 1 - 100) % 100], &plain)).collect();
    other.upsert_all(long(100)).await;
    let runner = world.runner("r1").await;
    other.upsert_all(long(150)).await;
    for (ids, cycle) in [
        (vec![1, 2], "1 -> 2 -> 1"),
        (vec![11, 12, 13], "11 -> 12 -> 13 -> 11"),
        (vec![21], "21 -> 21"),
        (vec![31, 32], "31 -> 32 -> 31"),
        ((100..200).collect(), "100 -> 101"),
    ] {
        // One that is met while the others are stored is refused by name, and those are blocked because of it.
        let mut named = 0;
        for id in &ids {
            named += usize::from(refused(&world, *id).await.contains(cycle));
        }
        assert!(named >= 1, "{cycle}");
    }
    refused(&world, 40).await;
    for id in [50, 51, 52] {
        world.until(TaskId::Number(id), TaskStatus::Completed).await;
    }
    runner.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cycle_of_points_that_say_they_are_admitted_is_found() {
    let world = World::new(&[("SCHEDULER__SWEEP", EVERY_SECOND)]).await;
    let other = Other::of(&world);
    let runner = world.runner("r1").await;
    let (_, chain) = needs(60, &[], &json!({}));
    other.upsert(TaskId::Number(60), chain).await;
    world.until(TaskId::Number(60), TaskStatus::Completed).await;
    let stored = Value::Object(other.payload(TaskId::Number(60)).await.into_iter().collect());
    let forged = |on: u64| {
        let mut point = stored.clone();
        for (field, value) in [
            ("status", json!("waiting")),
            ("depends_on", json!([on.to_string()])),
            ("rank", point["run_at"].clone()),
            ("finished_at", Value::Null),
            ("result", Value::Null),
        ] {
            point[field] = value;
        }
        point
    };
    let points = vec![(TaskId::Number(71), forged(72)), (TaskId::Number(72), forged(71))];
    other.upsert_all(points).await;
    for id in [71, 72] {
        let reason = refused(&world, id).await;
        assert!(reason.contains("in a cycle: 71 -> 72 -> 71"), "{id}: {reason}");
    }
    runner.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cycle_through_tasks_of_several_users_is_none_for_any_of_them() {
    let world = World::new(&[("SCHEDULER__SWEEP", EVERY_SECOND)]).await;
    let waiting = |id: u64, user: Option<&str>, on: u64| {
        Task::new(TaskId::Number(id), "wait for another", clock::now()).with(|task| {
            task.state.status = TaskStatus::Waiting;
            task.spec.user = user.map(str::to_owned);
            task.spec.depends_on = vec![TaskId::Number(on)];
        })
    };
    let mixed = [waiting(81, Some("alice"), 82), waiting(82, Some("bob"), 83), waiting(83, None, 81)];
    let own = [waiting(91, Some("alice"), 92), waiting(92, Some("alice"), 91)];
    // Neither in one request, nor by way of what is stored.
    assert_eq!(world.store.check_cycles(&mixed).await.expect("checked"), Ok(()));
    assert!(world.store.check_cycles(&own).await.expect("checked").is_err());
    world.store.insert(&[mixed[0].clone(), mixed[1].clone(), own[0].clone()]).await.expect("inserted");
    assert_eq!(world.store.check_cycles(&mixed[2..]).await.expect("checked"), Ok(()));
    assert!(world.store.check_cycles(&own[1..]).await.expect("checked").is_err());
    world.store.insert(&[mixed[2].clone(), own[1].clone()]).await.expect("inserted");
    let runner = world.runner("r1").await;
    for id in [91, 92] {
        let reason = refused(&world, id).await;
        assert!(reason.contains("in a cycle: 91 -> 92 -> 91"), "{id}: {reason}");
    }
    // The same look has met these. They wait as for tasks that are missing.
    for task in &mixed {
        let found = world.store.find(task.id).await.expect("readable").expect("there");
        assert_eq!(found.task.state.status, TaskStatus::Waiting, "{:?}", found.task.state.error);
    }
    runner.shutdown().await;
}
