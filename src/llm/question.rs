//! One question, asked until it is answered or it is clear that it will not be: fallback models, and repairs of answers
//! that do not follow the schema.

use std::time::Duration;

use serde_json::Value;

use super::ModelError;
use super::client::{Asked, Core, Deadline, Exchange, Spent};
use super::model::{Model, Sent};
use super::structured::{Mismatch, Schema};
use super::wire::{self, Answer};
use crate::domain::conversation::{Message, ModelReply, ModelRequest, Usage};
use crate::domain::failure::{Failure, FailureClass};

/// Times a model is told what is wrong with its answer before the question counts as unanswered.
const REPAIRS: u32 = 2;

struct Chat<'a> {
    request: &'a ModelRequest,
    messages: &'a [Message],
    max_output_tokens: u32,
}

impl Exchange for Chat<'_> {
    type Answer = Answer;
    const EMBEDDING: bool = false;

    fn purpose(&self) -> &'static str {
        self.request.purpose
    }
    fn answer_tokens(&self) -> u64 {
        u64::from(self.max_output_tokens)
    }
    fn body(&self, model: &Model) -> (Value, Sent) {
        let dialect = model.dialect();
        let sent = Sent {
            schema: dialect.native_schema && self.request.schema.is_some(),
            limit_field: Some(dialect.limit_field),
        };
        (wire::request_body(&model.name, self.request, self.messages, self.max_output_tokens, dialect), sent)
    }
    fn read(&self, body: &Value) -> Result<Answer, &'static str> {
        wire::read_answer(body)
    }
}

impl Core {
    pub(super) async fn complete(&self, request: &ModelRequest) -> Result<ModelReply, ModelError> {
        let mut spent = Spent::default();
        let schema = request.schema.as_ref().map(Schema::compile).transpose();
        let schema = schema.map_err(|failure| ModelError { failure, usage: Usage::default(), cost_usd: 0.0 })?;
        let mut deadline = Deadline::after_ms(self.settings.timeout_ms);
        let mut overtime = false;
        let mut failed: Option<Failure> = None;
        for name in self.order(request) {
            // A model that hangs uses up the time of all; one more call gives a fallback its chance.
            if failed.is_some() && !deadline.allows(Duration::ZERO) {
                if overtime {
                    break;
                }
                overtime = true;
            }
            let model = self.model(name);
            match self.ask(&model, request, schema.as_ref(), &mut spent, &mut deadline).await {
                Ok(answer) => {
                    return Ok(ModelReply {
                        content: answer.content,
                        tool_calls: answer.tool_calls,
                        usage: spent.usage,
                        cost_usd: spent.cost_usd,
                        model: name.to_owned(),
                        truncated: answer.truncated,
                    });
                }
                Err(asked) => {
                    let is_bad_key = asked.is_bad_key;
                    tracing::warn!(model = name, purpose = request.purpose, failure = %asked.failure, "model call failed");
                    failed = Some(which_to_tell(failed, asked));
                    if is_bad_key || (request.once && spent.usage.total() > 0) {
                        break;
                    }
                }
            }
        }
        let failure = failed.unwrap_or_else(|| Failure::invalid("model.models names no model"));
        Err(ModelError { failure, usage: spent.usage, cost_usd: spent.cost_usd })
    }

    /// The agent's model first, then the configured ones.
    fn order<'a>(&'a self, request: &'a ModelRequest) -> impl Iterator<Item = &'a str> {
        let wanted = request.model.as_deref().filter(|name| !name.is_empty());
        let others = self.settings.models.iter().map(String::as_str).filter(move |name| Some(*name) != wanted);
        wanted.into_iter().chain(others)
    }

    /// Asks one model, and has its answer repaired where it does not follow the schema.
    async fn ask(
        &self,
        model: &Model,
        request: &ModelRequest,
        schema: Option<&Schema<'_>>,
        spent: &mut Spent,
        deadline: &mut Deadline,
    ) -> Result<Answer, Asked> {
        let configured = self.settings.max_output_tokens;
        let max_output_tokens = if request.max_output_tokens == 0 { configured } else { request.max_output_tokens };
        let mut messages = request.messages.clone();
        let mut repairs = 0;
        loop {
            let max_output_tokens = max_output_tokens.min(configured);
            let chat = Chat { request, messages: &messages, max_output_tokens };
            let mut answer = self.call(model, &chat, spent, deadline).await?;
            if answer.refused {
                let message = format!("model {:?}: the model or its content filter refuses to answer", model.name);
                return Err(Asked::new(Failure::permanent(message)));
            }
            let Some(schema) = schema else { return Ok(answer) };
            if !answer.tool_calls.is_empty() && !request.tools.is_empty() {
                return Ok(answer);
            }
            let mismatch = match schema.extract(&answer.content) {
                Ok(content) => {
                    if repairs == 0 {
                        model.followed_schema();
                    }
                    answer.content = content;
                    return Ok(answer);
                }
                Err(mismatch) if answer.truncated => cut(&mismatch, max_output_tokens, request.once),
                Err(mismatch) => mismatch,
            };
            if repairs == 0 && !mismatch.is_json && !answer.truncated {
                model.ignored_schema();
            }
            if repairs == REPAIRS || request.once || !deadline.allows(Duration::ZERO) {
                return Err(Asked::new(unusable(model, request, &mismatch, repairs)));
            }
            repairs += 1;
            messages.extend(schema.repair(&answer.content, &mismatch.mistake));
        }
    }
}

/// Which of two failures is told: the first one that time may heal, else the last one. The task waits no longer than until
/// the first of its models may be asked again.
fn which_to_tell(before: Option<Failure>, now: Asked) -> Failure {
    match before {
        Some(before) if before.class.is_retryable() => {
            let is_away = |failure: &Failure| failure.class == FailureClass::Unavailable;
            let sooner = now.failure.retry_after_ms.filter(|_| is_away(&before) && is_away(&now.failure));
            let wait = before.retry_after_ms.map(|wait| sooner.map_or(wait, |sooner| sooner.min(wait)));
            before.retry_after(wait)
        }
        _ => now.failure,
    }
}

fn cut(mismatch: &Mismatch, max_output_tokens: u32, once: bool) -> Mismatch {
    let mistake = format!("it was cut after {max_output_tokens} tokens and must be shorter");
    let way_out = if once { "no more was left of the budget" } else { "raise model.max_output_tokens" };
    let summary = format!("it was cut at {max_output_tokens} tokens; {way_out}");
    Mismatch { mistake, summary, is_json: mismatch.is_json }
}

/// Models answer differently each time, so nonsense may be gone in another attempt: class transient.
fn unusable(model: &Model, request: &ModelRequest, mismatch: &Mismatch, repairs: u32) -> Failure {
    let schema = request.schema.as_ref().map_or("", |schema| schema.name);
    let message = format!(
        "model {:?}: the answer does not follow schema {schema:?} after {repairs} repairs: {}",
        model.name, mismatch.summary
    );
    Failure::new(FailureClass::Transient, message)
}
