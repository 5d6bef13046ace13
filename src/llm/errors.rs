//! What can go wrong in one exchange with the endpoint, and which class of failure each is.
//!
//! Keeps no prompt, no answer and no key: of a refusal only the server's own message, shortened.

use async_openai::error::OpenAIError;
use serde_json::Value;

use crate::domain::failure::{Failure, FailureClass};

/// Longest part of a server's message that is passed on, in characters.
const MESSAGE_CHARS: usize = 300;

/// Why an exchange gave no answer that can be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum CallError {
    #[error("cannot connect to the model endpoint: {cause}")]
    Connect { cause: String, timed_out: bool },
    #[error("the TLS certificate of the model endpoint is not accepted: {0}")]
    Certificate(String),
    #[error("the connection to the model endpoint broke: {0}")]
    Broken(String),
    #[error("no answer within model.timeout_ms of {0} ms")]
    TimedOut(u128),
    #[error("silence for model.read_timeout_ms of {0} ms in the middle of the answer")]
    Silent(u128),
    #[error("the answer is larger than model.max_response_bytes of {0} bytes")]
    TooLarge(usize),
    #[error("the answer is not JSON; is model.base_url an OpenAI-compatible endpoint?")]
    NotJson,
    /// Parts of an answer that are missing or of the wrong kind.
    #[error("the answer has {0}")]
    Shape(&'static str),
    #[error("{0}")]
    Refused(Refusal),
    #[error("the request cannot be built: {0}")]
    Request(String),
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
}

impl From<CallError> for OpenAIError {
    fn from(error: CallError) -> Self {
        Self::Boxed(Box::new(error))
    }
}

impl From<OpenAIError> for CallError {
    fn from(error: OpenAIError) -> Self {
        match error {
            OpenAIError::Boxed(error) => match error.downcast::<Self>() {
                Ok(error) => *error,
                Err(_) => Self::Request("unknown error of the HTTP layer".to_owned()),
            },
            OpenAIError::JSONDeserialize(..) => Self::NotJson,
            OpenAIError::Reqwest(error) => Self::from_reqwest(&error),
            // The texts of the others may hold parts of a body.
            _ => Self::Request("refused by the HTTP layer".to_owned()),
        }
    }
}

impl CallError {
    pub(super) fn from_reqwest(error: &reqwest::Error) -> Self {
        let cause = innermost(error);
        if error.is_builder() || error.is_request() && cause.contains("invalid URL") {
            return Self::Request(cause);
        }
        if cause.contains("certificate") {
            return Self::Certificate(cause);
        }
        if error.is_connect() {
            return Self::Connect { cause, timed_out: error.is_timeout() };
        }
        Self::Broken(cause)
    }

    /// Whether the model, or the way to it, is out of order, as the circuit breaker counts it.
    pub(super) fn is_outage(&self) -> bool {
        match self {
            Self::Refused(refusal) => refusal.status >= 500,
            Self::Request(_) => false,
            _ => true,
        }
    }

    /// The failure that `model` is told to have.
    pub(super) fn failure(&self, model: &str) -> Failure {
        let class = match self {
            Self::Refused(refusal) => return refusal.failure(model),
            Self::TimedOut(_) | Self::Silent(_) | Self::Connect { timed_out: true, .. } => FailureClass::Timeout,
            Self::Certificate(_) => FailureClass::Permanent,
            Self::Request(_) => FailureClass::Invalid,
            Self::Connect { .. } | Self::Broken(_) | Self::TooLarge(_) | Self::NotJson | Self::Shape(_) => {
                FailureClass::Transient
            }
        };
        Failure::new(class, format!("model {model:?}: {self}"))
    }
}

impl Refusal {
    /// Reads the body of a refusal, in whichever dialect.
    pub(super) fn read(status: u16, body: &[u8], key: &str, retry_after_ms: Option<u64>) -> Self {
        let (message, code) = match serde_json::from_slice::<Value>(body) {
            Ok(body) => {
                let error = if body["error"].is_null() { &body } else { &body["error"] };
                let said = [error, &error["message"], &error["detail"], &error["detail"][0]["msg"]];
                let message = said.into_iter().find_map(Value::as_str).unwrap_or_default().to_owned();
                let codes = ["code", "type", "param"].map(|field| text_of(&error[field]));
                (message, codes.join(" ").to_lowercase())
            }
            // Error pages of proxies say nothing that the status does not.
            Err(_) if body.trim_ascii_start().starts_with(b"<") => (String::new(), String::new()),
            Err(_) => (String::from_utf8_lossy(body).into_owned(), String::new()),
        };
        Self { status, message: shorten(&redact(&message, key), MESSAGE_CHARS), code, retry_after_ms }
    }

    /// Whether message, code, type or parameter contain one of `words`, which are lower case.
    pub(super) fn mentions(&self, words: &[&str]) -> bool {
        let message = self.message.to_lowercase();
        words.iter().any(|word| message.contains(word) || self.code.contains(word))
    }

    fn failure(&self, model: &str) -> Failure {
        let (class, advice) = self.judge();
        // Servers repeat the key they do not like.
        let said = if self.status == 401 || self.message.is_empty() { "" } else { &self.message };
        let colon = if said.is_empty() { "" } else { ": " };
        let status = self.status;
        let message = format!("model {model:?}: {advice} (status {status}{colon}{})", said.trim_end_matches('.'));
        Failure::new(class, message).retry_after(self.retry_after_ms)
    }

