//! Ids as people type them, and as tables show them.

use serde_json::{Value, json};

use super::program::{Said, Server};

const SOMEDAY: &str = "2036-01-01T00:00:00Z";
/// Two ids that begin alike, two that do not, and a number.
const FIRST: &str = "11110000-0000-4000-8000-00000000000a";
const SECOND: &str = "1111ffff-0000-4000-8000-00000000000b";
const THIRD: &str = "2222aaaa-0000-4000-8000-00000000000c";
const ASKING: &str = "3333bbbb-0000-4000-8000-00000000000d";
const NUMBER: &str = "44445555";

fn server() -> Server {
    let server = Server::start();
    let task = |id: &str| json!({ "id": id, "goal": format!("a goal for {id}"), "run_at": SOMEDAY });
    let mut tasks: Vec<Value> = [FIRST, SECOND, THIRD, NUMBER].map(task).to_vec();
    let mut asking = task(ASKING);
    asking["approval"] = json!("required");
    tasks.push(asking);
    server.post("tasks", &json!(tasks));
    server
}

#[track_caller]
fn refused(said: &Said, code: i32, parts: &[&str]) {
    assert_eq!(said.code, Some(code), "{said:?}");
    for part in parts {
        assert!(said.err.contains(part), "{part:?} is missing in {}", said.err);
    }
}

#[test]
fn the_beginning_of_an_id_is_enough_where_it_is_unique() {
    let server = server();
    for (typed, id) in [
        ("1111f", SECOND),
        ("1111F", SECOND),
        ("11110000-0000", FIRST),
        ("2222", THIRD),
        ("2222aaaa000040008000", THIRD),
        (THIRD, THIRD),
        ("4444", NUMBER),
        (NUMBER, NUMBER),
    ] {
        if id == NUMBER && typed != NUMBER {
            // A number is not found by its beginning: it would be another number.
            refused(&server.run(&["show", typed]), 1, &["no task has an id that begins with 4444", "qron list"]);
            continue;
        }
        assert_eq!(server.run(&["show", typed, "--json"]).ok().json()["id"], id, "{typed}");
    }
    let before = server.run(&["list", "--json"]).ok().json();
    refused(&server.run(&["cancel", "1111"]), 2, &["several tasks", "1111", FIRST, SECOND, "a goal for"]);
    refused(&server.run(&["show", "1111"]), 2, &[FIRST, SECOND]);
    refused(&server.run(&["show", "abcd"]), 1, &["no task has an id that begins with abcd", "qron list"]);
    refused(&server.run(&["cancel", "222"]), 1, &["there is no task 222"]);
    for text in ["22a", "x", "2222aaaa-zzzz", "../2222", ""] {
        refused(&server.run(&["cancel", text]), 2, &[&format!("{text:?}"), "hexadecimal"]);
    }
    assert_eq!(server.run(&["list", "--json"]).ok().json(), before, "nothing was cancelled");
}

#[test]
fn every_command_takes_the_beginning_of_an_id() {
    let server = server();
    let shown = |id: &str| server.run(&["show", id, "--json"]).ok().json();
    server.run(&["reprioritise", "--priority", "9", "2222", "1111f"]).ok();
    assert_eq!((&shown(THIRD)["priority"], &shown(SECOND)["priority"]), (&json!(9), &json!(9)));
    server.run(&["snooze", "--until", "2037-01-01T00:00:00Z", "2222a"]).ok();
    assert_eq!(shown(THIRD)["run_at"], "2037-01-01T00:00:00.000Z");
    let added = ["add", "a goal for a child", "--at", SOMEDAY, "--parent", "2222", "--after", "1111f", "--json"];
    let child = server.run(&added).ok().json();
    assert_eq!((&child["parent"], &child["depends_on"]), (&json!(THIRD), &json!([SECOND])));
    assert_eq!(server.run(&["list", "--parent", "2222", "--json"]).ok().json()["items"][0]["id"], child["id"]);
    let told = server.run(&["snooze", "--for", "1h", "--parent", "2222", "--dry-run", "--json"]).ok().json();
    assert_eq!(told["done"], 1);
    assert!(server.run(&["approve", "3333", "--note", "fine"]).ok().out.contains("pending"));
    let said = server.run(&["cancel", "2222", "3333bbbb"]).ok();
    assert!(
        said.out.contains(&format!("{THIRD} cancelled")) && said.out.contains(ASKING),
        "whole ids are told: {said:?}"
    );
    server.run(&["pause"]).ok();
    assert!(server.run(&["retry", "2222"]).ok().out.contains(&format!("{THIRD} pending")));
    refused(&server.run(&["snooze", "--for", "1h", "1111"]), 2, &["several tasks", FIRST, SECOND]);
    refused(&server.run(&["add", "a goal for a child", "--after", "1111"]), 2, &["several tasks"]);
}

#[test]
fn dead_letters_are_found_by_the_beginning_of_their_tasks() {
    let server = Server::start();
    let read = json!({ "id": "read", "tool": "read_file", "arguments": { "path": "nowhere.txt" } });
    let hopeless = |id: &str| json!({ "id": id, "goal": "read what is not there", "plan": [read] });
    server.post("tasks", &json!([hopeless(FIRST), hopeless(SECOND), hopeless(THIRD)]));
    for id in [FIRST, SECOND, THIRD] {
        assert_eq!(server.run(&["show", id, "--follow"]).code, Some(1));
    }
    assert!(server.run(&["dead-letters", "show", "2222"]).ok().out.contains(THIRD));
    refused(&server.run(&["dead-letters", "purge", "1111"]), 2, &["several dead letters", FIRST, SECOND]);
    assert!(server.run(&["dead-letters", "purge", "2222", "1111f"]).ok().out.contains("2 purged"));
    refused(&server.run(&["dead-letters", "show", "2222"]), 1, &["no dead letter", "qron dead-letters list"]);
    assert!(server.run(&["dead-letters", "requeue", "11110000"]).ok().out.contains("1 requeued"));
}

#[test]
fn a_table_keeps_ids_whole_and_rows_on_one_line_in_any_terminal() {
    let server = server();
    let read = json!({ "id": "read", "tool": "read_file", "arguments": { "path": "nowhere.txt" } });
    let failing = "5555cccc-0000-4000-8000-00000000000e";
    let long = "a very long goal that goes on ".repeat(20);
    server.post("tasks", &json!({ "id": failing, "goal": long.trim(), "plan": [read] }));
    assert_eq!(server.run(&["show", failing, "--follow"]).code, Some(1));
    for columns in ["60", "80", "100", "200"] {
        let run = |arguments: &[&str]| -> Said {
            server.command(arguments).env("COLUMNS", columns).output().expect("runs").into()
        };
        let width: usize = columns.parse().expect("a number");
        for (arguments, ids) in [
            (&["list"][..], &[FIRST, SECOND, THIRD, ASKING, failing][..]),
            (&["list", "--status", "failed"], &[failing]),
            (&["dead-letters", "list"], &[failing]),
            (&["status"], &[FIRST, ASKING]),
        ] {
            let said = run(arguments).ok();
            for id in ids {
                let lines = said.out.lines().filter(|line| line.contains(id)).count();
                assert_eq!(lines, 1, "{id} in {columns} columns: {}", said.out);
            }
            let widest = said.out.lines().map(|line| line.chars().count()).max().unwrap_or_default();
            assert!(width < 80 || widest <= width, "{widest} of {columns} columns: {}", said.out);
        }
    }
}
