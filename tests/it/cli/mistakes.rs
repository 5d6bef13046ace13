//! What a person is told who names the wrong thing, or asks for what is there already.

use qdrant_client::Qdrant;
use qdrant_client::qdrant::{PointId, SetPayloadPointsBuilder};
use qron::domain::id::derived;
use serde_json::json;

use super::program::{Server, plan_file};

const PLAN: &str = r#"{"steps": [{"id": "a", "tool": "calculate", "arguments": {"expression": "6 * 7"}}]}"#;

#[test]
fn a_schedule_in_the_place_of_a_task_is_told_with_what_to_type() {
    let server = Server::start();
    let plan = plan_file(PLAN);
    let plan = plan.path().to_str().expect("UTF-8");
    server.run(&["schedules", "add", "daily-sums", "six times seven", "--every", "1d", "--plan", plan]).ok();
    for arguments in [&["show", "daily-sums"][..], &["artifacts", "list", "daily-sums"], &["cancel", "daily-sums"]] {
        let said = server.run(arguments);
        assert_eq!(said.code, Some(2), "{said:?}");
        for part in ["daily-sums is a schedule and no task", "qron schedules show daily-sums", "no task yet"] {
            assert!(said.err.contains(part), "{part:?} is missing in {}", said.err);
        }
    }
    let fired = server.run(&["schedules", "trigger", "daily-sums", "--json"]).ok().json();
    let task = fired["task"]["id"].as_str().expect("an id");
    let said = server.run(&["show", "daily-sums"]);
    assert!(said.err.contains(&format!("qron show {task}")), "{said:?}");
    let said = server.run(&["show", "no-such-thing"]);
    assert!(said.code == Some(2) && said.err.contains("hexadecimal"), "{said:?}");
}

#[test]
fn a_schedule_with_a_plan_in_its_definition_shows_it() {
    let server = Server::start();
    let plan = plan_file(PLAN);
    let plan = plan.path().to_str().expect("UTF-8");
    server.run(&["schedules", "add", "own", "six times seven", "--every", "1d", "--plan", plan]).ok();
    server.run(&["schedules", "add", "none", "six times seven", "--every", "1d"]).ok();
    let shown = server.run(&["schedules", "plan", "own"]).ok().out;
    assert!(shown.contains("the schedule has a plan of its own") && shown.contains("a: calculate"), "{shown}");
    assert!(shown.contains("6 * 7") && !shown.contains("two successful runs"), "{shown}");
    assert!(server.run(&["schedules", "show", "own"]).ok().out.contains("a plan of its own"));
    assert!(server.run(&["schedules", "show", "none"]).ok().out.contains("none yet: two successful runs"));
    let told = server.run(&["schedules", "plan", "own", "--json"]).ok().json();
    assert_eq!(told["own"]["steps"][0]["id"], json!("a"), "{told}");
    let said = server.run(&["schedules", "plan", "own", "--pin"]);
    assert!(said.code == Some(1) && said.err.contains("has a plan of its own"), "{said:?}");
}

#[test]
fn an_agent_is_named_by_its_option_and_must_be_there() {
    let server = Server::start();
    for command in ["pause", "resume"] {
        let said = server.run(&[command, "generalist"]);
        assert_eq!(said.code, Some(2), "{said:?}");
        assert!(said.err.contains(&format!("qron {command} --agent generalist")), "{said:?}");
        let said = server.run(&[command, "--agent", "nope"]);
        assert_ne!(said.code, Some(0), "{said:?}");
        assert!(said.err.contains("unknown agent \"nope\"; known are generalist"), "{said:?}");
        assert!(!server.run(&[command, "--help"]).ok().out.contains("[AGENT]"));
    }
    assert!(server.run(&["status"]).ok().out.starts_with("paused     nothing"));
}

#[test]
fn cancelling_twice_says_so_and_changes_nothing() {
    let server = Server::start();
    server.post("tasks", &json!({"id": "7", "goal": "a goal of another decade", "run_at": "2036-01-01T00:00:00Z"}));
    assert_eq!(server.run(&["cancel", "7"]).ok().out, "7 cancelled\n");
    let said = server.run(&["cancel", "7"]).ok();
    assert!(
        said.out.starts_with("7 was cancelled already at 20") && said.out.contains("nothing was changed"),
        "{said:?}"
    );
}