    fn judge(&self) -> (FailureClass, &'static str) {
        use FailureClass::{Invalid, Permanent, RateLimited, Timeout, Transient};
        let quota = ["insufficient_quota", "exceeded your current quota", "billing_hard_limit"];
        let context = ["context_length", "context length", "maximum context", "context window", "prompt is too long"];
        match self.status {
            300..=399 => (Permanent, "the endpoint redirects; set model.base_url to the final address"),
            401 => (Permanent, "the endpoint does not accept the key; check model.api_key"),
            403 => (Permanent, "the endpoint denies access; check what model.api_key may use"),
            402 => (Permanent, "the account of model.api_key has no credit"),
            404 | 405 | 501 => {
                (Permanent, "the endpoint does not know this model or path; check model.models and model.base_url")
            }
            429 if self.mentions(&quota) => (Permanent, "the quota of the account of model.api_key is used up"),
            429 if self.mentions(&["request too large"]) => (Invalid, "the request is larger than the rate limit"),
            429 => (RateLimited, "the endpoint asks to slow down"),
            400 | 413 | 422 if self.mentions(&context) => {
                (Invalid, "context length exceeded: the conversation is longer than the model can read")
            }
            400 | 413 | 422 => (Invalid, "the endpoint does not accept the request"),
            408 | 504 => (Timeout, "the endpoint gave up waiting"),
            409 | 425 | 500.. => (Transient, "the endpoint is out of order"),
            _ => (Permanent, "the endpoint refuses the request"),
        }
    }
}

fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => String::new(),
    }
}

fn redact(text: &str, key: &str) -> String {
    if key.is_empty() { text.to_owned() } else { text.replace(key, "[key]") }
}

/// `text` on one line, cut to `limit` characters.
pub(super) fn shorten(text: &str, limit: usize) -> String {
    let line: Vec<&str> = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|w| !w.is_empty()).collect();
    let line = line.join(" ");
    match line.char_indices().nth(limit) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// The first cause of an error, which names no address and no header.
pub(super) fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    if cause.source().is_none() && cause.is::<reqwest::Error>() {
        return "no further cause".to_owned();
    }
    shorten(&cause.to_string(), MESSAGE_CHARS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(status: u16, body: &str) -> FailureClass {
        Refusal::read(status, body.as_bytes(), "", None).failure("m").class
    }

    #[test]
    fn every_status_has_its_class() {
        use FailureClass::{Invalid, Permanent, RateLimited, Timeout, Transient};
        let error = |code: &str, message: &str| format!(r#"{{"error":{{"code":"{code}","message":"{message}"}}}}"#);
        assert_eq!(class(429, "{}"), RateLimited);
        assert_eq!(class(429, &error("insufficient_quota", "")), Permanent);
        assert_eq!(class(429, &error("", "You exceeded your current quota, please check your plan")), Permanent);
        assert_eq!(class(429, &error("rate_limit_exceeded", "Request too large for gpt-x")), Invalid);
        for status in [500, 502, 503, 529, 409, 425] {
            assert_eq!(class(status, "<html>bad gateway</html>"), Transient, "{status}");
        }
        for status in [301, 307, 401, 402, 403, 404, 405, 418, 501] {
            assert_eq!(class(status, ""), Permanent, "{status}");
        }
        for status in [400, 413, 422] {
            assert_eq!(class(status, "{}"), Invalid, "{status}");
        }
        for status in [408, 504] {
            assert_eq!(class(status, "[]"), Timeout, "{status}");
        }
    }

    #[test]
    fn a_message_is_found_in_every_dialect_and_kept_short() {
        let said = |body: &str| Refusal::read(400, body.as_bytes(), "", None).message;
        assert_eq!(said(r#"{"error":{"message":"openai"}}"#), "openai");
        assert_eq!(said(r#"{"error":"ollama"}"#), "ollama");
        assert_eq!(said(r#"{"object":"error","message":"vllm"}"#), "vllm");
        assert_eq!(said(r#"{"detail":[{"loc":["body"],"msg":"fastapi"}]}"#), "fastapi");
        assert_eq!(said("404 page\r\nnot found"), "404 page not found");
        assert_eq!(said("<html>"), "");
        assert_eq!(said(&"ä".repeat(1_000)).chars().count(), MESSAGE_CHARS + 1);
    }

    #[test]
    fn a_key_is_never_repeated() {
        let body = r#"{"error":{"message":"Incorrect API key provided: sk-canary"}}"#;
        for status in [400, 401, 403, 429, 500] {
            let failure = Refusal::read(status, body.as_bytes(), "sk-canary", None).failure("m");
            assert!(!failure.message.contains("canary"), "{failure}");
        }
        let refused = Refusal::read(401, body.as_bytes(), "another", None).failure("m");
        assert_eq!(
            refused.message,
            r#"model "m": the endpoint does not accept the key; check model.api_key (status 401)"#
        );
    }

    #[test]
    fn a_conversation_that_is_too_long_is_told_apart() {
        let body = r#"{"error":{"message":"This model's maximum context length is 8192 tokens."}}"#;
        let failure = Refusal::read(400, body.as_bytes(), "", None).failure("m");
        assert_eq!(failure.class, FailureClass::Invalid);
        assert!(failure.message.contains("context length exceeded"), "{failure}");
    }
}
