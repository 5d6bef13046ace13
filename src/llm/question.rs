//! One request to the models until it is answered or cannot be: with fallback models, and repairs of answers that do
//! not follow the schema.

use std::time::Duration;

use serde_json::Value;

use super::ModelError;
use super::client::{Deadline, Exchange, ExchangeCost, FailedExchange, ModelClient, TooLong};
use super::model::{Model, RequestFeatures};
use super::reading::{self, Answer};
use super::structured::{Mismatch, Schema, whole_value};
use super::textual;
use super::window::{self, Fitted};
use super::wire::{self, Dialect, SchemaForm, StreamForm};
use crate::domain::conversation::{Exhausted, LONGER_CONTEXT, Message, ModelReply, ModelRequest};
use crate::domain::failure::{Failure, FailureClass};
use crate::domain::json::Size;
use crate::domain::time::Timestamp;
use crate::telemetry::large::beside_other_work;

/// Repairs of one request, over all models.
const REPAIRS: u32 = 1;
/// How often a question that is too long is asked again with less data.
const SHORTENINGS: u32 = 2;

struct ChatExchange<'a> {
    request: &'a ModelRequest,
    messages: &'a [Message],
    max_output_tokens: u32,
}

impl Exchange for ChatExchange<'_> {
    type Answer = Answer;
    const EMBEDDING: bool = false;

    fn purpose(&self) -> &'static str {
        self.request.purpose
    }
    fn answer_tokens(&self) -> u64 {
        u64::from(self.max_output_tokens)
    }
    fn waits_since(&self) -> Option<Timestamp> {
        self.request.waits_since
    }
    fn body(&self, model: &Model, dialect: Dialect) -> (Value, RequestFeatures) {
        let has_tools = !self.request.tools.is_empty();
        let tools_in_prompt = has_tools && dialect.tools_in_prompt;
        let has_fields = |message: &Message| match message {
            Message::Assistant { origin, .. } => origin.as_ref().is_some_and(|origin| origin.model == model.name),
            _ => false,
        };
        let has_plain = self.request.schema.as_ref().is_some_and(|schema| schema.plain.is_some());
        let sends_schema = dialect.schema < SchemaForm::JsonObject;
        let sent = RequestFeatures {
            unions: has_plain && sends_schema && !dialect.plain_schemas,
            schema: dialect.schema != SchemaForm::Prompt && (self.request.schema.is_some() || tools_in_prompt),
            tools: has_tools && !tools_in_prompt,
            tools_in_prompt,
            system: !dialect.system_in_user && matches!(self.messages.first(), Some(Message::System { .. })),
            fields: !dialect.without_fields && self.messages.iter().any(has_fields),
            limit_field: Some(dialect.limit_field),
            stream: dialect.stream != StreamForm::Whole,
        };
        let mut body = wire::request_body(&model.name, self.request, self.messages, self.max_output_tokens, dialect);
        body.extend(model.extra_body.clone());
        (Value::Object(body), sent)
    }
    fn read(&self, body: &Value, sent: RequestFeatures) -> Result<Answer, &'static str> {
        reading::read_answer(body, &self.request.tools, sent.tools_in_prompt)
    }
}

/// State of one request over all models tried.
#[derive(Default)]
struct QuestionState {
    spent: ExchangeCost,
    repairs: u32,
    /// Whether a model answered, even unusably.
    was_answered: bool,
    /// The last unusable answer.
    said: Option<String>,
}

/// An accepted answer.
struct AcceptedAnswer {
    answer: Answer,
    is_excerpt: bool,
    exhausted: Option<Exhausted>,
    /// Bytes of data that were left out of its question.
    data_left_out: usize,
}

impl AcceptedAnswer {
    const fn whole(answer: Answer, data_left_out: usize) -> Self {
        Self { answer, is_excerpt: false, exhausted: None, data_left_out }
    }
}