#[test]
fn a_file_that_is_missing_is_named_with_the_way_out() {
    let server = Server::start();
    let plan = plan_file(
        r#"{"steps": [{"id": "t", "tool": "query_table", "arguments": {"path": "sales.csv", "query": "SELECT 1"}}]}"#,
    );
    let plan = plan.path().to_str().expect("UTF-8");
    let said = server.run(&["add", "look into the sales", "--plan", plan, "--max-attempts", "1", "--follow"]);
    assert!(said.out.contains("there is no file \"sales.csv\"") && said.out.contains("qron add --file"), "{said:?}");
    let events = said.out.lines().filter(|line| line.starts_with("20"));
    assert_eq!(events.filter(|line| line.contains("qron add --file")).count(), 1, "a reason is said once: {said:?}");
    let plan = plan_file(
        r#"{"steps": [{"id": "t", "tool": "query_table", "arguments": {"table": "${files.sales.csv}", "query": "SELECT 1"}}]}"#,
    );
    let said = server.run(&["add", "look into the sales", "--plan", plan.path().to_str().expect("UTF-8")]);
    assert!(said.code == Some(2) && said.err.contains("sales.csv"), "{said:?}");
    let said = server.run(&["add", "look into the sales", "--file", "/nowhere/sales.csv"]);
    assert!(said.code == Some(2) && said.err.contains("/nowhere/sales.csv"), "{said:?}");
}

#[test]
fn a_file_that_lies_in_an_open_folder_is_named_with_it() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("may.csv"), "city,amount\nRome,3\n").expect("written");
    let path = folder.path().to_str().expect("UTF-8");
    let server = Server::with(&[("QRON__TOOLS__FILES__FOLDERS__INVOICES__PATH", path)]);
    for (tool, arguments) in [("read_file", json!({})), ("query_table", json!({"query": "SELECT 1"}))] {
        for (file, hint) in
            [("may.csv", "did you mean \"invoices/may.csv\"?"), ("june.csv", "open folder is named with it: invoices/")]
        {
            let mut arguments = arguments.clone();
            arguments["path"] = json!(file);
            let plan = plan_file(&json!({"steps": [{"id": "a", "tool": tool, "arguments": arguments}]}).to_string());
            let plan = plan.path().to_str().expect("UTF-8").to_owned();
            let said = server.run(&["add", "look into it", "--plan", &plan, "--max-attempts", "1", "--follow"]);
            assert!(said.code == Some(1) && said.out.contains(hint), "{tool} {file}: {said:?}");
        }
    }
}

#[test]
fn a_plan_within_a_step_is_checked_before_the_task_is_taken() {
    let server = Server::start();
    let inner = |step: serde_json::Value| {
        let arguments = json!({"goal": "compute it later", "plan": {"steps": [step]}});
        let plan = json!({"steps": [
            {"id": "x", "tool": "calculate", "arguments": {"expression": "1"}},
            {"id": "later", "tool": "create_task", "arguments": arguments},
        ]});
        let file = plan_file(&plan.to_string());
        server.run(&["add", "compute it later", "--plan", file.path().to_str().expect("UTF-8"), "--at", "2036-01-01"])
    };
    for (step, named) in [
        (json!({"id": "a", "tool": "calculatr", "arguments": {}}), "calculatr"),
        (json!({"id": "a", "tool": "calculate", "arguments": {"expresion": "1"}}), "expresion"),
        (json!({"id": "a", "tool": "calculate", "arguments": {"expression": "1"}, "depends_on": ["b"]}), "\"b\""),
        (json!({"tool": "calculate"}), "id"),
    ] {
        let said = inner(step);
        assert_eq!(said.code, Some(2), "{said:?}");
        for part in ["step \"later\"", "create_task", named] {
            assert!(said.err.contains(part), "{part:?} is missing in {said:?}");
        }
    }
    for fine in [
        json!({"id": "a", "tool": "calculate", "arguments": {"expression": "1"}}),
        json!({"id": "a", "tool": "calculate", "arguments": {"expression": "${x.value} + 1"}}),
    ] {
        inner(fine).ok();
    }
}

