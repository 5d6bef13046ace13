//! A filter means the same in a listing, a count, a change of many tasks and a command.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::program::Server;

const SOMEDAY: &str = "2036-01-01T00:00:00Z";

/// The ids among `items`.
fn ids(listing: &Value) -> BTreeSet<String> {
    let items = listing["items"].as_array().expect("items");
    items.iter().map(|task| task["id"].to_string()).collect()
}

#[test]
fn the_same_conditions_mean_the_same_everywhere() {
    let server = Server::start();
    let added = server.post(
        "tasks",
        &json!([
            {"goal": "write the Übersicht", "run_at": SOMEDAY, "tags": ["red", "blue"], "user": "ada"},
            {"goal": "write the summary", "run_at": SOMEDAY, "tags": ["red"], "agent": "generalist"},
            {"goal": "read the summary", "run_at": SOMEDAY, "user": "ada", "concurrency_key": "acme"},
            {"goal": "wait for another task", "id": 9, "run_at": SOMEDAY},
            {"goal": "part of another task", "depends_on": ["9"], "parent": "9", "run_at": SOMEDAY},
        ]),
    );
    let all: Vec<String> =
        added["items"].as_array().expect("items").iter().map(|task| task["id"].to_string()).collect();
    for (conditions, expected) in [
        (vec![("tag", "red")], vec![0, 1]),
        (vec![("tag", "red"), ("user", "ada")], vec![0]),
        (vec![("agent", "generalist")], vec![1]),
        (vec![("concurrency_key", "acme")], vec![2]),
        (vec![("status", "waiting")], vec![4]),
        (vec![("status", "waiting, PENDING"), ("text", "another TASK")], vec![3, 4]),
        (vec![("text", "ÜBER")], vec![0]),
        (vec![("parent", "9")], vec![4]),
        (vec![("schedule", "nightly")], vec![]),
        (vec![("status", "failed")], vec![]),
    ] {
        let expected: BTreeSet<String> = expected.into_iter().map(|index: usize| all[index].clone()).collect();
        let count = json!(expected.len());

        let (_, listing) = server.get("tasks", &conditions);
        assert_eq!(ids(&listing), expected, "listing {conditions:?}");
        let (_, counts) = server.get("tasks/counts", &conditions);
        assert_eq!(counts["total"], count, "counts {conditions:?}: {counts}");
        let filter: serde_json::Map<String, Value> =
            conditions.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        let report = server.post("tasks/bulk", &json!({"action": "cancel", "filter": filter, "dry_run": true}));
        assert_eq!(report["done"], count, "bulk {conditions:?}: {report}");

        let options = conditions.iter().map(|(name, value)| format!("--{}={value}", name.replace('_', "-")));
        let options: Vec<String> = options.collect();
        let with = |command: &[&'static str]| {
            let options = options.iter().map(String::as_str);
            server.run(&command.iter().copied().chain(options).collect::<Vec<&str>>()).ok().json()
        };
        assert_eq!(ids(&with(&["list", "--json"])), expected, "qron list {options:?}");
        assert_eq!(with(&["cancel", "--dry-run", "--json"])["done"], count, "qron cancel {options:?}");
    }
    for command in [&["list", "--json"][..], &["cancel", "--dry-run", "--json"]] {
        let said = server.run(&[command, &["--older-than", "1h"]].concat()).ok().json();
        assert!(said["total"] == 0 || said["done"] == 0, "{command:?}: {said}");
    }
    let before = "2000-01-01T00:00:00Z";
    assert_eq!(ids(&server.get("tasks", &[("created_before", before)]).1), BTreeSet::new());
    let order = json!({"action": "cancel", "filter": {"created_before": before}, "dry_run": true});
    assert_eq!(server.post("tasks/bulk", &order)["done"], 0);
}

#[test]
fn every_fault_of_a_filter_is_named() {
    let server = Server::start();
    for (parameters, told) in [
        (vec![("status", "sideways"), ("parent", "../x")], vec!["\"sideways\" is not a status", "parent: "]),
        (vec![("created_before", "soon")], vec!["created_before: ", "soon"]),
        (vec![("tag", "a"), ("tag", "b")], vec!["tag is there twice"]),
        (vec![("colour", "red")], vec!["\"colour\"", "known are status, agent", "order"]),
    ] {
        for path in ["tasks", "tasks/counts"] {
            let (status, problem) = server.get(path, &parameters);
            assert_eq!(status, 400, "{problem}");
            let detail = problem["detail"].as_str().expect("a detail");
            assert!(told.iter().all(|part| detail.contains(part)), "{told:?}: {detail}");
        }
    }
    let (status, problem) = server.get("search", &[("q", "x"), ("tag", "red")]);
    assert_eq!((status, problem["detail"].as_str().is_some_and(|detail| detail.contains("user alone"))), (400, true));
    for command in ["list", "cancel"] {
        let said = server.run(&[command, "--status", "sideways"]);
        assert_eq!(said.code, Some(2), "{said:?}");
        assert!(said.err.contains("\"sideways\" is not a status"), "{said:?}");
    }
}
