//! Retention: what is old goes, what is referenced stays.

use qron::clock;
use qron::domain::id::TaskId;
use qron::domain::task::{Task, TaskStatus};
use qron::domain::time::Timestamp;
use qron::scheduler::Pruned;
use qron::store::Store;
use serde_json::json;

use super::support::{artifacts_of, saving, task};
use crate::support::app::{TestApp, hopeless, someday};
use crate::support::eventually;

const SMALL_INLINE: (&str, &str) = ("QRON__ARTIFACTS__INLINE_BYTES", "1");

fn in_days(days: i64) -> Timestamp {
    clock::now().plus_millis(days * 86_400_000)
}

async fn prune(app: &TestApp, now: Timestamp, dry_run: bool) -> Pruned {
    app.app.as_ref().expect("running").runner().prune(now, dry_run).await.expect("a round")
}

fn store(app: &TestApp) -> &Store {
    app.app.as_ref().expect("running").store()
}

/// Waits until the history of a task is written, so that a round finds all of it.
async fn settled(app: &TestApp, id: &str, kind: &str) {
    super::support::happened(app, id, kind).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_tells_what_a_round_removes_and_everything_of_a_task_goes() {
    let folder = tempfile::tempdir().expect("a folder");
    let artifacts = folder.path().join("artifacts").to_string_lossy().into_owned();
    let app = TestApp::with(&[SMALL_INLINE, ("QRON__ARTIFACTS__FOLDER", &artifacts)]).await;
    let done = app.submit(&saving(&["report"])).await;
    app.until(&done, "completed").await;
    let failed = app.submit(&hopeless()).await;
    eventually("it has failed", async || (task(&app, &failed).await["status"] == "failed").then_some(())).await;
    settled(&app, &done, "completed").await;
    settled(&app, &failed, "failed").await;
    let files = || walk(folder.path());
    assert_eq!(files(), 1, "a large artifact is a file");

    assert_eq!(prune(&app, in_days(29), false).await, Pruned::default(), "nothing is old");
    // Tasks that completed are kept for 30 days, those that failed for 90, events for 30.
    let told = prune(&app, in_days(31), true).await;
    assert_eq!(artifacts_of(&task(&app, &done).await), ["report"], "a dry run removes nothing");
    let removed = prune(&app, in_days(31), false).await;
    assert_eq!(told, removed);
    assert_eq!((removed.tasks, removed.attempts, removed.artifacts, removed.dead_letters), (1, 1, 1, 0));
    assert_eq!(app.get(&format!("/api/v1/tasks/{done}")).await.0, 404);
    assert_eq!(files(), 0);
    assert_eq!(task(&app, &failed).await["status"], "failed");

    // The round itself is an event, and is on its way.
    eventually("the round is told", async || {
        let events = store(&app).events(None, 1_000).await.expect("readable");
        events.iter().any(|event| event.kind == "pruned").then_some(())
    })
    .await;
    let told = prune(&app, in_days(91), true).await;
    let removed = prune(&app, in_days(91), false).await;
    assert_eq!(told, removed);
    assert_eq!((removed.tasks, removed.dead_letters), (1, 1));
    assert_eq!(app.get(&format!("/api/v1/dead-letters/{failed}")).await.0, 404);
    let (_, metrics) = app.get("/metrics").await;
    let counted = metrics
        .as_str()
        .expect("text")
        .lines()
        .find_map(|line| line.strip_prefix("qron_pruned_total{what=\"artifacts\"} ")?.parse::<f64>().ok());
    assert!(counted.is_some_and(|count| count >= 1.0), "{counted:?}");
    app.stop().await;
}

/// What they have spent counts for the budget of their tree, however late its last task runs.
#[tokio::test(flavor = "multi_thread")]
async fn the_tasks_of_a_tree_and_their_attempts_stay_until_all_of_them_have_ended() {
    let app = TestApp::with(&[("QRON__RETENTION__ATTEMPTS_DAYS", "1")]).await;
    let later = json!({ "goal": "look at it much later", "run_at": "2100-01-01T00:00:00Z" });
    let steps = json!([{ "id": "make", "tool": "create_task", "arguments": later }]);
    let root = app.submit(&json!({ "goal": "make one for later", "plan": { "steps": steps } })).await;
    let done = app.until(&root, "completed").await;
    let child = done["result"]["output"]["task_id"].as_str().expect("an id").to_owned();
    let alone = app.submit(&saving(&["report"])).await;
    app.until(&alone, "completed").await;
    settled(&app, &root, "completed").await;
    settled(&app, &alone, "completed").await;
    let attempts = async |id: &str| task(&app, id).await["attempts"].as_array().map(Vec::len);
    prune(&app, in_days(2), false).await;
    assert_eq!((attempts(&root).await, attempts(&alone).await), (Some(1), Some(0)));
    prune(&app, in_days(31), false).await;
    assert_eq!((attempts(&root).await, attempts(&alone).await), (Some(1), None));
    let (status, _) = app.post(&format!("/api/v1/tasks/{child}/cancel"), &json!(null)).await;
    assert!(status.is_success(), "{status}");
    app.until(&child, "cancelled").await;
    prune(&app, in_days(62), false).await;
    for id in [&root, &child] {
        assert_eq!(app.get(&format!("/api/v1/tasks/{id}")).await.0, 404);
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_folder_of_a_task_goes_with_it_on_every_replica() {
    let folder = tempfile::tempdir().expect("a folder");
    let workspace = folder.path().to_string_lossy().into_owned();
    let app = TestApp::with(&[("QRON__TOOLS__WORKSPACE", &workspace)]).await;
    let write = |content: &str| {
        let arguments = json!({ "path": "out/notes.txt", "content": content, "mode": "append" });
        let steps = json!([{ "id": "write", "tool": "write_file", "arguments": arguments }]);
        json!({ "id": 41, "goal": "write some notes", "plan": { "steps": steps } })
    };
    let mut kept = write("kept");
    kept["id"] = json!(42);
    for body in [write("first"), kept] {
        let id = app.submit(&body).await;
        app.until(&id, "completed").await;
    }
    let markers = folder.path().join(".qron");
    let marker = std::fs::read(markers.join("41")).expect("a marker");
    let leave = |name: &str, marker: &[u8]| {
        std::fs::create_dir(folder.path().join(name)).expect("a folder");
        std::fs::write(markers.join(name), marker).expect("a marker");
    };
    // What a task left that another replica removed, what a task of another store has, and what people keep there.
    leave("00000000-0000-4000-8000-000000000001", &marker);
    leave("78", b"00000000-0000-4000-8000-000000000009");
    for name in ["77", "2024", "lost+found", "007"] {
        std::fs::create_dir_all(folder.path().join(name).join("below")).expect("a folder");
    }
    let names = || {
        let entries = std::fs::read_dir(folder.path()).expect("the workspace");
        let mut names: Vec<String> =
            entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
        names.retain(|name| name != ".qron");
        names.sort();
        names
    };
    prune(&app, in_days(1), true).await;
    assert_eq!(names().len(), 8, "a dry run removes nothing");
    prune(&app, in_days(1), false).await;
    assert_eq!(names(), ["007", "2024", "41", "42", "77", "78", "lost+found"]);
    assert_eq!(app.get("/api/v1/tasks/41").await.0, 200);
    prune(&app, in_days(31), false).await;
    assert_eq!(names(), ["007", "2024", "77", "78", "lost+found"], "the folders go with the tasks");
    assert!(!markers.join("41").exists() && !markers.join("42").exists(), "and their markers with them");
    // Where a folder stayed, a later task of the same id finds it empty all the same.
    let stale = folder.path().join("41");
    leave("41", &marker);
    std::fs::write(stale.join("old.txt"), "old").expect("a file");
    let long_ago = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000);
    std::fs::File::open(&stale).and_then(|opened| opened.set_modified(long_ago)).expect("an older folder");
    let id = app.submit(&write("second")).await;
    app.until(&id, "completed").await;
    assert!(!stale.join("old.txt").exists());
    assert_eq!(std::fs::read_to_string(stale.join("out/notes.txt")).expect("notes"), "second");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workspace_that_is_gone_fails_the_file_tools_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = folder.path().join("place");
    let workspace = place.join("workspace").to_string_lossy().into_owned();
    let app = TestApp::with(&[("QRON__TOOLS__WORKSPACE", &workspace)]).await;
    // A start refuses a workspace that cannot be used; this one is lost later.
    if place.exists() {
        std::fs::remove_dir_all(&place).expect("removed");
    }
    std::fs::write(&place, "").expect("a file");
    let calculate = json!({ "id": "s1", "tool": "calculate", "arguments": { "expression": "1 + 1" } });
    let other = app.submit(&json!({ "goal": "calculate something", "plan": { "steps": [calculate] } })).await;
    app.until(&other, "completed").await;
    let write = json!({ "id": "s1", "tool": "write_file", "arguments": { "path": "notes", "content": "x" } });
    let body = json!({ "goal": "write some notes", "plan": { "steps": [write] }, "max_attempts": 1 });
    let id = app.submit(&body).await;
    let failed = eventually("it has failed", async || {
        let task = task(&app, &id).await;
        (task["status"] == "failed").then_some(task)
    })
    .await;
    assert!(failed["error"].to_string().contains("the folder of the task"), "{}", failed["error"]);
    prune(&app, in_days(31), false).await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_referenced_stays() {
    let app = TestApp::start().await;
    let needed = app.submit(&saving(&["input"])).await;
    app.until(&needed, "completed").await;
    let other = app.submit(&saving(&["output"])).await;
    app.until(&other, "completed").await;
    let open = app.submit(&someday()).await;
    let mut dependent = someday();
    dependent["depends_on"] = json!([needed, open]);
    let dependent = app.submit(&dependent).await;
    let schedule = json!({"at": "2040-01-01T00:00:00Z", "task": {"goal": "do it every day"}});
    let put = app.request(reqwest::Method::PUT, "/api/v1/schedules/daily").json(&schedule);
    assert!(put.send().await.expect("an answer").status().is_success());
    let firing = |schedule: &str, hours: i64| {
        let at = clock::now().plus_millis(-hours * 3_600_000);
        Task::new(TaskId::fresh(), "fired", at).with(|task| {
            task.state.status = TaskStatus::Completed;
            task.spec.schedule_id = Some(schedule.into());
            task.spec.run_at = at;
            task.state.finished_at = Some(at);
        })
    };
    let firings = [firing("daily", 2), firing("daily", 1), firing("daily", 3), firing("removed", 1)];
    store(&app).insert(&firings).await.expect("inserted");
    settled(&app, &needed, "completed").await;
    settled(&app, &other, "completed").await;

    let removed = prune(&app, in_days(200), false).await;
    assert_eq!((removed.tasks, removed.artifacts), (4, 1), "{removed:?}");
    assert_eq!(app.get(&format!("/api/v1/tasks/{other}")).await.0, 404);
    let kept = task(&app, &needed).await;
    assert_eq!((&kept["status"], artifacts_of(&kept)), (&json!("completed"), vec!["input"]));
    assert_eq!(kept["attempts"].as_array().expect("attempts").len(), 1);
    for id in [&open, &dependent] {
        assert!(task(&app, id).await["finished_at"].is_null());
    }
    for (task, there) in firings.iter().zip([false, true, false, false]) {
        assert_eq!(
            store(&app).task(task.id).await.expect("readable").is_some(),
            there,
            "only the last firing of a schedule stays"
        );
    }

    // Once nothing needs it any more it goes like the others.
    app.post("/api/v1/tasks/bulk", &json!({"action": "cancel", "ids": [dependent, open]})).await;
    let removed = prune(&app, in_days(200), false).await;
    assert_eq!((removed.tasks, removed.artifacts), (3, 1), "{removed:?}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_crash_left_of_a_removed_task_is_found_by_the_next_round() {
    let app = TestApp::start().await;
    let gone = TaskId::fresh();
    let store = store(&app);
    let long_ago = in_days(-2);
    store.save_artifact(gone, "s", "orphan", "text/plain", b"x", long_ago).await.expect("saved");
    let young = TaskId::fresh();
    store.save_artifact(young, "s", "newborn", "text/plain", b"x", clock::now()).await.expect("saved");
    let removed = prune(&app, clock::now(), false).await;
    assert_eq!(removed.artifacts, 1);
    assert!(store.artifact(gone, "orphan").await.expect("readable").is_none());
    assert!(store.artifact(young, "newborn").await.expect("readable").is_some());
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn zero_days_are_for_ever_and_attempts_can_go_before_their_task() {
    let settings = [
        ("QRON__RETENTION__COMPLETED_DAYS", "0"),
        ("QRON__RETENTION__EVENTS_DAYS", "0"),
        ("QRON__RETENTION__MEMORY_DAYS", "0"),
        ("QRON__RETENTION__ATTEMPTS_DAYS", "3"),
    ];
    let app = TestApp::with(&settings).await;
    let id = app.submit(&saving(&["kept"])).await;
    app.until(&id, "completed").await;
    settled(&app, &id, "completed").await;
    let told = prune(&app, in_days(10_000), true).await;
    let removed = prune(&app, in_days(10_000), false).await;
    assert_eq!((told, removed), (removed, Pruned { attempts: 1, ..Pruned::default() }));
    let kept = task(&app, &id).await;
    assert_eq!((artifacts_of(&kept), kept["attempts"].as_array().map(Vec::len)), (vec!["kept"], Some(0)));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_tells_and_makes_a_round() {
    let app = TestApp::with(&[("QRON__RETENTION__COMPLETED_DAYS", "1")]).await;
    let ended = in_days(-2);
    let old = Task::new(TaskId::fresh(), "completed two days ago", ended).with(|task| {
        task.state.status = TaskStatus::Completed;
        task.state.finished_at = Some(ended);
    });
    store(&app).insert(std::slice::from_ref(&old)).await.expect("inserted");
    let path = format!("/api/v1/tasks/{}", old.id);
    for (dry_run, left) in [(true, 200), (false, 404)] {
        let (status, told) = app.post("/api/v1/prune", &json!({"dry_run": dry_run})).await;
        assert_eq!(status, 200, "{told}");
        assert_eq!((&told["dry_run"], &told["tasks"]), (&json!(dry_run), &json!(1)));
        assert_eq!(app.get(&path).await.0, left, "after dry_run: {dry_run}");
    }
    app.stop().await;
}

/// How many files there are below `folder`.
fn walk(folder: &std::path::Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let count = |entry: std::fs::DirEntry| if entry.path().is_dir() { walk(&entry.path()) } else { 1 };
    entries.flatten().map(count).sum()
}
