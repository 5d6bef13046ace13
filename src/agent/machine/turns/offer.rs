//! What is open to the model in a turn, and the schema that says so.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::decision::Decision;
use crate::agent::machine::prompts::turns as prompts;
use crate::agent::machine::state::{Status, Step};
use crate::agent::machine::{shortlist, wire_arguments};
use crate::domain::conversation::ResponseSchema;
use crate::domain::tool::{ToolSpec, resolve_name};

/// Longest thought before a decision, in characters.
const THOUGHT_CHARS: u32 = 200;

/// The outcomes of a run in turns.
const BOTH_ENDS: [&str; 2] = ["done", "impossible"];

const TURN_FORM: &str = r#"{"thought": "a few words", "tool": "name of a tool", "arguments": {"name": "value"}}
or {"thought": "a few words", "outcome": "done or impossible", "answer": "the result, or why there is none"}"#;

/// What is open to the model in a turn.
pub(super) struct Offer {
    pub(super) tools: Vec<Arc<ToolSpec>>,
    /// The only addresses that may be requested; any when empty.
    pub(super) urls: Vec<String>,
    /// Names of the tools that fit, of which some may be closed.
    pub(super) fitting: Vec<String>,
    /// The outcomes.
    pub(super) ends: &'static [&'static str],
    /// Names of the tools of which one must answer before the work is done.
    pub(super) owed: Vec<String>,
}

impl Offer {
    /// What is said to a decision that is not open; `None` to one that is. A tool that does not exist is told elsewhere.
    pub(super) fn refuses(&self, decision: &Decision) -> Option<String> {
        let names: Vec<&str> = self.tools.iter().map(|tool| tool.name.as_str()).collect();
        let (is_open, end) = match decision {
            Decision::Call { tool, .. } => {
                let fitting: Vec<&str> = self.fitting.iter().map(String::as_str).collect();
                let is_unknown = !names.is_empty() && resolve_name(tool, &fitting).is_none();
                (is_unknown || resolve_name(tool, &names).is_some(), None)
            }
            Decision::Done(_) => (self.ends.contains(&"done"), Some("done")),
            Decision::Impossible(_) => (self.ends.contains(&"impossible"), Some("impossible")),
        };
        match end {
            _ if is_open => None,
            Some(outcome) => Some(prompts::not_yet(outcome, &names)),
            None if names.is_empty() => Some(prompts::ONLY_THE_END.to_owned()),
            None => Some(prompts::first_these(&names)),
        }
    }
}

/// The outcomes that are open to the model. Small models give up before they have tried, and tell what a page says
/// before they have read it.
pub(super) fn open_ends(step: &Step, open: &[Arc<ToolSpec>], is_owed: bool) -> &'static [&'static str] {
    let Status::Acting(act) = &step.status else { return &BOTH_ENDS };
    let has_tried = step.calls > 0;
    if !open.is_empty() && (act.doors.must_call || is_owed && !has_tried) {
        return &[];
    }
    // One failure is no reason to give up, and neither is a call of another tool than the one that is owed.
    let may_give_up = open.is_empty() || has_tried && act.doors.failures == 0 && !is_owed;
    match (is_owed, may_give_up) {
        (true, true) => &BOTH_ENDS[1..],
        (true, false) => &[],
        (false, true) => &BOTH_ENDS,
        (false, false) => &BOTH_ENDS[..1],
    }
}

/// Schema of a decision: a call of one of the tools on offer, or an end with one of the outcomes on offer.
pub(super) fn turn_schema(offer: &Offer, goal: &str) -> ResponseSchema {
    let Offer { tools, urls, ends, .. } = offer;
    let thought = json!({"type": "string", "maxLength": THOUGHT_CHARS});
    let form = |properties: Value| {
        let mut all = Map::new();
        all.insert("thought".to_owned(), thought.clone());
        all.extend(properties.as_object().cloned().unwrap_or_default());
        let names: Vec<&String> = all.keys().collect();
        json!({"type": "object", "required": names, "properties": all, "additionalProperties": false})
    };
    let end = (!ends.is_empty())
        .then(|| form(json!({"outcome": {"type": "string", "enum": ends}, "answer": {"type": "string"}})));
    let calls = tools.iter().map(|tool| {
        let mut arguments = wire_arguments::schema_of(&shortlist::parameters(tool, goal));
        if !urls.is_empty() && arguments["properties"]["url"].is_object() {
            arguments["properties"]["url"] = json!({"type": "string", "enum": urls});
        }
        form(json!({"tool": {"type": "string", "enum": [tool.name]}, "arguments": arguments}))
    });
    let forms: Vec<Value> = calls.chain(end).collect();
    let schema = if let [only] = forms.as_slice() { only.clone() } else { json!({ "anyOf": forms }) };
    let decides: Vec<Value> =
        ["tool", "outcome", "answer", "name"].iter().map(|name| json!({"required": [name]})).collect();
    let tolerated = Some(json!({"type": "object", "anyOf": decides}));
    ResponseSchema { name: "turn", schema, tolerated, form: Some(TURN_FORM), plain: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_tools_the_only_form_is_the_end() {
        let offer =
            Offer { tools: Vec::new(), urls: Vec::new(), fitting: Vec::new(), ends: &BOTH_ENDS, owed: Vec::new() };
        let schema = turn_schema(&offer, "").schema;
        assert_eq!(schema["required"], json!(["thought", "outcome", "answer"]));
    }
}
