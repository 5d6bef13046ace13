//! What goes over the wire: answers, refusals and faults.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use futures_util::stream::{self, StreamExt as _};
use serde_json::{Value, json};

use super::InFlight;
use super::request::Incoming;
use super::script::{Fault, Reply, Turn};
use super::streaming::{AnswerForm, events};
use crate::domain::conversation::Usage;

/// Size of the pieces of a huge body, in bytes.
const PIECE_BYTES: usize = 64 * 1024;

pub(super) fn json(status: StatusCode, body: &Value) -> Response {
    with_type(status, "application/json", Body::from(body.to_string()))
}

fn with_type(status: StatusCode, content_type: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// An answer as it goes out.
struct Outgoing {
    content_type: &'static str,
    text: String,
}

impl Outgoing {
    const EVENTS: &str = "text/event-stream; charset=utf-8";

    fn new(completion: &Value, form: AnswerForm) -> Self {
        match form {
            AnswerForm::Whole => Self { content_type: "application/json", text: completion.to_string() },
            AnswerForm::Pieces { with_usage } => {
                Self { content_type: Self::EVENTS, text: events(completion, with_usage) }
            }
        }
    }

    /// The answer that says `reply`.
    fn of(request: &Incoming, form: AnswerForm, reply: &Reply, usage: Usage) -> Self {
        match reply {
            Reply::Events(text) => Self { content_type: Self::EVENTS, text: text.clone() },
            Reply::Body(body) => Self::new(body, AnswerForm::Whole),
            _ => Self::new(&completion(request, reply, usage), form),
        }
    }

    fn send(self) -> Response {
        with_type(StatusCode::OK, self.content_type, Body::from(self.text))
    }
}

pub(super) fn refusal(status: StatusCode, message: &str, code: Option<&str>) -> Response {
    let kind = if status.is_server_error() { "server_error" } else { "invalid_request_error" };
    json(status, &json!({ "error": { "message": message, "type": kind, "param": null, "code": code } }))
}

/// The response of `turn`; `in_flight` lives until its last byte is out.
pub(super) fn answer(request: &Incoming, form: AnswerForm, turn: &Turn, usage: Usage, in_flight: InFlight) -> Response {
    let right = || Outgoing::of(request, form, &turn.reply, usage);
    let wrong = |reply: &Reply| Outgoing::of(request, form, reply, usage).send();
    match &turn.fault {
        None => right().send(),
        Some(Fault::RateLimited { retry_after_s }) => {
            let mut response =
                refusal(StatusCode::TOO_MANY_REQUESTS, "Rate limit reached", Some("rate_limit_exceeded"));
            if let Some(seconds) = retry_after_s {
                response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(*seconds));
            }
            response
        }
        Some(Fault::InsufficientQuota) => {
            refusal(StatusCode::TOO_MANY_REQUESTS, "You exceeded your current quota", Some("insufficient_quota"))
        }
        Some(Fault::ServerError | Fault::Hang) => {
            refusal(StatusCode::INTERNAL_SERVER_ERROR, "The server had an error", None)
        }
        Some(Fault::Status(status, message)) => {
            refusal(StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), message, None)
        }
        Some(Fault::SlowDrip { bytes, pause_ms }) => drip(&right(), *bytes, *pause_ms, in_flight),
        Some(Fault::CutStream) => cut(&right()),
        Some(Fault::MalformedJson) => {
            let text = match form {
                AnswerForm::Whole => r#"{"choices":[{"message":{"content":"oh"#,
                AnswerForm::Pieces { .. } => "data: {\"choices\":[{\"delta\":{\"content\":\"oh\n\ndata: [DONE]\n\n",
            };
            Outgoing { text: text.to_owned(), ..right() }.send()
        }
        Some(Fault::WrongSchema) => wrong(&Reply::Json(json!({ "unexpected": true }))),
        Some(Fault::UnknownTool) => wrong(&Reply::ToolCalls(vec![("no_such_tool".to_owned(), json!({}))])),
        Some(Fault::EmptyChoices) => {
            let empty = json!({ "object": "chat.completion", "model": request.model, "choices": [] });
            Outgoing::new(&empty, form).send()
        }
        Some(Fault::HugeBody { bytes }) => huge(*bytes, form, in_flight),
        Some(Fault::EndlessToolLoop) => {
            let tool = request.body["tools"][0]["function"]["name"].as_str().unwrap_or("no_such_tool").to_owned();
            wrong(&Reply::ToolCalls(vec![(tool, json!({}))]))
        }
    }
}

