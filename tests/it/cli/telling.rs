//! What commands tell of the reasons, the times and the marks of tasks.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use qdrant_client::qdrant::{PointId, SetPayloadPointsBuilder};
use qdrant_client::{Payload, Qdrant};
use serde_json::{Value, json};

use super::program::{Said, Server};

const HOPELESS: &str = r#"{"steps": [{"id": "read", "tool": "read_file", "arguments": {"path": "nowhere.txt"}}]}"#;
const SOMEDAY: &str = "2036-01-01T00:00:00Z";

fn wide(server: &Server, arguments: &[&str]) -> Said {
    Said::from(server.command(arguments).env("COLUMNS", "200").output().expect("runs")).ok()
}

fn until(server: &Server, id: &str, wanted: &str) {
    let began = Instant::now();
    loop {
        let task = server.run(&["show", id, "--json"]).ok().json();
        if task["status"] == wanted {
            return;
        }
        assert!(began.elapsed() < Duration::from_mins(1), "{id} is not {wanted}: {task}");
    }
}

#[test]
fn a_run_that_failed_before_a_retry_is_called_so_and_its_steps_keep_their_count() {
    let server = Server::start();
    let plan: Value = serde_json::from_str(HOPELESS).expect("JSON");
    server.post("tasks", &json!({"id": "7", "goal": "read what is not there", "plan": plan, "max_attempts": 1}));
    until(&server, "7", "failed");
    server.run(&["pause"]).ok();
    server.run(&["retry", "7"]).ok();
    let shown = server.run(&["show", "7"]).ok().out;
    assert!(shown.contains("1 run does not count, because it failed before the task was tried again"), "{shown}");
    assert!(shown.contains("steps      0 of 1 done, 1 failed") && shown.contains("failed   read: "), "{shown}");
}

