//! Steps that need a capability which the agent of the run lacks: other agents of the fleet carry them out.

use qron::clock;
use qron::domain::agent::AgentProfile;
use qron::domain::delegation::Awaited;
use qron::domain::id::TaskId;
use qron::domain::replica::{AgentPresence, ReplicaRecord};
use qron::domain::task::{Task, TaskStatus};
use qron::llm::scripted::{Scenario, Script, ScriptedModel};
use qron::queue::{Person, Queue};
use qron::store::TaskFilter;
use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::world::{EVERY_SECOND, World, agent, planned};

/// A task for the agent `boss`, with this plan.
pub(super) fn of_boss(goal: &str, steps: &Value) -> Task {
    planned(goal, steps).with(|task| {
        task.spec.agent = Some("boss".to_owned());
        task.spec.max_attempts = 1;
    })
}

pub(super) fn sum(id: &str, capability: &str, expression: &str) -> Value {
    json!({"id": id, "tool": "calculate", "capability": capability, "arguments": {"expression": expression}})
}

/// A step that another agent is busy with until the page `name` is released.
pub(super) fn held(world: &World, id: &str, capability: &str, name: &str) -> Value {
    let mut step = world.web.step(id, &format!("held/{name}"));
    step["capability"] = json!(capability);
    step
}

pub(super) async fn children(world: &World, parent: TaskId) -> Vec<Task> {
    let filter = TaskFilter { parent: Some(parent), ..TaskFilter::default() };
    world.store.tasks(&filter, 100, None).await.expect("readable").items
}

/// Agent and replica of the newest attempt of a task.
async fn ran_by(world: &World, task: TaskId) -> (String, String) {
    let attempt = world.store.attempts(task).await.expect("readable").pop().expect("an attempt");
    (attempt.agent, attempt.replica)
}

/// Waits until `task` waits for tasks that carry out its steps, and gives them back.
pub(super) async fn awaited(world: &World, task: TaskId) -> Awaited {
    let waiting = world.until(task, TaskStatus::Waiting).await;
    waiting.state.awaits.expect("tasks that it waits for")
}

/// Waits until the history of a task has events of these kinds, which are written in batches.
pub(super) async fn until_recorded(world: &World, task: TaskId, kinds: &[&str]) {
    eventually("the events", async || {
        let history = world.history(task).await;
        match kinds.iter().find(|kind| !history.iter().any(|there| there == *kind)) {
            Some(kind) => Err(format!("{kind}: {history:?}")),
            None => Ok(()),
        }
    })
    .await;
}

/// A replica that is gone: it has written its agents, and its heart beats no more.
async fn ghost(world: &World, id: &str, agents: Vec<AgentPresence>) {
    let now = clock::now();
    let record = ReplicaRecord {
        id: id.to_owned(),
        host: "gone".to_owned(),
        version: "0".to_owned(),
        started_at: now,
        updated_at: now,
        heartbeat: 1,
        draining: false,
        nudges: 0,
        waiting_for_model: 0,
        agents,
        cpu: 0.0,
        memory_bytes: 0,
    };
    world.store.beat(&record).await.expect("written");
}

fn presence(name: &str, capability: &str, in_flight: usize) -> AgentPresence {
    let capabilities = vec![capability.to_owned()];
    AgentPresence { name: name.to_owned(), capabilities, in_flight, capacity: 4, paused: false, model_away: None }
}

/// Sweeps each second, so that what a test tells no runner of is found.
pub(super) const SWEEPING: (&str, &str) = ("SCHEDULER__SWEEP", EVERY_SECOND);

