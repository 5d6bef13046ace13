//! `list` and `status`: what happened, what is next, and what is paused.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::program::{Said, Server, run};

const NEXT_YEAR: &str = "2036-01-01T00:00:00Z";

fn ids(listing: &Value) -> Vec<&str> {
    listing["items"].as_array().expect("items").iter().filter_map(|item| item["id"].as_str()).collect()
}

/// A server that is paused, with 12 tasks of another decade, one soon, one of a person, and two that ended.
fn server() -> Server {
    let server = Server::start();
    let task =
        |id: u32, run_at: &str| json!({ "id": id.to_string(), "goal": format!("goal number {id}"), "run_at": run_at });
    let sum = json!([{ "id": "sum", "tool": "calculate", "arguments": { "expression": "40 + 2" } }]);
    let done = json!({ "id": "31", "goal": "add forty and two", "plan": sum, "tags": ["sums"] });
    server.post("tasks", &done);
    let began = Instant::now();
    while server.run(&["show", "31", "--json"]).json()["status"] != "completed" {
        assert!(began.elapsed() < Duration::from_secs(30), "it does not complete");
    }
    server.run(&["pause", "--note", "so that nothing else runs"]).ok();
    let mut tasks: Vec<Value> = (100..112).map(|id| task(id, NEXT_YEAR)).collect();
    tasks.push(task(21, "2035-01-01T00:00:00Z"));
    let mut asking = task(11, NEXT_YEAR);
    asking["approval"] = json!("required");
    tasks.push(asking);
    tasks.push(task(32, NEXT_YEAR));
    server.post("tasks", &json!(tasks));
    server.run(&["cancel", "32"]).ok();
    server
}

#[test]
fn a_listing_begins_with_what_is_at_hand_and_not_with_next_year() {
    let server = server();
    let listed = server.run(&["list", "--json"]).ok().json();
    assert_eq!(listed["total"], 16);
    let order = ids(&listed);
    assert_eq!(order[..3], ["11", "21", "100"], "a person, then the soonest: {order:?}");
    assert_eq!(order[14..], ["32", "31"], "the latest end comes first, whenever it was due: {order:?}");

    let said = server.run(&["list"]).ok();
    let at = |part: &str| said.out.find(part).unwrap_or_else(|| panic!("{part:?} is missing in\n{}", said.out));
    assert!(at("waiting for a person: 1") < at("next: 10 of 13"), "{}", said.out);
    assert!(at("goal number 21") < at("goal number 100") && at("goal number 100") < at("ended: 2"), "{}", said.out);
    assert!(at("ended: 2") < at("goal number 32") && at("goal number 32") < at("add forty and two"), "{}", said.out);
    assert!(!said.out.contains("running:"), "a group without tasks is left out: {}", said.out);
    assert!(said.err.contains("--limit") && said.err.contains("--all"), "{said:?}");

    let all = server.run(&["list", "--all"]).ok();
    assert!(all.out.contains("next: 13\n") && all.err.is_empty(), "{all:?}");
    let few = server.run(&["list", "--limit", "2", "--json"]).ok().json();
    assert_eq!((ids(&few), &few["total"]), (vec!["11", "21", "100", "32", "31"], &json!(16)));
}

#[test]
fn a_narrow_listing_leaves_room_for_the_goal() {
    let server = server();
    let listed = |columns: &str| -> String {
        Said::from(server.command(&["list"]).env("COLUMNS", columns).output().expect("runs")).ok().out
    };
    let (narrow, wide) = (listed("80"), listed("160"));
    assert!(narrow.contains("goal number 21") && !narrow.contains("AGENT"), "{narrow}");
    assert!(wide.contains("AGENT") && wide.contains("2035-01-01 00:00:00Z (in "), "{wide}");
}

#[test]
fn a_listing_is_filtered_and_counted() {
    let server = server();
    let listed = |arguments: &[&str]| server.run(&[&["list", "--json"], arguments].concat()).ok().json();
    for (arguments, expected) in [
        (&["--status", "completed"][..], &["31"][..]),
        (&["--status", "cancelled,completed"], &["32", "31"]),
        (&["--status", "cancelled", "--status", "awaiting_approval"], &["11", "32"]),
        (&["--tag", "sums"], &["31"]),
        (&["--tag", "nothing"], &[]),
        (&["--status", "running"], &[]),
    ] {
        let listing = listed(arguments);
        assert_eq!((ids(&listing), &listing["total"]), (expected.to_vec(), &json!(expected.len())), "{arguments:?}");
    }
    assert!(server.run(&["list", "--tag", "nothing"]).ok().err.contains("no task matches"));
    let said = server.run(&["list", "--status", "pending", "--limit", "3"]).ok();
    assert!(said.out.contains("next: 3 of 13") && !said.out.contains("ended"), "{said:?}");
    assert_eq!(ids(&listed(&["--status", "pending", "--limit", "600"])).len(), 13);
}

