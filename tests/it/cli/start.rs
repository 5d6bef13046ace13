//! What `qron run` tells at start about the model it will ask.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::process::{Child, Stdio};

use serde_json::{Value, json};

use super::program::{Said, command};

/// An endpoint that has one model. Ends with the test process.
pub(super) fn endpoint() -> String {
    endpoint_with(&["llama3.2:latest"])
}

fn endpoint_with(models: &[&str]) -> String {
    let models: Vec<Value> = models.iter().map(|model| json!({ "id": model })).collect();
    let body = json!({ "object": "list", "data": models }).to_string();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/v1", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let mut head = [0; 1024];
            if !stream.read(&mut head).is_ok_and(|length| length > 0) {
                continue;
            }
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
            );
            // A client that has gone away has read enough.
            drop(stream.write_all(answer.as_bytes()));
        }
    });
    url
}

/// A web server without any page, by its base URL. Ends with the test process.
pub(super) fn nothing_there() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let mut head = vec![0; 65_536];
            if stream.read(&mut head).is_ok_and(|length| length > 0) {
                let answer = b"HTTP/1.1 404 Not Found\r\ncontent-length: 9\r\nconnection: close\r\n\r\nNot Found";
                // A client that has gone away has read enough.
                drop(stream.write_all(answer));
            }
        }
    });
    url
}

/// The URL of an endpoint that is away.
fn closed() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    format!("http://{}/v1", listener.local_addr().expect("an address"))
}

struct Run {
    child: Child,
    _folder: tempfile::TempDir,
}

