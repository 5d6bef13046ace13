//! Answers that come in pieces.

use std::sync::Arc;
use std::time::{Duration, Instant};

use qron::domain::conversation::{ModelRequest, Usage};
use qron::domain::failure::FailureClass;
use qron::domain::tool::{Effect, ToolSpec};
use qron::llm::scripted::{Fault, Reply, Scenario, Script, ScriptedModel, Turn};
use serde_json::{Value, json};

use super::{ask, models, number_request, request, server, settings};

/// The stream of `chunks`, without its end.
fn unended(chunks: &[Value]) -> String {
    chunks.iter().map(|chunk| format!("data: {chunk}\n\n")).collect::<Vec<_>>().concat()
}

/// The stream of `chunks`, and `[DONE]`.
fn stream(chunks: &[Value]) -> String {
    unended(chunks) + "data: [DONE]\n\n"
}

fn said(text: &str) -> Value {
    json!({ "choices": [{ "index": 0, "delta": { "content": text }, "finish_reason": null }] })
}

fn finished() -> Value {
    json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": "stop" }] })
}

fn sending(text: impl Into<String>) -> Scenario {
    Scenario::on("").turn(Turn::new(Reply::Events(text.into())))
}

/// How a request wants its answer, in a word.
fn form(body: &Value) -> &'static str {
    match (body.get("stream").is_some(), body.get("stream_options").is_some()) {
        (true, true) => "usage",
        (true, false) => "plain",
        (false, false) => "whole",
        (false, true) => "wrong",
    }
}

fn has_stream(body: &Value) -> bool {
    body.get("stream").is_some()
}

fn has_options(body: &Value) -> bool {
    body.get("stream_options").is_some()
}

/// Asks `script` so many questions, and returns the forms of the requests.
async fn forms(script: Script, questions: usize) -> Vec<&'static str> {
    let server = ScriptedModel::start(script).await.expect("starts");
    let models = models(&settings(&server.base_url()));
    for _ in 0..questions {
        assert_eq!(models.complete(&request("act", "x")).await.expect("an answer").content, "fine");
    }
    server.requests().iter().map(|request| form(&request.body)).collect()
}

fn fine() -> Script {
    Script::new(vec![Scenario::on("").text("fine")])
}

