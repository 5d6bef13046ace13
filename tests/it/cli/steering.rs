//! Steering through the command line: one task, many by filter, dry runs, and what is refused.

use std::time::{Duration, Instant};

use qron::domain::time::Timestamp;
use serde_json::{Value, json};

use super::program::{Said, Server};

const SUM: &str = r#"{"steps": [{"id": "sum", "tool": "calculate", "arguments": {"expression": "40 + 2"}}]}"#;
const HOPELESS: &str = r#"{"steps": [{"id": "read", "tool": "read_file", "arguments": {"path": "nowhere.txt"}}]}"#;
const SOMEDAY: &str = "2036-01-01T00:00:00Z";

/// Adds a task and gives back its id.
fn add(server: &Server, arguments: &[&str]) -> String {
    let said = server.run(&[&["add", "do this in ten years", "--json"], arguments].concat()).ok();
    said.json()["id"].as_str().expect("an id").to_owned()
}

fn someday(server: &Server, tag: &str) -> String {
    add(server, &["--at", SOMEDAY, "--tag", tag])
}

fn status(server: &Server, id: &str) -> String {
    server.run(&["show", id, "--json"]).json()["status"].as_str().expect("a status").to_owned()
}

fn until(server: &Server, id: &str, wanted: &str) {
    let began = Instant::now();
    while status(server, id) != wanted {
        assert!(began.elapsed() < Duration::from_secs(30), "{id} is {} and not {wanted}", status(server, id));
    }
}

/// What a dry run says, in words and as JSON, and that it changed nothing.
#[track_caller]
fn tried(server: &Server, arguments: &[&str], expected: u64) {
    let said = server.run(&[arguments, &["--dry-run"]].concat()).ok();
    let tasks = if expected == 1 { "task" } else { "tasks" };
    assert!(said.out.contains(&format!("{expected} {tasks} would be changed")), "{said:?}");
    let told = server.run(&[arguments, &["--dry-run", "--json"]].concat()).ok().json();
    assert_eq!((&told["dry_run"], &told["done"]), (&json!(true), &json!(expected)), "{told}");
}

/// The same, then done.
#[track_caller]
fn tried_and_done(server: &Server, arguments: &[&str], expected: u64) -> Value {
    tried(server, arguments, expected);
    let report = server.run(&[arguments, &["--json"]].concat()).ok().json();
    assert_eq!((&report["dry_run"], &report["done"]), (&json!(false), &json!(expected)), "{report}");
    report
}

#[track_caller]
fn refused(said: &Said, code: i32, part: &str) {
    assert_eq!(said.code, Some(code), "{said:?}");
    assert!(said.err.contains(part), "{part:?} is missing in {}", said.err);
}

#[test]
fn tasks_are_cancelled_and_tried_again() {
    let server = Server::start();
    // Nothing of it shall begin before it is looked at.
    server.run(&["pause"]).ok();
    let ids: Vec<String> = ["red", "red", "blue"].iter().map(|tag| someday(&server, tag)).collect();
    let said = server.run(&["cancel", &ids[2], "--json"]).ok().json();
    assert_eq!(said["items"][0]["status"], "cancelled");
    assert!(server.run(&["cancel", &ids[2]]).ok().out.contains("cancelled"), "it may be asked for twice");
    tried(&server, &["cancel", &ids[0]], 1);
    assert_eq!(status(&server, &ids[0]), "pending");
    tried_and_done(&server, &["cancel", "--tag", "red"], 2);
    tried_and_done(&server, &["cancel", "--all", "--yes"], 0);
    tried_and_done(&server, &["retry", "--status", "cancelled", "--tag", "red"], 2);
    assert_eq!(status(&server, &ids[1]), "pending");
    let said = server.run(&["retry", &ids[2]]).ok();
    assert!(said.out.contains(&format!("{} pending, due 2036-01-01 00:00:00Z", ids[2])), "{said:?}");
    for id in &ids[1..] {
        let shown = server.run(&["show", id, "--json"]).json();
        assert!(shown["run_at"].as_str().is_some_and(|at| at.starts_with("2036-01-01")), "{shown}");
    }

    refused(&server.run(&["retry", &ids[2]]), 1, "pending");
    refused(&server.run(&["cancel", "not-an-id"]), 2, "not-an-id");
    refused(&server.run(&["cancel"]), 2, "--tag or --all");
    refused(&server.run(&["cancel", &ids[0], "--all"]), 2, "ids and a filter are both given");
    refused(&server.run(&["cancel", "--status", "asleep"]), 2, "asleep");
    refused(&server.run(&["retry", "--older-than", "yesterday"]), 2, "yesterday");
    let strange = "00000000-0000-4000-8000-000000000000";
    let said = server.run(&["cancel", strange, &ids[0]]);
    refused(&said, 1, strange);
    assert_eq!(status(&server, &ids[0]), "cancelled", "one that is not there does not stop the others");
}

