//! What the toolbox does for every tool, over a real store.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use metrics_exporter_prometheus::PrometheusBuilder;
use qron::domain::failure::FailureClass;
use qron::domain::tool::{Effect, ToolResult, ToolSpec};
use qron::queue::Queue;
use qron::tools::{NAMES, Settings, Tool, ToolContext, Toolbox};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::support::{Audit, agent, call_of, connect, context, settings};

/// A tool that does what its argument says.
struct Odd(&'static str);

#[async_trait]
impl Tool for Odd {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: self.0.to_owned(),
            description: "for tests".to_owned(),
            parameters: json!({
                "type": "object", "required": ["do"], "additionalProperties": false,
                "properties": { "do": { "type": "string", "enum": ["panic", "hang", "long", "block"] }, "text": { "type": "string" } },
            }),
            output: json!({ "type": "object", "properties": { "text": { "type": "string" } } }),
            effect: Effect::Read,
            idempotent: true,
        }
    }

    async fn call(&self, _context: &ToolContext, arguments: Value) -> ToolResult {
        match arguments["do"].as_str() {
            Some("panic") => panic!("on purpose"),
            Some("hang") => std::future::pending().await,
            _ => Ok(json!({ "text": "äbc".repeat(5_000) })),
        }
    }
}

async fn toolbox(change: impl FnOnce(&mut Settings)) -> (TempDir, Toolbox) {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, _) = connect(folder.path()).await;
    let mut settings = settings(folder.path());
    change(&mut settings);
    let toolbox = Toolbox::new(&settings, &store, &Queue::new(store.clone(), "tools-test")).expect("a toolbox");
    (folder, toolbox.with(Arc::new(Odd("odd"))).expect("one tool more"))
}

#[tokio::test]
async fn every_tool_is_described_and_allow_lists_choose_among_them() {
    let (_folder, toolbox) = toolbox(|_| {}).await;
    let all: Vec<String> = toolbox.specs(&agent(&json!(["*"]))).into_iter().map(|spec| spec.name.clone()).collect();
    let mut expected: Vec<&str> = NAMES.into_iter().chain(["odd"]).collect();
    expected.sort_unstable();
    assert_eq!(all, expected);
    for spec in toolbox.specs(&agent(&json!(["*"]))) {
        assert_eq!(spec.parameters["type"], "object", "{}", spec.name);
        assert_eq!(spec.parameters["additionalProperties"], false, "{}", spec.name);
        assert!(spec.description.len() > 5, "{}", spec.name);
        assert_eq!(spec.output["type"], "object", "{}", spec.name);
    }
    for spec in toolbox.all().filter(|spec| spec.name != "odd") {
        assert_eq!(spec.output["additionalProperties"], false, "{}", spec.name);
        let (_, told) = spec.description.split_once("Answers {\"").expect("what it answers");
        let (field, _) = told.split_once('"').expect("a name");
        assert!(spec.output["properties"].get(field).is_some(), "{}: {field}", spec.name);
    }
    let some = toolbox.specs(&agent(&json!(["calculate", "nonsense"])));
    assert_eq!(some.iter().map(|spec| spec.name.as_str()).collect::<Vec<_>>(), ["calculate"]);
}

/// Endpoints refuse a tool with a parameter that has no type, and with it the whole request.
#[tokio::test]
async fn every_parameter_of_every_tool_has_a_type() {
    fn check(path: &str, schema: &Value) {
        assert!(!schema["type"].is_null(), "{path} has no type: {schema}");
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            check(&format!("{path}.{name}"), property);
        }
        if schema.get("items").is_some() {
            check(&format!("{path}[]"), &schema["items"]);
        }
    }
    let (_folder, toolbox) = toolbox(|_| {}).await;
    for spec in toolbox.specs(&agent(&json!(["*"]))) {
        check(&spec.name, &spec.parameters);
    }
}

#[tokio::test]
async fn misuse_a_tool_that_is_not_allowed_or_made_up_is_refused_counted_and_audited() {
    let (_folder, toolbox) = toolbox(|_| {}).await;
    let recorder = PrometheusBuilder::new().build_recorder();
    let metrics = recorder.handle();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let audit = Audit::shared();
    let profile = agent(&json!(["calculate"]));
    for tool in ["http_request", "made_up", "calculate ", "CALCULATE"] {
        let failure = toolbox.call(&profile, &context(), &call_of(tool, json!({}))).await.expect_err(tool);
        assert_eq!(failure.class, FailureClass::Permanent);
        assert!(failure.message.contains(&format!("{tool:?}; it may use: calculate")), "{failure}");
        assert!(audit.holds(&[&format!("tool={tool:?}"), "it may use: calculate"]), "{tool} is not audited");
    }
    let sum = call_of("calculate", json!({ "expression": "10!" }));
    assert_eq!(toolbox.call(&profile, &context(), &sum).await.expect("a value")["value"], "3628800");
    let exported = metrics.render();
    assert!(exported.contains("qron_tool_calls_total{tool=\"unknown\",outcome=\"permanent\"} 3"), "{exported}");
    assert!(exported.contains("qron_tool_calls_total{tool=\"calculate\",outcome=\"ok\"} 1"), "{exported}");
    assert!(exported.contains("qron_tool_call_seconds"), "{exported}");
    assert!(!exported.contains("made_up"), "{exported}");
}

