//! Every fault ends in its named class, within its time.

use std::time::{Duration, Instant};

use qron::domain::failure::FailureClass;
use qron::llm::Price;
use qron::llm::scripted::{Fault, Reply, Scenario, Turn};
use serde_json::json;

use super::{ask, models, request, server, settings};

/// A scenario that goes wrong every time.
fn always(fault: Fault) -> Scenario {
    Scenario::on("").fault(fault, 1)
}

#[tokio::test]
async fn each_fault_has_its_class_and_its_number_of_tries() {
    use FailureClass::{Invalid, Transient, Unavailable};
    for (fault, class, tries, says) in [
        (Fault::ServerError, Unavailable, 3, "status 500: The server had an error"),
        (Fault::Status(503, "overloaded"), Unavailable, 3, "status 503: overloaded"),
        (Fault::RateLimited { retry_after_s: None }, Unavailable, 3, "slow down"),
        (Fault::InsufficientQuota, Unavailable, 1, "quota"),
        (Fault::Status(401, "bad key"), Unavailable, 1, "model.api_key"),
        (Fault::Status(403, "not yours"), Unavailable, 1, "model.api_key"),
        (Fault::Status(404, "no such model"), Unavailable, 1, "model.models"),
        // Nothing tells that the pieces in which the answer was wanted are not meant.
        (Fault::Status(400, "nonsense"), Invalid, 2, "status 400: nonsense"),
        (Fault::Status(422, "nonsense"), Invalid, 2, "status 422: nonsense"),
        (Fault::Status(400, "maximum context length is 8 tokens"), Invalid, 1, "context length exceeded"),
        (Fault::Status(307, ""), Unavailable, 1, "model.base_url"),
        (Fault::CutStream, Unavailable, 3, "broke"),
        (Fault::MalformedJson, Transient, 3, "not JSON"),
        (Fault::EmptyChoices, Transient, 3, "no choices"),
    ] {
        let server = server(vec![always(fault.clone())]).await;
        let error = ask(&settings(&server.base_url())).await.expect_err("a failure");
        assert_eq!(error.failure.class, class, "{fault:?}: {error}");
        assert!(error.failure.message.contains(says), "{fault:?}: {error}");
        assert!(error.failure.message.contains(r#"model "main""#), "{fault:?}: {error}");
        assert_eq!(server.requests().len(), tries, "{fault:?}");
    }
}

#[tokio::test]
async fn a_fault_that_passes_is_survived() {
    for fault in [
        Fault::ServerError,
        Fault::RateLimited { retry_after_s: None },
        Fault::CutStream,
        Fault::MalformedJson,
        Fault::EmptyChoices,
    ] {
        let server = server(vec![Scenario::on("").fault(fault.clone(), 2).text("fine")]).await;
        let reply = ask(&settings(&server.base_url())).await.expect("an answer");
        assert_eq!(reply.content, "fine", "{fault:?}");
        assert_eq!(server.requests().len(), 3, "{fault:?}");
    }
}

#[tokio::test]
async fn nobody_listening_makes_the_model_unavailable() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    let error = ask(&settings(&format!("http://{port}/v1"))).await.expect_err("a failure");
    assert_eq!(error.failure.class, FailureClass::Unavailable, "{error}");
    assert!(error.failure.message.contains("cannot connect"), "{error}");
}

#[tokio::test]
async fn a_hang_ends_at_the_time_limit_and_is_not_repeated() {
    let server = server(vec![always(Fault::Hang)]).await;
    let mut settings = settings(&server.base_url());
    settings.timeout_ms = 200;
    let began = Instant::now();
    let error = ask(&settings).await.expect_err("a failure");
    let took = began.elapsed();
    assert_eq!(error.failure.class, FailureClass::Unavailable, "{error}");
    assert!(error.failure.message.contains("model.timeout_ms of 200 ms"), "{error}");
    assert!((200..5_000).contains(&took.as_millis()), "{took:?}");
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_slow_drip_ends_at_the_time_limit_however_steady() {
    let server = server(vec![always(Fault::SlowDrip { bytes: 1, pause_ms: 20 })]).await;
    let mut settings = settings(&server.base_url());
    (settings.timeout_ms, settings.read_timeout_ms) = (300, 200);
    let began = Instant::now();
    let error = ask(&settings).await.expect_err("a failure");
    let took = began.elapsed();
    assert_eq!(error.failure.class, FailureClass::Unavailable, "{error}");
    assert!(took < Duration::from_secs(4), "{took:?}");
}

#[tokio::test]
async fn silence_in_the_middle_of_an_answer_ends_early_but_slow_thinking_is_allowed() {
    let silent = server(vec![always(Fault::SlowDrip { bytes: 10, pause_ms: 5_000 })]).await;
    let mut settings = settings(&silent.base_url());
    (settings.read_timeout_ms, settings.tries) = (50, 1);
    let began = Instant::now();
    let error = ask(&settings).await.expect_err("a failure");
    assert_eq!(error.failure.class, FailureClass::Unavailable, "{error}");
    assert!(error.failure.message.contains("silence for 50 ms"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());

    let thinking = Scenario::on("").turn(Turn::new(Reply::Text("42".to_owned())).latency_ms(300));
    let thinking = server(vec![thinking]).await;
    settings.base_url = thinking.base_url();
    assert_eq!(ask(&settings).await.expect("an answer").content, "42");
}

#[tokio::test]
async fn a_huge_answer_is_refused_before_it_is_in_memory() {
    let server = server(vec![always(Fault::HugeBody { bytes: 10 << 20 })]).await;
    let mut settings = settings(&server.base_url());
    settings.tries = 2;
    let error = ask(&settings).await.expect_err("a failure");
    assert_eq!(error.failure.class, FailureClass::Transient, "{error}");
    assert!(error.failure.message.contains("model.max_response_bytes of 4194304 bytes"), "{error}");
    assert!(error.failure.message.len() < 300, "{error}");
    settings.max_response_bytes = 11 << 20;
    let error = ask(&settings).await.expect_err("a failure");
    assert!(error.failure.message.contains("more than 1 MiB of text"), "{error}");
    let server = self::server(vec![always(Fault::HugeBody { bytes: 1 << 19 })]).await;
    settings.base_url = server.base_url();
    assert_eq!(ask(&settings).await.expect("an answer").content.len(), 1 << 19);
}

#[tokio::test]
async fn a_long_retry_after_is_obeyed_up_to_the_cap() {
    let scenario = Scenario::on("").fault(Fault::RateLimited { retry_after_s: Some(3_600) }, 1).text("fine");
    let server = server(vec![scenario]).await;
    let mut settings = settings(&server.base_url());
    settings.retry.max_retry_after_ms = 150;
    let began = Instant::now();
    assert_eq!(ask(&settings).await.expect("an answer").content, "fine");
    let took = began.elapsed();
    assert!((150..5_000).contains(&took.as_millis()), "{took:?}");
}

#[tokio::test]
async fn a_retry_after_beyond_the_time_limit_is_handed_up_instead_of_waited_for() {
    let server = server(vec![always(Fault::RateLimited { retry_after_s: Some(7) })]).await;
    let mut settings = settings(&server.base_url());
    (settings.timeout_ms, settings.retry.max_retry_after_ms) = (500, 30_000);
    let began = Instant::now();
    let error = ask(&settings).await.expect_err("a failure");
    assert_eq!((error.failure.class, error.failure.retry_after_ms), (FailureClass::Unavailable, Some(7_000)));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_fallback_model_answers_when_the_first_one_cannot() {
    for fault in [Fault::ServerError, Fault::Status(404, "no such model"), Fault::Status(400, "no"), Fault::Hang] {
        let scenarios = vec![always(fault.clone()).model("main"), Scenario::on("").model("spare").text("spare here")];
        let server = server(scenarios).await;
        let mut settings = settings(&server.base_url());
        settings.models.push("spare".to_owned());
        if fault == Fault::Hang {
            settings.timeout_ms = 500;
        }
        let reply = ask(&settings).await.expect("an answer");
        assert_eq!((reply.content.as_str(), reply.model.as_str()), ("spare here", "spare"), "{fault:?}");
    }
}

#[tokio::test]
async fn hanging_models_exceed_the_time_limit_by_one_call_at_most() {
    let server = server(vec![always(Fault::Hang)]).await;
    let mut settings = settings(&server.base_url());
    settings.models = ["a", "b", "c", "d"].map(str::to_owned).to_vec();
    settings.timeout_ms = 150;
    let began = Instant::now();
    let error = ask(&settings).await.expect_err("a failure");
    let took = began.elapsed();
    assert_eq!(error.failure.class, FailureClass::Unavailable, "{error}");
    assert!((300..5_000).contains(&took.as_millis()), "{took:?}");
    assert_eq!(server.requests().iter().map(|request| request.model.as_str()).collect::<Vec<_>>(), ["a", "b"]);
}

#[tokio::test]
async fn a_failure_that_time_may_heal_is_told_rather_than_a_fallback_that_does_not_exist() {
    let scenarios =
        vec![always(Fault::ServerError).model("main"), always(Fault::Status(404, "no such model")).model("typo")];
    let server = server(scenarios).await;
    let mut settings = settings(&server.base_url());
    settings.models.push("typo".to_owned());
    let error = ask(&settings).await.expect_err("a failure");
    assert_eq!(error.failure.class, FailureClass::Unavailable, "{error}");
    assert!(error.failure.message.contains("status 500"), "the first cause: {error}");
}

#[tokio::test]
async fn a_key_that_is_not_accepted_is_not_tried_on_other_models() {
    let server = server(vec![always(Fault::Status(401, "no"))]).await;
    let mut settings = settings(&server.base_url());
    settings.models.push("spare".to_owned());
    let error = ask(&settings).await.expect_err("a failure");
    assert_eq!(error.failure.class, FailureClass::Unavailable);
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn an_agent_chooses_its_model_and_falls_back_to_the_configured_ones() {
    let scenarios = vec![
        Scenario::on("").model("special").text("special").fault(Fault::ServerError, 1),
        Scenario::on("").model("main").text("main"),
    ];
    let server = server(scenarios).await;
    let models = models(&settings(&server.base_url()));
    let request = qron::domain::conversation::ModelRequest { model: Some("special".to_owned()), ..request("act", "x") };
    for expected in ["special", "main"] {
        let reply = models.complete(&request).await.expect("an answer");
        assert_eq!(reply.model, expected);
    }
}

#[tokio::test]
async fn what_useless_answers_cost_is_told_with_the_failure() {
    let empty = json!({ "choices": [], "usage": { "prompt_tokens": 1000, "completion_tokens": 10 } });
    let server = server(vec![Scenario::on("").turn(Turn::new(Reply::Body(empty)))]).await;
    let mut settings = settings(&server.base_url());
    settings.prices.insert("main".to_owned(), Price { prompt: 1.0, completion: 100.0 });
    let error = ask(&settings).await.expect_err("a failure");
    assert_eq!((error.usage.prompt_tokens, error.usage.completion_tokens), (3_000, 30));
    assert!((error.cost_usd - 0.006).abs() < 1e-9, "{}", error.cost_usd);
}

#[tokio::test]
async fn faults_of_some_tasks_do_not_disturb_others() {
    let scenarios = vec![
        Scenario::on("hangs").fault(Fault::Hang, 1),
        Scenario::on("drips").fault(Fault::SlowDrip { bytes: 1, pause_ms: 50 }, 1),
        Scenario::on("huge").fault(Fault::HugeBody { bytes: 10 << 20 }, 1),
        Scenario::on("fine").turn(Turn::new(Reply::Text("fine".to_owned())).latency_ms(1_000)),
    ];
    let server = server(scenarios).await;
    let models = models(&settings(&server.base_url()));
    let disturbing = ["hangs", "drips", "huge"].map(|goal| {
        let models = models.clone();
        tokio::spawn(async move { models.complete(&request("act", goal)).await })
    });
    let began = Instant::now();
    let asked = (0..100).map(|number| {
        let models = models.clone();
        tokio::spawn(async move { models.complete(&request("act", &format!("fine {number}"))).await })
    });
    for answer in asked.collect::<Vec<_>>() {
        assert_eq!(answer.await.expect("no panic").expect("an answer").content, "fine");
    }
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert!(server.in_flight_peak() >= 90, "{}", server.in_flight_peak());
    for task in disturbing {
        task.abort();
    }
}

#[tokio::test]
async fn a_call_that_is_given_up_leaves_the_server() {
    let server = server(vec![always(Fault::Hang)]).await;
    let models = models(&settings(&server.base_url()));
    let call = tokio::spawn(async move { models.complete(&request("act", "x")).await });
    let reached = async |wanted: usize| {
        while server.in_flight() != wanted {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), reached(1)).await.expect("it arrives");
    call.abort();
    tokio::time::timeout(Duration::from_secs(10), reached(0)).await.expect("it leaves");
}

#[tokio::test]
async fn a_question_that_takes_too_long_is_its_own_fault_when_the_model_answers_others_meanwhile() {
    let scenarios = vec![Scenario::on("endless").fault(Fault::Hang, 1), Scenario::on("").text("fine")];
    let server = server(scenarios).await;
    let mut settings = settings(&server.base_url());
    (settings.timeout_ms, settings.tries, settings.circuit_failures) = (2_500, 1, 1);
    let models = models(&settings);
    let endless = tokio::spawn({
        let models = models.clone();
        async move { models.complete(&request("act", "endless")).await }
    });
    while server.in_flight() == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    models.complete(&request("act", "other")).await.expect("an answer");
    let error = endless.await.expect("no panic").expect_err("a failure");
    assert_eq!(error.failure.class, FailureClass::Timeout, "{error}");
    models.complete(&request("act", "other")).await.expect("it took the model from nobody");
}
