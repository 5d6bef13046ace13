//! Answers by schema: where the endpoint offers it, where it refuses it, where it ignores it.

use qron::domain::conversation::ModelRequest;
use qron::domain::failure::FailureClass;
use qron::llm::scripted::{Fault, Reply, Scenario, Script, ScriptedModel, Turn};
use qron::llm::{Price, StructuredOutput};
use serde_json::json;

use super::{models, number_request, server, settings};

fn sent_natively(server: &ScriptedModel) -> Vec<bool> {
    server.requests().iter().map(|request| request.body.get("response_format").is_some()).collect()
}

#[tokio::test]
async fn a_schema_is_asked_for_strictly_and_the_purpose_is_said() {
    let server = server(vec![Scenario::on("").purpose("plan").json(json!({ "n": 1 }))]).await;
    let reply = models(&settings(&server.base_url())).complete(&number_request()).await.expect("an answer");
    assert_eq!(reply.content, r#"{"n":1}"#);
    let sent = &server.requests()[0].body;
    assert_eq!(sent["response_format"]["type"], "json_schema");
    assert_eq!(sent["response_format"]["json_schema"]["name"], "number");
    assert_eq!(sent["response_format"]["json_schema"]["strict"], true);
}

#[tokio::test]
async fn a_refused_schema_goes_into_the_prompt_and_is_remembered() {
    let scenarios = vec![Scenario::on("").contains("\"integer\"").text("Here you are:\n```json\n{\"n\": 7,}\n```")];
    let script = Script::new(scenarios).refusing("response_format");
    let server = ScriptedModel::start(script).await.expect("starts");
    let models = models(&settings(&server.base_url()));
    for _ in 0..2 {
        let reply = models.complete(&number_request()).await.expect("an answer");
        assert_eq!(reply.content, r#"{"n":7}"#);
    }
    assert_eq!(sent_natively(&server), [true, false, false]);
    assert_eq!(server.requests()[1].body["messages"].as_array().map(Vec::len), Some(2), "one system message");
}

#[tokio::test]
async fn always_and_never_are_obeyed() {
    let script = Script::new(vec![Scenario::on("").json(json!({ "n": 7 }))]).refusing("response_format");
    let server = ScriptedModel::start(script).await.expect("starts");
    let mut settings = settings(&server.base_url());
    settings.structured_output = StructuredOutput::Always;
    let error = models(&settings).complete(&number_request()).await.expect_err("refused");
    assert_eq!(error.failure.class, FailureClass::Invalid, "{error}");
    settings.structured_output = StructuredOutput::Never;
    models(&settings).complete(&number_request()).await.expect("an answer");
    assert_eq!(sent_natively(&server), [true, false]);
}

#[tokio::test]
async fn nonsense_is_repaired_and_everything_spent_is_added_up() {
    let scenario = Scenario::on("")
        .turn(Turn::new(Reply::Json(json!({ "n": "seven" }))).usage(200, 20))
        .turn(Turn::new(Reply::Json(json!({ "n": 7 }))).usage(300, 30));
    let server = server(vec![scenario]).await;
    let mut settings = settings(&server.base_url());
    settings.prices.insert("main".to_owned(), Price { prompt: 1.0, completion: 10.0 });
    let reply = models(&settings).complete(&number_request()).await.expect("an answer");
    assert_eq!(reply.content, r#"{"n":7}"#);
    assert_eq!((reply.usage.prompt_tokens, reply.usage.completion_tokens), (500, 50));
    assert!((reply.cost_usd - 0.001).abs() < 1e-9, "{}", reply.cost_usd);
    let last = server.requests()[1].body["messages"].to_string();
    assert!(last.contains(r#"\"n\" must be of type integer; it is \"seven\""#), "{last}");
}

#[tokio::test]
async fn lasting_nonsense_ends_after_one_repair_and_says_what_is_wrong() {
    let server = server(vec![Scenario::on("").fault(Fault::WrongSchema, 1)]).await;
    let error = models(&settings(&server.base_url())).complete(&number_request()).await.expect_err("a failure");
    assert_eq!(error.failure.class, FailureClass::Permanent, "{error}");
    assert!(error.failure.message.contains(r#"no usable number: the answer has no "n""#), "{error}");
    assert!(error.was_answered);
    assert_eq!(server.requests().len(), 2);
    assert_eq!(error.usage.prompt_tokens, 200);
}

#[tokio::test]
async fn a_question_that_nothing_pays_for_twice_is_asked_once() {
    let server = server(vec![Scenario::on("").fault(Fault::WrongSchema, 1)]).await;
    let mut settings = settings(&server.base_url());
    settings.models = vec!["main".to_owned(), "spare".to_owned()];
    let once = ModelRequest { once: true, ..number_request() };
    models(&settings).complete(&once).await.expect_err("a failure");
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn tool_calls_where_a_schema_was_asked_for_are_repaired() {
    let scenario = Scenario::on("").fault(Fault::UnknownTool, 1).json(json!({ "n": 7 }));
    let server = server(vec![scenario]).await;
    let reply = models(&settings(&server.base_url())).complete(&number_request()).await.expect("an answer");
    assert_eq!(reply.content, r#"{"n":7}"#);
}

#[tokio::test]
async fn an_answer_cut_at_the_token_limit_names_the_setting() {
    let cut = json!({ "choices": [{ "message": { "content": "{\"n\": " }, "finish_reason": "length" }] });
    let server = server(vec![Scenario::on("").turn(Turn::new(Reply::Body(cut)))]).await;
    let error = models(&settings(&server.base_url())).complete(&number_request()).await.expect_err("a failure");
    assert!(error.failure.message.contains("model.max_output_tokens"), "{error}");
}

#[tokio::test]
async fn an_endpoint_that_ignores_schemas_gets_them_in_the_prompt_after_three_times() {
    let scenarios = vec![
        Scenario::on("").contains("Answer with one JSON object").json(json!({ "n": 1 })),
        Scenario::on("").contains("cannot be used").json(json!({ "n": 2 })),
        Scenario::on("").text("certainly!"),
    ];
    let server = server(scenarios).await;
    let models = models(&settings(&server.base_url()));
    let mut answers = Vec::new();
    for _ in 0..4 {
        answers.push(models.complete(&number_request()).await.expect("an answer").content);
    }
    assert_eq!(answers, [r#"{"n":2}"#, r#"{"n":2}"#, r#"{"n":1}"#, r#"{"n":1}"#]);
}

#[tokio::test]
async fn one_question_is_repaired_once_with_all_its_models() {
    let server = server(vec![Scenario::on("").text("no idea")]).await;
    let mut settings = settings(&server.base_url());
    settings.models = vec!["main".to_owned(), "spare".to_owned()];
    let error = models(&settings).complete(&number_request()).await.expect_err("a failure");
    assert_eq!(error.said.as_deref(), Some("no idea"));
    let asked: Vec<String> = server.requests().into_iter().map(|request| request.model).collect();
    assert_eq!(asked, ["main", "main", "spare"]);
}

#[tokio::test]
async fn a_call_of_a_tool_in_place_of_an_answer_is_no_statement() {
    let call = r#"<tool_call>{"name": "x", "arguments": {}}</tool_call>"#;
    let server = server(vec![Scenario::on("").text(call)]).await;
    let error = models(&settings(&server.base_url())).complete(&number_request()).await.expect_err("a failure");
    assert_eq!((error.was_answered, error.said), (true, None));
}

#[tokio::test]
async fn an_answer_given_as_the_arguments_of_a_tool_by_that_schema_is_the_answer() {
    let scenario = Scenario::on("").call("json_tool_call", json!({ "n": 7 }));
    let server = server(vec![scenario]).await;
    let reply = models(&settings(&server.base_url())).complete(&number_request()).await.expect("an answer");
    assert_eq!((reply.content.as_str(), server.requests().len()), (r#"{"n":7}"#, 1));
}