#[test]
fn a_task_behind_one_that_ended_badly_is_not_retried_before_it() {
    let server = Server::start();
    let post = |id: &str, more: Value| {
        let mut task = json!({"id": id, "goal": "a goal of another decade", "run_at": SOMEDAY});
        task.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
        server.post("tasks", &task);
    };
    post("11", json!({}));
    post("12", json!({"depends_on": ["11"]}));
    server.run(&["cancel", "11"]).ok();
    until(&server, "12", "blocked");
    let said = server.run(&["retry", "12"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    for part in ["11, on which it depends, is cancelled", "retry that first: qron retry 11 12"] {
        assert!(said.err.contains(part), "{part:?} is missing in {said:?}");
    }
    assert!(!said.out.contains("12"), "{said:?}");
    server.run(&["retry", "11", "12"]).ok();
    assert_eq!(server.run(&["show", "12", "--json"]).ok().json()["status"], "waiting");
}

#[test]
fn the_time_at_which_changed_tasks_are_due_is_told() {
    let server = Server::start();
    let due = "due 2036-01-01 00:00:00Z";
    server.post("tasks", &json!({"id": "7", "goal": "a goal of another decade", "run_at": "2035-01-01T00:00:00Z"}));
    let said = server.run(&["snooze", "7", "--until", SOMEDAY]).ok();
    assert!(said.out.contains("1 task was changed") && said.out.contains(&format!("7 pending, {due}")), "{said:?}");
    server.run(&["cancel", "7"]).ok();
    let said = server.run(&["retry", "--status", "cancelled"]).ok();
    assert!(said.err.contains("due at once, or at its own time where that is still to come"), "{said:?}");

    let asking = json!({"id": "8", "goal": "a goal of another decade", "run_at": SOMEDAY, "approval": "required"});
    server.post("tasks", &asking);
    server.run(&["cancel", "8"]).ok();
    let said = server.run(&["retry", "8"]).ok();
    assert!(said.out.contains(due), "{said:?}");
}

#[test]
fn nothing_to_cancel_and_a_schedule_that_is_not_there_are_told() {
    let server = Server::start();
    for arguments in [&["cancel", "--all"][..], &["cancel", "--all", "--yes"], &["cancel", "--tag", "red"]] {
        let said = server.run(arguments).ok();
        assert!(
            said.out.contains("there is nothing to cancel") && said.out.contains("nothing was changed"),
            "{said:?}"
        );
    }
    let said = server.run(&["list", "--schedule", "nosuch"]).ok();
    assert!(
        said.err.contains("there is no schedule \"nosuch\"") && said.err.contains("qron schedules list"),
        "{said:?}"
    );
    server.run(&["schedules", "add", "daily", "six times seven", "--every", "1d"]).ok();
    let said = server.run(&["list", "--schedule", "daily"]).ok();
    assert!(said.err.contains("no task matches the filter"), "{said:?}");
}

#[test]
fn a_schedule_tells_all_its_times_on_one_clock() {
    let server = Server::start();
    let add = ["schedules", "add", "once", "six times seven", "--at", "2036-01-01T09:00", "--zone", "Europe/Berlin"];
    server.run(&[&add[..], &["--start", "2035-01-01"]].concat()).ok();
    for arguments in [&["schedules", "list"][..], &["schedules", "show", "once"]] {
        let said = wide(&server, arguments).out;
        assert!(said.contains("at 2036-01-01 09:00:00+01:00"), "{said}");
        assert!(!said.contains("08:00:00Z") && !said.contains("23:00:00Z"), "{said}");
    }
    server.run(&["schedules", "pause", "once"]).ok();
    let said = server.run(&["schedules", "show", "once"]).ok().out;
    let paused = said.lines().find(|line| line.contains("paused since")).expect("since when");
    assert!(paused.contains("+01:00") || paused.contains("+02:00"), "{paused}");
}

#[test]
fn an_answer_that_the_model_did_not_confirm_is_marked_everywhere() {
    let (server, port) = Server::with_store_port();
    let plan = json!({"steps": [{"id": "a", "tool": "calculate", "arguments": {"expression": "6 * 7"}}]});
    server.post("tasks", &json!({"id": "7", "goal": "compute six times seven", "plan": plan}));
    until(&server, "7", "completed");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let url = format!("http://127.0.0.1:{port}");
        let client = Qdrant::from_url(&url).skip_compatibility_check().build().expect("a client");
        let result = json!({"result": {"output": "about 42", "reason": "so it seems", "confirmed": false}});
        let payload = Payload::try_from(result).expect("an object");
        let points: Vec<PointId> = vec![7.into()];
        let request = SetPayloadPointsBuilder::new("qron_tasks", payload).points_selector(points).wait(true);
        client.set_payload(request).await.expect("changed");
    });
    let said = server.run(&["result", "7"]).ok();
    assert_eq!(said.out, "about 42\n");
    assert!(said.err.contains("not confirmed: the model did not say that the goal is reached"), "{said:?}");
    let shown = server.run(&["show", "7"]).ok().out;
    assert!(shown.contains("confirmed  no: the model did not say"), "{shown}");
    assert!(wide(&server, &["list"]).out.contains("completed, unconfirmed"));
}

#[test]
fn a_person_who_decides_sees_every_character_that_is_not_seen() {
    let server = Server::start();
    let text = "to pay\u{200b}\u{e0041}\u{ad}ment 👩\u{200d}🔬 \u{2060}x";
    let plan = json!({"steps": [{"id": "a", "tool": "set_state", "arguments": {"key": "k", "value": text}, "approval": "required"}]});
    server.post("tasks", &json!({"id": "7", "goal": format!("keep {text}"), "plan": plan, "approval": "required"}));
    until(&server, "7", "awaiting_approval");
    let hidden = ['\u{200b}', '\u{e0041}', '\u{ad}', '\u{2060}'];
    let asked = server.run(&["approvals"]).ok().out;
    assert!(!asked.contains(hidden) && !asked.contains('\u{200d}') && asked.contains("\\u{200b}\\u{e0041}"), "{asked}");
    for arguments in [&["show", "7"][..], &["status"], &["list"]] {
        let said = wide(&server, arguments).out;
        assert!(!said.contains(hidden) && said.contains("👩\u{200d}🔬"), "{said}");
    }
}

