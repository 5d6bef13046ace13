//! A model that is away loses no work: tasks wait for it at no charge, and everything else goes on.

use std::time::{Duration, Instant};

use qdrant_client::Qdrant;
use qdrant_client::qdrant::{DeletePayloadPointsBuilder, PointId};
use qron::domain::failure::{Failure, FailureClass};
use qron::domain::id::TaskId;
use qron::domain::outage::Postponement;
use qron::domain::task::{Task, TaskStatus};
use qron::domain::time::Timestamp;
use qron::llm::scripted::{Fault, Reply, Scenario, Script, ScriptedModel, Turn};
use qron::store::AgentSet;
use serde_json::json;

use crate::support::eventually;
use crate::support::world::{World, agent, planned, sum};
use crate::support::{self, proxy::Proxy};

/// Tasks that are due while the model is away.
const TASKS: usize = 1_000;

/// A model that does what it is asked to, unless the goal is a poison, behind a connection that the test cuts.
async fn model() -> (ScriptedModel, Proxy) {
    let script = Script::new(vec![
        Scenario::on("poison").turn(Turn { fault: Some(Fault::EmptyChoices), ..Turn::new(Reply::Text(String::new())) }),
        Scenario::on("crashing").fault(Fault::ServerError, u32::MAX),
        Scenario::on("cutting").fault(Fault::CutStream, u32::MAX),
        Scenario::on("fine").purpose("act").text("42"),
        Scenario::on("fine").purpose("answer").json(json!({"success": true, "answer": "42", "reason": "seen"})),
    ])
    .without_bodies();
    let model = ScriptedModel::start(script).await.expect("a model");
    let proxy = Proxy::to(model.base_url().trim_end_matches("/v1")).await;
    (model, proxy)
}

/// A world whose model is behind `proxy`; the circuit opens after five failures as by default, for 300 ms and not for 30 s.
async fn world(proxy: &Proxy, more: &[(&str, &str)]) -> World {
    let url = format!("{}/v1", proxy.url);
    let fixed = [("MODEL__BASE_URL", url.as_str()), ("MODEL__TRIES", "1"), ("MODEL__CIRCUIT_OPEN_MS", "300")];
    World::new(&[&fixed, more].concat()).await
}

/// A task that needs the model twice: for its one step, and for the answer.
fn thinking(goal: &str) -> Task {
    planned(goal, &json!([{"id": "s1", "instruction": "think"}]))
}

async fn until_postponed(world: &World, id: TaskId) -> Task {
    eventually("the task waits for its model", async || {
        let task = world.task(id).await;
        if task.state.postponed.is_some() {
            Ok(task)
        } else {
            Err(format!("{} ({:?})", task.state.status, task.state.error))
        }
    })
    .await
}

/// What an outage cost.
struct Outage {
    /// How often runs were begun and postponed while the model was away, over all tasks.
    postponed: u32,
    /// How long after the model came back the last task was done.
    recovered_after: Duration,
}

