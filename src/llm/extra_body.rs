//! Further fields of the body of chat requests, which the configuration names for each model.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// Fields by model.
pub type ExtraBody = BTreeMap<String, Map<String, Value>>;

/// Fields that qron sets itself, and what to do instead.
const OWNED: [(&str, &str); 14] = [
    ("model", "name the model in model.models, or in model of an agent"),
    ("messages", "use role and instructions of an agent"),
    ("tools", "use tools of an agent"),
    ("tool_choice", "leave it out: the step decides which tools may be called"),
    ("functions", "use tools of an agent"),
    ("function_call", "leave it out: the step decides which tools may be called"),
    ("response_format", "use model.structured_output"),
    ("stream", "leave it out: qron finds out whether answers can come in pieces"),
    ("stream_options", "leave it out: qron finds out whether answers can come in pieces"),
    ("max_tokens", "use model.max_output_tokens"),
    ("max_completion_tokens", "use model.max_output_tokens"),
    ("n", "leave it out: qron reads one answer"),
    ("user", "leave it out: qron tells no endpoint who asks"),
    ("input", "leave it out: it is no field of chat requests"),
];

/// A problem for each of `fields` that qron sets itself.
pub(super) fn problems(fields: &ExtraBody) -> Vec<String> {
    let problem = |(model, name, value): (&String, &String, &Value)| {
        let (_, instead) = OWNED.iter().find(|(owned, _)| owned == name)?;
        Some(format!("model.extra_body.{model:?}.{name} = {value} is a field that qron sets itself: {instead}"))
    };
    let all = fields.iter().flat_map(|(model, fields)| fields.iter().map(move |(name, value)| (model, name, value)));
    all.filter_map(problem).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_that_qron_sets_are_refused_with_key_value_and_way_out() {
        let fields =
            |value: Value| ExtraBody::from([("qwen3:8b".to_owned(), value.as_object().cloned().unwrap_or_default())]);
        let said = problems(&fields(json!({"max_tokens": 100, "stream": true, "seed": 7})));
        assert_eq!(
            said,
            [
                "model.extra_body.\"qwen3:8b\".max_tokens = 100 is a field that qron sets itself: use model.max_output_tokens",
                "model.extra_body.\"qwen3:8b\".stream = true is a field that qron sets itself: leave it out: qron finds out whether answers can come in pieces",
            ]
        );
        for (owned, _) in OWNED {
            assert_eq!(problems(&fields(json!({ owned: null }))).len(), 1, "{owned}");
        }
        assert_eq!(problems(&fields(json!({"reasoning_effort": "low", "temperature": 0, "top_p": 0.9}))), [""; 0]);
    }
}