impl Run {
    /// Starts `qron run` with these variables.
    fn with(arguments: &[&str], variables: &[(&str, &str)]) -> (Self, impl Iterator<Item = Value> + use<>) {
        let folder = tempfile::tempdir().expect("a folder");
        let mut child = command(arguments)
            .current_dir(folder.path())
            .env("QRON__API__ADDRESS", "127.0.0.1:0")
            .env("QRON__EMBEDDED__ADDRESS", "127.0.0.1:0")
            .env("QRON__LOG__FORMAT", "json")
            .envs(variables.iter().copied())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("starts");
        let lines = BufReader::new(child.stderr.take().expect("its log")).lines().map_while(Result::ok);
        let entries = lines.filter_map(|line| serde_json::from_str(&line).ok());
        (Self { child, _folder: folder }, entries)
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The first entry whose message holds `part`.
fn entry(entries: &mut impl Iterator<Item = Value>, part: &str) -> Value {
    let mut seen = Vec::new();
    for entry in entries {
        if entry["message"].as_str().is_some_and(|message| message.contains(part)) {
            return entry;
        }
        seen.push(entry);
    }
    panic!("the log ends without {part:?}: {seen:#?}");
}

#[test]
fn the_start_names_model_and_endpoint_and_says_that_it_answers() {
    let url = endpoint();
    let variables = [
        ("OPENAI_BASE_URL", url.as_str()),
        ("QRON__MODEL__MODELS", "llama3.2"),
        ("OPENAI_API_KEY", "sk-hidden-0123456789"),
    ];
    let (_run, mut entries) = Run::with(&["run"], &variables);
    let told = entry(&mut entries, "a model plans the tasks");
    assert_eq!((told["models"].as_str(), told["endpoint"].as_str()), (Some("llama3.2"), Some(url.as_str())), "{told}");
    let answers = entry(&mut entries, "answers and has the configured models");
    assert_eq!(answers["level"], "INFO", "{answers}");
    assert!(!told.to_string().contains("sk-hidden") && !answers.to_string().contains("sk-hidden"));
}

#[test]
fn a_model_that_the_endpoint_does_not_have_is_told_with_the_setting_to_use() {
    let url = endpoint();
    let (_run, mut entries) =
        Run::with(&["run"], &[("OPENAI_BASE_URL", &url), ("QRON__MODEL__MODELS", "llama3.2-turbo,gpt-5-mini")]);
    for model in ["llama3.2-turbo", "gpt-5-mini"] {
        let warned = entry(&mut entries, &format!("model.models names {model:?}"));
        assert_eq!(warned["level"], "WARN", "{warned}");
        assert!(warned["message"].as_str().is_some_and(|text| text.contains("QRON__MODEL__MODELS=llama3.2:latest")));
    }
}

#[test]
fn an_endpoint_that_is_down_is_told_and_does_not_hold_up_the_start() {
    let url = closed();
    let (_run, entries) = Run::with(&["run"], &[("OPENAI_BASE_URL", &url), ("QRON__MODEL__MODELS", "llama3.2")]);
    // The two lines come in any order: neither waits for the other.
    let (mut runs, mut warned) = (false, Value::Null);
    for entry in entries {
        runs |= entry["api"].is_string();
        if entry["message"].as_str().is_some_and(|message| message.contains("does not answer")) {
            warned = entry;
        }
        if runs && !warned.is_null() {
            break;
        }
    }
    assert!(runs, "it starts");
    assert!(warned["reason"].as_str().is_some_and(|reason| reason.contains("connect")), "{warned}");
}

#[test]
fn without_a_model_the_start_says_what_runs() {
    let (_run, mut entries) = Run::with(&["run", "--no-model"], &[]);
    entry(&mut entries, "no model is configured");
    // The person asked for it.
    let told = entry(&mut entries, "the agent has no model");
    assert_eq!((&told["level"], &told["agent"]), (&json!("INFO"), &json!("generalist")), "{told}");
    assert!(told.get("waiting").is_none(), "no count of tasks that come back only then: {told}");
}

#[test]
fn an_endpoint_without_the_path_is_told_at_the_start_with_the_one_that_is_meant() {
    let url = nothing_there();
    let (_run, mut entries) = Run::with(&["run"], &[("OPENAI_BASE_URL", &url), ("QRON__MODEL__MODELS", "llama3.2")]);
    let told = entry(&mut entries, "lists no models");
    assert_eq!(told["level"], "WARN", "{told}");
    assert!(
        told["message"].as_str().is_some_and(|text| text.ends_with(&format!("is its base URL {url}/v1?"))),
        "{told}"
    );
}

#[test]
fn the_only_model_of_an_endpoint_is_taken_when_none_is_named() {
    let url = endpoint();
    let (_run, mut entries) = Run::with(&["run"], &[("OPENAI_BASE_URL", &url)]);
    let taken = entry(&mut entries, "the model endpoint has one model");
    assert_eq!((taken["level"].as_str(), taken["model"].as_str()), (Some("INFO"), Some("llama3.2:latest")), "{taken}");
    let told = entry(&mut entries, "a model plans the tasks");
    assert_eq!(told["models"], "llama3.2:latest", "{told}");

    let checked = said(&["config", "check"], &url);
    assert_eq!(checked.code, Some(0), "{checked:?}");
    assert!(checked.err.contains("qron calls llama3.2:latest"), "{checked:?}");
}

#[test]
fn an_endpoint_that_leaves_the_choice_open_is_refused_with_the_setting_to_write() {
    let many: Vec<String> = (0..12).map(|n| format!("m{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for (url, code, parts) in [
        (
            endpoint_with(&["qwen3:8b", "llama3.2:3b"]),
            2,
            ["has 2 models", "QRON__MODEL__MODELS=qwen3:8b", "qwen3:8b, llama3.2:3b"],
        ),
        (endpoint_with(&many), 2, ["has 12 models", "model.models", "m9 and 2 more"]),
        (endpoint_with(&[]), 2, ["model.models is empty", "has no model", "ollama pull"]),
        // Another try may be the way out.
        (closed(), 1, ["does not answer", "OPENAI_BASE_URL", "name the model to call in model.models"]),
    ] {
        for arguments in [&["config", "check"][..], &["run"]] {
            let said = said(arguments, &url);
            assert_eq!(said.code, Some(code), "{said:?}");
            for part in parts.into_iter().chain([url.as_str()]) {
                assert!(said.err.contains(part), "{part:?} is missing in {said:?}");
            }
        }
    }
}

/// What a command says that ends by itself, with the endpoint at `url`.
fn said(arguments: &[&str], url: &str) -> Said {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = command(arguments);
    command.current_dir(folder.path()).env("OPENAI_BASE_URL", url).env("QRON__API__ADDRESS", "127.0.0.1:0");
    Said::from(command.env("QRON__LOG__FILTER", "off").output().expect("runs"))
}
