//! Finding the dialect in which a model can be asked, from what it refuses.
//!
//! A refusal leads to the next form of the request; a form is learnt once the model has answered to it. When the refusal
//! does not name what it does not like, a form is tried and given up again when it fares no better: an endpoint that is
//! out of order teaches nothing.

use super::StructuredOutput;
use super::errors::CallError;
use super::model::{Model, Sent};
use super::refusal::Refusal;
use super::wire::{Dialect, SchemaForm};

/// Statuses of a request that the endpoint does not take. Some report it as their own failure.
const STATUSES: [u16; 8] = [400, 404, 405, 406, 415, 422, 500, 501];
/// Words that say that something is not known or not possible, lower case.
const UNKNOWN: [&str; 20] = [
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
/// Words about fields that models want back and other servers do not know.
const FIELDS: [&str; 5] = ["reasoning", "extra_content", "thinking", "extra_forbidden", "extra inputs"];
/// Words about the system message.
const SYSTEM: [&str; 6] =
    ["system role", "system message", "role system", "roles must alternate", "developer instruction", "'system'"];
/// Words about a conversation that is too long, which no other form makes shorter.
const LENGTH: [&str; 4] = ["context", "too long", "too large", "maximum"];

/// The dialects of one call of a model.
pub(super) struct Negotiation {
    known: Dialect,
    current: Dialect,
    is_certain: bool,
    /// Whether a form was tried after a failure of the endpoint; that is done once.
    has_guessed: bool,
}

impl Negotiation {
    pub(super) fn new(model: &Model) -> Self {
        let known = model.dialect();
        Self { known, current: known, is_certain: true, has_guessed: false }
    }

    /// How to ask now.
    pub(super) const fn dialect(&self) -> Dialect {
        self.current
    }

    /// The model has answered: what led there is learnt.
    pub(super) fn succeeded(&self, model: &Model) {
        if self.current != self.known {
            tracing::info!(model = %model.name, dialect = ?self.current, "asking in another dialect from now on");
            model.learn(self.current, self.is_certain);
        }
    }

    /// Takes a refusal of what was `sent`; true when there is another form to ask in.
    pub(super) fn adapt(&mut self, model: &Model, error: &CallError, sent: Sent) -> bool {
        let CallError::Refused(refusal) = error else { return false };
        if !STATUSES.contains(&refusal.status) {
            return false;
        }
        if let Some(next) = self.named(model, refusal, sent) {
            self.current = next;
            return true;
        }
        let guess = self.guessed(model, refusal, sent);
        if let Some(next) = guess {
            self.current = next;
            // The request as such is at fault by a status below 500, be it in whatever words.
            self.is_certain &= refusal.status < 500;
        } else if self.has_guessed && refusal.status >= 500 {
            self.current = self.known;
            self.is_certain = true;
        }
        guess.is_some()
    }

    /// The form without what the refusal names.
    fn named(&self, model: &Model, refusal: &Refusal, sent: Sent) -> Option<Dialect> {
        let now = self.current;
        let says_unknown = refusal.mentions(&UNKNOWN);
        let may_change_schema = sent.schema && model.structured_output == StructuredOutput::Auto;
        if sent.fields && says_unknown && refusal.mentions(&FIELDS) {
            return Some(Dialect { without_fields: true, ..now });
        }
        let about_tools = refusal.mentions(&["tool", "function call"]);
        if sent.tools && says_unknown && about_tools {
            return Some(Dialect { tools_in_prompt: true, ..now });
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

    /// A form that may be what the refusal means.
    fn guessed(&mut self, model: &Model, refusal: &Refusal, sent: Sent) -> Option<Dialect> {
        let is_failure = refusal.status >= 500;
        let is_about_more = refusal.mentions(&LENGTH) || refusal.status == 404;
        if is_about_more || is_failure && self.has_guessed {
            return None;
        }
        let now = self.current;
        let next = if sent.schema && model.structured_output == StructuredOutput::Auto {
            // Of two forms that are much alike, one is tried.
            let schema = match now.schema {
                SchemaForm::JsonSchema => SchemaForm::JsonObjectWithSchema,
                _ => SchemaForm::Prompt,
            };
            Dialect { schema, ..now }
        } else if sent.tools && !is_failure && !self.has_guessed {
            Dialect { tools_in_prompt: true, ..now }
        } else {
            return None;
        };
        self.has_guessed = true;
        Some(next)
    }
}

const fn after(form: SchemaForm) -> Option<SchemaForm> {
    match form {
        SchemaForm::JsonSchema => Some(SchemaForm::JsonObjectWithSchema),
        SchemaForm::JsonObjectWithSchema => Some(SchemaForm::JsonObject),
        SchemaForm::JsonObject => Some(SchemaForm::Prompt),
        SchemaForm::Prompt => None,
    }
}
