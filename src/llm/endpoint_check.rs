//! Lists the models of the configured endpoint once at start, so that a wrong address, key or name is reported then
//! and not by the first task that fails.

use std::time::Duration;

use async_openai::config::Config as _;
use reqwest::StatusCode;
use secrecy::ExposeSecret as _;
use serde_json::Value;
use tokio::time::timeout;

use super::Settings;
use super::errors::CallError;
use super::refusal::Refusal;
use super::transport::{Endpoint, Transport};
use crate::domain::failure::Failure;

/// Time limit of the check.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Largest list of models that is read, in bytes.
const MAX_BYTES: usize = 4 * 1024 * 1024;
/// Longest name of a model that is passed on, in characters.
const NAME_CHARS: usize = 200;

/// A check of the endpoint: whether it answers, and whether it has the configured models.
pub struct EndpointCheck {
    endpoint: Endpoint,
    transport: Transport,
    configured: Vec<ConfiguredModel>,
    lacks_name: bool,
}

/// A configured model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfiguredModel {
    /// Key of the setting, e.g. `model.models`.
    pub setting: String,
    /// Name of the model.
    pub model: String,
}

/// Result of the check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndpointState {
    /// It lists every configured model.
    Ready,
    /// It answers, but does not list its models.
    Silent,
    /// It does not list some configured models.
    Lacks {
        /// Configured models that it does not list.
        missing: Vec<ConfiguredModel>,
        /// Names of the models that it lists.
        listed: Vec<String>,
    },
    /// It refuses the key.
    BadKey,
    /// It does not answer, or refuses to list models; the reason.
    Down(String),
}

impl EndpointCheck {
    /// The check for the endpoint of `settings`; `None` when no endpoint is configured. `agents` are the names of
    /// agents with the model that each prefers.
    ///
    /// # Errors
    /// As [`super::Models::new`].
    pub fn new<'a>(
        settings: &Settings,
        agents: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Option<Self>, Failure> {
        let Some(endpoint) = Endpoint::from_settings(settings)? else { return Ok(None) };
        let transport = Transport::new(settings, &endpoint)?;
        let configured = |setting: String, model: &str| ConfiguredModel { setting, model: model.to_owned() };
        let models = settings.models_at(&endpoint);
        let lacks_name = models.is_empty();
        let models = models.iter().map(|model| configured("model.models".to_owned(), model));
        let agents = agents.into_iter().map(|(agent, model)| configured(format!("agents.{agent}.model"), model));
        let configured = models.chain(agents).collect();
        Ok(Some(Self { endpoint, transport, configured, lacks_name }))
    }

    /// Base URL of the endpoint. It holds no secret.
    #[must_use]
    pub fn url(&self) -> &str {
        self.endpoint.api_base()
    }

    /// The configured models, the preferred one first.
    #[must_use]
    pub fn configured(&self) -> &[ConfiguredModel] {
        &self.configured
    }

    /// Whether `model.models` names no model of an endpoint that may have any.
    #[must_use]
    pub const fn lacks_name(&self) -> bool {
        self.lacks_name
    }

    /// Runs the check. Takes at most five seconds.
    pub async fn run(&self) -> EndpointState {
        self.listed().await.map_or_else(|state| state, |listed| self.compare(listed))
    }

    /// Names of the models at the endpoint. Takes at most five seconds.
    ///
    /// # Errors
    /// The state of an endpoint that lists none: [`EndpointState::Silent`], [`EndpointState::BadKey`] or
    /// [`EndpointState::Down`].
    pub async fn listed(&self) -> Result<Vec<String>, EndpointState> {
        self.listed_within(TIMEOUT).await
    }

    /// The same, with `patience` for an endpoint that is busy.
    ///
    /// # Errors
    /// Those of [`EndpointCheck::listed`].
    pub async fn listed_within(&self, patience: Duration) -> Result<Vec<String>, EndpointState> {
        let too_slow = |_| EndpointState::Down(format!("no answer within {} s", patience.as_secs()));
        let body = timeout(patience, self.list()).await.map_err(too_slow)?.map_err(|error| state_of(&error))?;
        names(&body).ok_or(EndpointState::Silent)
    }