#[tokio::test]
async fn arguments_that_break_the_schema_never_reach_the_tool() {
    let (_folder, toolbox) = toolbox(|_| {}).await;
    for (tool, arguments, told) in [
        ("odd", json!({ "do": "canary" }), "/do"),
        ("odd", json!({ "do": "long", "extra": "canary" }), "extra"),
        ("odd", json!({}), "do"),
        ("odd", json!("canary"), "object"),
        ("calculate", json!({ "expression": 7 }), "/expression"),
        ("calculate", json!({ "expression": "1".repeat(501) }), "/expression"),
        ("set_state", json!({ "key": "", "value": 1 }), "/key"),
        ("http_request", json!({ "url": "http://x", "method": "CONNECT" }), "/method"),
        ("vector_search", json!({ "collection": "../x", "vector": [1] }), "/collection"),
        ("sql_query", json!({ "database": "x", "query": "SELECT 1", "params": [[1]] }), "/params/0"),
    ] {
        let call = call_of(tool, arguments.clone());
        let failure = toolbox.call(&agent(&json!(["*"])), &context(), &call).await.expect_err(tool);
        assert_eq!(failure.class, FailureClass::Invalid, "{failure}");
        assert!(failure.message.contains(&format!("bad arguments for {tool}")), "{failure}");
        assert!(failure.message.contains(told) && !failure.message.contains("canary"), "{arguments}: {failure}");
    }
}

#[tokio::test]
async fn a_panic_or_a_hang_is_a_failure_of_that_call_alone() {
    let (_folder, patient) = toolbox(|_| {}).await;
    let (_other, hurried) = toolbox(|settings| settings.timeout_ms = 200).await;
    let everything = agent(&json!(["*"]));
    let panicked = patient.call(&everything, &context(), &call_of("odd", json!({ "do": "panic" }))).await;
    let failure = panicked.expect_err("a panic");
    assert_eq!(failure.class, FailureClass::Permanent);
    assert!(failure.message.contains("tool odd"), "{failure}");
    let started = Instant::now();
    let hung = hurried.call(&everything, &context(), &call_of("odd", json!({ "do": "hang" }))).await;
    assert_eq!(hung.expect_err("a hang").class, FailureClass::Timeout);
    assert!(started.elapsed() < Duration::from_secs(5));
    for toolbox in [&patient, &hurried] {
        let sum = toolbox.call(&everything, &context(), &call_of("calculate", json!({ "expression": "1+1" }))).await;
        assert_eq!(sum.expect("a value")["value"], "2");
    }
}

#[tokio::test]
async fn an_output_that_is_too_long_becomes_an_artifact_that_can_be_paged() {
    let (_folder, toolbox) = toolbox(|_| {}).await;
    let everything = agent(&json!(["*"]));
    let call = call_of("odd", json!({ "do": "long" }));
    let first = toolbox.call(&everything, &context(), &call).await.expect("an output");
    let again = toolbox.call(&everything, &context(), &call).await.expect("an output");
    assert_eq!(first, again, "a repeated call replaces its artifact");
    assert!(first.to_string().len() < 4096, "{first}");
    assert_eq!(first["bytes"], 20_011);
    assert!(first["preview"].as_str().expect("a preview").starts_with("äbcäbc"), "its text: {first}");

    let (mut text, mut offset) = (String::new(), json!(0));
    while offset.is_number() {
        let read = call_of("read_artifact", json!({ "name": first["artifact"], "offset": offset }));
        let page = toolbox.call(&everything, &context(), &read).await.expect("a page");
        assert!(page.get("artifact").is_none(), "a page became an artifact: {page}");
        text.push_str(page["content"].as_str().expect("content"));
        offset = page["next_offset"].clone();
    }
    assert_eq!(text, json!({ "text": "äbc".repeat(5_000) }).to_string());
}

#[tokio::test]
async fn settings_that_cannot_be_used_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, _) = connect(folder.path()).await;
    let error = |change: &dyn Fn(&mut Settings)| {
        let mut settings = settings(folder.path());
        change(&mut settings);
        let made = Toolbox::new(&settings, &store, &Queue::new(store.clone(), "tools-test"));
        made.err().expect("an error").to_string()
    };
    std::fs::write(folder.path().join("file"), "").expect("a file");
    let text = error(&|settings| settings.workspace = folder.path().join("file"));
    assert!(text.starts_with("tools.workspace: ") && text.contains("no folder"), "{text}");
    let text = error(&|settings| settings.http.allow = vec!["10.0.0.0/99".to_owned()]);
    assert!(text.starts_with("tools.http.allow: \"10.0.0.0/99\""), "{text}");
}

#[tokio::test]
async fn nobody_takes_the_place_of_a_tool() {
    let (_folder, toolbox) = toolbox(|_| {}).await;
    let error = toolbox.with(Arc::new(Odd("calculate"))).err().expect("an error").to_string();
    assert!(error.contains("calculate") && error.contains("two tools"), "{error}");
}