/// Five agents with two capabilities each in two replicas, and a goal whose three steps take three capabilities.
#[tokio::test(flavor = "multi_thread")]
async fn a_goal_that_takes_three_capabilities_is_reached_by_three_agents_of_two_replicas() {
    let text = json!({"id": "text", "tool": null, "arguments": "{}", "instruction": "Write one line about ${sum.value}",
        "tools": [], "depends_on": [], "capability": "writing", "priority": 7, "estimated_s": 5});
    let tool = |id: &str, capability: &str, expression: &str| {
        json!({"id": id, "tool": "calculate", "arguments": json!({"expression": expression}).to_string(), "instruction": null,
            "depends_on": [], "capability": capability, "estimated_s": 2})
    };
    let steps = [tool("count", "web", "20 + 1"), tool("sum", "statistics", "${count.value} * 2"), text];
    let model = ScriptedModel::start(Script::new(vec![
        Scenario::on("report").purpose("plan").json(json!({"analysis": "clear", "steps": steps, "answer": "text"})),
        Scenario::on("Step \"text\"").purpose("act").contains("42").text("The sum is 42."),
    ]))
    .await
    .expect("a model");
    let url = model.base_url();
    let world = World::new(&[("MODEL__BASE_URL", &url), ("MODEL__API_KEY", "none"), SWEEPING]).await;
    let here = vec![
        agent("boss", &["planning", "talking"], 4),
        agent("browser", &["web", "files"], 4),
        agent("analyst", &["sql", "statistics"], 4),
    ];
    let there = vec![agent("writer", &["writing", "translation"], 4), agent("checker", &["review", "tests"], 4)];
    let (one, two) = (world.runner_of("one", here).await, world.runner_of("two", there).await);
    let task = Task::new(TaskId::fresh(), "report on the numbers", clock::now()).with(|task| {
        task.spec.agent = Some("boss".to_owned());
        task.spec.user = Some("ada".to_owned());
    });
    world.insert(std::slice::from_ref(&task)).await;
    let done = world.until(task.id, TaskStatus::Completed).await;
    assert_eq!(done.state.result.expect("a result")["output"], "The sum is 42.");
    let mut children = children(&world, task.id).await;
    children.sort_by_key(|child| child.state.created_at);
    let mut who = Vec::new();
    for child in &children {
        assert_eq!((child.spec.user.as_deref(), child.root()), (Some("ada"), task.id));
        who.push(ran_by(&world, child.id).await);
    }
    let expected = [("browser", "one"), ("analyst", "one"), ("writer", "two")];
    assert_eq!(who, expected.map(|(agent, replica)| (agent.to_owned(), replica.to_owned())));
    assert_eq!(children.iter().map(|child| child.spec.priority).collect::<Vec<_>>(), [5, 5, 7]);
    for pair in children.windows(2) {
        assert!(
            pair[0].state.finished_at.is_some_and(|ended| ended <= pair[1].state.created_at),
            "in the order of the plan"
        );
    }
    assert!(children[2].spec.goal.contains("[sum.value]") && !children[2].spec.goal.contains('$'));
    until_recorded(&world, task.id, &["step_delegated", "tasks_awaited", "awaited_task_ended", "resumed", "completed"])
        .await;
    for runner in [one, two] {
        runner.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_waits_for_its_steps_holds_no_place() {
    let world = World::new(&[]).await;
    let agents = vec![agent("boss", &["home"], 1), agent("other", &["away"], 1)];
    let runner = world.runner_of("r1", agents).await;
    let boss =
        of_boss("one that needs the other", &json!([held(&world, "a", "away", "first"), sum("b", "home", "1 + 1")]));
    // It needs the agent whose only place the first one would hold.
    let other = planned("the other that needs the first", &json!([sum("a", "home", "2 + 2")]))
        .with(|task| task.spec.agent = Some("other".to_owned()));
    world.insert(std::slice::from_ref(&boss)).await;
    let tasks = awaited(&world, boss.id).await.tasks;
    assert_eq!(children(&world, boss.id).await.iter().map(|child| child.id).collect::<Vec<_>>(), tasks);
    world.web.until_visited("held/first", 1).await;
    // Its agent is free meanwhile.
    let between = of_boss("one between", &json!([sum("a", "home", "3 + 3")]));
    world.insert(&[between.clone(), other.clone()]).await;
    world.until(between.id, TaskStatus::Completed).await;
    world.web.release("first");
    for task in [&boss, &other] {
        world.until(task.id, TaskStatus::Completed).await;
    }
    runner.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_no_other_agent_can_do_stays_with_an_event() {
    let world = World::new(&[]).await;
    let runner = world.runner_of("r1", vec![agent("boss", &["home"], 4)]).await;
    let task = of_boss("do it all alone", &json!([sum("a", "flying", "6 * 7")]));
    world.insert(std::slice::from_ref(&task)).await;
    let done = world.until(task.id, TaskStatus::Completed).await;
    assert_eq!(done.state.result.expect("a result")["output"]["value"], "42");
    assert!(children(&world, task.id).await.is_empty());
    let kept = eventually("the event", async || {
        let events = world.store.events(Some(task.id), 100).await.map_err(|error| error.to_string())?;
        events.into_iter().find(|event| event.kind == "step_kept").ok_or_else(|| "no event".to_owned())
    })
    .await;
    assert!(kept.message.contains("no agent that may get it has the capability \"flying\""), "{}", kept.message);
    runner.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_whose_agents_are_gone_goes_to_another_or_back_home() {
    let world = World::new(&[SWEEPING, ("TOOLS__UNCLAIMED_MS", "1500")]).await;
    ghost(&world, "ghost-1", vec![presence("gone", "away", 0)]).await;
    let boss = vec![agent("boss", &["home"], 4)];
    let runner = world.runner_of("r1", boss.clone()).await;
    let task = of_boss("have it done elsewhere", &json!([sum("a", "away", "6 * 7")]));
    world.insert(std::slice::from_ref(&task)).await;
    let first = awaited(&world, task.id).await.tasks;
    // Another agent with the capability takes what the one that is gone left.
    let second = world.runner_of("r2", vec![agent("late", &["away"], 4)]).await;
    world.until(task.id, TaskStatus::Completed).await;
    assert_eq!(ran_by(&world, first[0]).await, ("late".to_owned(), "r2".to_owned()));
    second.shutdown().await;
    // With none left, the step comes home after a while.
    let task = of_boss("have it done elsewhere, too", &json!([sum("a", "gone-by", "6 * 7")]));
    ghost(&world, "ghost-2", vec![presence("gone", "gone-by", 0)]).await;
    world.insert(std::slice::from_ref(&task)).await;
    let child = awaited(&world, task.id).await.tasks[0];
    world.store.remove_replica("ghost-2").await.expect("removed");
    world.until(task.id, TaskStatus::Completed).await;
    assert_eq!(world.task(child).await.state.status, TaskStatus::Cancelled);
    until_recorded(&world, task.id, &["step_withdrawn", "step_kept"]).await;
    runner.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_waits_survives_its_replica() {
    let world = World::new(&[SWEEPING]).await;
    let boss = || vec![agent("boss", &["home"], 1)];
    let first = world.runner_of("r1", boss()).await;
    let other = world.runner_of("r2", vec![agent("other", &["away"], 1)]).await;
    let steps = json!([held(&world, "a", "away", "long"), {"id": "b", "tool": "calculate",
        "arguments": {"expression": "${a.status} + 1"}}]);
    let task = of_boss("wait for long", &steps);
    world.insert(std::slice::from_ref(&task)).await;
    world.web.until_visited("held/long", 1).await;
    awaited(&world, task.id).await;
    first.shutdown().await;
    world.web.release("long");
    eventually("the child is done", async || {
        let statuses: Vec<_> = children(&world, task.id).await.iter().map(|child| child.state.status).collect();
        if statuses == [TaskStatus::Completed] { Ok(()) } else { Err(format!("{statuses:?}")) }
    })
    .await;
    let again = world.runner_of("r3", boss()).await;
    let done = world.until(task.id, TaskStatus::Completed).await;
    assert_eq!(done.state.result.expect("a result")["output"]["value"], "201");
    assert_eq!(children(&world, task.id).await.len(), 1, "the task of the step was made once");
    for runner in [other, again] {
        runner.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_whose_task_fails_or_is_cancelled_has_failed() {
    let bad = |id: &str, expression: &str, capability: Value| {
        json!({"id": id, "tool": "calculate", "arguments": json!({"expression": expression}).to_string(), "instruction": null,
            "depends_on": [], "capability": capability, "estimated_s": null})
    };
    let steps = [bad("a", "1 / 0", json!("away")), bad("b", "${a.value} + 1", Value::Null)];
    let model = ScriptedModel::start(Script::new(vec![
        Scenario::on("divide it").purpose("plan").json(json!({"analysis": "clear", "steps": steps})),
        Scenario::on("divide it")
            .purpose("replan")
            .contains("not run, because a failed")
            .json(json!({"analysis": "otherwise", "steps": [bad("c", "40 + 2", json!("away"))]})),
        Scenario::on("divide it")
            .purpose("answer")
            .json(json!({"outcome": "done", "answer": "42", "reason": "c shows it"})),
    ]))
    .await
    .expect("a model");
    let url = model.base_url();
    let world = World::new(&[("MODEL__BASE_URL", &url), ("MODEL__API_KEY", "none"), SWEEPING]).await;
    let agents = vec![agent("boss", &["home"], 4), agent("other", &["away"], 4)];
    let runner = world.runner_of("r1", agents).await;
    let task = Task::new(TaskId::fresh(), "divide it by something", clock::now())
        .with(|task| task.spec.agent = Some("boss".to_owned()));
    world.insert(std::slice::from_ref(&task)).await;
    let done = world.until(task.id, TaskStatus::Completed).await;
    assert_eq!(done.state.result.expect("a result")["output"], "42");
    let mut statuses: Vec<_> =
        children(&world, task.id).await.iter().map(|child| child.state.status.to_string()).collect();
    statuses.sort();
    assert_eq!(statuses, ["completed", "failed"]);
    // A plan of a person is not replaced.
    let task = of_boss("wait in vain", &json!([held(&world, "a", "away", "vain")]));
    world.insert(std::slice::from_ref(&task)).await;
    let child = awaited(&world, task.id).await.tasks[0];
    world.web.until_visited("held/vain", 1).await;
    let queue = Queue::new(world.store.clone(), "a person");
    queue.cancel(child, &Person::default()).await.expect("cancelled");
    let failed = world.until(task.id, TaskStatus::Failed).await.state.error.expect("a failure");
    assert!(failed.message.contains(&format!("task {child}")) && failed.message.contains("cancelled"), "{failed}");
    runner.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_is_cancelled_stops_its_steps_and_a_retry_orders_them_anew() {
    let world = World::new(&[SWEEPING]).await;
    let agents = vec![agent("boss", &["home"], 4), agent("other", &["away"], 4)];
    let runner = world.runner_of("r1", agents).await;
    let task = of_boss("give it up", &json!([held(&world, "a", "away", "given-up")]));
    world.insert(std::slice::from_ref(&task)).await;
    let child = awaited(&world, task.id).await.tasks[0];
    world.web.until_visited("held/given-up", 1).await;
    let queue = Queue::new(world.store.clone(), "a person");
    queue.cancel(task.id, &Person::default()).await.expect("cancelled");
    let stopped = world.until(child, TaskStatus::Cancelled).await;
    assert!(world.task(task.id).await.state.finished_at <= stopped.state.finished_at);
    world.web.release("given-up");
    queue.requeue(task.id, &Person::default()).await.expect("requeued");
    world.wake();
    world.until(task.id, TaskStatus::Completed).await;
    assert_eq!(children(&world, task.id).await.len(), 2);
    runner.shutdown().await;
}

/// Nobody reads its result then; but the task that wanted it is stopped all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_cannot_be_found_ends_by_itself_after_its_parent_was_cancelled() {
    let (world, gate) = World::gated(&[SWEEPING]).await;
    let agents = vec![agent("boss", &["home"], 4), agent("other", &["away"], 4)];
    let runner = world.runner_of("r1", agents).await;
    let task = of_boss("give it up", &json!([held(&world, "a", "away", "unfound")]));
    world.insert(std::slice::from_ref(&task)).await;
    let child = awaited(&world, task.id).await.tasks[0];
    world.web.until_visited("held/unfound", 1).await;
    let unread = gate.refuse("Scroll", "tasks", &["delegated-step"]);
    let queue = Queue::new(world.store.clone(), "a person");
    let cancelled = queue.cancel(task.id, &Person::default()).await.expect("cancelled");
    assert_eq!(cancelled.task.state.status, TaskStatus::Cancelled);
    unread.met(1).await;
    world.web.release("unfound");
    world.until(child, TaskStatus::Completed).await;
    runner.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_task_of_a_step_has_the_rights_the_tree_and_the_time_of_its_parent() {
    let world = World::new(&[("TREE__MAX_TASKS", "2"), SWEEPING]).await;
    let boss: AgentProfile = serde_json::from_value(json!({
        "name": "boss", "tools": ["calculate", "http_request"], "delegates_to": ["busy", "idle"]}))
    .expect("a profile");
    let agents =
        vec![boss, agent("busy", &["away"], 4), agent("idle", &["away"], 4), agent("barred", &["away", "else"], 9)];
    let runner = world.runner_of("r1", agents).await;
    // The least loaded one that it may give work to is named.
    ghost(&world, "ghost", vec![presence("busy", "away", 3)]).await;
    let task = of_boss("use what it may", &json!([held(&world, "a", "away", "rights"), sum("b", "else", "1 + 1")]))
        .with(|task| task.spec.timeout_s = 30);
    world.insert(std::slice::from_ref(&task)).await;
    let first = awaited(&world, task.id).await;
    let child = world.task(first.tasks[0]).await;
    assert_eq!(child.spec.lineage.rights.tools, ["calculate", "http_request"]);
    assert!(child.spec.agent.as_deref().is_some_and(|name| ["busy", "idle"].contains(&name)), "{:?}", child.spec.agent);
    assert_eq!((child.root(), child.generation(), child.spec.timeout_s), (task.id, 1, 30));
    assert!(first.look_at <= child.state.created_at.plus_millis(60_000));
    world.web.release("rights");
    world.until(task.id, TaskStatus::Completed).await;
    assert_eq!(
        children(&world, task.id).await.len(),
        1,
        "it may give nothing to the only one that can do the other step"
    );
    // The tree has no place for two more.
    let task = of_boss("use too much", &json!([sum("a", "away", "1 + 1"), sum("b", "away", "2 + 2")]));
    world.insert(std::slice::from_ref(&task)).await;
    world.until(task.id, TaskStatus::Completed).await;
    assert_eq!(children(&world, task.id).await.len(), 1);
    until_recorded(&world, task.id, &["step_kept"]).await;
    // A wait is within the time limit of the attempt.
    let task =
        of_boss("take too long", &json!([held(&world, "a", "away", "never")])).with(|task| task.spec.timeout_s = 2);
    world.insert(std::slice::from_ref(&task)).await;
    let failed = world.until(task.id, TaskStatus::Failed).await.state.error.expect("a failure");
    assert!(failed.message.contains("2 s"), "{failed}");
    runner.shutdown().await;
}
