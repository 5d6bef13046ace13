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