#[test]
fn a_short_number_that_is_no_task_is_no_beginning_either() {
    let server = Server::start();
    let said = server.run(&["show", "01"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    for part in ["no task 01", "too short", "at least 4 characters", "qron list"] {
        assert!(said.err.contains(part), "{part:?} is missing in {said:?}");
    }
}

#[test]
fn errors_speak_of_commands_and_not_of_the_paths_of_the_api() {
    let server = Server::start();
    let plan = plan_file(PLAN);
    let plan = plan.path().to_str().expect("UTF-8");
    for arguments in [
        &["schedules", "show", "nothing"][..],
        &["schedules", "pause", "nothing"],
        &["schedules", "trigger", "nothing"],
        &["dead-letters", "requeue", "00000000-0000-4000-8000-000000000000"],
        &["dead-letters", "show", "00000000-0000-4000-8000-000000000000"],
        &["show", "00000000-0000-4000-8000-000000000000"],
    ] {
        let said = server.run(arguments);
        assert!(said.code == Some(1) && !said.err.contains("/api/v1"), "{arguments:?}: {said:?}");
    }
    server.run(&["pause"]).ok();
    server.run(&["schedules", "add", "daily", "six times seven", "--every", "1d", "--plan", plan]).ok();
    server.run(&["schedules", "trigger", "daily"]).ok();
    let said = server.run(&["schedules", "trigger", "daily"]);
    assert!(said.code == Some(1) && said.err.contains("qron schedules trigger daily --overlap allow"), "{said:?}");
}

#[test]
fn times_in_errors_have_the_form_of_the_others_and_examples_stay_as_they_are() {
    let server = Server::start();
    let plan = plan_file(PLAN);
    let plan = plan.path().to_str().expect("UTF-8");
    let said = server.run(&["add", "compute six times seven", "--plan", plan, "--follow"]).ok();
    let id = said.out.split_whitespace().nth(1).expect("an id").to_owned();
    let said = server.run(&["cancel", &id]);
    assert!(said.code == Some(1) && said.err.contains(" completed at 20"), "{said:?}");
    let written = said.err.split(" completed at ").nth(1).expect("a time");
    assert_eq!((written.chars().nth(10), written.chars().nth(19)), (Some(' '), Some('Z')), "{said:?}");
    let said = server.run(&["add", "compute six times seven", "--at", "tomorrow"]);
    assert!(said.err.contains("RFC 3339 (2026-01-31T09:00:00Z)"), "{said:?}");
}

#[test]
fn addresses_and_zones_are_refused_with_an_example_that_is_right() {
    for (variable, example) in [("QRON__EMBEDDED__ADDRESS", "127.0.0.1:6334"), ("QRON__API__ADDRESS", "127.0.0.1:8080")]
    {
        let said: super::program::Said =
            super::program::command(&["config", "check"]).env(variable, "localhost").output().expect("runs").into();
        assert!(said.code == Some(2) && said.err.contains(example), "{said:?}");
    }
    let server = Server::start();
    let said = server.run(&["schedules", "preview", "--cron", "@daily", "--zone", "CET"]);
    assert!(said.code == Some(2) && said.err.contains("Europe/Berlin"), "{said:?}");
    assert!(!said.err.contains("Etc/GMT"), "its sign is the other way round: {said:?}");
    let said = super::program::run(&["schedules", "preview"]);
    assert!(said.code == Some(2) && said.err.contains("qron schedules preview [OPTIONS] <ID>"), "{said:?}");
}

#[test]
fn a_stored_schedule_whose_zone_is_unknown_is_listed_with_the_reason() {
    let (server, port) = Server::with_store_port();
    server.run(&["schedules", "add", "martian", "six times seven", "--every", "1d"]).ok();
    server.run(&["schedules", "add", "earthly", "six times seven", "--every", "1d"]).ok();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let url = format!("http://127.0.0.1:{port}");
        let client = Qdrant::from_url(&url).skip_compatibility_check().build().expect("a client");
        let payload = qdrant_client::Payload::try_from(json!({"zone": "Mars/Olympus_Mons"})).expect("an object");
        let points: Vec<PointId> = vec![derived(&["schedule", "martian"]).into()];
        let request = SetPayloadPointsBuilder::new("qron_schedules", payload).points_selector(points).wait(true);
        client.set_payload(request).await.expect("changed");
    });
    let said = server.run(&["schedules", "list"]).ok();
    assert!(said.out.contains("earthly") && !said.out.contains("martian"), "{said:?}");
    for part in ["schedule martian does not fire", "\"Mars/Olympus_Mons\" is no time zone"] {
        assert!(said.err.contains(part), "{part:?} is missing in {}", said.err);
    }
    let told = server.run(&["schedules", "list", "--json"]).ok().json();
    assert_eq!(
        (&told["unreadable"][0]["id"], &told["items"][0]["id"]),
        (&json!("martian"), &json!("earthly")),
        "{told}"
    );
}
