//! Tells whether a text looks like a call of some tool, whatever its name. Such a text is no answer.
//!
//! It is stricter with answers than [`super::calls`], which makes calls and so needs the name of a tool that is offered.

use serde_json::Value;

use super::{calls, fenced, json, pythonic};
use crate::llm::structured::candidates;

/// Languages of code fences that hold calls, lower case.
const FENCES: [&str; 7] =
    ["tool_code", "tool_call", "tool_calls", "tool_use", "tool", "function_call", "function_calls"];
/// Keys of arguments that an object has beside a name only when it is a call.
const TYPICAL: [&str; 4] = ["arguments", "parameters", "action_input", "tool_input"];

/// Whether `text` looks like a call of some tool, so that it is no answer.
pub(in crate::llm) fn looks_like_call(text: &str) -> bool {
    let text = text.trim();
    let inner = fenced(text).unwrap_or_else(|| text.trim_matches('`')).trim();
    calls(text, &[]).is_some()
        || text.lines().any(is_call_fence)
        || is_code(inner)
        || inner.lines().next_back().is_some_and(is_code_with_arguments)
        || is_react(inner)
        || has_keys_of_a_call(text)
        || candidates(text).any(|value| json::resembles_call(&value))
}

fn is_call_fence(line: &str) -> bool {
    let language = line.trim_start().strip_prefix("```").map(str::trim);
    language.is_some_and(|language| FENCES.iter().any(|known| known.eq_ignore_ascii_case(language)))
}

/// Whether `text` is code that calls functions, and nothing else.
fn is_code(text: &str) -> bool {
    pythonic::all(text).is_some() || is_positional(text)
}

fn is_code_with_arguments(line: &str) -> bool {
    let called = pythonic::all(line.trim().trim_matches('`'));
    called.is_some_and(|calls| calls.iter().any(|call| call.arguments != Value::Object(serde_json::Map::new())))
}

/// `name("text")`.
fn is_positional(text: &str) -> bool {
    let Some((name, rest)) = text.split_once('(') else { return false };
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || "_-.:".contains(c));
    is_name && rest.trim_start().starts_with(['"', '\'', '{', '[']) && rest.ends_with(')')
}

/// `Action: name` with `Action Input:` on a line of its own, or with the arguments behind the name.
fn is_react(text: &str) -> bool {
    let labelled = |label: &str| {
        text.lines().find_map(|line| {
            let line = line.trim_start_matches(|c: char| c.is_whitespace() || "*#->".contains(c));
            let head = line.get(..label.len()).filter(|head| head.eq_ignore_ascii_case(label))?;
            Some(line[head.len()..].trim_matches(|c: char| c.is_whitespace() || "*`".contains(c)))
        })
    };
    let Some(action) = labelled("action:") else { return false };
    let name = action.find(|c: char| !c.is_alphanumeric() && !"_-.:".contains(c)).map(|end| action.split_at(end));
    labelled("action input:").is_some()
        || name.is_some_and(|(name, rest)| !name.is_empty() && rest.starts_with(['(', '[', '{']))
}

/// Whether `text` holds the keys of a call in quotes, as JSON that cannot be read does.
fn has_keys_of_a_call(text: &str) -> bool {
    let has = |key: &str| ['"', '\''].iter().any(|quote| text.contains(&format!("{quote}{key}{quote}:")));
    text.contains('{') && json::NAMES.iter().any(|key| has(key)) && TYPICAL.iter().any(|key| has(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_of_any_tool_in_any_form_looks_like_one() {
        for text in [
            r#"I will call it: {"name": "calculate", "arguments": {"expression": "10!"}}"#,
            r#"I will call `{"name": "calculate", "arguments": {"expression": "10!"}}` now."#,
            r#"I will call it: {"name": "calculate", "arguments": {"expression": 10!}}"#,
            "{'name': 'calculate', 'arguments': {'expression': '10!'}}",
            r#"So: {"action": "calculate", "action_input": {"expression": "10!"}} is next."#,
            r#"So: {"tool": "calculate", "input": "10!"}"#,
            r#"First {"steps": [{"name": "calculate", "args": "{\"expression\": \"10!\"}"}]}"#,
            "Let me see:\n```json\n{\"tool\": \"calculate\", \"arguments\": {}}\n```\nThen I know.",
            r#"calculate(expression="10!")"#,
            "`calculate(expression=\"10!\")`",
            r#"calculate("10!")"#,
            r#"print(default_api.calculate(expression="10!"))"#,
            r#"[calculate(expression="10!"), nap(ms=5)]"#,
            "I will call it now:\n\ncalculate(expression=\"10!\")",
            "Action: calculate\nAction Input: {\"expression\": \"10!\"}",
            "Thought: I need it.\n**Action:** calculate\n**Action Input:** 10!",
            "Thought: I need it.\nAction: calculate[10!]",
            "Action: calculate({\"expression\": \"10!\"})",
            "```tool_code\nprint(calculate('10!'))\n```",
            "I run this:\n```tool_code\nresult = calculate(expression='10!')\nprint(result)\n```",
            "<tool_call>{\"name\": \"calculate\"}</tool_call>",
        ] {
            assert!(looks_like_call(text), "{text}");
        }
    }

    #[test]
    fn an_answer_looks_like_none() {
        for text in [
            "42",
            "The factorial of 10 is **3628800**.",
            "The tool calculate gave 3628800 (see the log).",
            "f(x) = calculate(x)",
            "The best action: approve the request (with care).",
            "Action: approve the request.",
            r#"The record is {"name": "Ada", "age": 36}."#,
            r#"[{"name": "a", "price": 1}, {"name": "b", "price": 2}]"#,
            "The \"name\" and the \"arguments\" are missing.",
            "```python\nprint(1)\nfor x in y:\n    pass\n```\nprints it.",
            "[1, 2, 3]",
            "See [the page](https://example.org/a?b=c).",
            "",
        ] {
            assert!(!looks_like_call(text), "{text}");
        }
    }
}
