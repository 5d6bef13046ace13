//! Negotiates the dialect of a model by what the endpoint refuses.
//!
//! A refusal leads to the next form of the request; a form is learnt once the model has answered it. When the refusal
//! does not name its reason, a form is tried and dropped again when it fails as well: an endpoint that is out of
//! order teaches nothing. A guessed form is used for a while and then checked again; a form that a refusal named is
//! kept for good. When the endpoint rejected the text that the model wrote, the same request is repeated first.
//!
//! Answers are requested in pieces. An endpoint that sends them whole all the same is not asked for pieces again. As long as no
//! answer of the model came in pieces, a refusal without a reason may be meant for them, and so may a failure: then the next of
//! the tries that there are anyway asks for the whole answer.

use super::StructuredOutput;
use super::errors::CallError;
use super::model::{Model, RequestFeatures};
use super::refusal::Refusal;
use super::wire::{Dialect, SchemaForm, StreamForm};

/// Statuses of a request that the endpoint does not take. Some report it as their own failure.
const STATUSES: [u16; 8] = [400, 404, 405, 406, 415, 422, 500, 501];
/// Words that say that something is not known or not possible, lower case.
const UNKNOWN: [&str; 21] = [
    "support",
    "unknown",
    "unrecognized",
    "unexpected",
    "not permitted",
    "not allowed",
    "extra",
    "invalid param",
    "requires",
    "enable",
    "not available",
    "unavailable",
    "not implemented",
    "no endpoints",
    "does not take",
    "forbidden",
    "cannot be used",
    "cannot use",
    "disabled",
    "only",
    "must alternate",
];
/// Words about the form of the answer.
const SCHEMA: [&str; 11] = [
    "response_format",
    "response format",
    "json_schema",
    "json schema",
    "json_object",
    "json mode",
    "structured output",
    "structured_output",
    "guided",
    "grammar",
    "schema",
];
/// Words about unions in a schema, or about a schema that is too large.
const UNIONS: [&str; 9] = [
    "anyof",
    "any_of",
    "oneof",
    "union",
    "too complex",
    "too many states",
    "too many properties",
    "too many parameters",
    "schema is too",
];
/// Words about fields that models want back and other servers do not know.
const FIELDS: [&str; 5] = ["reasoning", "extra_content", "thinking", "extra_forbidden", "extra inputs"];
/// Words about the system message.
const SYSTEM: [&str; 6] =
    ["system role", "system message", "role system", "roles must alternate", "developer instruction", "'system'"];
/// Statuses of a request for an answer in pieces that an endpoint does not take, when it says no reason.
const STREAM_STATUSES: [u16; 3] = [400, 406, 422];
/// Codes of endpoints that read the answers of the model themselves and could not: another try at the same may do.
const MISWRITTEN: [&str; 3] = ["tool_use_failed", "json_validate_failed", "failed_generation"];
/// Words about a conversation that is too long, which no other form makes shorter.
const LENGTH: [&str; 4] = ["context", "too long", "too large", "maximum"];

/// The dialects of one call of a model.
#[expect(clippy::struct_excessive_bools, reason = "each is a thing of its own that was found out or done")]
pub(super) struct Negotiation {
    /// What the model is known to take, and whether that is certain.
    known: (Dialect, bool),
    current: Dialect,
    /// Whether every form that led to the current one was named by a refusal.
    is_certain: bool,
    /// Whether a form was tried after a failure of the endpoint; that is done once.
    has_guessed: bool,
    /// Whether the request was made again as it was.
    has_repeated: bool,
    /// Whether the whole answer was requested after a failure of one in pieces.
    whole_after_failure: bool,
}

impl Negotiation {
    pub(super) fn new(model: &Model) -> Self {
        let known = model.dialect();
        Self {
            known,
            current: known.0,
            is_certain: known.1,
            has_guessed: false,
            has_repeated: false,
            whole_after_failure: false,
        }
    }

    /// The dialect of the next try.
    pub(super) const fn dialect(&self) -> Dialect {
        self.current
    }

    /// Learns the current dialect after an answer to a request with the features `sent`. `was_streamed` says that the answer
    /// came in pieces.
    pub(super) fn succeeded(&mut self, model: &Model, sent: RequestFeatures, was_streamed: bool) {
        if was_streamed {
            model.streamed();
        } else if sent.stream {
            self.current.stream = StreamForm::Whole;
        } else if self.whole_after_failure && !model.streamed_badly() {
            self.current.stream = self.known.0.stream;
        }
        if self.current != self.known.0 {
            tracing::info!(model = %model.name, dialect = ?self.current, "the model is called in another dialect from now on");
            model.learn(self.current, self.is_certain);
        }
    }

