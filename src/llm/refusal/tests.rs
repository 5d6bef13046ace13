use super::super::errors::CallError;
use super::*;

fn class(status: u16, body: &str) -> FailureClass {
    Refusal::read(status, body.as_bytes(), "", None).failure("m").class
}

#[test]
fn only_what_is_a_secret_is_taken_out() {
    let body = "no api_key xxx for x: none, ollama, lm-studio, not-needed, sk-no-key-required and placeholder are fine";
    for key in ["", "x", "xxx", "none", "ollama", "EMPTY", "dummy", "lm-studio", "not-needed", "api_key", "aaaaaaaa"] {
        assert_eq!(Refusal::read(400, body.as_bytes(), key, None).message, body, "{key}");
    }
    for key in ["sk-no-key-required", "SK-NO-KEY-REQUIRED", "placeholder"] {
        assert!(!Refusal::read(400, body.as_bytes(), key, None).message.contains("[key]"), "{key}");
    }
    for key in ["sk-canary", "12345678", "sk-proj-abc"] {
        let said = Refusal::read(400, format!("wrong key {key}!").as_bytes(), key, None).message;
        assert_eq!(said, "wrong key [key]!");
    }
}

#[test]
fn every_status_has_its_class() {
    use FailureClass::{Invalid, Permanent, RateLimited, Timeout, Transient};
    let error = |code: &str, message: &str| format!(r#"{{"error":{{"code":"{code}","message":"{message}"}}}}"#);
    assert_eq!(class(429, "{}"), RateLimited);
    assert_eq!(class(429, &error("insufficient_quota", "")), Permanent);
    assert_eq!(class(429, &error("", "You exceeded your current quota, please check your plan")), Permanent);
    assert_eq!(class(429, &error("rate_limit_exceeded", "Request too large for gpt-x")), Invalid);
    for status in [500, 502, 503, 529, 409, 425] {
        assert_eq!(class(status, "<html>bad gateway</html>"), Transient, "{status}");
    }
    for status in [301, 307, 401, 402, 403, 404, 405, 418, 501] {
        assert_eq!(class(status, ""), Permanent, "{status}");
    }
    for status in [400, 413, 422] {
        assert_eq!(class(status, "{}"), Invalid, "{status}");
    }
    for status in [408, 504] {
        assert_eq!(class(status, "[]"), Timeout, "{status}");
    }
}

/// No question is answered: the key, the account, the path or the server.
#[test]
fn what_no_question_can_help_is_an_outage_and_what_is_wrong_with_one_is_its_own() {
    let error = |code: &str, message: &str| format!(r#"{{"error":{{"code":"{code}","message":"{message}"}}}}"#);
    let blame =
        |status, body: &str| CallError::Refused(Refusal::read(status, body.as_bytes(), "", None)).blame(true, false);
    for status in [301, 401, 402, 403, 404, 405, 408, 409, 425, 500, 501, 502, 503, 504, 529] {
        assert_eq!(blame(status, ""), Blame::Outage, "{status}");
    }
    for (status, body) in [
        (429, error("insufficient_quota", "You exceeded your current quota, please check your plan")),
        (429, error("billing_hard_limit_reached", "")),
        (400, error("invalid_request_error", "Your credit balance is too low to access the API")),
        (400, error("INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.")),
        (400, error("", "gpt-9 is not a valid model ID")),
    ] {
        assert_eq!(blame(status, &body), Blame::Outage, "{body}");
    }
    for (status, body) in [
        (400, error("", "nonsense")),
        (413, String::new()),
        (418, String::new()),
        (422, error("", "bad schema")),
        (403, error("", "your input was flagged")),
        (429, error("rate_limit_exceeded", "Request too large for gpt-x")),
        (500, error("", "the request exceeds the available context size")),
    ] {
        assert_eq!(blame(status, &body), Blame::Question, "{status} {body}");
    }
}

/// The server fails for this question and answers all others. Not so where it says that it has too much to do.
#[test]
fn a_server_that_fails_for_one_question_alone_blames_that_question() {
    let blame = |status, wait| CallError::Refused(Refusal::read(status, b"", "", wait)).blame(true, true);
    for status in [408, 409, 425, 500, 502, 504, 520, 599] {
        assert_eq!(blame(status, None), Blame::Question, "{status}");
        assert_eq!(blame(status, Some(1_000)), Blame::Outage, "{status} with a time to come back");
    }
    for status in [301, 401, 402, 403, 404, 405, 501, 503, 529] {
        assert_eq!(blame(status, None), Blame::Outage, "{status}");
    }
    assert_eq!(blame(429, None), Blame::RateLimit);
}

#[test]
fn a_limit_per_minute_is_no_empty_account() {
    let quota = "You exceeded your current quota, please check your plan and billing details.";
    let violation = |id: &str| serde_json::json!({"violations": [{"quotaId": id}]});
    let google = |details: Value| serde_json::json!([{"error": {"code": 429, "message": quota, "status": "RESOURCE_EXHAUSTED", "details": details}}]);
    let retry = serde_json::json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "26s"});
    let minute = violation("GenerateRequestsPerMinutePerProjectPerModel-FreeTier");
    for (body, wait) in [
        (google(serde_json::json!([minute, retry])), Some(26_000)),
        (google(serde_json::json!([minute])), None),
        (serde_json::json!({"error": {"message": format!("{quota} Please retry in 45.5s.")}}), Some(45_500)),
    ] {
        let refusal = Refusal::read(429, body.to_string().as_bytes(), "", None);
        assert_eq!((refusal.blame(), refusal.retry_after_ms), (Blame::RateLimit, wait), "{body}");
        assert_eq!(refusal.failure("m").class, FailureClass::RateLimited, "{body}");
    }
}

