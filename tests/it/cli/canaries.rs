//! Secrets of every kind, in every place where one can be set, in a program to which everything happens: none is found again in
//! what it prints, answers, stores, asks or writes.
#![expect(clippy::format_push_string, reason = "texts of a test are short")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use aho_corasick::AhoCorasick;
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use qdrant_client::Qdrant;
use qdrant_client::qdrant::ScrollPointsBuilder;
use reqwest::Method;
use serde_json::{Value, json};

use super::program::{Said, command};
use super::running::{Running, under_umask};

/// Secrets in all encodings that are searched for, each with its place and its encoding.
struct Canaries {
    search: AhoCorasick,
    names: Vec<String>,
}

impl Canaries {
    fn new(secrets: &[(&str, &str)]) -> Self {
        let forms = secrets.iter().flat_map(|(place, secret)| {
            encodings(secret).into_iter().map(move |(encoding, form)| (format!("{place} as {encoding}"), form))
        });
        let (names, forms): (Vec<String>, Vec<String>) = forms.unzip();
        Self { search: AhoCorasick::new(forms).expect("few patterns"), names }
    }

    #[track_caller]
    fn assert_absent(&self, haystack: &[u8], where_: &str) {
        if let Some(found) = self.search.find(haystack) {
            let around = &haystack[found.start().saturating_sub(300)..haystack.len().min(found.end() + 300)];
            let name = &self.names[found.pattern().as_usize()];
            panic!("{name} is in {where_}: {}", String::from_utf8_lossy(around));
        }
    }
}

/// The encodings of `secret` that are searched for; of Base64 the letters that no neighbour changes.
fn encodings(secret: &str) -> Vec<(String, String)> {
    let cut = |(name, form): (String, String)| {
        let before =
            name.strip_prefix("base64 ").or(name.strip_prefix("base64url ")).and_then(|number| number.parse().ok());
        let Some(before): Option<usize> = before else { return (name, form) };
        let core = form.trim_end_matches('=');
        (name, core[before * 2..core.len() - 2].to_owned())
    };
    sent(secret).into_iter().map(cut).collect()
}

/// The encodings of `secret` as a server sends them, by name.
fn sent(secret: &str) -> Vec<(String, String)> {
    let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect::<Vec<String>>().concat();
    let mut forms = vec![
        ("plain".to_owned(), secret.to_owned()),
        ("backwards".to_owned(), secret.chars().rev().collect()),
        ("upper hex".to_owned(), hex.to_uppercase()),
        ("hex".to_owned(), hex),
        ("percent".to_owned(), secret.bytes().map(|byte| format!("%{byte:02X}")).collect::<Vec<String>>().concat()),
        (
            "JSON escapes".to_owned(),
            secret.bytes().map(|byte| format!("\\u{byte:04x}")).collect::<Vec<String>>().concat(),
        ),
    ];
    for before in 0..3 {
        let text = format!("{}{secret}", "x".repeat(before));
        forms.push((format!("base64 {before}"), BASE64_STANDARD.encode(&text)));
        forms.push((format!("base64url {before}"), BASE64_URL_SAFE_NO_PAD.encode(&text)));
    }
    forms
}

/// A text with `secret` in every encoding, as a hostile server answers.
fn echo(secret: &str) -> String {
    let basic = BASE64_STANDARD.encode(format!("user:{secret}"));
    let all: Vec<String> = sent(secret).into_iter().map(|(name, form)| format!("{name} {form} ;")).collect();
    format!("{} Basic {basic} Bearer {secret}", all.join(" "))
}