#[test]
fn what_changes_every_task_asks_first() {
    let server = Server::start();
    let ids: Vec<String> = (0..3).map(|_| someday(&server, "red")).collect();
    for (action, more) in [
        ("cancel", &[][..]),
        ("reprioritise", &["--priority", "1"]),
        ("snooze", &["--for", "1h"]),
        ("cancel", &["--tag", "red"]),
    ] {
        let said = server.run(&[&[action, "--all"], more].concat());
        refused(&said, 2, "add --yes");
        refused(&said, 2, &format!("{action} 3 tasks"));
    }
    let said = server.run(&["retry", "--all"]).ok();
    assert!(said.out.contains("there is nothing to retry"), "no question about nothing: {said:?}");
    for action in ["requeue", "purge"] {
        refused(&server.run(&["dead-letters", action, "--all"]), 2, "add --yes");
    }
    assert!(ids.iter().all(|id| status(&server, id) == "pending"), "nothing was changed");
    tried(&server, &["cancel", "--all"], 3);
    tried_and_done(&server, &["reprioritise", "--priority", "1", "--all", "--yes"], 3);
    tried_and_done(&server, &["cancel", "--all", "--yes"], 3);
    assert!(ids.iter().all(|id| status(&server, id) == "cancelled"));
}

#[test]
fn a_task_is_due_so_long_from_now() {
    let server = Server::start();
    let task = server.run(&["show", &add(&server, &["--in", "2h"]), "--json"]).ok().json();
    let time = |field: &str| Timestamp::read(&task[field]).expect("a time").as_millis();
    let wait = time("run_at") - time("created_at");
    assert!((7_140_000..=7_200_000).contains(&wait), "{wait} ms: {task}");
    assert_eq!(task["status"], "pending");
}

#[test]
fn a_task_that_failed_is_tried_again_by_filter() {
    let server = Server::start();
    let said = server.run_with(&["add", "read what is not there", "--plan", "-", "--user", "ada", "--json"], HOPELESS);
    let id = said.ok().json()["id"].as_str().expect("an id").to_owned();
    until(&server, &id, "failed");
    server.run(&["pause"]).ok();
    tried_and_done(&server, &["retry", "--user", "ada", "--text", "NOT THERE"], 1);
    assert_eq!(status(&server, &id), "pending");
    server.run(&["cancel", &id]).ok();
    assert!(server.run(&["retry", &id]).ok().out.contains("pending, due now"), "it has run before");
    assert_eq!(server.run(&["dead-letters", "list", "--json"]).ok().json()["items"], json!([]));
}

