//! Forms of a request that endpoints refuse, and what is learnt from it.

use std::sync::Arc;

use qron::domain::conversation::{Message, ModelRequest};
use qron::domain::failure::FailureClass;
use qron::domain::tool::{Effect, ToolSpec};
use qron::llm::scripted::{Fault, Reply, Scenario, Script, ScriptedModel, Turn};
use serde_json::{Value, json};

use super::{models, number_request, request, settings};

fn is_json_schema(body: &Value) -> bool {
    body["response_format"]["type"] == "json_schema"
}

fn has_format(body: &Value) -> bool {
    body.get("response_format").is_some()
}

fn has_format_without_schema(body: &Value) -> bool {
    has_format(body) && body["response_format"].get("schema").is_none()
}

fn has_schema(body: &Value) -> bool {
    body["response_format"].get("schema").is_some() || body["response_format"].get("json_schema").is_some()
}

fn has_tools(body: &Value) -> bool {
    body.get("tools").is_some()
}

fn has_system(body: &Value) -> bool {
    body["messages"].to_string().contains(r#""role":"system""#)
}

/// What a request asked for, in a word.
fn form(body: &Value) -> &'static str {
    match &body["response_format"] {
        Value::Null if body["messages"].to_string().contains("follows this JSON schema") => "prompt",
        Value::Null => "none",
        format if format["type"] == "json_schema" => "schema",
        format if format.get("schema").is_some() => "object+schema",
        _ => "object",
    }
}

fn right() -> Vec<Scenario> {
    vec![Scenario::on("").json(json!({ "n": 7 }))]
}

async fn asked_twice(script: Script) -> Vec<&'static str> {
    let server = ScriptedModel::start(script).await.expect("starts");
    let models = models(&settings(&server.base_url()));
    for _ in 0..2 {
        assert_eq!(models.complete(&number_request()).await.expect("an answer").content, r#"{"n":7}"#);
    }
    server.requests().iter().map(|request| form(&request.body)).collect()
}

#[tokio::test]
async fn a_schema_refused_in_whatever_words_or_status_leads_to_the_next_form_and_is_learnt() {
    for (status, words) in [
        (400, "This response_format type is unavailable now"),
        (400, "Invalid value: 'json_schema'"),
        (422, "Failed to deserialize the JSON body into the target type: unknown variant"),
        (405, "json_schema response format is not supported for model: x"),
        (501, "not implemented"),
        (500, "'json_schema' is not one of ['text', 'json_object']"),
        (500, "Internal Server Error"),
    ] {
        let script = Script::new(right()).refusing_when(is_json_schema, status, words);
        assert_eq!(asked_twice(script).await, ["schema", "object+schema", "object+schema"], "{status} {words}");
    }
    let script =
        Script::new(right()).refusing_when(has_schema, 400, "extra field 'schema' in response_format.json_object");
    assert_eq!(asked_twice(script).await, ["schema", "object+schema", "object", "object"]);
    let script = Script::new(right()).refusing_when(has_format, 400, "Unknown field: response_format");
    assert_eq!(asked_twice(script).await, ["schema", "prompt", "prompt"]);
    let script = Script::new(right()).refusing_when(has_format, 400, "nonsense");
    assert_eq!(asked_twice(script).await, ["schema", "object+schema", "prompt", "prompt"]);
    let script = Script::new(right()).refusing_when(is_json_schema, 400, "json_schema is not supported").refusing_when(
        has_format_without_schema,
        400,
        "no",
    );
    assert_eq!(asked_twice(script).await, ["schema", "object+schema", "object+schema"]);
}

