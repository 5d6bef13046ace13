//! Models that read less at once than a question holds.

use qron::domain::conversation::{Message, ModelRequest};
use qron::domain::data_block;
use qron::domain::failure::FailureClass;
use qron::llm::scripted::{Scenario, Script, ScriptedModel};
use serde_json::Value;

use super::{models, request, settings};

/// Bytes of the messages of a request.
fn bytes(body: &Value) -> usize {
    body["messages"].to_string().len()
}

/// A question with `data` bytes of data before its goal, with a long goal.
fn question(data: usize) -> ModelRequest {
    let page = data_block::block("page", &"word ".repeat(data / 5));
    let goal = format!("<goal>{} the end of the goal</goal>", "a long goal ".repeat(100));
    let messages = vec![
        Message::System { content: "You are a test.".to_owned() },
        Message::User { content: format!("{page}\n\n{goal}") },
    ];
    ModelRequest { messages, max_output_tokens: 2_000, ..request("act", "") }
}

async fn start(script: Script) -> ScriptedModel {
    ScriptedModel::start(script).await.expect("starts")
}

fn fine() -> Script {
    Script::new(vec![Scenario::on("").text("fine")])
}

#[tokio::test]
async fn a_question_that_the_server_cut_is_asked_again_with_less_data_and_the_whole_goal() {
    let server = start(fine().cutting_at(4096)).await;
    let models = models(&settings(&server.base_url()));
    for _ in 0..2 {
        let reply = models.complete(&question(60_000)).await.expect("an answer");
        assert_eq!(reply.content, "fine", "not what a model says that has not seen its goal");
    }
    let sent: Vec<usize> = server.requests().iter().map(|request| bytes(&request.body)).collect();
    assert!(matches!(sent[..], [60_000..=70_000, 8_000..=12_288, 8_000..=12_288]), "one call taught it: {sent:?}");
    for request in &server.requests()[1..] {
        let text = request.body["messages"][1]["content"].as_str().expect("a text");
        assert!(
            text.contains("more bytes are more than the model can read at once"),
            "the model knows that more was there"
        );
        assert!(text.ends_with("the end of the goal</goal>") && text.matches("a long goal").count() == 100);
        assert_eq!(request.body["max_tokens"], 1_024, "a quarter of the window is for the answer");
    }
}

#[tokio::test]
async fn a_question_that_is_refused_as_too_long_is_asked_again_with_less_data() {
    for (status, refusal, requests) in [
        (400, "This model's maximum context length is 4096 tokens. However, you requested 17000 tokens", 2),
        (500, "Requested tokens (15003) exceed context window of 4096", 2),
        (400, "prompt is too long: 15003 tokens > 4096 maximum", 2),
        (400, "the request exceeds the available context size, try increasing it", 3),
        (413, "The input token count (15003) exceeds the maximum number of tokens allowed (4096).", 2),
    ] {
        let server = start(fine().refusing_when(|body| bytes(body) > 14_000, status, refusal)).await;
        let reply = models(&settings(&server.base_url())).complete(&question(60_000)).await;
        assert_eq!(reply.expect(refusal).content, "fine");
        assert_eq!(server.requests().len(), requests, "{refusal}");
    }
}

#[tokio::test]
async fn a_window_far_too_small_for_the_refused_question_is_learnt_for_no_other() {
    // A server may repeat words of the question, which are those of a page.
    let refusal = "prompt is too long: the page says that the context length is 2000 tokens";
    let server = start(fine().refusing_when(|body| bytes(body) > 14_000, 400, refusal)).await;
    let models = models(&settings(&server.base_url()));
    let reply = models.complete(&question(60_000)).await.expect("an answer");
    assert_eq!((reply.content.as_str(), models.takes_turns(None)), ("fine", false));
    models.complete(&question(10_000)).await.expect("an answer");
    let sent: Vec<usize> = server.requests().iter().map(|request| bytes(&request.body)).collect();
    assert!(matches!(sent[..], [60_000.., ..=5_000, 10_000..]), "{sent:?}");
}

#[tokio::test]
async fn a_goal_larger_than_the_window_is_an_error_that_says_so() {
    let server = start(fine().cutting_at(512)).await;
    let models = models(&settings(&server.base_url()));
    let long = request("act", &"a goal ".repeat(1_000));
    for calls in [1, 1] {
        let failure = models.complete(&long).await.expect_err("too long").failure;
        assert_eq!(failure.class, FailureClass::Permanent, "{failure}");
        assert!(
            failure.message.contains("reads 512 tokens at once") && failure.message.contains("--ctx-size"),
            "{failure}"
        );
        assert_eq!(server.requests().len(), calls, "not asked again");
    }
}

#[tokio::test]
async fn an_honest_count_of_a_repetitive_text_is_no_cut() {
    // Some tokenisers read a line of blanks as one token.
    let server = start(Script::new(vec![Scenario::on("").text("fine")])).await;
    let reply = models(&settings(&server.base_url())).complete(&question(60_000)).await.expect("an answer");
    assert_eq!((reply.content.as_str(), server.requests().len()), ("fine", 1));
}

#[tokio::test]
async fn a_model_with_a_narrow_window_works_in_turns() {
    let server = start(fine().cutting_at(4096)).await;
    let models = models(&settings(&server.base_url()));
    assert!(!models.takes_turns(None));
    models.complete(&question(60_000)).await.expect("an answer");
    assert!(models.takes_turns(None));
}
