//! A model that misbehaves: every run ends, in a named class.

use qron::domain::failure::FailureClass;
use qron::llm::scripted::{Fault, Scenario, Script};
use serde_json::json;

use super::bed::{Bed, judged, plan, success, task};
use crate::support::qdrant_url;

#[tokio::test]
async fn every_fault_while_planning_ends_in_its_class() {
    let faults = [
        (Fault::RateLimited { retry_after_s: Some(1) }, FailureClass::Unavailable),
        (Fault::ServerError, FailureClass::Unavailable),
        (Fault::CutStream, FailureClass::Unavailable),
        (Fault::Hang, FailureClass::Unavailable),
        (Fault::InsufficientQuota, FailureClass::Unavailable),
        (Fault::MalformedJson, FailureClass::Transient),
        (Fault::Status(400, "nonsense"), FailureClass::Invalid),
    ];
    for (fault, class) in faults {
        let script = Script::new(vec![Scenario::on("").fault(fault.clone(), 1_000)]);
        let patience_ms = if fault == Fault::Hang { 1_000 } else { 60_000 };
        let bed = Bed::with_patience(script, &qdrant_url(), patience_ms).await;
        let (outcome, _) = bed.run(&task("anything")).await;
        assert_eq!(outcome.result.expect_err("a failure").class, class, "{fault:?}");
    }
}

#[tokio::test]
async fn nonsense_while_planning_leaves_one_step_for_the_whole_goal() {
    let bed = Bed::new(vec![
        Scenario::on("").purpose("plan").fault(Fault::WrongSchema, 1_000),
        Scenario::on("").purpose("act").contains("Reach the goal.").text("42"),
        Scenario::on("").purpose("answer").json(success("42")),
    ])
    .await;
    let (outcome, traces) = bed.run(&task("anything")).await;
    assert_eq!(outcome.result.expect("success")["output"], json!("42"));
    assert!(traces.kinds().contains(&"answer_rejected".to_owned()));
}

#[tokio::test]
async fn an_invalid_plan_is_mended_by_the_model() {
    let circular = plan(&[judged("a", "use ${b}", &[]), judged("b", "use ${a}", &[])]);
    let bed = Bed::new(vec![
        Scenario::on("").purpose("plan").json(circular).json(plan(&[judged("a", "go", &[])])),
        Scenario::on("").purpose("act").text("42"),
        Scenario::on("").purpose("answer").json(success("42")),
    ])
    .await;
    let (outcome, _) = bed.run(&task("anything")).await;
    assert!(outcome.result.is_ok(), "{:?}", outcome.result);
    assert!(bed.model.requests()[1].body.to_string().contains("the plan has a cycle"));
}

#[tokio::test]
async fn endless_tool_calls_and_unknown_tools_end_within_the_limits_of_the_step() {
    for fault in [Fault::EndlessToolLoop, Fault::UnknownTool] {
        let mut bed = Bed::new(vec![
            Scenario::on("").purpose("plan").json(plan(&[judged("a", "go", &["page"])])),
            Scenario::on("").purpose("act").fault(fault.clone(), 1_000),
        ])
        .await;
        (bed.profile.budget.max_replans, bed.profile.tools) = (0, vec!["page".to_owned()]);
        let (outcome, _) = bed.run(&task("anything")).await;
        let failure = outcome.result.expect_err("a failure");
        assert_eq!(failure.class, FailureClass::Permanent, "{fault:?}");
        assert!(failure.message.contains("repeats itself"), "{fault:?}: {failure}");
        assert!(bed.model.requests().len() <= 13, "{fault:?}");
    }
}
