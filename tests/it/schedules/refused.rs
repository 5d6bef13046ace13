//! Schedules over a store that refuses single writes, and others that are always faster.

use qron::clock;
use qron::domain::id::TaskId;
use qron::domain::schedule::due::{MAX_FIRINGS, MAX_QUEUE};
use qron::domain::schedule::{Definition, Overlap, QueuedFiring, Schedule};
use qron::domain::task::{Task, TaskStatus};
use qron::domain::time::Timestamp;
use qron::queue::{Person, Queue};
use qron::schedules::service::ScheduleError;
use qron::schedules::trigger::Triggered;
use qron::store::{Store, TaskFilter};
use serde_json::{Value, json};

use super::support::{endless, quick};
use crate::support::eventually;
use crate::support::gate::Gate;
use crate::support::world::World;

/// A schedule whose firings up to now are decided.
fn schedule(id: &str, more: &Value) -> Schedule {
    let mut definition = json!({"spec": {"cron": "@yearly"}, "zone": "UTC", "task": endless()});
    let fields = definition.as_object_mut().expect("an object");
    fields.extend(more.as_object().expect("an object").clone());
    let definition: Definition = serde_json::from_value(definition).expect("a definition");
    Schedule::new(id, definition, clock::now().plus_millis(-1_000))
}

/// A schedule with one firing, which is due now.
fn once(id: &str, more: &Value) -> Schedule {
    let mut all = json!({"spec": {"at": clock::now()}, "task": quick()});
    all.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    schedule(id, &all)
}

async fn insert(store: &Store, schedule: &Schedule) -> Schedule {
    store.insert_schedule(schedule).await.expect("stored").expect("new")
}

async fn tasks(world: &World, id: &str) -> Vec<Task> {
    let filter = TaskFilter { schedule_id: Some(id.to_owned()), ..TaskFilter::default() };
    world.store.tasks(&filter, 1_000, None).await.expect("readable").items
}

async fn stored(world: &World, id: &str) -> Schedule {
    world.store.schedule(id).await.expect("readable").expect("there")
}

