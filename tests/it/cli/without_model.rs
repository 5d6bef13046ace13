//! What a person is told who has no model, or one that is away, and until when tasks wait for it.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::program::{Said, Server, command, plan_file, run};
use super::start::{endpoint, nothing_there};

const PLAN: &str = r#"{"steps": [{"id": "a", "tool": "calculate", "arguments": {"expression": "6 * 7"}}]}"#;

/// What a command of `server` says on a screen of `columns`.
fn on_screen(server: &Server, arguments: &[&str], columns: &str) -> String {
    Said::from(server.command(arguments).env("COLUMNS", columns).output().expect("runs")).ok().out
}

/// A time of the API as people are shown it.
fn shown(time: &Value) -> String {
    let time = time.as_str().expect("a time");
    format!("{}Z", time[..19].replace('T', " "))
}

#[test]
fn every_command_tells_the_same_next_try_and_how_long_a_task_waits() {
    let url = nothing_there();
    let server = Server::with(&[
        ("QRON__MODEL__BASE_URL", &url),
        ("QRON__MODEL__MODELS", "away-1"),
        ("QRON__MODEL__TRIES", "1"),
        ("QRON__MODEL__CIRCUIT_FAILURES", "1"),
        ("QRON__MODEL__PATIENCE_S", "7200"),
    ]);
    let added = server.run(&["add", "think about the weather of tomorrow"]).ok();
    let id = added.out.split_whitespace().nth(1).expect("an id").to_owned();
    let waits = || server.run(&["show", &id, "--json"]).ok().json()["waits"].clone();
    let began = Instant::now();
    loop {
        assert!(began.elapsed() < Duration::from_mins(1), "it is never put off: {}", waits());
        let before = waits();
        let listed = on_screen(&server, &["list"], "200");
        let status = on_screen(&server, &["status"], "200");
        let detail = on_screen(&server, &["show", &id], "200");
        // The model may be tried between two commands.
        if before.is_null() || before["next_try"].is_null() || before != waits() || !detail.contains("next try") {
            continue;
        }
        let (next, until) = (shown(&before["next_try"]), shown(&before["until"]));
        for (what, said) in [("list", &listed), ("status", &status), ("show", &detail)] {
            assert!(said.contains(&next), "{what} does not say {next}: {said}");
        }
        assert!(!detail.contains("run at"), "the time of the task is another: {detail}");
        for (what, said) in [("show", &detail), ("status", &status)] {
            let told = said.contains("has not answered by ") && said.contains(&until);
            assert!(told, "{what} does not say until when: {said}");
        }
        let events = detail.lines().filter(|line| line.starts_with("20") && line.contains("next try"));
        let last = events.collect::<Vec<_>>().pop().expect("an event");
        assert!(last.contains(&format!("next try {next}")), "the history says another time than {next}: {last}");
        return;
    }
}

#[test]
fn a_schedule_whose_tasks_need_a_model_says_that_none_is_there() {
    let (none, url) = (Server::start(), nothing_there());
    let away = Server::with(&[
        ("QRON__MODEL__BASE_URL", &url),
        ("QRON__MODEL__MODELS", "away-1"),
        ("QRON__MODEL__TRIES", "1"),
        ("QRON__MODEL__CIRCUIT_FAILURES", "1"),
    ]);
    let plan = plan_file(PLAN);
    let plan = plan.path().to_str().expect("UTF-8");
    for (server, is_away, words) in [(&none, false, "waits for a model"), (&away, true, "waits for model \"away-1\"")] {
        if is_away {
            // The first call finds out that it is away.
            server.run(&["add", "think about the weather of tomorrow"]).ok();
            let began = Instant::now();
            while server.run(&["agents", "--json"]).ok().json()["items"][0]["model_away"].is_null() {
                assert!(began.elapsed() < Duration::from_mins(1), "it does not become known");
            }
        }
        let added = server.run(&["schedules", "add", "daily", "think about tomorrow", "--cron", "0 7 * * *"]).ok();
        let edited = server.run(&["schedules", "edit", "daily", "--goal", "think about the day after"]).ok();
        let shown = server.run(&["schedules", "show", "daily"]).ok();
        let fired = server.run(&["schedules", "trigger", "daily"]).ok();
        let later = server.run(&["add", "think about the weather of tomorrow", "--in", "2h"]).ok();
        for said in [&added, &edited, &shown, &fired, &later] {
            assert!(said.err.contains(words) && said.err.contains("qron agents"), "{words}: {said:?}");
        }
        let planned =
            server.run(&["schedules", "add", "planned", "six times seven", "--cron", "0 7 * * *", "--plan", plan]).ok();
        assert!(planned.err.is_empty(), "a plan needs no model: {planned:?}");
    }
}

