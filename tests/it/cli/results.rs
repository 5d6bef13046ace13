//! What a person gets: the result, the artifacts and the steps of a task.

use serde_json::json;

use super::program::{Said, Server, plan_file};

const REPORT: &str = r##"{"steps": [
    {"id": "sum", "tool": "calculate", "arguments": {"expression": "40 + 2"}},
    {"id": "keep", "tool": "save_artifact", "arguments": {"name": "report 1.md", "content": "# Sum\n${sum.value}\n"}},
    {"id": "raw", "tool": "save_artifact",
        "arguments": {"name": "raw", "content": "AP/+", "encoding": "base64", "media_type": "application/x-raw"}}
], "answer": "sum"}"##;
const HALF: &str = r#"{"steps": [
    {"id": "sum", "tool": "calculate", "arguments": {"expression": "40 + 2"}},
    {"id": "read", "tool": "read_file", "arguments": {"path": "nowhere.txt"}, "depends_on": ["sum"]}
]}"#;

/// Adds a task with this plan, waits for its end, and gives back its id.
fn carried_out(server: &Server, plan: &str) -> String {
    let plan = plan_file(plan);
    let plan = plan.path().to_string_lossy().into_owned();
    let said =
        server.run(&["add", "a goal that is long enough", "--plan", &plan, "--max-attempts", "1", "--json"]).ok();
    let id = said.json()["id"].as_str().expect("an id").to_owned();
    server.run(&["show", &id, "--follow"]);
    id
}

#[test]
fn a_result_is_written_alone_and_a_failure_says_what_was_done() {
    let server = Server::start();
    let id = carried_out(&server, REPORT);
    let said = server.run(&["result", &id]).ok();
    assert_eq!((said.json(), said.err.as_str()), (json!({"value": "42", "exact": true}), ""), "{said:?}");
    assert_eq!(server.run(&["result", &id[..13]]).ok().json()["value"], "42", "the beginning of an id");
    let whole = server.run(&["result", &id, "--json"]).ok().json();
    assert_eq!(
        (&whole["task"], &whole["status"], &whole["output"]["value"]),
        (&json!(id), &json!("completed"), &json!("42"))
    );

    let failed = carried_out(&server, HALF);
    let said = server.run(&["result", &failed]);
    assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "a pipe gets the result alone: {said:?}");
    for part in ["has no result, it ended as failed", "nowhere.txt", "1 step was done", "--json"] {
        assert!(said.err.contains(part), "{part:?} is missing in {}", said.err);
    }
    let said = server.run(&["result", &failed, "--json"]);
    assert_eq!(said.code, Some(1));
    let partial = said.json();
    assert_eq!(
        (&partial["partial"][0]["id"], &partial["partial"][0]["output"]["value"]),
        (&json!("sum"), &json!("42"))
    );
    assert!(partial["output"].is_null() && partial["error"].as_str().is_some_and(|why| why.contains("nowhere.txt")));

    let later = server.run(&["add", "a goal of another decade", "--at", "2036-01-01T00:00:00Z", "--json"]).ok().json();
    let said = server.run(&["result", later["id"].as_str().expect("an id")]);
    assert!(said.code == Some(3) && said.err.contains("pending and has no result yet"), "{said:?}");
    let help = server.run(&["result", "--help"]).ok().out;
    assert!(help.contains("3 it has not ended yet"), "{help}");
}

#[test]
fn the_result_of_a_schedule_is_that_of_its_last_firing_that_ended() {
    let server = Server::start();
    let plan = plan_file(REPORT);
    let plan = plan.path().to_string_lossy().into_owned();
    server.run(&["schedules", "add", "sums", "what recurs each day", "--every", "1d", "--plan", &plan]).ok();
    let said = server.run(&["result", "sums"]);
    assert!(said.code == Some(3) && said.err.contains("has not fired yet"), "{said:?}");
    let fired = server.run(&["schedules", "trigger", "sums", "--json"]).ok().json();
    let task = fired["task"]["id"].as_str().unwrap_or_else(|| panic!("{fired}")).to_owned();
    server.run(&["show", &task, "--follow"]).ok();
    assert_eq!(server.run(&["result", "sums"]).ok().json()["value"], "42");
    assert_eq!(server.run(&["result", "sums", "--json"]).ok().json()["schedule"], "sums");
    let said = server.run(&["result", "nothing-like-it"]);
    assert!(said.code == Some(2) && said.err.contains("no schedule \"nothing-like-it\""), "{said:?}");
}

