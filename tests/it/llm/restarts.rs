//! What one start learns about a model, the next start knows.

use qron::clock;
use qron::llm::scripted::{Scenario, Script, ScriptedModel};
use serde_json::{Value, json};

use crate::support::app::TestApp;
use crate::support::{eventually, unique_prefix};

/// Where the store keeps the records.
const SCOPE: &str = "qron:models";

fn asks_by_schema(body: &Value) -> bool {
    body["response_format"]["type"] == "json_schema"
}

/// An endpoint that refuses schemas and has a plan for goals with "fine".
async fn endpoint() -> ScriptedModel {
    let step = json!({"id": "s1", "tool": "calculate", "arguments": "{\"expression\": \"10!\"}", "instruction": null,
        "depends_on": [], "capability": null, "estimated_s": null});
    let plan = json!({"analysis": "clear", "steps": [step]});
    let answer = json!({"success": true, "answer": "1", "reason": "seen"});
    let scenarios =
        vec![Scenario::on("fine").purpose("plan").json(plan), Scenario::on("fine").purpose("answer").json(answer)];
    let script =
        Script::new(scenarios).refusing_when(asks_by_schema, 400, "response_format json_schema is not supported");
    ScriptedModel::start(script).await.expect("a model")
}

/// The record of the model at the endpoint, as the store has it.
async fn record(app: &TestApp, key: &str) -> Option<Value> {
    let store = app.app.as_ref().expect("it runs").store();
    store.state(SCOPE, key, clock::now()).await.expect("readable")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_asks_in_the_form_that_an_earlier_start_learnt() {
    let model = endpoint().await;
    let (url, prefix) = (model.base_url(), unique_prefix());
    let key = format!("{url} gpt-5-mini v2");
    let settings = [("QRON__STORE__PREFIX", prefix.as_str()), ("QRON__MODEL__BASE_URL", &url)];
    let mut first = None;
    for (start, refused) in [("the first", 1), ("the second", 1), ("one with a record that cannot be read", 2)] {
        let app = TestApp::with(&settings).await;
        let task = app.submit(&json!({"goal": "a fine day of numbers"})).await;
        app.until(&task, "completed").await;
        let requests = model.requests();
        let count = requests.iter().filter(|request| asks_by_schema(&request.body)).count();
        assert_eq!(count, refused, "{start} start");

        let learnt = eventually("the record is written", async || {
            record(&app, &key).await.filter(|record| record["dialect"].is_object())
        })
        .await;
        assert_eq!(learnt["dialect"]["schema"], "json_object_with_schema", "{learnt}");
        assert_eq!(*first.get_or_insert_with(|| learnt.clone()), learnt, "{start} start");
        if start == "the second" {
            let store = app.app.as_ref().expect("it runs").store();
            store.set_state(SCOPE, &key, &json!({"dialect": 5}), None).await.expect("set");
        }
        app.stop().await;
    }
}
