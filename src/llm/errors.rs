//! Errors of one exchange with the endpoint, and the failure class of each.
//!
//! Keeps no prompt, no answer and no key: of a refusal only the server's own message, shortened.

use async_openai::error::OpenAIError;

use super::blame::Blame;
use super::refusal::Refusal;
use super::shorten::{MESSAGE_CHARS, shorten};
use crate::domain::conversation::LONGER_CONTEXT;
use crate::domain::failure::{Failure, FailureClass};

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
    #[error("silence for {0} ms in the middle of the answer: the connection to the model is lost")]
    Silent(u128),
    #[error("only signs of life for {0} ms, and nothing of the answer")]
    Stalled(u128),
    #[error("the answer is larger than model.max_response_bytes of {0} bytes")]
    TooLarge(usize),
    #[error(
        "the answers of the model endpoint that qron is reading now would take more than {} MiB of memory together, so that qron asks \
         for this one again later; when that happens often, the endpoint sends too much at once or model.max_response_bytes is too \
         high", .0 / 1024 / 1024
    )]
    OverMemoryBudget(usize),
    #[error("the answer is not JSON; is model.base_url an OpenAI-compatible endpoint?")]
    NotJson,
    #[error("the answer is a web page; is model.base_url an OpenAI-compatible endpoint, and the network open?")]
    WebPage,
    /// Parts of an answer that are missing or of the wrong kind.
    #[error("the answer has {0}")]
    Shape(&'static str),
    /// The server seems to have read only a part of the question: it counted this many tokens.
    #[error(
        "its server seems to have cut the question: it counted {0} tokens, far fewer than the question has, so that the answer \
         cannot be relied on; {way_out}", way_out = LONGER_CONTEXT
    )]
    Cut(u32),
    #[error("{0}")]
    Refused(Refusal),
    #[error("the request cannot be built: {0}")]
    Request(String),
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

    /// The error for a successful response whose body is no JSON. A web page comes from a captive portal or a proxy,
    /// not from a model.
    pub(super) fn unreadable(body: &[u8]) -> Self {
        if body.trim_ascii_start().starts_with(b"<") { Self::WebPage } else { Self::NotJson }
    }

    /// Attributes the error. `model_answers` means that the model answered another request while this one was under
    /// way; `fails_alone`, that this one failed before and the model has answered others since without a failure.
    ///
    /// A request without an answer in time counts as an outage unless something shows otherwise: an endpoint that
    /// hangs must not cost the tasks their attempts. When the model answers other requests meanwhile, the request is
    /// too long.
    pub(super) fn blame(&self, model_answers: bool, fails_alone: bool) -> Blame {
        match self {
            Self::TimedOut(_) | Self::Silent(_) | Self::Stalled(_) if model_answers => Blame::Question,
            _ if fails_alone && self.may_be_outage() => Blame::Question,
            Self::Refused(refusal) => refusal.blame(),
            Self::TimedOut(_)
            | Self::Silent(_)
            | Self::Stalled(_)
            | Self::Connect { .. }
            | Self::Certificate(_)
            | Self::Broken(_)
            | Self::WebPage => Blame::Outage,
            Self::TooLarge(_)
            | Self::OverMemoryBudget(_)
            | Self::NotJson
            | Self::Shape(_)
            | Self::Cut(_)
            | Self::Request(_) => Blame::Question,
        }
    }

    /// Whether both a server that is down and a request that brings the server down fail like this.
    pub(super) fn may_be_outage(&self) -> bool {
        match self {
            Self::TimedOut(_) | Self::Silent(_) | Self::Stalled(_) | Self::Broken(_) => true,
            Self::Refused(refusal) => refusal.may_be_outage(),
            _ => false,
        }
    }

    /// Whether the model answered, even with a refusal.
    pub(super) const fn is_answered(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::TooLarge(_) | Self::NotJson | Self::Shape(_) | Self::Cut(_))
    }

    /// Whether the question is longer than the model can read.
    pub(super) fn is_too_long(&self) -> bool {
        match self {
            Self::Cut(_) => true,
            Self::Refused(refusal) => refusal.is_too_long(),
            _ => false,
        }
    }

    /// How many tokens the model reads at once, as far as the error tells.
    pub(super) const fn window(&self) -> Option<u32> {
        match self {
            Self::Cut(window) => Some(*window),
            Self::Refused(refusal) => refusal.window,
            _ => None,
        }
    }

    /// The failure of this try at `model`.
    pub(super) fn failure(&self, model: &str) -> Failure {
        let class = match self {
            Self::Refused(refusal) => return refusal.failure(model),
            Self::TimedOut(_) | Self::Silent(_) | Self::Stalled(_) | Self::Connect { timed_out: true, .. } => {
                FailureClass::Timeout
            }
            // The task waits for its turn at no charge.
            Self::OverMemoryBudget(_) => FailureClass::Unavailable,
            Self::Certificate(_) => FailureClass::Permanent,
            Self::Cut(_) | Self::Request(_) => FailureClass::Invalid,
            Self::Connect { .. }
            | Self::Broken(_)
            | Self::TooLarge(_)
            | Self::NotJson
            | Self::WebPage
            | Self::Shape(_) => FailureClass::Transient,
        };
        Failure::new(class, format!("model {model:?}: {self}"))
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

    #[test]
    fn an_error_says_who_does_what_and_the_way_out() {
        for (error, parts) in [
            (
                CallError::OverMemoryBudget(256 * 1024 * 1024),
                [
                    "of the model endpoint",
                    "256 MiB",
                    "qron asks for this one again later",
                    "model.max_response_bytes is too high",
                ],
            ),
            (
                CallError::Cut(4096),
                ["seems to have cut", "it counted 4096 tokens", "--ctx-size", "OLLAMA_CONTEXT_LENGTH"],
            ),
        ] {
            for part in parts {
                assert!(error.to_string().contains(part), "{part:?} is missing in {error}");
            }
        }
    }

    #[test]
    fn silence_is_an_outage_unless_the_model_answers_others_meanwhile() {
        for error in [CallError::TimedOut(1), CallError::Silent(1), CallError::Stalled(1)] {
            let blames = (error.blame(false, false), error.blame(true, false), error.blame(false, true));
            assert_eq!(blames, (Blame::Outage, Blame::Question, Blame::Question), "{error}");
        }
        for error in [CallError::NotJson, CallError::Shape("no choices"), CallError::TooLarge(1)] {
            assert_eq!((error.blame(false, false), error.is_answered()), (Blame::Question, true), "{error}");
        }
        assert_eq!(CallError::unreadable(b" <!doctype html>"), CallError::WebPage);
        for error in [
            CallError::WebPage,
            CallError::Connect { cause: "refused".into(), timed_out: false },
            CallError::Connect { cause: "no answer".into(), timed_out: true },
            CallError::Certificate("expired".into()),
        ] {
            assert_eq!(error.blame(true, true), Blame::Outage, "{error}");
        }
        let broken = CallError::Broken("connection reset".into());
        let blames = (broken.blame(false, false), broken.blame(true, false), broken.blame(false, true));
        assert_eq!(blames, (Blame::Outage, Blame::Outage, Blame::Question));
        assert_eq!(CallError::unreadable(b"{\"a\": tru"), CallError::NotJson);
    }
}
