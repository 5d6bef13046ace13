//! References into outputs that were too long for the run and became artifacts.

use qron::llm::scripted::Scenario;
use serde_json::{Value, json};

use super::bed::{Bed, planned, success};

/// A step whose output is `text`.
fn page(text: &Value) -> Value {
    json!({"id": "page", "tool": "page", "arguments": {"text": text}})
}

#[tokio::test]
async fn a_tool_step_gets_the_value_whatever_its_length() {
    let bed = Bed::new(Vec::new()).await;
    for bytes in [100, 31 * 1024, 33 * 1024, 60_000, 300_000] {
        let body = format!("{}end", "ä".repeat(bytes / 2));
        let steps = json!([
            page(&json!({"status": 200, "body": body, "rows": [{"id": "18446744073709551616"}]})),
            {"id": "save", "tool": "save_artifact", "arguments": {"name": "page.txt", "content": "${page.body}"}},
            {"id": "row", "tool": "page", "arguments": {"text": "${page.status} ${page.rows.0.id}"}},
            {"id": "whole", "tool": "save_artifact", "arguments": {"name": "page.json", "content": "${page}"}},
        ]);
        let task = planned("keep the page", &steps);
        let (outcome, _) = bed.run(&task).await;
        let result = outcome.result.unwrap_or_else(|failure| panic!("{bytes} bytes: {failure}"));
        assert_eq!(result["steps"]["save"]["bytes"], json!(body.len()), "{bytes} bytes");
        assert_eq!(result["steps"]["row"], json!("200 18446744073709551616"), "{bytes} bytes");
        let (artifact, saved) = bed.store.artifact(task.id, "page.txt").await.expect("the store").expect("saved");
        assert_eq!((saved, artifact.media_type.as_str()), (body.into_bytes(), "text/plain"));
        let (artifact, saved) = bed.store.artifact(task.id, "page.json").await.expect("the store").expect("saved");
        let whole: Value = serde_json::from_slice(&saved).expect("JSON");
        assert_eq!((&whole["status"], artifact.media_type.as_str()), (&json!(200), "application/json"));
    }
}

#[tokio::test]
async fn an_instruction_sees_the_value_and_where_the_rest_is() {
    let bed = Bed::new(vec![
        Scenario::on("summarise")
            .purpose("act")
            .contains("chapter one")
            .contains("read_artifact with name")
            .text("short"),
        Scenario::on("summarise").purpose("answer").json(success("short")),
    ])
    .await;
    let body = format!("chapter one {}", "x".repeat(60_000));
    let steps = json!([
        page(&json!({"body": body})),
        {"id": "short", "instruction": "summarise ${page.body}"},
    ]);
    let (outcome, _) = bed.run(&planned("summarise the page", &steps)).await;
    assert_eq!(outcome.result.expect("success")["output"], json!("short"));
    let asked = bed.model.requests()[0].body.to_string();
    assert!((40_000..60_000).contains(&asked.len()), "{} bytes", asked.len());
}

#[tokio::test]
async fn what_cannot_be_read_back_is_told_with_the_way_out() {
    let bed = Bed::new(Vec::new()).await;
    let steps = |reference: &str, body: &str| json!([page(&json!({"body": body})), {"id": "use", "tool": "page", "arguments": {"text": reference}}]);
    let large = json!([
        {"id": "part", "tool": "page", "arguments": {"text": "x".repeat(384 * 1024)}},
        page(&json!({"body": "${part}".repeat(8)})),
        {"id": "use", "tool": "page", "arguments": {"text": "${page.body}"}},
    ]);
    let (outcome, _) = bed.run(&planned("read it all", &large)).await;
    let failure = outcome.result.expect_err("too long");
    for part in ["step page has 3145", "at most 2097152", "artifact \"page-", "read_artifact"] {
        assert!(failure.message.contains(part), "{failure}");
    }
    let (outcome, _) = bed.run(&planned("read a field", &steps("${page.title}", &"x".repeat(50_000)))).await;
    let failure = outcome.result.expect_err("no such field");
    assert!(failure.message.contains("reference ${page.title} points at nothing"), "{failure}");
}