/// Cuts the model off while a thousand tasks and six poison goals are due, and checks that the outage costs no task anything.
async fn outage_of(away: Duration, settings: &[(&str, &str)], patience: Duration) -> Outage {
    let (_model, proxy) = model().await;
    proxy.set_up(false);
    let url = format!("{}/v1", proxy.url);
    let world = World::new(&[&[("MODEL__BASE_URL", url.as_str())], settings].concat()).await;
    let tasks: Vec<Task> = (0..TASKS).map(|_| thinking("fine")).collect();
    let poison: Vec<Task> = (0..6)
        .map(|_| {
            thinking("poison").with(|task| {
                task.spec.max_attempts = 1;
                task.spec.priority = 10;
            })
        })
        .collect();
    let all: Vec<Task> = poison.iter().chain(&tasks).cloned().collect();
    world.insert(&all).await;
    let runner = world.runner_of("r1", vec![agent("a", &[], 100)]).await;

    // The outage takes its course; there is nothing to wait for but the time.
    tokio::time::sleep(away).await;
    let counts = world.store.task_counts().await.expect("readable");
    assert_eq!(counts.get(&TaskStatus::Failed), None, "{counts:?}");
    assert_eq!(counts.get(&TaskStatus::Completed), None, "{counts:?}");
    assert_eq!(world.store.dead_letter_count().await.expect("readable"), 0);
    let ids: Vec<TaskId> = tasks.iter().map(|task| task.id).collect();
    let waiting = world.store.tasks_by_id(&ids).await.expect("readable");
    let postponed =
        waiting.iter().filter_map(|task| task.state.postponed.as_ref()).map(|postponed| postponed.times).sum();

    let back = Instant::now();
    proxy.set_up(true);
    while world.store.task_counts().await.expect("readable").get(&TaskStatus::Completed) != Some(&(TASKS as u64)) {
        assert!(back.elapsed() < patience, "{:?}", world.store.task_counts().await);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let recovered_after = back.elapsed();
    let done = world.store.tasks_by_id(&ids).await.expect("readable");
    assert_eq!(done.len(), TASKS);
    assert!(
        done.iter().all(|task| task.state.attempt == 0 && task.state.postponed.is_none()),
        "an attempt was charged"
    );
    for task in &poison {
        world.until(task.id, TaskStatus::Failed).await;
    }
    assert_eq!(world.store.dead_letter_count().await.expect("readable"), poison.len() as u64);
    runner.shutdown().await;
    Outage { postponed, recovered_after }
}

/// Ten minutes away, a hundred times faster: the circuit stays open for 300 ms instead of 30 s, the model is away for 6 s
/// instead of 600 s, so that it is tried about twenty times in either case. The last of them may come just before it is
/// back; what waits then is done within the circuit's time, the jitter of those that were tried (up to 9 s) and its work.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_due_tasks_survive_an_outage_uncharged_and_a_poison_goal_delays_none() {
    let settings = [("MODEL__TRIES", "1"), ("MODEL__CIRCUIT_OPEN_MS", "300")];
    outage_of(Duration::from_secs(6), &settings, Duration::from_mins(4)).await;
}

/// The long form, with the default settings. It prints its figures for `docs/reliability.md`:
/// `cargo test --test it -- --ignored --nocapture ten_minutes`
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes eleven minutes, on a machine that does nothing else"]
async fn ten_minutes_without_the_model_cost_a_thousand_tasks_nothing() {
    let outage = outage_of(Duration::from_mins(10), &[], Duration::from_mins(1)).await;
    println!(
        "{TASKS} tasks, model away for 600 s: {} runs postponed, all done {:.1} s after it was back",
        outage.postponed,
        outage.recovered_after.as_secs_f64()
    );
}

