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
use crate::domain::conversation::Usage;

/// Size of the pieces of a huge body, in bytes.
const PIECE_BYTES: usize = 64 * 1024;

pub(super) fn json(status: StatusCode, body: &Value) -> Response {
    with_type(status, Body::from(body.to_string()))
}

fn with_type(status: StatusCode, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

pub(super) fn refusal(status: StatusCode, message: &str, code: Option<&str>) -> Response {
    let kind = if status.is_server_error() { "server_error" } else { "invalid_request_error" };
    json(status, &json!({ "error": { "message": message, "type": kind, "param": null, "code": code } }))
}

/// The response of `turn`; `in_flight` lives until its last byte is out.
pub(super) fn answer(request: &Incoming, turn: &Turn, usage: Usage, in_flight: InFlight) -> Response {
    let right = || completion(request, &turn.reply, usage).to_string();
    match &turn.fault {
        None => with_type(StatusCode::OK, Body::from(right())),
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
        Some(Fault::MalformedJson) => with_type(StatusCode::OK, Body::from(r#"{"choices":[{"message":{"content":"oh"#)),
        Some(Fault::WrongSchema) => {
            let reply = Reply::Json(json!({ "unexpected": true }));
            json(StatusCode::OK, &completion(request, &reply, usage))
        }
        Some(Fault::UnknownTool) => {
            let reply = Reply::ToolCalls(vec![("no_such_tool".to_owned(), json!({}))]);
            json(StatusCode::OK, &completion(request, &reply, usage))
        }
        Some(Fault::EmptyChoices) => {
            json(StatusCode::OK, &json!({ "object": "chat.completion", "model": request.model, "choices": [] }))
        }
        Some(Fault::HugeBody { bytes }) => huge(*bytes, in_flight),
        Some(Fault::EndlessToolLoop) => {
            let tool = request.body["tools"][0]["function"]["name"].as_str().unwrap_or("no_such_tool").to_owned();
            json(StatusCode::OK, &completion(request, &Reply::ToolCalls(vec![(tool, json!({}))]), usage))
        }
    }
}

fn completion(request: &Incoming, reply: &Reply, usage: Usage) -> Value {
    // Ids differ from turn to turn of a conversation, and not from run to run.
    let turn = request.body["messages"].as_array().map_or(0, Vec::len);
    let (message, finish_reason) = match reply {
        Reply::Body(body) => return body.clone(),
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

/// `text` in pieces, with a pause before each.
fn drip(text: &str, bytes: usize, pause_ms: u64, in_flight: InFlight) -> Response {
    let pieces: Vec<Bytes> = text.as_bytes().chunks(bytes.max(1)).map(Bytes::copy_from_slice).collect();
    let stream = stream::iter(pieces).then(move |piece| {
        let _in_flight = &in_flight;
        async move {
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
            Ok::<_, Infallible>(piece)
        }
    });
    with_type(StatusCode::OK, Body::from_stream(stream))
}

/// The first half of `text`, then the end of the connection.
fn cut(text: &str) -> Response {
    let half = Bytes::copy_from_slice(&text.as_bytes()[..text.len() / 2]);
    let pieces = [Ok(half), Err(std::io::Error::other("cut by script"))];
    // The pause lets the first half leave before the connection does.
    let stream = stream::iter(pieces).then(async |piece| {
        if piece.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        piece
    });
    with_type(StatusCode::OK, Body::from_stream(stream))
}

/// A well-formed answer whose text has `bytes` bytes, made as it is sent.
fn huge(bytes: usize, in_flight: InFlight) -> Response {
    let head = Bytes::from_static(br#"{"choices":[{"finish_reason":"stop","message":{"role":"assistant","content":""#);
    let piece = Bytes::from(vec![b'x'; PIECE_BYTES]);
    let tail = Bytes::from_static(br#""}}]}"#);
    let middle = stream::repeat(piece).take(bytes.div_ceil(PIECE_BYTES));
    let stream = stream::iter([head]).chain(middle).chain(stream::iter([tail])).map(move |piece| {
        let _in_flight = &in_flight;
        Ok::<_, Infallible>(piece)
    });
    with_type(StatusCode::OK, Body::from_stream(stream))
}