    async fn list(&self) -> Result<Value, CallError> {
        let request = self.transport.client().get(self.endpoint.url("/models")).headers(self.endpoint.headers());
        let mut response = request.send().await.map_err(|error| CallError::from_reqwest(&error))?;
        let status = response.status();
        let body = self.transport.read(&mut response, MAX_BYTES).await?;
        if !status.is_success() {
            let key = self.endpoint.api_key().expose_secret();
            return Err(CallError::Refused(Refusal::read(status.as_u16(), &body, key, None)));
        }
        serde_json::from_slice(&body).map_err(|_| CallError::NotJson)
    }

    fn compare(&self, listed: Vec<String>) -> EndpointState {
        let is_listed = |configured: &ConfiguredModel| listed.iter().any(|name| is_same(&configured.model, name));
        let missing: Vec<ConfiguredModel> =
            self.configured.iter().filter(|configured| !is_listed(configured)).cloned().collect();
        if missing.is_empty() { EndpointState::Ready } else { EndpointState::Lacks { missing, listed } }
    }
}

fn state_of(error: &CallError) -> EndpointState {
    let CallError::Refused(refusal) = error else { return EndpointState::Down(error.to_string()) };
    match StatusCode::from_u16(refusal.status) {
        Ok(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => EndpointState::BadKey,
        // Many compatible endpoints serve chat completions only.
        Ok(StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED) => {
            EndpointState::Silent
        }
        _ => EndpointState::Down(refusal.to_string()),
    }
}

/// The names in a list of models, in the form of OpenAI (`data`), of Ollama (`models`), or as a list alone.
fn names(body: &Value) -> Option<Vec<String>> {
    let items = body.get("data").or(body.get("models")).unwrap_or(body).as_array()?;
    let name = |item: &Value| {
        let keys = ["id", "name", "model"];
        let name = item.as_str().or_else(|| keys.iter().find_map(|key| item[key].as_str()))?;
        // A name goes to the log: one that could forge a line is no name.
        (!name.chars().any(char::is_control)).then(|| name.chars().take(NAME_CHARS).collect())
    };
    Some(items.iter().filter_map(name).collect())
}

/// Whether an endpoint that lists `listed` takes the name `configured`: Ollama adds the tag `latest`, Google a folder.
pub(crate) fn is_same(configured: &str, listed: &str) -> bool {
    let listed = listed.strip_prefix("models/").unwrap_or(listed);
    let configured = configured.strip_prefix("models/").unwrap_or(configured);
    configured == listed || listed.strip_suffix(":latest") == Some(configured)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lists_of_every_known_form_are_read() {
        for body in [
            json!({ "object": "list", "data": [{ "id": "a", "object": "model" }, { "id": "b" }] }),
            json!({ "models": [{ "name": "a" }, { "model": "b" }] }),
            json!([{ "id": "a" }, "b"]),
            json!({ "data": [{ "id": "a" }, { "id": "x\nERROR forged" }, { "id": 5 }, { "id": "b" }] }),
        ] {
            assert_eq!(names(&body), Some(vec!["a".to_owned(), "b".to_owned()]), "{body}");
        }
        assert_eq!(names(&json!({ "ok": true })), None);
        assert_eq!(names(&json!({ "data": [] })), Some(Vec::new()));
    }

    #[test]
    fn a_name_is_found_as_its_endpoint_takes_it() {
        for (configured, listed, same) in [
            ("llama3.2", "llama3.2:latest", true),
            ("llama3.2:latest", "llama3.2:latest", true),
            ("gemini-2.5-flash", "models/gemini-2.5-flash", true),
            ("models/gemini-2.5-flash", "gemini-2.5-flash", true),
            ("llama3.2", "llama3.2:1b", false),
            ("llama3", "llama3.2:latest", false),
            ("GPT-5", "gpt-5", false),
        ] {
            assert_eq!(is_same(configured, listed), same, "{configured} {listed}");
        }
    }
}