#[test]
fn a_listing_says_that_an_agent_is_paused_or_that_no_agent_fits() {
    let server = Server::start();
    let plan = plan_file(PLAN);
    let plan = plan.path().to_str().expect("UTF-8");
    server.run(&["add", "tell of the ghosts", "--plan", plan, "--capability", "haunting"]).ok();
    for arguments in [&["list"][..], &["status"]] {
        assert!(on_screen(&server, arguments, "80").contains(" no agent "), "{arguments:?}");
        assert!(on_screen(&server, arguments, "200").contains("pending, no agent"), "{arguments:?}");
    }
    let said = server.run(&["schedules", "add", "ghosts", "tell of them", "--every", "1d", "--plan", plan]).ok();
    assert!(said.err.is_empty(), "{said:?}");
    let said = server.run(&["schedules", "edit", "ghosts", "--capability", "haunting"]).ok();
    assert!(said.err.contains("an agent with the capabilities haunting, which no replica"), "{said:?}");
    server.run(&["pause", "--agent", "generalist"]).ok();
    server.run(&["add", "compute six times seven", "--plan", plan]).ok();
    assert!(on_screen(&server, &["list"], "80").contains(" paused "));
    assert!(on_screen(&server, &["list"], "200").contains("pending, paused"));
}

#[test]
fn a_start_without_a_model_names_the_variable_that_was_set_in_vain() {
    let with = |arguments: &[&str], variables: &[(&str, &str)]| -> Said {
        let folder = tempfile::tempdir().expect("a folder");
        let mut command = command(arguments);
        command.current_dir(folder.path()).env_remove("OLLAMA_HOST").envs(variables.iter().copied());
        command.output().expect("runs").into()
    };
    for arguments in [&["run"][..], &["config", "check"]] {
        let said = with(arguments, &[]);
        assert_eq!(said.code, Some(2), "{arguments:?}: {said:?}");
        assert!(said.err.contains("OPENAI_BASE_URL") && said.err.contains("--no-model"), "{said:?}");
        assert!(!said.err.contains("does not read"), "{said:?}");
        for variable in ["OPENAI_API_BASE", "OLLAMA_HOST"] {
            let said = with(arguments, &[(variable, "http://127.0.0.1:11434")]);
            assert_eq!(said.code, Some(2), "{arguments:?}: {said:?}");
            let hint = format!("qron does not read the variable {variable}: use OPENAI_BASE_URL");
            assert_eq!(said.err.matches(&hint).count(), 1, "{arguments:?}: {said:?}");
        }
    }
    let said = with(&["config", "check", "--no-model"], &[]).ok();
    assert!(said.out.contains("valid for \"qron run --no-model\""), "{said:?}");
    with(&["config", "check"], &[("QRON_NO_MODEL", "1")]).ok();
}

#[test]
fn a_check_of_the_configuration_asks_the_model_when_it_shall_and_else_says_that_it_did_not() {
    let url = endpoint();
    let check = |model: &str, more: &[&str]| -> Said {
        let mut command = command(&[&["config", "check"], more].concat());
        command.env("OPENAI_BASE_URL", &url).env("QRON__MODEL__MODELS", model).output().expect("runs").into()
    };
    let said = check("nonsense-7", &[]).ok();
    assert!(said.err.contains("not checked") && said.err.contains("--ask-model"), "{said:?}");
    let said = check("nonsense-7", &["--ask-model"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("nonsense-7") && said.err.contains("QRON__MODEL__MODELS=llama3.2:latest"), "{said:?}");
    let said = check("llama3.2", &["--ask-model"]).ok();
    assert!(said.err.contains("answers") && !said.err.contains("not checked"), "{said:?}");
    assert!(run(&["config", "check", "--help"]).ok().out.contains("--ask-model"));
}
