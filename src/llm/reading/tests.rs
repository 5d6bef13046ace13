use super::*;

fn answer(message: &Value, finish: &str) -> Result<Answer, &'static str> {
    read_answer(&json!({ "choices": [{ "message": message, "finish_reason": finish }] }), &[], false)
}

#[test]
fn a_call_has_a_short_id_and_a_short_name() {
    let call = |id: String, name: String| json!({"id": id, "function": {"name": name, "arguments": "{}"}});
    let long = call("i".repeat(900_000), "n".repeat(900_000));
    let message = json!({"tool_calls": [long, call("a".to_owned(), "calculate".to_owned())]});
    let calls = tool_calls(&message, &[]);
    assert!(calls[0].id.len() < 50 && calls[0].tool.len() == MAX_NAME_BYTES, "{}", calls[0].id.len());
    assert_eq!((calls[1].id.as_str(), calls[1].tool.as_str()), ("a", "calculate"));
}

#[test]
fn dialects_of_text_are_understood() {
    for content in [json!("hello"), json!([{ "type": "text", "text": "hel" }, { "type": "text", "text": "lo" }])] {
        let answer = answer(&json!({ "content": content }), "a_reason_nobody_knows").expect("an answer");
        assert_eq!(answer.content, "hello");
        assert!(!answer.truncated && !answer.refused);
    }
    assert!(answer(&json!({ "content": "hal" }), "length").expect("an answer").truncated);
    assert!(answer(&json!({ "content": null, "refusal": "I cannot" }), "stop").expect("an answer").refused);
}

#[test]
fn dialects_of_tool_calls_are_understood() {
    let calls = json!([
        { "id": "a", "function": { "name": "t", "arguments": "{\"x\":1}" } },
        { "id": "a", "function": { "name": "t", "arguments": { "x": 2 } } },
        { "function": { "name": "t", "arguments": "{oops" } },
        { "id": "", "function": { "name": "t", "arguments": "" } },
        { "id": "e", "function": { "name": "t" } },
        { "id": "f", "function": {} },
    ]);
    let answer = answer(&json!({ "content": null, "tool_calls": calls }), "tool_calls").expect("an answer");
    let arguments: Vec<&Value> = answer.tool_calls.iter().map(|call| &call.arguments).collect();
    assert_eq!(arguments, [&json!({"x": 1}), &json!({"x": 2}), &json!("{oops"), &json!({}), &json!({})]);
    let ids: std::collections::HashSet<&str> = answer.tool_calls.iter().map(|call| call.id.as_str()).collect();
    assert_eq!(ids.len(), 5, "{ids:?}");

    let parts =
        json!([{ "type": "text", "text": "so" }, { "type": "tool_use", "id": "u", "name": "t", "input": { "x": 3 } }]);
    let mixed = super::tests::answer(&json!({ "content": parts }), "tool_use").expect("an answer");
    assert_eq!((mixed.content.as_str(), &mixed.tool_calls[0].arguments), ("so", &json!({ "x": 3 })));

    let legacy = json!({ "content": null, "function_call": { "name": "t", "arguments": "{}" } });
    assert_eq!(super::tests::answer(&legacy, "function_call").expect("an answer").tool_calls[0].tool, "t");
}

#[test]
fn a_call_in_several_places_is_one_call() {
    let call = json!({ "name": "t", "arguments": "{\"x\":1}" });
    let listed = json!([{ "id": "a", "type": "function", "function": call }]);
    let parts = json!([{ "type": "tool_use", "id": "b", "name": "t", "input": { "x": 1 } }]);
    for (message, id) in [
        (json!({ "content": null, "tool_calls": listed, "function_call": call }), Some("a")),
        (json!({ "content": parts, "tool_calls": listed }), Some("a")),
        (json!({ "content": parts, "tool_calls": listed, "function_call": call }), Some("a")),
        (json!({ "content": parts, "tool_calls": [], "function_call": call }), Some("b")),
        (json!({ "content": parts, "tool_calls": [{ "id": "a", "function": {} }] }), Some("b")),
        (json!({ "content": "so", "tool_calls": null, "function_call": call }), None),
    ] {
        let calls = answer(&message, "tool_calls").expect("an answer").tool_calls;
        assert_eq!(calls.len(), 1, "{message}");
        assert_eq!((calls[0].tool.as_str(), &calls[0].arguments), ("t", &json!({ "x": 1 })), "{message}");
        assert!(id.is_none_or(|id| calls[0].id == id), "{message}");
    }
    for message in [json!({ "content": "so", "function_call": null }), json!({ "content": "so", "function_call": {} })]
    {
        assert_eq!(answer(&message, "stop").expect("an answer").tool_calls, Vec::new(), "{message}");
    }
}

#[test]
fn a_call_cut_between_two_arguments_is_returned_to_the_model() {
    let tools = [Arc::new(ToolSpec {
        name: "write".to_owned(),
        description: String::new(),
        parameters: json!({ "type": "object" }),
        output: json!(true),
        effect: crate::domain::tool::Effect::Write,
        idempotent: true,
        untrusted: false,
    })];
    for content in [
        "<function=write><parameter=path>a</parameter>",
        "<tool_call>write\n<arg_key>path</arg_key>\n<arg_value>a</arg_value>\n",
    ] {
        let read = |finish: &str| {
            let body = json!({ "choices": [{ "message": { "content": content }, "finish_reason": finish }] });
            read_answer(&body, &tools, false).expect("an answer").tool_calls.remove(0).arguments
        };
        assert_eq!(read("stop"), json!({ "path": "a" }), "{content}");
        assert_eq!(read("length"), json!(content.trim()), "{content}");
    }
}

