//! Two versions side by side: what a newer one writes, in fields, kinds and words that this one does not know, is neither
//! changed nor lost, and holds up nothing.

use std::time::Duration;

use qdrant_client::qdrant::{
    GetPointsBuilder, NamedVectors, PointId, PointStruct, SetPayloadPointsBuilder, UpsertPointsBuilder,
};
use qdrant_client::{Payload, Qdrant};
use qron::clock;
use qron::domain::approval::Ruling;
use qron::domain::event::Level;
use qron::domain::id::{TaskId, derived};
use qron::domain::pause::Pause;
use qron::domain::schedule::{Definition, Schedule};
use qron::domain::task::{Claim, Task, TaskEvent, TaskStatus};
use qron::domain::unique::UniqueFor;
use qron::store::{Inserted, StoreError, TaskFilter};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::support;
use crate::support::eventually;
use crate::support::world::{EVERY_SECOND, World, agent, planned, sum};

const SHORT_LEASE: [(&str, &str); 2] = [("WORKER__LEASE_MS", "1500"), ("WORKER__HEARTBEAT_MS", "300")];

/// A task that is claimed by a replica without a record: when it has been taken back, whatever else is found in the same way
/// has been found, too.
async fn stray(world: &World) -> Task {
    let task = sum("claimed by a replica without a record");
    world.store.insert(std::slice::from_ref(&task)).await.expect("inserted");
    let claim = Claim { token: "token of nobody".into(), owner: "nobody".into() };
    assert_eq!(world.store.claim(&[task.id], &claim, clock::now()).await.expect("claimed").len(), 1);
    task
}

/// A newer qron, as far as it writes.
struct Newer {
    client: Qdrant,
    prefix: String,
}

impl Newer {
    fn of(world: &World) -> Self {
        let client = Qdrant::from_url(&support::qdrant_url()).skip_compatibility_check().build().expect("a client");
        Self { client, prefix: world.config.store.prefix.clone() }
    }

    async fn write(&self, collection: &str, id: impl Into<PointId>, payload: Value) {
        let payload = Payload::try_from(payload).expect("an object");
        let point = PointStruct::new(id.into(), NamedVectors::default(), payload);
        let request = UpsertPointsBuilder::new(format!("{}{collection}", self.prefix), vec![point]).wait(true);
        self.client.upsert_points(request).await.expect("written");
    }

    async fn change(&self, collection: &str, id: impl Into<PointId>, payload: Value) {
        let payload = Payload::try_from(payload).expect("an object");
        let request = SetPayloadPointsBuilder::new(format!("{}{collection}", self.prefix), payload)
            .points_selector(vec![id.into()])
            .wait(true);
        self.client.set_payload(request).await.expect("written");
    }

    async fn read(&self, collection: &str, id: impl Into<PointId>) -> Map<String, Value> {
        let request = GetPointsBuilder::new(format!("{}{collection}", self.prefix), vec![id.into()]).with_payload(true);
        let point = self.client.get_points(request).await.expect("readable").result.pop().expect("it is there");
        point.payload.into_iter().map(|(key, value)| (key, value.into_json())).collect()
    }
}

fn uuid(task: &Task) -> Uuid {
    match task.id {
        TaskId::Uuid(id) => id,
        TaskId::Number(_) => panic!("a fresh id"),
    }
}

