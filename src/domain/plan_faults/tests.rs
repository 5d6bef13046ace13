use serde_json::json;

use super::*;
use crate::domain::id::TaskId;
use crate::domain::tool::Effect;

fn tools() -> Vec<ToolSpec> {
    let calculate = ToolSpec {
        name: "calculate".to_owned(),
        description: "Computes. Answers {\"value\": text, \"exact\": whether nothing was rounded}.".to_owned(),
        parameters: json!({"type": "object", "additionalProperties": false, "required": ["expression"], "properties": {
            "expression": {"type": "string", "minLength": 3}, "digits": {"type": "integer", "minimum": 0, "maximum": 9},
            "mode": {"type": "string", "enum": ["a", "b"]}, "list": {"type": "array", "items": {"type": "number"}}}}),
        output: json!(true),
        effect: Effect::Read,
        idempotent: true,
        untrusted: false,
    };
    let look = ToolSpec {
        name: "look".to_owned(),
        description: "Looks.".to_owned(),
        parameters: json!({}),
        ..calculate.clone()
    };
    vec![calculate, look]
}

fn faults(steps: &Value) -> Vec<String> {
    let plan: Plan = serde_json::from_value(json!({"steps": steps})).expect("a plan");
    let known = |spec: ToolSpec| KnownTool {
        schema: Arc::new(jsonschema::validator_for(&spec.parameters).expect("a schema")),
        spec: Arc::new(spec),
    };
    plan_faults(&plan, &tools().into_iter().map(known).collect::<Vec<_>>())
}

#[test]
fn references_stand_for_what_they_may_become() {
    for arguments in [
        json!({"expression": "1+1"}),
        json!({"expression": "${l}"}),
        json!({"expression": "${l.x} + 1", "digits": "${l.n}"}),
        json!({"expression": "1+1", "mode": "${l}", "list": "${l.rows}"}),
        json!({"expression": "1+1", "list": ["${l.a}", 2]}),
        json!({"expression": 1000}),
        json!({"expression": {"a": 1}}),
        json!({"expression": ["${l}"], "digits": 3}),
    ] {
        let steps = json!([{"id": "l", "tool": "look"}, {"id": "c", "tool": "calculate", "arguments": arguments}]);
        assert_eq!(faults(&steps), Vec::<String>::new(), "{arguments}");
    }
}

#[test]
fn a_wrong_argument_is_named_with_what_is_allowed() {
    for (arguments, expected) in [
        (
            json!({"expr": "10!"}),
            "step \"c\": calculate has no argument \"expr\" (did you mean \"expression\"?); it takes ",
        ),
        (json!({"expr": "10!"}), "step \"c\": calculate requires the argument \"expression\" (text)"),
        (
            json!({"expression": "1"}),
            "the argument \"expression\" of calculate is \"1\"; it must have at least 3 characters",
        ),
        (json!({"expression": null}), "the argument \"expression\" of calculate is null; it must be text"),
        (json!({"expression": "1+1", "digits": "${l} or so"}), "is \"${l} or so\"; it must be a whole number, 0 to 9"),
        (
            json!({"expression": "1+1", "digits": 10}),
            "the argument \"digits\" of calculate is 10; it must be a whole number, 0 to 9",
        ),
        (json!({"expression": "1+1", "mode": "c"}), "the argument \"mode\" of calculate is \"c\"; it must be a or b"),
        (
            json!({"expression": "1+1", "list": [1, "x"]}),
            "the argument \"list.1\" of calculate is \"x\"; it must be a number",
        ),
    ] {
        let steps = json!([{"id": "l", "tool": "look"}, {"id": "c", "tool": "calculate", "arguments": arguments}]);
        let found = faults(&steps);
        assert!(found.iter().any(|fault| fault.contains(expected)), "{expected}: {found:?}");
    }
}