#[test]
fn unknown_fields_are_kept_as_far_as_they_are_small() {
    let large = "x".repeat(MAX_FIELDS_MEMORY);
    let call = json!({ "id": "a", "function": { "name": "t", "arguments": "{}" }, "signature": "s", "more": large });
    let message = json!({ "content": "so", "tool_calls": [call], "reasoning_details": large, "mark": "m" });
    let answer = answer(&message, "tool_calls").expect("an answer");
    assert_eq!(Value::Object(answer.fields), json!({ "mark": "m" }));
    assert_eq!(Value::Object(answer.tool_calls[0].fields.clone()), json!({ "signature": "s" }));
}

#[test]
fn arguments_have_a_largest_size() {
    let arguments = json!({ "text": "x".repeat(MAX_TEXT_BYTES) }).to_string();
    let call = json!({ "id": "a", "function": { "name": "t", "arguments": arguments } });
    let answer = answer(&json!({ "tool_calls": [call] }), "tool_calls");
    assert_eq!(answer.expect_err("too long"), "calls with more than 1 MiB of arguments");
}

#[test]
fn what_is_no_answer_is_said() {
    for body in [json!({ "choices": [] }), json!({ "choices": "none" }), json!([1])] {
        assert_eq!(read_answer(&body, &[], false), Err("no choices"));
    }
}

#[test]
fn silence_and_thoughts_alone_are_empty_answers() {
    let thinking = json!([{ "type": "thinking", "thinking": [{ "type": "text", "text": "hm" }] }]);
    for message in [
        json!({ "content": " " }),
        json!({ "content": null }),
        json!({ "content": null, "reasoning_content": "hm" }),
        json!({ "content": "<think>hm</think>" }),
        json!({ "content": thinking }),
        json!({ "content": [{ "type": "reasoning", "text": "hm" }] }),
    ] {
        assert!(answer(&message, "stop").expect("an answer").is_empty(), "{message}");
    }
    let parts = json!([{ "type": "thinking", "text": "hm" }, { "thought": true, "text": "hm" }, { "type": "text", "text": "42" }]);
    assert_eq!(answer(&json!({ "content": parts }), "stop").expect("an answer").content, "42");
    for finish in ["length", "max_tokens", "MAX_TOKENS", "model_length"] {
        assert!(answer(&json!({ "content": "" }), finish).expect("an answer").truncated, "{finish}");
    }
}

#[test]
fn unknown_fields_are_kept() {
    let signature = json!({ "google": { "thought_signature": "s" } });
    let call = json!({ "id": "a", "type": "function", "extra_content": signature,
        "function": { "name": "t", "arguments": "{}", "mark": 1 } });
    let message = json!({ "role": "assistant", "content": null, "tool_calls": [call], "reasoning_content": "hm",
        "reasoning_details": [{ "type": "x" }], "refusal": null, "annotations": [], "audio": null, "empty": "" });
    let answer = answer(&message, "tool_calls").expect("an answer");
    assert_eq!(
        Value::Object(answer.fields),
        json!({ "reasoning_content": "hm", "reasoning_details": [{ "type": "x" }] })
    );
    let fields = Value::Object(answer.tool_calls[0].fields.clone());
    assert_eq!(fields, json!({ "extra_content": signature, "function": { "mark": 1 } }));
}

#[test]
fn a_name_of_a_tool_that_is_nearly_right_is_set_right() {
    let spec = ToolSpec {
        name: "calculate".to_owned(),
        description: String::new(),
        parameters: json!({ "type": "object" }),
        output: json!(true),
        effect: crate::domain::tool::Effect::Read,
        idempotent: true,
        untrusted: false,
    };
    let call = json!([{ "id": "a", "function": { "name": "functions.Calculate", "arguments": "\"{\\\"x\\\": 1}\"" } }]);
    let body = json!({ "choices": [{ "message": { "content": null, "tool_calls": call } }] });
    let answer = read_answer(&body, &[Arc::new(spec)], false).expect("an answer");
    assert_eq!(
        (answer.tool_calls[0].tool.as_str(), &answer.tool_calls[0].arguments),
        ("calculate", &json!({ "x": 1 }))
    );
}

#[test]
fn usage_is_read_in_every_dialect_and_estimated_where_it_is_missing() {
    let usage = |usage: Value| {
        read_usage(&json!({ "usage": usage, "choices": [{ "message": { "content": "12345678" } }] }), 400)
    };
    let expected = |prompt_tokens, completion_tokens| Usage { prompt_tokens, completion_tokens };
    assert_eq!(usage(json!({ "prompt_tokens": 7, "completion_tokens": 3 })), expected(7, 3));
    assert_eq!(usage(json!({ "input_tokens": 7.0, "output_tokens": 3 })), expected(7, 3));
    assert_eq!(usage(json!({ "prompt_tokens": -7 })), expected(100, 2));
    assert_eq!(usage(Value::Null), expected(100, 2));
    assert_eq!(usage(json!({ "prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0 })), expected(100, 2));
    assert_eq!(usage(json!({ "prompt_tokens": 7, "completion_tokens": 0 })), expected(7, 2));
    assert_eq!(usage(json!({ "prompt_tokens": 1e300, "completion_tokens": "3" })), expected(100, 3));
    assert_eq!(usage(json!({ "prompt_tokens": "many", "completion_tokens": [3] })), expected(100, 2));
    assert_eq!(usage(json!({ "prompt_tokens": 0, "input_tokens": 9 })), expected(9, 2));
    for message in [json!("12345678"), json!(["12345678"]), json!(7)] {
        assert_eq!(read_usage(&json!({ "choices": [{ "message": message }] }), 400).prompt_tokens, 100, "{message}");
    }
    let thinking = json!({ "choices": [{ "message": { "content": "", "reasoning_content": "123456" } }] });
    assert_eq!(read_usage(&thinking, 400), expected(100, 2));
}
