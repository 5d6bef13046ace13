//! Tells at start which model is asked at which endpoint, and whether the endpoint answers. Never holds up the start.

use tokio_util::task::AbortOnDropHandle;

use super::AppError;
use crate::config::Config;
use crate::llm::{ConfiguredModel, EndpointCheck, EndpointState};

/// Most names of models in one line of the log.
const MAX_NAMES: usize = 10;

/// Tells which models are configured and asks the endpoint about them in the background. The question ends when the handle
/// is dropped; there is none without an endpoint.
///
/// # Errors
/// A setting of the endpoint that cannot be used.
pub(super) fn start(config: &Config) -> Result<Option<AbortOnDropHandle<()>>, AppError> {
    let Some(check) = check_of(config)? else {
        tracing::info!("no model is configured: this replica runs only tasks that have a plan");
        return Ok(None);
    };
    tracing::info!(models = %models_of(&check), endpoint = %check.url(), "a model plans the tasks");
    Ok(Some(AbortOnDropHandle::new(tokio::spawn(async move { log_state(&check.run().await, check.url()) }))))
}

/// The check of the endpoint of `config`; `None` without an endpoint.
///
/// # Errors
/// A setting of the endpoint that cannot be used.
pub(super) fn check_of(config: &Config) -> Result<Option<EndpointCheck>, AppError> {
    let agents = config.agents.iter().filter_map(|(name, agent)| Some((name.as_str(), agent.model.as_deref()?)));
    EndpointCheck::new(&config.model, agents).map_err(AppError::Model)
}

fn models_of(check: &EndpointCheck) -> String {
    let models: Vec<&str> = check.configured().iter().map(|configured| configured.model.as_str()).collect();
    models.join(", ")
}

/// A model endpoint that was asked.
pub(crate) struct CheckedEndpoint {
    /// Names of the configured models.
    pub(crate) models: String,
    /// Base URL; it holds no secret.
    pub(crate) url: String,
    /// Why no configured model can be asked; `None` when one can, as far as the endpoint tells.
    pub(crate) fault: Option<String>,
}

/// Asks the endpoint of `config` about its models, for at most five seconds; `None` without an endpoint.
///
/// # Errors
/// A setting of the endpoint that cannot be used.
pub(crate) async fn ask(config: &Config) -> Result<Option<CheckedEndpoint>, AppError> {
    let Some(check) = check_of(config)? else { return Ok(None) };
    let (models, url) = (models_of(&check), check.url().to_owned());
    let fault = match check.run().await {
        EndpointState::Ready | EndpointState::Silent => None,
        EndpointState::Lacks { missing, .. } if missing.len() < check.configured().len() => None,
        EndpointState::Lacks { missing, listed } => missing.first().map(|configured| advice(configured, &listed)),
        EndpointState::BadKey => Some(format!("it refuses the key: {KEY_ADVICE}")),
        EndpointState::Down(reason) => Some(format!("it does not answer ({reason}): {URL_ADVICE}")),
    };
    Ok(Some(CheckedEndpoint { models, url, fault }))
}

pub(super) const KEY_ADVICE: &str = "check OPENAI_API_KEY, or model.api_key (QRON__MODEL__API_KEY)";
pub(super) const URL_ADVICE: &str = "start it, or check OPENAI_BASE_URL, or model.base_url (QRON__MODEL__BASE_URL)";

fn log_state(state: &EndpointState, endpoint: &str) {
    match state {
        EndpointState::Ready => tracing::info!(endpoint, "the model endpoint answers and has the configured models"),
        EndpointState::Silent if !endpoint.trim_end_matches('/').ends_with("/v1") => {
            tracing::warn!(
                endpoint,
                "the model endpoint answers, but lists no models: is its base URL {}/v1?",
                endpoint.trim_end_matches('/')
            );
        }
        EndpointState::Silent => {
            tracing::info!(endpoint, "the model endpoint answers; it does not list its models, so no name was checked");
        }
        EndpointState::Lacks { missing, listed } => {
            for configured in missing {
                tracing::warn!(endpoint, "{}", advice(configured, listed));
            }
        }
        EndpointState::BadKey => tracing::warn!(endpoint, "the model endpoint refuses the key: {KEY_ADVICE}"),
        EndpointState::Down(reason) => {
            tracing::warn!(endpoint, %reason, "the model endpoint does not answer: {URL_ADVICE}");
        }
    }
}

