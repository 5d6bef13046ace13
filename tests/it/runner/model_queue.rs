//! A model that answers one call at a time: tasks take turns, and none pays for it.

use qron::domain::task::{Task, TaskStatus};
use qron::llm::scripted::{Scenario, Script, ScriptedModel};
use serde_json::json;

use crate::support::world::{World, agent, planned};

/// Time limit of a call.
const TIME_LIMIT_MS: u64 = 2_000;

#[tokio::test(flavor = "multi_thread")]
async fn eight_due_tasks_share_a_model_that_answers_one_call_at_a_time() {
    let script = Script::new(vec![
        Scenario::on("fine").purpose("act").text("42"),
        Scenario::on("fine").purpose("answer").json(json!({"success": true, "answer": "42", "reason": "seen"})),
    ]);
    let script = script.latency_ms(TIME_LIMIT_MS * 4 / 10).places(1);
    let model = ScriptedModel::start(script).await.expect("a model");
    let time_limit = TIME_LIMIT_MS.to_string();
    let world = World::new(&[
        ("MODEL__BASE_URL", model.base_url().as_str()),
        ("MODEL__TIMEOUT_MS", &time_limit),
        ("MODEL__CIRCUIT_FAILURES", "1"),
    ])
    .await;
    let tasks: Vec<Task> = (0..8)
        .map(|number| planned(&format!("fine {number}"), &json!([{"id": "s1", "instruction": "think"}])))
        .collect();
    world.insert(&tasks).await;
    let runner = world.runner_of("r1", vec![agent("a", &[], 8)]).await;
    for task in &tasks {
        let done = world.until(task.id, TaskStatus::Completed).await;
        assert_eq!((done.state.attempt, done.state.earlier_runs()), (0, 0), "charged: {:?}", done.state);
        let history = world.history(task.id).await;
        assert!(!history.contains(&"postponed".to_owned()), "the circuit opened: {history:?}");
    }
    runner.shutdown().await;
}