#[test]
fn artifacts_are_listed_and_fetched_as_they_are() {
    let server = Server::start();
    let id = carried_out(&server, REPORT);
    let listed = server.run(&["artifacts", "list", &id, "--json"]).ok().json();
    let names: Vec<&str> =
        listed["items"].as_array().expect("items").iter().filter_map(|one| one["name"].as_str()).collect();
    assert_eq!(names, ["raw", "report 1.md"]);
    assert_eq!(listed["items"][1]["ref"], format!("/api/v1/tasks/{id}/artifacts/report%201.md"));
    let table = server.run(&["artifacts", "list", &id]).ok().out;
    assert!(table.contains("report 1.md") && table.contains("application/x-raw"), "{table}");

    let said = server.run(&["artifacts", "get", &id, "report 1.md"]).ok();
    assert_eq!(said.out, "# Sum\n42\n");
    let raw = server.command(&["artifacts", "get", &id, "raw", "--output", "-"]).output().expect("runs");
    assert_eq!(raw.stdout, [0, 255, 254], "bytes are bytes in a pipe");

    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("report.md");
    let path = file.to_string_lossy().into_owned();
    let get = |more: &[&str]| server.run(&[&["artifacts", "get", &id, "report 1.md", "-o", &path], more].concat());
    assert!(get(&[]).ok().err.contains("wrote 9 bytes"));
    std::fs::write(&file, "mine").expect("written");
    let said = get(&[]);
    assert!(said.code == Some(2) && said.err.contains("--force"), "{said:?}");
    assert_eq!(std::fs::read_to_string(&file).expect("read"), "mine");
    get(&["--force"]).ok();
    assert_eq!(std::fs::read_to_string(&file).expect("read"), "# Sum\n42\n");
    let said = server.run(&["artifacts", "get", &id, "nothing"]);
    assert!(said.code == Some(1) && said.err.contains("no artifact \"nothing\""), "{said:?}");
    let nobody = server.run(&["artifacts", "list", "99"]);
    assert!(nobody.code == Some(1) && nobody.err.contains("no task 99"), "{nobody:?}");
}

#[test]
fn each_step_is_shown_whole() {
    let server = Server::start();
    let failed = carried_out(&server, HALF);
    let said = server.run(&["show", &failed, "--steps"]).ok();
    for part in ["step sum\n", "40 + 2", "\"value\": \"42\"", "after        sum", "failed", "nowhere.txt", " ms"] {
        assert!(said.out.contains(part), "{part:?} is missing in {}", said.out);
    }
    let steps = server.run(&["show", &failed, "--steps", "--json"]).ok().json();
    assert_eq!(steps["items"][0]["arguments"], json!({"expression": "40 + 2"}));
    let line = server.run(&["show", &failed]).ok().out;
    assert!(line.contains("done     sum: calculate: ") && line.contains(" ms)"), "{line}");
}

#[test]
fn a_stored_result_cannot_act_on_the_terminal() {
    let server = Server::start();
    let plan = r#"{"steps": [{"id": "t", "tool": "set_state", "arguments": {"key": "k", "value": "a\tb\u001b[2Jc\u202e\n"}},
        {"id": "u", "tool": "get_state", "arguments": {"key": "k"}, "depends_on": ["t"]},
        {"id": "v", "tool": "save_artifact", "arguments": {"name": "x", "content": "${u.value}"}}]}"#;
    let id = carried_out(&server, plan);
    let said: Said = server.run(&["result", &id]);
    assert!(!said.out.contains('\u{1b}'), "{said:?}");
    let steps = server.run(&["show", &id, "--steps"]).ok();
    assert!(!steps.out.contains('\u{1b}') && !steps.out.contains('\u{202e}'), "{steps:?}");
    let got = server.run(&["artifacts", "get", &id, "x"]).ok();
    assert!(got.out.contains("\u{1b}[2J"), "in a pipe the content is as it was written: {got:?}");
}
