//! Defining and editing schedules, and what is shown of them, over HTTP and on the command line.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use super::support::{World, define, qron, quick};
use crate::support::eventually;

#[tokio::test(flavor = "multi_thread")]
async fn defining_a_schedule_again_changes_nothing_and_replacing_it_does() {
    let world = World::new().await;
    let replica = world.replica().await;
    let body = json!({"id": "report", "cron": "0 9 * * MON-FRI", "zone": "Europe/Berlin", "task": quick()});
    let (status, saved) = replica.post("/schedules", &body).await;
    assert_eq!((status.as_u16(), &saved["created"]), (201, &json!(true)), "{saved}");
    assert_eq!(saved["next"].as_array().expect("firings").len(), 5);
    assert!(saved["next"][0]["local"].as_str().expect("a time").contains("T09:00:00+0"), "{saved}");

    let (status, again) = replica.post("/schedules", &body).await;
    assert_eq!((status.as_u16(), &again["created"]), (200, &json!(false)));
    let other = json!({"id": "report", "cron": "0 10 * * *", "task": quick()});
    assert_eq!(replica.post("/schedules", &other).await.0, 409);
    let replaced = define(&replica, "report", &json!({"cron": "0 10 * * *"})).await;
    assert_eq!((&replaced["created"], &replaced["cron"]), (&json!(false), &json!("0 10 * * *")));
    assert_eq!(replaced["created_at"], saved["created_at"]);

    // What is shown can be sent back.
    let (_, shown) = replica.get("/schedules/report").await;
    let fields =
        ["cron", "every", "at", "zone", "start", "end", "jitter", "overlap", "catch_up", "catch_up_window", "task"];
    let sent: Value = fields.iter().map(|field| ((*field).to_owned(), shown[field].clone())).collect();
    let (status, same) = replica.send(Method::PUT, "/schedules/report", Some(&sent)).await;
    assert_eq!((status.as_u16(), &same["updated_at"]), (200, &shown["updated_at"]), "{same}");

    let (_, listing) = replica.get("/schedules").await;
    assert_eq!(listing["items"].as_array().expect("items").len(), 1);
    assert_eq!(replica.send(Method::DELETE, "/schedules/report", None).await.0, 204);
    assert_eq!(replica.get("/schedules/report").await.0, 404);
    assert_eq!(replica.send(Method::DELETE, "/schedules/report", None).await.0, 404);
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_definition_says_what_and_where() {
    let world = World::new().await;
    let replica = world.replica().await;
    let fine = json!({"cron": "@daily", "task": quick()});
    for (change, expected) in [
        (json!({"cron": "0 25 * * *"}), "hour \"25\" at character 3"),
        (json!({"cron": "0 0 30 2 *"}), "never fire"),
        (json!({"every": "15m"}), "exactly one"),
        (json!({"cron": null, "every": "0.5"}), "every"),
        (json!({"cron": null, "every": 0}), "too short"),
        (json!({"cron": null, "at": "2001-01-01T00:00:00Z"}), "never fire"),
        (json!({"zone": "Europe/Berln"}), "Europe/Berln"),
        (json!({"start": "2030-01-01", "end": "2029-01-01"}), "not after the start"),
        (json!({"jitter": "2d"}), "jitter"),
        (json!({"catch_up": "none", "catch_up_window": "12h"}), "catch_up_window"),
        (json!({"cron": "0 9 * * SUN1"}), "day of week \"SUN1\" at character 9"),
        (json!({"task": {"goal": "short"}}), "5 characters"),
        (json!({"task": {"goal": "long enough", "agent": "nobody"}}), "unknown agent"),
        (json!({"task": {"goal": "long enough", "plan": {"steps": [{"id": "zone", "instruction": "x"}]}}}), "zone"),
        (json!({"task": null}), "task is missing"),
        (json!({"task": {"goal": "long enough", "concurrency_key": " "}}), "task: concurrency_key"),
        (json!({"task": {"goal": "long enough", "timeout_s": 0}}), "task: timeout_s"),
        (json!({"task": {"goal": "long enough", "max_attempts": 0}}), "task: max_attempts"),
        (json!({"task": {"goal": "long enough", "priority": 11}}), "task: priority"),
    ] {
        let mut body = fine.clone();
        body.as_object_mut().expect("an object").extend(change.as_object().expect("an object").clone());
        let (status, problem) = replica.send(Method::PUT, "/schedules/wrong", Some(&body)).await;
        assert_eq!(status, 422, "{change}: {problem}");
        assert!(problem["detail"].as_str().expect("a detail").contains(expected), "{change}: {problem}");
    }
    let (status, problem) = replica.send(Method::PUT, "/schedules/preview", Some(&fine)).await;
    assert!(status == 400 || status == 405, "{problem}");
    assert_eq!(replica.send(Method::PUT, "/schedules/a%20b", Some(&fine)).await.0, 400);
    let unknown = json!({"cron": "@daily", "task": quick(), "corn": 1});
    assert_eq!(replica.post("/schedules", &unknown).await.0, 400);
    assert_eq!(replica.get("/schedules").await.1["items"], json!([]), "what is refused has changed nothing");
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_of_the_wrong_kind_names_its_field() {
    let world = World::new().await;
    let replica = world.replica().await;
    for (field, value) in [
        ("timeout_s", json!("long")),
        ("max_attempts", json!(-1)),
        ("priority", json!(1000)),
        ("tags", json!("daily")),
        ("context", json!([1])),
        ("concurrency_key", json!(["a"])),
        ("approval", json!("maybe")),
        // What belongs to a single task.
        ("depends_on", json!(["1"])),
        ("unique_key", json!("k")),
        ("run_at", json!("2030-01-01T00:00:00Z")),
    ] {
        let mut task = quick();
        task[field] = value;
        let (status, problem) = replica.post("/schedules", &json!({"id": "x", "cron": "@daily", "task": task})).await;
        assert_eq!(status, 400, "{problem}");
        let detail = problem["detail"].as_str().expect("a detail");
        assert!(detail.contains(&format!("task.{field}: ")), "{field}: {detail}");
    }
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn previews_tell_firings_of_what_is_stored_and_of_what_is_not() {
    let world = World::new().await;
    let replica = world.replica().await;
    let berlin = json!({"cron": "30 2 * * *", "zone": "Europe/Berlin"});
    define(&replica, "night", &berlin).await;
    let expected = json!(["2027-03-27T02:30:00+01:00", "2027-03-28T03:00:00+02:00", "2027-03-29T02:30:00+02:00"]);
    let locals = |listing: &Value| -> Value {
        listing["items"].as_array().expect("items").iter().map(|item| item["local"].clone()).collect()
    };
    let (_, stored) = replica.get("/schedules/night/preview?count=3&from=2027-03-27").await;
    assert_eq!(locals(&stored), expected, "the clock is set forward over half past two");
    let (_, new) = replica.post("/schedules/preview?count=3&from=2027-03-27", &berlin).await;
    assert_eq!(locals(&new), expected);
    assert_eq!(replica.get("/schedules/night/preview?count=0").await.0, 400);
    assert_eq!(replica.post("/schedules/preview", &json!({"cron": "never"})).await.0, 422);
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_does_all_of_it() {
    let world = World::new().await;
    let replica = world.replica().await;
    let url = replica.url();
    let run = |arguments: &[&str]| {
        let (fine, out, err) = qron(&url, arguments);
        assert!(fine, "{arguments:?}: {err}");
        out
    };
    let read = |arguments: &[&str]| -> Value { serde_json::from_str(&run(arguments)).expect("JSON") };
    let goal = "write the report of ${fire_date}";
    let add = ["schedules", "add", "report", goal, "--cron", "0 7 * * *", "--zone", "Asia/Tokyo", "--json"];
    assert_eq!(read(&add)["created"], true);
    assert!(run(&add[..8]).contains("exists with the same settings; nothing was changed; it fires next at 20"));
    assert!(run(&["schedules", "list"]).contains("report"));
    assert_eq!(read(&["schedules", "list", "--json"])["items"][0]["zone"], "Asia/Tokyo");
    assert!(run(&["schedules", "show", "report"]).contains(" 07:00:00+09:00"));
    assert_eq!(read(&["schedules", "pause", "report", "--json"])["paused"], true);
    assert!(run(&["schedules", "resume", "report"]).contains("resumed"));
    let edit = ["schedules", "edit", "report", "--goal", "write another report", "--end", "2090-01-01"];
    let edited = run(&edit);
    assert!(edited.starts_with("schedule report was changed; it fires next at 20"), "{edited}");
    assert!(edited.contains("(Asia/Tokyo)"), "{edited}");
    let edited = read(&["schedules", "edit", "report", "--tag", "x", "--unset", "end", "--unset", "plan", "--json"]);
    assert_eq!(
        (&edited["end"], &edited["task"]["tags"], &edited["cron"]),
        (&Value::Null, &json!(["x"]), &json!("0 7 * * *"))
    );
    assert!(qron(&url, &["schedules", "edit", "report"]).2.contains("no setting to change is given"));
    assert!(!qron(&url, &["schedules", "edit", "report", "--unset", "goal"]).0);
    let preview = ["schedules", "preview", "--cron", "0 0 29 2 *", "--from", "2027-01-01", "--count", "1"];
    assert_eq!(run(&preview).trim(), "2028-02-29 00:00:00Z");
    assert_eq!(read(&["schedules", "preview", "report", "--json"])["items"].as_array().expect("items").len(), 10);
    let fired = read(&["schedules", "trigger", "report", "--overlap", "allow", "--json"]);
    assert_eq!(fired["task"]["schedule_id"], "report");
    assert!(run(&["list", "--schedule", "report"]).contains("write another report"));
    let backfill = ["schedules", "backfill", "report", "--from", "2026-01-01", "--until", "2026-01-04", "--dry-run"];
    assert!(run(&backfill).starts_with("3 firings"), "07:00 of three days lies before midnight of the fourth");
    let (fine, _, err) = qron(&url, &["schedules", "add", "bad", goal, "--cron", "0 7 * * FRY"]);
    assert!(!fine && err.contains("\"FRY\" at character 9"), "{err}");
    assert_eq!(read(&["schedules", "remove", "report", "--json"])["removed"], "report");
    assert!(!qron(&url, &["schedules", "show", "report"]).0);
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_changes_what_it_names_and_keeps_the_rest() {
    let world = World::new().await;
    let replica = world.replica().await;
    let mut task = quick();
    task["concurrency_key"] = json!("reports");
    let report = json!({"cron": "0 9 * * *", "zone": "Europe/Berlin", "catch_up": "all", "task": task});
    let defined = define(&replica, "report", &report).await;
    assert_eq!(replica.send(Method::POST, "/schedules/report/trigger?overlap=allow", None).await.0, 201);
    let edit = async |changes: Value| replica.send(Method::PATCH, "/schedules/report", Some(&changes)).await;

    let (status, later) = edit(json!({"cron": "0 10 * * *"})).await;
    assert_eq!((status.as_u16(), &later["cron"]), (200, &json!("0 10 * * *")), "{later}");
    assert!(later["next"][0]["local"].as_str().expect("a time").contains("T10:00:00+0"), "{later}");
    for kept in ["zone", "catch_up", "catch_up_window", "task", "created_at", "overlap"] {
        assert_eq!(later[kept], defined[kept], "{kept}");
    }
    assert_eq!(later["fired"], 1, "its history stays");

    let (_, often) = edit(json!({"every": "15m", "end": "2090-01-01", "paused": true})).await;
    assert_eq!((&often["cron"], &often["every"], &often["paused"]), (&Value::Null, &json!(900), &json!(true)));
    assert_eq!(often["end"], "2089-12-31T23:00:00.000Z", "on the clock of its zone");
    let (_, less) =
        edit(json!({"end": null, "catch_up": "latest", "task": {"tags": ["x"], "concurrency_key": null}})).await;
    assert_eq!((&less["end"], &less["catch_up_window"]), (&Value::Null, &Value::Null));
    assert_eq!((&less["task"]["tags"], &less["task"]["goal"]), (&json!(["x"]), &defined["task"]["goal"]));
    assert_eq!((less["task"].get("concurrency_key"), &less["task"]["plan"]), (None, &defined["task"]["plan"]));

    for (changes, status, expected) in [
        (json!({"corn": "@daily"}), 400, "corn"),
        (json!({"task": {"gaol": null}}), 400, "gaol"),
        (json!({"task": {"timeout_s": "long"}}), 400, "task.timeout_s"),
        (json!({"id": "other"}), 400, "id"),
        (json!({"cron": "0 25 * * *"}), 422, "hour \"25\""),
        (json!({"every": null}), 422, "exactly one"),
        (json!({"task": null}), 422, "task is missing"),
        (json!({"task": {"agent": "nobody"}}), 422, "unknown agent"),
    ] {
        let (found, problem) = edit(changes.clone()).await;
        assert_eq!(found, status, "{changes}: {problem}");
        assert!(problem["detail"].as_str().expect("a detail").contains(expected), "{changes}: {problem}");
    }
    let (_, same) = edit(json!({"every": 900})).await;
    assert_eq!(same["updated_at"], less["updated_at"], "what was refused, or is so already, has changed nothing");
    assert_eq!(replica.send(Method::PATCH, "/schedules/nothing", Some(&json!({"every": 900}))).await.0, 404);
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_edits_at_the_same_time_none_is_lost() {
    let world = World::new().await;
    let (replica, other) = (world.replica().await, world.replica().await);
    define(&replica, "shared", &json!({"cron": "* * * * * *"})).await;
    let changes =
        [("jitter", json!(60)), ("overlap", json!("queue")), ("catch_up", json!("none")), ("paused", json!(true))];
    let edits = changes.iter().enumerate().map(async |(place, (field, value))| {
        let changes = json!({ *field: value });
        [&replica, &other][place % 2].send(Method::PATCH, "/schedules/shared", Some(&changes)).await.0
    });
    let answers = join_all(edits).await;
    let (_, shown) = replica.get("/schedules/shared").await;
    for ((field, value), status) in changes.iter().zip(&answers) {
        assert!([200, 409].contains(&status.as_u16()), "{field}: {status}");
        assert_eq!(shown[*field] == *value, status.as_u16() == 200, "{field}: {status} {shown}");
    }
    assert!(answers.iter().any(|status| status.as_u16() == 200), "{answers:?}");
    replica.stop().await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_that_names_no_zone_has_the_configured_one_and_says_so() {
    let world = World::new().await;
    let replica = world.replica_in("Asia/Tokyo").await;
    let defined = define(&replica, "morning", &json!({"cron": "0 7 * * *"})).await;
    assert_eq!(defined["zone"], "Asia/Tokyo");
    let (_, firings) = replica.post("/schedules/preview?count=1&from=2027-01-01", &json!({"cron": "@daily"})).await;
    assert_eq!(firings["items"][0]["local"], "2027-01-01T00:00:00+09:00");
    let add = ["schedules", "add", "evening", "write the report of the day", "--cron", "0 19 * * *"];
    let (fine, out, err) = qron(&replica.url(), &add);
    assert!(fine && out.contains("it fires next at 20") && out.contains("(Asia/Tokyo)"), "{out} {err}");
    replica.stop().await;
    // It keeps the zone that it was made with.
    let elsewhere = world.replica().await;
    let (_, edited) = elsewhere.send(Method::PATCH, "/schedules/morning", Some(&json!({"cron": "0 8 * * *"}))).await;
    assert_eq!(edited["zone"], "Asia/Tokyo");
    elsewhere.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_of_the_last_firing_that_has_ended_is_shown() {
    let world = World::new().await;
    let replica = world.replica().await;
    define(&replica, "yearly", &json!({"cron": "@yearly", "overlap": "allow"})).await;
    assert_eq!(replica.get("/schedules/yearly").await.1.get("last_ended"), None);
    let fire = async || replica.send(Method::POST, "/schedules/yearly/trigger", None).await.1["task"]["id"].clone();
    let ended = async |task: &Value, status: &str| {
        eventually("it has ended", async || {
            let (_, shown) = replica.get("/schedules/yearly").await;
            let last = &shown["last_ended"];
            if last["task"] == *task && last["status"] == status { Ok(last.clone()) } else { Err(shown.to_string()) }
        })
        .await
    };
    let first = fire().await;
    let last = ended(&first, "completed").await;
    assert!(last["at"].as_str().is_some_and(|at| at.ends_with('Z')) && last["error"].is_null(), "{last}");

    // One that has not ended hides nothing.
    let mut asks = quick();
    asks["approval"] = json!("required");
    define(&replica, "yearly", &json!({"cron": "@yearly", "overlap": "allow", "task": asks})).await;
    let second = fire().await;
    let (_, shown) = replica.get("/schedules/yearly").await;
    assert_eq!((&shown["last_task"], &shown["last_ended"]), (&second, &last), "{shown}");
    let (_, listing) = replica.get("/schedules").await;
    assert_eq!(listing["items"][0]["last_ended"], last);
    let path = format!("/tasks/{}/cancel", second.as_str().expect("an id"));
    assert_eq!(replica.post(&path, &json!({})).await.0, 200);
    ended(&second, "cancelled").await;
    let (_, out, _) = qron(&replica.url(), &["schedules", "list"]);
    assert!(out.contains("cancelled"), "{out}");
    let (_, out, _) = qron(&replica.url(), &["schedules", "show", "yearly"]);
    assert!(out.contains("ended      cancelled, 20"), "{out}");
    replica.stop().await;
}