#[test]
fn status_shows_pauses_work_and_firings_and_changes_nothing() {
    let server = server();
    server.run(&["schedules", "add", "later", "what comes later", "--every", "2d"]).ok();
    server.run(&["schedules", "add", "sooner", "what comes sooner", "--every", "1d"]).ok();
    server.run(&["schedules", "add", "held", "what is held back", "--every", "1h", "--paused"]).ok();
    let said = server.run(&["status"]).ok();
    for part in [
        "the whole fleet since 20",
        "so that nothing else runs",
        "schedule held",
        "13 pending",
        "1 completed",
        "goal number 21",
    ] {
        assert!(said.out.contains(part), "{part:?} is missing in\n{}", said.out);
    }
    assert!(said.out.find("sooner") < said.out.find("later"), "{}", said.out);
    assert!(said.out.contains("1 agent in 1 replica"), "{}", said.out);
    let told = server.run(&["status", "--json"]).ok().json();
    assert_eq!(told["pauses"][0]["note"], "so that nothing else runs");
    assert_eq!((&told["counts"]["counts"]["pending"], &told["counts"]["total"]), (&json!(13), &json!(16)));
    assert_eq!((&told["firings"][0]["schedule"], &told["paused_schedules"]), (&json!("sooner"), &json!(["held"])));
    assert_eq!((&told["next"][0]["id"], &told["awaiting_approval"][0]["id"]), (&json!("21"), &json!("11")));
    server.run(&["resume"]).ok();
    server.run(&["schedules", "resume", "held"]).ok();
    let said = server.run(&["status"]).ok();
    assert!(said.out.starts_with("paused     nothing"), "{said:?}");
}

#[test]
fn a_slip_of_the_finger_never_leads_to_pause() {
    for typed in ["status", "stats", "pauses", "state"] {
        let said: Said = run(&[typed, "--url", "http://127.0.0.1:9"]);
        assert_ne!(said.code, Some(0), "{said:?}");
        assert!(!said.err.contains("'pause'"), "{typed} suggests to pause: {}", said.err);
    }
    let said = run(&["status", "--url", "http://127.0.0.1:9"]);
    assert!(said.code == Some(1) && said.err.contains("no qron answers"), "it is a command: {said:?}");
}

#[test]
fn a_second_pause_keeps_the_first_note_and_time() {
    let server = Server::start();
    let pause = |more: &[&str]| server.run(&[&["pause", "--json"], more].concat()).ok().json();
    let first = pause(&["--note", "moving house"]);
    assert_eq!((&first["outcome"], &first["items"][0]["note"]), (&json!("paused"), &json!("moving house")));
    for more in [&[][..], &["--note", "moving house"], &["--note", ""]] {
        let again = pause(more);
        assert_eq!((&again["outcome"], &again["items"]), (&json!("already_paused"), &first["items"]), "{more:?}");
    }
    let said = server.run(&["pause"]).ok();
    for part in ["the whole fleet has been paused since 20", "moving house", "nothing was changed"] {
        assert!(said.out.contains(part), "{part:?} is missing in {}", said.out);
    }
    let changed = pause(&["--note", "a new flat"]);
    assert_eq!((&changed["outcome"], &changed["items"][0]["note"]), (&json!("note_changed"), &json!("a new flat")));
    assert_eq!(changed["items"][0]["since"], first["items"][0]["since"], "it has been paused all the time");
    let said = server.run(&["pause", "--note", "back soon"]).ok();
    assert!(said.out.contains("back soon") && said.out.contains("its note was changed"), "{said:?}");

    let agent = pause(&["--agent", "generalist"]);
    assert_eq!(agent["outcome"], "paused", "a pause of its own");
    assert!(server.run(&["resume"]).ok().out.contains("the whole fleet is resumed: it claims tasks again"));
    let said = server.run(&["resume"]).ok();
    assert!(said.out.contains("was not paused") && said.out.contains("generalist"), "{said:?}");
    assert_eq!(pause(&["--note", "again"])["outcome"], "paused", "one that was resumed can be paused anew");
}

#[test]
fn what_lies_in_the_past_or_is_paused_or_unknown_is_said_so() {
    let server = Server::start();
    server.run(&["pause"]).ok();
    let said = server.run(&["add", "a goal of another decade", "--at", "2020-01-01T00:00:00Z"]).ok();
    assert!(said.err.contains("due now: 2020-01-01 00:00:00Z is past"), "{said:?}");
    let said = server.run(&["add", "a goal of another decade", "--at", NEXT_YEAR]).ok();
    assert!(!said.err.contains("due now"), "{said:?}");

    let said = server.run(&["list", "--agent", "nobody"]).ok();
    assert!(said.err.contains("no replica has an agent \"nobody\", and no task names it"), "{said:?}");

    server.run(&["schedules", "add", "report", "a goal of another decade", "--cron", "@daily"]).ok();
    assert!(!server.run(&["schedules", "preview", "report"]).ok().err.contains("paused"));
    server.run(&["schedules", "pause", "report"]).ok();
    let said = server.run(&["schedules", "preview", "report"]).ok();
    assert!(said.err.contains("schedule report is paused since 2") && said.out.lines().count() == 10, "{said:?}");
    let before = server.run(&["schedules", "show", "report", "--json"]).json()["paused_since"].clone();
    assert!(before.is_string(), "{before}");
    server.run(&["schedules", "edit", "report", "--cron", "@weekly"]).ok();
    let after = server.run(&["schedules", "show", "report", "--json"]).json()["paused_since"].clone();
    assert_eq!(before, after, "an edit ends no pause");
    let said = server.run(&["status"]).ok();
    assert!(said.out.contains("schedule report since 2"), "{said:?}");
    server.run(&["schedules", "resume", "report"]).ok();
    assert!(server.run(&["schedules", "show", "report", "--json"]).json().get("paused_since").is_none());
}