/// Waits until a schedule has one task, of this status.
async fn until_fired(world: &World, id: &str, status: TaskStatus) -> Task {
    eventually(&format!("{id} has fired"), async || {
        let mut tasks = tasks(world, id).await;
        match tasks.pop() {
            Some(task) if tasks.is_empty() && task.state.status == status => Ok(task),
            other => Err(format!("{other:?}")),
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_firing_that_the_store_refuses_is_told_and_keeps_no_other_from_firing() {
    let (world, gate) = World::gated(&[]).await;
    let refused = gate.refuse("Upsert", "tasks", &["stubborn"]);
    for id in ["stubborn", "other"] {
        insert(&world.store, &once(id, &json!({}))).await;
    }
    let runner = world.runner("r1").await;
    until_fired(&world, "other", TaskStatus::Completed).await;
    refused.met(1).await;
    let told = eventually("it is told", async || {
        let events = world.store.events(None, 1_000).await.map_err(|error| error.to_string())?;
        events.into_iter().find(|event| event.kind == "schedule_failed").ok_or_else(|| "not yet".to_owned())
    })
    .await;
    assert_eq!(told.data["schedule"], "stubborn");
    assert!(told.message.contains("stopped by the test"), "{}", told.message);
    drop(refused);
    // It is tried again in a minute, or when a person changes a schedule.
    runner.schedules().pause("other", clock::now()).await.expect("paused");
    until_fired(&world, "stubborn", TaskStatus::Completed).await;
    runner.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_firing_that_the_store_does_not_answer_is_made_once_it_does() {
    let (world, gate) = World::gated(&[]).await;
    let silent = gate.silence("Upsert", "tasks", &["patient"]);
    insert(&world.store, &once("patient", &json!({}))).await;
    let runner = world.runner("r1").await;
    silent.met(3).await;
    assert!(tasks(&world, "patient").await.is_empty());
    drop(silent);
    until_fired(&world, "patient", TaskStatus::Completed).await;
    eventually("it is counted", async || {
        let progress = stored(&world, "patient").await.progress;
        if progress.fired == 1 { Ok(()) } else { Err(format!("{progress:?}")) }
    })
    .await;
    runner.shutdown().await;
}

/// Templates are checked when a schedule is defined; one that another program wrote is not.
#[tokio::test(flavor = "multi_thread")]
async fn a_firing_whose_template_makes_no_task_is_skipped_with_the_reason() {
    let world = World::new(&[]).await;
    insert(&world.store, &once("empty", &json!({"task": {"goal": "count", "timeout_s": 31_536_000}}))).await;
    let runner = world.runner("r1").await;
    let skipped = until_fired(&world, "empty", TaskStatus::Skipped).await;
    let reason = skipped.state.error.expect("a reason").message;
    assert!(reason.contains("the schedule makes no task"), "{reason}");
    eventually("it is counted", async || {
        let progress = stored(&world, "empty").await.progress;
        if (progress.fired, progress.skipped) == (0, 1) { Ok(()) } else { Err(format!("{progress:?}")) }
    })
    .await;
    let error = runner.schedules().trigger("empty", None, clock::now()).await.expect_err("refused");
    assert!(matches!(error, ScheduleError::Template(_)), "{error}");
    runner.shutdown().await;
}

/// The wish comes a moment after the earlier task has ended by itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_firing_whose_predecessor_ends_as_it_is_asked_to_stop_starts() {
    let (world, gate) = World::gated(&[]).await;
    let runner = world.runner("r1").await;
    let begun = clock::now();
    let mut due = schedule("relay", &json!({"spec": {"at": begun}, "overlap": "cancel_previous"}));
    due.paused = true;
    insert(&world.store, &due).await;
    let Triggered::Task(first) =
        runner.schedules().trigger("relay", None, begun.plus_millis(-500)).await.expect("a task")
    else {
        panic!("it waits")
    };
    let mut held = gate.hold("UpdateBatch", "tasks", &[&first.id.to_string()]);
    runner
        .schedules()
        .save("relay", due.definition.clone(), Some(false), true, begun.plus_millis(-1))
        .await
        .expect("saved");
    let request = held.next().await;
    others(&world).await.cancel(first.id, &Person::default()).await.expect("cancelled");
    drop(request);
    eventually("the firing starts", async || {
        let tasks = tasks(&world, "relay").await;
        let statuses: Vec<TaskStatus> = tasks.iter().map(|task| task.state.status).collect();
        if statuses.contains(&TaskStatus::Pending) && statuses.len() == 2 {
            Ok(())
        } else {
            Err(format!("{statuses:?}"))
        }
    })
    .await;
    runner.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trigger_is_answered_although_its_traces_cannot_be_stored() {
    let (world, gate) = World::gated(&[]).await;
    let runner = world.runner("r1").await;
    let now = clock::now();
    insert(&world.store, &schedule("beside", &json!({"overlap": "allow"}))).await;
    let uncounted = gate.refuse("UpdateBatch", "schedules", &[]);
    let triggered = runner.schedules().trigger("beside", None, now).await.expect("an answer");
    assert!(matches!(triggered, Triggered::Task(_)), "{triggered:?}");
    drop(uncounted);
    assert_eq!((tasks(&world, "beside").await.len(), stored(&world, "beside").await.progress.fired), (1, 0));

    insert(&world.store, &schedule("replacing", &json!({"overlap": "queue"}))).await;
    let trigger = async |overlap| runner.schedules().trigger("replacing", Some(overlap), clock::now()).await;
    assert!(matches!(trigger(Overlap::Queue).await, Ok(Triggered::Task(_))));
    assert!(matches!(trigger(Overlap::Queue).await, Ok(Triggered::Queued(_))));
    let unrecorded = gate.refuse("Upsert", "tasks", &[]);
    assert!(matches!(trigger(Overlap::CancelPrevious).await, Ok(Triggered::Queued(_))));
    unrecorded.met(1).await;
    drop(unrecorded);
    assert!(tasks(&world, "replacing").await.iter().all(|task| task.state.status != TaskStatus::Skipped));
    runner.shutdown().await;
}

/// A second door to the store of `world`, without its gate.
async fn others(world: &World) -> Queue {
    let mut config = world.config.clone();
    config.store.url = crate::support::qdrant_url();
    Queue::new(World::over(config).await.store, "others")
}

/// Does `asked`, and each time it writes, changes the schedule before.
async fn outrun<T>(world: &World, gate: &Gate, id: &str, asked: impl Future<Output = T>) -> T {
    let others = others(world).await;
    let mut held = gate.hold("UpdateBatch", "schedules", &[]);
    let faster = async {
        loop {
            let request = held.next().await;
            let before = others.store().schedule(id).await.expect("readable").expect("there");
            let mut after = before.clone();
            after.progress.fired += 1;
            others.store().replace_schedule(&before, &after).await.expect("an answer").expect("written");
            drop(request);
        }
    };
    tokio::select! {
        answer = asked => answer,
        () = faster => unreachable!("it has no end"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_others_always_outrun_is_told_that_the_schedule_is_busy() {
    let (world, gate) = World::gated(&[]).await;
    let runner = world.runner("r1").await;
    let (service, now) = (runner.schedules(), clock::now());
    // Its tasks stay alive, so that a trigger has to write how it goes on.
    let known = schedule("busy", &json!({"overlap": "queue"}));
    insert(&world.store, &known).await;
    let (from, until) = (Timestamp::from_millis(1_577_836_800_000), now);
    let other = Definition { jitter_ms: 1, ..known.definition.clone() };
    let outcomes = [
        outrun(&world, &gate, "busy", async { service.pause("busy", now).await.map(drop) }).await,
        outrun(&world, &gate, "busy", async { service.save("busy", other, None, true, now).await.map(drop) }).await,
        outrun(&world, &gate, "busy", async { Box::pin(service.trigger("busy", None, now)).await.map(drop) }).await,
        outrun(&world, &gate, "busy", async { service.backfill("busy", (from, until), false, now).await.map(drop) })
            .await,
    ];
    for outcome in outcomes {
        let error = outcome.expect_err("outrun");
        assert!(matches!(&error, ScheduleError::Busy(id) if id == "busy"), "{error}");
    }
    let after = stored(&world, "busy").await;
    assert_eq!((after.paused, after.definition), (false, known.definition.clone()));
    assert!(tasks(&world, "busy").await.is_empty());
    runner.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_be_too_many_firings_is_refused_and_nothing_of_it_is_done() {
    let world = World::new(&[]).await;
    let runner = world.runner("r1").await;
    let (service, now) = (runner.schedules(), clock::now());
    let mut ticking = schedule("ticking", &json!({"spec": {"cron": "* * * * * *"}, "overlap": "queue"}));
    ticking.paused = true;
    insert(&world.store, &ticking).await;
    let ago = |seconds: i64| now.plus_millis(-seconds * 1_000);
    let refused = async |from, until| {
        let error = service.backfill("ticking", (from, until), false, now).await.expect_err("refused");
        assert!(matches!(error, ScheduleError::Range(_)), "{error}");
        error.to_string()
    };
    assert!(refused(ago(10), ago(20)).await.contains("is not a range in the past"));
    assert!(refused(ago(10), ago(-20)).await.contains("is not a range in the past"));
    assert!(refused(ago(3_600), now).await.contains(&format!("more than {MAX_FIRINGS} firings")));
    assert!(stored(&world, "ticking").await.progress.queue.is_empty());

    let mut full = schedule("full", &json!({"overlap": "queue"}));
    full.paused = true;
    let waiting = |second: usize| QueuedFiring {
        at: now.plus_millis(1_000 * i64::try_from(second).expect("small")),
        backfill: false,
        overlap: None,
        task: None,
    };
    full.progress.queue = (0..MAX_QUEUE).map(waiting).collect();
    insert(&world.store, &full).await;
    let alive = Task::new(TaskId::fresh(), "stays alive", now).with(|task| {
        task.spec.agent = Some("nobody".to_owned());
        task.spec.schedule_id = Some("full".to_owned());
    });
    world.store.insert(std::slice::from_ref(&alive)).await.expect("inserted");
    let error = service.trigger("full", None, now).await.expect_err("full");
    assert!(matches!(&error, ScheduleError::Full(id) if id == "full"), "{error}");
    let years = (Timestamp::from_millis(1_577_836_800_000), now);
    let error = service.backfill("full", years, false, now).await.expect_err("full").to_string();
    assert!(error.contains(&format!("more than {MAX_QUEUE} firings")) && error.contains("would wait"), "{error}");
    assert_eq!(stored(&world, "full").await.progress.queue.len(), MAX_QUEUE);
    runner.shutdown().await;
}
