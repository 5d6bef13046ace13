//! Who may call.

use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::app::{PATIENCE, TestApp, calculation};

#[tokio::test(flavor = "multi_thread")]
async fn with_a_token_only_the_probes_are_open() {
    let app = TestApp::with(&[("QRON__API__TOKEN", "canary-token")]).await;
    let status = async |path: &str, header: &str| {
        let request = app.request(Method::GET, path).header("authorization", header);
        let response = request.send().await.expect("an answer");
        let status = response.status();
        assert!(!response.text().await.expect("a body").contains("canary"));
        status
    };
    for path in ["/api/v1/tasks", "/metrics", "/api/v1/nowhere"] {
        for wrong in ["", "Bearer", "Bearer canary", "Basic canary-token", "Bearer canary-token-2"] {
            assert_eq!(status(path, wrong).await, StatusCode::UNAUTHORIZED, "{path} with {wrong:?}");
        }
    }
    let response = app.request(Method::GET, "/api/v1/tasks").send().await.expect("an answer");
    assert_eq!(response.headers()["www-authenticate"], "Bearer");
    for (header, expected) in [
        (None, "the request has none"),
        (Some("Bearer canary"), "is not the token of this API"),
        (Some("Basic canary-token"), "is no bearer token, and this API takes no other"),
    ] {
        let request = app.request(Method::GET, "/api/v1/tasks");
        let request = if let Some(header) = header { request.header("authorization", header) } else { request };
        let problem: serde_json::Value = request.send().await.expect("an answer").json().await.expect("JSON");
        let detail = problem["detail"].as_str().expect("a detail");
        for part in [expected, "api.token", "QRON__API__TOKEN", "authorization: Bearer TOKEN"] {
            assert!(detail.contains(part), "{part:?} is missing in {detail}");
        }
    }
    assert_eq!(status("/api/v1/tasks", "bearer canary-token").await, StatusCode::OK);
    assert_eq!(status("/healthz", "").await, StatusCode::OK);
    assert_ne!(status("/readyz", "").await, StatusCode::UNAUTHORIZED);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_other_sites_cannot_make_a_browser_call() {
    let app = TestApp::start().await;
    let status = async |name: &str, value: &str| {
        let request = app.request(Method::POST, "/api/v1/tasks").header(name, value).json(&calculation("1 + 1"));
        request.send().await.expect("an answer").status()
    };
    for host in ["evil.example", "evil.example:80", "localhost.evil.example"] {
        assert_eq!(status("host", host).await, StatusCode::MISDIRECTED_REQUEST, "{host}");
    }
    for origin in ["https://evil.example", "null", "http://127.0.0.1:1"] {
        assert_eq!(status("origin", origin).await, StatusCode::FORBIDDEN, "{origin}");
    }
    assert_eq!(app.count().await, 0);
    assert_eq!(status("host", "localhost").await, StatusCode::CREATED);
    assert_eq!(status("origin", &app.url).await, StatusCode::CREATED);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_cannot_steer_qron_even_where_its_allow_list_opens_this_host() {
    let app = TestApp::with(&[("QRON__TOOLS__HTTP__ALLOW", r#"["127.0.0.0/8"]"#)]).await;
    let step = |headers: serde_json::Value| {
        json!({"id": "s1", "tool": "http_request", "arguments": {
            "url": format!("{}/api/v1/tasks", app.url), "method": "POST", "headers": headers, "json": calculation("1 + 1"),
        }})
    };
    let task =
        |headers| json!({"goal": "make more of yourself", "plan": {"steps": [step(headers)]}, "max_attempts": 1});
    let failed = app.until(&app.submit(&task(json!({}))).await, "failed").await;
    assert!(failed["error"]["message"].as_str().is_some_and(|message| message.contains("403")), "{failed:#}");
    let (status, problem) = app.post("/api/v1/tasks", &task(json!({"Qron-Agent": ""}))).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("set by qron")), "{problem}");
    assert_eq!(app.count().await, 1, "only what was submitted by the test");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_cannot_be_framed_sniffed_or_kept() {
    let app = TestApp::start().await;
    let response = app.request(Method::GET, "/api/v1/tasks").send().await.expect("an answer");
    assert_eq!(response.headers()["x-content-type-options"], "nosniff");
    assert_eq!(response.headers()["cache-control"], "no-store");
    assert!(response.headers()["content-security-policy"].to_str().expect("text").contains("frame-ancestors 'none'"));
    assert!(response.headers().get("access-control-allow-origin").is_none());
    app.stop().await;
}

/// Reads what comes until the other side closes the connection.
async fn all_that_comes(mut stream: TcpStream) -> Vec<u8> {
    let mut answer = Vec::new();
    // A connection may also end in a reset, which is an end as well.
    let ended = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    drop(ended.expect("the connection is closed"));
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_send_nothing_or_next_to_nothing_do_not_pile_up() {
    let app = TestApp::with(&[("QRON__API__HEAD_TIMEOUT_S", "2")]).await;
    let address = app.url.trim_start_matches("http://").to_owned();
    let began = Instant::now();
    let mut lazy = Vec::new();
    for index in 0..200 {
        let address = address.clone();
        lazy.push(tokio::spawn(async move {
            let stream = TcpStream::connect(&address).await.expect("connected");
            if index % 2 == 0 {
                return all_that_comes(stream).await;
            }
            let (mut from, mut to) = stream.into_split();
            let dripping = async {
                let mut head =
                    b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nx-slow: ".iter().chain(b"a".iter().cycle());
                while let Some(byte) = head.next()
                    && to.write_all(&[*byte]).await.is_ok()
                {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            };
            let mut answer = Vec::new();
            let ended = async { drop(from.read_to_end(&mut answer).await) };
            tokio::select! {
                () = dripping => {}
                () = ended => {}
            }
            answer
        }));
    }
    // Others are served meanwhile, and a connection that rests is kept for longer than a head may take.
    let mut resting = TcpStream::connect(&address).await.expect("connected");
    let request = format!("GET /healthz HTTP/1.1\r\nhost: {address}\r\n\r\n");
    for pause in [0, 3] {
        tokio::time::sleep(Duration::from_secs(pause)).await;
        resting.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = [0; 12];
        resting.read_exact(&mut answer).await.expect("an answer");
        assert_eq!(&answer, b"HTTP/1.1 200");
        // The rest of it.
        let mut rest = vec![0; 65_536];
        while !rest.windows(4).any(|end| end == b"\r\n\r\n") {
            assert!(resting.read(&mut rest).await.expect("more") > 0);
        }
    }
    // A body may take longer than a head.
    let body = calculation("1 + 1").to_string();
    let mut slow = TcpStream::connect(&address).await.expect("connected");
    let head = format!(
        "POST /api/v1/tasks HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    slow.write_all(head.as_bytes()).await.expect("sent");
    for piece in body.as_bytes().chunks(body.len() / 3 + 1) {
        slow.write_all(piece).await.expect("sent");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(all_that_comes(slow).await.starts_with(b"HTTP/1.1 201"));
    for client in lazy {
        let answer = tokio::time::timeout(PATIENCE, client).await.expect("it is cut off").expect("no panic");
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&answer));
    }
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    app.stop().await;
}
