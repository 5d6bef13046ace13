//! The demo, as somebody sees it who has just built qron.

use std::time::{Duration, Instant};

use super::program::{Said, Server, command};

#[test]
fn the_demo_names_a_model_endpoint_that_does_not_answer_and_ends() {
    let began = Instant::now();
    let said: Said = command(&["demo"])
        .env("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
        .env("QRON__MODEL__MODELS", "llama3.2")
        .output()
        .expect("runs")
        .into();
    assert_eq!(said.code, Some(1), "{said:?}");
    for part in ["llama3.2", "http://127.0.0.1:9/v1", "does not answer", "OPENAI_BASE_URL"] {
        assert!(said.err.contains(part), "{part:?} is missing in {}", said.err);
    }
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
}

#[test]
fn the_demo_says_without_a_named_model_that_it_brings_its_own() {
    let said: Said = command(&["demo"]).env("OPENAI_BASE_URL", "http://127.0.0.1:9/v1").output().expect("runs").into();
    assert_eq!(said.code, Some(1), "{said:?}");
    for part in ["http://127.0.0.1:9/v1", "does not answer", "without OPENAI_BASE_URL", "brings its own model"] {
        assert!(said.err.contains(part), "{part:?} is missing in {}", said.err);
    }
}

#[test]
fn the_demo_ends_as_intended_within_a_minute_and_leaves_nothing_behind() {
    let scratch = tempfile::tempdir().expect("a folder");
    let began = Instant::now();
    let said: Said = command(&["demo", "--exit"])
        .env("TMPDIR", scratch.path())
        .current_dir(scratch.path())
        .output()
        .expect("runs")
        .into();
    let said = said.ok();
    assert!(began.elapsed() < Duration::from_mins(1), "{:?}", began.elapsed());
    for part in ["scripted", "3628800", "3660", "12 °C", "42", "404", "18446744073709551616", "5 of 6 tasks completed"]
    {
        assert!(said.out.contains(part), "{part:?} is missing in\n{}", said.out);
    }
    // Without a terminal there are no colours, and nothing is cut.
    assert!(!said.out.contains('\u{1b}') && !said.out.contains('…'), "{}", said.out);
    let schedule = |title: &str| {
        let rows = said.out.lines().filter(|line| line.starts_with("ok") && line.contains(title));
        rows.map(str::to_owned).collect::<Vec<_>>()
    };
    let [fires] = &schedule("a schedule that fires")[..] else { panic!("{}", said.out) };
    assert!(fires.contains("completed") && fires.contains("fired ") && fires.contains(", next "), "{fires}");
    let [waits] = &schedule("a schedule that waits")[..] else { panic!("{}", said.out) };
    assert!(waits.contains("waiting") && waits.contains("next 20") && waits.contains("07:00:00"), "{waits}");
    let left: Vec<_> = std::fs::read_dir(scratch.path()).expect("a folder").flatten().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn kept_data_of_the_demo_has_its_schedules_paused() {
    let scratch = tempfile::tempdir().expect("a folder");
    let kept = scratch.path().join("kept");
    let kept = kept.to_str().expect("UTF-8");
    let said: Said =
        command(&["demo", "--exit", "--keep", kept]).current_dir(scratch.path()).output().expect("runs").into();
    let said = said.ok();
    assert!(
        said.out.contains("Its schedules are paused") && said.out.contains("qron schedules resume tick"),
        "{said:?}"
    );
    let server = Server::with(&[("QRON__EMBEDDED__DATA_DIR", kept)]);
    let listed = server.run(&["schedules", "list"]).ok().out;
    for id in ["tick", "morning"] {
        let row = listed.lines().find(|line| line.starts_with(&format!(" {id} ")) || line.starts_with(id));
        assert!(row.is_some_and(|row| row.contains("paused")), "{id}: {listed}");
    }
    let plan = server.run(&["schedules", "plan", "tick"]).ok().out;
    assert!(plan.contains("a plan of its own") && plan.contains("seconds: calculate"), "{plan}");
    assert!(server.run(&["schedules", "resume", "tick"]).ok().out.contains("was resumed"));
    server.run(&["schedules", "pause", "tick"]).ok();
    let fired = server.run(&["schedules", "show", "tick", "--json"]).ok().json()["fired"].as_u64().expect("a count");
    drop(server);

    let said: Said =
        command(&["demo", "--exit", "--keep", kept]).current_dir(scratch.path()).output().expect("runs").into();
    let said = said.ok();
    let row = said.out.lines().find(|line| line.starts_with("ok") && line.contains("a schedule that fires"));
    let row = row.unwrap_or_else(|| panic!("{}", said.out));
    assert!(row.contains("fired ") && !row.trim_end().ends_with("next"), "{row}");
    let server = Server::with(&[("QRON__EMBEDDED__DATA_DIR", kept)]);
    let again = server.run(&["schedules", "show", "tick", "--json"]).ok().json()["fired"].as_u64().expect("a count");
    assert!(again > fired, "it fired in the second demo, too: {fired}, then {again}; {row}");
}
