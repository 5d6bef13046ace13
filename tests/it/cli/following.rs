//! What a person learns who follows a task that does not begin, and who lists what ended.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use super::program::{Server, plan_file};

const PLAN: &str = r#"{"steps": [{"id": "a", "tool": "calculate", "arguments": {"expression": "6 * 7"}}]}"#;

#[test]
fn a_followed_task_names_the_pause_that_holds_it_back_once() {
    let server = Server::start();
    server.run(&["pause", "--agent", "generalist", "--note", "holiday"]).ok();
    let plan = plan_file(PLAN);
    let mut command = server.command(&["add", "compute six times seven", "--follow", "--plan"]);
    let mut child = command.arg(plan.path()).stdout(Stdio::piped()).spawn().expect("starts");
    let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines().map_while(Result::ok);
    let told = lines.by_ref().find(|line| line.contains("it waits")).expect("why it waits");
    for part in ["agent generalist is paused since 20", "holiday", "qron resume --agent generalist"] {
        assert!(told.contains(part), "{part:?} is missing in {told}");
    }
    server.run(&["resume", "--agent", "generalist"]).ok();
    let rest: Vec<String> = lines.collect();
    assert!(rest.iter().all(|line| !line.contains("it waits")), "{rest:?}");
    assert!(child.wait().expect("ends").success());
    let listed = server.command(&["list"]).env("COLUMNS", "160").output().expect("runs");
    let listed = String::from_utf8(listed.stdout).expect("UTF-8");
    assert!(
        listed.contains("generalist") && listed.contains("FAILED ATTEMPTS") && listed.contains("0 of 3"),
        "{listed}"
    );
}

#[test]
fn an_empty_store_is_told_from_a_filter_that_matches_nothing() {
    let server = Server::start();
    let said = server.run(&["list"]).ok();
    assert!(said.err.contains("there are no tasks yet; add one with: qron add GOAL"), "{said:?}");
    let said = server.run(&["list", "--tag", "nothing"]).ok();
    assert!(said.err.contains("no task matches the filter"), "{said:?}");
}

#[test]
fn an_unreachable_store_is_told_without_the_structs_of_the_client() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = super::program::command(&["run", "--no-model"]);
    command.current_dir(folder.path()).env("QDRANT_URL", "http://127.0.0.1:9").env("QRON__API__ADDRESS", "127.0.0.1:0");
    let said: super::program::Said = command.output().expect("runs").into();
    assert!(said.err.contains("the store at http://127.0.0.1:9 does not answer"), "{said:?}");
    assert!(
        said.err.contains("Connection refused") && !said.err.contains("Os {") && !said.err.contains("Error("),
        "{said:?}"
    );
}

#[test]
fn an_address_in_use_is_told_with_the_variable_that_sets_another() {
    let folder = tempfile::tempdir().expect("a folder");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let held = listener.local_addr().expect("an address").to_string();
    for (variable, other) in
        [("QRON__API__ADDRESS", "QRON__EMBEDDED__ADDRESS"), ("QRON__EMBEDDED__ADDRESS", "QRON__API__ADDRESS")]
    {
        let mut command = super::program::command(&["run", "--no-model"]);
        command.current_dir(folder.path()).env("QRON__EMBEDDED__NEXT_FREE_PORT", "false");
        let said: super::program::Said =
            command.env(other, "127.0.0.1:0").env(variable, &held).output().expect("runs").into();
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(said.err.contains(variable) && said.err.contains(&held), "{said:?}");
    }
}
