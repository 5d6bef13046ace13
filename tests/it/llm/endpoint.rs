//! What an endpoint says of itself when it is asked at start.

use std::time::{Duration, Instant};

use axum::Router;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse as _;
use axum::routing::get;
use qron::llm::{ConfiguredModel, EndpointCheck, EndpointState};
use serde_json::json;
use tokio::net::TcpListener;

use super::settings;

/// An endpoint that answers `GET /v1/models` so. Ends with the test's runtime.
async fn endpoint(status: u16, body: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/v1", listener.local_addr().expect("an address"));
    let answer = move |headers: HeaderMap| async move {
        let key = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let status = if key.as_deref() == Some("Bearer sk-wrong") { 401 } else { status };
        (StatusCode::from_u16(status).expect("a status"), body).into_response()
    };
    let router = Router::new().route("/v1/models", get(answer));
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

async fn state(url: &str, key: &str, models: &[&str]) -> EndpointState {
    let mut settings = settings(url);
    settings.models = models.iter().map(|model| (*model).to_owned()).collect();
    settings.api_key = key.to_owned().into();
    let check = EndpointCheck::new(&settings, [("analyst", "special")]).expect("good settings").expect("an endpoint");
    assert_eq!(check.url(), url);
    check.run().await
}

fn wanted(setting: &str, model: &str) -> ConfiguredModel {
    ConfiguredModel { setting: setting.to_owned(), model: model.to_owned() }
}

#[tokio::test]
async fn an_endpoint_that_has_the_models_is_ready_and_one_that_lacks_some_names_its_own() {
    let list = json!({ "object": "list", "data": [{ "id": "llama3.2:latest" }, { "id": "special" }] }).to_string();
    let url = endpoint(200, list).await;
    assert_eq!(state(&url, "", &["llama3.2"]).await, EndpointState::Ready);
    let listed = vec!["llama3.2:latest".to_owned(), "special".to_owned()];
    let missing = vec![wanted("model.models", "gpt-5-mini")];
    assert_eq!(state(&url, "", &["gpt-5-mini", "llama3.2"]).await, EndpointState::Lacks { missing, listed });

    let url = endpoint(200, json!({ "models": [{ "name": "a" }] }).to_string()).await;
    let missing = vec![wanted("agents.analyst.model", "special")];
    assert_eq!(state(&url, "", &["a"]).await, EndpointState::Lacks { missing, listed: vec!["a".to_owned()] });
}

#[tokio::test]
async fn an_endpoint_that_lists_nothing_is_no_fault() {
    for (status, body) in [(404, "404 page not found"), (405, ""), (501, "{}"), (200, r#"{"status": "ok"}"#)] {
        let url = endpoint(status, body.to_owned()).await;
        assert_eq!(state(&url, "", &["a"]).await, EndpointState::Silent, "{status} {body}");
    }
}

#[tokio::test]
async fn a_refused_key_and_an_endpoint_that_is_down_are_told_without_the_key() {
    let url = endpoint(200, json!({ "data": [] }).to_string()).await;
    assert_eq!(state(&url, "sk-wrong", &["a"]).await, EndpointState::BadKey);

    let closed = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = closed.local_addr().expect("an address");
    drop(closed);
    let repeats_the_key =
        endpoint(500, r#"{"error": {"message": "no upstream for sk-secret-1234567890"}}"#.to_owned()).await;
    let page = endpoint(200, "<html>It works!</html>".to_owned()).await;
    for (url, part) in [(format!("http://{address}/v1"), "connect"), (repeats_the_key, "500"), (page, "JSON")] {
        let EndpointState::Down(reason) = state(&url, "sk-secret-1234567890", &["a"]).await else {
            panic!("{url} is taken for good");
        };
        assert!(reason.contains(part) && !reason.contains("sk-secret"), "{reason}");
    }
}

#[tokio::test]
async fn an_endpoint_that_never_answers_is_given_up_within_seconds() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/v1", listener.local_addr().expect("an address"));
    let began = Instant::now();
    let EndpointState::Down(reason) = state(&url, "", &["a"]).await else { panic!("taken for good") };
    assert!(reason.contains("no answer within 5 s"), "{reason}");
    assert!(began.elapsed() >= Duration::from_secs(5) && began.elapsed() < Duration::from_secs(30));
}

#[tokio::test]
async fn without_an_endpoint_nothing_is_asked() {
    assert!(EndpointCheck::new(&settings(""), []).expect("good settings").is_none());
}
