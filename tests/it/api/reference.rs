//! The API describes itself.

use reqwest::{Method, StatusCode, header};
use serde_json::Value;

use crate::support::app::TestApp;

#[tokio::test(flavor = "multi_thread")]
async fn the_descriptions_need_no_token_and_no_other_server() {
    let app = TestApp::with(&[("QRON__API__TOKEN", "canary-token")]).await;
    let get = async |path: &str| app.request(Method::GET, path).send().await.expect("an answer");
    for (path, media_type) in [
        ("/openapi.json", "application/json"),
        ("/llms.txt", "text/plain"),
        ("/docs", "text/html"),
        ("/docs/page.js", "text/javascript"),
        ("/docs/page.css", "text/css"),
    ] {
        let answer = get(path).await;
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        let told = answer.headers()[header::CONTENT_TYPE].to_str().expect("a text").to_owned();
        assert_eq!(told.split(';').next(), Some(media_type), "{path}");
        let policy = answer.headers()[header::CONTENT_SECURITY_POLICY].to_str().expect("a text").to_owned();
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{path}: {policy}");
        let text = answer.text().await.expect("a text");
        assert!(!text.is_empty() && !text.contains("canary"), "{path}");
        if path.starts_with("/docs") {
            for foreign in ["http:", "https:", "//cdn", "innerHTML", "style=", "onclick="] {
                assert!(!text.contains(foreign), "{path} has {foreign}");
            }
        }
    }
    let document: Value = get("/openapi.json").await.json().await.expect("JSON");
    assert_eq!(document, qron::api::document::document());
    let hidden =
        app.request(Method::GET, "/openapi.json").header("host", "evil.example").send().await.expect("an answer");
    assert_eq!(hidden.status(), StatusCode::MISDIRECTED_REQUEST);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_only_knows_the_document_submits_a_task_and_follows_its_links() {
    let app = TestApp::start().await;
    let get = async |path: &str| -> Value {
        app.request(Method::GET, path).send().await.expect("an answer").json().await.expect("JSON")
    };
    let document = get("/openapi.json").await;
    let operation = |id: &str| {
        let paths = document["paths"].as_object().expect("paths");
        let found = paths.iter().find_map(|(path, item)| {
            let methods = item.as_object().expect("methods");
            let (method, operation) = methods.iter().find(|(_, operation)| operation["operationId"] == id)?;
            Some((method.to_uppercase(), path.clone(), operation.clone()))
        });
        found.unwrap_or_else(|| panic!("no operation {id}"))
    };
    let (method, path, submit) = operation("submitTasks");
    let example = &document["components"]["schemas"]["NewTask"]["examples"][0];
    let method = method.parse().expect("a method");
    let answer = app.request(method, &path).json(example).send().await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::CREATED);
    let location = answer.headers()["location"].to_str().expect("a text").to_owned();
    let task: Value = answer.json().await.expect("JSON");
    let link = &submit["responses"]["201"]["links"]["task"];
    assert_eq!(link["parameters"]["id"], "$response.body#/id");
    let (_, path, _) = operation(link["operationId"].as_str().expect("an operation"));
    let followed = path.replace("{id}", task["id"].as_str().expect("an id"));
    assert_eq!(followed, location);
    assert_eq!(get(&followed).await["goal"], example["goal"]);
    app.stop().await;
}
