//! Configuration of address and key; and that key, prompt and answer stay out of errors and logs.

use std::io::Write;
use std::sync::{Arc, Mutex};

use qron::domain::failure::FailureClass;
use qron::llm::scripted::{Fault, Reply, Scenario, Script, ScriptedModel, Turn};
use qron::llm::{Models, Settings};
use serde_json::json;

use super::{ask, models, no_embeddings, number_request, request, settings};

fn refused(settings: &Settings) -> String {
    let failure = Models::new(settings, &no_embeddings()).err().expect("refused");
    assert_eq!(failure.class, FailureClass::Invalid, "{failure}");
    failure.message
}

#[test]
fn no_address_and_no_key_is_no_model() {
    assert!(Models::new(&settings(""), &no_embeddings()).expect("fine").is_none());
}

#[test]
fn a_key_alone_is_for_openai() {
    let mut settings = settings("");
    settings.api_key = "sk-test".into();
    match Models::new(&settings, &no_embeddings()) {
        Ok(models) => assert!(models.is_some()),
        // Nothing but this may go wrong, and only on hosts where nobody installed them.
        Err(failure) => assert!(failure.message.contains("root certificates"), "{failure}"),
    }
}

#[test]
fn a_key_that_no_header_can_hold_is_named_and_not_shown() {
    let mut settings = settings("http://localhost:1/v1");
    for key in ["sk-canary\nX-Evil: 1", "sk-canary\r", "sk canary", "sk-cänary", "sk-canary\u{0}"] {
        settings.api_key = format!("a{key}b").into();
        let message = refused(&settings);
        assert!(message.contains("model.api_key") && !message.contains("nary"), "{message}");
    }
    // The line break at the end of a file with a key is nobody's mistake.
    settings.api_key = "sk-test\n".into();
    assert!(Models::new(&settings, &no_embeddings()).is_ok());
}

#[test]
fn a_bad_address_is_named() {
    for url in
        ["localhost:11434", "ftp://host/v1", "http://", "not a url", "http://me:pw-canary@host/v1", "http://h/?a=b"]
    {
        let message = refused(&settings(url));
        assert!(message.contains("model.base_url") && !message.contains("canary"), "{url}: {message}");
    }
}

#[test]
fn bad_numbers_and_missing_names_are_named() {
    let good = settings("http://localhost:1/v1");
    let no_model = Settings { models: Vec::new(), ..good.clone() };
    assert!(refused(&no_model).contains("model.models"));
    assert!(refused(&Settings { models: vec![" ".to_owned()], ..good.clone() }).contains("model.models"));
    assert!(refused(&Settings { tries: 0, ..good.clone() }).contains("model.tries"));
    assert!(refused(&Settings { timeout_ms: 0, ..good.clone() }).contains("model.timeout_ms"));
    let price = qron::llm::Price { prompt: f64::NAN, completion: 1.0 };
    assert!(refused(&Settings { prices: [("m".to_owned(), price)].into(), ..good }).contains("model.prices"));
}

#[tokio::test]
async fn the_key_is_sent_and_a_wrong_one_is_not_repeated() {
    let script = Script { api_key: Some("right".to_owned()), ..Script::new(vec![Scenario::on("").text("fine")]) };
    let server = ScriptedModel::start(script).await.expect("starts");
    let mut settings = settings(&format!("{}/", server.base_url()));
    settings.api_key = "right".into();
    assert_eq!(ask(&settings).await.expect("an answer").content, "fine");
    settings.api_key = "wrong-canary".into();
    let error = ask(&settings).await.expect_err("refused");
    assert_eq!(error.failure.class, FailureClass::Unavailable);
    assert!(error.failure.message.contains("model.api_key") && !error.failure.message.contains("canary"), "{error}");
}

/// Collects what is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// In a process of its own: a subscriber of one thread misses events while other tests log, too.
#[tokio::test]
async fn neither_key_nor_prompt_nor_answer_is_logged_or_told() {
    const CHILD: &str = "QRON_TEST_LOGGING_CHILD";
    if std::env::var_os(CHILD).is_none() {
        let mut child = tokio::process::Command::new(std::env::current_exe().expect("this test"));
        child.args(["--exact", "llm::secrets::neither_key_nor_prompt_nor_answer_is_logged_or_told"]).env(CHILD, "1");
        let output = child.output().await.expect("the child runs");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    let log = Log::default();
    let writer = log.clone();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(move || writer.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let said = |text: &str| Turn::new(Reply::Text(text.to_owned()));
    let scenario = Scenario::on("")
        .fault(Fault::ServerError, 1)
        .fault(Fault::Status(503, "busy with sk-key-canary"), 1)
        .turn(Turn::new(Reply::Body(json!({ "choices": "answer-canary" }))))
        .fault(Fault::MalformedJson, 1)
        .turn(Turn::new(Reply::Json(json!({ "n": "answer-canary" }))))
        .turn(said("answer-canary"));
    let server = ScriptedModel::start(Script::new(vec![scenario])).await.expect("starts");
    let mut settings = settings(&server.base_url());
    (settings.api_key, settings.tries) = ("sk-key-canary".into(), 5);
    let mut asked = number_request();
    asked.messages.extend(request("plan", "prompt-canary").messages);
    let models = models(&settings);
    let error = models.complete(&asked).await.expect_err("a failure");
    assert!(server.requests().len() > 5, "{error}");
    assert!(!format!("{error} {error:?} {settings:?}").contains("canary"), "{error:?}");
    let logged = String::from_utf8(log.0.lock().expect("no panic").clone()).expect("text");
    assert!(logged.contains("trying again"), "{logged}");
    assert!(!logged.contains("canary"), "{logged}");
}
