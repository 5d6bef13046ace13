//! Chooses the model when `model.models` names none: the only one that the endpoint has.

use std::time::Duration;

use super::AppError;
use super::model_check::{KEY_ADVICE, URL_ADVICE, check_of, for_shell, some_of};
use crate::config::Config;
use crate::domain::failure::Failure;
use crate::llm::{EndpointState, is_same};

/// How long an endpoint may take to list its models. Local servers that answer one request at a time keep others waiting.
const PATIENCE: Duration = Duration::from_secs(30);
/// What a person writes to end the choice.
const NAME_ADVICE: &str = "name the model to call in model.models (QRON__MODEL__MODELS)";

/// Sets `model.models` to the only model of the endpoint when it is empty, and returns that model. Models that are named,
/// and OpenAI, are left as they are without a question. Takes at most [`PATIENCE`].
///
/// # Errors
/// [`AppError::Model`] when the endpoint leaves the choice open, [`AppError::ModelAway`] when it does not answer.
pub(crate) async fn choose(config: &mut Config) -> Result<Option<String>, AppError> {
    let Some(check) = check_of(config)?.filter(crate::llm::EndpointCheck::lacks_name) else { return Ok(None) };
    let chosen = match check.listed_within(PATIENCE).await {
        Ok(listed) => only(listed, config.embeddings.model.trim()),
        Err(EndpointState::BadKey) => Err(format!("refuses the key, so that it lists no model: {KEY_ADVICE}")),
        Err(EndpointState::Down(reason)) => {
            let reason = format!(
                "does not answer ({reason}): {URL_ADVICE}, wait when it is busy, or {NAME_ADVICE} to start without it"
            );
            return Err(AppError::ModelAway(unnamed(check.url(), &reason)));
        }
        Err(_) if check.url().trim_end_matches('/').ends_with("/v1") => {
            Err(format!("does not list its models: {NAME_ADVICE}"))
        }
        Err(_) => {
            let url = check.url().trim_end_matches('/');
            Err(format!("does not list its models: is its base URL {url}/v1? If not, {NAME_ADVICE}"))
        }
    };
    let model = chosen.map_err(|reason| AppError::Model(Failure::invalid(unnamed(check.url(), &reason))))?;
    config.model.models = vec![model.clone()];
    Ok(Some(model))
}

fn unnamed(url: &str, reason: &str) -> String {
    format!("model.models is empty, and the endpoint {url} {reason}")
}

/// The only model of `listed` beside `embeddings`; else why there is none, behind the name of the endpoint.
fn only(mut listed: Vec<String>, embeddings: &str) -> Result<String, String> {
    listed.retain(|name| embeddings.is_empty() || !is_same(embeddings, name));
    listed.dedup();
    match &listed[..] {
        [] => Err("has no model: load one there first, e.g. with: ollama pull llama3.2".to_owned()),
        [only] => Ok(only.clone()),
        [first, ..] => {
            let count = listed.len();
            Err(format!(
                "has {count} models: {NAME_ADVICE}, e.g. QRON__MODEL__MODELS={}. It has: {}",
                for_shell(first),
                some_of(&listed)
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(listed: &[&str], embeddings: &str) -> Result<String, String> {
        only(listed.iter().map(|name| (*name).to_owned()).collect(), embeddings)
    }

    #[test]
    fn the_only_model_is_chosen_and_the_one_of_embeddings_does_not_count() {
        assert_eq!(chosen(&["qwen3:8b"], ""), Ok("qwen3:8b".to_owned()));
        assert_eq!(chosen(&["nomic-embed-text:latest", "qwen3:8b"], "nomic-embed-text"), Ok("qwen3:8b".to_owned()));
        assert!(chosen(&["e:latest"], "e").is_err_and(|said| said.contains("has no model")));
    }

    #[test]
    fn several_models_are_told_with_the_setting_and_ten_names_at_most() {
        let said = chosen(&["a", "b"], "").expect_err("no choice");
        assert!(said.contains("has 2 models") && said.contains("QRON__MODEL__MODELS=a"), "{said}");
        assert!(said.contains("model.models") && said.ends_with("It has: a, b"), "{said}");
        let many: Vec<String> = (0..30).map(|n| format!("m{n}")).collect();
        let said = only(many, "").expect_err("no choice");
        assert!(said.ends_with("m8, m9 and 20 more"), "{said}");
    }
}
