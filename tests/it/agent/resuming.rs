//! Runs that are cut off and go on.

use qron::domain::failure::FailureClass;
use serde_json::json;

use super::bed::{Bed, Traces, planned};

#[tokio::test]
async fn a_call_cut_off_under_way_is_recorded_as_started_and_not_made_again() {
    let bed = Bed::new(Vec::new()).await;
    let task = planned(
        "deliver",
        &json!([
            {"id": "a", "tool": "deliver"},
            {"id": "b", "tool": "deliver", "arguments": {"hang": true}, "depends_on": ["a"]},
        ]),
    );
    let traces = Traces::default();
    {
        let run = bed.agent.run(&task, &bed.profile, None, &traces);
        let both_called = async {
            bed.effects.another().await;
            bed.effects.another().await;
        };
        tokio::select! {
            _ = run => panic!("the second call never returns"),
            () = both_called => {}
        }
    }
    let next = Traces::default();
    let outcome = bed.agent.run(&task, &bed.profile, traces.last_state(), &next).await;
    let failure = outcome.result.expect_err("an unknown outcome");
    assert!(failure.class == FailureClass::Permanent && failure.message.contains("outcome unknown"), "{failure}");
    assert_eq!(bed.effects.keys(), [format!("{}:a#1", task.id), format!("{}:b#1", task.id)]);
    assert!(next.kinds().contains(&"resumed".to_owned()));
}

#[tokio::test]
async fn a_retry_goes_on_after_the_done_steps_with_the_same_idempotency_key() {
    let bed = Bed::new(Vec::new()).await;
    let task = planned(
        "deliver",
        &json!([
            {"id": "a", "tool": "deliver"},
            {"id": "b", "tool": "deliver", "arguments": {"fail": "transient"}, "depends_on": ["a"]},
        ]),
    );
    let (outcome, traces) = bed.run(&task).await;
    let failure = outcome.result.expect_err("a passing failure");
    assert_eq!((failure.class, failure.step.as_deref()), (FailureClass::Transient, Some("b")));
    let outcome = bed.agent.run(&task, &bed.profile, traces.last_state(), &Traces::default()).await;
    assert_eq!(outcome.spent.steps, 2);
    let (a, b) = (format!("{}:a#1", task.id), format!("{}:b#1", task.id));
    assert_eq!(bed.effects.keys(), [a, b.clone(), b]);
}

#[tokio::test]
async fn a_run_whose_state_cannot_be_recorded_stops_before_it_takes_effect() {
    let bed = Bed::new(Vec::new()).await;
    let traces = Traces { refuse_from: Some(1), ..Traces::default() };
    let task = planned("deliver", &json!([{"id": "a", "tool": "deliver"}]));
    let outcome = bed.agent.run(&task, &bed.profile, None, &traces).await;
    assert_eq!(outcome.result.as_ref().expect_err("a stop").message, "the claim was lost");
    assert!(bed.effects.keys().is_empty() && outcome.memory.is_none());
}

#[tokio::test]
async fn results_of_one_moment_share_a_checkpoint() {
    let bed = Bed::new(Vec::new()).await;
    let steps: Vec<_> = (0..8).map(|n| json!({"id": format!("s{n}"), "tool": "page"})).collect();
    let (outcome, traces) = bed.run(&planned("read", &json!(steps))).await;
    assert!(outcome.result.is_ok());
    let written = traces.checkpoints.lock().expect("checkpoints").len();
    assert!(written <= 4, "{written} for eight results");
}

#[tokio::test]
async fn an_unreadable_checkpoint_is_told_and_the_run_starts_over() {
    let bed = Bed::new(Vec::new()).await;
    let traces = Traces::default();
    let task = planned("deliver", &json!([{"id": "a", "tool": "deliver"}]));
    let outcome = bed.agent.run(&task, &bed.profile, Some(json!({"version": 99})), &traces).await;
    assert!(outcome.result.is_ok());
    let events = traces.events.lock().expect("events");
    let discarded = events.iter().find(|event| event.kind == "checkpoint_discarded").expect("told");
    assert!(discarded.message.contains("version 99"), "{}", discarded.message);
}