#[test]
fn all_faults_are_told_at_once() {
    let found = faults(&json!([
        {"id": "a", "tool": "calculate", "arguments": {"expr": "10!"}},
        {"id": "b", "tool": "fly"},
        {"id": "c", "tool": "look", "arguments": {"x": "${a.result}", "z": "${a.value}"}},
        {"id": "d", "tool": "look", "depends_on": ["nowhere"]},
        {"id": "e", "tool": "look", "instruction": "both"},
    ]));
    for expected in [
        "unknown tool \"fly\"",
        "unknown step \"nowhere\"",
        "step \"e\" must have exactly one",
        "no argument \"expr\"",
        "requires the argument \"expression\"",
        "${a.result}: calculate answers only value, exact",
    ] {
        assert!(found.iter().any(|fault| fault.contains(expected)), "{expected}: {found:?}");
    }
    assert_eq!(found.len(), 6, "{found:?}");
}

#[test]
fn the_fields_of_an_answer_are_read_from_a_description() {
    let description = "Lists. Answers {\"files\": [{\"path\", \"kind\"}], \"truncated\"}. More.";
    assert_eq!(output_fields(description), Some(vec!["files", "truncated"]));
    for none in ["Looks.", "Answers {whatever}", "Answers {\"a\""] {
        assert_eq!(output_fields(none), None, "{none}");
    }
}

#[test]
fn values_become_text_where_text_is_wanted() {
    let schema = json!({"properties": {"content": {"type": "string"}, "value": {}, "n": {"type": "integer"},
        "list": {"type": "array", "items": {"type": "string"}}}});
    let mut arguments = json!({"content": {"a": [1]}, "value": {"b": 2}, "n": 3, "list": [1, "x", null]});
    stringify_for(&mut arguments, &schema);
    let content = "{\n  \"a\": [\n    1\n  ]\n}";
    assert_eq!(arguments, json!({"content": content, "value": {"b": 2}, "n": 3, "list": ["1", "x", null]}));
}

#[test]
fn results_of_tasks_that_it_does_not_depend_on_are_told() {
    let plan: Plan = serde_json::from_value(json!({"steps": [
        {"id": "a", "tool": "calculate", "arguments": {"expression": "${deps.7.result.output} + ${deps.8.result} + ${deps.parent.x}"}}]}))
    .expect("a plan");
    assert_eq!(missing_dependencies(&plan, &[TaskId::Number(7), TaskId::Number(8)]), Vec::<String>::new());
    let faults = missing_dependencies(&plan, &[TaskId::Number(7)]);
    assert_eq!(faults.len(), 1);
    assert!(faults[0].contains("${deps.8…} refers to a task that this one does not depend on"), "{faults:?}");
}

/// The list of a step with `each` is a reference like any other.
#[test]
fn a_list_that_points_at_nothing_is_told_before_the_plan_runs() {
    let faulty = |list: &str| -> Plan {
        let go = json!({"id": "go", "tool": "calculate", "each": format!("${{{list}}}"), "arguments": {"expression": "${item}"}});
        let one = json!({"id": "one", "tool": "calculate", "arguments": {"expression": "1"}});
        serde_json::from_value(json!({"steps": [one, go]})).expect("a plan")
    };
    let told = missing_dependencies(&faulty("deps.7.result.rows"), &[TaskId::Number(8)]);
    assert!(told.iter().any(|fault| fault.contains("${deps.7…}")), "{told:?}");
    assert!(missing_dependencies(&faulty("deps.7.result.rows"), &[TaskId::Number(7)]).is_empty());
    let told = missing_files(&faulty("files.list").steps, &[]);
    assert!(told.iter().any(|fault| fault.contains("${files.list} names no file")), "{told:?}");
    let found = faults(&json!([
        {"id": "one", "tool": "calculate", "arguments": {"expression": "1+1"}},
        {"id": "go", "tool": "calculate", "each": "${one.rows}", "arguments": {"expression": "${item} + 1"}},
    ]));
    assert!(found.iter().any(|fault| fault.contains("${one.rows}: calculate answers only value")), "{found:?}");
}
