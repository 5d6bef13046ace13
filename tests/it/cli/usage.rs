//! Mistakes of the one who types: exit code 2, and the offender by name.

use std::process::Stdio;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::program::{Server, command, plan_file, run};

#[test]
fn a_wrong_command_line_is_exit_code_2() {
    for arguments in [
        &["frobnicate"][..],
        &["add"],
        &["show"],
        &["cancel"],
        &["list", "--limit", "0"],
        &["list", "--url", "nonsense"],
        &["dead-letters", "purge"],
        &["add", "goal long enough", "--priority", "high"],
        &["add", "goal long enough", "--plan", "/nowhere.json"],
        &["add", "goal long enough", "--context", "nonsense"],
        &["--config", "/nowhere.toml", "list"],
    ] {
        let said = run(arguments);
        assert_eq!(said.code, Some(2), "{arguments:?}: {said:?}");
        assert!(!said.err.is_empty() && said.out.is_empty(), "{said:?}");
    }
}

#[test]
fn a_usage_line_names_no_option_that_nobody_typed() {
    let said = command(&["show"]).env("QRON_URL", "http://127.0.0.1:9").output().expect("runs");
    let said = super::program::Said::from(said);
    assert!(said.code == Some(2) && said.err.contains("<ID>") && !said.err.contains("--url"), "{said:?}");
    let said = run(&["show", "--url", "http://127.0.0.1:9"]);
    assert!(said.err.contains("--url"), "it was typed: {said:?}");
}

#[test]
fn without_a_model_run_says_the_ways_out() {
    let said = run(&["run"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    for way in ["OPENAI_API_KEY", "OPENAI_BASE_URL", "--no-model", "qron demo"] {
        assert!(said.err.contains(way), "{way} is missing in {}", said.err);
    }
}

#[test]
fn a_bad_configuration_is_told_with_every_mistake() {
    let mut command = command(&["config", "check"]);
    let said: super::program::Said =
        command.env("QRON__API__PROT", "1").env("QRON__WORKER__GRACE_S", "soon").output().expect("runs").into();
    assert_eq!(said.code, Some(2));
    assert!(said.err.contains("api.prot") && said.err.contains("worker.grace_s"), "{}", said.err);
}

#[test]
fn the_configuration_is_checked_shown_and_explained() {
    let said = run(&["config", "check", "--no-model"]).ok();
    assert!(said.out.contains("valid"), "{said:?}");
    assert!(run(&["config", "example"]).ok().out.starts_with("# Every setting"));
    let said: super::program::Said =
        command(&["config", "show"]).env("OPENAI_API_KEY", "sk-canary").output().expect("runs").into();
    let said = said.ok();
    assert!(said.out.contains("api_key = \"***\"") && !said.out.contains("canary"), "{said:?}");
}

#[test]
fn the_zone_data_in_use_are_told() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("tzdata.zi"), "# version 2999a\n").expect("a file");
    let shown = |folder: &std::path::Path| {
        let output = command(&["config", "show"]).env("TZDIR", folder).output().expect("runs");
        super::program::Said::from(output).ok().out
    };
    assert!(shown(folder.path()).starts_with("# Zone data: 2999a.\n"), "newer data of the machine are used");
    std::fs::write(folder.path().join("tzdata.zi"), "# version 1999a\n").expect("a file");
    let kept = shown(folder.path());
    assert!(kept.starts_with("# Zone data: 20") && !kept.starts_with("# Zone data: 2999"), "{kept}");
}

