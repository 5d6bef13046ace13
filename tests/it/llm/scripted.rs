//! What other tests and the demo rely on in the scripted server itself.

use std::time::Duration;

use qron::llm::scripted::{Fault, Reply, Scenario, Script, ScriptedModel, Turn};
use serde_json::{Value, json};

async fn post(model: &ScriptedModel, purpose: &str, text: &str) -> (u16, Value) {
    qron_tls();
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let body = json!({ "model": "m", "messages": [{ "role": "user", "content": text }] });
    let url = format!("{}/chat/completions", model.base_url());
    let request = client.post(url).header("x-qron-purpose", purpose).json(&body);
    let response = request.send().await.expect("a response");
    (response.status().as_u16(), response.json().await.expect("JSON"))
}

fn qron_tls() {
    // A second installation is refused, which is fine: the first one is the same.
    drop(rustls::crypto::ring::default_provider().install_default());
}

fn content(answer: &(u16, Value)) -> &str {
    answer.1["choices"][0]["message"]["content"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn turns_are_counted_for_each_goal_and_the_last_one_repeats() {
    let scenario = Scenario::on("load").purpose("plan").text("first").text("second");
    let model = ScriptedModel::start(Script::new(vec![scenario])).await.expect("starts");
    for goal in ["load 1", "load 2"] {
        // What stands around the goal may change from call to call.
        for (turn, said) in ["first", "second", "second"].into_iter().enumerate() {
            let answer = post(&model, "plan", &format!("memory {turn}\n<goal>{goal}</goal>")).await;
            assert_eq!(content(&answer), said, "{goal}, turn {turn}");
        }
    }
    assert_eq!(model.requests().len(), 6);
    assert_eq!(model.requests()[3].goal.as_deref(), Some("load 2"));
}

#[tokio::test]
async fn steps_of_one_goal_that_run_at_once_have_turns_of_their_own() {
    let model = ScriptedModel::start(Script::new(vec![Scenario::on("").text("first").text("second")])).await;
    let model = model.expect("starts");
    for said in ["first", "second"] {
        for step in ["a", "b"] {
            let answer = post(&model, "act", &format!("<goal>g</goal>\n<step>{step}</step>")).await;
            assert_eq!(content(&answer), said, "step {step}");
        }
    }
}

#[tokio::test]
async fn a_scenario_is_chosen_by_goal_purpose_and_text_and_never_by_what_memory_says() {
    let scenarios = vec![
        Scenario::on("factorial").purpose("plan").text("plan of factorial"),
        Scenario::on("report").contains("step two").text("two"),
        Scenario::on("report").text("report"),
    ];
    let model = ScriptedModel::start(Script::new(scenarios)).await.expect("starts");
    let remembered = "earlier: factorial of 10\n<goal>the report</goal>";
    assert_eq!(content(&post(&model, "plan", remembered).await), "report");
    assert_eq!(content(&post(&model, "act", "<goal>the report</goal> step two").await), "two");
    assert_eq!(content(&post(&model, "plan", "please: factorial of 10").await), "plan of factorial");
    let (status, body) = post(&model, "act", "<goal>factorial</goal>").await;
    assert_eq!(status, 400);
    assert!(body["error"]["message"].as_str().is_some_and(|message| message.contains("no scenario fits")), "{body}");
}

#[tokio::test]
async fn a_fault_goes_away_after_its_times() {
    let scenario = Scenario::on("").fault(Fault::ServerError, 2).turn(Turn::new(Reply::Text("fine".to_owned())));
    let model = ScriptedModel::start(Script::new(vec![scenario])).await.expect("starts");
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(post(&model, "act", "x").await.0);
    }
    assert_eq!(statuses, [500, 500, 200, 200]);
}

#[tokio::test]
async fn requests_that_nobody_waits_for_are_no_longer_in_flight() {
    let scenario = Scenario::on("").fault(Fault::Hang, 1);
    let model = ScriptedModel::start(Script::new(vec![scenario])).await.expect("starts");
    {
        let hanging = post(&model, "act", "x");
        tokio::pin!(hanging);
        while model.in_flight() == 0 {
            tokio::select! {
                answer = &mut hanging => panic!("answered: {answer:?}"),
                () = tokio::time::sleep(Duration::from_millis(1)) => {}
            }
        }
    }
    let gone = async {
        while model.in_flight() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone).await.expect("the server notices");
    assert_eq!(model.in_flight_peak(), 1);
}
