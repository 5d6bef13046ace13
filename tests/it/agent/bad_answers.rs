//! A table of bad answers that real models and servers give, each played to a whole run. What is right in them is used,
//! what is wrong costs at most two calls, and none of them ends as a success that it is not.

use qron::agent::Outcome;
use qron::llm::scripted::{Reply, Scenario, Script, Turn};
use serde_json::{Value, json};

use super::bed::{Bed, Traces, judged, plan, success, task, written};
use crate::support::qdrant_url;

/// The right result of most rows: the factorial of ten, as the tool computes it.
const RIGHT: &str = "3628800";

/// A row of the table.
struct Row {
    name: &'static str,
    scenarios: Vec<Scenario>,
    /// The output of the result.
    output: Value,
    /// Calls of the model: those of a run in which nothing goes wrong, and those that the bad answer costs.
    calls: (usize, usize),
}

/// The goal of a row; no name is part of another in brackets.
fn goal(name: &str) -> String {
    format!("[{name}] What is the factorial of ten?")
}

pub(crate) fn on(name: &'static str, purpose: &'static str) -> Scenario {
    Scenario::on(format!("[{name}]")).purpose(purpose)
}

pub(crate) fn calculates() -> Value {
    plan(&[written("f", "calculate", &json!({"expression": "10!"}), &[])])
}

fn body(message: &Value, finish: &str) -> Turn {
    Turn::new(Reply::Body(json!({ "choices": [{ "message": message, "finish_reason": finish }] })))
}

pub(crate) fn said(content: &str) -> Turn {
    Turn::new(Reply::Text(content.to_owned()))
}

/// A right plan, and `turns` as the answers to the last question.
fn answered(name: &'static str, turns: Vec<Turn>, extra: usize) -> Row {
    let last = turns.into_iter().fold(on(name, "answer"), Scenario::turn);
    Row { name, scenarios: vec![on(name, "plan").json(calculates()), last], output: json!(RIGHT), calls: (2, extra) }
}

/// `turns` as the answers to the question for a plan, and a right answer.
fn planned(name: &'static str, turns: Vec<Turn>, extra: usize) -> Row {
    let first = turns.into_iter().fold(on(name, "plan"), Scenario::turn);
    let act = on(name, "act").text(RIGHT);
    Row {
        name,
        scenarios: vec![first, act, on(name, "answer").json(success(RIGHT))],
        output: json!(RIGHT),
        calls: (2, extra),
    }
}

/// A step that needs judgement and has these turns, with a call of `calculate` that must be made.
fn acted(name: &'static str, turns: Vec<Turn>, extra: usize) -> Row {
    let calls = (turns.len() + 2 - extra, extra);
    let act = turns.into_iter().fold(on(name, "act"), Scenario::turn);
    // The answer is right only when the tool has been called: its result is what the step shows.
    let answer = on(name, "answer").json(success(RIGHT));
    let scenarios = vec![on(name, "plan").json(plan(&[judged("a", "Compute it", &["calculate"])])), act, answer];
    Row { name, scenarios, output: json!(RIGHT), calls }
}

/// The same with one turn of text that is a call, and then the result.
fn called(name: &'static str, text: &str) -> Row {
    acted(name, vec![said(text), said("It is 3628800.")], 0)
}

pub(crate) const DRAFT: &str = r#"Perhaps {"success": true, "answer": "41", "reason": "guessed"}? No."#;