/// Fields that this version does not know.
fn unknown() -> Map<String, Value> {
    let fields = json!({
        "mood": "curious", "shards": [1, 2.5, null, {"deep": ["x"]}], "policy": {"kind": "v2", "weights": {}, "on": true},
    });
    fields.as_object().cloned().expect("an object")
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_fields_of_a_task_stay_through_its_whole_life() {
    let world = World::new(&[]).await;
    let newer = Newer::of(&world);
    let step = world.web.step("s1", "failing/page");
    let task = planned("fetch a page", &json!([step])).with(|task| {
        task.state.extra = unknown();
        task.spec.max_attempts = 2;
    });
    let untouched = async |after: &str| {
        let payload = newer.read("tasks", uuid(&task)).await;
        for (field, value) in unknown() {
            assert_eq!(payload.get(&field), Some(&value), "{field} after {after}");
        }
    };
    world.store.insert(std::slice::from_ref(&task)).await.expect("inserted");
    untouched("the insert").await;
    let claim = Claim { token: "t".into(), owner: "dead".into() };
    let now = clock::now();
    assert_eq!(world.store.claim(&[task.id], &claim, now).await.expect("claimed").len(), 1);
    untouched("a claim").await;
    assert_eq!(world.store.rescue("dead", now).await.expect("rescued").returned, 1);
    untouched("a rescue").await;

    let runner = world.runner("r1").await;
    world.until(task.id, TaskStatus::Failed).await;
    eventually("it is told that it was tried again", async || match world.history(task.id).await {
        history if history.contains(&"retry_scheduled".to_owned()) => Ok(()),
        history => Err(format!("{history:?}")),
    })
    .await;
    untouched("a retry and the failure").await;
    let letter = world.store.dead_letter(task.id).await.expect("readable").expect("a dead letter");
    for (field, value) in unknown() {
        assert_eq!(letter.payload.get(&field), Some(&value), "{field} in the dead letter");
    }
    runner.shutdown().await;

    for event in [
        TaskEvent::Requeued,
        TaskEvent::Reprioritised(7),
        TaskEvent::Snoozed(now),
        TaskEvent::CancelRequested,
        TaskEvent::Requeued,
    ] {
        let known = world.task(task.id).await;
        assert_eq!(known.state.extra, unknown(), "before {}", event.name());
        world.store.transition(&known, &event, clock::now()).await.expect("legal");
        untouched(event.name()).await;
    }
    world.web.release("page");
    let runner = world.runner("r2").await;
    world.until(task.id, TaskStatus::Completed).await;
    untouched("the completion").await;
    runner.shutdown().await;
}

/// Whoever decides one question writes all of them.
#[tokio::test(flavor = "multi_thread")]
async fn unknown_fields_of_questions_stay_when_one_is_decided() {
    let world = World::new(&[]).await;
    let newer = Newer::of(&world);
    let now = clock::now();
    let task = sum("ask").with(|task| task.state.status = TaskStatus::AwaitingApproval);
    world.store.insert(std::slice::from_ref(&task)).await.expect("inserted");
    let call = json!({"kind": "call", "id": "s#1", "step": "s", "tool": "pay", "arguments": "{}", "risk": {"of": [1]}});
    let mut questions = json!([
        {"hash": "one", "subject": call, "asked_at": now, "quorum": 2,
            "decision": {"verdict": "approved", "at": now, "channel": "phone"}},
        {"hash": "two", "subject": call, "asked_at": now, "shown_to": ["ada"]},
    ]);
    newer.change("tasks", uuid(&task), json!({"approvals": questions})).await;
    let known = world.task(task.id).await;
    let ruling = Ruling { hashes: vec!["two".into()], by: None, note: None };
    let decided = world.store.transition(&known, &TaskEvent::Approved(ruling), clock::now()).await.expect("legal");
    questions[1]["decision"] = json!({"verdict": "approved", "at": decided.state.updated_at});
    assert_eq!(newer.read("tasks", uuid(&task)).await["approvals"], questions);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_in_a_status_that_only_a_newer_version_knows_is_left_to_it() {
    let world = World::new(&[SHORT_LEASE[0], SHORT_LEASE[1], ("SCHEDULER__SWEEP", EVERY_SECOND)]).await;
    let newer = Newer::of(&world);
    let keyed = |goal: &str| {
        sum(goal).with(|task| {
            task.spec.unique_key = Some("k".into());
            task.spec.unique_for = UniqueFor::Alive;
        })
    };
    let held = keyed("held by a newer version");
    world.store.insert(std::slice::from_ref(&held)).await.expect("inserted");
    let newly =
        json!({"status": "paused_by_v2", "owner": "gone", "claim": "c", "paused_until": "v2 knows", "crashes": 2});
    newer.change("tasks", uuid(&held), newly).await;
    let before = newer.read("tasks", uuid(&held)).await;
    let stray = stray(&world).await;

    let runner = world.runner("r1").await;
    let mut waiting = sum("after it");
    (waiting.state.status, waiting.spec.depends_on) = (TaskStatus::Waiting, vec![held.id]);
    let plain = sum("beside it");
    world.insert(&[waiting.clone(), plain.clone()]).await;
    world.until(plain.id, TaskStatus::Completed).await;
    assert_eq!(world.until(stray.id, TaskStatus::Completed).await.state.crashes, 1);

    assert_eq!(newer.read("tasks", uuid(&held)).await, before, "nothing was written into it");
    assert_eq!(world.task(waiting.id).await.state.status, TaskStatus::Waiting, "it has not ended");
    let told = world.store.insert(&[keyed("one more")]).await.expect("an answer");
    assert_eq!(told, [Inserted { id: held.id, created: false }], "it keeps its key");
    let error = world.store.task(held.id).await.expect_err("not readable here");
    assert!(matches!(error, StoreError::Corrupt { .. }) && error.to_string().contains("paused_by_v2"), "{error}");
    let listed = world.store.tasks(&TaskFilter::default(), 100, None).await.expect("a listing").items;
    assert_eq!(listed.len(), 3, "a listing shows what it can");

    // The newer version lets it go on.
    let back = json!({"status": "pending", "owner": null, "claim": null, "crashes": 0});
    newer.change("tasks", uuid(&held), back).await;
    world.until(waiting.id, TaskStatus::Completed).await;
    runner.shutdown().await;
    let after = newer.read("tasks", uuid(&held)).await;
    assert_eq!((&after["status"], &after["paused_until"]), (&json!("completed"), &json!("v2 knows")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_cannot_be_read_whole_is_not_run_by_half() {
    let world = World::new(&[("SCHEDULER__SWEEP", EVERY_SECOND)]).await;
    let newer = Newer::of(&world);
    let task = sum("with a step of a new kind");
    let steps = json!([{"id": "s1", "tool": "calculate", "arguments": {"expression": "1"}, "only_if": "${weather}"}]);
    world.store.insert(std::slice::from_ref(&task)).await.expect("inserted");
    newer.change("tasks", uuid(&task), json!({"plan": {"steps": steps}})).await;
    let runner = world.runner("r1").await;
    eventually("it is set aside", async || {
        let letter = world.store.dead_letter(task.id).await.map_err(|error| error.to_string())?;
        let letter = letter.ok_or("no dead letter")?;
        assert!(letter.failure.message.contains("only_if"), "{}", letter.failure);
        assert_eq!(letter.payload["plan"]["steps"], steps);
        Ok(())
    })
    .await;
    runner.shutdown().await;
    assert_eq!(newer.read("tasks", uuid(&task)).await["plan"]["steps"], steps, "nothing is lost");
}

fn every_second() -> Value {
    json!({
        "spec": {"every_ms": 1000}, "zone": "UTC", "overlap": "allow",
        "task": {"goal": "calculate", "plan": {"steps": [
            {"id": "it", "tool": "calculate", "arguments": {"expression": "19 + 23"}},
        ]}},
    })
}

fn with(mut object: Value, fields: Value) -> Value {
    let (Value::Object(object), Value::Object(fields)) = (&mut object, fields) else { panic!("objects") };
    object.extend(fields);
    Value::Object(std::mem::take(object))
}

#[tokio::test(flavor = "multi_thread")]
async fn schedules_of_a_newer_version_are_left_to_it_and_those_with_more_fields_fire() {
    let world = World::new(&[]).await;
    let newer = Newer::of(&world);
    let now = clock::now();
    let base = |id: &str| {
        let definition: Definition = serde_json::from_value(every_second()).expect("a definition");
        let schedule = Schedule { version: "v".into(), ..Schedule::new(id, definition, now.plus_millis(-5_000)) };
        serde_json::to_value(schedule).expect("an object")
    };
    let mut strange = Vec::new();
    for (id, fields) in [
        ("lunar", json!({"spec": {"lunar": "full moon"}})),
        ("merging", json!({"overlap": "merge"})),
        ("richer", json!({"task": {"goal": "calculate", "retry_policy": {"kind": "v2"}}})),
        ("kind", json!({"kind": "calendar", "zone": {"place": "Berlin"}})),
        ("martian", json!({"zone": "Mars/Olympus_Mons"})),
    ] {
        let point = derived(&["schedule", id]);
        newer.write("schedules", point, with(base(id), fields)).await;
        strange.push((point, newer.read("schedules", point).await));
    }
    let known = derived(&["schedule", "known"]);
    let queue = json!([]);
    let more = json!({"owner": {"team": "v2"}, "kind": "plain", "queue": queue, "spec": {"every_ms": 1000}});
    newer.write("schedules", known, with(base("known"), more)).await;

    let runner = world.runner("r1").await;
    eventually("it has fired and moved on", async || {
        let schedule = world.store.schedule("known").await.map_err(|error| error.to_string())?.ok_or("gone")?;
        if schedule.progress.fired >= 3 { Ok(()) } else { Err(format!("{:?}", schedule.progress)) }
    })
    .await;
    let (desk, gone) = (runner.schedules(), "lunar");
    desk.pause("known", clock::now()).await.expect("paused");
    assert!(desk.pause(gone, clock::now()).await.is_err(), "what cannot be read is not rewritten");
    let after = newer.read("schedules", known).await;
    assert_eq!((&after["owner"], &after["kind"]), (&json!({"team": "v2"}), &json!("plain")));
    for (point, before) in &strange {
        assert_eq!(newer.read("schedules", *point).await, *before);
    }
    let (listed, unreadable) = world.store.schedules_with_unreadable(100, None).await.expect("a listing");
    assert_eq!(listed.items.len(), 1, "a listing shows what it can");
    let mut ids: Vec<&str> = unreadable.iter().map(|one| one.id.as_str()).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["kind", "lunar", "martian", "merging", "richer"], "and what it cannot");
    let martian = unreadable.iter().find(|one| one.id == "martian").expect("it is told");
    assert!(martian.reason.contains("\"Mars/Olympus_Mons\" is no time zone"), "{martian:?}");
    runner.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_firing_that_a_newer_version_holds_is_not_made_up_for() {
    let world = World::new(&[]).await;
    let newer = Newer::of(&world);
    let now = clock::now();
    let minutely = with(every_second(), json!({"spec": {"every_ms": 60_000}}));
    let definition: Definition = serde_json::from_value(minutely).expect("a definition");
    let began = now.plus_millis(-150_000);
    let schedule = Schedule::new("s", definition, began);
    world.store.insert_schedule(&schedule).await.expect("stored").expect("new");
    let runner = world.runner("r1").await;
    // Of the two that were missed, the latest runs and the other one is recorded as skipped.
    world.until_count(TaskStatus::Completed, 1).await;
    world.until_count(TaskStatus::Skipped, 1).await;
    let desk = runner.schedules();
    let range = (began.plus_millis(1), clock::now());
    let open = async || desk.backfill("s", range, true, clock::now()).await.expect("an answer").inserted;
    assert_eq!(open().await, 1);
    let filter = TaskFilter { statuses: vec![TaskStatus::Skipped], ..TaskFilter::default() };
    let skipped = world.store.tasks(&filter, 10, None).await.expect("a listing").items.remove(0);
    newer.change("tasks", uuid(&skipped), json!({"status": "revived_by_v2"})).await;
    assert_eq!(open().await, 0, "it is there");
    runner.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_says_more_than_is_known_lives_while_its_heart_beats() {
    let world = World::new(&[SHORT_LEASE[0], SHORT_LEASE[1], ("SCHEDULER__SWEEP", EVERY_SECOND)]).await;
    let newer = Newer::of(&world);
    let task = sum("run by a newer version");
    world.store.insert(std::slice::from_ref(&task)).await.expect("inserted");
    let now = clock::now();
    let claim = Claim { token: "t".into(), owner: "v2".into() };
    world.store.claim(&[task.id], &claim, now).await.expect("claimed");
    let beat = async |id: &str, heartbeat: u64| {
        let record = json!({
            "id": id, "kind": "edge", "host": {"name": "h", "rack": 7}, "version": "9.0.0", "started_at": now,
            "updated_at": clock::now(), "heartbeat": heartbeat, "draining": "soon", "agents": [{"group": "all"}],
            "cpu": 0.5, "memory_bytes": 1,
        });
        newer.write("replicas", derived(&["replica", id]), record).await;
    };
    // What would be taken for dead: one without a record, and one whose record stands still.
    let stray = stray(&world).await;
    let stopped = sum("run by a newer version that died");
    world.store.insert(std::slice::from_ref(&stopped)).await.expect("inserted");
    let dead = Claim { token: "u".into(), owner: "v2 that died".into() };
    assert_eq!(world.store.claim(&[stopped.id], &dead, clock::now()).await.expect("claimed").len(), 1);
    beat(&dead.owner, 1).await;
    let mut heartbeat = 1;
    beat("v2", heartbeat).await;
    let runner = world.runner_of("r1", vec![agent("generalist", &[], 4)]).await;
    let rescued = async {
        for control in [&stray, &stopped] {
            assert_eq!(world.until(control.id, TaskStatus::Completed).await.state.crashes, 1);
        }
    };
    let beating = async {
        loop {
            heartbeat += 1;
            beat("v2", heartbeat).await;
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    };
    tokio::select! {
        () = rescued => {}
        () = beating => {}
    }
    // Whether or not the last one was on its way.
    beat("v2", heartbeat).await;
    assert_eq!(world.task(task.id).await.state.claim, Some(claim), "nobody took its task");
    let record = newer.read("replicas", derived(&["replica", "v2"])).await;
    assert_eq!((&record["heartbeat"], &record["kind"]), (&json!(heartbeat), &json!("edge")));
    let seen = world.store.replicas().await.expect("a listing");
    let seen = seen.iter().find(|replica| replica.id == "v2").expect("it is seen");
    assert_eq!((seen.heartbeat, seen.version.as_str(), seen.agents.len()), (heartbeat, "9.0.0", 0));
    // Once it stands still it is dead, as any other.
    world.until(task.id, TaskStatus::Completed).await;
    runner.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_and_shared_state_of_kinds_nobody_here_knows_stay_and_events_are_shown() {
    let world = World::new(&[("SCHEDULER__SWEEP", EVERY_SECOND)]).await;
    let newer = Newer::of(&world);
    let task = sum("watched");
    let now = clock::now();
    let event = Uuid::now_v7();
    let dream = json!({
        "id": event, "at": now, "kind": "dreamt", "level": "critical", "message": "of sheep", "task_id": task.id,
        "span": {"trace": "v2"},
    });
    newer.write("events", event, dream).await;
    let frozen = derived(&["freeze"]);
    newer.write("state", frozen, json!({"kind": "freeze", "agent": ["a", "b"], "since": now})).await;
    // A pause that this version can read, with a field more.
    let writer = derived(&["pause", "writer"]);
    newer.write("state", writer, json!({"kind": "pause", "agent": "writer", "since": now, "until": 7})).await;
    // And one that it cannot.
    let several = derived(&["pause", "several"]);
    newer.write("state", several, json!({"kind": "pause", "agent": ["x", "y"], "since": now})).await;
    let mut before = Vec::new();
    for (collection, point) in [("events", event), ("state", frozen), ("state", writer), ("state", several)] {
        before.push((collection, point, newer.read(collection, point).await));
    }

    let runner = world.runner("r1").await;
    world.insert(std::slice::from_ref(&task)).await;
    world.until(task.id, TaskStatus::Completed).await;
    let other = Pause { agent: Some("other".into()), by: None, note: None, since: now };
    world.store.pause(&other).await.expect("paused");
    let pauses = world.store.pauses().await.expect("a listing");
    let agents: Vec<_> = pauses.iter().filter_map(|pause| pause.agent.as_deref()).collect();
    assert_eq!(agents, ["other", "writer"]);
    assert!(world.store.resume(Some("other")).await.expect("an answer"));
    world.store.set_state("scope", "key", &json!(1), None).await.expect("set");
    runner.shutdown().await;
    for (collection, point, payload) in before {
        assert_eq!(newer.read(collection, point).await, payload, "{collection}");
    }
    let events = world.store.events(Some(task.id), 100).await.expect("a history");
    let shown = events.iter().find(|event| event.kind == "dreamt").expect("it is shown");
    assert_eq!((shown.level, shown.message.as_str()), (Level::Warn, "of sheep"));
}