impl ModelClient {
    pub(super) async fn complete(&self, request: &ModelRequest) -> Result<ModelReply, ModelError> {
        let mut state = QuestionState::default();
        let schema = request.schema.as_ref().map(Schema::compile).transpose();
        let schema = schema.map_err(|failure| state.failed(failure))?;
        let mut deadline = Deadline::after_ms(self.settings.timeout_ms);
        let mut overtime = false;
        let mut failed: Option<Failure> = None;
        for name in self.order(request) {
            // A model that hangs uses up the time for all; one more call gives a fallback its chance.
            if failed.is_some() && !deadline.allows(Duration::ZERO) {
                if overtime {
                    break;
                }
                overtime = true;
            }
            let model = self.model(name);
            match self.ask(&model, request, schema.as_ref(), &mut state, &mut deadline).await {
                Ok(AcceptedAnswer { answer, is_excerpt, exhausted, data_left_out }) => {
                    return Ok(ModelReply {
                        content: answer.content,
                        tool_calls: answer.tool_calls,
                        usage: state.spent.usage,
                        cost_usd: state.spent.cost_usd,
                        model: name.to_owned(),
                        truncated: answer.truncated,
                        is_excerpt,
                        fields: answer.fields,
                        exhausted,
                        data_left_out: u64::try_from(data_left_out).unwrap_or(u64::MAX),
                    });
                }
                Err(failed_exchange) => {
                    let is_bad_key = failed_exchange.is_bad_key;
                    tracing::warn!(model = name, purpose = request.purpose, failure = %failed_exchange.failure, "model call failed");
                    failed = Some(failure_to_report(failed, failed_exchange, state.was_answered));
                    if is_bad_key || (request.once && state.spent.usage.total() > 0) {
                        break;
                    }
                }
            }
        }
        Err(state.failed(failed.unwrap_or_else(|| Failure::invalid("model.models names no model"))))
    }

    /// The agent's model first, then the configured ones.
    fn order<'a>(&'a self, request: &'a ModelRequest) -> impl Iterator<Item = &'a str> {
        let wanted = request.model.as_deref().filter(|name| !name.is_empty());
        let others = self.settings.models.iter().map(String::as_str).filter(move |name| Some(*name) != wanted);
        wanted.into_iter().chain(others)
    }

    /// Calls one model, and repairs an answer that does not follow the schema. An answer that reached the token limit
    /// before its first word is returned empty, with the limit for the next request.
    async fn ask(
        &self,
        model: &Model,
        request: &ModelRequest,
        schema: Option<&Schema<'_>>,
        state: &mut QuestionState,
        deadline: &mut Deadline,
    ) -> Result<AcceptedAnswer, FailedExchange> {
        let wanted = if request.max_output_tokens == 0 { model.output_limit() } else { request.max_output_tokens };
        let schema_bytes = request.schema.as_ref().map_or(0, |schema| Size::of(&schema.schema).text);
        let mut messages = request.messages.clone();
        // The window that the question is made to fit after its server refused it as too long, or cut it.
        let mut narrowed = None;
        let mut shortenings = 0;
        loop {
            let window = narrowed.or_else(|| model.window());
            let shown = fitted(model, request, &messages, window).inspect_err(|_| state.was_answered = true)?;
            let configured = wanted.min(model.ceiling());
            let left = window.map(|window| window::answer_tokens(window, shown.bytes.saturating_add(schema_bytes)));
            let max_output_tokens = left.map_or(configured, |left| configured.min(left));
            // The window, when it limits the answer more than any setting does.
            let tight_window = window.filter(|_| max_output_tokens < configured);
            let data_left_out = shown.left_out;
            let chat = ChatExchange { request, messages: &shown.messages, max_output_tokens };
            let called = self.call(model, &chat, &mut state.spent, deadline).await;
            let mut answer = match called {
                Ok(answer) => answer,
                Err(failed) if shortenings < SHORTENINGS && !request.once => {
                    let next = narrower(model, request, &messages, &shown.messages, window, &failed);
                    narrowed = Some(next.ok_or(failed)?);
                    shortenings += 1;
                    continue;
                }
                Err(failed) => return Err(failed),
            };
            if answer.refused {
                let message = format!("model {:?}: the model or its content filter refuses to answer", model.name);
                return Err(FailedExchange::new(Failure::permanent(message)));
            }
            if answer.truncated && answer.is_empty() {
                // Less than that is all that the budget pays for, which says nothing of the model.
                let is_whole = max_output_tokens >= self.settings.max_output_tokens;
                let may_raise = is_whole && tight_window.is_none();
                let next = if may_raise { model.raise_output_limit(max_output_tokens) } else { None };
                let exhausted = Some(Exhausted { limit: max_output_tokens, next, window: tight_window });
                return Ok(AcceptedAnswer { answer, is_excerpt: false, exhausted, data_left_out });
            }
            let Some(schema) = schema else { return Ok(AcceptedAnswer::whole(answer, data_left_out)) };
            if !answer.tool_calls.is_empty() && !request.tools.is_empty() {
                return Ok(AcceptedAnswer::whole(answer, data_left_out));
            }
            let bytes = answer.content.len();
            let (text, is_excerpt) = beside_other_work(bytes, || text_of(&answer));
            let mismatch = match beside_other_work(text.len(), || schema.extract(&text)) {
                Ok(content) => {
                    if state.repairs == 0 {
                        model.followed_schema();
                    }
                    answer.content = content;
                    return Ok(AcceptedAnswer { answer, is_excerpt, exhausted: None, data_left_out });
                }
                Err(mismatch) if answer.truncated => cut(&mismatch, max_output_tokens, tight_window, request.once),
                Err(mismatch) => mismatch,
            };
            if state.repairs == 0 && !mismatch.is_json && !answer.truncated {
                model.ignored_schema();
            }
            let looks_like_call = || beside_other_work(bytes, || textual::looks_like_call(&answer.content));
            let is_statement = !answer.truncated && !answer.is_empty() && !looks_like_call();
            state.was_answered = true;
            state.said = is_statement.then(|| answer.content.clone());
            if state.repairs == REPAIRS || request.once || !deadline.allows(Duration::ZERO) {
                return Err(FailedExchange::new(unusable(model, request, &mismatch, state.repairs)));
            }
            state.repairs += 1;
            messages.extend(schema.repair(&answer.content, &mismatch.mistake));
        }
    }
}

