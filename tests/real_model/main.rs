//! Twelve everyday goals, run by the program with a real model. They want an OpenAI-compatible endpoint and quiet cores:
//! `QRON_TEST_MODEL_URL=http://127.0.0.1:18081/v1 QRON_TEST_MODEL=qwen2.5-coder-1.5b cargo test --test real_model -- --ignored --nocapture`
//!
//! The test fails when a wrong result is called a success, or fewer than ten goals are reached. It prints calls, tokens and
//! time of each goal.

#[path = "../it/support/mod.rs"]
mod support;

mod goals;
mod program;
mod site;

use goals::GOALS;
use program::{Finished, Program};

/// Goals that must be reached.
const LEAST_RIGHT: usize = 10;

#[tokio::test]
#[ignore = "wants a real model: QRON_TEST_MODEL_URL"]
async fn everyday_goals_are_reached() {
    let site = site::start().await;
    let program = Program::start().await;
    let only = std::env::var("QRON_TEST_GOALS").unwrap_or_default();
    let chosen = GOALS.iter().filter(|goal| goal.name.contains(only.as_str()));
    let (mut right, mut false_successes, mut finished) = (0, Vec::new(), Vec::new());
    for goal in chosen {
        let mut last = None;
        for text in goal.texts {
            last = Some(program.run(&text.replace("SITE", &site)).await);
        }
        let task = last.expect("a goal has a text");
        let is_right = goal.is_right(&task);
        let verdict = match (is_right, task.status.as_str()) {
            (true, _) => "right",
            (false, "completed") => "FALSE SUCCESS",
            (false, _) => "failed",
        };
        right += usize::from(is_right);
        if verdict == "FALSE SUCCESS" {
            false_successes.push(goal.name);
        }
        println!("{verdict:14} {:18} {task}", goal.name);
        finished.push(task);
    }
    let of = finished.len();
    println!("{right} of {of} right, {} false successes; medians: {}", false_successes.len(), medians(&finished));
    assert!(false_successes.is_empty(), "wrong results that were called successes: {false_successes:?}");
    assert!(of < GOALS.len() || right >= LEAST_RIGHT, "{right} of {of} goals were reached");
}

fn medians(finished: &[Finished]) -> String {
    let median = |measure: fn(&Finished) -> f64| {
        let mut measured: Vec<f64> = finished.iter().map(measure).collect();
        measured.sort_by(f64::total_cmp);
        measured.get(measured.len() / 2).copied().unwrap_or_default()
    };
    let (calls, tokens) = (median(|task| task.calls), median(|task| task.tokens));
    format!("{calls} calls, {tokens} tokens, {:.0} s", median(|task| task.seconds))
}
