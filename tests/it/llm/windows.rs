//! Models that read less at once than a question holds.

use qron::domain::conversation::{Message, ModelRequest};
use qron::domain::data_block;
use qron::domain::failure::FailureClass;
use qron::llm::Models;
use qron::llm::scripted::{Reply, Scenario, Script, ScriptedModel, Turn};
use serde_json::{Value, json};

use super::{models, number_request, request, settings};

/// Bytes of the messages of a request.
fn bytes(body: &Value) -> usize {
    body["messages"].to_string().len()
}

/// A question with `page` as its data before a long goal.
fn question_about(page: &str) -> ModelRequest {
    let page = data_block::block("page", page);
    let goal = format!("<goal>{} the end of the goal</goal>", "a long goal ".repeat(100));
    let messages = vec![
        Message::System { content: "You are a test.".to_owned() },
        Message::User { content: format!("{page}\n\n{goal}") },
    ];
    ModelRequest { messages, max_output_tokens: 2_000, ..request("act", "") }
}

/// A question with `data` bytes of data before a long goal.
fn question(data: usize) -> ModelRequest {
    question_about(&"word ".repeat(data / 5))
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
        let most = request.body["max_tokens"].as_u64().expect("a limit");
        assert!((1_024..1_100).contains(&most), "a quarter of the window is for the answer: {most}");
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
    assert!(matches!(sent[..], [60_000..=80_000, ..=5_000, 10_000..=14_000]), "{sent:?}");
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
async fn an_honest_count_that_could_be_a_window_is_no_cut() {
    // Of each, the bytes let expect more tokens than are counted, and the count is one of a window.
    for (name, text, tokens) in [
        ("Cyrillic", "слово ".repeat(6_000), 8_192),
        ("Greek", "λέξεις ".repeat(5_000), 8_192),
        ("Devanagari", "परीक्षण ".repeat(3_000), 8_192),
        ("an indent", format!("\n{}x = 1;", " ".repeat(40)).repeat(1_500), 8_192),
        ("lines", format!("{}\n", "-".repeat(79)).repeat(1_000), 2_048),
        ("long words", "word ".repeat(12_000), 5_120),
        ("long words", "word ".repeat(12_000), 9_000),
    ] {
        let counted = Turn::new(Reply::Text("fine".to_owned())).usage(tokens, 8);
        let server = start(Script::new(vec![Scenario::on("").turn(counted)])).await;
        let models = models(&settings(&server.base_url()));
        for _ in 0..2 {
            let reply = models.complete(&question_about(&text)).await.expect("an answer");
            assert_eq!(reply.content, "fine", "{name}");
        }
        let sent: Vec<usize> = server.requests().iter().map(|request| bytes(&request.body)).collect();
        let bytes = text.len();
        assert!(sent.len() == 2 && sent.iter().all(|sent| *sent > bytes), "{name}: {sent:?} of {bytes}");
        assert!(bytes / 6 > usize::try_from(tokens).expect("few"), "{name}: the test shows nothing");
        assert!(!models.takes_turns(None), "{name}");
    }
}

#[tokio::test]
async fn a_round_count_that_questions_of_two_lengths_share_is_a_window() {
    let server = start(fine().cutting_at(5_000)).await;
    let models = models(&settings(&server.base_url()));
    for (data, said) in [(60_000, "Hello! How can I help you today?"), (90_000, "fine"), (60_000, "fine")] {
        assert_eq!(models.complete(&question(data)).await.expect("an answer").content, said, "{data}");
    }
    assert_eq!(server.requests().len(), 4);
}

#[tokio::test]
async fn a_server_that_counts_more_than_its_window_is_shown_everything_again() {
    let turn = |said: &str, tokens| Turn::new(Reply::Text(said.to_owned())).usage(tokens, 8);
    let server = start(Script::new(vec![Scenario::on("").turn(turn("Hello!", 4_096)).turn(turn("fine", 9_000))])).await;
    let models = models(&settings(&server.base_url()));
    for _ in 0..2 {
        let long = ModelRequest { purpose: "answer", ..question(60_000) };
        assert_eq!(models.complete(&long).await.expect("an answer").content, "fine");
    }
    let sent: Vec<usize> = server.requests().iter().map(|request| bytes(&request.body)).collect();
    assert!(matches!(sent[..], [60_000..=80_000, ..=12_288, 60_000..=80_000]), "{sent:?}");
    assert!(!models.takes_turns(None));
}

#[tokio::test]
async fn a_model_with_a_narrow_window_works_in_turns() {
    let server = start(fine().cutting_at(4096)).await;
    let models = models(&settings(&server.base_url()));
    assert!(!models.takes_turns(None));
    models.complete(&question(60_000)).await.expect("an answer");
    assert!(models.takes_turns(None));
}

/// Models whose window of 4,096 tokens is known, and a server that then says `text` and is at the limit of its answer.
async fn at_the_limit(text: &str) -> (ScriptedModel, Models) {
    let message = json!({ "role": "assistant", "content": text });
    let choice = json!({ "index": 0, "message": message, "finish_reason": "length" });
    let cut_off = Turn::new(Reply::Body(json!({ "object": "chat.completion", "choices": [choice] })));
    let teaching = Scenario::on("the end of the goal").text("fine");
    let server = start(Script::new(vec![teaching, Scenario::on("").turn(cut_off)]).cutting_at(4096)).await;
    let models = models(&settings(&server.base_url()));
    models.complete(&question(60_000)).await.expect("an answer");
    (server, models)
}

#[tokio::test]
async fn a_short_question_leaves_the_window_to_its_answer() {
    let (server, models) = at_the_limit("and so on").await;
    let short = ModelRequest { max_output_tokens: 3_900, ..request("act", "short") };
    models.complete(&short).await.expect("an answer");
    assert_eq!(server.requests().last().expect("a request").body["max_tokens"], 3_900);
}

#[tokio::test]
async fn an_answer_that_the_window_limits_is_told_with_the_window_and_the_way_out() {
    let (_server, models) = at_the_limit("").await;
    let long = ModelRequest { max_output_tokens: 5_000, ..request("act", "short") };
    let exhausted = models.complete(&long).await.expect("an empty answer").exhausted.expect("used up");
    assert_eq!((exhausted.next, exhausted.window), (None, Some(4096)));
    assert!((4_000..4_096).contains(&exhausted.limit), "{exhausted:?}");
    let open = ModelRequest { max_output_tokens: 500, ..long };
    let exhausted = models.complete(&open).await.expect("an empty answer").exhausted.expect("used up");
    assert_eq!(exhausted.window, None, "a setting limited it");

    let (_server, models) = at_the_limit("{\"n\": 1").await;
    let number = ModelRequest { max_output_tokens: 5_000, ..number_request() };
    let failure = models.complete(&number).await.expect_err("cut off").failure.message;
    for part in ["it was cut at ", "reads 4096 tokens at once", "--ctx-size", "OLLAMA_CONTEXT_LENGTH", "num_ctx"] {
        assert!(failure.contains(part), "{part:?} is missing in {failure}");
    }
    assert!(!failure.contains("max_output_tokens"), "{failure}");
}
