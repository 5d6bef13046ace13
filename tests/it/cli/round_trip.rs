//! A task from `add` to `search`, and what goes wrong on the way.

use std::time::{Duration, Instant};

use serde_json::json;

use super::program::{Server, plan_file};

const SUM: &str = r#"{"steps": [{"id": "sum", "tool": "calculate", "arguments": {"expression": "40 + 2"}}]}"#;
const HALF: &str = r#"{"steps": [
    {"id": "sum", "tool": "calculate", "arguments": {"expression": "40 + 2"}},
    {"id": "read", "tool": "read_file", "arguments": {"path": "nowhere.txt"}, "depends_on": ["sum"]},
    {"id": "keep", "tool": "set_state", "arguments": {"key": "k", "value": "${read.content}"}, "depends_on": ["read"]}]}"#;
const HOPELESS: &str = r#"{"steps": [{"id": "read", "tool": "read_file", "arguments": {"path": "nowhere.txt"}}]}"#;

#[test]
fn a_task_goes_in_is_followed_listed_shown_and_found() {
    let mut server = Server::start();
    let plan = plan_file(SUM);
    let plan = plan.path().to_string_lossy().into_owned();
    let goal = "add forty and two";
    let context = ["--context", "n=1", "--tag", "sums", "--user", "ada", "--priority", "7"];
    let said = server.run(&[&["add", goal, "--plan", &plan, "--json"][..], &context].concat()).ok().json();
    assert_eq!((&said["created"], &said["goal"], &said["priority"]), (&json!(true), &json!(goal), &json!(7)));
    assert_eq!((&said["context"], &said["tags"]), (&json!({ "n": 1 }), &json!(["sums"])));
    let id = said["id"].as_str().expect("an id").to_owned();

    let followed = server.run(&["show", &id, "--follow"]).ok();
    assert!(followed.out.contains("completed") && followed.out.contains("42"), "{followed:?}");
    let shown = server.run(&["show", &id, "--json"]).ok().json();
    assert_eq!(shown["result"]["output"]["value"], "42");
    let listed = server.run(&["list", "--status", "completed", "--tag", "sums", "--json"]).ok().json();
    assert_eq!(listed["items"][0]["id"], id.as_str());
    assert!(server.run(&["list"]).ok().out.contains(goal));
    let agents = server.run(&["agents", "--json"]).ok().json();
    assert_eq!(agents["items"][0]["name"], "generalist");
    assert!(server.run(&["agents"]).ok().out.contains("generalist"));

    let began = Instant::now();
    while server.run(&["search", "forty", "--user", "ada", "--json"]).ok().json()["items"][0]["task_id"] != id.as_str()
    {
        assert!(began.elapsed() < Duration::from_secs(20), "the task is not found");
    }
    let said = server.run(&["cancel", &id]);
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("completed"), "{said:?}");
    assert_eq!(server.terminate(), Some(0), "it stops well when asked to");
}

#[test]
fn a_plan_comes_through_standard_input_and_a_key_keeps_a_task_single() {
    let server = Server::start();
    let arguments =
        ["add", "add forty and two", "--plan", "-", "--unique-key", "sum", "--unique-for", "forever", "--follow"];
    let said = server.run_with(&arguments, SUM).ok();
    assert!(said.out.contains("added") && said.out.contains("42"), "{said:?}");
    let said = server.run_with(&arguments, SUM).ok();
    assert!(said.out.contains("already there"), "{said:?}");
}

#[test]
fn a_task_that_fails_is_exit_code_1_and_a_dead_letter_to_handle() {
    let server = Server::start();
    let said = server.run_with(&["add", "read what is not there", "--plan", "-", "--follow"], HOPELESS);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.out.contains("failed") && said.out.contains("nowhere.txt"), "{said:?}");
    let listed = server.run(&["dead-letters", "list", "--json"]).ok().json();
    let id = listed["items"][0]["task_id"].as_str().expect("an id").to_owned();
    assert!(server.run(&["dead-letters", "list"]).ok().out.contains(&id));
    assert!(server.run(&["dead-letters", "show", &id]).ok().out.contains("nowhere.txt"));
    let said = server.run(&["dead-letters", "requeue", &id]).ok();
    assert!(said.out.contains("1 requeued"), "{said:?}");
    assert_eq!(server.run(&["show", &id, "--follow"]).code, Some(1), "it fails again");

    let said = server.run(&["dead-letters", "purge", "--all"]);
    assert_eq!(said.code, Some(2), "a script must say --yes: {said:?}");
    assert!(server.run(&["dead-letters", "purge", "--all", "--yes"]).ok().out.contains("1 purged"));
    assert_eq!(server.run(&["dead-letters", "list", "--json"]).ok().json()["items"], json!([]));
    let again = server.run(&["retry", &id, "--json"]).ok().json();
    assert_eq!(again["items"][0]["status"], "pending");
}

