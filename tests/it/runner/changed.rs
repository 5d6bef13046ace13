//! Points that other Qdrant clients change, copy or write again after they were admitted: each runs, or is in the dead
//! letters with the reason.

use qdrant_client::qdrant::{
    GetPointsBuilder, NamedVectors, PointId, PointStruct, PointsIdsList, SetPayloadPointsBuilder, UpsertPointsBuilder,
};
use qdrant_client::{Payload, Qdrant};
use qron::clock;
use qron::domain::attempt::AttemptStatus;
use qron::domain::id::TaskId;
use qron::domain::task::{Task, TaskStatus};
use qron::llm::scripted::{Scenario, Script, ScriptedModel};
use serde_json::{Map, Value, json};

use crate::support::eventually;
use crate::support::world::{EVERY_SECOND, World, sum};
use crate::support::{self, proxy::Proxy};

/// A year, in milliseconds.
const YEAR_MS: i64 = 365 * 86_400_000;

pub(crate) struct Other {
    client: Qdrant,
    collection: String,
}

impl Other {
    pub(crate) fn of(world: &World) -> Self {
        let client = Qdrant::from_url(&support::qdrant_url()).skip_compatibility_check().build().expect("a client");
        Self { client, collection: format!("{}tasks", world.config.store.prefix) }
    }

    pub(crate) async fn upsert(&self, id: TaskId, payload: Value) {
        self.upsert_all(vec![(id, payload)]).await;
    }

    /// Writes points in one request.
    pub(crate) async fn upsert_all(&self, points: Vec<(TaskId, Value)>) {
        let point = |(id, payload): (TaskId, Value)| {
            let payload = Payload::try_from(payload).expect("an object");
            PointStruct::new(point_id(id), NamedVectors::default(), payload)
        };
        let points: Vec<PointStruct> = points.into_iter().map(point).collect();
        let request = UpsertPointsBuilder::new(&self.collection, points).wait(true);
        self.client.upsert_points(request).await.expect("written");
    }

    pub(crate) async fn set(&self, id: TaskId, fields: Value) {
        let payload = Payload::try_from(fields).expect("an object");
        let request = SetPayloadPointsBuilder::new(&self.collection, payload)
            .points_selector(PointsIdsList { ids: vec![point_id(id)] })
            .wait(true);
        self.client.set_payload(request).await.expect("changed");
    }

    pub(crate) async fn payload(&self, id: TaskId) -> Map<String, Value> {
        let request = GetPointsBuilder::new(&self.collection, vec![point_id(id)]).with_payload(true);
        let point = self.client.get_points(request).await.expect("readable").result.remove(0);
        point.payload.into_iter().map(|(key, value)| (key, value.into_json())).collect()
    }
}

fn point_id(id: TaskId) -> PointId {
    match id {
        TaskId::Number(number) => number.into(),
        TaskId::Uuid(uuid) => uuid.into(),
    }
}

/// A step that fetches `path` in a way that must not be repeated.
fn effect(world: &World, id: &str, path: &str) -> Value {
    let mut step = world.web.step(id, path);
    step["arguments"]["method"] = json!("POST");
    step
}

