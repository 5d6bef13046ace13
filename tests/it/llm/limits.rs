//! Rate limits, circuit breaker, concurrency.

use std::time::{Duration, Instant};

use qron::domain::failure::FailureClass;
use qron::llm::scripted::{Fault, Reply, Scenario, Turn};

use super::{models, request, server, settings};
use crate::support::eventually;

#[tokio::test]
async fn the_circuit_opens_after_failures_in_a_row_and_closes_after_a_success() {
    let server = server(vec![Scenario::on("").fault(Fault::ServerError, 3).text("back")]).await;
    let mut settings = settings(&server.base_url());
    (settings.tries, settings.circuit_failures, settings.circuit_open_ms) = (1, 3, 1_000);
    let models = models(&settings);
    let request = request("act", "x");
    for _ in 0..3 {
        assert!(models.complete(&request).await.is_err());
    }
    let opened = Instant::now();
    let refused = models.complete(&request).await.expect_err("left alone");
    assert_eq!(refused.failure.class, FailureClass::Unavailable);
    assert!(refused.failure.message.contains("status 500"), "the first cause: {refused}");
    assert!(refused.failure.retry_after_ms.is_some_and(|ms| (1..=1_000).contains(&ms)), "{refused:?}");
    assert_eq!(server.requests().len(), 3, "an open circuit asks nobody");
    tokio::time::sleep_until((opened + Duration::from_millis(1_010)).into()).await;
    for _ in 0..3 {
        assert_eq!(models.complete(&request).await.expect("an answer").content, "back");
    }
}

#[tokio::test]
async fn an_open_circuit_ends_the_tries_and_goes_to_the_fallback() {
    let scenarios = vec![
        Scenario::on("").model("main").fault(Fault::ServerError, 1),
        Scenario::on("").model("spare").text("spare here"),
    ];
    let server = server(scenarios).await;
    let mut settings = settings(&server.base_url());
    settings.models.push("spare".to_owned());
    (settings.tries, settings.circuit_failures, settings.circuit_open_ms) = (2, 2, 60_000);
    let models = models(&settings);
    for _ in 0..5 {
        assert_eq!(models.complete(&request("act", "x")).await.expect("an answer").content, "spare here");
    }
    let asked_main = server.requests().iter().filter(|request| request.model == "main").count();
    assert_eq!(asked_main, 4, "two questions of two tries");
}

#[tokio::test]
async fn one_question_that_brings_the_model_down_does_not_take_it_from_the_others() {
    let scenarios = vec![Scenario::on("poison").fault(Fault::ServerError, 1), Scenario::on("").text("fine")];
    let server = server(scenarios).await;
    let mut settings = settings(&server.base_url());
    (settings.tries, settings.circuit_failures, settings.circuit_open_ms) = (5, 2, 60_000);
    let models = models(&settings);
    for _ in 0..3 {
        assert!(models.complete(&request("act", "poison")).await.is_err());
        assert_eq!(models.complete(&request("act", "x")).await.expect("an answer").content, "fine");
    }
    assert_eq!(server.requests().len(), 18);
}

#[tokio::test]
async fn refusals_do_not_open_the_circuit() {
    let server = server(vec![Scenario::on("").fault(Fault::Status(400, "no"), 1)]).await;
    let mut settings = settings(&server.base_url());
    (settings.tries, settings.circuit_failures, settings.circuit_open_ms) = (1, 2, 60_000);
    let models = models(&settings);
    for _ in 0..5 {
        assert!(models.complete(&request("act", "x")).await.is_err());
    }
    // A refusal may be meant for the pieces in which the answer was wanted, so that each question is asked twice.
    assert_eq!(server.requests().len(), 10);
}

#[tokio::test]
async fn a_rate_limit_without_a_time_rests_the_model_and_does_not_open_the_circuit() {
    let server = server(vec![Scenario::on("").fault(Fault::RateLimited { retry_after_s: None }, 2).text("fine")]).await;
    let mut settings = settings(&server.base_url());
    (settings.tries, settings.circuit_failures, settings.circuit_open_ms) = (1, 1, 600_000);
    let models = models(&settings);
    for _ in 0..5 {
        let error = models.complete(&request("act", "x")).await.expect_err("it rests");
        assert_eq!(error.failure.class, FailureClass::Unavailable, "{error:?}");
    }
    assert_eq!(server.requests().len(), 1, "it is left alone for a second");
    let answer =
        eventually("the model is asked again", async || models.complete(&request("act", "x")).await.ok()).await;
    assert_eq!((answer.content.as_str(), server.requests().len()), ("fine", 3));
}