#[test]
fn steps_that_failed_or_were_not_run_are_told_apart_from_done_ones() {
    let server = Server::start();
    let said = server.run_with(&["add", "add, then read what is not there", "--plan", "-", "--follow"], HALF);
    assert!(said.code == Some(1) && said.out.contains("1 of 3 done, 1 failed, 1 blocked"), "{said:?}");
    let listed = server.run(&["list", "--json"]).ok().json();
    let shown = server.run(&["show", listed["items"][0]["id"].as_str().expect("an id"), "--json"]).ok().json();
    let progress = &shown["progress"];
    let counts = ["done", "failed", "blocked", "total"].map(|name| progress[name].as_u64());
    assert_eq!(counts, [1, 1, 1, 3].map(Some), "{progress}");
    let said = server.run_with(&["add", "add forty and two", "--plan", "-", "--follow"], SUM).ok();
    assert!(said.out.contains("1 of 1 done\n"), "{said:?}");
}

#[test]
fn an_error_of_an_earlier_attempt_is_told_as_such() {
    let server = Server::with(&[("QRON__TOOLS__HTTP__ALLOW", "127.0.0.1")]);
    let added = |plan: &str| {
        let said = server.run_with(&["add", "do what cannot be done", "--plan", "-", "--json"], plan).ok().json();
        said["id"].as_str().expect("an id").to_owned()
    };
    let until = |id: &str, is_there: &dyn Fn(&str) -> bool| {
        let began = Instant::now();
        loop {
            let said = server.run(&["show", id]).ok().out;
            if is_there(&said) {
                return said;
            }
            assert!(began.elapsed() < Duration::from_secs(20), "{said}");
        }
    };
    // A port that was free a moment ago: the failure is transient, and another attempt is to come.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let ask =
        json!({"steps": [{"id": "ask", "tool": "http_request", "arguments": {"url": format!("http://{closed}/")}}]});
    let id = added(&ask.to_string());
    let waiting = until(&id, &|said| said.contains("last error"));
    assert!(waiting.contains("last error attempt 1 failed: ") && !waiting.contains("\nerror"), "{waiting}");
    server.run(&["cancel", &id]).ok();
    let cancelled = until(&id, &|said| said.contains("cancelled"));
    assert!(cancelled.contains("\nerror      cancelled") && !cancelled.contains("last error"), "{cancelled}");

    let id = added(HOPELESS);
    let failed = until(&id, &|said| said.contains("\nerror "));
    assert!(failed.contains("nowhere.txt"), "{failed}");
    server.run(&["pause"]).ok();
    server.run(&["retry", &id]).ok();
    let again = server.run(&["show", &id, "--json"]).ok().json();
    assert_eq!((&again["status"], &again["error"]), (&json!("pending"), &json!(null)), "a person had it begin anew");
    assert!(again["attempts"][0]["failure"].to_string().contains("nowhere.txt"), "the attempt keeps it: {again:#}");
    assert!(!server.run(&["show", &id]).ok().out.contains("error "), "nothing has failed since");
}

#[test]
fn stored_text_cannot_act_on_the_terminal() {
    let server = Server::start();
    let goal = "clear it \u{1b}[2J\u{9b}31m \u{202e} and ring \u{7}";
    server.run(&["add", goal, "--at", "2036-01-01T00:00:00Z", "--tag", "\u{1b}]0;x\u{7}"]).ok();
    let listed = server.run(&["list", "--json"]).ok();
    assert_eq!(listed.json()["items"][0]["goal"], goal);
    let id = listed.json()["items"][0]["id"].as_str().expect("an id").to_owned();
    for said in [listed, server.run(&["list"]).ok(), server.run(&["show", &id]).ok()] {
        let harmful = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!said.out.chars().any(harmful), "{:?}", said.out);
    }
}

#[test]
fn a_task_that_needs_a_model_says_that_it_waits_for_one() {
    let server = Server::start();
    let said = server.run(&["add", "think about the weather"]).ok();
    assert!(said.out.contains("added"), "{said:?}");
    let cause = "no model is configured here";
    assert!(format!("{}{}", said.out, said.err).contains(cause), "{said:?}");
    let listed = server.run(&["list", "--json"]).ok().json();
    let id = listed["items"][0]["id"].as_str().expect("an id").to_owned();
    let shown = server.run(&["show", &id]).ok();
    assert!(shown.out.contains("waiting    for a model since ") && shown.out.contains(cause), "{shown:?}");
    assert!(server.run(&["list"]).ok().out.contains("no model"));
    let agents = server.run(&["agents"]).ok();
    assert!(agents.out.contains("MODEL") && agents.out.contains("none"), "{agents:?}");
}
