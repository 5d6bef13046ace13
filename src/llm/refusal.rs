//! A refusal of the endpoint: its message in any dialect, its meaning, and which side is at fault.
//!
//! Keeps no key: of a refusal only the server's own message, shortened.

use reqwest::Url;
use serde_json::Value;

use super::blame::Blame;
use super::shorten::{MESSAGE_CHARS, shorten};
use super::{waits, window};
use crate::clock;
use crate::domain::failure::{Failure, FailureClass};
use crate::domain::redaction::{Redactor, Secret};

/// How long no call is made for an account without credit, when its server names no time, in milliseconds: a person
/// has to pay first.
const EMPTY_ACCOUNT_MS: u64 = 60_000;

/// Details of a refusal that are read.
const MAX_DETAILS: usize = 16;
/// Paths below the base URL that are asked.
const ENDPOINTS: [&str; 2] = ["/chat/completions", "/embeddings"];

/// What a refusal means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    Redirect,
    BadKey,
    Denied,
    Flagged,
    NoCredit,
    UnknownModel,
    UnknownPath,
    EmptyAccount,
    RateLimit,
    OverRateLimit,
    TooLong,
    NotAccepted,
    GaveUp,
    OutOfOrder,
    Refuses,
}

/// A status other than success.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
#[error("status {status}: {message}")]
pub(super) struct Refusal {
    pub(super) status: u16,
    /// The server's words, on one line, shortened.
    pub(super) message: String,
    /// The server's code, e.g. `insufficient_quota`, and its type and parameter, lower case.
    pub(super) code: String,
    pub(super) retry_after_ms: Option<u64>,
    /// The base URL that was asked, without secrets; empty when it is not known.
    pub(super) base: String,
    /// How many tokens the model reads at once, when the server names it in a refusal of a long question.
    pub(super) window: Option<u32>,
}

impl Refusal {
    /// Reads the body of a refusal, in any dialect. A wait in the body is used when the headers name none.
    pub(super) fn read(status: u16, body: &[u8], key: &str, retry_after_ms: Option<u64>) -> Self {
        let text = String::from_utf8_lossy(body);
        let (message, code, n_ctx) = match serde_json::from_slice::<Value>(body) {
            Ok(body) => {
                // Google answers with a list of one.
                let body = body.get(0).unwrap_or(&body);
                let error = if body["error"].is_null() { body } else { &body["error"] };
                let inner = &error["message"]["detail"][0]["msg"];
                let said = [error, &error["message"], &error["detail"], &error["detail"][0]["msg"], inner];
                let message = said.into_iter().find_map(Value::as_str).unwrap_or_default().to_owned();
                let codes = ["code", "type", "param", "status"].map(|field| text_of(&error[field]));
                let more = [quota_ids(error), fields_in(error)].join(" ");
                (message, format!("{} {more}", codes.join(" ")).to_lowercase(), error["n_ctx"].clone())
            }
            // Error pages of proxies say nothing that the status does not.
            Err(_) if body.trim_ascii_start().starts_with(b"<") => (String::new(), String::new(), Value::Null),
            Err(_) => (text.clone().into_owned(), String::new(), Value::Null),
        };
        let retry_after_ms = retry_after_ms.or_else(|| waits::from_body(&text, clock::now()));
        let shown = shorten(&redact(&message, key), MESSAGE_CHARS);
        let refusal = Self { status, message: shown, code, retry_after_ms, base: String::new(), window: None };
        let window = if refusal.is_too_long() { window::named_in(&message, &n_ctx) } else { None };
        Self { window, ..refusal }
    }

    /// The same refusal, of a request to `url`.
    pub(super) fn of_url(self, mut url: Url) -> Self {
        url.set_query(None);
        url.set_fragment(None);
        let is_clean = url.set_username("").is_ok() && url.set_password(None).is_ok();
        let text = if is_clean { url.as_str() } else { "" };
        let base = ENDPOINTS.into_iter().find_map(|path| text.strip_suffix(path)).unwrap_or(text);
        Self { base: base.trim_end_matches('/').to_owned(), ..self }
    }

    /// What is probably wrong with the base URL of an endpoint that has no such path.
    fn path_advice(&self) -> String {
        let problem = "the endpoint has no such path";
        match self.base.as_str() {
            "" => format!("{problem}; check model.base_url, which ends in /v1 for most endpoints"),
            base if base.ends_with("/v1") => format!("{problem}; check model.base_url, which is {base}"),
            base => format!("{problem}; check model.base_url, which is {base}: most endpoints want {base}/v1"),
        }
    }