    /// Adapts the dialect to a refusal of a request with the features `sent`; returns whether to try again at once.
    pub(super) fn adapt(&mut self, model: &Model, error: &CallError, sent: RequestFeatures) -> bool {
        let CallError::Refused(refusal) = error else { return false };
        if !STATUSES.contains(&refusal.status) {
            return false;
        }
        let is_miswritten = refusal.mentions(&MISWRITTEN);
        if is_miswritten && !std::mem::replace(&mut self.has_repeated, true) {
            return true;
        }
        // Its words are about the answer, not about the request.
        if !is_miswritten && let Some(next) = self.named(model, refusal, sent) {
            self.current = next;
            return true;
        }
        let guess = self.guessed(model, refusal, sent);
        if let Some(next) = guess {
            self.current = next;
            self.is_certain = false;
        } else if self.has_guessed && refusal.status >= 500 {
            (self.current, self.is_certain) = self.known;
        }
        guess.is_some()
    }

    /// Requests the whole answer at the next try when this failure of one in pieces may be due to them.
    pub(super) fn failed(&mut self, model: &Model, error: &CallError, sent: RequestFeatures) {
        let may_be_due = match error {
            CallError::Refused(refusal) => matches!(refusal.status, 500..=502),
            CallError::Broken(_) | CallError::NotJson | CallError::Shape(_) => true,
            _ => false,
        };
        if sent.stream && may_be_due && !model.has_streamed() {
            self.current.stream = StreamForm::Whole;
            (self.is_certain, self.whole_after_failure) = (false, true);
        }
    }

    /// The form without what the refusal names.
    fn named(&self, model: &Model, refusal: &Refusal, sent: RequestFeatures) -> Option<Dialect> {
        let now = self.current;
        let says_unknown = refusal.mentions(&UNKNOWN);
        let may_change_schema = sent.schema && model.structured_output == StructuredOutput::Auto;
        if sent.stream && now.stream == StreamForm::WithUsage && refusal.mentions(&["stream_options", "include_usage"])
        {
            return Some(Dialect { stream: StreamForm::Plain, ..now });
        }
        // A server out of order may speak of a stream that ended.
        let is_refusal = refusal.status < 500 || says_unknown;
        if sent.stream && is_refusal && refusal.names("stream") {
            return Some(Dialect { stream: StreamForm::Whole, ..now });
        }
        if sent.fields && says_unknown && refusal.mentions(&FIELDS) {
            return Some(Dialect { without_fields: true, ..now });
        }
        let about_tools = refusal.mentions(&["tool", "function call"]);
        if sent.tools && says_unknown && about_tools {
            return Some(Dialect { tools_in_prompt: true, ..now });
        }
        if may_change_schema && sent.unions && refusal.mentions(&UNIONS) {
            return Some(Dialect { plain_schemas: true, ..now });
        }
        if may_change_schema && refusal.mentions(&SCHEMA) {
            // A field that is not known as a whole is not known with another type either.
            let whole = refusal.mentions(&["response_format"]) && !refusal.mentions(&["type", "json"]);
            let next = if whole { SchemaForm::Prompt } else { after(now.schema)? };
            return Some(Dialect { schema: next, ..now });
        }
        if sent.system && refusal.mentions(&SYSTEM) {
            return Some(Dialect { system_in_user: true, ..now });
        }
        if sent.tools && refusal.mentions(&["roles must alternate", "'tool' role", "tool role"]) {
            return Some(Dialect { tools_in_prompt: true, ..now });
        }
        let field = sent.limit_field?;
        let is_named = field.name().is_some_and(|name| refusal.mentions(&[name]));
        let next = model.limit_field_after(field).filter(|_| is_named && says_unknown)?;
        Some(Dialect { limit_field: next, ..now })
    }

