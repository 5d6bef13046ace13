//! The model client against the scripted model server, over real sockets.

use qron::domain::conversation::{Message, ModelReply, ModelRequest, ResponseSchema};
use qron::llm::scripted::{Scenario, Script, ScriptedModel};
use qron::llm::{EmbeddingSettings, ModelError, Models, Settings};
use serde_json::json;

mod dialects;
mod embeddings;
mod endpoint;
mod faults;
mod forms;
mod limits;
mod metrics;
mod queues;
mod restarts;
mod scripted;
mod secrets;
mod streams;
mod structured;
mod windows;

/// The defaults, with time limits and delays for tests.
fn settings(base_url: &str) -> Settings {
    let defaults: toml::Table = toml::from_str(qron::config::DEFAULT_TOML).expect("the defaults");
    let mut settings: Settings = defaults["model"].clone().try_into().expect("section model");
    base_url.clone_into(&mut settings.base_url);
    settings.models = vec!["main".to_owned()];
    settings.retry.base_ms = 5;
    settings.retry.max_ms = 20;
    settings.retry.max_retry_after_ms = 50;
    settings.circuit_failures = 0;
    settings
}

fn no_embeddings() -> EmbeddingSettings {
    EmbeddingSettings { model: String::new(), dimensions: 8 }
}

fn models(settings: &Settings) -> Models {
    Models::new(settings, &no_embeddings()).expect("good settings").expect("a model")
}

async fn server(scenarios: Vec<Scenario>) -> ScriptedModel {
    ScriptedModel::start(Script::new(scenarios)).await.expect("starts")
}

fn request(purpose: &'static str, goal: &str) -> ModelRequest {
    ModelRequest {
        purpose,
        messages: vec![
            Message::System { content: "You are a test.".to_owned() },
            Message::User { content: format!("<goal>{goal}</goal>") },
        ],
        tools: Vec::new(),
        schema: None,
        max_output_tokens: 100,
        model: None,
        once: false,
        waits_since: None,
    }
}

/// A request whose answer is `{"n": <integer>}`.
fn number_request() -> ModelRequest {
    let schema = json!({ "type": "object", "required": ["n"], "additionalProperties": false,
        "properties": { "n": { "type": "integer" } } });
    ModelRequest {
        schema: Some(ResponseSchema { name: "number", schema, ..ResponseSchema::default() }),
        ..request("plan", "a number")
    }
}

async fn ask(settings: &Settings) -> Result<ModelReply, ModelError> {
    models(settings).complete(&request("act", "anything")).await
}