/// A server that is a model, and to others a web page. Both repeat every secret. Ends with the test process.
struct Hostile {
    address: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Hostile {
    fn start(secrets: &[String]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (all, seen) = (secrets.to_vec(), Arc::clone(&asked));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (all, seen) = (all.clone(), Arc::clone(&seen));
                std::thread::spawn(move || answer(stream, &all, &seen));
            }
        });
        Self { address, asked }
    }

    fn prompts(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn answer(mut stream: TcpStream, secrets: &[String], seen: &Mutex<Vec<String>>) {
    let Some((head, body)) = request(&mut stream) else { return };
    let echoed: Vec<String> = secrets.iter().map(|secret| echo(secret)).collect();
    let echoed = echoed.join("\n");
    let (status, answer) = if head.starts_with("POST /v1/") {
        seen.lock().unwrap_or_else(PoisonError::into_inner).push(body.clone());
        model(&body, &echoed, secrets)
    } else {
        ("200 OK", json!({ "page": echoed }).to_string())
    };
    let length = answer.len();
    let text = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{answer}"
    );
    // A client that has gone away has read enough.
    drop(stream.write_all(text.as_bytes()));
}

/// The head and the body of a request.
fn request(stream: &mut TcpStream) -> Option<(String, String)> {
    let mut bytes = Vec::new();
    let mut part = [0; 8192];
    loop {
        let read = stream.read(&mut part).ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&part[..read]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
        });
        if body.len() >= length.unwrap_or(0) {
            return Some((head.to_owned(), body.to_owned()));
        }
    }
}

/// The model refuses some tasks and answers others, with the secrets either way.
fn model(body: &str, echoed: &str, secrets: &[String]) -> (&'static str, String) {
    if body.contains("be refused") {
        // A message is cut: each secret comes first once.
        let message = secrets.iter().map(|secret| echo(secret)).next().unwrap_or_default();
        return ("400 Bad Request", json!({"error": {"message": message, "code": secrets[0]}}).to_string());
    }
    if body.contains("be rejected") {
        return ("400 Bad Request", echoed.to_owned());
    }
    let content = json!({
        "goal_restated": echoed, "steps": [{"id": "w", "tool": "write_file", "arguments": {"path": "from-model.txt", "content": echoed}}],
        "outcome": "done", "answer": echoed, "result": echoed, "output": echoed, "summary": echoed
    });
    let message = json!({"role": "assistant", "content": content.to_string(), "reasoning_content": echoed});
    let answer = json!({"id": "x", "object": "chat.completion", "model": "m", "choices": [{"index": 0, "finish_reason": "stop",
        "message": message}], "usage": {"prompt_tokens": 10, "completion_tokens": 10}});
    ("200 OK", answer.to_string())
}

/// What a plan does with what it is told: everything that keeps something.
fn plan(address: &str) -> Value {
    json!({"steps": [
        {"id": "page", "tool": "http_request", "arguments": {"url": format!("http://{address}/page")}},
        {"id": "file", "tool": "write_file", "arguments": {"path": "page.txt", "content": "${page.body}"}, "depends_on": ["page"]},
        {"id": "big", "tool": "save_artifact", "arguments": {"name": "big", "content": "${page.body}"}, "depends_on": ["page"]},
        {"id": "key", "tool": "set_state", "arguments": {"key": "page", "value": "${page}"}, "depends_on": ["page"]},
        {"id": "read", "tool": "read_file", "arguments": {"path": "page.txt"}, "depends_on": ["file"]},
    ]})
}

async fn points(url: &str, key: &str) -> String {
    let client = Qdrant::from_url(url).api_key(key).skip_compatibility_check().build().expect("a client");
    let collections = client.list_collections().await.expect("collections").collections;
    assert!(collections.len() > 5, "{collections:?}");
    let mut all = String::new();
    for collection in collections {
        let request = ScrollPointsBuilder::new(&collection.name).limit(10_000).with_payload(true);
        for point in client.scroll(request).await.expect("points").result {
            let payload: serde_json::Map<String, Value> =
                point.payload.into_iter().map(|(field, value)| (field, value.into_json())).collect();
            // The strings themselves, so that no escape of this listing hides anything.
            all.push_str(&format!("\n{} {:?}: ", collection.name, point.id));
            strings(&Value::Object(payload), &mut all);
        }
    }
    all
}

