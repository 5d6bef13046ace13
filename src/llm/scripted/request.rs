//! A request as the scripted model sees it.

use axum::http::HeaderMap;
use serde_json::Value;

use super::script::Scenario;

/// A request that the scripted model has received.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordedRequest {
    /// Its purpose: `plan`, `act`, `replan`, `answer`, `embed`.
    pub purpose: String,
    /// The requested model.
    pub model: String,
    /// The goal between `<goal>` and `</goal>`, if it is marked.
    pub goal: Option<String>,
    /// Its body; null where the script does not keep bodies.
    pub body: Value,
}

pub(super) struct Incoming {
    pub(super) purpose: String,
    pub(super) model: String,
    pub(super) body: Value,
    /// Text of the user messages.
    user_text: String,
    /// Text of all messages.
    text: String,
    /// Text of the first user message.
    opening: String,
}

impl Incoming {
    /// Reads a request; the error is a sentence for the client.
    pub(super) fn read(headers: &HeaderMap, body: &[u8]) -> Result<Self, String> {
        let body: Value = serde_json::from_slice(body).map_err(|error| format!("the body is no JSON: {error}"))?;
        let by_header = headers.get("x-qron-purpose").and_then(|value| value.to_str().ok());
        let by_schema = body["response_format"]["json_schema"]["name"].as_str();
        let purpose = by_header.or(by_schema).unwrap_or("act").to_owned();
        let Some(model) = body["model"].as_str().map(str::to_owned) else {
            return Err("you must provide a model parameter".to_owned());
        };
        let messages = body["messages"].as_array().map_or(&[][..], Vec::as_slice);
        let text_of = |wanted: &dyn Fn(&str) -> bool| {
            let wanted = messages.iter().filter(|message| wanted(message["role"].as_str().unwrap_or_default()));
            wanted.filter_map(|message| message["content"].as_str()).collect::<Vec<_>>().join("\n")
        };
        let user_text = text_of(&|role| role == "user");
        let text = text_of(&|_| true);
        let opening = messages.iter().find(|message| message["role"] == "user");
        let opening = opening.and_then(|message| message["content"].as_str()).unwrap_or_default().to_owned();
        Ok(Self { purpose, model, body, user_text, text, opening })
    }

    pub(super) fn record(&self, purpose: &str, keep_body: bool) -> RecordedRequest {
        RecordedRequest {
            purpose: purpose.to_owned(),
            model: self.model.clone(),
            goal: self.goal().map(str::to_owned),
            body: if keep_body { self.body.clone() } else { Value::Null },
        }
    }

    /// The marked goal.
    pub(super) fn goal(&self) -> Option<&str> {
        let (_, rest) = self.user_text.split_once("<goal>")?;
        rest.split_once("</goal>").map(|(goal, _)| goal.trim())
    }

    /// Key of the conversation of this request: its goal, and for instruction steps their instructions, too, because
    /// a task may carry out several at once.
    pub(super) fn conversation(&self, goal: String) -> String {
        if self.purpose == "act" { format!("{goal}\n{}", self.opening) } else { goal }
    }

    /// The goal that makes this request one of `scenario`; `None` when it is not.
    pub(super) fn goal_in(&self, scenario: &Scenario) -> Option<String> {
        let fits = scenario.purpose.is_none_or(|purpose| purpose == self.purpose)
            && scenario.model.is_none_or(|model| model == self.model)
            && scenario.contains.iter().all(|text| self.text.contains(text));
        if !fits {
            return None;
        }
        if let Some(goal) = self.goal() {
            return goal.contains(&scenario.goal).then(|| goal.to_owned());
        }
        let mut lines = self.user_text.lines();
        lines.find(|line| line.contains(&scenario.goal)).map(str::to_owned)
    }
}
