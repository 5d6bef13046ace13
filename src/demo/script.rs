//! The script of the model: its answers for each task of the demo.

use serde_json::{Value, json};

use super::endpoint::Endpoint;
use super::tasks::{FACTORIAL, GONE, POWER, REPORT, TICKETS, WEATHER};
use crate::llm::scripted::{Scenario, Script};

/// Time before each answer, long enough to watch the steps.
const LATENCY_MS: u64 = 400;

/// The script. Its plans fetch pages of `endpoint`.
pub(super) fn script(endpoint: &Endpoint) -> Script {
    let mut scenarios = Vec::new();
    let factorial = vec![tool("product", "calculate", &json!({ "expression": "10!" }))];
    scenarios.extend(task(FACTORIAL, &factorial, &answer("10! = 3628800", "calculated exactly")));
    let power = vec![tool("power", "calculate", &json!({ "expression": "2^64" }))];
    scenarios.extend(task(POWER, &power, &answer("2^64 = 18446744073709551616", "calculated exactly")));
    scenarios.extend(task(
        REPORT,
        &report(),
        &answer("total 3660; report.md written and kept as an artifact", "all three steps are done"),
    ));
    let weather = weather(endpoint);
    scenarios.extend(task(WEATHER, &weather, &answer("12 °C on average", "all four stations answered")));
    let tickets = vec![tool("ask", "http_request", &json!({ "url": endpoint.url("/box-office") }))];
    scenarios.extend(task(TICKETS, &tickets, &answer("42 tickets are left", "the box office said so")));
    let gone = vec![tool("fetch", "http_request", &json!({ "url": endpoint.url("/archive/1999.csv") }))];
    let no_steps = json!({ "analysis": "The page does not exist; trying again cannot change that.", "steps": [] });
    let gave_up = json!({ "success": false, "answer": "", "reason": "the archive answers 404: there is no such page" });
    scenarios.push(Scenario::on(GONE).purpose("replan").json(no_steps));
    scenarios.extend(task(GONE, &gone, &gave_up));
    scenarios.extend(fallbacks());
    Script::new(scenarios).latency_ms(LATENCY_MS)
}

/// The scenarios of a task: its plan, and its answer at the end.
fn task(goal: &str, steps: &[Value], answer: &Value) -> [Scenario; 2] {
    let plan = json!({ "analysis": "The goal is clear.", "steps": steps });
    [Scenario::on(goal).purpose("plan").json(plan), Scenario::on(goal).purpose("answer").json(answer.clone())]
}

/// The answers for tasks that people add while the demo runs: they fail with the reason.
fn fallbacks() -> [Scenario; 3] {
    let reason = "this model is scripted and knows only the tasks of the demo: for other tasks set OPENAI_API_KEY or OPENAI_BASE_URL";
    let plan = json!({ "analysis": reason, "steps": [instruction("explain", "Say that the model is scripted.")] });
    let failed = json!({ "success": false, "answer": "", "reason": reason });
    [
        Scenario::on("").purpose("plan").json(plan),
        Scenario::on("").purpose("act").text(reason),
        Scenario::on("").json(failed),
    ]
}

fn instruction(id: &str, text: &str) -> Value {
    json!({
        "id": id, "tool": null, "arguments": "{}", "instruction": text, "depends_on": [], "capability": null,
        "estimated_s": 1,
    })
}

fn report() -> Vec<Value> {
    let text = "# Sales\n\nThe three regions sold for ${total.value} euros together.\n";
    vec![
        tool("total", "calculate", &json!({ "expression": "1250 + 980 + 1430" })),
        tool("write", "write_file", &json!({ "path": "report.md", "content": text })),
        after(
            tool(
                "keep",
                "save_artifact",
                &json!({ "name": "report.md", "media_type": "text/markdown", "content": text }),
            ),
            "write",
        ),
    ]
}

fn weather(endpoint: &Endpoint) -> Vec<Value> {
    let stations = ["north", "east", "south", "west"];
    let request =
        |name: &&str| tool(name, "http_request", &json!({ "url": endpoint.url(&format!("/stations/{name}")) }));
    let sum = stations.map(|name| format!("${{{name}.body.celsius}}")).join(" + ");
    let mut steps: Vec<Value> = stations.iter().map(request).collect();
    steps.push(tool("average", "calculate", &json!({ "expression": format!("({sum}) / 4") })));
    steps
}

fn tool(id: &str, tool: &str, arguments: &Value) -> Value {
    json!({
        "id": id, "tool": tool, "arguments": arguments.to_string(), "instruction": null, "depends_on": [],
        "capability": null, "estimated_s": 1,
    })
}

fn after(mut step: Value, other: &str) -> Value {
    step["depends_on"] = json!([other]);
    step
}

fn answer(answer: &str, reason: &str) -> Value {
    json!({ "success": true, "answer": answer, "reason": reason })
}
