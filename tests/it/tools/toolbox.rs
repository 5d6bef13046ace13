//! What the toolbox does for every tool, over a real store.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use metrics_exporter_prometheus::PrometheusBuilder;
use qron::domain::failure::FailureClass;
use qron::domain::plan::Plan;
use qron::domain::tool::{Effect, ToolResult, ToolSpec};
use qron::queue::Queue;
use qron::tools::{DatabaseSettings, NAMES, Settings, Tool, ToolContext, Toolbox};
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
            untrusted: false,
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
async fn constant_arguments_that_no_run_can_use_are_faults_of_the_plan() {
    let shop = DatabaseSettings {
        url: "sqlite:///shop.db".into(),
        max_rows: 1,
        timeout_ms: 1_000,
        max_connections: 1,
        functions: Vec::new(),
    };
    let (_folder, toolbox) = toolbox(|settings| drop(settings.sql.insert("shop".to_owned(), shop))).await;
    let faults = |tool: &str, arguments: &Value| {
        let steps = json!([
            {"id": "before", "tool": "get_state", "arguments": {"key": "k"}},
            {"id": "it", "tool": tool, "arguments": arguments},
        ]);
        let plan: Plan = serde_json::from_value(json!({ "steps": steps })).expect("a plan");
        toolbox.plan_faults(&plan, |_| true, tokio::time::Instant::now() + Duration::from_secs(5))
    };
    for (tool, arguments, told) in [
        ("http_request", json!({"url": "ftp://example.com/x"}), "\"ftp\" is not allowed; use http or https"),
        ("http_request", json!({"url": "file:///etc/passwd"}), "\"file\" is not allowed"),
        ("http_request", json!({"url": "ftp://${before.value}/x"}), "\"ftp\" is not allowed"),
        ("http_request", json!({"url": "example.com/page"}), "e.g. https://example.com/page"),
        ("http_request", json!({"url": "https://ann:secret-word@example.com/"}), "carries credentials; use a header"),
        ("http_request", json!({"url": "http://metadata.google.internal/${before.value}"}), "metadata service"),
        (
            "http_request",
            json!({"url": "https://example.com", "headers": {"Host": "${before.value}"}}),
            "\"Host\" is set by qron",
        ),
        ("http_request", json!({"url": "https://example.com", "body": "a", "json": 1}), "leave one of them out"),
        ("read_file", json!({"path": "../x"}), "\"../x\" leads out of the folder of the task"),
        ("read_file", json!({"path": "${before.value}/../x"}), "leads out"),
        ("write_file", json!({"path": "/tmp/${before.value}", "content": "x"}), "is absolute"),
        ("write_file", json!({"path": "x", "content": "no base64!", "encoding": "base64"}), "not base64"),
        ("list_files", json!({"path": "a//b"}), "empty name"),
        ("save_artifact", json!({"name": "x", "content": "ä", "encoding": "base64"}), "not base64"),
        ("read_artifact", json!({"name": "x", "task_id": "seven"}), "no id of a task"),
        ("sql_query", json!({"database": "shop", "query": "DELETE FROM sales"}), "\"shop\""),
        ("query_table", json!({"query": "DROP TABLE data", "table": "a\n1"}), "the argument \"query\""),
        ("query_table", json!({"query": "SELECT 1 FROM data", "table": "x.csv"}), "give it as path, artifact or url"),
        ("query_table", json!({"query": "DELETE FROM x", "path": "${before.value}"}), "the argument \"query\""),
        ("query_table", json!({"query": "SELECT 1 FROM data", "url": "https://a.b,https://c.d"}), "several addresses"),
        ("query_table", json!({"query": "SELECT 1 FROM data"}), "give one of table, path, artifact and url"),
        ("query_table", json!({"query": "SELECT 1 FROM data", "path": "../x"}), "leads out"),
        ("vector_search", json!({"collection": "c"}), "requires the argument \"vector\""),
        ("create_task", json!({"goal": "a goal long enough", "run_at": "tomorrow-ish"}), "the argument \"run_at\""),
        ("create_task", json!({"goal": "short"}), "the goal has 5 characters: use 10 to "),
        ("calculate", json!({"expression": "1 +"}), "cannot calculate"),
    ] {
        let found = faults(tool, &arguments);
        assert_eq!(found.len(), 1, "{tool} {arguments}: {found:?}");
        for part in ["step \"it\": ", tool, told].iter().filter(|part| **part != "calculate") {
            assert!(found[0].contains(part), "{part:?} is missing in {}", found[0]);
        }
        assert!(!found[0].contains("secret-word"), "{}", found[0]);
    }
    for (tool, arguments) in [
        ("http_request", json!({"url": "${before.value}"})),
        ("http_request", json!({"url": "${before.value}://example.com"})),
        (
            "http_request",
            json!({"url": "http://${before.value}:${before.value}/x", "headers": {"accept": "${before.value}"}}),
        ),
        // The configuration of the replica that runs it decides.
        ("http_request", json!({"url": "http://127.0.0.1:8080/"})),
        ("read_file", json!({"path": "${before.value}"})),
        ("write_file", json!({"path": "out/${before.value}.md", "content": "${before.value}", "encoding": "base64"})),
        ("list_files", json!({})),
        ("sql_query", json!({"database": "shop", "query": "SELECT ${before.value}"})),
        ("sql_query", json!({"database": "shop", "query": "SELECT 1"})),
        ("query_table", json!({"query": "SELECT 1 FROM data", "table": "${before.value}"})),
        ("vector_search", json!({"collection": "c", "vector": "${before.value}"})),
        ("create_task", json!({"goal": "${before.value}", "run_at": "2036-01-01T09:00"})),
    ] {
        assert_eq!(faults(tool, &arguments), [""; 0], "{tool} {arguments}");
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
    let preview = first["preview"].as_str().expect("a preview");
    assert!(preview.starts_with("[Nothing in it fits; it begins:]\näbcäbc"), "its text: {first}");

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
