//! From a task to its outcome.

use std::time::{Duration, Instant};

use qron::domain::failure::{BudgetLimit, FailureClass};
use qron::llm::scripted::{RecordedRequest, Reply, Scenario, Script, Turn};
use serde_json::{Value, json};

use super::bed::{Bed, Traces, judged, plan, planned, success, task, written};
use crate::support::qdrant_url;

#[tokio::test]
async fn a_plan_of_tool_steps_runs_without_asking_the_model() {
    let bed = Bed::new(Vec::new()).await;
    let steps = json!([
        {"id": "f", "tool": "calculate", "arguments": {"expression": "10!"}},
        {"id": "w", "tool": "write_file", "arguments": {"path": "f.txt", "content": "10! = ${f.value}"}},
        {"id": "r", "tool": "read_file", "arguments": {"path": "f.txt"}, "depends_on": ["w"]},
    ]);
    let (outcome, traces) = bed.run(&planned("factorial of 10", &steps)).await;
    let result = outcome.result.expect("success");
    assert!(result["output"].to_string().contains("10! = 3628800"), "{result}");
    assert_eq!((outcome.spent.steps, outcome.spent.model_calls, bed.model.requests().len()), (3, 0, 0));
    let kinds = traces.kinds();
    assert_eq!(kinds.iter().filter(|kind| *kind == "step_finished").count(), 3, "{kinds:?}");
    let progress = traces.checkpoints.lock().expect("checkpoints").last().expect("one").progress.clone();
    assert_eq!((progress.done, progress.total), (3, 3));
    assert_eq!(traces.announced.into_inner(), 0, "its checkpoints make it known");
}

#[tokio::test]
async fn a_goal_is_planned_carried_out_with_judgement_and_answered() {
    let steps = [
        written("a", "calculate", &json!({"expression": "6*7"}), &[]),
        judged("b", "Write ${a} into a file", &["write_file"]),
    ];
    let bed = Bed::new(vec![
        Scenario::on("the answer").purpose("plan").json(plan(&steps)),
        Scenario::on("the answer")
            .purpose("act")
            .call("write_file", json!({"path": "answer.txt", "content": "42"}))
            .text("written to answer.txt"),
        Scenario::on("the answer").purpose("answer").json(success("42")),
    ])
    .await;
    let (outcome, traces) = bed.run(&task("Find the answer and write it down")).await;
    assert_eq!(outcome.result.expect("success")["output"], json!("42"));
    assert_eq!((outcome.spent.steps, outcome.spent.model_calls, outcome.spent.usage.total()), (2, 4, 480));
    let kinds = traces.kinds();
    for kind in ["planned", "step_started", "tool_called", "step_finished", "model_called"] {
        assert!(kinds.iter().any(|noted| noted == kind), "{kind} is missing in {kinds:?}");
    }
    assert_eq!(traces.announced.into_inner(), 1, "before the first call to the model");
}

#[tokio::test]
async fn a_failed_step_is_planned_around() {
    let bed = Bed::new(vec![
        Scenario::on("deliver").purpose("plan").json(plan(&[
            written("ok", "calculate", &json!({"expression": "1+1"}), &[]),
            written("bad", "deliver", &json!({"fail": "permanent"}), &[]),
            written("never", "deliver", &json!({}), &["bad"]),
        ])),
        Scenario::on("deliver")
            .purpose("replan")
            .contains("bad: deliver: FAILED: permanent: no such address")
            .contains("never: deliver: not run, because bad failed")
            .json(plan(&[written("good", "deliver", &json!({"what": "${ok}"}), &[])])),
        Scenario::on("deliver").purpose("answer").json(success("delivered")),
    ])
    .await;
    let task = task("deliver it");
    let (outcome, traces) = bed.run(&task).await;
    assert_eq!(outcome.result.expect("success")["output"], json!("delivered"));
    let key = |call: &str| format!("{}:{call}", task.id);
    assert_eq!(bed.effects.keys(), [key("bad#1"), key("good~1#1")]);
    assert!(traces.kinds().contains(&"replanned".to_owned()));
}

#[tokio::test]
async fn what_cannot_begin_says_why_and_leaves_nothing() {
    let bed = Bed::new(Vec::new()).await;
    let (outcome, traces) = bed.run(&planned("x", &json!([{"id": "a", "tool": "fly"}]))).await;
    let failure = outcome.result.expect_err("refused");
    assert!(failure.class == FailureClass::Invalid && failure.message.contains("unknown tool \"fly\""), "{failure}");
    assert!(traces.checkpoints.lock().expect("checkpoints").is_empty());
}