fn completion(request: &Incoming, reply: &Reply, usage: Usage) -> Value {
    // Ids differ from turn to turn of a conversation, and not from run to run.
    let turn = request.body["messages"].as_array().map_or(0, Vec::len);
    let (message, finish_reason) = match reply {
        Reply::Body(body) => return body.clone(),
        Reply::Events(text) => return json!(text),
        Reply::Text(text) => (json!({ "role": "assistant", "content": text }), "stop"),
        Reply::Json(value) => (json!({ "role": "assistant", "content": value.to_string() }), "stop"),
        Reply::ToolCalls(calls) => {
            let calls: Vec<Value> = calls
                .iter()
                .enumerate()
                .map(|(index, (tool, arguments))| {
                    let arguments = arguments.as_str().map_or_else(|| arguments.to_string(), str::to_owned);
                    json!({ "id": format!("call_{turn}_{index}"), "type": "function",
                        "function": { "name": tool, "arguments": arguments } })
                })
                .collect();
            (json!({ "role": "assistant", "content": null, "tool_calls": calls }), "tool_calls")
        }
    };
    json!({
        "id": format!("chatcmpl-{turn}"), "object": "chat.completion", "created": 0, "model": request.model,
        "choices": [{ "index": 0, "message": message, "finish_reason": finish_reason }],
        "usage": {
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "total_tokens": usage.total(),
        },
    })
}

/// `answer` in parts, with a pause between them.
fn drip(answer: &Outgoing, bytes: usize, pause_ms: u64, in_flight: InFlight) -> Response {
    let parts = answer.text.as_bytes().chunks(bytes.max(1)).map(Bytes::copy_from_slice).enumerate();
    let stream = stream::iter(parts.collect::<Vec<_>>()).then(move |(number, part)| {
        let _in_flight = &in_flight;
        async move {
            if number > 0 {
                tokio::time::sleep(Duration::from_millis(pause_ms)).await;
            }
            Ok::<_, Infallible>(part)
        }
    });
    with_type(StatusCode::OK, answer.content_type, Body::from_stream(stream))
}

/// The first half of `answer`, then the end of the connection.
fn cut(answer: &Outgoing) -> Response {
    let half = Bytes::copy_from_slice(&answer.text.as_bytes()[..answer.text.len() / 2]);
    let pieces = [Ok(half), Err(std::io::Error::other("cut by script"))];
    // The pause lets the first half leave before the connection does.
    let stream = stream::iter(pieces).then(async |piece| {
        if piece.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        piece
    });
    with_type(StatusCode::OK, answer.content_type, Body::from_stream(stream))
}

/// A well-formed answer whose text has `bytes` bytes, made as it is sent.
fn huge(bytes: usize, form: AnswerForm, in_flight: InFlight) -> Response {
    let text = "x".repeat(PIECE_BYTES);
    let (content_type, head, piece, tail) = match form {
        AnswerForm::Whole => (
            "application/json",
            r#"{"choices":[{"finish_reason":"stop","message":{"role":"assistant","content":""#,
            text,
            r#""}}]}"#,
        ),
        AnswerForm::Pieces { .. } => (
            Outgoing::EVENTS,
            "",
            format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n"),
            "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n",
        ),
    };
    let (head, piece, tail) = (Bytes::from(head), Bytes::from(piece), Bytes::from(tail));
    let middle = stream::repeat(piece).take(bytes.div_ceil(PIECE_BYTES));
    let stream = stream::iter([head]).chain(middle).chain(stream::iter([tail])).map(move |piece| {
        let _in_flight = &in_flight;
        Ok::<_, Infallible>(piece)
    });
    with_type(StatusCode::OK, content_type, Body::from_stream(stream))
}