#[test]
fn a_message_is_found_in_every_dialect_and_kept_short() {
    let said = |body: &str| Refusal::read(400, body.as_bytes(), "", None).message;
    assert_eq!(said(r#"{"error":{"message":"openai"}}"#), "openai");
    assert_eq!(said(r#"{"error":"ollama"}"#), "ollama");
    assert_eq!(said(r#"{"object":"error","message":"vllm"}"#), "vllm");
    assert_eq!(said(r#"{"detail":[{"loc":["body"],"msg":"fastapi"}]}"#), "fastapi");
    assert_eq!(said("404 page\r\nnot found"), "404 page not found");
    assert_eq!(said("<html>"), "");
    assert_eq!(said(&"ä".repeat(1_000)).chars().count(), MESSAGE_CHARS + 1);
}

#[test]
fn an_error_within_an_answer_has_the_status_that_it_would_have_had() {
    for (body, status) in [
        (r#"{"error":{"message":"x","code":503}}"#, 503),
        (r#"{"error":{"message":"x","code":"429"}}"#, 429),
        (r#"{"object":"error","message":"x","type":"BadRequestError","code":400}"#, 400),
        (r#"{"error":{"message":"Rate limit reached","type":"requests","code":"rate_limit_exceeded"}}"#, 429),
        (r#"{"error":{"message":"x","code":"insufficient_quota"}}"#, 429),
        (r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#, 529),
        (r#"{"error":{"message":"bad","type":"invalid_request_error"}}"#, 400),
        (r#"{"error":"the model crashed","code":7}"#, 500),
        ("out of memory", 500),
    ] {
        assert_eq!(Refusal::within_answer(body.as_bytes(), "").status, status, "{body}");
    }
}

#[test]
fn fields_that_python_names_apart_are_known_and_words_are_whole() {
    let detail = serde_json::json!([{"type": "extra_forbidden", "loc": ["body", "stream_options"], "msg": "Extra inputs are not permitted"}]);
    for body in
        [serde_json::json!({"detail": detail}), serde_json::json!({"object": "error", "message": {"detail": detail}})]
    {
        let refusal = Refusal::read(422, body.to_string().as_bytes(), "", None);
        assert!(refusal.names("stream_options") && refusal.mentions(&["not permitted"]), "{refusal:?}");
    }
    let refusal = |message: &str| Refusal { message: message.to_owned(), ..Refusal::default() };
    assert!(refusal("Streaming is off").names("stream") && refusal("'stream'").names("stream"));
    assert!(!refusal("upstream error").names("stream"));
}

#[test]
fn a_key_is_never_repeated() {
    let body = r#"{"error":{"message":"Incorrect API key provided: sk-canary"}}"#;
    for status in [400, 401, 403, 429, 500] {
        let failure = Refusal::read(status, body.as_bytes(), "sk-canary", None).failure("m");
        assert!(!failure.message.contains("canary"), "{failure}");
    }
    let refused = Refusal::read(401, body.as_bytes(), "another", None).failure("m");
    assert_eq!(refused.message, r#"model "m": the endpoint does not accept the key; check model.api_key (status 401)"#);
}

#[test]
fn a_path_that_is_not_there_is_told_from_a_model_that_is_not_there() {
    let said = |url: &str, body: &str| {
        let url = Url::parse(&format!("{url}/chat/completions?key=canary")).expect("a URL");
        Refusal::read(404, body.as_bytes(), "", None).of_url(url).failure("m").message
    };
    let without = said("http://user:canary@127.0.0.1:8000", r#"{"detail": "Not Found"}"#);
    assert!(without.contains("model.base_url, which is http://127.0.0.1:8000: most endpoints want"), "{without}");
    assert!(without.contains("http://127.0.0.1:8000/v1 (status 404: Not Found)"), "{without}");
    assert!(!without.contains("canary"), "{without}");
    let with = said("http://127.0.0.1:8000/v1", "404 page not found");
    assert!(with.contains("check model.base_url, which is http://127.0.0.1:8000/v1 (status 404"), "{with}");
    let model = said("http://127.0.0.1:8000/v1", r#"{"error": {"code": "model_not_found"}}"#);
    assert!(model.contains("does not know this model; check model.models"), "{model}");
    let embeddings = Url::parse("https://x.example/v1/embeddings").expect("a URL");
    let failure = Refusal::read(405, b"", "", None).of_url(embeddings).failure("m");
    assert!(failure.message.contains("which is https://x.example/v1 (status 405)"), "{failure}");
}

#[test]
fn a_conversation_that_is_too_long_is_recognised() {
    let body = r#"{"error":{"message":"This model's maximum context length is 8192 tokens."}}"#;
    let failure = Refusal::read(400, body.as_bytes(), "", None).failure("m");
    assert_eq!(failure.class, FailureClass::Invalid);
    assert!(failure.message.contains("context length exceeded"), "{failure}");
}