#[test]
fn when_no_qron_answers_the_way_out_is_said() {
    let said = run(&["list", "--url", "http://127.0.0.1:9"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("http://127.0.0.1:9") && said.err.contains("qron run"), "{}", said.err);
}

#[test]
fn what_answers_and_is_no_qron_is_told_with_the_address_to_use() {
    let (server, store) = Server::with_store_port();
    let store = format!("http://127.0.0.1:{store}");
    for arguments in [&["list"][..], &["pause"], &["add", "a goal long enough"]] {
        let said = command(arguments).env("QRON_URL", &store).output().expect("runs");
        let said = super::program::Said::from(said);
        assert_eq!(said.code, Some(1), "{said:?}");
        for part in [&store, "is not the API of a qron", "api.address", "QRON_URL", "http://127.0.0.1:8080"] {
            assert!(said.err.contains(part), "{part:?} is missing in {}", said.err);
        }
    }
    let known = command(&["list"]).env("QRON_URL", &store).env("QDRANT_URL", &store).output().expect("runs");
    let known = super::program::Said::from(known);
    assert!(known.err.contains("one of the store (embedded.address, store.url)"), "{known:?}");
    let tls = run(&["list", "--url", &server.url.replace("http:", "https:")]);
    assert!(tls.code == Some(1) && tls.err.contains("a qron itself speaks http:// alone"), "{tls:?}");
}

#[tokio::test]
async fn a_connection_that_is_reset_is_told_apart_from_a_server_of_another_protocol() {
    let settings_of_http2 = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    for (first_words, expected) in [(&settings_of_http2[..], "is not the API of a qron"), (&[], "failed")] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("its address"));
        let said = tokio::task::spawn_blocking(move || run(&["list", "--url", &url]));
        let (mut asked, _) = listener.accept().await.expect("the request");
        asked.read_u8().await.expect("it is sent");
        asked.set_zero_linger().expect("is reset");
        drop(asked);
        let (mut probed, _) = listener.accept().await.expect("a second connection");
        probed.write_all(first_words).await.expect("is read");
        let said = said.await.expect("ends");
        assert!(said.code == Some(1) && said.err.contains(expected), "{said:?}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let mut child =
        command(&["config", "example"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("runs");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("ends");
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn bad_tasks_are_refused_by_name_and_nothing_is_stored() {
    let server = Server::start();
    let cycle = plan_file(
        r#"{"steps": [{"id": "a", "instruction": "x", "depends_on": ["b"]},
            {"id": "b", "instruction": "x", "depends_on": ["a"]}]}"#,
    );
    let unknown = plan_file(r#"{"steps": [{"id": "a", "tool": "fly"}]}"#);
    let path = |file: &tempfile::NamedTempFile| file.path().to_string_lossy().into_owned();
    let goal = "a goal that is long enough";
    for (arguments, parts) in [
        (vec!["add", ""], vec!["0 characters", "10 to 5000"]),
        (vec!["add", goal, "--plan", &path(&cycle)], vec!["cycle", "a -> b -> a"]),
        (vec!["add", goal, "--plan", &path(&unknown)], vec!["\"fly\"", "calculate"]),
        (vec!["add", goal, "--agent", "nobody"], vec!["nobody", "generalist"]),
        (vec!["add", goal, "--at", "tomorrow"], vec!["run_at", "tomorrow"]),
        (vec!["add", goal, "--in", "soon"], vec!["--in", "soon"]),
        (vec!["add", goal, "--in", "2h", "--at", "2036-01-01T00:00:00Z"], vec!["--in", "--at"]),
        (vec!["add", goal, "--priority", "99"], vec!["priority 99"]),
        (vec!["list", "--status", "maybe"], vec!["maybe", "pending"]),
        (vec!["show", "not-an-id"], vec!["not-an-id"]),
    ] {
        let said = server.run(&arguments);
        assert_eq!(said.code, Some(2), "{arguments:?}: {said:?}");
        for part in parts {
            assert!(said.err.contains(part), "{part:?} is missing in {}", said.err);
        }
    }
    let said = server.run_with(&["add", "-"], &"x".repeat(1_000_000));
    assert_eq!(said.code, Some(2));
    assert!(said.err.contains("1000000 characters"), "{}", said.err);
    let said = server.run_with(&["add", "-"], &"x".repeat(3_000_000));
    assert_eq!(said.code, Some(2));
    assert!(said.err.contains("max_body_bytes"), "{}", said.err);
    assert_eq!(server.run(&["list", "--json"]).ok().json()["items"], serde_json::json!([]));
}
