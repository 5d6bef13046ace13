//! What compatible servers do differently.

use std::sync::Arc;

use qron::domain::conversation::{Message, ModelRequest, RequestedCall};
use qron::domain::failure::FailureClass;
use qron::domain::tool::{Effect, ToolSpec};
use qron::llm::scripted::{Reply, Scenario, Script, ScriptedModel, Turn};
use serde_json::{Value, json};

use super::{ask, models, request, server, settings};

async fn answered_with(body: Value) -> Result<qron::domain::conversation::ModelReply, qron::llm::ModelError> {
    let server = server(vec![Scenario::on("").turn(Turn::new(Reply::Body(body)))]).await;
    ask(&settings(&server.base_url())).await
}

#[tokio::test]
async fn the_field_for_the_token_limit_follows_what_the_model_accepts() {
    let mut script = Script::new(vec![Scenario::on("").text("fine")]);
    for (refused, expected) in [
        (vec!["max_tokens"], vec!["max_tokens", "max_completion_tokens", "max_completion_tokens"]),
        (vec!["max_tokens", "max_completion_tokens"], vec!["max_tokens", "max_completion_tokens", "none", "none"]),
    ] {
        script.refused_fields = refused;
        let server = ScriptedModel::start(script.clone()).await.expect("starts");
        let models = models(&settings(&server.base_url()));
        for _ in 0..2 {
            models.complete(&request("act", "x")).await.expect("an answer");
        }
        let field = |body: &Value| {
            let mut fields = ["max_tokens", "max_completion_tokens"].into_iter();
            fields.find(|field| body.get(field).is_some()).unwrap_or("none")
        };
        let sent: Vec<&str> = server.requests().iter().map(|request| field(&request.body)).collect();
        assert_eq!(sent, expected);
    }
}

#[tokio::test]
async fn tool_calls_come_back_as_they_were_meant() {
    let calls = vec![("add".to_owned(), json!({ "a": 1 })), ("add".to_owned(), json!("{not json"))];
    let server = server(vec![Scenario::on("").turn(Turn::new(Reply::ToolCalls(calls)))]).await;
    let tool = ToolSpec {
        name: "add".to_owned(),
        description: "adds".to_owned(),
        parameters: json!({ "type": "object" }),
        output: json!(true),
        effect: Effect::Read,
        idempotent: true,
        untrusted: false,
    };
    let mut asked = ModelRequest { tools: vec![Arc::new(tool)], ..request("act", "add") };
    let earlier = RequestedCall {
        id: "c1".to_owned(),
        tool: "add".to_owned(),
        arguments: json!({ "a": 0 }),
        ..RequestedCall::default()
    };
    asked.messages.push(Message::Assistant { content: String::new(), tool_calls: vec![earlier], origin: None });
    asked.messages.push(Message::Tool { call_id: "c1".to_owned(), content: "1".to_owned() });
    let reply = models(&settings(&server.base_url())).complete(&asked).await.expect("an answer");
    let arguments: Vec<&Value> = reply.tool_calls.iter().map(|call| &call.arguments).collect();
    assert_eq!(arguments, [&json!({ "a": 1 }), &json!("{not json")]);
    assert_ne!(reply.tool_calls[0].id, reply.tool_calls[1].id);
    let sent = &server.requests()[0].body;
    assert_eq!(sent["tools"][0]["function"]["name"], "add");
    assert_eq!(sent["messages"][2]["tool_calls"][0]["function"]["arguments"], r#"{"a":0}"#);
    assert_eq!(sent["messages"][3], json!({ "role": "tool", "tool_call_id": "c1", "content": "1" }));
}

#[tokio::test]
async fn errors_with_status_200_are_errors() {
    let limited = answered_with(json!({ "error": { "code": 429, "message": "slow" } })).await.expect_err("a failure");
    assert_eq!(limited.failure.class, FailureClass::Unavailable);
    assert!(limited.failure.message.contains("slow down"), "{limited}");
    let vague = answered_with(json!({ "error": "upstream" })).await.expect_err("a failure");
    assert_eq!(vague.failure.class, FailureClass::Unavailable);
}

#[tokio::test]
async fn a_filter_or_refusal_is_permanent_and_an_unknown_end_is_not() {
    let body = |message: Value, finish: &str| json!({ "choices": [{ "message": message, "finish_reason": finish }] });
    for refused in [
        body(json!({ "content": null, "refusal": "I cannot help with that" }), "stop"),
        body(json!({ "content": "" }), "content_filter"),
    ] {
        let error = answered_with(refused).await.expect_err("a failure");
        assert_eq!(error.failure.class, FailureClass::Permanent, "{error}");
    }
    let reply = answered_with(body(json!({ "content": "fine" }), "eos_token")).await.expect("an answer");
    assert_eq!(reply.content, "fine");
    assert!(reply.usage.total() > 0, "estimated where it is not reported");
    assert!(answered_with(body(json!({ "content": "hal" }), "length")).await.expect("an answer").truncated);
}

#[tokio::test]
async fn deep_nesting_and_other_json_end_in_a_class() {
    let mut deep = json!(1);
    for _ in 0..100 {
        deep = json!([deep]);
    }
    for body in [deep, json!("text"), json!(null), json!({ "choices": { "a": 1 } }), json!({ "choices": [1, 2] })] {
        let error = answered_with(body).await.expect_err("a failure");
        assert_eq!(error.failure.class, FailureClass::Transient, "{error}");
    }
}

#[tokio::test]
async fn further_fields_go_out_as_they_are_with_requests_to_their_model_alone() {
    let server = server(vec![Scenario::on("").model("other").text("fine"), Scenario::on("").text("fine")]).await;
    let mut settings = settings(&server.base_url());
    let fields = json!({"main": {"reasoning_effort": "low", "temperature": 0, "chat_template_kwargs": {"enable_thinking": false}}});
    settings.extra_body = serde_json::from_value(fields.clone()).expect("fields");
    let models = models(&settings);
    let of_other = ModelRequest { model: Some("other".to_owned()), ..request("act", "x") };
    for request in [request("act", "x"), of_other] {
        models.complete(&request).await.expect("an answer");
    }
    let sent = server.requests();
    for (name, value) in fields["main"].as_object().expect("fields") {
        assert_eq!(&sent[0].body[name], value, "{name}");
        assert_eq!(sent[1].body.get(name), None, "{name}");
    }
    assert_eq!(sent[0].body["max_tokens"], 100);
}
