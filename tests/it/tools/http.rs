//! `http_request` against real servers on loopback.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Query;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect};
use axum::routing::{any, get};
use futures_util::stream;
use qron::domain::failure::FailureClass;
use qron::domain::tool::ToolResult;
use qron::tools::http::{HttpRequest, Lookup, SystemLookup};
use qron::tools::{HttpSettings, Tool};
use serde_json::{Value, json};

use super::support::{answer, context, refusal};

/// Answers in turn; the last one for ever.
struct Scripted {
    answers: Mutex<VecDeque<Vec<IpAddr>>>,
    asked: AtomicUsize,
}

impl Scripted {
    fn new(answers: &[&[&str]]) -> Arc<Self> {
        let read = |texts: &&[&str]| texts.iter().map(|text| text.parse().expect("an address")).collect();
        Arc::new(Self { answers: Mutex::new(answers.iter().map(read).collect()), asked: AtomicUsize::new(0) })
    }
}

#[async_trait]
impl Lookup for Scripted {
    async fn lookup(&self, _host: &str) -> io::Result<Vec<IpAddr>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let mut answers = self.answers.lock().expect("answers");
        let answer = answers.pop_front().unwrap_or_default();
        if answers.is_empty() {
            answers.push_back(answer.clone());
        }
        Ok(answer)
    }
}

fn settings(allow: &[&str]) -> HttpSettings {
    HttpSettings {
        allow: allow.iter().map(ToString::to_string).collect(),
        max_response_bytes: 100_000,
        max_redirects: 3,
        timeout_ms: 5_000,
    }
}

fn tool(allow: &[&str]) -> HttpRequest {
    HttpRequest::new(&settings(allow), Arc::new(SystemLookup)).expect("a tool")
}

fn tool_with(allow: &[&str], lookup: Arc<Scripted>) -> HttpRequest {
    HttpRequest::new(&settings(allow), lookup).expect("a tool")
}

async fn send(tool: &HttpRequest, arguments: Value) -> ToolResult {
    answer(tool, &context(), arguments).await
}

async fn echo(method: axum::http::Method, headers: HeaderMap, body: Bytes) -> impl IntoResponse {
    let headers: serde_json::Map<String, Value> = headers
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned().into()))
        .collect();
    let text = json!({ "method": method.as_str(), "headers": headers, "body": String::from_utf8_lossy(&body) });
    ([("content-type", "application/json")], text.to_string())
}

async fn redirect(Query(query): Query<std::collections::HashMap<String, String>>) -> Redirect {
    Redirect::temporary(query.get("to").map_or("/", String::as_str))
}