#[tokio::test]
async fn an_endpoint_that_is_out_of_order_teaches_nothing() {
    let down = Scenario::on("").fault(Fault::ServerError, 4).json(json!({ "n": 7 }));
    let server = ScriptedModel::start(Script::new(vec![down])).await.expect("starts");
    let models = models(&settings(&server.base_url()));
    let error = models.complete(&number_request()).await.expect_err("a failure");
    assert!(error.failure.message.contains("status 500"), "{error}");
    assert_eq!(models.complete(&number_request()).await.expect("an answer").content, r#"{"n":7}"#);
    let sent: Vec<&str> = server.requests().iter().map(|request| form(&request.body)).collect();
    assert_eq!(sent, ["schema", "object+schema", "schema", "schema", "schema"]);
}

#[tokio::test]
async fn one_answer_that_the_endpoint_could_not_read_teaches_nothing() {
    let words = "Failed to validate JSON. Please adjust your prompt. See 'failed_generation' for more details.";
    for (faults, expected) in
        [(1, vec!["schema", "schema", "schema"]), (2, vec!["schema", "schema", "object+schema", "object+schema"])]
    {
        let unlucky = Scenario::on("").fault(Fault::Status(400, words), faults).json(json!({ "n": 7 }));
        assert_eq!(asked_twice(Script::new(vec![unlucky])).await, expected);
    }
}

#[tokio::test]
async fn a_request_that_is_refused_for_another_reason_is_not_put_in_other_forms() {
    for (status, words) in
        [(400, "maximum context length is 8 tokens"), (404, "no such model"), (401, "bad key"), (429, "slow")]
    {
        let script = Script::new(right()).refusing_when(has_format, status, words);
        let server = ScriptedModel::start(script).await.expect("starts");
        let mut settings = settings(&server.base_url());
        settings.tries = 1;
        models(&settings).complete(&number_request()).await.expect_err("a failure");
        assert_eq!(server.requests().len(), 1, "{status} {words}");
    }
}

fn tool(name: &str) -> Arc<ToolSpec> {
    let parameters = json!({ "type": "object", "properties": { "x": { "type": "integer" } } });
    let description = format!("Does {name}.");
    Arc::new(ToolSpec {
        name: name.to_owned(),
        description,
        parameters,
        output: json!(true),
        effect: Effect::Read,
        idempotent: true,
        untrusted: false,
    })
}

fn acting() -> ModelRequest {
    ModelRequest { tools: vec![tool("add"), tool("fail_step")], ..request("act", "add") }
}

#[tokio::test]
async fn tools_that_are_refused_go_into_the_prompt_and_are_called_by_json() {
    for (status, words) in [
        (400, "registry.ollama.ai/library/gemma2:latest does not support tools"),
        (400, "\"auto\" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set"),
        (500, "tools param requires --jinja flag"),
        (404, "No endpoints found that support tool use."),
        (422, "extra fields not permitted: tools"),
        (400, "nonsense"),
    ] {
        let scenario = Scenario::on("")
            .json(json!({ "call": { "tool": "add", "arguments": { "x": 1 } } }))
            .json(json!({ "output": "42" }))
            .json(json!({ "fail": "locked" }));
        let script = Script::new(vec![scenario]).refusing_when(has_tools, status, words);
        let server = ScriptedModel::start(script).await.expect("starts");
        let models = models(&settings(&server.base_url()));
        let mut asked = acting();
        let reply = models.complete(&asked).await.expect("an answer");
        assert_eq!(
            (reply.tool_calls[0].tool.as_str(), &reply.tool_calls[0].arguments),
            ("add", &json!({ "x": 1 })),
            "{words}"
        );
        let call_id = reply.tool_calls[0].id.clone();
        asked.messages.push(Message::Assistant { content: reply.content, tool_calls: reply.tool_calls, origin: None });
        asked.messages.push(Message::Tool { call_id, content: "2".to_owned() });
        let reply = models.complete(&asked).await.expect("an answer");
        assert_eq!((reply.content.as_str(), reply.tool_calls.len()), ("42", 0));
        let reply = models.complete(&asked).await.expect("an answer");
        assert_eq!(
            (reply.tool_calls[0].tool.as_str(), &reply.tool_calls[0].arguments["reason"]),
            ("fail_step", &json!("locked"))
        );

        let sent = server.requests();
        assert_eq!(
            sent.iter().map(|request| has_tools(&request.body)).collect::<Vec<_>>(),
            [true, false, false, false]
        );
        let messages = &sent[2].body["messages"];
        assert!(messages[0]["content"].as_str().is_some_and(|text| text.contains("- add: Does add.")), "{messages}");
        assert_eq!(
            messages[2],
            json!({ "role": "assistant", "content": r#"{"call":{"tool":"add","arguments":{"x":1}}}"# })
        );
        assert_eq!(messages[3]["role"], "user");
        assert_eq!(sent[1].body["response_format"]["json_schema"]["name"], "turn");
    }
}

#[tokio::test]
async fn a_system_message_that_is_refused_becomes_the_begin_of_the_users() {
    for (status, words) in [
        (400, "System role not supported"),
        (500, "Conversation roles must alternate user/assistant/user/assistant/..."),
        (400, "Developer instruction is not enabled for models/gemma-3-27b-it"),
    ] {
        let script = Script::new(vec![Scenario::on("").text("fine")]).refusing_when(has_system, status, words);
        let server = ScriptedModel::start(script).await.expect("starts");
        let models = models(&settings(&server.base_url()));
        for _ in 0..2 {
            assert_eq!(models.complete(&request("act", "x")).await.expect("an answer").content, "fine", "{words}");
        }
        let sent = server.requests();
        assert_eq!(sent.len(), 3, "{words}");
        let messages = sent[2].body["messages"].as_array().expect("messages").clone();
        assert_eq!(messages.len(), 1);
        let text = messages[0]["content"].as_str().expect("a text");
        assert!(text.starts_with("You are a test.") && text.contains("<goal>x</goal>"), "{text}");
    }
}

#[tokio::test]
async fn unknown_fields_go_back_until_they_are_refused() {
    let call = json!({ "id": "a", "type": "function", "extra_content": { "google": { "thought_signature": "s" } },
        "function": { "name": "add", "arguments": "{}" } });
    let body = json!({ "choices": [{ "finish_reason": "tool_calls", "message": { "role": "assistant", "content": null,
        "reasoning_content": "hm", "tool_calls": [call] } }] });
    let has_thoughts = |body: &Value| body["messages"].to_string().contains("reasoning_content");
    for refuses in [false, true] {
        let scenario = Scenario::on("").turn(Turn::new(Reply::Body(body.clone()))).text("done");
        let mut script = Script::new(vec![scenario]);
        if refuses {
            script = script.refusing_when(has_thoughts, 400, "property 'reasoning_content' is unsupported");
        }
        let server = ScriptedModel::start(script).await.expect("starts");
        let mut settings = settings(&server.base_url());
        settings.models = vec!["main".to_owned()];
        let models = models(&settings);
        let mut asked = acting();
        let reply = models.complete(&asked).await.expect("an answer");
        let origin = reply.origin();
        assert_eq!(origin.as_ref().map(|origin| origin.model.as_str()), Some("main"));
        asked.messages.push(Message::Assistant { content: reply.content, tool_calls: reply.tool_calls, origin });
        asked.messages.push(Message::Tool { call_id: "a".to_owned(), content: "2".to_owned() });
        assert_eq!(models.complete(&asked).await.expect("an answer").content, "done");
        let sent = server.requests();
        let own = &sent.last().expect("a request").body["messages"][2];
        let kept = if refuses { (Value::Null, Value::Null) } else { (json!("hm"), json!("s")) };
        assert_eq!(
            (
                own["reasoning_content"].clone(),
                own["tool_calls"][0]["extra_content"]["google"]["thought_signature"].clone()
            ),
            kept
        );

        // Another model gets none of it.
        asked.model = Some("other".to_owned());
        models.complete(&asked).await.expect("an answer");
        let sent = server.requests().last().expect("a request").body["messages"].to_string();
        assert!(!sent.contains("reasoning_content") && !sent.contains("extra_content"), "{sent}");
    }
}

#[tokio::test]
async fn a_limit_used_up_before_the_first_word_grows_to_the_ceiling_and_is_remembered() {
    let silent =
        json!({ "choices": [{ "message": { "content": "", "reasoning_content": "hm" }, "finish_reason": "length" }] });
    let cut = json!({ "choices": [{ "message": { "content": "<think>hm" }, "finish_reason": "length" }] });
    let scenario = Scenario::on("").turn(Turn::new(Reply::Body(silent))).turn(Turn::new(Reply::Body(cut)));
    let server = ScriptedModel::start(Script::new(vec![scenario])).await.expect("starts");
    let mut settings = settings(&server.base_url());
    (settings.max_output_tokens, settings.max_output_tokens_ceiling) = (1_000, 10_000);
    let models = models(&settings);
    let mut seen = Vec::new();
    for schema in [None, number_request().schema, None] {
        let limit = models.max_output_tokens(None);
        let asked = ModelRequest { schema, max_output_tokens: limit, ..request("act", "x") };
        let reply = models.complete(&asked).await.expect("an empty answer");
        assert!(reply.truncated && reply.content.is_empty());
        seen.push(reply.exhausted.map(|exhausted| (exhausted.limit, exhausted.next)));
    }
    assert_eq!(seen, [Some((1_000, Some(4_000))), Some((4_000, Some(10_000))), Some((10_000, None))]);
    assert_eq!(models.max_output_tokens(Some("another")), 1_000);
    // Less than the configured limit is a matter of the budget.
    let asked = ModelRequest { max_output_tokens: 300, ..request("act", "x") };
    let reply = models.complete(&asked).await.expect("an empty answer");
    assert_eq!(reply.exhausted.map(|exhausted| exhausted.next), Some(None));
}

#[tokio::test]
async fn silence_is_an_empty_answer_and_no_outage() {
    let server = ScriptedModel::start(Script::new(vec![Scenario::on("").text("")])).await.expect("starts");
    let mut settings = settings(&server.base_url());
    settings.circuit_failures = 2;
    let models = models(&settings);
    for _ in 0..5 {
        assert_eq!(models.complete(&request("act", "x")).await.expect("an answer").content, "");
        let error = models.complete(&number_request()).await.expect_err("nothing usable");
        assert_eq!(error.failure.class, FailureClass::Permanent, "{error}");
    }
}