#[tokio::test]
async fn an_answer_in_pieces_is_the_same_as_a_whole_one() {
    let calls = || {
        let arguments = json!({ "text": "a text that is long enough for several pieces, with ä and 🦀" });
        Reply::ToolCalls(vec![("add".to_owned(), arguments), ("add".to_owned(), json!({}))])
    };
    let tool = Arc::new(ToolSpec {
        name: "add".to_owned(),
        description: String::new(),
        parameters: json!({ "type": "object" }),
        output: json!(true),
        effect: Effect::Read,
        idempotent: true,
        untrusted: false,
    });
    let text = "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich. ".repeat(50);
    let script = || {
        let scenarios = vec![
            Scenario::on("text").turn(Turn::new(Reply::Text(text.clone())).usage(700, 300)),
            Scenario::on("calls").turn(Turn::new(calls()).usage(70, 30)),
            Scenario::on("number").json(json!({ "n": 7 })),
        ];
        Script::new(scenarios)
    };
    let mut answers = Vec::new();
    for (script, forms) in [(script(), ["usage"; 3]), (script().without_streams(), ["usage", "whole", "whole"])] {
        let server = ScriptedModel::start(script).await.expect("starts");
        let models = models(&settings(&server.base_url()));
        let with_tools = ModelRequest { tools: vec![Arc::clone(&tool)], ..request("act", "calls") };
        for asked in [request("act", "text"), with_tools, number_request()] {
            answers.push(models.complete(&asked).await.expect("an answer"));
        }
        assert_eq!(server.requests().iter().map(|request| form(&request.body)).collect::<Vec<_>>(), forms);
    }
    let whole = answers.split_off(3);
    assert_eq!(answers, whole);
    assert_eq!((answers[0].content.as_str(), answers[2].content.as_str()), (text.trim(), r#"{"n":7}"#));
    assert_eq!(answers[0].usage, Usage { prompt_tokens: 700, completion_tokens: 300 });
    assert_eq!(answers[1].tool_calls.len(), 2);
}

#[tokio::test]
async fn an_endpoint_that_does_not_stream_is_learnt_whatever_it_says() {
    for (status, words) in [
        (400, "Your organization must be verified to stream this model."),
        (400, "Unrecognized request argument supplied: stream"),
        (500, "Cannot use tools with stream"),
        (501, "streaming is not supported"),
        (422, "nonsense"),
        (400, ""),
    ] {
        let script = fine().refusing_when(has_stream, status, words);
        assert_eq!(forms(script, 2).await, ["usage", "whole", "whole"], "{status} {words}");
    }
    for (status, words) in [
        (400, "Unknown parameter: 'stream_options'."),
        (422, "body.stream_options: Extra inputs are not permitted"),
        (500, "include_usage: no such field"),
    ] {
        let script = fine().refusing_when(has_options, status, words);
        assert_eq!(forms(script, 2).await, ["usage", "plain", "plain"], "{status} {words}");
    }
    let script = fine().refusing_when(has_options, 400, "stream_options").refusing_when(has_stream, 400, "no stream");
    assert_eq!(forms(script, 2).await, ["usage", "plain", "whole", "whole"]);
    assert_eq!(forms(fine().without_streams(), 2).await, ["usage", "whole"], "it sends whole answers in spite of it");

    // A failure may have another cause, so that it takes two of them, and only tries that there are anyway.
    let script = fine().refusing_when(has_stream, 500, "Internal Server Error");
    assert_eq!(forms(script, 3).await, ["usage", "whole", "usage", "whole", "whole"]);
    let passing = Scenario::on("").fault(Fault::ServerError, 1).text("fine");
    assert_eq!(forms(Script::new(vec![passing]), 3).await, ["usage", "whole", "usage", "usage"]);
}

#[tokio::test]
async fn what_is_known_of_streams_is_part_of_the_record() {
    for (script, stream) in [(fine().without_streams(), "whole"), (fine().refusing("stream_options"), "plain")] {
        let server = ScriptedModel::start(script).await.expect("starts");
        let settings = settings(&server.base_url());
        let first = models(&settings);
        first.complete(&request("act", "x")).await.expect("an answer");
        let records = first.records();
        assert_eq!(records[0].1["dialect"]["stream"], stream, "{records:?}");

        let next = models(&settings);
        next.restore("main", &records[0].1).expect("a record");
        next.complete(&request("act", "x")).await.expect("an answer");
        let last = server.requests().last().map(|request| form(&request.body));
        assert_eq!(last, Some(stream));
    }
}

#[tokio::test]
async fn an_answer_that_streamed_once_is_not_requested_whole_after_a_failure() {
    let scenario = Scenario::on("").text("fine").fault(Fault::ServerError, 1).text("fine");
    assert_eq!(forms(Script::new(vec![scenario]), 2).await, ["usage", "usage", "usage"]);
}

#[tokio::test]
async fn streams_of_every_server_are_understood() {
    let role = json!({ "choices": [{ "index": 0, "delta": { "role": "assistant", "content": "" } }] });
    let usage = json!({ "choices": [], "usage": { "prompt_tokens": 7, "completion_tokens": 3 } });
    let right = [role, said("fi"), said("ne"), finished(), usage];
    let lines = |text: String| text.replace("data: ", "data:").replace('\n', "\r\n");
    for text in [
        stream(&right),
        lines(unended(&right)),
        format!(": PROCESSING\n\n: ping\n\n{}", stream(&right)),
        format!("\n\nevent: message\nid: 1\n{}", stream(&right).replace("\n\n", "\n")),
        stream(&[right[1].clone(), right[2].clone(), right[4].clone()]),
    ] {
        let server = server(vec![sending(text.clone())]).await;
        let reply = ask(&settings(&server.base_url())).await.expect("an answer");
        assert_eq!(reply.content, "fine", "{text}");
        assert_eq!((reply.usage.prompt_tokens, reply.usage.completion_tokens), (7, 3), "{text}");
    }
}

#[tokio::test]
async fn a_stream_that_breaks_off_is_a_failure_that_may_pass_and_no_answer() {
    let half = unended(&[said("Do not ")]);
    let in_a_line = stream(&[said("Do not "), said("pay")]);
    for text in
        [half.clone(), in_a_line[..in_a_line.len() - 40].to_owned(), ": ping\n\n".to_owned(), "data:".to_owned()]
    {
        let always = server(vec![sending(text.clone())]).await;
        let error = ask(&settings(&always.base_url())).await.expect_err("no answer");
        assert_eq!(error.failure.class, FailureClass::Unavailable, "{text:?}: {error}");
        assert!(error.failure.message.contains("its end is missing"), "{text:?}: {error}");
        assert_eq!(always.requests().len(), 3, "{text:?}");

        let once = server(vec![sending(text.clone()).text("fine")]).await;
        assert_eq!(ask(&settings(&once.base_url())).await.expect("an answer").content, "fine", "{text:?}");
    }
    let cut = server(vec![Scenario::on("").text("fine").fault(Fault::CutStream, 1).text("fine")]).await;
    let models = models(&settings(&cut.base_url()));
    for _ in 0..2 {
        assert_eq!(models.complete(&request("act", "x")).await.expect("an answer").content, "fine");
    }
    assert!(cut.requests().iter().all(|request| form(&request.body) == "usage"));
}

#[tokio::test]
async fn errors_inside_a_stream_have_their_class() {
    use FailureClass::{Invalid, Unavailable};
    for (error, class, says) in [
        (json!({ "error": { "message": "crashed", "code": 500 } }), Unavailable, "status 500: crashed"),
        (json!({ "error": { "message": "slow", "code": "rate_limit_exceeded" } }), Unavailable, "slow down"),
        (json!({ "error": { "message": "bad", "code": 400 } }), Invalid, "status 400: bad"),
        (json!({ "error": { "message": "maximum context length is 8", "code": 400 } }), Invalid, "context length"),
        (json!({ "error": { "message": "no", "type": "authentication_error" } }), Unavailable, "model.api_key"),
        (json!({ "object": "error", "message": "crashed", "type": "x" }), Unavailable, "status 500: crashed"),
        (
            json!({ "error": "crashed", "choices": [{ "delta": { "content": "" }, "finish_reason": "error" }] }),
            Unavailable,
            "crashed",
        ),
    ] {
        let text = stream(&[said("Do not "), error.clone()]);
        let server = server(vec![sending(text)]).await;
        let failed = ask(&settings(&server.base_url())).await.expect_err("a failure");
        assert_eq!(failed.failure.class, class, "{error}: {failed}");
        assert!(failed.failure.message.contains(says), "{error}: {failed}");
        assert_eq!(failed.said, None);
    }
    let named = server(vec![sending(format!("{}event: error\ndata: out of memory\n\n", unended(&[said("a")])))]);
    let failed = ask(&settings(&named.await.base_url())).await.expect_err("a failure");
    assert!(failed.failure.message.contains("out of memory"), "{failed}");
}

/// `scenario`, of which each answer is sent in parts.
fn dripping(reply: Reply, bytes: usize, pause_ms: u64) -> Scenario {
    Scenario::on("").turn(Turn { fault: Some(Fault::SlowDrip { bytes, pause_ms }), ..Turn::new(reply) })
}

#[tokio::test]
async fn an_answer_in_pieces_may_take_longer_than_the_time_limit() {
    let text = "a piece ".repeat(30);
    let scenario = dripping(Reply::Text(text.clone()), 200, 60);
    let streaming = server(vec![scenario.clone()]).await;
    let mut settings = settings(&streaming.base_url());
    (settings.timeout_ms, settings.tries) = (1_000, 1);
    let began = Instant::now();
    assert_eq!(ask(&settings).await.expect("an answer").content, text.trim());
    assert!(began.elapsed() > Duration::from_secs(1), "{:?}", began.elapsed());

    let whole = ScriptedModel::start(Script::new(vec![dripping(Reply::Text(text), 8, 60)]).without_streams()).await;
    let whole = whole.expect("starts");
    settings.base_url = whole.base_url();
    let error = ask(&settings).await.expect_err("a failure");
    assert!(error.failure.message.contains("model.timeout_ms of 1000 ms"), "{error}");
}

#[tokio::test]
async fn silence_between_pieces_ends_the_call_and_signs_of_life_do_not_hold_it_for_ever() {
    let pings = ": ping\n\n".repeat(5_000);
    let cases = [
        // Two events in the first part, and then nothing.
        (stream(&[said("a"), said("b"), finished()]), 150, 60_000, "silence for 900 ms"),
        (pings.clone(), 8, 50, "only signs of life for 5000 ms"),
        (stream(&vec![said(""); 1_000]), 80, 50, "only signs of life for 5000 ms"),
        (unended(&[said("a")]) + &pings, 100, 50, "only signs of life for 5000 ms"),
    ];
    let asked = cases.into_iter().map(async |(text, bytes, pause_ms, says)| {
        let server = server(vec![dripping(Reply::Events(text), bytes, pause_ms)]).await;
        let mut settings = settings(&server.base_url());
        (settings.timeout_ms, settings.read_timeout_ms, settings.tries) = (1_000, 900, 1);
        let error = ask(&settings).await.expect_err("a failure");
        assert_eq!(error.failure.class, FailureClass::Unavailable, "{error}");
        assert!(error.failure.message.contains(says), "{says}: {error}");
    });
    futures_util::future::join_all(asked).await;
}

#[tokio::test]
async fn a_stream_without_its_end_is_not_waited_for() {
    let text = unended(&[said("fine"), finished()]);
    let server = server(vec![dripping(Reply::Events(format!("{text}: ping\n\n")), text.len(), 60_000)]).await;
    let began = Instant::now();
    assert_eq!(ask(&settings(&server.base_url())).await.expect("an answer").content, "fine");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_repair_is_asked_for_after_a_long_answer_in_pieces() {
    let prose = "I would rather tell a story than a number. ".repeat(6);
    let scenario = dripping(Reply::Text(prose), 200, 60).json(json!({ "n": 7 }));
    let server = server(vec![scenario]).await;
    let mut settings = settings(&server.base_url());
    settings.timeout_ms = 1_000;
    assert_eq!(models(&settings).complete(&number_request()).await.expect("an answer").content, r#"{"n":7}"#);
}