/// A server of everything that servers do to clients.
async fn server() -> SocketAddr {
    let gzip = [("content-encoding", "gzip")];
    let router = Router::new()
        .route("/echo", any(echo))
        .route("/redirect", any(redirect))
        .route("/loop", get(|| async { Redirect::temporary("/loop") }))
        .route("/bomb", get(move || async move { (gzip, &include_bytes!("bomb.gz")[..]) }))
        .route("/endless", get(|| async { Body::from_stream(stream::repeat(Ok::<_, Infallible>(vec![b'x'; 1000]))) }))
        .route("/hang", get(|| async { std::future::pending::<()>().await }))
        .route(
            "/drip",
            get(|| async { Body::from_stream(stream::once(async { Ok::<_, Infallible>("x") }).chain_pending()) }),
        )
        .route(
            "/page",
            get(|| async {
                axum::response::Html(format!("<nav>menu</nav><h1>News</h1>{}<a href=/gone>more</a>", " ".repeat(5_000)))
            }),
        )
        .route("/busy", get(|| async { (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "3")], "slow down") }))
        .route("/broken", get(|| async { (StatusCode::INTERNAL_SERVER_ERROR, "oops") }))
        .route("/gone", get(|| async { (StatusCode::NOT_FOUND, "no such thing") }))
        .route("/headers", get(|| async { [("x-long", "x".repeat(70_000))] }))
        .route("/close", get(|| async { ([("connection", "close")], "bye") }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// A body that begins and never ends.
trait ChainPending: futures_util::Stream + Sized {
    fn chain_pending(self) -> futures_util::stream::Chain<Self, stream::Pending<Self::Item>> {
        futures_util::StreamExt::chain(self, stream::pending())
    }
}

impl<S: futures_util::Stream> ChainPending for S {}

#[tokio::test]
async fn a_request_goes_out_and_its_answer_comes_back() {
    let (address, tool) = (server().await, tool(&["127.0.0.1"]));
    let url = format!("http://{address}/echo");
    let arguments = json!({ "url": url, "method": "POST", "headers": { "X-Test": "1" }, "json": { "a": [1, 2] } });
    let first = send(&tool, arguments.clone()).await.expect("an answer");
    assert_eq!(first["status"], 200);
    let echo = &first["body"];
    assert_eq!((&echo["method"], &echo["body"]), (&json!("POST"), &json!("{\"a\":[1,2]}")));
    assert_eq!(
        (&echo["headers"]["x-test"], &echo["headers"]["content-type"]),
        (&json!("1"), &json!("application/json"))
    );
    let again = send(&tool, arguments.clone()).await.expect("an answer");
    let key = |answer: &Value| answer["body"]["headers"]["idempotency-key"].as_str().map(str::to_owned);
    assert!(key(&first).is_some(), "{first}");
    assert_eq!(key(&first), key(&again), "a repeated call must carry the same key");
    let other = qron::tools::ToolContext { idempotency_key: "7/s1/2".to_owned(), ..context() };
    assert_ne!(key(&first), key(&tool.call(&other, arguments).await.expect("an answer")));
    let get = send(&tool, json!({ "url": url })).await.expect("an answer");
    assert_eq!((key(&get), &get["body"]["method"]), (None, &json!("GET")));
    let head = send(&tool, json!({ "url": url, "method": "HEAD" })).await.expect("an answer");
    assert_eq!((&head["status"], &head["body"]), (&json!(200), &json!("")));
}

#[tokio::test]
async fn a_page_comes_as_text_with_links_of_where_it_was_found() {
    let (here, there, tool) = (server().await, server().await, tool(&["127.0.0.1"]));
    let url = format!("http://{here}/redirect?to=http%3A%2F%2F{there}%2Fpage");
    let page = send(&tool, json!({ "url": url })).await.expect("an answer");
    assert_eq!(page["text"], format!("# News\n\n[more](http://{there}/gone)"));
    assert!(page.get("body").is_none(), "{page}");
    let raw = send(&tool, json!({ "url": url, "raw": true })).await.expect("an answer");
    assert!(raw["body"].as_str().expect("HTML").starts_with("<nav>") && raw.get("text").is_none(), "{raw}");
}

#[tokio::test]
async fn escalation_every_closed_address_is_refused_and_audited() {
    let tool = tool(&[]);
    for (url, named) in [
        ("http://127.1/", "127.0.0.1"),
        ("http://2130706433/", "127.0.0.1"),
        ("http://0x7f000001/", "127.0.0.1"),
        ("http://0177.0.0.1/", "127.0.0.1"),
        ("http://0.0.0.0/", "0.0.0.0"),
        ("http://[::1]/", "::1"),
        ("http://[::ffff:169.254.169.254]/latest", "::ffff:169.254.169.254"),
        ("http://[64:ff9b::a9fe:a9fe]/", "64:ff9b::a9fe:a9fe"),
        ("http://169.254.169.254/latest/meta-data", "169.254.169.254"),
        ("http://100.100.100.200/", "100.100.100.200"),
        ("http://100.64.1.1/", "100.64.1.1"),
        ("http://10.0.0.1/", "10.0.0.1"),
        ("http://192.168.1.1/", "192.168.1.1"),
        ("http://[fe80::1]/", "fe80::1"),
        ("http://[fd00::1]/", "fd00::1"),
        ("http://metadata.google.internal/computeMetadata/v1/", "metadata.google.internal"),
        ("http://metadata.google.internal./", "metadata.google.internal"),
        ("http://localhost:1/", "localhost"),
        ("http://localhost.:1/", "localhost"),
        ("http://user@example.com/", "example.com"),
        ("file:///etc/passwd", "file"),
        ("gopher://127.0.0.1/", "gopher"),
    ] {
        let reason = refusal(&tool, json!({ "url": url })).await;
        assert!(reason.contains(named), "{url}: {reason}");
    }
}

#[tokio::test]
async fn a_name_with_one_closed_address_among_open_ones_is_refused() {
    let address = server().await;
    for answers in [["127.0.0.1", "10.0.0.1"], ["10.0.0.1", "127.0.0.1"], ["127.0.0.1", "169.254.169.254"]] {
        let lookup = Scripted::new(&[&answers]);
        let tool = tool_with(&["127.0.0.1/32"], lookup);
        let reason = refusal(&tool, json!({ "url": format!("http://mixed.test:{}/echo", address.port()) })).await;
        assert!(reason.contains("mixed.test"), "{reason}");
    }
}

#[tokio::test]
async fn a_name_that_is_rebound_between_lookups_gains_nothing() {
    let address = server().await;
    let lookup = Scripted::new(&[&["127.0.0.1"], &["127.0.0.2"]]);
    let tool = tool_with(&["127.0.0.1/32"], Arc::clone(&lookup));
    let url = format!("http://rebinding.test:{}/close", address.port());
    let answer = send(&tool, json!({ "url": url })).await.expect("the vetted address");
    assert_eq!(answer["body"], "bye");
    assert_eq!(lookup.asked.load(Ordering::SeqCst), 1, "what is vetted and what is connected to is one lookup");
    let reason = refusal(&tool, json!({ "url": url })).await;
    assert!(reason.contains("rebinding.test") && reason.contains("127.0.0.2"), "{reason}");
}

#[tokio::test]
async fn redirects_are_vetted_bounded_and_carry_no_credentials_away() {
    let (here, there, tool) = (server().await, server().await, tool(&["127.0.0.1"]));
    let redirect = |to: &str| format!("http://{here}/redirect?to={}", to.replace(':', "%3A").replace('/', "%2F"));
    for to in
        ["http://169.254.169.254/", "http://[::1]/", "file:///etc/passwd", "http://10.1.2.3/", "http://127.0.0.2/"]
    {
        let reason = refusal(&tool, json!({ "url": redirect(to) })).await;
        assert!(reason.contains("redirects"), "{reason}");
    }
    let reason = refusal(&tool, json!({ "url": format!("http://{here}/loop") })).await;
    assert!(reason.contains("more than 3 times"), "{reason}");

    let headers = json!({ "Authorization": "Bearer canary", "Cookie": "canary", "X-Api-Key": "canary" });
    let same = json!({ "url": redirect("/echo"), "headers": headers });
    let same = send(&tool, same).await.expect("an answer").to_string();
    assert_eq!(same.matches("canary").count(), 3, "{same}");
    let away = json!({ "url": redirect(&format!("http://{there}/echo")), "headers": headers });
    let away = send(&tool, away).await.expect("an answer").to_string();
    assert!(!away.contains("canary"), "{away}");
}

#[tokio::test]
async fn a_body_that_would_not_end_is_cut() {
    let (address, tool) = (server().await, tool(&["127.0.0.1"]));
    for path in ["bomb", "endless"] {
        let reason = refusal(&tool, json!({ "url": format!("http://{address}/{path}") })).await;
        assert!(reason.contains("larger than 100000 bytes"), "{path}: {reason}");
    }
    let reason = refusal(&tool, json!({ "url": format!("http://{address}/headers") })).await;
    assert!(reason.contains("headers"), "{reason}");
}

#[tokio::test]
async fn a_silent_or_dripping_server_costs_the_time_limit_and_no_more() {
    let address = server().await;
    let settings = HttpSettings { timeout_ms: 300, ..settings(&["127.0.0.1"]) };
    let tool = HttpRequest::new(&settings, Arc::new(SystemLookup)).expect("a tool");
    for path in ["hang", "drip"] {
        let started = Instant::now();
        let failure = send(&tool, json!({ "url": format!("http://{address}/{path}") })).await.expect_err(path);
        assert_eq!(failure.class, FailureClass::Timeout, "{failure}");
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    }
}

#[tokio::test]
async fn bad_answers_become_failures_of_the_right_class() {
    let (address, tool) = (server().await, tool(&["127.0.0.1"]));
    for (path, class, wait, told) in [
        ("busy", FailureClass::RateLimited, Some(3000), "slow down"),
        ("broken", FailureClass::Transient, None, "oops"),
        ("gone", FailureClass::Permanent, None, "no such thing"),
    ] {
        let failure = send(&tool, json!({ "url": format!("http://{address}/{path}") })).await.expect_err(path);
        assert_eq!((failure.class, failure.retry_after_ms), (class, wait));
        assert!(failure.message.contains(told), "{failure}");
    }
}

#[tokio::test]
async fn no_secret_of_a_request_is_in_its_failure() {
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address");
    let tool = tool(&["127.0.0.1"]);
    for arguments in [
        json!({ "url": format!("http://{closed}/canary?key=canary#canary"), "headers": { "Authorization": "canary" } }),
        json!({ "url": format!("http://canary:canary@{closed}/") }),
        json!({ "url": "http://10.0.0.1/?key=canary", "headers": { "X-Key": "canary" } }),
        json!({ "url": "http://[canary/" }),
        json!({ "url": format!("http://{closed}/"), "headers": { "X-Key": "canary\n" } }),
        json!({ "url": format!("http://{closed}/"), "headers": { "Host": "canary" } }),
    ] {
        let failure = send(&tool, arguments.clone()).await.expect_err("a failure");
        assert!(!failure.message.contains("canary"), "{arguments}: {failure}");
    }
}

/// The child process has a proxy in its environment, and must not use it.
#[tokio::test]
async fn proxies_of_the_environment_are_ignored() {
    const CHILD: &str = "QRON_TEST_PROXY_CHILD";
    if let Ok(url) = std::env::var(CHILD) {
        let answer = send(&tool(&["127.0.0.1"]), json!({ "url": url })).await.expect("an answer");
        assert_eq!(answer["body"], "bye");
        return;
    }
    let address = server().await;
    let proxy = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let proxy_url = format!("http://{}", proxy.local_addr().expect("an address"));
    let mut child = tokio::process::Command::new(std::env::current_exe().expect("this test"));
    child.args(["--exact", "tools::http::proxies_of_the_environment_are_ignored"]);
    child.env(CHILD, format!("http://{address}/close"));
    for name in ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
        child.env(name, &proxy_url);
    }
    for name in ["no_proxy", "NO_PROXY"] {
        child.env_remove(name);
    }
    tokio::select! {
        output = child.output() => {
            let output = output.expect("the child runs");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        }
        accepted = proxy.accept() => panic!("the proxy was used: {accepted:?}"),
    }
}