impl QuestionState {
    fn failed(&self, failure: Failure) -> ModelError {
        let ExchangeCost { usage, cost_usd } = self.spent;
        ModelError { failure, usage, cost_usd, was_answered: self.was_answered, said: self.said.clone() }
    }
}

/// `messages` as they fit into `window`.
fn fitted<'a>(
    model: &Model,
    request: &ModelRequest,
    messages: &'a [Message],
    window: Option<u32>,
) -> Result<Fitted<'a>, FailedExchange> {
    window::fitted(&model.name, messages, request.tools_bytes(), window).map_err(FailedExchange::new)
}

/// The window to try after the exchange with `shown` failed, which was to fit into `tried`; `None` when it was not too long, or the
/// same would be sent again.
fn narrower(
    model: &Model,
    request: &ModelRequest,
    messages: &[Message],
    shown: &[Message],
    tried: Option<u32>,
    failed: &FailedExchange,
) -> Option<u32> {
    let TooLong { bytes, window: told } = failed.too_long?;
    let known = told.or_else(|| model.window()).filter(|known| tried.is_none_or(|tried| *known < tried));
    let window = known.unwrap_or_else(|| window::below(bytes));
    match fitted(model, request, messages, Some(window)) {
        Ok(next) => (*next.messages != *shown).then_some(window),
        // The next look at a window that is known tells what is wrong.
        Err(_) => known,
    }
}

/// The text of an answer to a request with a schema, and whether a value in it is only an excerpt. Some proxies make
/// the model call a tool by the schema, but such a call may also be meant as a call.
fn text_of(answer: &Answer) -> (String, bool) {
    match answer.tool_calls.as_slice() {
        [only] if answer.content.trim().is_empty() => (only.arguments.to_string(), true),
        _ => (answer.content.clone(), !is_one_value(&answer.content)),
    }
}

/// Whether `text` is one object or list, in a code fence or not, and nothing else.
fn is_one_value(text: &str) -> bool {
    let text = text.trim();
    let fenced = text.strip_prefix("```").and_then(|rest| rest.strip_suffix("```"));
    let inner = fenced.map_or(text, |inner| inner.split_once('\n').map_or(inner, |(_, body)| body));
    whole_value(inner).is_some()
}