#[test]
fn leaving_with_ctrl_c_says_that_the_task_goes_on() {
    let server = Server::start();
    server.run(&["pause"]).ok();
    server.post("tasks", &json!({"id": "7", "goal": "a goal of another decade", "run_at": SOMEDAY}));
    let mut command = server.command(&["show", "7", "--follow"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines().map_while(Result::ok);
    let first = lines.next().expect("a line");
    assert!(first.contains("Ctrl-C leaves") && first.contains("qron show 7 --follow"), "{first}");
    lines.find(|line| line.contains("it is due at")).expect("why it waits");
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(sent.expect("kill runs").success());
    let rest: Vec<String> = lines.collect();
    assert!(rest.iter().all(|line| !line.contains("Ctrl-C")), "it is said once: {rest:?}");
    let said = Said::from(child.wait_with_output().expect("ends"));
    assert_eq!(said.code, Some(130), "{said:?}");
    assert!(said.err.contains("left task 7, which goes on") && said.err.contains("qron show 7 --follow"), "{said:?}");
}

#[test]
fn a_follower_learns_the_end_of_a_task_that_ends_while_its_qron_stops() {
    let page = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/", page.local_addr().expect("an address"));
    let mut server = Server::with(&[("QRON__TOOLS__HTTP__ALLOW", "[\"127.0.0.1\"]")]);
    let plan = json!({"steps": [{"id": "a", "tool": "http_request", "arguments": {"url": url}}]});
    server.post("tasks", &json!({"id": "7", "goal": "read a page that comes late", "plan": plan}));
    let (mut asked, _) = page.accept().expect("its run asks for the page");
    let mut command = server.command(&["show", "7", "--follow"]);
    let mut following = command.stdout(Stdio::piped()).spawn().expect("starts");
    let mut lines = BufReader::new(following.stdout.take().expect("its output")).lines().map_while(Result::ok);
    lines.next().expect("it follows");
    let mut agents = server.command(&["agents", "--json"]);
    std::thread::scope(|scope| {
        let stopped = scope.spawn(|| server.terminate());
        let began = Instant::now();
        loop {
            let said = Said::from(agents.output().expect("runs"));
            if said.out.contains("draining") {
                break;
            }
            assert!(began.elapsed() < Duration::from_secs(20), "it does not drain: {said:?}");
        }
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\nlate";
        asked.write_all(answer).expect("answered");
        drop(asked);
        assert_eq!(stopped.join().expect("no panic"), Some(0));
    });
    let rest: Vec<String> = lines.collect();
    assert_eq!(following.wait().expect("ends").code(), Some(0), "{rest:?}");
}

#[test]
fn an_agent_whose_model_fails_is_not_called_well_before_the_model_is_called_away() {
    let closed = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let url = format!("http://{closed}/v1");
    let server = Server::with(&[
        ("QRON__MODEL__BASE_URL", &url),
        ("QRON__MODEL__MODELS", "away-1"),
        ("QRON__MODEL__TRIES", "1"),
        ("QRON__MODEL__CIRCUIT_FAILURES", "100"),
    ]);
    server.run(&["add", "think about the weather of tomorrow"]).ok();
    let began = Instant::now();
    loop {
        let said = wide(&server, &["agents"]);
        if said.out.contains("away-1 failed, is asked again") {
            assert!(said.err.contains("1 task waits for a model: ") && said.err.contains("cannot connect"), "{said:?}");
            return;
        }
        assert!(began.elapsed() < Duration::from_mins(1), "{said:?}");
    }
}
