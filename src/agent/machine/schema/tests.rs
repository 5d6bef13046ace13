//! Schemas are strict, and answers are read in the words that models use.

use super::*;
use crate::domain::tool::Effect;

fn read_steps(text: &str) -> Result<Vec<PlanStep>, String> {
    read_plan(text).map(|plan| plan.steps)
}

impl Declared {
    fn is_done(&self) -> bool {
        self.outcome == Outcome::Done
    }
}

fn read_whole(text: &str) -> Result<Declared, String> {
    read_answer(text, false)
}

#[test]
fn schemas_are_strict_throughout() {
    fn check(schema: &Value) {
        if let Some(properties) = schema["properties"].as_object() {
            let names: Vec<&String> = properties.keys().collect();
            assert_eq!(schema["required"], json!(names));
            assert_eq!(schema["additionalProperties"], json!(false));
            properties.values().for_each(check);
        }
        if schema.get("items").is_some() {
            check(&schema["items"]);
        }
        schema["anyOf"].as_array().into_iter().flatten().for_each(check);
    }
    let parameters = json!({"type": "object", "properties": {"x": {"type": "integer"}, "y": {"type": "object"}}});
    let tool = ToolSpec {
        name: "t".to_owned(),
        description: String::new(),
        parameters,
        output: json!(true),
        effect: Effect::Read,
        idempotent: true,
        untrusted: false,
    };
    let schema = plan(&[Arc::new(tool)], &["sql".to_owned()]);
    assert_eq!(schema.schema["properties"]["steps"]["items"]["anyOf"].as_array().map(Vec::len), Some(2));
    check(&schema.schema);
    check(&schema.plain.expect("a plain one"));
    check(&plan(&[], &[]).schema);
    check(&answer().schema);
}

#[test]
fn arguments_are_read_as_text_or_object() {
    let read = |arguments: Value| {
        let text = json!({"steps": [{"id": "a", "tool": "t", "arguments": arguments}]}).to_string();
        read_steps(&text).map(|steps| steps[0].arguments.clone())
    };
    assert_eq!(read(json!("{\"x\": 1}")), Ok(json!({"x": 1})));
    assert_eq!(read(json!({"x": 1})), Ok(json!({"x": 1})));
    assert_eq!(read(json!("")), Ok(Value::Null));
    assert!(read(json!("{x")).expect_err("no JSON").contains("step \"a\""));
}

#[test]
fn a_described_tool_step_is_a_tool_step_and_fences_are_ignored() {
    let text = "```json\n{\"steps\": [{\"id\": \"a\", \"tool\": \"t\", \"instruction\": \"do t\"}]}\n```";
    let steps = read_steps(text).expect("a plan");
    assert_eq!((steps[0].tool.as_deref(), steps[0].instruction.as_deref()), (Some("t"), None));
}

