//! Servers that answer only so many calls at once, and queue the others.

use std::time::{Duration, Instant};

use qron::domain::failure::FailureClass;
use qron::llm::scripted::{Fault, Scenario, Script, ScriptedModel};
use qron::llm::{ModelError, Models};

use super::{models, request, settings};

/// Time limit of a call.
const TIME_LIMIT_MS: u64 = 1_500;

/// A server with one place, whose calls take 40 % of their time limit.
async fn one_at_a_time(scenarios: Vec<Scenario>) -> ScriptedModel {
    let script = Script::new(scenarios).latency_ms(TIME_LIMIT_MS * 4 / 10).places(1);
    ScriptedModel::start(script).await.expect("starts")
}

fn limited(server: &ScriptedModel) -> Models {
    let mut settings = settings(&server.base_url());
    (settings.timeout_ms, settings.circuit_failures) = (TIME_LIMIT_MS, 1);
    models(&settings)
}

/// Asks `count` questions at once.
async fn asked_at_once(models: &Models, count: usize) -> Vec<Result<String, ModelError>> {
    let asked = (0..count).map(|number| {
        let models = models.clone();
        tokio::spawn(async move { models.complete(&request("act", &format!("task {number}"))).await })
    });
    let mut answers = Vec::new();
    for answer in asked.collect::<Vec<_>>() {
        answers.push(answer.await.expect("no panic").map(|reply| reply.content));
    }
    answers
}

#[tokio::test]
async fn a_server_that_answers_one_call_at_a_time_answers_all_of_them() {
    let server = one_at_a_time(vec![Scenario::on("").text("fine")]).await;
    let models = limited(&server);
    for answer in asked_at_once(&models, 8).await {
        assert_eq!(answer.expect("an answer"), "fine");
    }
    let sent = server.requests().len();
    assert!((9..=16).contains(&sent), "{sent} requests");

    // What was learnt holds for the next ones: none of them is asked twice.
    for answer in asked_at_once(&models, 4).await {
        assert_eq!(answer.expect("an answer"), "fine");
    }
    assert_eq!(server.requests().len(), sent + 4);
}

#[tokio::test]
async fn a_model_that_hangs_for_all_ends_as_an_outage_after_one_repeat() {
    let server = ScriptedModel::start(Script::new(vec![Scenario::on("").fault(Fault::Hang, 1)])).await.expect("starts");
    let mut settings = settings(&server.base_url());
    settings.timeout_ms = 300;
    let began = Instant::now();
    for answer in asked_at_once(&models(&settings), 4).await {
        let error = answer.expect_err("a failure");
        assert_eq!(error.failure.class, FailureClass::Unavailable, "{error}");
    }
    assert!(server.requests().len() <= 8, "{}", server.requests().len());
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test]
async fn one_call_that_hangs_among_many_is_its_own_fault_and_slows_no_other() {
    let scenarios = vec![Scenario::on("endless").fault(Fault::Hang, 1), Scenario::on("").text("fine")];
    let server = ScriptedModel::start(Script::new(scenarios).latency_ms(100)).await.expect("starts");
    let mut settings = settings(&server.base_url());
    settings.timeout_ms = TIME_LIMIT_MS;
    let models = models(&settings);
    let endless = tokio::spawn({
        let models = models.clone();
        async move { models.complete(&request("act", "endless")).await }
    });
    while !endless.is_finished() {
        for answer in asked_at_once(&models, 10).await {
            assert_eq!(answer.expect("an answer"), "fine");
        }
    }
    let error = endless.await.expect("no panic").expect_err("a failure");
    assert_eq!(error.failure.class, FailureClass::Timeout, "{error}");
    let endless = server.requests().iter().filter(|request| request.goal.as_deref() == Some("endless")).count();
    assert_eq!(endless, 1, "it is not asked again");
    for answer in asked_at_once(&models, 50).await {
        assert_eq!(answer.expect("an answer"), "fine");
    }
    assert!(server.in_flight_peak() >= 50, "{}: the others have no limit", server.in_flight_peak());
}

#[tokio::test]
async fn a_run_that_is_cancelled_leaves_the_queue() {
    let server = one_at_a_time(vec![Scenario::on("").text("fine")]).await;
    let models = limited(&server);
    drop(asked_at_once(&models, 4).await);
    let sent = server.requests().len();
    let waiting: Vec<_> = (0..5)
        .map(|number| {
            let models = models.clone();
            tokio::spawn(async move { models.complete(&request("act", &format!("given up {number}"))).await })
        })
        .collect();
    while server.requests().len() == sent {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    for call in &waiting {
        call.abort();
    }
    for call in waiting {
        assert!(call.await.expect_err("cancelled").is_cancelled());
    }
    let began = Instant::now();
    assert_eq!(models.complete(&request("act", "next")).await.expect("an answer").content, "fine");
    assert!(began.elapsed() < Duration::from_millis(TIME_LIMIT_MS), "{:?}", began.elapsed());
}
