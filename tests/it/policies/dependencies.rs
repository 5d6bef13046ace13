//! Tasks that wait for others.

use qron::clock;
use qron::domain::id::TaskId;
use qron::domain::task::{Task, TaskStatus};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::app::{TestApp, calculation, hopeless};
use crate::support::eventually;
use crate::support::world::{EVERY_SECOND, World, agent, planned, sum};

fn with(mut body: Value, fields: &[(&str, Value)]) -> Value {
    for (name, value) in fields {
        body[*name] = value.clone();
    }
    body
}

fn fresh() -> String {
    TaskId::fresh().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_sees_the_results_of_those_it_waited_for() {
    let app = TestApp::start().await;
    let (one, two) = (fresh(), fresh());
    let reference = format!("${{deps.{one}.result.output.value}} + ${{deps.{two}.result.output.value}}");
    let whole = with(calculation(&reference), &[("depends_on", json!([one, two]))]);
    let list =
        json!([with(calculation("19"), &[("id", json!(one))]), with(calculation("23"), &[("id", json!(two))]), whole]);
    let (status, listing) = app.post("/api/v1/tasks", &list).await;
    assert_eq!(status, StatusCode::CREATED, "{listing}");
    let ended = app.until(listing["items"][2]["id"].as_str().expect("an id"), "completed").await;
    assert_eq!(ended["result"]["output"]["value"], "42");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn those_behind_a_failure_are_blocked_unless_they_say_that_they_go_on() {
    let app = TestApp::start().await;
    let ids: Vec<String> = (0..5).map(|_| fresh()).collect();
    let after = |id: usize, on: usize| [("id", json!(ids[id])), ("depends_on", json!([ids[on]]))];
    let list = json!([
        with(hopeless(), &[("id", json!(ids[0])), ("max_attempts", json!(1))]),
        with(calculation("1"), &after(1, 0)),
        with(calculation("2"), &after(2, 1)),
        with(with(calculation("3"), &after(3, 0)), &[("on_dependency_failure", json!("continue"))]),
        with(calculation("4"), &after(4, 3)),
    ]);
    let (status, listing) = app.post("/api/v1/tasks", &list).await;
    assert_eq!(status, StatusCode::CREATED, "{listing}");
    let blocked = app.until(&ids[1], "blocked").await;
    assert!(blocked["error"]["message"].as_str().expect("a reason").contains(&ids[0]), "{blocked}");
    app.until(&ids[2], "blocked").await;
    assert_eq!(app.until(&ids[3], "completed").await["on_dependency_failure"], "continue");
    app.until(&ids[4], "completed").await;
    // What is requeued waits again, so that it cannot overtake what it depends on.
    let (status, again) = app.post(&format!("/api/v1/tasks/{}/retry", ids[2]), &Value::Null).await;
    assert_eq!((status, &again["status"]), (StatusCode::ACCEPTED, &json!("waiting")));
    app.until(&ids[2], "blocked").await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cycle_is_refused_by_name_before_anything_is_stored() {
    let app = TestApp::start().await;
    let needs = |id: u64, on: &[u64]| {
        let on: Vec<String> = on.iter().map(u64::to_string).collect();
        json!({"goal": "long enough", "id": id, "depends_on": on})
    };
    let (status, problem) = app.post("/api/v1/tasks", &json!([needs(1, &[2]), needs(2, &[3]), needs(3, &[1])])).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    let detail = problem["detail"].as_str().expect("a detail");
    assert!(detail.contains("in a cycle: 1 -> 2 -> 3 -> 1"), "{detail}");
    let (status, problem) = app.post("/api/v1/tasks", &needs(7, &[7])).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
    assert_eq!(app.count().await, 0);
    app.stop().await;
}

/// Other clients write in any order; a cycle closes with the last of them, through tasks that are stored.
#[tokio::test(flavor = "multi_thread")]
async fn a_cycle_through_stored_tasks_is_found_wherever_it_closes() {
    let app = TestApp::start().await;
    let store = app.app.as_ref().expect("running").store().clone();
    let waiting = |id: u64, on: u64| {
        Task::new(TaskId::Number(id), "long enough", clock::now()).with(|task| {
            task.state.status = TaskStatus::Waiting;
            task.spec.depends_on = vec![TaskId::Number(on)];
        })
    };
    store.insert(&[waiting(1, 2), waiting(2, 3)]).await.expect("inserted");
    let body = json!({"goal": "long enough", "id": 3, "depends_on": ["1"]});
    let (status, problem) = app.post("/api/v1/tasks", &body).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(problem["detail"].as_str().expect("a detail").contains("1 -> 2 -> 3 -> 1"), "{problem}");
    let fine = json!({"goal": "long enough", "id": 4, "depends_on": ["1"]});
    assert_eq!(app.post("/api/v1/tasks", &fine).await.0, StatusCode::CREATED);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_children_of_a_task_are_listed_and_counted() {
    let app = TestApp::start().await;
    let parent = app
        .submit(&json!({
            "goal": "make other tasks, please", "concurrency_key": "acme",
            "plan": { "steps": [
                { "id": "a", "tool": "create_task", "arguments": { "goal": "a first child", "plan": calculation("1")["plan"] } },
                { "id": "b", "tool": "create_task", "arguments": {
                    "goal": "another child", "depends_on": ["${a.task_id}"], "plan": calculation("2")["plan"] } },
            ] },
        }))
        .await;
    app.until(&parent, "completed").await;
    let children = async || app.get(&format!("/api/v1/tasks/{parent}/children")).await.1;
    let all = eventually("its children have ended", async || {
        let all = children().await;
        if all["finished"] == json!(true) { Ok(all) } else { Err(all.to_string()) }
    })
    .await;
    assert_eq!((&all["total"], &all["counts"]), (&json!(2), &json!({"completed": 2})), "{all}");
    assert!(all["items"].as_array().expect("items").iter().all(|child| child["parent"] == json!(parent)
        && child["concurrency_key"] == "acme"
        && !child["result"].is_null()));
    let (_, listed) = app.get(&format!("/api/v1/tasks?parent={parent}")).await;
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(2));
    assert_eq!(app.get(&format!("/api/v1/tasks/{}/children", fresh())).await.0, StatusCode::NOT_FOUND);
    app.stop().await;
}

/// What ended while nobody watched is found by the sweep.
#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_what_ended_elsewhere_is_found() {
    let world = World::new(&[("SCHEDULER__SWEEP", EVERY_SECOND)]).await;
    let first = sum("first");
    let second = sum("second").with(|task| {
        task.state.status = TaskStatus::Waiting;
        task.spec.depends_on = vec![first.id];
    });
    world.store.insert(&[first.clone(), second.clone()]).await.expect("inserted");
    let one = world.runner("one").await;
    world.until(first.id, TaskStatus::Completed).await;
    world.until(second.id, TaskStatus::Completed).await;
    one.shutdown().await;
}

/// Each of two replicas carries out one of two dependencies. Both knew the one as open; the other one ends last, where
/// nobody heard that the first is done.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_dependency_sets_a_task_free_in_whichever_replica_it_ends() {
    let world = World::new(&[]).await;
    let there = World::over(world.config.clone()).await;
    let held = |name: &str, agent: &str| {
        planned(name, &json!([world.web.step("s1", &format!("held/{name}"))]))
            .with(|task| task.spec.agent = Some(agent.to_owned()))
    };
    let after = |on: &[TaskId]| {
        sum("after others").with(|task| {
            task.state.status = TaskStatus::Waiting;
            task.spec.depends_on = on.to_vec();
        })
    };
    // Blocked by the first look of a replica at all that wait, so that it tells of that look.
    let sign = || after(&[TaskId::fresh()]).with(|task| task.state.created_at = clock::now().plus_millis(-120_000));
    let (last, first) = (held("last", "two"), held("first", "one"));
    // Of those that are open, the last of the list is the one that is remembered.
    let (both, after_first) = (after(&[last.id, first.id]), after(&[first.id]));
    let (of_one, of_two) = (sign(), sign());
    let tasks = [last.clone(), first.clone(), both.clone(), after_first.clone(), of_one.clone()];
    world.store.insert(&tasks).await.expect("inserted");
    let one = world.runner_of("r1", vec![agent("one", &[], 4)]).await;
    world.until(of_one.id, TaskStatus::Blocked).await;
    world.store.insert(std::slice::from_ref(&of_two)).await.expect("inserted");
    let two = there.runner_of("r2", vec![agent("two", &[], 4)]).await;
    world.until(of_two.id, TaskStatus::Blocked).await;
    world.web.release("first");
    // Who moved this one on has looked at `both` as well.
    world.until(after_first.id, TaskStatus::Completed).await;
    assert_eq!(world.task(both.id).await.state.status, TaskStatus::Waiting);
    world.web.release("last");
    world.until(both.id, TaskStatus::Completed).await;
    one.shutdown().await;
    two.shutdown().await;
}