#[tokio::test]
async fn answers_without_use_do_not_take_the_model_from_others() {
    let faults = [
        Fault::EmptyChoices,
        Fault::MalformedJson,
        Fault::WrongSchema,
        Fault::HugeBody { bytes: 5 << 20 },
        Fault::Status(400, "nonsense"),
        Fault::Status(403, "your input was flagged"),
        Fault::Status(413, "too large"),
        Fault::Status(422, "nonsense"),
    ];
    for fault in faults {
        let scenarios = vec![Scenario::on("poison").fault(fault.clone(), 1), Scenario::on("").text("fine")];
        let server = server(scenarios).await;
        let mut settings = settings(&server.base_url());
        (settings.tries, settings.circuit_failures, settings.circuit_open_ms) = (1, 1, 60_000);
        let models = models(&settings);
        for _ in 0..10 {
            drop(models.complete(&request("act", "poison")).await);
        }
        assert_eq!(models.complete(&request("act", "x")).await.expect("an answer").content, "fine", "{fault:?}");
    }
}

#[tokio::test]
async fn an_account_or_a_key_that_no_question_gets_past_opens_the_circuit() {
    let faults =
        [Fault::Status(401, "no"), Fault::Status(402, "no"), Fault::Status(404, "no"), Fault::InsufficientQuota];
    for fault in faults {
        let server = server(vec![Scenario::on("").fault(fault.clone(), 1)]).await;
        let mut settings = settings(&server.base_url());
        (settings.tries, settings.circuit_failures, settings.circuit_open_ms) = (1, 2, 60_000);
        let models = models(&settings);
        for _ in 0..5 {
            assert!(models.complete(&request("act", "x")).await.is_err());
        }
        assert!(server.requests().len() <= 2, "{fault:?}");
    }
}

#[tokio::test]
async fn a_model_rests_for_as_long_as_its_server_asks() {
    const REST_S: u64 = 3;
    let limited = Fault::RateLimited { retry_after_s: Some(REST_S) };
    let server = server(vec![Scenario::on("").fault(limited, 1).text("fine")]).await;
    let mut settings = settings(&server.base_url());
    settings.tries = 1;
    let models = models(&settings);
    let mut rest_ms = 0;
    for _ in 0..3 {
        let error = models.complete(&request("act", "x")).await.expect_err("a failure");
        assert_eq!(error.failure.class, FailureClass::Unavailable);
        assert!(error.failure.message.contains("slow down"), "{error}");
        assert!(error.failure.retry_after_ms.is_some_and(|ms| ms <= REST_S * 1_000), "{error:?}");
        rest_ms = error.failure.retry_after_ms.unwrap_or_default();
    }
    assert_eq!(server.requests().len(), 1, "nobody asks meanwhile");
    tokio::time::sleep(Duration::from_millis(rest_ms + 300)).await;
    assert_eq!(models.complete(&request("act", "x")).await.expect("an answer").content, "fine");
}

#[tokio::test]
async fn calls_beyond_the_requests_per_minute_wait_their_turn() {
    let thirty = Turn { times: 30, ..Turn::new(Reply::Text("fine".to_owned())) };
    let scenario = Scenario::on("").turn(thirty).fault(Fault::ServerError, 1).text("fine");
    let server = server(vec![scenario]).await;
    let mut settings = settings(&server.base_url());
    // 30 at once, then one each two seconds, which is longer than a call may take: waiting is not part of it,
    // and the one that waited and failed is tried again.
    settings.requests_per_minute = 30;
    settings.timeout_ms = 1_900;
    let models = models(&settings);
    let began = Instant::now();
    for _ in 0..31 {
        models.complete(&request("act", "x")).await.expect("waiting for the own limit is no failure");
    }
    let took = began.elapsed();
    assert!((3_900..30_000).contains(&took.as_millis()), "{took:?}");
    assert_eq!(server.requests().len(), 32);
}

#[tokio::test]
async fn tokens_per_minute_hold_back_what_is_too_much_and_credit_what_was_not_used() {
    let server = server(vec![Scenario::on("").text("fine")]).await;
    let mut settings = settings(&server.base_url());
    // Each call may use up nearly a whole minute's tokens and uses 120: without the credit the second would wait long.
    settings.tokens_per_minute = 6_000;
    settings.max_output_tokens = 5_900;
    let models = models(&settings);
    let mut large = request("act", "x");
    large.max_output_tokens = 5_900;
    let began = Instant::now();
    models.complete(&large).await.expect("an answer");
    models.complete(&large).await.expect("an answer");
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(300), "nothing was held back: {took:?}");
    assert!(took < Duration::from_secs(20), "the credit was not given: {took:?}");
}

#[tokio::test]
async fn a_hundred_calls_go_at_once() {
    let mut script = qron::llm::scripted::Script::new(vec![Scenario::on("").text("fine")]);
    script.latency_ms = 1_000;
    let server = qron::llm::scripted::ScriptedModel::start(script).await.expect("starts");
    let models = models(&settings(&server.base_url()));
    let began = Instant::now();
    let calls: Vec<_> = (0..100)
        .map(|number| {
            let models = models.clone();
            tokio::spawn(async move { models.complete(&request("act", &format!("task {number}"))).await })
        })
        .collect();
    for call in calls {
        call.await.expect("no panic").expect("an answer");
    }
    assert_eq!(server.in_flight_peak(), 100);
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}
