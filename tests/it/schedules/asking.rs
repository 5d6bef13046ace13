//! What people ask of schedules: pause, trigger, backfill, remove.

use futures_util::future::join_all;
use qron::clock;
use qron::domain::schedule::fire_time;
use qron::domain::task::TaskStatus;
use qron::domain::time::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};

use super::support::{World, define, endless, qron, quick};
use crate::support::eventually;

/// A schedule that fires by itself once a year, and whose tasks stay alive.
async fn rare(world: &World, id: &str, overlap: &str) {
    let definition = json!({
        "spec": {"cron": "@yearly"}, "zone": "UTC", "jitter_ms": 86_400_000, "overlap": overlap, "task": endless(),
    });
    world.asleep(id, definition, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_schedule_does_not_fire_until_it_is_resumed() {
    let world = World::new().await;
    let (replica, other) = (world.replica().await, world.replica().await);
    for id in ["held", "clock"] {
        define(&replica, id, &json!({"cron": "* * * * * *", "overlap": "allow"})).await;
    }
    let fired = async || world.tasks("held").await.len();
    eventually("it fires", async || if fired().await > 0 { Ok(()) } else { Err("not yet".to_owned()) }).await;
    // Both replicas fire it, and one of them is asked.
    let (status, view) = other.send(Method::POST, "/schedules/held/pause", None).await;
    assert_eq!((status.as_u16(), &view["paused"], &view["next"]), (200, &json!(true), &json!([])));
    // A replica may still insert the firing that it had begun with. Two firings of the clock later it has.
    let two_firings_later = async || {
        let from = world.tasks("clock").await.len();
        eventually("the clock fires twice", async || {
            let fired = world.tasks("clock").await.len() - from;
            if fired >= 2 { Ok(()) } else { Err(format!("{fired} firings")) }
        })
        .await;
    };
    two_firings_later().await;
    let before = fired().await;
    two_firings_later().await;
    assert_eq!(fired().await, before);
    let (status, view) = replica.send(Method::POST, "/schedules/held/resume", None).await;
    assert_eq!((status.as_u16(), &view["paused"]), (200, &json!(false)));
    eventually("it fires again", async || if fired().await > before { Ok(()) } else { Err("not yet".to_owned()) })
        .await;
    replica.stop().await;
    other.stop().await;
    let tasks = world.tasks("held").await;
    assert!(tasks.iter().all(|task| task.state.status != TaskStatus::Skipped), "nothing of the pause is made up for");
    let events = world.store.events(None, 1_000).await.expect("readable");
    let resumed = events.iter().find(|event| event.kind == "schedule_resumed").expect("an event");
    assert!(resumed.message.contains("were skipped"), "{}", resumed.message);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_can_be_triggered_and_its_tasks_are_found_by_it() {
    let world = World::new().await;
    let replica = world.replica().await;
    rare(&world, "yearly", "skip").await;
    let (status, fired) = replica.send(Method::POST, "/schedules/yearly/trigger?overlap=allow", None).await;
    assert_eq!(status, 201, "{fired}");
    let task = &fired["task"];
    assert_eq!((&task["schedule_id"], &task["context"]["schedule"]), (&json!("yearly"), &json!("yearly")));
    assert!(!task["goal"].as_str().expect("a goal").contains("${"), "{task}");
    let run_at = Timestamp::read(&task["run_at"]).expect("a time");
    assert!(run_at <= clock::now(), "now means now, whatever the jitter");
    let (_, shown) = replica.get("/schedules/yearly").await;
    assert_eq!((&shown["fired"], &shown["last_task"]), (&json!(1), &task["id"]), "it is counted: {shown}");

    let (status, problem) = replica.send(Method::POST, "/schedules/yearly/trigger", None).await;
    assert_eq!(status, 409, "{problem}");
    assert!(problem["detail"].as_str().expect("a detail").contains(task["id"].as_str().expect("an id")));
    let (status, queued) = replica.send(Method::POST, "/schedules/yearly/trigger?overlap=queue", None).await;
    assert_eq!(status, 202, "{queued}");
    let (_, listing) = replica.get("/tasks?schedule=yearly").await;
    assert_eq!(listing["items"].as_array().expect("items").len(), 1);
    let (_, listing) = replica.get("/tasks?schedule=other").await;
    assert_eq!(listing["items"], json!([]));
    assert_eq!(replica.send(Method::POST, "/schedules/nothing/trigger", None).await.0, 404);
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_trigger_asks_for_holds_instead_of_what_its_schedule_says() {
    let world = World::new().await;
    let replica = world.replica().await;
    let trigger = async |id: &str, overlap: &str| {
        let path = format!("/schedules/{id}/trigger?overlap={overlap}");
        replica.send(Method::POST, &path, None).await
    };
    let ended_and_begun = async |id: &str| {
        eventually("the second follows the first", async || {
            let tasks = world.tasks(id).await;
            let statuses: Vec<_> = tasks.iter().map(|task| task.state.status).collect();
            if statuses == [TaskStatus::Cancelled, TaskStatus::Pending] { Ok(()) } else { Err(format!("{statuses:?}")) }
        })
        .await;
    };

    rare(&world, "skipping", "skip").await;
    assert_eq!(trigger("skipping", "allow").await.0, 201);
    assert_eq!(trigger("skipping", "cancel_previous").await.0, 202);
    ended_and_begun("skipping").await;

    rare(&world, "side-by-side", "allow").await;
    let (status, first) = trigger("side-by-side", "allow").await;
    assert_eq!(status, 201, "{first}");
    assert_eq!(trigger("side-by-side", "queue").await.0, 202);
    assert_eq!(world.schedule("side-by-side").await.progress.queue.len(), 1);
    let id = first["task"]["id"].as_str().expect("an id");
    assert_eq!(replica.post(&format!("/tasks/{id}/cancel"), &json!({})).await.0, 200);
    ended_and_begun("side-by-side").await;
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_who_trigger_at_once_one_starts_a_task() {
    let world = World::new().await;
    let (replica, other) = (world.replica().await, world.replica().await);
    for round in 0..5 {
        let (id, beside) = (format!("alone-{round}"), format!("beside-{round}"));
        rare(&world, &id, "skip").await;
        rare(&world, &beside, "allow").await;
        let trigger = async |id: &str, place: usize| {
            let replica = [&replica, &other][place % 2];
            replica.send(Method::POST, &format!("/schedules/{id}/trigger"), None).await
        };
        let answers = join_all((0..6).map(|place| trigger(&id, place))).await;
        let mut statuses: Vec<u16> = answers.iter().map(|(status, _)| status.as_u16()).collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [201, 409, 409, 409, 409, 409], "{answers:?}");
        assert_eq!(world.tasks(&id).await.len(), 1);
        assert_eq!(world.schedule(&id).await.progress.fired, 1);

        let answers = join_all((0..6).map(|place| trigger(&beside, place))).await;
        assert!(answers.iter().all(|(status, _)| *status == 201), "{answers:?}");
        assert_eq!(world.tasks(&beside).await.len(), 6, "each has a task of its own");
    }
    replica.stop().await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_of_a_paused_schedule_is_done() {
    let world = World::new().await;
    let replica = world.replica().await;
    define(&replica, "held", &json!({"cron": "@daily", "paused": true})).await;
    let range = json!({"from": "2026-03-06", "until": "2026-03-08"});
    assert_eq!(replica.post("/schedules/held/backfill", &range).await.1["queued"], 3);
    eventually("all three are done", async || {
        let done = world.with_status("held", TaskStatus::Completed).await;
        if done.len() == 3 { Ok(()) } else { Err(format!("{}", done.len())) }
    })
    .await;

    rare(&world, "busy", "skip").await;
    assert_eq!(replica.send(Method::POST, "/schedules/busy/pause", None).await.0, 200);
    assert_eq!(replica.send(Method::POST, "/schedules/busy/trigger", None).await.0, 201);
    let path = "/schedules/busy/trigger?overlap=cancel_previous";
    assert_eq!(replica.send(Method::POST, path, None).await.0, 202);
    eventually("the second follows the first", async || {
        let tasks = world.tasks("busy").await;
        let statuses: Vec<_> = tasks.iter().map(|task| task.state.status).collect();
        if statuses == [TaskStatus::Cancelled, TaskStatus::Pending] { Ok(()) } else { Err(format!("{statuses:?}")) }
    })
    .await;
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_firing_that_has_others_cancelled_leaves_a_queued_backfill_and_what_it_cost_can_be_asked_for_again() {
    let world = World::new().await;
    let replica = world.replica().await;
    rare(&world, "years", "cancel_previous").await;
    let range = json!({"from": "2020-01-01", "until": "2023-01-01"});
    assert_eq!(replica.post("/schedules/years/backfill", &range).await.1["queued"], 4);
    let alive = async |count: usize| {
        eventually("a task is alive, and others wait", async || {
            let alive = world.with_status("years", TaskStatus::Pending).await;
            let waiting = world.schedule("years").await.progress.queue.len();
            if alive.len() == 1 && waiting == count { Ok(alive[0].clone()) } else { Err(format!("{waiting}")) }
        })
        .await
    };
    let first = alive(3).await;
    assert_eq!(first.spec.context["fire_cause"], "backfill");
    let (status, answer) = replica.send(Method::POST, "/schedules/years/trigger", None).await;
    assert_eq!(status, 202, "{answer}");
    eventually("the first is cancelled", async || {
        let cancelled = world.with_status("years", TaskStatus::Cancelled).await;
        if cancelled.iter().any(|task| task.id == first.id) { Ok(()) } else { Err(format!("{}", cancelled.len())) }
    })
    .await;
    let triggered = alive(3).await;
    assert!(!triggered.spec.context.contains_key("fire_cause"), "{triggered:?}");
    assert_eq!(world.with_status("years", TaskStatus::Cancelled).await.len(), 1, "the rest waits");

    let (_, again) = replica.post("/schedules/years/backfill", &range).await;
    assert_eq!((&again["ran_before"], &again["queued"]), (&json!(3), &json!(1)), "{again}");
    assert_eq!(replica.post(&format!("/tasks/{}/cancel", triggered.id), &json!({})).await.0, 200);
    let once_more = eventually("the first is tried again", async || {
        let alive = world.with_status("years", TaskStatus::Pending).await;
        alive.into_iter().find(|task| fire_time(task) == fire_time(&first)).ok_or_else(|| "not yet".to_owned())
    })
    .await;
    assert_ne!(once_more.id, first.id);

    // What waits still when the schedule goes is recorded.
    assert_eq!(replica.send(Method::DELETE, "/schedules/years", None).await.0, 204);
    let skipped = world.with_status("years", TaskStatus::Skipped).await;
    assert_eq!(skipped.len(), 3);
    assert!(skipped[0].state.error.as_ref().expect("a reason").message.contains("removed"));
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_is_made_up_for_once() {
    let world = World::new().await;
    let replica = world.replica().await;
    let mut task = quick();
    task["goal"] = json!("calculate ${previous_fire_time} to ${fire_time}");
    let days = json!({"cron": "@daily", "zone": "America/New_York", "overlap": "allow", "task": task});
    define(&replica, "days", &days).await;
    let range = json!({"from": "2026-03-06", "until": "2026-03-10", "dry_run": true});
    let (status, dry) = replica.post("/schedules/days/backfill", &range).await;
    assert_eq!((status.as_u16(), &dry["firings"], &dry["inserted"]), (200, &json!(5), &json!(5)), "{dry}");
    assert!(world.tasks("days").await.is_empty());
    let range = json!({"from": "2026-03-06", "until": "2026-03-10"});
    assert_eq!(replica.post("/schedules/days/backfill", &range).await.1["inserted"], 5);
    let (_, again) = replica.post("/schedules/days/backfill", &range).await;
    assert_eq!((&again["ran_before"], &again["inserted"]), (&json!(5), &json!(0)));
    eventually("all five are done", async || {
        let done = world.with_status("days", TaskStatus::Completed).await;
        if done.len() == 5 { Ok(()) } else { Err(format!("{}", done.len())) }
    })
    .await;
    let goals: Vec<String> = world.tasks("days").await.into_iter().map(|task| task.spec.goal).collect();
    assert_eq!(goals[0], "calculate 2026-03-05T00:00:00-05:00 to 2026-03-06T00:00:00-05:00");
    assert_eq!(goals[3], "calculate 2026-03-08T00:00:00-05:00 to 2026-03-09T00:00:00-04:00", "the clock was set");

    // One after the other, where they must not overlap.
    define(&replica, "turns", &json!({"cron": "@daily", "overlap": "skip"})).await;
    let (_, done) = replica.post("/schedules/turns/backfill", &range).await;
    assert_eq!(done["queued"], 5, "{done}");
    eventually("all five are done", async || {
        let done = world.with_status("turns", TaskStatus::Completed).await;
        if done.len() == 5 { Ok(()) } else { Err(format!("{}", done.len())) }
    })
    .await;
    let year = json!({"from": "1990-01-01"});
    let (status, problem) = replica.post("/schedules/days/backfill", &year).await;
    assert_eq!(status, 422, "{problem}");
    let future = json!({"from": "2090-01-01", "until": "2091-01-01"});
    assert_eq!(replica.post("/schedules/days/backfill", &future).await.0, 422);
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn firings_take_their_share_and_wait_for_a_person() {
    let world = World::new().await;
    let replica = world.replica().await;
    let url = replica.url();
    let qron = |arguments: &[&str]| -> Value {
        let (fine, out, err) = qron(&url, arguments);
        assert!(fine, "{arguments:?}: {err}");
        serde_json::from_str(&out).expect("JSON")
    };
    let goal = "report of ${fire_date}";
    let key = ["--concurrency-key", "reports of ${schedule}", "--needs-approval", "--timeout", "60"];
    let saved = qron(&[&["schedules", "add", "careful", goal, "--cron", "@yearly", "--json"], &key[..]].concat());
    assert_eq!(saved["task"]["concurrency_key"], "reports of ${schedule}");
    assert_eq!(saved["task"]["approval"], "required");
    let fired = qron(&["schedules", "trigger", "careful", "--json"]);
    let task = &fired["task"];
    assert_eq!(task["status"], "awaiting_approval");
    assert_eq!((&task["concurrency_key"], &task["timeout_s"]), (&json!("reports of careful"), &json!(60)));
    let (status, _) = replica.post("/schedules/careful/trigger", &Value::Null).await;
    assert_eq!(status, 409, "it is alive while it waits");
    let open = qron(&["approvals", "--json"]);
    assert_eq!(open["items"][0]["task_id"], task["id"]);
    let denied = qron(&["approve", task["id"].as_str().expect("an id"), "--deny", "--json"]);
    assert_eq!(denied["status"], "cancelled");

    // One that fires by itself asks too, and is only then carried out.
    let mut task = quick();
    task["approval"] = json!("required");
    define(&replica, "soon", &json!({"every": 1, "task": task})).await;
    let waiting = eventually("it asks", async || {
        let waiting = world.with_status("soon", TaskStatus::AwaitingApproval).await;
        waiting.first().cloned().ok_or_else(|| "not yet".to_owned())
    })
    .await;
    assert!(waiting.state.approvals[0].expires_at.is_some(), "for as long as is configured");
    qron(&["approve", &waiting.id.to_string(), "--json"]);
    eventually("it has run", async || {
        let task = world.store.task(waiting.id).await.map_err(|error| error.to_string())?.ok_or("gone")?;
        if task.state.status == TaskStatus::Completed { Ok(()) } else { Err(task.state.status.to_string()) }
    })
    .await;
    replica.stop().await;
}