/// Which of two failures is reported: the first one if it is retryable, else the last one. The wait ends when the
/// first of the models may be called again. When a model `was_answered`, an outage of another model is not reported:
/// a task that waited for it would only send the first model the same request again.
fn failure_to_report(before: Option<Failure>, now: FailedExchange, was_answered: bool) -> Failure {
    let is_away = |failure: &Failure| failure.class == FailureClass::Unavailable;
    match before {
        Some(before) if before.class.is_retryable() => {
            let sooner = now.failure.retry_after_ms.filter(|_| is_away(&before) && is_away(&now.failure));
            let wait = before.retry_after_ms.map(|wait| sooner.map_or(wait, |sooner| sooner.min(wait)));
            before.retry_after(wait)
        }
        Some(before) if was_answered && is_away(&now.failure) => before,
        _ => now.failure,
    }
}

/// What is wrong with an answer that was cut after `max_output_tokens`, which `tight_window` left it when that is given.
fn cut(mismatch: &Mismatch, max_output_tokens: u32, tight_window: Option<u32>, once: bool) -> Mismatch {
    let mistake = format!("it was cut after {max_output_tokens} tokens and must be shorter");
    let way_out = match tight_window {
        Some(window) => format!("the model reads {window} tokens at once, its answer included: {LONGER_CONTEXT}"),
        None if once => "no longer one is paid for".to_owned(),
        None => "raise model.max_output_tokens".to_owned(),
    };
    let summary = format!("it was cut at {max_output_tokens} tokens; {way_out}");
    Mismatch { mistake, summary, is_json: mismatch.is_json }
}

/// The request was repaired once already: another attempt at the task would do no better, so the class is permanent.
fn unusable(model: &Model, request: &ModelRequest, mismatch: &Mismatch, repairs: u32) -> Failure {
    let schema = request.schema.as_ref().map_or("", |schema| schema.name);
    let before = if repairs == 0 { "" } else { ", and its answer before that was unusable, too" };
    Failure::permanent(format!("model {:?} gave no usable {schema}: {}{before}", model.name, mismatch.summary))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::conversation::RequestedCall;

    #[test]
    fn a_value_among_words_or_in_a_call_is_an_excerpt() {
        let answer = |content: &str, calls: &[Value]| Answer {
            content: content.to_owned(),
            tool_calls: calls
                .iter()
                .map(|arguments| RequestedCall { arguments: arguments.clone(), ..RequestedCall::default() })
                .collect(),
            ..Answer::default()
        };
        for (content, is_excerpt) in [
            (r#" {"answer": "x"} "#, false),
            ("```json\n{\"answer\": \"x\",}\n```", false),
            (r#"```{"answer": "x"}```"#, false),
            (r#"The step gave {"response": "503 Service Unavailable"}, so nothing was delivered."#, true),
            (r#"{"answer": "x"} {"answer": "y"}"#, true),
            ("Here:\n```json\n{\"answer\": \"x\"}\n```", true),
        ] {
            assert_eq!(text_of(&answer(content, &[])), (content.to_owned(), is_excerpt));
        }
        let call = serde_json::json!({"result": "x"});
        assert_eq!(text_of(&answer("", std::slice::from_ref(&call))), (call.to_string(), true));
    }

    #[test]
    fn what_a_model_answered_counts_more_than_that_another_is_away() {
        let away = |wait: u64| Failure::unavailable("away").retry_after(Some(wait));
        let prose = || Failure::permanent("prose");
        let reported = |before: Failure, now: Failure, was_answered| {
            let reported = failure_to_report(Some(before), FailedExchange::new(now), was_answered);
            (reported.message, reported.retry_after_ms)
        };
        assert_eq!(reported(prose(), away(5), true), ("prose".to_owned(), None));
        assert_eq!(reported(prose(), away(5), false), ("away".to_owned(), Some(5)), "refused, not answered");
        assert_eq!(reported(prose(), Failure::transient("slow"), true), ("slow".to_owned(), None));
        assert_eq!(reported(away(9), away(5), false), ("away".to_owned(), Some(5)));
        assert_eq!(reported(away(9), prose(), true), ("away".to_owned(), Some(9)));
        assert_eq!(failure_to_report(None, FailedExchange::new(away(5)), true), away(5));
    }
}
