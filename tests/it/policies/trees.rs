//! Trees of tasks: what is counted, once, and how a task goes on when its tree may spend more.

use std::time::Duration;

use qron::clock;
use qron::domain::agent::AgentProfile;
use qron::domain::failure::BudgetLimit;
use qron::domain::id::TaskId;
use qron::domain::task::{Task, TaskEvent, TaskStatus};
use qron::domain::tree::Lineage;
use qron::llm::scripted::{Scenario, Script, ScriptedModel};
use qron::store::Taken;
use serde_json::json;

use crate::support::eventually;
use crate::support::proxy::Proxy;
use crate::support::world::{World, planned};

fn agents() -> Vec<AgentProfile> {
    vec![serde_json::from_value(json!({"name": "any"})).expect("a profile")]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_is_tried_again_stays_in_its_tree_and_goes_on_when_that_may_spend_more() {
    let step = json!({"id": "s", "tool": "calculate", "arguments": "{\"expression\": \"6 * 7\"}", "instruction": null,
        "depends_on": [], "capability": null, "estimated_s": null});
    let model = ScriptedModel::start(Script::new(vec![
        Scenario::on("calculate it").purpose("plan").json(json!({"analysis": "clear", "steps": [step]})),
        Scenario::on("calculate it").purpose("replan").json(json!({"analysis": "all is done", "steps": []})),
        Scenario::on("calculate it")
            .purpose("answer")
            .json(json!({"success": true, "answer": "42", "reason": "the output shows it"})),
    ]))
    .await
    .expect("a model");
    let url = model.base_url();
    let world =
        World::new(&[("MODEL__BASE_URL", &url), ("MODEL__API_KEY", "none"), ("TREE__MAX_MODEL_CALLS", "1")]).await;
    let runner = world.runner_of("r1", agents()).await;
    let make = json!([{"id": "make", "tool": "create_task", "arguments": {"goal": "calculate it"}}]);
    let root = planned("make one", &make).with(|task| task.spec.user = Some("ada".into()));
    world.insert(std::slice::from_ref(&root)).await;
    let done = world.until(root.id, TaskStatus::Completed).await;
    let id = done.state.result.expect("a result")["output"]["task_id"].as_str().expect("an id").parse().expect("an id");
    let failed = world.until(id, TaskStatus::Failed).await;
    let failure = failed.state.error.clone().expect("a failure");
    assert_eq!(failure.budget, Some(BudgetLimit::Tree), "{failure}");
    assert!(failure.message.contains("tree.max_model_calls of 1 (1 made)"), "{failure}");
    runner.shutdown().await;
    // The same limit holds for the next try, and what the first one spent counts once.
    let mut config = world.config.clone();
    for (limit, wanted) in [(1, TaskStatus::Failed), (3, TaskStatus::Completed)] {
        config.tools.tree.max_model_calls = limit;
        let task = world.task(id).await;
        let again = world.store.transition(&task, &TaskEvent::Requeued, clock::now()).await.expect("requeued");
        assert_eq!((again.root(), again.spec.lineage.rights.clone()), (root.id, failed.spec.lineage.rights.clone()));
        let runner = world.start(&format!("r{}", limit + 1), agents(), &config).await;
        world.wake();
        world.until(id, wanted).await;
        runner.shutdown().await;
    }
    assert_eq!(model.requests().len(), 3);
    let attempts = world.store.attempts(id).await.expect("readable");
    let own: Vec<u32> =
        attempts.iter().map(|attempt| attempt.spent.model_calls - attempt.carried.model_calls).collect();
    assert_eq!(own, [1, 0, 2]);
    assert!(attempts.iter().all(|attempt| attempt.tree_root == Some(root.id)));
    let spent = world.store.tree_spent(root.id, uuid::Uuid::nil()).await.expect("readable");
    assert_eq!((spent.model_calls, spent.tokens), (3, 360), "the requests are counted once each");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_makes_none_is_in_no_tree_and_a_key_that_is_held_takes_no_place() {
    let world = World::new(&[("TREE__MAX_TASKS", "2")]).await;
    let runner = world.runner_of("r1", agents()).await;
    let child = json!({"goal": "keep it safe", "unique_key": "k", "plan": {"steps": [
        {"id": "k", "tool": "http_request", "arguments": {"url": world.web.url("held/page"), "method": "GET"}}]}});
    let make = |id: &str| json!({"id": id, "tool": "create_task", "arguments": child, "depends_on": []});
    let first = planned("make one", &json!([make("a")]));
    world.insert(std::slice::from_ref(&first)).await;
    world.until(first.id, TaskStatus::Completed).await;
    // Another tree asks for the same task again and again: it is there, and no place is used up.
    let mut steps: Vec<_> = (0..4).map(|number| make(&format!("m{number}"))).collect();
    let own = json!({"goal": "one of its own", "plan": {"steps": [
        {"id": "c", "tool": "calculate", "arguments": {"expression": "1"}}]}});
    let names: Vec<String> = (0..4).map(|number| format!("m{number}")).collect();
    steps.push(json!({"id": "own", "tool": "create_task", "arguments": own, "depends_on": names}));
    let second = planned("make some", &json!(steps));
    world.insert(std::slice::from_ref(&second)).await;
    let result = world.until(second.id, TaskStatus::Completed).await.state.result.expect("a result");
    assert!(names.iter().all(|name| result["steps"][name]["created"] == json!(false)), "{result}");
    assert_eq!(result["steps"]["own"]["created"], true);
    assert_eq!(world.task(second.id).await.spec.lineage, Lineage::default());
    assert_eq!(world.store.descendants(second.id).await.expect("a number"), 1);
    world.web.release("page");
    runner.shutdown().await;
}

#[tokio::test]
async fn a_place_is_kept_for_its_task_and_given_back_or_passed_on() {
    let world = World::new(&[]).await;
    let (store, now, root) = (&world.store, clock::now(), TaskId::fresh());
    let lineage = Lineage { root: Some(root), generation: 1, ..Lineage::default() };
    let task = || Task::new(TaskId::fresh(), "one of a tree", now).with(|task| task.spec.lineage = lineage.clone());
    let (one, two, three) = (task(), task(), task());
    let taken = async |task: &Task| store.take_place(task, root, 2, now).await.expect("an answer");
    let place_of = async |task: &Task| match taken(task).await {
        Taken::Place(place) => place,
        other => panic!("{other:?}"),
    };
    let first = place_of(&one).await;
    assert_eq!(place_of(&one).await, first, "a repeated call has the place of the first");
    let second = place_of(&two).await;
    assert_eq!(taken(&three).await, Taken::Unsettled, "neither is inserted yet");
    store.give_back(&second).await.expect("given back");
    let second = place_of(&three).await;
    store.insert(&[one.clone(), two.clone()]).await.expect("inserted");
    store.pass_place(&second, two.id, now).await.expect("passed on");
    assert_eq!(taken(&three).await, Taken::Full);
    for (task, holds) in [(&one, true), (&two, true), (&three, false)] {
        assert_eq!(store.has_place(task.id, root).await.expect("an answer"), holds);
    }
}

#[tokio::test]
async fn no_unique_key_of_a_client_takes_a_place_or_forges_one() {
    let world = World::new(&[]).await;
    let (store, now, root) = (&world.store, clock::now(), TaskId::fresh());
    let with = |key: String| {
        Task::new(TaskId::fresh(), "a task with a key", now).with(|task| task.spec.unique_key = Some(key))
    };
    let tasks: Vec<Task> = (0..2).map(|number| with(format!("tree:{root}:{number}"))).collect();
    store.insert(&tasks).await.expect("inserted");
    store.insert(&[with(format!("place {:0>512} in the tree of {root}", 0))]).await.expect_err("too long for a key");
    for task in &tasks {
        assert!(!store.has_place(task.id, root).await.expect("an answer"));
    }
    for _ in 0..2 {
        let child = Task::new(TaskId::fresh(), "a child", now);
        assert!(matches!(store.take_place(&child, root, 2, now).await, Ok(Taken::Place(_))));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_in_a_tree_outlasts_a_store_that_is_away_and_loses_no_answer() {
    let step = json!({"id": "s", "tool": "calculate", "arguments": "{\"expression\": \"6 * 7\"}", "instruction": null,
        "depends_on": [], "capability": null, "estimated_s": null});
    let answer = json!({"success": true, "answer": "42", "reason": "the output shows it"});
    let model = ScriptedModel::start(
        Script::new(vec![
            Scenario::on("calculate it").purpose("plan").json(json!({"analysis": "clear", "steps": [step]})),
            Scenario::on("calculate it").purpose("answer").json(answer),
        ])
        .latency_ms(1_000),
    )
    .await
    .expect("a model");
    let url = model.base_url();
    let direct = World::new(&[("MODEL__BASE_URL", &url), ("MODEL__API_KEY", "none")]).await;
    let proxy = Proxy::to(&direct.config.store.url).await;
    let mut config = direct.config.clone();
    config.store.url.clone_from(&proxy.url);
    let world = World::over(config).await;
    let runner = world.runner_of("r1", agents()).await;
    let lineage = Lineage { root: Some(TaskId::fresh()), generation: 1, ..Lineage::default() };
    let task = Task::new(TaskId::fresh(), "calculate it", clock::now()).with(|task| task.spec.lineage = lineage);
    world.insert(std::slice::from_ref(&task)).await;
    let asked = async |wanted: usize| {
        let now = model.in_flight();
        if now == wanted { Ok(()) } else { Err(format!("{now} calls are in flight")) }
    };
    eventually("the model is asked", async || asked(1).await).await;
    proxy.set_up(false);
    eventually("the model has answered", async || asked(0).await).await;
    // Longer than a run needs to find the store away.
    tokio::time::sleep(Duration::from_secs(1)).await;
    proxy.set_up(true);
    direct.until(task.id, TaskStatus::Completed).await;
    assert_eq!(direct.store.attempts(task.id).await.expect("readable").len(), 1);
    assert_eq!(model.requests().len(), 2, "no question is asked twice");
    runner.shutdown().await;
}