    /// Reads an error that came instead of an answer, or in the middle of one: its code is the status, or else its words tell
    /// which one it would have had.
    pub(super) fn within_answer(body: &[u8], key: &str) -> Self {
        let refusal = Self::read(500, body, key, None);
        let code = refusal.code.split(' ').find_map(|code| code.parse::<u16>().ok());
        let status = match code.filter(|status| (400..600).contains(status)) {
            Some(status) => status,
            None if refusal.mentions(&["rate_limit", "rate limit", "too many requests", "quota"]) => 429,
            None if refusal.mentions(&["authentication", "invalid_api_key"]) => 401,
            None if refusal.mentions(&["permission"]) => 403,
            None if refusal.mentions(&["invalid_request", "badrequest", "context_length"]) => 400,
            None if refusal.mentions(&["overloaded"]) => 529,
            None if refusal.mentions(&["timeout", "timed out"]) => 504,
            None => 500,
        };
        Self { status, ..refusal }
    }

    /// Whether message, code, type or parameter contain `word`, which is lower case, at the begin of a word.
    pub(super) fn names(&self, word: &str) -> bool {
        let begins = |text: &str| {
            let mut places = text.match_indices(word);
            places.any(|(at, _)| !text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
        };
        begins(&self.message.to_lowercase()) || begins(&self.code)
    }

    /// Whether message, code, type or parameter contain one of `words`, which are lower case.
    pub(super) fn mentions(&self, words: &[&str]) -> bool {
        let message = self.message.to_lowercase();
        words.iter().any(|word| message.contains(word) || self.code.contains(word))
    }

    /// The failure of a call of `model`.
    pub(super) fn failure(&self, model: &str) -> Failure {
        let (class, advice) = self.judge();
        // Servers repeat the key they do not like.
        let said = if self.status == 401 || self.message.is_empty() { "" } else { &self.message };
        let colon = if said.is_empty() { "" } else { ": " };
        let status = self.status;
        let advice = match self.meaning() {
            Meaning::UnknownPath => self.path_advice(),
            _ => advice.to_owned(),
        };
        let message = format!("model {model:?}: {advice} (status {status}{colon}{})", said.trim_end_matches('.'));
        let is_empty = matches!(self.meaning(), Meaning::EmptyAccount | Meaning::NoCredit);
        let wait = self.retry_after_ms.or(is_empty.then_some(EMPTY_ACCOUNT_MS));
        Failure::new(class, message).retry_after(wait)
    }

    fn meaning(&self) -> Meaning {
        const CONTEXT: [&str; 9] = [
            "context_length",
            "context length",
            "context size",
            "maximum context",
            "context window",
            "prompt is too long",
            "number of tokens allowed",
            "context overflow",
            "when context the overflows",
        ];
        const CREDIT: [&str; 3] = ["insufficient_quota", "billing_hard_limit", "credit balance is too low"];
        const KEY: [&str; 3] = ["api key not valid", "api_key_invalid", "invalid_api_key"];
        const MODEL: [&str; 4] = ["model_not_found", "model not found", "not a valid model", "no models loaded"];
        match self.status {
            300..=399 => Meaning::Redirect,
            400 | 413 | 422 | 500 if self.mentions(&CONTEXT) => Meaning::TooLong,
            400 | 403 | 429 if self.mentions(&CREDIT) => Meaning::EmptyAccount,
            401 => Meaning::BadKey,
            400 if self.mentions(&KEY) => Meaning::BadKey,
            400 if self.mentions(&MODEL) => Meaning::UnknownModel,
            403 if self.mentions(&["moderation", "flagged", "content_policy", "content policy"]) => Meaning::Flagged,
            403 => Meaning::Denied,
            402 => Meaning::NoCredit,
            404 | 405 | 501 if self.mentions(&["model"]) => Meaning::UnknownModel,
            404 | 405 | 501 => Meaning::UnknownPath,
            429 if self.mentions(&["request too large"]) => Meaning::OverRateLimit,
            // Google says the same of a limit per minute; then it also says when to come back, or which limit it is.
            429 if self.mentions(&["exceeded your current quota"]) && !self.is_of_a_period() => Meaning::EmptyAccount,
            429 => Meaning::RateLimit,
            400 | 413 | 422 => Meaning::NotAccepted,
            408 | 504 => Meaning::GaveUp,
            409 | 425 | 500.. => Meaning::OutOfOrder,
            _ => Meaning::Refuses,
        }
    }

    fn is_of_a_period(&self) -> bool {
        self.retry_after_ms.is_some() || self.mentions(&["resource_exhausted", "perminute", "perday", "per minute"])
    }

    /// Whether both a server that is down and a request that brings the server down refuse like this. A server that
    /// says that it is overloaded, or when to return, blames no request.
    pub(super) fn may_be_outage(&self) -> bool {
        let is_overloaded = matches!(self.status, 503 | 529) || self.retry_after_ms.is_some();
        !is_overloaded && matches!(self.meaning(), Meaning::GaveUp | Meaning::OutOfOrder)
    }

    /// Whether the question is longer than the model can read.
    pub(super) fn is_too_long(&self) -> bool {
        self.meaning() == Meaning::TooLong
    }

    /// Which side is at fault.
    pub(super) fn blame(&self) -> Blame {
        match self.meaning() {
            Meaning::RateLimit => Blame::RateLimit,
            Meaning::Flagged | Meaning::OverRateLimit | Meaning::TooLong | Meaning::NotAccepted | Meaning::Refuses => {
                Blame::Question
            }
            Meaning::Redirect
            | Meaning::BadKey
            | Meaning::Denied
            | Meaning::NoCredit
            | Meaning::UnknownModel
            | Meaning::UnknownPath
            | Meaning::EmptyAccount
            | Meaning::GaveUp
            | Meaning::OutOfOrder => Blame::Outage,
        }
    }

    fn judge(&self) -> (FailureClass, &'static str) {
        use FailureClass::{Invalid, Permanent, RateLimited, Timeout, Transient};
        match self.meaning() {
            Meaning::Redirect => (Permanent, "the endpoint redirects; set model.base_url to the final address"),
            Meaning::BadKey => (Permanent, "the endpoint does not accept the key; check model.api_key"),
            Meaning::Denied => (Permanent, "the endpoint denies access; check what model.api_key may use"),
            Meaning::Flagged => (Permanent, "the endpoint's content policy refuses the request"),
            Meaning::NoCredit => (Permanent, "the account of model.api_key has no credit"),
            Meaning::UnknownModel => {
                (Permanent, "the endpoint does not know this model; check model.models and model.base_url")
            }
            Meaning::UnknownPath => (Permanent, "the endpoint has no such path; check model.base_url"),
            Meaning::EmptyAccount => (Permanent, "the quota of the account of model.api_key is used up"),
            Meaning::OverRateLimit => (Invalid, "the request is larger than the rate limit"),
            Meaning::RateLimit => (RateLimited, "the endpoint asks to slow down"),
            Meaning::TooLong => {
                (Invalid, "context length exceeded: the conversation is longer than the model can read")
            }
            Meaning::NotAccepted => (Invalid, "the endpoint does not accept the request"),
            Meaning::GaveUp => (Timeout, "the endpoint gave up waiting"),
            Meaning::OutOfOrder => (Transient, "the endpoint is out of order"),
            Meaning::Refuses => (Permanent, "the endpoint refuses the request"),
        }
    }
}

/// Names of the limits that Google says are reached, such as `GenerateRequestsPerMinutePerProjectPerModel`.
fn quota_ids(error: &Value) -> String {
    let details = error["details"].as_array().into_iter().flatten();
    let violations = details.filter_map(|detail| detail["violations"].as_array()).flatten();
    let names: Vec<&str> = violations.filter_map(|violation| violation["quotaId"].as_str()).collect();
    names.join(" ")
}

/// Names of the fields that a server made with Python refuses, such as `body.stream_options`.
fn fields_in(error: &Value) -> String {
    let details = [&error["detail"], &error["message"]["detail"]];
    let details = details.into_iter().filter_map(Value::as_array).flatten().take(MAX_DETAILS);
    let fields = details.filter_map(|detail| detail["loc"].as_array());
    let names = fields.map(|names| names.iter().map(text_of).collect::<Vec<_>>().join("."));
    names.collect::<Vec<_>>().join(" ")
}

fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => String::new(),
    }
}

/// `text` without `key`, in any encoding in which the server returns it.
fn redact(text: &str, key: &str) -> String {
    let secrets: Vec<Secret> = Secret::new("key", key).into_iter().collect();
    match Redactor::new(&secrets) {
        Ok(redactor) => redactor.redact(text).into_owned(),
        // A text that may hold the key is not shown.
        Err(_) => String::new(),
    }
}

#[cfg(test)]
mod tests;