/// The run whose failure opens the circuit for an hour is told to be tried again then, and not after its own delay of seconds.
async fn tells_when_it_is_tried(world: &World, tasks: &[Task]) {
    let ids: Vec<TaskId> = tasks.iter().map(|task| task.id).collect();
    let stored = world.store.tasks_by_id(&ids).await.expect("readable");
    let held = |task: &Task| Some((task.id, task.state.postponed.as_ref()?.not_before?));
    let (id, not_before) = stored.iter().filter_map(held).max_by_key(|(_, at)| *at).expect("the circuit is open");
    assert!(not_before.millis_since(qron::clock::now()) > 3_000_000, "{not_before}");
    eventually("the history tells of the next try", async || {
        let events = world.store.events(Some(id), 1_000).await.map_err(|error| error.to_string())?;
        let told: Vec<String> = events.into_iter().map(|event| event.message).collect();
        told.iter()
            .any(|text| text.contains(&format!("next try {not_before}")))
            .then_some(())
            .ok_or(format!("{told:?}"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn work_with_a_plan_goes_on_and_nothing_else_is_claimed_while_the_model_is_away() {
    let (model, proxy) = model().await;
    proxy.set_up(false);
    let world = world(&proxy, &[("MODEL__CIRCUIT_OPEN_MS", "3600000")]).await;
    let runner = world.runner_of("r1", vec![agent("a", &[], 10)]).await;
    let first: Vec<Task> = (0..5).map(|_| thinking("fine")).collect();
    world.insert(&first).await;
    for task in &first {
        let waiting = until_postponed(&world, task.id).await;
        assert_eq!((waiting.state.status, waiting.state.attempt), (TaskStatus::Pending, 0));
        let cause = waiting.state.postponed.expect("it waits").cause;
        assert_eq!(cause.class, FailureClass::Unavailable);
        assert!(cause.message.contains("the model endpoint"), "the first failure is told: {cause}");
        let attempts = world.store.attempts(task.id).await.expect("readable");
        assert_eq!(attempts.len(), 0, "a run that did nothing leaves no record: {attempts:?}");
    }
    tells_when_it_is_tried(&world, &first).await;
    let (later, planned) = (thinking("fine"), sum("needs no model"));
    world.insert(&[later.clone(), planned.clone()]).await;
    world.until(planned.id, TaskStatus::Completed).await;
    let left = world.task(later.id).await;
    assert_eq!((left.state.status, left.state.earlier_runs()), (TaskStatus::Pending, 0), "it was never claimed");
    let (wait, next) = runner.waits_for_model(&left, qron::clock::now()).expect("it says why it waits");
    let text = wait.describe(next);
    assert!(text.starts_with("has waited for model \"gpt-5-mini\" since ") && text.contains(", next try "), "{text}");
    let presence = runner.loads();
    assert!(presence[0].model_away.is_some(), "{presence:?}");
    assert!(model.requests().is_empty());
    runner.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn done_steps_stay_done_when_the_model_goes_away_in_between() {
    let (_model, proxy) = model().await;
    proxy.set_up(false);
    let world = world(&proxy, &[]).await;
    let runner = world.runner_of("r1", vec![agent("a", &[], 10)]).await;
    let steps = json!([world.web.step("look", "open/once"), {"id": "s2", "instruction": "think about ${look}"}]);
    let task = planned("fine", &steps);
    world.insert(std::slice::from_ref(&task)).await;
    until_postponed(&world, task.id).await;
    proxy.set_up(true);
    let done = world.until(task.id, TaskStatus::Completed).await;
    assert_eq!((done.state.attempt, world.web.visits("open/once")), (0, 1));
    assert!(world.history(task.id).await.contains(&"postponed".to_owned()));
    runner.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_waited_longer_than_the_patience_fails_with_the_first_cause() {
    let (_model, proxy) = model().await;
    proxy.set_up(false);
    let world = world(&proxy, &[("MODEL__PATIENCE_S", "2")]).await;
    let runner = world.runner_of("r1", vec![agent("a", &[], 10)]).await;
    let task = thinking("fine");
    world.insert(std::slice::from_ref(&task)).await;
    let failed = world.until(task.id, TaskStatus::Failed).await;
    let letter = world.store.dead_letter(task.id).await.expect("readable").expect("a dead letter");
    assert_eq!(letter.failure.class, FailureClass::Unavailable);
    for part in ["model.patience_s of 2 s", "first cause: model \"gpt-5-mini\": "] {
        assert!(letter.failure.message.contains(part), "{}", letter.failure);
    }
    assert_eq!(failed.state.error, Some(letter.failure));
    runner.shutdown().await;
}

/// The server fails for these goals alone. Each attempt costs them two runs: the first failure may be an outage.
#[tokio::test(flavor = "multi_thread")]
async fn a_goal_that_the_model_always_fails_for_ends_in_the_dead_letters_and_the_others_complete() {
    let (_model, proxy) = model().await;
    let world = world(&proxy, &[]).await;
    let runner = world.runner_of("r1", vec![agent("a", &[], 10)]).await;
    let bad = ["crashing", "cutting"].map(|goal| thinking(goal).with(|task| task.spec.max_attempts = 2));
    world.insert(&bad).await;
    let mut fine = 0;
    let failed = eventually("they have failed", async || {
        let healthy = thinking("fine");
        world.insert(std::slice::from_ref(&healthy)).await;
        let done = world.until(healthy.id, TaskStatus::Completed).await;
        assert_eq!((done.state.attempt, done.state.earlier_runs()), (0, 0), "no healthy task notices");
        fine += 1;
        let tasks = world.store.tasks_by_id(&bad.each_ref().map(|task| task.id)).await.expect("readable");
        let states: Vec<_> = tasks.iter().map(|task| (task.state.status, task.state.attempt)).collect();
        if tasks.iter().all(|task| task.state.status == TaskStatus::Failed) {
            Ok(tasks)
        } else {
            Err(format!("{states:?}"))
        }
    })
    .await;
    for task in failed {
        assert_eq!(task.state.attempt, 2, "{}", task.spec.goal);
        let letter = world.store.dead_letter(task.id).await.expect("readable").expect("a dead letter");
        assert_eq!(letter.failure.class, FailureClass::Transient, "{}", letter.failure);
    }
    assert_eq!(world.store.dead_letter_count().await.expect("readable"), 2, "none of {fine} others");
    runner.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_without_a_model_leaves_tasks_that_need_one_to_others() {
    let (_model, proxy) = model().await;
    let with = world(&proxy, &[]).await;
    let mut without = with.config.clone();
    without.model.base_url = String::new();
    let (needy, planned) = (thinking("fine"), sum("needs no model"));
    with.insert(&[needy.clone(), planned.clone()]).await;
    let alone = with.start("none", vec![agent("a", &[], 10)], &without).await;
    with.until(planned.id, TaskStatus::Completed).await;
    eventually("the replica says how many wait", async || match alone.waiting_for_model().await {
        1 => Ok(()),
        other => Err(format!("{other}")),
    })
    .await;
    let left = with.task(needy.id).await;
    assert_eq!((left.state.status, left.state.earlier_runs()), (TaskStatus::Pending, 0), "it is not touched");
    let (wait, next) = alone.waits_for_model(&left, qron::clock::now()).expect("it says why it waits");
    assert!(wait.describe(next).contains("no model is configured"), "{}", wait.describe(next));
    let other = with.runner_of("one", vec![agent("a", &[], 10)]).await;
    assert_eq!(with.until(needy.id, TaskStatus::Completed).await.state.attempt, 0);
    alone.shutdown().await;
    other.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_that_an_earlier_process_met_is_not_told_as_one_of_now() {
    let (_model, proxy) = model().await;
    let with = world(&proxy, &[]).await;
    let mut without = with.config.clone();
    without.model.base_url = String::new();
    let hour_ago = qron::clock::now().plus_millis(-3_600_000);
    let met_at = |last: Timestamp| {
        let cause = Failure::unavailable("connection refused");
        thinking("fine").with(|task| {
            task.state.postponed =
                Some(Postponement { model: "old".into(), since: hour_ago, times: 3, last, not_before: None, cause });
        })
    };
    let old = met_at(hour_ago);
    with.insert(std::slice::from_ref(&old)).await;
    let none = with.start("none", vec![agent("a", &[], 10)], &without).await;
    let now = qron::clock::now();
    let (wait, next) = none.waits_for_model(&with.task(old.id).await, now).expect("it says why it waits");
    let told = wait.describe(next);
    assert!(told.contains("no model is configured") && !told.contains("refused") && next.is_none(), "{told}");
    // Another replica of the store has met it since.
    let told = none.waits_for_model(&met_at(now), now).map(|(wait, next)| wait.describe(next)).expect("an outage");
    assert!(told.contains("\"old\"") && told.contains("refused"), "{told}");
    none.shutdown().await;

    let one = with.runner_of("one", vec![agent("a", &[], 10)]).await;
    with.until(old.id, TaskStatus::Completed).await;
    assert!(one.waits_for_model(&met_at(hour_ago), qron::clock::now()).is_none(), "its model answers");
    one.shutdown().await;
}

/// A task that an older version inserted is not marked, and is claimed once to find out.
#[tokio::test(flavor = "multi_thread")]
async fn a_task_without_the_mark_gets_it_when_it_is_put_off() {
    let world = World::new(&[("MODEL__PATIENCE_S", "1")]).await;
    let task = thinking("fine");
    world.insert(std::slice::from_ref(&task)).await;
    let client = Qdrant::from_url(&support::qdrant_url()).skip_compatibility_check().build().expect("a client");
    let points = vec![PointId::from(task.id.to_string())];
    let unmarked =
        DeletePayloadPointsBuilder::new(format!("{}tasks", world.config.store.prefix), vec!["needs_model".to_owned()])
            .points_selector(points)
            .wait(true);
    client.delete_payload(unmarked).await.expect("written");
    let runner = world.runner_of("none", vec![agent("a", &[], 10)]).await;
    let waiting = until_postponed(&world, task.id).await;
    assert_eq!((waiting.state.status, waiting.state.attempt), (TaskStatus::Pending, 0));
    let (at, none) = (waiting.spec.run_at, AgentSet::Named(Vec::new()));
    assert_eq!(world.store.waiting_for_model(at, at, &AgentSet::All, &none).await.expect("readable"), 1);
    runner.shutdown().await;
}