fn strings(value: &Value, into: &mut String) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(field, value)| {
            into.push_str(&format!("\n{field}="));
            strings(value, into);
        }),
        Value::Array(items) => items.iter().for_each(|item| strings(item, into)),
        Value::String(text) => into.push_str(&format!("\n{text}")),
        other => into.push_str(&format!("\n{other}")),
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[tokio::test]
async fn no_secret_is_printed_answered_stored_asked_or_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let secret = |place: &str| format!("{place}-c4n4ry-Zq8+/{}", 1_000 + place.len() * 7);
    let [model, embedded, token, sql, page] = ["model", "embedded", "token", "sqlpass", "query"].map(secret);
    let (model, embedded, token) = (model.replace('+', "_"), embedded.replace('/', "~"), token);
    let secrets = [model.clone(), embedded.clone(), token.clone(), sql.clone(), page.clone()];
    let places =
        ["model.api_key", "embedded.api_key", "api.token", "the password of tools.sql", "the query of tools.sql"];
    let named: Vec<(&str, &str)> = places.into_iter().zip(secrets.iter().map(String::as_str)).collect();
    let canaries = Canaries::new(&named);
    let hostile = Hostile::start(&secrets);

    let encoded = sql.replace('/', "%2F").replace('+', "%2B");
    let config = folder.path().join("qron.toml");
    let database = format!("postgres://reader:{encoded}@127.0.0.1:1/d?application_name=x&password={page}");
    let text = format!(
        "[tools.sql.s]\nurl = \"{database}\"\n[tools.http]\nallow = [\"127.0.0.1\"]\n[artifacts]\ninline_bytes = 300\n"
    );
    fs::write(&config, text).expect("written");
    let key_file = folder.path().join("model-key");
    fs::write(&key_file, &model).expect("written");
    let (base, key_file) = (format!("http://{}/v1", hostile.address), key_file.to_string_lossy().into_owned());
    let config = config.to_string_lossy().into_owned();
    let variables = [
        ("QRON_CONFIG", config.as_str()),
        ("OPENAI_API_KEY_FILE", &key_file),
        ("OPENAI_BASE_URL", &base),
        ("QRON__MODEL__MODELS", "gpt-5-mini"),
        ("QRON__API__TOKEN", &token),
        ("QRON__EMBEDDED__API_KEY", &embedded),
        ("QRON__MODEL__TRIES", "1"),
        (
            "QRON__LOG__FILTER",
            "trace,reqwest=trace,hyper_util=trace,async_openai=trace,tower=trace,tonic=trace,rustls=trace,tokio_postgres=trace,jsonschema=trace",
        ),
        ("QRON__RETRY__BASE_MS", "10"),
        ("QRON__RETRY__MAX_MS", "20"),
    ];
    let running = Running::start(under_umask("022"), folder.path(), &variables).await;

    let mut answers = String::new();
    let everything = secrets.join(" ");
    let query =
        json!({"steps": [{"id": "q", "tool": "sql_query", "arguments": {"database": "s", "query": "select 1"}}]});
    for task in [
        json!({"goal": "keep what a page says", "plan": plan(&hostile.address)}),
        json!({"goal": "ask an unreachable database", "plan": query, "max_attempts": 1}),
        json!({"goal": format!("this goal holds {everything} and shall be refused"), "max_attempts": 1}),
        json!({"goal": "this one shall be rejected", "max_attempts": 1, "context": {"a": everything, &token: 1}, "tags": [model]}),
        json!({"goal": format!("write a file about {}", echo(&sql)), "max_attempts": 1}),
    ] {
        let ended = running.ended(&task).await;
        answers.push_str(&ended.to_string());
        if task["goal"] == "keep what a page says" {
            assert_eq!(ended["status"], "completed", "{ended}");
        }
        let id = ended["id"].as_str().expect("an id");
        for part in ["", "/steps", "/artifacts", "/artifacts/big", "/children"] {
            answers.push_str(&running.ask(Method::GET, &format!("/api/v1/tasks/{id}{part}"), None).await.1);
        }
    }
    for path in
        ["/tasks", "/dead-letters", "/agents", "/search?q=page", "/approvals", "/schedules", "/tools", "/nothing"]
    {
        answers.push_str(&running.ask(Method::GET, &format!("/api/v1{path}"), None).await.1);
    }
    for path in ["/metrics", "/readyz", &format!("/{everything}")] {
        answers.push_str(&running.ask(Method::GET, path, None).await.1);
    }
    let bad = json!({"goal": [everything]});
    answers.push_str(&running.ask(Method::POST, "/api/v1/tasks", Some(&bad)).await.1);

    assert!(answers.contains("[model.api_key]") && answers.contains("[password of tools.sql.s.url]"), "{answers}");
    let stored = points(&running.store, &embedded).await;
    let said = running.said();
    running.terminate().await;
    let prompts = hostile.prompts();
    assert!(prompts.len() > 2, "{prompts:?}");
    canaries.assert_absent(said.as_bytes(), "the log");
    canaries.assert_absent(answers.as_bytes(), "an answer of the api");
    canaries.assert_absent(stored.as_bytes(), "the store");
    for prompt in &prompts {
        canaries.assert_absent(prompt.as_bytes(), "a prompt");
    }
    for file in files(&folder.path().join("sub/data")) {
        canaries.assert_absent(&fs::read(&file).expect("readable"), &file.display().to_string());
    }
}

