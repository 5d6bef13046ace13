//! Memory: written after a run, shown before the next plan, never in the way.

use qdrant_embedded::Server;
use qron::llm::scripted::{Scenario, Script};
use serde_json::json;

use super::bed::{Bed, plan, planned, success, task, written};
use crate::support::embedded_settings;

#[tokio::test]
async fn what_worked_and_what_failed_is_shown_before_the_next_plan() {
    let steps = [written("a", "calculate", &json!({"expression": "1+1"}), &[])];
    let bed = Bed::new(vec![
        Scenario::on("penguins").purpose("plan").json(plan(&steps)),
        Scenario::on("penguins").purpose("answer").json(success("two penguins")),
    ])
    .await;
    let failing = planned(
        "count the penguins abroad",
        &json!([
            {"id": "x", "tool": "deliver", "arguments": {"fail": "permanent"}},
        ]),
    );
    assert!(bed.run(&failing).await.0.result.is_err());
    assert!(bed.run(&task("count the penguins at home")).await.0.result.is_ok());
    assert!(bed.run(&task("count the penguins everywhere")).await.0.result.is_ok());
    let requests = bed.model.requests();
    let asked = requests.iter().rfind(|request| request.purpose == "plan").expect("a plan");
    let user = asked.body["messages"][1]["content"].as_str().expect("a text");
    assert!(user.contains("<data name=\"past-success\">") && user.contains("It succeeded: two penguins"), "{user}");
    assert!(user.contains("<data name=\"past-failure\">") && user.contains("x: deliver: FAILED"), "{user}");
}

#[tokio::test]
async fn a_task_is_remembered_once_as_it_ended_last_and_not_while_it_will_be_tried_again() {
    let bed = Bed::new(Vec::new()).await;
    let recalled = || async { bed.store.recall("walrus", None, None, 9).await.expect("memories") };
    let passing = json!([{"id": "x", "tool": "deliver", "arguments": {"fail": "transient"}}]);
    let first = planned("feed the walrus", &passing);
    assert!(bed.run(&first).await.0.result.is_err());
    assert!(recalled().await.is_empty());
    let last = first.clone().with(|task| task.state.attempt = first.spec.max_attempts - 1);
    assert!(bed.run(&last).await.0.result.is_err());
    let memories = recalled().await;
    assert!(memories.len() == 1 && !memories[0].memory.succeeded, "{memories:?}");
    let mended = last.with(|task| task.spec.plan = planned("", &json!([{"id": "x", "tool": "deliver"}])).spec.plan);
    assert!(bed.run(&mended).await.0.result.is_ok());
    let memories = recalled().await;
    assert!(memories.len() == 1 && memories[0].memory.succeeded, "{memories:?}");
}

#[tokio::test]
async fn a_store_that_is_gone_costs_the_memory_and_not_the_run() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(&embedded_settings(folder.path())).await.expect("a server");
    let steps = [written("a", "calculate", &json!({"expression": "1+1"}), &[])];
    let script = Script::new(vec![
        Scenario::on("alone").purpose("plan").json(plan(&steps)),
        Scenario::on("alone").purpose("answer").json(success("2")),
    ]);
    let bed = Bed::with(script, &server.url()).await;
    server.shutdown().await.expect("it stops");
    let (outcome, traces) = bed.run(&task("do it alone")).await;
    assert_eq!(outcome.result.expect("success")["output"], json!("2"));
    let kinds = traces.kinds();
    assert!(kinds.contains(&"recall_failed".to_owned()) && kinds.contains(&"remember_failed".to_owned()), "{kinds:?}");
}
