//! Heads of requests that do not mean what they seem to: twice, unreadable, missing, too large, from other sites.

use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::app::{PATIENCE, TestApp, calculation};
use crate::support::eventually;

/// The line of the host, other lines, and the status of the answer.
type Case<'a> = (&'a [u8], Vec<&'a [u8]>, &'a str);

/// Sends these bytes and gives back the answer, which ends the connection.
async fn raw(app: &TestApp, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(app.url.trim_start_matches("http://")).await.expect("connected");
    stream.write_all(bytes).await.expect("sent");
    let mut answer = Vec::new();
    // A connection may also end in a reset, which is an end as well.
    let ended = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    drop(ended.expect("the connection is closed"));
    String::from_utf8_lossy(&answer).into_owned()
}

/// A request that submits a task, with these lines in its head besides.
fn submitting(host: &[u8], lines: &[&[u8]]) -> Vec<u8> {
    let body = calculation("1 + 1").to_string();
    let mut bytes = b"POST /api/v1/tasks HTTP/1.1\r\nconnection: close\r\n".to_vec();
    bytes.extend_from_slice(host);
    for line in lines {
        bytes.extend_from_slice(line);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(format!("content-length: {}\r\n\r\n{body}", body.len()).as_bytes());
    bytes
}

fn status(answer: &str) -> &str {
    answer.get(9..12).unwrap_or(answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_that_is_there_twice_or_cannot_be_read_is_wrong_and_not_absent() {
    const JSON: &[u8] = b"content-type: application/json";
    let app = TestApp::with(&[("QRON__API__TOKEN", "canary-token")]).await;
    let host = b"host: localhost\r\n".as_slice();
    let token = b"authorization: Bearer canary-token".as_slice();
    let wrong: Vec<Case> = vec![
        (b"", vec![JSON, token], "400"),
        (b"host: localhost\r\nhost: localhost\r\n", vec![JSON, token], "400"),
        (b"host: localhost\r\nHost: evil.example\r\n", vec![JSON, token], "400"),
        (b"host: local\xffhost\r\n", vec![JSON, token], "400"),
        (b"host: \r\n", vec![JSON, token], "421"),
        (host, vec![JSON, token, token], "400"),
        (host, vec![JSON, token, b"authorization: Bearer other"], "400"),
        (host, vec![JSON, b"authorization: Bearer canary-token\xff"], "400"),
        (host, vec![JSON], "401"),
        (host, vec![JSON, token, JSON], "400"),
        (host, vec![token, b"content-type: application/\xffjson"], "400"),
        (host, vec![token], "415"),
        (host, vec![JSON, token, b"origin: http://localhost", b"origin: http://evil.example"], "400"),
        (host, vec![JSON, token, b"origin: http://evil.example/\xff"], "400"),
        (host, vec![JSON, token, b"sec-fetch-site: same-origin", b"sec-fetch-site: cross-site"], "400"),
        (host, vec![JSON, token, b"sec-fetch-site: none\xff"], "400"),
        (host, vec![JSON, token, b"idempotency-key: a", b"idempotency-key: b"], "400"),
        (host, vec![JSON, token, b"idempotency-key: \xff"], "400"),
        (host, vec![JSON, token, b"idempotency-key: "], "400"),
        (host, vec![JSON, token, b"content-length: 5"], "400"),
    ];
    for probe in ["/healthz", "/readyz"] {
        let request = format!("GET {probe} HTTP/1.0\r\n\r\n");
        // A busy machine may confirm a heartbeat late, and the replica is not ready until then.
        eventually("the probe passes without a host", async || {
            let answer = raw(&app, request.as_bytes()).await;
            if status(&answer) == "200" { Ok(()) } else { Err(format!("{probe}: {answer}")) }
        })
        .await;
    }
    for (host, lines, expected) in wrong {
        let request = submitting(host, &lines);
        let answer = raw(&app, &request).await;
        assert_eq!(status(&answer), expected, "{}\n{answer}", String::from_utf8_lossy(&request));
        assert!(!answer.contains("canary"), "{answer}");
    }
    let (_, listing) = {
        let request = app.request(Method::GET, "/api/v1/tasks").header("authorization", "Bearer canary-token");
        let response = request.send().await.expect("an answer");
        (response.status(), response.json::<serde_json::Value>().await.expect("JSON"))
    };
    assert_eq!(listing["items"], json!([]), "nothing was stored");
    let target = b"GET http://evil.example/healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    assert_eq!(status(&raw(&app, target).await), "400");
    assert_eq!(status(&raw(&app, &submitting(host, &[JSON, token])).await), "201");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_changes_nothing_for_pages_of_other_sites() {
    let app = TestApp::start().await;
    let submitted = async |site: &str| {
        let request = app.request(Method::POST, "/api/v1/tasks").header("sec-fetch-site", site);
        request.json(&calculation("1 + 1")).send().await.expect("an answer").status()
    };
    for site in ["cross-site", "same-site", "", "anything"] {
        assert_eq!(submitted(site).await, StatusCode::FORBIDDEN, "{site:?}");
    }
    assert_eq!(app.count().await, 0);
    for (method, path) in [
        (Method::DELETE, "/api/v1/schedules/x"),
        (Method::PUT, "/api/v1/schedules/x"),
        (Method::PATCH, "/api/v1/schedules/x"),
        (Method::POST, "/api/v1/pause"),
        (Method::POST, "/api/v1/prune"),
    ] {
        let request = app.request(method.clone(), path).header("sec-fetch-site", "cross-site").json(&json!({}));
        assert_eq!(request.send().await.expect("an answer").status(), StatusCode::FORBIDDEN, "{method} {path}");
    }
    for site in ["same-origin", "none"] {
        assert_eq!(submitted(site).await, StatusCode::CREATED, "{site}");
    }
    // A link on another page works; what the page loads itself does not.
    for (mode, expected) in [("navigate", StatusCode::OK), ("no-cors", StatusCode::FORBIDDEN)] {
        let read = app.request(Method::GET, "/api/v1/tasks").header("sec-fetch-site", "cross-site");
        let answer = read.header("sec-fetch-mode", mode).send().await.expect("an answer");
        assert_eq!(answer.status(), expected, "{mode}");
        assert_eq!(answer.headers()["cross-origin-resource-policy"], "same-origin");
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_beyond_the_limit_is_refused_before_it_is_sent_or_as_soon_as_it_is_beyond() {
    let app = TestApp::with(&[("QRON__API__MAX_BODY_BYTES", "2048")]).await;
    let head = |extra: &str| {
        format!(
            "POST /api/v1/tasks HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n\
             {extra}\r\n\r\n"
        )
    };
    let began = Instant::now();
    for (declared, expected) in [
        ("content-length: 2049", "413"),
        ("content-length: 10485760", "413"),
        ("content-length: 9223372036854775807", "413"),
        ("expect: 100-continue\r\ncontent-length: 10485760", "413"),
        ("content-length: -1", "400"),
        ("content-length: 1e3", "400"),
    ] {
        let answer = raw(&app, head(declared).as_bytes()).await;
        assert_eq!(status(&answer), expected, "{declared}: {answer}");
    }
    // No more of the chunks is read than the limit.
    let mut chunked = head("transfer-encoding: chunked").into_bytes();
    for _ in 0..3 {
        chunked.extend_from_slice(format!("400\r\n{}\r\n", " ".repeat(0x400)).as_bytes());
    }
    let answer = raw(&app, &chunked).await;
    assert_eq!(status(&answer), "413", "{answer}");
    assert!(answer.contains("max_body_bytes"), "{answer}");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn json_that_is_deep_or_ambiguous_is_refused() {
    let app = TestApp::start().await;
    let deep =
        |open: &str, count: usize| format!(r#"{{"goal": "this one is deep", "context": {{"x": {}"#, open.repeat(count));
    let cases = [
        (r#"{"goal": "it is there twice", "goal": "it is there twice"}"#.to_owned(), "\"goal\" appears twice"),
        (r#"{"goal": "it is there twice", "g\u006fal": "the same"}"#.to_owned(), "\"goal\" appears twice"),
        (r#"{"goal": "it is there twice", "context": {"a": 1, "a": 2}}"#.to_owned(), "context: the key \"a\""),
        (r#"[{"goal": "it is there twice", "id": "1", "id": "2"}]"#.to_owned(), "[0]: the key \"id\""),
        (deep("[", 100_000), "recursion limit"),
        (deep(r#"{"x":"#, 100_000), "recursion limit"),
        ("[".repeat(1_000_000), "recursion limit"),
    ];
    for (body, words) in cases {
        let request = app.request(Method::POST, "/api/v1/tasks").header("content-type", "application/json");
        let response = request.body(body).send().await.expect("an answer");
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{words}");
        let problem: serde_json::Value = response.json().await.expect("JSON");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains(words)), "{problem} lacks {words}");
    }
    assert_eq!(app.count().await, 0);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_lead_nowhere_else() {
    let app = TestApp::start().await;
    let id = app.submit(&calculation("1 + 1")).await;
    for odd in ["..%2f..%2fetc%2fpasswd", "%2e%2e", "..%5c..", "1%00", "%ff", "-1", "1e3", "0x1", "' OR 1=1"] {
        for path in [format!("/api/v1/tasks/{odd}"), format!("/api/v1/tasks/{odd}/steps")] {
            let (status, problem) = app.get(&path).await;
            assert!([400, 404].contains(&status.as_u16()), "{path}: {status} {problem}");
        }
    }
    for name in ["../../etc/passwd", "..%2f..%2f..%2fetc%2fpasswd", "%2fetc%2fpasswd", "a%00b"] {
        let (status, problem) = app.get(&format!("/api/v1/tasks/{id}/artifacts/{name}")).await;
        assert!([400, 404].contains(&status.as_u16()), "{name}: {status} {problem}");
    }
    app.stop().await;
}