/// What a command says that cannot do its work, with a secret in every place that it reads.
#[test]
fn no_secret_is_in_what_a_failing_command_says() {
    let folder = tempfile::tempdir().expect("a folder");
    let canary = Canaries::new(&[("a secret", "pw-c4n4ry-0123456789")]);
    let config = folder.path().join("qron.toml");
    let silent = |arguments: &[&str], text: &str, variables: &[(&str, &str)]| {
        fs::write(&config, text).expect("written");
        let said: Said = command(arguments)
            .current_dir(folder.path())
            .env("QRON_CONFIG", &config)
            .env("QRON__API__ADDRESS", "127.0.0.1:0")
            .env("QRON__EMBEDDED__ADDRESS", "127.0.0.1:0")
            .env("QRON__STORE__TIMEOUT_MS", "2000")
            .envs(variables.iter().copied())
            .output()
            .expect("runs")
            .into();
        canary.assert_absent(said.out.as_bytes(), &format!("the output of {arguments:?}"));
        canary.assert_absent(said.err.as_bytes(), &format!("the errors of {arguments:?}"));
        said
    };
    let store = "[store]\nurl = \"http://me:pw-c4n4ry-0123456789@127.0.0.1:1/?api_key=pw-c4n4ry-0123456789\"\n";
    let said = silent(&["run", "--no-model"], store, &[]);
    assert!(said.code == Some(1) && said.err.contains("http://***@127.0.0.1:1"), "{said:?}");
    silent(&["bench", "--tasks", "1"], store, &[]);
    let said = silent(&["config", "show"], store, &[("OPENAI_BASE_URL", "https://h/v1?key=pw-c4n4ry-0123456789")]);
    assert!(said.code == Some(0) && said.out.contains("https://h/v1?key=***"), "{said:?}");
    let said = silent(&["run"], "", &[("OPENAI_BASE_URL", "https://me:pw-c4n4ry-0123456789@h/v1")]);
    assert!(said.err.contains("model.base_url"), "{said:?}");
    let said = silent(&["run"], "", &[("OPENAI_BASE_URL", "https://h/v1?key=pw-c4n4ry-0123456789")]);
    assert!(said.err.contains("model.base_url"), "{said:?}");
    silent(&["run", "--no-model"], "[api]\ntoken = \"pw-c4n4ry-0123456789\n", &[]);
    silent(&["list"], "", &[("QRON_URL", "http://me:pw-c4n4ry-0123456789@127.0.0.1:1/?x=pw-c4n4ry-0123456789")]);
    silent(&["list"], "", &[("QRON_URL", "ftp://me:pw-c4n4ry-0123456789@127.0.0.1:1")]);
    silent(&["list", "--url", "me:pw-c4n4ry-0123456789@h"], "[api]\ntoken = \"pw-c4n4ry-0123456789\"\n", &[]);
    let said = silent(&["config", "check", "--no-model"], "[api]\ntoken = \"pw-c4n4ry-0123456789\"\n", &[]);
    assert!(said.code == Some(0), "{said:?}");
}
