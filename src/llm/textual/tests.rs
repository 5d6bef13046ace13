//! Texts of models, and what they call.

use serde_json::json;

use super::*;
use crate::domain::tool::Effect;

fn spec(name: &str, parameters: Value) -> Arc<ToolSpec> {
    Arc::new(ToolSpec {
        name: name.to_owned(),
        description: String::new(),
        parameters,
        output: json!(true),
        effect: Effect::Read,
        idempotent: true,
        untrusted: false,
    })
}

fn offered() -> Vec<Arc<ToolSpec>> {
    let text = json!({"type": "object", "properties": {"expression": {"type": "string"}}});
    let number = json!({"type": "object", "properties": {"ms": {"type": "integer"}}});
    vec![spec("calculate", text), spec("nap", number)]
}

fn read(text: &str) -> Vec<(String, Value)> {
    let found = calls(text, &offered()).unwrap_or_else(|| panic!("no call in {text}"));
    found.calls.into_iter().map(|call| call.requested(&offered())).map(|call| (call.tool, call.arguments)).collect()
}

#[test]
fn a_call_is_read_in_every_form() {
    for text in [
        r#"<tool_call>{"name": "calculate", "arguments": {"expression": "6*7"}}</tool_call>"#,
        "<tool_call>\n{\"name\": \"calculate\", \"arguments\": {\"expression\": \"6*7\"}}",
        "{\"name\": \"calculate\", \"arguments\": {\"expression\": \"6*7\"}}\n</tool_call>",
        r#"<tool_calls>[{"name": "calculate", "arguments": "{\"expression\": \"6*7\"}"}]</tool_calls>"#,
        r#"I will compute it. <tool_call>{"name": "functions.calculate", "parameters": {"expression": "6*7"}}</tool_call>"#,
        "<tool_call>\n<function=calculate>\n<parameter=expression>\n6*7\n</parameter>\n</function>\n</tool_call>",
        r#"<function=calculate>{"expression": "6*7"}</function>"#,
        r#"<function_calls><invoke name="calculate"><parameter name="expression">6*7</parameter></invoke></function_calls>"#,
        r#"<minimax:tool_call><invoke name="calculate"><parameter name="expression">6*7</parameter></invoke></minimax:tool_call>"#,
        "<tool_call>calculate\n<arg_key>expression</arg_key>\n<arg_value>6*7</arg_value>\n</tool_call>",
        r#"<|python_tag|>{"name": "calculate", "parameters": {"expression": "6*7"}}"#,
        r#"<|python_tag|>calculate.call(expression="6*7")"#,
        r#"[TOOL_CALLS] [{"name": "calculate", "arguments": {"expression": "6*7"}}]"#,
        r#"[TOOL_CALLS]calculate[ARGS]{"expression": "6*7"}"#,
        r#"[TOOL_CALLS]calculate[CALL_ID]a1B2c3D4e[ARGS]{"expression": "6*7"}"#,
        r#"[TOOL_CALLS]calculate{"expression": "6*7"}"#,
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>calculate\n```json\n{\"expression\": \"6*7\"}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        r#"<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>calculate<｜tool▁sep｜>{"expression": "6*7"}<｜tool▁call▁end｜><｜tool▁calls▁end｜>"#,
        r#"<|tool_calls_section_begin|><|tool_call_begin|>functions.calculate:0<|tool_call_argument_begin|>{"expression": "6*7"}<|tool_call_end|><|tool_calls_section_end|>"#,
        r#"<|channel|>commentary to=functions.calculate <|constrain|>json<|message|>{"expression": "6*7"}<|call|>"#,
        r#"assistantcommentary to=functions.calculate json{"expression": "6*7"}"#,
        r#"<|START_ACTION|>[{"tool_call_id": "0", "tool_name": "calculate", "parameters": {"expression": "6*7"}}]<|END_ACTION|>"#,
        r#"functools[{"name": "calculate", "arguments": {"expression": "6*7"}}]"#,
        r#"<TOOLCALL>[{"name": "calculate", "arguments": {"expression": "6*7"}}]</TOOLCALL>"#,
        r#"{"name": "calculate", "arguments": {"expression": "6*7"}}"#,
        r#"{"name": "Calculate", "parameters": {"expression": "6*7"}}"#,
        r#"{"type": "function", "name": "calculate", "parameters": {"expression": "6*7"}}"#,
        r#"{"type": "function", "function": {"name": "calculate", "arguments": "{\"expression\": \"6*7\"}"}}"#,
        r#"{"tool": "calculate", "arguments": {"expression": "6*7"},}"#,
        r#"{"tool": "calculate", "input": {"expression": "6*7"}}"#,
        r#"{"tool": "calculate", "expression": "6*7"}"#,
        r#"{"action": "calculate", "action_input": {"expression": "6*7"}, "thought": "I need it"}"#,
        r#"{"function": "calculate", "args": {"expression": "6*7"}}"#,
        r#"{"tool_calls": [{"id": "1", "type": "function", "function": {"name": "calculate", "arguments": {"expression": "6*7"}}}]}"#,
        r#"{"tool_call": {"name": "calculate", "arguments": {"expression": "6*7"}}}"#,
        r#"{"calculate": {"expression": "6*7"}}"#,
        "```json\n{\"name\": \"calculate\", \"arguments\": {\"expression\": \"6*7\"}}\n```",
        "Let me see:\n\n```json\n{\"name\": \"calculate\", \"arguments\": {\"expression\": \"6*7\"}}\n```\nThen I will tell you.",
        r#"[{"name": "calculate", "arguments": {"expression": "6*7"}}]"#,
        r#"[calculate(expression="6*7")]"#,
        "```tool_code\nprint(default_api.calculate(expression='6*7'))\n```",
        r#"calculate(parameters={"expression": "6*7"})"#,
        "Thought: I need a number.\nAction: calculate\nAction Input: {\"expression\": \"6*7\"}",
    ] {
        assert_eq!(read(text), [("calculate".to_owned(), json!({"expression": "6*7"}))], "{text}");
    }
}

#[test]
fn several_calls_are_several_calls_and_values_have_their_types() {
    let both = [("calculate".to_owned(), json!({"expression": "1"})), ("nap".to_owned(), json!({"ms": 5}))];
    for text in [
        r#"[{"name": "calculate", "arguments": {"expression": "1"}}, {"name": "nap", "arguments": {"ms": 5}}]"#,
        "{\"name\": \"calculate\", \"arguments\": {\"expression\": \"1\"}}; {\"name\": \"nap\", \"arguments\": {\"ms\": 5}}",
        "<tool_call>{\"name\": \"calculate\", \"arguments\": {\"expression\": \"1\"}}</tool_call>\n<tool_call>{\"name\": \"nap\", \"arguments\": {\"ms\": 5}}</tool_call>",
        "<function=calculate><parameter=expression>1</parameter></function><function=nap><parameter=ms>5</parameter></function>",
        "[calculate(expression=\"1\"), nap(ms=5)]",
    ] {
        assert_eq!(read(text), both, "{text}");
    }
    assert_eq!(read("<tool_call>{\"name\": \"nap\"}</tool_call>"), [("nap".to_owned(), json!({}))]);
    let found = calls("First this. <tool_call>{\"name\": \"nap\"}</tool_call>", &offered()).expect("a call");
    assert_eq!(found.preface, "First this.");
}

#[test]
fn calls_of_unknown_tools_and_calls_that_cannot_be_read_are_calls() {
    for (text, name) in [
        (r#"<tool_call>{"name": "search_web", "arguments": {"q": "x"}}</tool_call>"#, "search_web"),
        (r#"{"name": "search_web", "arguments": {"q": "x"}}"#, "search_web"),
        (r#"{"name": "search_web", "parameters": {"q": "x"}}"#, "search_web"),
        ("<tool_call>{\"name\": \"calculate\", \"arguments\": {expression: 6*7</tool_call>", "expression"),
        ("<function=fly><parameter=to>Rome</parameter></function>", "fly"),
    ] {
        let read = read(text);
        assert_eq!(read.len(), 1, "{text}");
        assert!(read[0].0 == name || read[0].1.is_string(), "{text}: {read:?}");
        assert!(looks_like_call(text), "{text}");
    }
}

#[test]
fn an_answer_is_no_call() {
    for text in [
        "42",
        "The tool calculate gave 42.",
        r#"{"name": "calculate"}"#,
        r#"{"name": "Ada", "age": 36}"#,
        r#"{"name": "Ada Lovelace", "arguments": "for and against"}"#,
        r#"{"name": "calculate", "input": "6*7", "output": 42}"#,
        r#"{"tool": "calculate"}"#,
        r#"{"tool": "calculate", "licence": "MIT"}"#,
        r#"[{"name": "a", "price": 1}, {"name": "b", "price": 2}]"#,
        r#"{"answer": "write <tool_call>{\"name\": \"x\", \"arguments\": {}}</tool_call>"}"#,
        "A call is written `<tool_call>{\"name\": \"nap\", \"arguments\": {}}</tool_call>` by this model.",
        "Such a call looks so:\n```xml\n<tool_call>\n{\"name\": \"fly\", \"arguments\": {}}\n</tool_call>\n```\nas you see.",
        "Example:\n```json\n{\"name\": \"fly\", \"arguments\": {}}\n```\nIt names a tool that is not here.",
        "f(x) = calculate(x)",
        "unknown_function(a=1)",
        "[1, 2, 3]",
        "{}",
        "[]",
        "",
    ] {
        assert_eq!(calls(text, &offered()), None, "{text}");
    }
}

#[test]
fn a_call_that_is_cut_is_returned_and_not_made_with_half_an_argument() {
    for text in [
        "<function=calculate><parameter=path>a</parameter><parameter=expression>6*7 and",
        "<function=calculate><parameter=expression>6*7",
        "<function=calculate><parameter=path>a</parameter><parameter=expr",
        "<function=calculate><parameter=path>a</parameter>\n<para",
        "<function=calculate><parameter=expression>6<parameter=path>a</parameter></function>",
        "<function=calculate><parameter=expression>6 </function> 7</parameter></function>",
        "<tool_call>\n<function=calculate>\n<parameter=expression>\n6*7\n</function>\n</tool_call>",
        "<invoke name=\"calculate\"><parameter name=\"path\">a</parameter><parameter name=\"expression\">6*",
        "<invoke name=\"calculate\"><parameter name=\"expression",
        "<function=calculate>{\"expression\": \"6*7",
        "<tool_call>calculate\n<arg_key>expression</arg_key>\n<arg_value>6*7",
        "<tool_call>calculate\n<arg_key>expression</arg_key>\n<arg_value>6</arg_value><arg_key>pa",
        "<tool_call>calculate\n<arg_key>expression</arg_key>\n<arg_value>6</arg_value><arg_k",
        "<tool_call>calculate\n<arg_key>expression</arg_key>\n<arg_v",
    ] {
        let read = read(text);
        assert_eq!(read.len(), 1, "{text}: {read:?}");
        assert!(
            read[0].0 == "calculate" && read[0].1.as_str().is_some_and(|told| !told.is_empty()),
            "{text}: {read:?}"
        );
    }
    // What is whole is made.
    for (text, arguments) in [
        ("<function=nap></function>", json!({})),
        ("<function=nap>\n</tool_call>", json!({})),
        ("<invoke name=\"nap\"/>", json!({})),
        ("<function=nap><parameter=ms>5</parameter>\n</tool_call>", json!({"ms": 5})),
        ("<invoke name=\"nap\"><parameter name=\"ms\" type=\"int\">5</parameter></invoke>", json!({"ms": 5})),
        ("<invoke name=\"nap\"><parameters>{\"ms\": 5}</parameters></invoke>", json!({"ms": 5})),
        ("<function=nap>{\"note\": \"<parameter=x>\"}</function>", json!({"note": "<parameter=x>"})),
    ] {
        assert_eq!(read(text), [("nap".to_owned(), arguments)], "{text}");
    }
}

#[test]
fn numbers_keep_their_digits_in_every_form() {
    let wide = json!({"ms": "12345678901234567890"});
    for text in [
        r#"{"name": "nap", "arguments": {"ms": 12345678901234567890}}"#,
        r#"{"name": "nap", "arguments": "{\"ms\": 12345678901234567890}"}"#,
        "<function=nap><parameter=ms>12345678901234567890</parameter></function>",
        "<tool_call>nap\n<arg_key>ms</arg_key><arg_value>12345678901234567890</arg_value></tool_call>",
        "nap(ms=12345678901234567890)",
        "nap({\"ms\": 12345678901234567890})",
    ] {
        assert_eq!(read(text), [("nap".to_owned(), wide.clone())], "{text}");
    }
    assert_eq!(read("nap(ms=[12345678901234567890, 2])")[0].1, json!({"ms": ["12345678901234567890", 2]}));
    assert_eq!(read("nap(ms=\"é\", b=1)")[0].1, json!({"ms": "é", "b": 1}));
}

#[test]
fn hostile_text_costs_no_time() {
    for piece in
        ["{", "[", "<", "<tool_call>", "[TOOL_CALLS]", "a(", "{\"name\":", "<function=a>", "<parameter=x>", "<arg_key>"]
    {
        let began = std::time::Instant::now();
        calls(&piece.repeat(20_000), &offered());
        assert!(began.elapsed().as_secs() < 5, "{piece}");
    }
}
