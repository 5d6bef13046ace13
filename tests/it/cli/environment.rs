//! Variables: empty ones, those that are true or false, and the token.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use super::program::{Said, Server, command, plan_file};

fn with(arguments: &[&str], variables: &[(&str, &str)]) -> Said {
    command(arguments).envs(variables.iter().copied()).output().expect("runs").into()
}

#[test]
fn empty_variables_count_as_unset() {
    let empty: Vec<(&str, &str)> = [
        "OPENAI_API_KEY",
        "OPENAI_BASE_URL",
        "QDRANT_URL",
        "QDRANT_API_KEY",
        "QRON_CONFIG",
        "QRON_URL",
        "QRON_NO_MODEL",
        "QRON__API__ADDRESS",
        "QRON__EMBEDDED__NEXT_FREE_PORT",
        "QRON__MODEL__MODELS",
        "QRON__WORKER__GRACE_S",
        "QRON__NOPE__X",
        "QRON_WORKER__GRACE_S",
    ]
    .map(|name| (name, ""))
    .to_vec();
    let unset = command(&["config", "show"]).output().expect("runs");
    let unset = Said::from(unset).ok();
    assert_eq!(with(&["config", "show"], &empty).ok().out, unset.out);
    let blank: Vec<(&str, &str)> = empty.iter().map(|(name, _)| (*name, "  ")).collect();
    assert_eq!(with(&["config", "show"], &blank).ok().out, unset.out);

    let file = plan_file("[worker]\ngrace_s = 7\n");
    let path = file.path().to_string_lossy().into_owned();
    let said = with(&["--config", &path, "config", "show"], &[("QRON__WORKER__GRACE_S", "")]).ok();
    assert!(said.out.contains("grace_s = 7"), "{said:?}");

    let said = with(&["list"], &[("QRON_URL", ""), ("QRON__API__ADDRESS", "127.0.0.1:9")]);
    assert!(said.err.contains("http://127.0.0.1:9"), "{said:?}");
    let said = with(&["run"], &empty);
    assert_eq!(said.code, Some(2), "no model is configured: {said:?}");
    assert!(said.err.contains("--no-model"), "{said:?}");
}

#[test]
fn true_and_false_have_the_words_that_people_use() {
    let name = "QRON__EMBEDDED__NEXT_FREE_PORT";
    for (words, expected) in [
        (["1", "yes", "on", "true", "TRUE", "Yes", " On "], true),
        (["0", "no", "off", "false", "FALSE", "No", " oFF "], false),
    ] {
        for word in words {
            let said = with(&["config", "show"], &[(name, word)]).ok();
            assert!(said.out.contains(&format!("next_free_port = {expected}")), "{word}: {}", said.out);
        }
    }
    for word in ["maybe", "2", "ja"] {
        let said = with(&["config", "check"], &[(name, word)]);
        assert_eq!(said.code, Some(2), "{said:?}");
        assert!(said.err.contains(name) && said.err.contains(word) && said.err.contains("true or false"), "{said:?}");
    }
}

#[test]
fn the_variable_for_no_model_has_the_same_words() {
    // A run that accepts the lack of a model goes on to the address, which is taken.
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let run = |word: &str| with(&["run"], &[("QRON_NO_MODEL", word), ("QRON__API__ADDRESS", &address)]);
    for word in ["1", "yes", "on", "true", "TRUE"] {
        let said = run(word);
        assert!(said.err.contains(&address) && said.err.contains("api.address"), "{word}: {said:?}");
    }
    for word in ["0", "no", "off", "false", ""] {
        let said = run(word);
        assert!(said.code == Some(2) && said.err.contains("no model endpoint"), "{word}: {said:?}");
    }
    let said = run("perhaps");
    assert!(said.code == Some(2) && said.err.contains("perhaps") && said.err.contains("yes"), "{said:?}");
}

#[test]
fn a_command_without_the_right_token_is_told_which_variable_to_set() {
    let server = Server::with(&[("QRON__API__TOKEN", "open-sesame")]);
    let said = server.run(&["list"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    for part in ["has none", "QRON__API__TOKEN", "api.token", &server.url] {
        assert!(said.err.contains(part), "{part:?} is missing in {}", said.err);
    }
    let with_token =
        |token: &str| Said::from(server.command(&["list"]).env("QRON__API__TOKEN", token).output().expect("runs"));
    let said = with_token("open-barley");
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("refuses the token") && said.err.contains("QRON__API__TOKEN"), "{said:?}");
    assert!(!said.err.contains("open-"), "no token is shown: {said:?}");
    with_token("open-sesame").ok();
}

#[test]
fn a_command_says_once_which_variable_it_does_not_know() {
    let server = Server::start();
    let said = server.command(&["list"]).env("QRON_TOKEN", "x").env("RUST_LOG", "debug").output().expect("runs");
    let said = Said::from(said).ok();
    assert_eq!(said.err.matches("did you mean QRON__API__TOKEN?").count(), 1, "{said:?}");
    assert!(!said.err.contains("RUST_LOG"), "it concerns the server alone: {said:?}");
    let checked =
        with(&["config", "check", "--no-model"], &[("QRON_TOKEN", "x"), ("OPENAI_API_BASE", "http://h/v1")]).ok();
    assert!(checked.err.contains("QRON__API__TOKEN") && checked.err.contains("use OPENAI_BASE_URL"), "{checked:?}");
    let refused = with(&["list"], &[("QRON_URLL", "http://h:1")]);
    assert!(refused.code == Some(2) && refused.err.contains("write it QRON_URL"), "{refused:?}");
}

#[test]
fn the_rest_port_of_a_qdrant_is_a_mistake_to_mend() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        let body = r#"{"title":"qdrant - vector search engine","version":"1.18.3","commit":"x"}"#;
        let answer = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 1_024];
            if stream.read(&mut request).is_ok() {
                // A client that has gone is not the subject here.
                drop(stream.write_all(answer.as_bytes()));
            }
        }
    });
    let variables = [("QDRANT_URL", url.as_str()), ("QRON__API__ADDRESS", "127.0.0.1:0"), ("QRON__LOG__FILTER", "off")];
    let said = with(&["run", "--no-model"], &variables);
    assert_eq!(said.code, Some(2), "{said:?}");
    let expected = format!("{url} is Qdrant's REST port; did you mean http://127.0.0.1:6334 (gRPC)?");
    assert!(said.err.contains(&expected), "{said:?}");
}