fn answers() -> Vec<Row> {
    let right = success(RIGHT).to_string();
    let bare = json!({ "answer": RIGHT }).to_string();
    vec![
        answered("no reason", vec![said(r#"{"success": true, "answer": "3628800"}"#)], 0),
        answered("answer alone", vec![said(&bare)], 0),
        answered("success as text", vec![said(r#"{"success": "true", "answer": "3628800"}"#)], 0),
        answered("another name", vec![said(r#"{"success": true, "result": "3628800"}"#)], 0),
        Row {
            output: json!(3_628_800),
            ..answered("a number", vec![said(r#"{"success": true, "answer": 3628800, "reason": ""}"#)], 0)
        },
        Row {
            output: json!([3_628_800]),
            ..answered("a list", vec![said(r#"{"success": true, "answer": [3628800]}"#)], 0)
        },
        Row {
            output: json!({"n": 3_628_800}),
            ..answered("an object", vec![said(r#"{"answer": {"n": 3628800}}"#)], 0)
        },
        Row {
            output: json!("The factorial of 10 is **3628800**."),
            ..answered("prose", vec![said("The factorial of 10 is **3628800**.")], 1)
        },
        answered("prose, then JSON", vec![said("The factorial is 3628800."), said(&right)], 1),
        answered("fence and words", vec![said(&format!("Sure!\n```json\n{right}\n```\nAnything else?"))], 0),
        answered("trailing comma", vec![said(r#"{"success": true, "answer": "3628800", "reason": "r",}"#)], 0),
        answered("lone closing tag", vec![said(&format!("{DRAFT}\n</think>\n{right}"))], 0),
        answered("thoughts after words", vec![said(&format!("Let me see. <think>{DRAFT}</think>{right}"))], 0),
        answered(
            "several thoughts",
            vec![said(&format!("<thinking>{DRAFT}</thinking><reasoning>{DRAFT}</reasoning>{bare}"))],
            0,
        ),
        answered("thoughts left open", vec![said(&format!("{right}\n<think>{DRAFT}"))], 0),
        answered(
            "harmony",
            vec![said(&format!(
                "<|channel|>analysis<|message|>{DRAFT}<|end|><|start|>assistant<|channel|>final<|message|>{right}"
            ))],
            0,
        ),
        answered("harmony without marks", vec![said(&format!("analysisWe compute. {DRAFT}assistantfinal{right}"))], 0),
        answered(
            "thoughts in parts",
            vec![body(
                &json!({ "content": [{ "type": "thinking", "text": DRAFT }, { "type": "text", "text": right }] }),
                "stop",
            )],
            0,
        ),
        answered("thoughts alone", vec![said(&format!("<think>{DRAFT}</think>")), said(&right)], 1),
        answered("nothing", vec![said(""), said(&right)], 1),
        answered("another shape", vec![said(r#"{"unexpected": true}"#), said(&right)], 1),
        answered(
            "a call in place of it",
            vec![said(r#"{"name": "calculate", "arguments": {"expression": "9!"}}"#), said(&right)],
            1,
        ),
        answered(
            "by a tool of the proxy",
            vec![Turn::new(Reply::ToolCalls(vec![("json_tool_call".to_owned(), success(RIGHT))]))],
            0,
        ),
        Row {
            output: json!("Close it with </think>, not <tool_call>{}."),
            ..answered(
                "tags in an answer",
                vec![said(
                    r#"{"success": true, "answer": "Close it with </think>, not <tool_call>{}.", "reason": ""}"#,
                )],
                0,
            )
        },
    ]
}

fn plans() -> Vec<Row> {
    let step = json!({"id": "f", "tool": "calculate", "arguments": {"expression": "10!"}});
    let with = |change: Value| {
        let mut step = step.clone();
        for (name, value) in change.as_object().expect("fields") {
            step[name] = value.clone();
        }
        said(&json!({ "steps": [step] }).to_string())
    };
    let draft = plan(&[written("x", "deliver", &json!({}), &[])]);
    vec![
        planned("no analysis", vec![with(json!({}))], 0),
        planned(
            "ids as numbers",
            vec![said(
                r#"{"steps": [{"id": 1, "tool": "calculate", "arguments": {"expression": "10!"}}, {"id": 2, "tool": "page", "arguments": {"text": "${1.value}"}, "depends_on": [1]}]}"#,
            )],
            0,
        ),
        planned(
            "no tool by name",
            vec![said(r#"{"steps": [{"id": "a", "tool": "none", "instruction": "Compute it", "arguments": "{}"}]}"#)],
            1,
        ),
        planned("a bare list", vec![said(&json!([step]).to_string())], 0),
        planned("nearly the name", vec![with(json!({"tool": "functions.Calculate"}))], 0),
        planned("a plan given up", vec![said(&format!("First {draft}, no.</think>{}", calculates()))], 0),
        planned(
            "another argument",
            vec![with(json!({"arguments": {"expr": "10!"}})), said(&calculates().to_string())],
            1,
        ),
        planned(
            "another field",
            vec![
                said(
                    &plan(&[
                        written("f", "calculate", &json!({"expression": "10!"}), &[]),
                        written("p", "page", &json!({"text": "${f.result}"}), &[]),
                    ])
                    .to_string(),
                ),
                said(&calculates().to_string()),
            ],
            1,
        ),
        planned(
            "braces of templates",
            vec![
                said(
                    &plan(&[
                        written("f", "calculate", &json!({"expression": "10!"}), &[]),
                        written("p", "page", &json!({"text": "{{f.value}}"}), &[]),
                    ])
                    .to_string(),
                ),
                said(&calculates().to_string()),
            ],
            1,
        ),
        planned("prose for a plan", vec![said("I would first compute it, then tell you.")], 2),
    ]
}

fn calls() -> Vec<Row> {
    let native = |name: &str, id: &str| {
        let call = json!({ "id": id, "type": "function", "function": { "name": name, "arguments": r#"{"expression": "10!"}"# } });
        body(&json!({ "content": null, "tool_calls": [call] }), "tool_calls")
    };
    vec![
        called("hermes", r#"<tool_call>{"name": "calculate", "arguments": {"expression": "10!"}}</tool_call>"#),
        called("lone object", r#"{"name": "calculate", "parameters": {"expression": "10!"}}"#),
        called("qwen coder", "<function=calculate>\n<parameter=expression>\n10!\n</parameter>\n</function>"),
        called("mistral", r#"[TOOL_CALLS][{"name": "calculate", "arguments": {"expression": "10!"}}]"#),
        called("llama", r#"<|python_tag|>{"name": "calculate", "parameters": {"expression": "10!"}}"#),
        called(
            "fence",
            "I compute it:\n```json\n{\"name\": \"calculate\", \"arguments\": {\"expression\": \"10!\"}}\n```",
        ),
        called("tool and input", r#"{"tool": "calculate", "input": {"expression": "10!"}}"#),
        called(
            "function inside",
            r#"{"type": "function", "function": {"name": "functions.calculate", "arguments": "{\"expression\": \"10!\"}"}}"#,
        ),
        called(
            "thoughts before a call",
            r#"I wonder: {"name": "deliver", "arguments": {}}</think><tool_call>{"name": "calculate", "arguments": {"expression": "10!"}}"#,
        ),
        acted(
            "a tool that is not there",
            vec![
                said(r#"<tool_call>{"name": "wolfram", "arguments": {"q": "10!"}}</tool_call>"#),
                native("calculate", "c1"),
                said("It is 3628800."),
            ],
            1,
        ),
        acted("nearly a name", vec![native("functions.Calculate", "c1"), said("It is 3628800.")], 0),
        acted(
            "ids that come again",
            vec![native("calculate", "call_0"), native("calculate", "call_0"), said("It is 3628800.")],
            1,
        ),
        acted("an empty turn", vec![native("calculate", "c1"), said(""), said("It is 3628800.")], 1),
        acted(
            "a turn of thoughts",
            vec![native("calculate", "c1"), said("<think>It may be 41."), said("It is 3628800.")],
            1,
        ),
        acted(
            "thought up to the limit",
            vec![
                body(&json!({ "content": "", "reasoning_content": "hm" }), "length"),
                native("calculate", "c1"),
                said("It is 3628800."),
            ],
            1,
        ),
    ]
}

/// Requests that the endpoints of some rows refuse: which, with what status, and in what words.
fn with_refusals(script: Script) -> Script {
    script
        .refusing_when(
            |body| body["model"] == "no tools" && body.get("tools").is_some(),
            400,
            "gemma2 does not support tools",
        )
        .refusing_when(
            |body| body["model"] == "no tool choice" && body.get("tools").is_some(),
            400,
            "\"auto\" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set",
        )
        .refusing_when(
            |body| body["model"] == "no schema, 500" && body["response_format"]["type"] == "json_schema",
            500,
            "Internal Server Error",
        )
        .refusing_when(
            |body| body["model"] == "no schema, 400" && body["response_format"]["type"] == "json_schema",
            400,
            "This response_format type is unavailable now",
        )
        .refusing_when(
            |body| body["model"] == "no system" && body["messages"][0]["role"] == "system",
            500,
            "Conversation roles must alternate user/assistant/user/assistant/...",
        )
        .refusing_when(
            |body| {
                let text = body["messages"].to_string();
                body["model"] == "signed thoughts" && text.contains("tool_calls") && !text.contains("thought_signature")
            },
            400,
            "Function call is missing a thought_signature in functionCall parts.",
        )
}

fn endpoints() -> Vec<Row> {
    let turn = |name| {
        acted(
            name,
            vec![
                said(r#"{"call": {"tool": "calculate", "arguments": {"expression": "10!"}}}"#),
                said(r#"{"output": "It is 3628800."}"#),
            ],
            0,
        )
    };
    let refused = |row: Row| Row { calls: (row.calls.0, 1), ..row };
    let right = success(RIGHT).to_string();
    let signed = json!({ "id": "c1", "type": "function", "extra_content": { "google": { "thought_signature": "s" } },
        "function": { "name": "calculate", "arguments": r#"{"expression": "10!"}"# } });
    vec![
        refused(turn("no tools")),
        refused(turn("no tool choice")),
        answered("no schema, 500", vec![said(&right)], 1),
        answered("no schema, 400", vec![said(&right)], 1),
        answered("no system", vec![said(&right)], 1),
        acted(
            "signed thoughts",
            vec![body(&json!({ "content": null, "tool_calls": [signed] }), "tool_calls"), said("It is 3628800.")],
            0,
        ),
    ]
}

pub(crate) async fn run(bed: &Bed, name: &str) -> (Outcome, Traces, usize) {
    let mut profile = bed.profile.clone();
    // What is learnt is learnt per model: each row has its own.
    profile.model = Some(name.to_owned());
    let traces = Traces::default();
    let outcome = bed.agent.run(&task(&goal(name)), &profile, None, &traces).await;
    let calls = bed.model.requests().iter().filter(|request| request.model == name).count();
    (outcome, traces, calls)
}

#[tokio::test]
async fn bad_answers_end_completed_with_the_right_result_and_cost_two_calls_at_most() {
    let mut rows: Vec<Row> = [answers(), plans(), calls(), endpoints()].into_iter().flatten().collect();
    let scenarios = rows.iter_mut().flat_map(|row| std::mem::take(&mut row.scenarios)).collect();
    let bed = Bed::with(with_refusals(Script::new(scenarios)), &qdrant_url()).await;
    assert!(rows.len() >= 30, "{}", rows.len());
    let mut wrong = Vec::new();
    for row in &rows {
        let (outcome, traces, calls) = run(&bed, row.name).await;
        let (usual, extra) = row.calls;
        assert!(extra <= 2, "{}", row.name);
        match outcome.result {
            Ok(result) if result["output"] == row.output && calls == usual + extra => {
                let is_prose = row.name == "prose";
                assert_eq!(result["confirmed"] == false, is_prose, "{}: {result}", row.name);
                assert_eq!(traces.kinds().contains(&"answer_unconfirmed".to_owned()), is_prose, "{}", row.name);
            }
            other => wrong.push(format!("{}: {other:?} after {calls} calls of {usual} + {extra}", row.name)),
        }
    }
    assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}

#[tokio::test]
async fn every_call_written_as_text_is_made_and_its_result_goes_back() {
    let mut rows = calls();
    let scenarios = rows.iter_mut().flat_map(|row| std::mem::take(&mut row.scenarios)).collect();
    let bed = Bed::new(scenarios).await;
    for row in &rows {
        let (_, traces, _) = run(&bed, row.name).await;
        let called = traces.events.lock().expect("events").iter().filter(|event| event.kind == "tool_called").count();
        assert!(called >= 1, "{}", row.name);
        let mut sent =
            bed.model.requests().into_iter().filter(|request| request.model == row.name && request.purpose == "act");
        let last = sent.next_back().expect("a turn").body["messages"].to_string();
        assert!(last.contains(RIGHT), "{}: {last}", row.name);
    }
    assert_eq!(bed.effects.keys(), Vec::<String>::new(), "a call in a thought was made");
}

#[tokio::test]
async fn a_model_that_only_thinks_ends_with_what_to_set() {
    let thinking = body(&json!({ "content": "", "reasoning_content": "hm" }), "length");
    let bed = Bed::new(vec![on("only thinks", "plan").turn(thinking)]).await;
    let (outcome, _, calls) = run(&bed, "only thinks").await;
    let failure = outcome.result.expect_err("a failure");
    assert!(failure.message.contains("all 32768 tokens"), "{failure}");
    assert!(failure.message.contains("model.max_output_tokens_ceiling"), "{failure}");
    assert_eq!(calls, 3, "4096, 16384, 32768");
    let limits: Vec<Value> = bed.model.requests().iter().map(|request| request.body["max_tokens"].clone()).collect();
    assert_eq!(limits, [json!(4_096), json!(16_384), json!(32_768)]);
    // It is remembered: the next run begins where this one ended.
    let (_, _, calls) = run(&bed, "only thinks").await;
    assert_eq!(calls, 4);
}
