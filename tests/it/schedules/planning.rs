//! The plan that the runs of a schedule begin with, over the API and on the command line.

use std::collections::BTreeMap;

use qron::clock;
use qron::domain::id::{TaskId, derived};
use qron::domain::memory::{Memory, RunFacts, goal_hash};
use qron::domain::plan_reuse::{Moment, PlannedRun};
use qron::llm::scripted::{Scenario, Script, ScriptedModel};
use qron::store::MemoryOf;
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::support::{World, define, qron};
use crate::support::eventually;

/// The memory of a successful run of `schedule` whose plan fetches `url`.
fn memory(schedule: &str, number: u64, url: &str) -> Memory {
    let plan = json!([{"id": "page", "tool": "http_request", "arguments": {"url": url}}]);
    let planned = PlannedRun {
        plan: serde_json::from_value(plan).expect("a plan"),
        goal: "read it".to_owned(),
        variables: BTreeMap::new(),
        moment: Moment::default(),
        basis: "b".to_owned(),
    };
    Memory {
        id: derived(&["memory", schedule, &number.to_string()]),
        task_id: TaskId::Number(number),
        agent: "a".to_owned(),
        user: None,
        goal: "read it".to_owned(),
        succeeded: true,
        summary: String::new(),
        outline: String::new(),
        at: clock::now(),
        schedule_id: Some(schedule.to_owned()),
        goal_hash: Some(goal_hash("read it")),
        form: None,
        facts: Some(RunFacts { planned: Some(planned), ..RunFacts::default() }),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_is_shown_pinned_and_forgotten() {
    let world = World::new().await;
    let replica = world.replica().await;
    define(&replica, "news", &json!({"every": 86_400, "task": {"goal": "read the news"}})).await;
    let shown = async |path: &str| replica.get(&format!("/schedules/news/plan{path}")).await;
    let done = async |path: &str| replica.post(&format!("/schedules/news/plan{path}"), &Value::Null).await;
    assert_eq!(replica.get("/schedules/none/plan").await.0, StatusCode::NOT_FOUND);
    let (status, plan) = shown("").await;
    assert_eq!((status, &plan["state"], &plan["plan"]), (StatusCode::OK, &json!("learning"), &Value::Null));
    let (status, refusal) = done("/pin").await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert!(refusal["detail"].as_str().is_some_and(|text| text.contains("two successful runs")), "{refusal}");

    for number in 1..=2 {
        world.store.remember(&memory("news", number, "http://x.example"), None).await.expect("remembered");
    }
    let (_, plan) = shown("").await;
    assert_eq!((&plan["state"], &plan["runs"]), (&json!("adopted"), &json!(2)));
    assert_eq!(plan["plan"]["steps"][0]["arguments"]["url"], "http://x.example");
    let (ended_well, text, _) = qron(&replica.url(), &["schedules", "plan", "news"]);
    assert!(ended_well && text.contains("adopted") && text.contains("page: http_request"), "{text}");

    let (ended_well, text, errors) = qron(&replica.url(), &["schedules", "plan", "news", "--pin", "--json"]);
    assert!(ended_well, "{errors}");
    let plan: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(plan["state"], "pinned");
    world.store.remember(&memory("news", 3, "http://y.example"), None).await.expect("remembered");
    let (_, plan) = done("/pin").await;
    assert_eq!(plan["plan"]["steps"][0]["arguments"]["url"], "http://x.example", "it stays pinned");
    assert!(plan["pinned_at"].is_string());

    let (status, plan) = done("/forget").await;
    assert_eq!((status, &plan["state"], &plan["plan"]), (StatusCode::OK, &json!("learning"), &Value::Null));
    eventually("both decisions are in the history", async || {
        let events = world.store.events(None, 1_000).await.expect("events");
        let has = |kind: &str| events.iter().any(|event| event.kind == kind);
        if has("plan_pinned") && has("plan_forgotten") { Ok(()) } else { Err(format!("{events:?}")) }
    })
    .await;
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_third_firing_asks_no_model_whichever_replica_runs_it() {
    let steps = json!([
        {"id": "sum", "tool": "calculate", "arguments": "{\"expression\": \"19 + 23\"}", "instruction": null,
            "tools": [], "depends_on": [], "capability": null, "estimated_s": null},
        {"id": "say", "tool": null, "arguments": "{}", "instruction": "Say whether ${sum.value} is even", "tools": [],
            "depends_on": [], "capability": null, "estimated_s": null},
    ]);
    let script = Script::new(vec![
        Scenario::on("even").purpose("plan").json(json!({"analysis": "clear", "steps": steps, "answer": "say"})),
        Scenario::on("even").purpose("act").text("It is even."),
    ]);
    let model = ScriptedModel::start(script).await.expect("a scripted model");
    let world = World::new().await;
    let replicas = [world.replica_asking(model.base_url()).await, world.replica_asking(model.base_url()).await];
    define(&replicas[0], "sums", &json!({"every": 86_400, "task": {"goal": "Is the sum of 19 and 23 even?"}})).await;
    for number in 1..=3_usize {
        let (_, fired) = replicas[number % 2].post("/schedules/sums/trigger", &Value::Null).await;
        let id = fired["task"]["id"].as_str().expect("a task").to_owned();
        let task = eventually("the firing completes", async || {
            let (_, task) = replicas[0].get(&format!("/tasks/{id}")).await;
            if task["status"] == "completed" { Ok(task) } else { Err(task.to_string()) }
        })
        .await;
        assert_eq!(
            (&task["result"]["output"], &task["unchanged"]),
            (&json!("It is even."), &json!(number == 3)),
            "{task}"
        );
        eventually("it is remembered", async || {
            let memories = world.store.memories_of(MemoryOf::Schedule("sums"), None, 9).await.expect("memories");
            if memories.len() == number { Ok(()) } else { Err(memories.len().to_string()) }
        })
        .await;
        if number == 3 {
            let (ended_well, text, _) = qron(&replicas[1].url(), &["show", &id]);
            assert!(ended_well && text.contains("unchanged"), "{text}");
        }
    }
    let asked: Vec<String> = model.requests().iter().map(|request| request.purpose.clone()).collect();
    assert_eq!(asked, ["plan", "act", "plan", "act"]);
    for replica in replicas {
        replica.stop().await;
    }
}
