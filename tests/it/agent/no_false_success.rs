//! Answers that must never end as a success: news of failure, quoted data, calls, and models that say nothing.

use qron::llm::scripted::{Reply, Script, Turn};
use serde_json::json;

use super::bad_answers::{DRAFT, calculates, on, run};
use super::bed::{Bed, judged, plan};
use crate::support::qdrant_url;

#[tokio::test]
async fn nothing_that_failed_ends_completed() {
    let call = r#"<tool_call>{"name": "calculate", "arguments": {"expression": "9!"}}</tool_call>"#;
    let thoughts = format!("<think>{DRAFT}");
    let rows = [
        ("always a call", call),
        ("always a call as JSON", r#"{"name": "calculate", "arguments": {"expression": "9!"}}"#),
        ("always thoughts", thoughts.as_str()),
        ("always nothing", ""),
        ("always another shape", r#"{"unexpected": true}"#),
        ("an apology", "I'm sorry, I could not compute that."),
        ("a question", "Which ten do you mean?"),
        ("a declared failure", r#"{"success": false, "reason": "there is no ten"}"#),
        ("an error", r#"{"answer": "41", "error": "overflow"}"#),
        ("failure in lines", "success: false\nanswer: none\nreason: the page is missing"),
        ("failure in a list", "* **success:** `false`\n* \"answer\": none\n* reason: the page is missing"),
        ("not reached", "The goal was not reached."),
        ("failed, with why", "The task failed because the server returned 500."),
        ("cannot be done", "This cannot be done."),
        ("does not exist", "The file does not exist."),
        ("no access, in JSON", r#"{"answer": "I cannot access the page."}"#),
        ("failed, in JSON", r#"{"result": "failed", "reason": "404"}"#),
        ("quoted data", r#"The step gave {"response": "503 Service Unavailable"}, so nothing was delivered."#),
        ("quoted data that looks right", r#"The step gave {"response": "200 OK"}."#),
        ("a call among words", r#"I compute {"name": "calculate", "arguments": {"expression": "9!"}} now."#),
    ];
    let scenarios =
        rows.iter().flat_map(|(name, said)| [on(name, "plan").json(calculates()), on(name, "answer").text(*said)]);
    let bed = Bed::new(scenarios.collect()).await;
    for (name, _) in rows {
        let (outcome, _, calls) = run(&bed, name).await;
        let failure = outcome.result.expect_err(name);
        assert!(!failure.class.is_retryable(), "{name}: {failure}");
        assert!(calls <= 4, "{name}: {calls} calls");
        assert!(!failure.message.contains("breaks the rule"), "{failure}");
    }
}

#[tokio::test]
async fn a_call_of_any_name_is_no_answer_unless_it_declares_the_outcome() {
    let name = "a stray call";
    let call = Turn::new(Reply::ToolCalls(vec![("post".to_owned(), json!({"result": "x"}))]));
    let bed = Bed::new(vec![on(name, "plan").json(calculates()), on(name, "answer").turn(call)]).await;
    let (outcome, _, calls) = run(&bed, name).await;
    let failure = outcome.result.expect_err("no outcome");
    assert!(failure.message.contains("no usable answer") && calls <= 4, "{failure} after {calls} calls");
}

/// The configured model, which is asked when the one of the agent does no good, is not at the endpoint.
#[tokio::test]
async fn a_model_that_is_not_there_does_not_hide_what_another_said() {
    let name = "first prose";
    let prose = "The factorial of 10 is 3628800.";
    let scenarios = ["plan", "act", "answer"].map(|purpose| on(name, purpose).text(prose));
    let script = Script::new(scenarios.to_vec()).refusing_when(
        |body| body["model"] != "first prose",
        404,
        "The model does not exist",
    );
    let bed = Bed::with(script, &qdrant_url()).await;
    let (outcome, traces, _) = run(&bed, name).await;
    let result = outcome.result.expect("an answer");
    assert_eq!((&result["output"], &result["confirmed"]), (&json!(prose), &json!(false)));
    assert!(traces.kinds().contains(&"answer_unconfirmed".to_owned()));
    assert!(bed.model.requests().iter().any(|request| request.model != name), "the other was asked");
}

#[tokio::test]
async fn a_step_that_only_names_tools_that_are_not_there_never_has_an_output() {
    let call = r#"<tool_call>{"name": "wolfram", "arguments": {"q": "10!"}}</tool_call>"#;
    let scenarios = vec![
        on("only calls", "plan").json(plan(&[judged("a", "Compute it", &["calculate"])])),
        on("only calls", "act").text(call),
    ];
    let mut bed = Bed::new(scenarios).await;
    bed.profile.budget.max_replans = 0;
    let (outcome, _, _) = run(&bed, "only calls").await;
    let failure = outcome.result.expect_err("a failure");
    assert!(failure.message.contains("wolfram"), "{failure}");
}
