//! What a person is told about a task that does not go on: by `add`, by `show`, and by whoever follows it.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use super::program::{Server, plan_file};
use super::start::nothing_there;

const PLAN: &str = r#"{"steps": [{"id": "a", "tool": "calculate", "arguments": {"expression": "6 * 7"}}]}"#;

/// A command that follows a task; killed when dropped.
struct Following {
    child: Child,
    lines: Box<dyn Iterator<Item = String>>,
}

impl Following {
    fn start(server: &Server, arguments: &[&str]) -> Self {
        let mut child = server.command(arguments).stdout(Stdio::piped()).spawn().expect("starts");
        let lines = BufReader::new(child.stdout.take().expect("its output")).lines().map_while(Result::ok);
        Self { child, lines: Box::new(lines) }
    }

    /// The next line with these words.
    fn line_with(&mut self, words: &str) -> String {
        self.lines.find(|line| line.contains(words)).unwrap_or_else(|| panic!("{words:?} was not said"))
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A server whose model is at an address where nothing listens.
fn without_answer() -> Server {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let url = format!("http://{closed}/v1");
    Server::with(&[("QRON__MODEL__BASE_URL", &url), ("QRON__MODEL__MODELS", "away-1"), ("QRON__MODEL__TRIES", "1")])
}

#[test]
fn a_follower_learns_at_once_that_the_model_is_away_and_what_can_be_done() {
    let server = without_answer();
    let began = Instant::now();
    let mut following = Following::start(&server, &["add", "think about the weather of tomorrow", "--follow"]);
    let leave = following.line_with("Ctrl-C");
    assert!(leave.contains("the task stays") && leave.contains("qron show ") && leave.contains(" --follow"), "{leave}");
    let told = following.line_with("it waits for model");
    for part in ["\"away-1\" since 20", "cannot connect to the model endpoint", "qron agents", "goes on by itself"] {
        assert!(told.contains(part), "{part:?} is missing in {told}");
    }
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    let told = following.line_with("the next try is 20");
    assert!(told.contains("it waits for model") || told.contains("it still waits"), "{told}");

    let listed = server.run(&["list", "--json"]).ok().json();
    let id = listed["items"][0]["id"].as_str().expect("an id").to_owned();
    let shown = server.run(&["show", &id]).ok().out;
    assert!(shown.contains("waiting    for model \"away-1\""), "{shown}");
}

#[test]
fn a_base_url_without_its_path_is_told_wherever_the_wait_is_told() {
    let url = nothing_there();
    let server = Server::with(&[
        ("QRON__MODEL__BASE_URL", &url),
        ("QRON__MODEL__MODELS", "m"),
        ("QRON__MODEL__TRIES", "1"),
        ("QRON__MODEL__CIRCUIT_FAILURES", "1"),
    ]);
    let hint = format!("check model.base_url, which is {url}: most endpoints want {url}/v1 (status 404");
    let mut following = Following::start(&server, &["add", "think about the weather of tomorrow", "--follow"]);
    let told = following.line_with("it waits for model");
    assert!(told.contains(&hint), "{told}");
    let id = server.run(&["list", "--json"]).ok().json()["items"][0]["id"].as_str().expect("an id").to_owned();
    let (shown, agents) = (server.run(&["show", &id]).ok(), server.run(&["agents"]).ok());
    assert!(shown.out.contains(&hint), "{shown:?}");
    assert!(agents.err.contains(&hint), "{agents:?}");
}

#[test]
fn a_pause_is_told_when_something_is_added_and_when_it_is_shown() {
    let server = Server::start();
    let plan = plan_file(PLAN);
    let plan = plan.path().to_str().expect("UTF-8");
    server.run(&["schedules", "add", "daily", "six times seven", "--cron", "0 7 * * *"]).ok();
    for (pause, resume, subject) in [
        (
            vec!["pause", "--agent", "generalist", "--note", "holiday"],
            "qron resume --agent generalist",
            "agent generalist",
        ),
        (vec!["pause", "--note", "holiday"], "qron resume", "the whole fleet"),
    ] {
        server.run(&pause).ok();
        let added = server.run(&["add", "compute six times seven", "--plan", plan]).ok();
        let id = added.out.split_whitespace().nth(1).expect("an id").to_owned();
        let shown = server.run(&["show", &id]).ok().out;
        let later = server.run(&["add", "compute six times seven", "--plan", plan, "--in", "2h"]).ok();
        let scheduled = server.run(&["schedules", "edit", "daily", "--goal", &format!("while {subject} is away")]).ok();
        let schedule = server.run(&["schedules", "show", "daily"]).ok();
        let fired = server.run(&["schedules", "trigger", "daily", "--overlap", "allow"]).ok();
        for said in [&added.err, &shown, &later.err, &scheduled.err, &schedule.err, &fired.err] {
            assert!(said.contains(&format!("{subject} is paused since 20")), "{said}");
            assert!(said.contains("holiday; end the pause with: ") && said.contains(resume), "{said}");
        }
        assert!(later.err.contains("it is due at 20") && later.err.contains("(in "), "{later:?}");
        server.run(&[&["resume"], &pause[1..pause.len() - 2]].concat()).ok();
    }
    server.run(&["schedules", "pause", "daily"]).ok();
    server.run(&["pause"]).ok();
    let fired = server.run(&["schedules", "trigger", "daily", "--overlap", "allow", "--json"]).ok().json();
    let shown = server.run(&["show", fired["task"]["id"].as_str().expect("an id")]).ok().out;
    assert!(shown.contains("its schedule is paused") && shown.contains("qron schedules resume daily"), "{shown}");
}

#[test]
fn a_task_that_waits_for_a_person_or_for_others_says_so() {
    let server = Server::start();
    server.run(&["pause"]).ok();
    let post = |id: &str, more: serde_json::Value| {
        let mut task = json!({"id": id, "goal": "compute six times seven", "plan": serde_json::from_str::<serde_json::Value>(PLAN).expect("JSON")});
        task.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
        server.post("tasks", &task);
    };
    post("11", json!({"approval": "required"}));
    post("21", json!({}));
    post("22", json!({"depends_on": ["21"]}));
    let shown = server.run(&["show", "11"]).ok().out;
    assert!(
        shown.contains("waiting    for the decision of a person since 20") && shown.contains("qron approve 11"),
        "{shown}"
    );
    let shown = server.run(&["show", "22"]).ok().out;
    assert!(shown.contains("waiting    for 1 task that must end first: 21 (pending)"), "{shown}");
    let mut following = Following::start(&server, &["show", "22", "--follow"]);
    following.line_with("Ctrl-C leaves");
    following.line_with("it waits for 1 task that must end first");
    let approved = server.run(&["approve", "11"]).ok();
    assert!(approved.err.contains("it waits: the whole fleet is paused"), "{approved:?}");
    server.run(&["resume"]).ok();
    following.line_with("result");
    assert!(following.child.wait().expect("ends").success());
}

#[test]
fn a_follower_whose_qron_stops_does_not_report_a_failed_task() {
    let mut server = Server::start();
    server.run(&["pause"]).ok();
    let plan = plan_file(PLAN);
    let plan = plan.path().to_str().expect("UTF-8");
    let mut following = Following::start(&server, &["add", "compute six times seven", "--follow", "--plan", plan]);
    following.line_with("Ctrl-C");
    assert_eq!(server.terminate(), Some(0));
    assert_eq!(following.child.wait().expect("ends").code(), Some(3), "it is not known how the task ends");
}

#[test]
fn a_cancelled_run_is_called_so() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/", silent.local_addr().expect("an address"));
    let server = Server::with(&[("QRON__TOOLS__HTTP__ALLOW", "[\"127.0.0.1\"]")]);
    let plan = json!({"steps": [{"id": "a", "tool": "http_request", "arguments": {"url": url}}]});
    server.post("tasks", &json!({"id": "7", "goal": "read a page that never comes", "plan": plan}));
    let (_page, _) = silent.accept().expect("its run asks for the page");
    server.run(&["cancel", "7"]).ok();
    assert_eq!(server.run(&["show", "7", "--follow"]).code, Some(1));
    let shown = server.run(&["show", "7"]).ok().out;
    assert!(shown.contains("1 run does not count, because it was cancelled"), "{shown}");
    assert!(!shown.contains("put off") && !shown.contains("handed back"), "{shown}");
}

#[test]
fn a_follower_sees_the_events_in_the_order_of_their_times() {
    let server = Server::start();
    let plan = plan_file(PLAN);
    for _ in 0..3 {
        let said = server
            .run(&["add", "compute six times seven", "--follow", "--plan", plan.path().to_str().expect("UTF-8")])
            .ok();
        let times: Vec<&str> = said.out.lines().filter(|line| line.starts_with("20")).map(|line| &line[..20]).collect();
        assert!(times.len() >= 3 && times.is_sorted(), "{said:?}");
        let at = |part: &str| said.out.find(part).unwrap_or_else(|| panic!("{part:?} is missing in {}", said.out));
        assert!(at("claimed for agent") < at("completed"), "{}", said.out);
    }
}