#[test]
fn a_plan_is_read_in_the_words_of_models() {
    let text = r#"[{"id": 1, "tool": "t", "arguments": {"x": 1}, "estimated_s": "3"},
        {"step": "two", "tool": "none", "instruction": "look at ${1}", "after": [1]},
        {"tool": {"name": "t", "arguments": "{\"x\": 2}"}, "depends_on": "two"},
        {"tool": null, "task": "sum up", "arguments": {}}]"#;
    let steps = read_steps(text).expect("a plan");
    let ids: Vec<&str> = steps.iter().map(|step| step.id.as_str()).collect();
    assert_eq!(ids, ["1", "two", "s3", "s4"]);
    assert_eq!((steps[0].estimated_s, &steps[0].arguments), (Some(3), &json!({"x": 1})));
    assert_eq!((steps[1].tool.as_deref(), steps[1].depends_on.as_slice()), (None, &["1".to_owned()][..]));
    assert_eq!((steps[2].tool.as_deref(), &steps[2].arguments), (Some("t"), &json!({"x": 2})));
    assert_eq!(
        (steps[2].depends_on.as_slice(), steps[3].instruction.as_deref()),
        (&["two".to_owned()][..], Some("sum up"))
    );
    assert_eq!(read_steps(r#"{"steps": 3}"#), Err("this is not a plan: it has no list \"steps\"".to_owned()));
    assert_eq!(read_steps(r#"{"steps": ["go"]}"#), Err("step 1 is no object".to_owned()));
}

#[test]
fn an_answer_is_read_in_the_words_of_models() {
    let read = |text: &str| read_whole(text).map(|declared| (declared.is_done(), declared.answer));
    for (text, answer) in [
        (r#"{"success": true, "answer": "42"}"#, json!("42")),
        (r#"{"success": true, "answer": 42, "reason": "r"}"#, json!(42)),
        (r#"{"success": "true", "answer": [4, 2]}"#, json!([4, 2])),
        (r#"{"success": true, "answer": false}"#, json!(false)),
        (r#"{"answer": {"n": 42}}"#, json!({"n": 42})),
        (r#"{"success": true, "result": "42"}"#, json!("42")),
        (r#"{"final_answer": "42", "success": null}"#, json!("42")),
    ] {
        assert_eq!(read(text), Ok((true, answer)), "{text}");
    }
    let failed = read_whole(r#"{"success": false, "reason": "no data"}"#).expect("an answer");
    assert_eq!((failed.is_done(), failed.reason.as_str()), (false, "no data"));
    assert_eq!(read_whole(r#"{"success": false, "answer": "gone"}"#).expect("an answer").reason, "gone");
    assert!(!read_whole(r#"{"answer": "half", "error": "timeout"}"#).expect("an answer").is_done());
    for unclear in [r#"{"answer": ""}"#, r#"{"success": "maybe", "answer": "x"}"#, r#"{"success": true}"#, "[1]", "3"] {
        assert!(read(unclear).is_err(), "{unclear}");
    }
}

#[test]
fn an_error_that_says_nothing_is_none() {
    for error in [json!(null), json!(false), json!(""), json!(" "), json!("None"), json!([]), json!({}), json!("n/a")] {
        let declared = read_whole(&json!({"answer": "42", "error": error}).to_string()).expect("an answer");
        assert_eq!((declared.is_done(), &declared.answer), (true, &json!("42")), "{error}");
    }
    for error in [json!("overflow"), json!(true), json!(7), json!({"code": 7}), json!(["x"])] {
        let declared = read_whole(&json!({"answer": "42", "error": error}).to_string()).expect("an answer");
        assert!(!declared.is_done(), "{error}");
    }
    let declared = read_whole(r#"{"success": false, "reason": "", "error": "timeout"}"#).expect("an answer");
    assert_eq!(declared.reason, "timeout");
    assert!(read_whole(r#"{"success": null, "error": null}"#).is_err());
}

#[test]
fn what_reads_like_a_failure_needs_a_success_that_says_otherwise() {
    for (answer, reason) in [
        ("I cannot access the page.", ""),
        ("failed", "404"),
        ("The goal was not reached.", ""),
        ("done", "the file does not exist"),
    ] {
        for name in RESULTS {
            let mut written = json!({name: answer, "reason": reason});
            assert!(read_whole(&written.to_string()).is_err(), "{written}");
            written["success"] = json!(true);
            assert!(read_whole(&written.to_string()).expect("an answer").is_done(), "{written}");
        }
    }
    assert!(read_whole(r#"{"answer": {"state": "failed"}}"#).is_err());
    assert!(read_whole(r#"{"answer": {"failed": 0, "passed": 3}}"#).expect("an answer").is_done());
}

#[test]
fn an_excerpt_is_an_answer_only_when_it_declares_the_outcome() {
    for (text, is_answer) in [
        (r#"{"response": "200 OK"}"#, false),
        (r#"{"result": "x", "success": null}"#, false),
        (r#"{"answer": "x", "error": "y"}"#, false),
        (r#"{"success": true, "answer": "x"}"#, true),
        (r#"{"success": false, "reason": "x"}"#, true),
    ] {
        assert_eq!(read_answer(text, true).is_ok(), is_answer, "{text}");
    }
}

#[test]
fn success_without_an_answer_is_not_believed() {
    assert!(read_whole(r#"{"success": true, "answer": "", "reason": "done"}"#).is_err());
    assert!(read_whole("all good!").is_err());
    let declared = read_whole(r#"{"success": true, "answer": "{\"n\": 1}", "reason": "r"}"#).expect("an answer");
    assert_eq!(declared.answer, json!({"n": 1}));
    let number = read_whole(r#"{"success": true, "answer": "3628800", "reason": "r"}"#).expect("an answer");
    assert_eq!(number.answer, json!("3628800"));
}