/// What to set instead of a name that the endpoint does not list.
fn advice(configured: &ConfiguredModel, listed: &[String]) -> String {
    let ConfiguredModel { setting, model } = configured;
    let problem = format!("{setting} names {model:?}, which the model endpoint does not list");
    let set = |name: &str| match setting.as_str() {
        "model.models" => format!("set QRON__MODEL__MODELS={}", for_shell(name)),
        _ => format!("set {setting} = {name:?}"),
    };
    let near: Vec<&String> = listed.iter().filter(|name| is_near(model, name)).collect();
    match (listed, &near[..]) {
        ([], _) => format!("{problem}: it has no model; load one there first, e.g. with: ollama pull {model}"),
        ([only], _) => format!("{problem}; it has one: {}", set(only)),
        (_, [near]) => format!("{problem}; the nearest it has: {}", set(near)),
        _ => {
            format!("{problem}; {}. It has: {}", set("NAME"), some_of(listed))
        }
    }
}

/// The first ten of `names`, and how many more there are.
pub(super) fn some_of(names: &[String]) -> String {
    let more = names.len().saturating_sub(MAX_NAMES);
    let shown: Vec<&str> = names.iter().take(MAX_NAMES).map(String::as_str).collect();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", shown.join(", "))
}

/// `name` as one word of a shell: the endpoint chose it, and people paste what they are advised.
pub(super) fn for_shell(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._:/@+-".contains(c);
    if name.chars().all(is_plain) { name.to_owned() } else { format!("'{}'", name.replace('\'', r"'\''")) }
}

/// Whether one name goes on where the other ends, apart from case: `llama3` and `llama3.2:1b`.
fn is_near(configured: &str, listed: &str) -> bool {
    let (configured, listed) = (configured.to_lowercase(), listed.to_lowercase());
    listed.starts_with(&configured) || configured.starts_with(&listed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_advice_names_the_exact_setting() {
        let says = |setting: &str, model: &str, listed: &[&str]| {
            let listed: Vec<String> = listed.iter().map(|name| (*name).to_owned()).collect();
            advice(&ConfiguredModel { setting: setting.to_owned(), model: model.to_owned() }, &listed)
        };
        for (said, part) in [
            (says("model.models", "gpt-5-mini", &["llama3.2:latest"]), "set QRON__MODEL__MODELS=llama3.2:latest"),
            (says("model.models", "qwen3", &["qwen3:8b", "llama3.2:1b"]), "set QRON__MODEL__MODELS=qwen3:8b"),
            (says("model.models", "gpt-5-mini", &["a", "b"]), "set QRON__MODEL__MODELS=NAME. It has: a, b"),
            (says("model.models", "qwen3", &["qwen3:8b", "qwen3:4b"]), "It has: qwen3:8b, qwen3:4b"),
            (says("model.models", "m1", &["x; touch it's"]), r"set QRON__MODEL__MODELS='x; touch it'\''s'"),
            (says("agents.x.model", "gpt-5", &["b"]), "set agents.x.model = \"b\""),
            (says("model.models", "llama3.2", &[]), "ollama pull llama3.2"),
        ] {
            assert!(said.contains(part), "{said}");
        }
        let many: Vec<String> = (0..30).map(|n| format!("m{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let said = says("model.models", "x", &many);
        assert!(said.ends_with("m9 and 20 more"), "{said}");
    }
}
