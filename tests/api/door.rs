//! Who may call.

use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::app::{TestApp, calculation};

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
    for (headers, reason) in [(json!({}), "403"), (json!({"Qron-Agent": ""}), "set by qron")] {
        let task = json!({"goal": "make more of yourself", "plan": {"steps": [step(headers)]}, "max_attempts": 1});
        let failed = app.until(&app.submit(&task).await, "failed").await;
        assert!(failed["error"]["message"].as_str().is_some_and(|message| message.contains(reason)), "{failed:#}");
    }
    assert_eq!(app.count().await, 2, "only what was submitted by the test");
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