/// Waits until a task completed that cannot be read for a while.
async fn until_completed(world: &World, id: TaskId) {
    eventually(&format!("{id} is completed"), async || {
        let found = world.store.find(id).await.expect("readable").expect("there");
        let done = found.task.state.status == TaskStatus::Completed && found.unreadable.is_none();
        if done { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
}

async fn until_admitted(world: &World, id: TaskId, times: usize) {
    eventually(&format!("{id} is admitted {times} times"), async || {
        let history = world.history(id).await;
        let seen = history.iter().filter(|kind| *kind == "admitted").count();
        if seen >= times { Ok(()) } else { Err(format!("{history:?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pending_task_whose_fields_another_client_changed_runs() {
    let world = World::new(&[("SCHEDULER__SWEEP", EVERY_SECOND)]).await;
    let other = Other::of(&world);
    let now = clock::now();
    let changes = [
        json!({"run_at": "2026-01-01T09:00:00+02:00"}),
        json!({"run_at": "2026-01-01 09:00:00"}),
        json!({"run_at": now.as_millis() / 1_000 - 60}),
        json!({"run_at": now.as_millis() - 60_000}),
        json!({"run_at": 1.767e12 + 0.5}),
        json!({"run_at": (now.as_millis() - 60_000).to_string()}),
        json!({"status": "PENDING", "run_at": now.as_millis() - 1}),
        json!({"status": null, "run_at": now.as_millis() - 1}),
        json!({"rank": "first", "run_at": now.as_millis() - 1}),
    ];
    let tasks: Vec<Task> =
        changes.iter().map(|_| sum("sometime").with(|task| task.spec.run_at = now.plus_millis(YEAR_MS))).collect();
    world.insert(&tasks).await;
    for (task, change) in tasks.iter().zip(changes) {
        other.set(task.id, change).await;
    }
    let runner = world.runner("r1").await;
    for task in &tasks {
        until_completed(&world, task.id).await;
    }
    runner.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_client_made_unreadable_is_in_the_dead_letters_with_the_reason() {
    let world = World::new(&[("SCHEDULER__SWEEP", EVERY_SECOND)]).await;
    let other = Other::of(&world);
    let later = sum("later").with(|task| task.spec.run_at = clock::now().plus_millis(YEAR_MS));
    let first = later.clone();
    let waiting = || {
        sum("waits").with(|task| {
            task.state.status = TaskStatus::Waiting;
            task.spec.depends_on = vec![later.id];
        })
    };
    let pending = || sum("sometime").with(|task| task.spec.run_at = later.spec.run_at);
    let cases = [
        (waiting(), json!({"timeout_s": "soon"}), "timeout_s"),
        (waiting(), json!({"plan": 7}), "plan"),
        (waiting(), json!({"run_at": "the day after tomorrow"}), "run_at"),
        (pending(), json!({"run_at": "the day after tomorrow"}), "run_at"),
        (pending(), json!({"run_at": [1, 2]}), "run_at"),
        (pending(), json!({"goal": 7, "run_at": 5}), "goal"),
        (
            pending().with(|task| task.state.status = TaskStatus::AwaitingApproval),
            json!({"context": "text", "approvals": 3}),
            "context",
        ),
        (pending(), json!({"cron": "0 9 * * *", "rank": null}), "qron schedules add"),
    ];
    world.insert(&[first]).await;
    let tasks: Vec<Task> = cases.iter().map(|(task, ..)| task.clone()).collect();
    world.insert(&tasks).await;
    for (task, change, _) in &cases {
        other.set(task.id, change.clone()).await;
    }
    let runner = world.runner("r1").await;
    for (task, change, told) in &cases {
        let letter = eventually(&format!("{change} is in the dead letters"), async || {
            world.store.dead_letter(task.id).await.expect("readable").ok_or("no letter".to_owned())
        })
        .await;
        assert!(letter.failure.message.contains(told), "{change}: {}", letter.failure);
    }
    runner.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finished_task_that_is_made_pending_runs_again_and_keeps_its_history() {
    let world = World::new(&[("SCHEDULER__SWEEP", EVERY_SECOND)]).await;
    let other = Other::of(&world);
    let task = sum("again");
    let runner = world.runner("r1").await;
    world.insert(std::slice::from_ref(&task)).await;
    world.until(task.id, TaskStatus::Completed).await;
    let copy = TaskId::Number(77);
    let mut copied = other.payload(task.id).await;
    copied.insert("status".to_owned(), json!("pending"));
    other.upsert(copy, Value::Object(copied)).await;
    other.set(task.id, json!({"status": "pending"})).await;
    until_admitted(&world, task.id, 1).await;
    world.until(task.id, TaskStatus::Completed).await;
    let attempts = world.store.attempts(task.id).await.expect("readable");
    let ended: Vec<AttemptStatus> = attempts.iter().map(|attempt| attempt.status).collect();
    assert_eq!(ended, [AttemptStatus::Completed; 2]);
    assert!(attempts.iter().all(|attempt| attempt.result.is_some()), "{attempts:?}");
    let copied = world.until(copy, TaskStatus::Completed).await;
    assert!(copied.state.result.expect("a result").to_string().contains("42"));
    assert_eq!(world.store.attempts(copy).await.expect("readable").len(), 1);
    runner.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finished_task_that_is_written_again_runs_again_and_keeps_its_history() {
    let world = World::new(&[("SCHEDULER__SWEEP", EVERY_SECOND)]).await;
    let other = Other::of(&world);
    let id = TaskId::Number(5);
    let point = json!({"goal": "get a page", "plan": {"steps": [world.web.step("s1", "open/page")]}});
    let runner = world.runner("r1").await;
    other.upsert(id, point.clone()).await;
    world.until(id, TaskStatus::Completed).await;
    other.upsert(id, point.clone()).await;
    until_admitted(&world, id, 2).await;
    world.until(id, TaskStatus::Completed).await;
    let attempts = world.store.attempts(id).await.expect("readable");
    let ended: Vec<(u32, AttemptStatus)> = attempts.iter().map(|attempt| (attempt.number, attempt.status)).collect();
    assert_eq!(ended, [(1, AttemptStatus::Completed), (2, AttemptStatus::Completed)]);
    assert_eq!(world.web.visits("open/page"), 2);
    runner.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_is_written_again_while_it_runs_makes_its_effects_once() {
    let world = World::new(&[("SCHEDULER__SWEEP", EVERY_SECOND)]).await;
    let other = Other::of(&world);
    let steps = |name: &str| {
        let mut second = effect(&world, "s2", &format!("open/{name}"));
        second["depends_on"] = json!(["s1"]);
        json!({"steps": [effect(&world, "s1", &format!("held/{name}")), second]})
    };
    let runner = world.runner("r1").await;
    // Upserted again, and only set back to pending.
    for (id, name) in [(1, "upserted"), (2, "set-back")] {
        other.upsert(TaskId::Number(id), json!({"goal": "effects", "plan": steps(name)})).await;
        world.web.until_visited(&format!("held/{name}"), 1).await;
    }
    other.upsert(TaskId::Number(1), json!({"goal": "effects", "plan": steps("upserted")})).await;
    other.set(TaskId::Number(2), json!({"status": "pending"})).await;
    for (id, name) in [(1, "upserted"), (2, "set-back")] {
        until_admitted(&world, TaskId::Number(id), 2).await;
        world.web.release(name);
        world.until(TaskId::Number(id), TaskStatus::Completed).await;
        assert_eq!(world.web.visits(&format!("held/{name}")), 1, "{name}");
        assert_eq!(world.web.visits(&format!("open/{name}")), 1, "{name}");
        let attempts = world.store.attempts(TaskId::Number(id)).await.expect("readable");
        assert_eq!(attempts.len(), 1, "{attempts:?}");
    }
    runner.shutdown().await;
}

/// The first call is for the plan, for a step of a plan that was given, and for the answer after all steps.
#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_is_written_again_while_its_first_call_to_the_model_hangs_runs_once() {
    let script = Script::new(vec![
        Scenario::on("").purpose("plan").json(json!({"analysis": "clear", "steps": [
            {"id": "s1", "tool": "calculate", "arguments": {"expression": "19 + 23"}}
        ]})),
        Scenario::on("").purpose("act").text("42"),
        Scenario::on("").purpose("answer").json(json!({"success": true, "answer": "42", "reason": "seen"})),
    ]);
    let model = ScriptedModel::start(script).await.expect("a model");
    let proxy = Proxy::to(model.base_url().trim_end_matches("/v1")).await;
    let url = format!("{}/v1", proxy.url);
    let world = World::new(&[("SCHEDULER__SWEEP", EVERY_SECOND), ("MODEL__BASE_URL", &url)]).await;
    let other = Other::of(&world);
    let points = [
        json!({"goal": "plan it yourself"}),
        json!({"goal": "think about it", "plan": {"steps": [{"id": "s1", "instruction": "think"}]}}),
    ];
    proxy.part(true);
    let runner = world.runner("r1").await;
    for (number, point) in (1..).zip(&points) {
        other.upsert(TaskId::Number(number), point.clone()).await;
    }
    for (number, point) in (1..).zip(&points) {
        let id = TaskId::Number(number);
        eventually("the run is known", async || {
            let attempts = world.store.attempts(id).await.expect("readable");
            let runs = attempts.len() == 1 && attempts[0].status == AttemptStatus::Running;
            if runs { Ok(()) } else { Err(format!("{attempts:?}")) }
        })
        .await;
        other.upsert(id, point.clone()).await;
        until_admitted(&world, id, 2).await;
    }
    assert_eq!(model.requests().len(), 0, "the first calls hang");
    proxy.part(false);
    for number in (1..).take(points.len()) {
        let id = TaskId::Number(number);
        let done = world.until(id, TaskStatus::Completed).await;
        assert_eq!(done.state.earlier_runs(), 0);
        let attempts = world.store.attempts(id).await.expect("readable");
        let ended: Vec<AttemptStatus> = attempts.iter().map(|attempt| attempt.status).collect();
        assert_eq!(ended, [AttemptStatus::Completed], "{attempts:?}");
        eventually("one run and one outcome are told", async || {
            let history = world.history(id).await;
            let count = |wanted: &str| history.iter().filter(|kind| *kind == wanted).count();
            if (count("claimed"), count("completed")) == (1, 1) { Ok(()) } else { Err(format!("{history:?}")) }
        })
        .await;
    }
    runner.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_task_was_written_anew_with_another_goal_stops_before_its_next_effect() {
    let world = World::new(&[("SCHEDULER__SWEEP", EVERY_SECOND)]).await;
    let other = Other::of(&world);
    let mut second = effect(&world, "s2", "open/effect");
    second["depends_on"] = json!(["s1"]);
    let steps = json!({"steps": [world.web.step("s1", "held/first"), second]});
    let id = TaskId::Number(1);
    let runner = world.runner("r1").await;
    other.upsert(id, json!({"goal": "the first goal", "plan": steps})).await;
    world.web.until_visited("held/first", 1).await;
    other.upsert(id, json!({"goal": "the second goal", "plan": steps})).await;
    // The second run has begun at the beginning.
    world.web.until_visited("held/first", 2).await;
    world.web.release("first");
    let done = world.until(id, TaskStatus::Completed).await;
    assert_eq!(done.spec.goal, "the second goal");
    eventually("the first run is lost", async || {
        let attempts = world.store.attempts(id).await.expect("readable");
        let ended: Vec<AttemptStatus> = attempts.iter().map(|attempt| attempt.status).collect();
        if ended == [AttemptStatus::Lost, AttemptStatus::Completed] { Ok(()) } else { Err(format!("{ended:?}")) }
    })
    .await;
    assert_eq!(world.web.visits("open/effect"), 1);
    runner.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn near_misses_of_fields_are_told_and_hold_nothing_up() {
    let world = World::new(&[("SCHEDULER__SWEEP", EVERY_SECOND)]).await;
    let other = Other::of(&world);
    let plan = json!({"steps": [{"id": "s1", "tool": "calculate", "arguments": {"expression": "1+1"}}]});
    let cases =
        [("run_att", "run_at"), ("Priorty", "priority"), ("max-attempt", "max_attempts"), ("contxt", "context")];
    for (number, (field, _)) in (1..).zip(cases) {
        let mut point = json!({"goal": "tell me", "plan": plan});
        point[field] = json!("2099-01-01T00:00:00Z");
        other.upsert(TaskId::Number(number), point).await;
    }
    let runner = world.runner("r1").await;
    for (number, (field, meant)) in (1..).zip(cases) {
        let id = TaskId::Number(number);
        world.until(id, TaskStatus::Completed).await;
        eventually(&format!("{field} is told"), async || {
            let events = world.store.events(Some(id), 100).await.expect("readable");
            let told = events.iter().find(|event| event.kind == "unknown_field").ok_or(format!("{events:?}"))?;
            let names = told.message.contains(field) && told.message.contains(meant);
            if names { Ok(()) } else { Err(told.message.clone()) }
        })
        .await;
    }
    runner.shutdown().await;
}