#[tokio::test]
async fn the_budget_of_the_agent_ends_a_run() {
    let mut bed = Bed::new(vec![
        Scenario::on("loop").purpose("plan").json(plan(&[judged("a", "look around", &["nap"])])),
        Scenario::on("loop").purpose("act").call("nap", json!({"ms": 0})),
    ])
    .await;
    bed.profile.budget.max_model_calls = 3;
    let (outcome, _) = bed.run(&task("loop for ever")).await;
    let failure = outcome.result.expect_err("a stop");
    assert_eq!((failure.class, bed.model.requests().len()), (FailureClass::BudgetExceeded, 3), "{failure}");
}

/// Each of the eight answers would take a fifth of the limit: all at once they would take more than one and a half of it.
#[tokio::test]
async fn steps_that_ask_the_model_at_once_stay_within_the_tokens_of_the_agent_together() {
    const MAX: u64 = 20_000;
    let answer = Turn::new(Reply::ToolCalls(vec![("nap".to_owned(), json!({"ms": 0}))])).usage(1_000, 3_000);
    let mut bed = Bed::new(vec![Scenario::on("spend").purpose("act").turn(answer.latency_ms(50))]).await;
    bed.profile.budget.max_tokens = MAX;
    let steps: Vec<Value> = (0..8).map(|n| json!({"id": format!("s{n}"), "instruction": "look around"})).collect();
    let (outcome, _) = bed.run(&planned("spend it all", &json!(steps))).await;
    let failure = outcome.result.expect_err("a stop");
    assert_eq!((failure.class, failure.budget), (FailureClass::BudgetExceeded, Some(BudgetLimit::Tokens)), "{failure}");
    assert!((MAX - 4_000..=MAX).contains(&outcome.spent.usage.total()), "{:?}", outcome.spent);
    assert!((2..5).contains(&bed.model.in_flight_peak()), "{} at once", bed.model.in_flight_peak());
    // The last answer may only be as long as what was left pays for.
    let longest = |request: &RecordedRequest| request.body["max_tokens"].as_u64().expect("a limit");
    let (first, last) = (&bed.model.requests()[0], bed.model.requests().pop().expect("requests"));
    assert!(longest(&last) < longest(first), "{} and {}", longest(first), longest(&last));
}

/// The measure of the LLM compiler paper: eight branches of two steps each, plan and answer from a model with latency.
struct EightWide {
    took: Duration,
    critical_path: Duration,
    /// What it would take with one step after the other.
    sequential: Duration,
}

async fn eight_wide(runs: usize) -> EightWide {
    let mut steps = Vec::new();
    let mut last = Vec::new();
    for branch in 0_u64..8 {
        let (first, second) = (format!("a{branch}"), format!("b{branch}"));
        steps.push(written(&first, "nap", &json!({"ms": 100 + 40 * branch}), &[]));
        steps.push(written(&second, "nap", &json!({"ms": 200, "after": format!("${{{first}}}")}), &[]));
        last.push(second);
    }
    let last: Vec<&str> = last.iter().map(String::as_str).collect();
    steps.push(written("end", "nap", &json!({"ms": 100}), &last));
    let script = Script::new(vec![
        Scenario::on("wide").purpose("plan").json(plan(&steps)),
        Scenario::on("wide").purpose("answer").json(success("done")),
    ])
    .latency_ms(500);
    let bed = Bed::with(script, &qdrant_url()).await;
    // Other load on the machine only ever adds, so the shortest of a few runs is the measure.
    let mut took = Duration::MAX;
    for run in 0..runs {
        let task = task(&format!("eight wide, run {run}"));
        let started = Instant::now();
        let outcome = bed.agent.run(&task, &bed.profile, None, &Traces::default()).await;
        took = took.min(started.elapsed());
        assert!(outcome.result.is_ok(), "{:?}", outcome.result);
    }
    let critical_path = Duration::from_millis(500 + 380 + 200 + 100 + 500);
    let sequential = Duration::from_millis(500 + (0..8).map(|branch| 100 + 40 * branch + 200).sum::<u64>() + 600);
    assert!(took >= critical_path, "{took:?} is less than the work");
    EightWide { took, critical_path, sequential }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_branches_of_an_eight_wide_plan_run_side_by_side() {
    let EightWide { took, sequential, .. } = eight_wide(1).await;
    assert!(took < sequential / 2, "{took:?}; one after the other is {sequential:?}");
}

/// The bound that is promised, on a machine that does nothing else:
/// `cargo test --test it -- --ignored --nocapture critical_path`
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures time, so it needs a machine of its own"]
async fn an_eight_wide_plan_takes_hardly_longer_than_its_critical_path() {
    let EightWide { took, critical_path, .. } = eight_wide(3).await;
    println!("a plan of eight steps side by side took {took:?}; its longest path is {critical_path:?}");
    let bound = critical_path + critical_path / 20;
    assert!(took <= bound, "{took:?}, at most {bound:?}");
}
