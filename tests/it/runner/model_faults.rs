//! Models that misbehave towards some tasks: each of these ends in a named class, and the others do not notice.

use qron::domain::failure::FailureClass;
use qron::domain::task::{Task, TaskStatus};
use qron::llm::scripted::{Fault, Scenario, Script, ScriptedModel};
use serde_json::json;

use crate::support::eventually;
use crate::support::world::{World, agent, sum};

const HEALTHY: usize = 20;

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_of_a_model_ends_in_its_class_and_disturbs_no_other_task() {
    let faults = [
        ("hanging", Fault::Hang, FailureClass::Timeout),
        ("dripping", Fault::SlowDrip { bytes: 1, pause_ms: 100 }, FailureClass::Timeout),
        ("malformed", Fault::MalformedJson, FailureClass::Transient),
        ("shapeless", Fault::WrongSchema, FailureClass::Permanent),
        ("inventive", Fault::UnknownTool, FailureClass::Permanent),
        ("silent", Fault::EmptyChoices, FailureClass::Transient),
        ("verbose", Fault::HugeBody { bytes: 10 << 20 }, FailureClass::Transient),
        ("endless", Fault::EndlessToolLoop, FailureClass::Permanent),
        ("broken", Fault::ServerError, FailureClass::Transient),
        ("cut", Fault::CutStream, FailureClass::Transient),
    ];
    // A server that asks to slow down is waited for at no charge.
    let outages = [("limited", Fault::RateLimited { retry_after_s: None })];
    let told =
        faults.iter().map(|(goal, fault, _)| (*goal, fault)).chain(outages.iter().map(|(goal, fault)| (*goal, fault)));
    let mut scenarios: Vec<Scenario> =
        told.map(|(goal, fault)| Scenario::on(goal).fault(fault.clone(), u32::MAX)).collect();
    let step = json!({"id": "s1", "tool": "calculate", "arguments": "{\"expression\": \"10!\"}", "instruction": null,
        "depends_on": [], "capability": null, "estimated_s": null});
    scenarios.push(Scenario::on("fine").purpose("plan").json(json!({"analysis": "clear", "steps": [step]})));
    scenarios
        .push(Scenario::on("fine").purpose("answer").json(json!({"success": true, "answer": "1", "reason": "seen"})));
    let model = ScriptedModel::start(Script::new(scenarios)).await.expect("a model");
    let world = World::new(&[
        ("MODEL__BASE_URL", &model.base_url()),
        ("MODEL__API_KEY", "none"),
        ("MODEL__TIMEOUT_MS", "3000"),
        // Whether many failures close a model for all is another question, and another test.
        ("MODEL__CIRCUIT_FAILURES", "0"),
    ])
    .await;

    let task_for = |goal: &str| {
        sum(goal).with(|task| {
            task.spec.plan = None;
            task.spec.max_attempts = 1;
        })
    };
    let ill: Vec<Task> = faults.iter().map(|(goal, ..)| task_for(goal)).collect();
    let waiting: Vec<Task> = outages.iter().map(|(goal, _)| task_for(goal)).collect();
    let healthy: Vec<Task> = (0..HEALTHY).map(|_| task_for("fine")).collect();
    let tasks: Vec<Task> = ill.iter().chain(&waiting).chain(&healthy).cloned().collect();
    world.insert(&tasks).await;
    let runner = world.runner_of("r1", vec![agent("a", &[], tasks.len())]).await;
    for task in &healthy {
        assert_eq!(world.until(task.id, TaskStatus::Completed).await.state.attempt, 0);
    }
    for (task, (goal, _, class)) in ill.iter().zip(&faults) {
        // That the model answers others shows whose fault the failures of some are.
        let task = eventually(&format!("{goal} has failed"), async || {
            let other = task_for("fine");
            world.insert(std::slice::from_ref(&other)).await;
            world.until(other.id, TaskStatus::Completed).await;
            let task = world.task(task.id).await;
            if task.state.status == TaskStatus::Failed { Ok(task) } else { Err(format!("{:?}", task.state.postponed)) }
        })
        .await;
        assert_eq!(task.state.error.map(|failure| failure.class), Some(*class), "{goal}");
    }
    for (task, (goal, _)) in waiting.iter().zip(&outages) {
        let task = eventually(&format!("{goal} waits for the model"), async || {
            let task = world.task(task.id).await;
            if task.state.postponed.is_some() {
                Ok(task)
            } else {
                Err(format!("{} ({:?})", task.state.status, task.state.error))
            }
        })
        .await;
        assert_eq!(task.state.attempt, 0, "{goal}");
        assert!(world.store.dead_letter(task.id).await.expect("readable").is_none(), "{goal}");
    }
    runner.shutdown().await;
}