#[test]
fn tasks_are_moved_by_parent_and_key() {
    let server = Server::start();
    let parent = someday(&server, "parent");
    let child = add(&server, &["--at", SOMEDAY, "--parent", &parent, "--concurrency-key", "acme"]);
    add(&server, &["--at", SOMEDAY, "--concurrency-key", "acme"]);
    tried_and_done(&server, &["reprioritise", "--priority", "9", "--concurrency-key", "acme"], 2);
    tried_and_done(&server, &["snooze", "--until", "2040-01-01T00:00:00Z", "--parent", &parent], 1);
    let shown = server.run(&["show", &child, "--json"]).ok().json();
    assert_eq!((&shown["priority"], &shown["run_at"]), (&json!(9), &json!("2040-01-01T00:00:00.000Z")));
    let said = server.run(&["snooze", "--for", "7d", &parent]).ok();
    assert!(said.out.contains("1 task was changed"), "{said:?}");
    assert_ne!(server.run(&["show", &parent, "--json"]).ok().json()["run_at"], "2036-01-01T00:00:00.000Z");
    tried_and_done(&server, &["reprioritise", "--priority", "0", &parent], 1);

    refused(&server.run(&["reprioritise", "--priority", "11", &parent]), 2, "11");
    refused(&server.run(&["reprioritise", &parent]), 2, "--priority");
    refused(&server.run(&["reprioritise", "--priority", "1", "--parent", "../x"]), 2, "../x");
    refused(&server.run(&["snooze", &parent]), 2, "--until");
    refused(&server.run(&["snooze", "--for", "soon", &parent]), 2, "soon");
    refused(&server.run(&["snooze", "--until", "soon", &parent]), 2, "soon");
    refused(&server.run(&["snooze", "--until", SOMEDAY, "--for", "1h", &parent]), 2, "--for");
    server.run(&["cancel", &parent]).ok();
    refused(&server.run(&["reprioritise", "--priority", "1", &parent]), 1, "cancelled");
    refused(&server.run(&["snooze", "--for", "1h", &parent]), 1, "cancelled");
    let said = server.run(&["snooze", "--for", "1h", &parent]);
    refused(&said, 1, "so its due time cannot be changed");
    assert_eq!(said.err.matches(&parent).count(), 1, "the task is named once: {}", said.err);
    refused(&server.run(&["cancel", &child, &parent, "--dry-run"]), 1, "was cancelled at 20");
}

#[test]
fn a_pause_holds_until_it_is_ended() {
    let server = Server::start();
    let said = server.run(&["pause", "--agent", "generalist", "--note", "a new key", "--json"]).ok().json();
    assert_eq!((&said["items"][0]["agent"], &said["items"][0]["note"]), (&json!("generalist"), &json!("a new key")));
    let said = server.run(&["pause"]).ok();
    assert!(said.out.contains("the whole fleet") && said.out.contains("a new key"), "{said:?}");
    let said = server.run_with(&["add", "add forty and two", "--plan", "-", "--json"], SUM).ok().json();
    let id = said["id"].as_str().expect("an id").to_owned();
    let left = server.run(&["resume", "--json"]).ok().json();
    assert_eq!(left["items"].as_array().map(Vec::len), Some(1), "that of the agent is left");
    assert_eq!(status(&server, &id), "pending");
    assert!(server.run(&["resume", "--agent", "generalist"]).ok().out.contains("no pause is in effect"));
    until(&server, &id, "completed");
    refused(&server.run(&["pause", "--agent", "nobody"]), 2, "nobody");
    refused(&server.run(&["resume", "generalist"]), 2, "generalist");
}

#[test]
fn what_waits_for_a_person_is_approved_and_denied() {
    let server = Server::start();
    let ask = |text: &str| {
        let arguments = ["add", text, "--plan", "-", "--needs-approval", "--json"];
        server.run_with(&arguments, SUM).ok().json()["id"].as_str().expect("an id").to_owned()
    };
    let (good, bad) = (ask("add forty and two"), ask("add forty and two again"));
    let open = server.run(&["approvals", "--json"]).ok().json();
    assert_eq!(open["items"].as_array().map(Vec::len), Some(2));
    assert!(server.run(&["approvals"]).ok().out.contains("add forty and two again"));
    let hash = open["items"].as_array().expect("items").iter().find(|item| item["task_id"] == good.as_str());
    let hash = hash.expect("it asks")["hash"].as_str().expect("a hash").to_owned();

    refused(&server.run(&["approve", &good, "--hash", "0000"]), 2, "0000");
    refused(&server.run(&["approve", "not-an-id"]), 2, "not-an-id");
    refused(&server.run(&["approve"]), 2, "TASK");
    let said = server.run(&["approve", &good, "--hash", &hash[..12], "--by", "ada", "--json"]).ok().json();
    assert_eq!((&said["approvals"][0]["verdict"], &said["approvals"][0]["by"]), (&json!("approved"), &json!("ada")));
    until(&server, &good, "completed");
    refused(&server.run(&["approve", &good]), 1, "has no open question to approve or deny");

    let said = server.run(&["approve", &bad, "--deny", "--note", "once is enough"]).ok();
    assert!(said.out.contains("cancelled"), "{said:?}");
    let shown = server.run(&["show", &bad, "--json"]).ok().json();
    assert!(shown["error"]["message"].as_str().is_some_and(|why| why.contains("once is enough")), "{shown}");
    assert_eq!(server.run(&["approvals", "--json"]).ok().json()["items"], json!([]));
}