    /// The next form to try when the refusal names no reason.
    fn guessed(&mut self, model: &Model, refusal: &Refusal, sent: RequestFeatures) -> Option<Dialect> {
        let is_failure = refusal.status >= 500;
        let is_about_more = refusal.mentions(&LENGTH) || refusal.status == 404;
        if is_about_more || is_failure && self.has_guessed {
            return None;
        }
        let now = self.current;
        let can_change_schema = sent.schema && now.schema != SchemaForm::Prompt;
        let next = if can_change_schema && model.structured_output == StructuredOutput::Auto {
            // Of two forms that are much alike, one is tried.
            let schema = match now.schema {
                SchemaForm::JsonSchema => SchemaForm::JsonObjectWithSchema,
                _ => SchemaForm::Prompt,
            };
            Dialect { schema, ..now }
        } else if sent.tools && !is_failure && !self.has_guessed {
            Dialect { tools_in_prompt: true, ..now }
        } else if sent.stream && may_be_about_stream(refusal) && !model.has_streamed() {
            // No other form has helped, so that none of them is to blame.
            Dialect { stream: StreamForm::Whole, ..self.known.0 }
        } else {
            return None;
        };
        self.has_guessed = true;
        Some(next)
    }
}

/// Whether a refusal without a reason may be meant for an answer in pieces.
fn may_be_about_stream(refusal: &Refusal) -> bool {
    STREAM_STATUSES.contains(&refusal.status) && !refusal.mentions(&SCHEMA)
}

const fn after(form: SchemaForm) -> Option<SchemaForm> {
    match form {
        SchemaForm::JsonSchema => Some(SchemaForm::JsonObjectWithSchema),
        SchemaForm::JsonObjectWithSchema => Some(SchemaForm::JsonObject),
        SchemaForm::JsonObject => Some(SchemaForm::Prompt),
        SchemaForm::Prompt => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::watch;

    use super::*;
    use crate::llm::Settings;
    use crate::llm::model::Signals;

    const SENT: RequestFeatures = RequestFeatures {
        schema: true,
        unions: true,
        tools: true,
        tools_in_prompt: false,
        system: true,
        fields: false,
        limit_field: None,
        stream: true,
    };

    fn model() -> Model {
        let mut defaults: toml::Table = toml::from_str(crate::config::DEFAULT_TOML).expect("the defaults");
        let settings: Settings = defaults.remove("model").expect("a section").try_into().expect("settings");
        let signals = Signals { changed: watch::Sender::new(0), lessons: watch::Sender::new(0) };
        Model::new("m", &settings, false, signals)
    }

    fn refused(status: u16, message: &str, code: &str) -> CallError {
        let (message, code) = (message.to_owned(), code.to_owned());
        CallError::Refused(Refusal { status, message, code, ..Refusal::default() })
    }

    /// Asks with these refusals before the answer; the dialect that is known then, and whether it is certain.
    fn ask(model: &Model, refusals: &[CallError]) -> (Dialect, bool) {
        let mut negotiation = Negotiation::new(model);
        for refusal in refusals {
            assert!(negotiation.adapt(model, refusal, SENT), "{refusal}");
        }
        negotiation.succeeded(model, SENT, true);
        model.dialect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_guess_is_checked_again_and_what_is_named_holds() {
        let later = Duration::from_secs(3_601);
        for (status, message) in [(400, "nonsense"), (422, ""), (500, "Internal Server Error")] {
            let model = model();
            let (first, _) = model.dialect();
            let (guessed, is_certain) = ask(&model, &[refused(status, message, "")]);
            assert_eq!((guessed.schema, is_certain), (SchemaForm::JsonObjectWithSchema, false), "{status}");
            let (named, is_certain) = ask(&model, &[refused(400, "System role not supported", "")]);
            assert_eq!((named.schema, named.system_in_user), (guessed.schema, true));
            assert!(!is_certain, "what is named in doubtful company does not make that certain");
            tokio::time::advance(later).await;
            assert_eq!(model.dialect(), (first, true), "{status}");
            let (named, is_certain) = ask(&model, &[refused(400, "json_schema is not supported", "")]);
            assert_eq!((named.schema, is_certain), (SchemaForm::JsonObjectWithSchema, true));
            tokio::time::advance(later * 24).await;
            assert_eq!(model.dialect(), (named, true));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_the_endpoint_could_not_read_is_requested_again_unchanged() {
        for (message, code) in [
            ("Failed to call a function. Please adjust your prompt. See 'failed_generation'.", "tool_use_failed"),
            ("Failed to validate JSON.", "json_validate_failed invalid_request_error"),
            ("Generated JSON does not match the expected schema. See 'failed_generation'.", ""),
            ("Tool choice is none, but the model called an unknown tool", "tool_use_failed"),
        ] {
            let model = model();
            let known = model.dialect();
            let unlucky = || refused(400, message, code);
            assert_eq!(ask(&model, &[unlucky()]), known, "{message}");
            let (guessed, is_certain) = ask(&model, &[unlucky(), unlucky()]);
            assert!(guessed != known.0 && !is_certain, "{message}");
        }
    }
}
