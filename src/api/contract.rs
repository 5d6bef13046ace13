//! Holds every answer of a debug build to the document: an answer that the document does not describe becomes a 500 that says so.
//!
//! It stands in the program, and not in the tests, so that whatever asks is covered: tests, the command line, other processes, a
//! fuzzer. A release build has none of it.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use axum::body::{Body, HttpBody as _};
use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use jsonschema::Validator;
use serde_json::{Map, Value, json};

use super::document::DOCUMENT;
use super::error::Problem;

/// Longest description of a breach, in characters.
const SHOWN: usize = 2_000;

/// The validators that were needed so far, by their schema.
static VALIDATORS: LazyLock<Mutex<HashMap<String, Arc<Validator>>>> = LazyLock::new(Mutex::default);

/// The middleware around everything that answers. What has no known length, and so is a stream, passes as it is.
pub(super) async fn check(request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let (parts, body) = next.run(request).await.into_parts();
    let Some(length) = body.size_hint().exact().and_then(|length| usize::try_from(length).ok()) else {
        return Response::from_parts(parts, body);
    };
    let Ok(bytes) = axum::body::to_bytes(body, length).await else {
        return Problem::internal("the answer cannot be read, which is a fault of qron").into_response();
    };
    let route = route.as_ref().map_or("", MatchedPath::as_str);
    match breach(&method, route, parts.status, &parts.headers, &bytes) {
        None => Response::from_parts(parts, Body::from(bytes)),
        Some(breach) => {
            let breach: String = breach.chars().take(SHOWN).collect();
            tracing::error!(%method, route, status = parts.status.as_u16(), breach, "an answer breaks openapi.json");
            let detail = format!("the answer {} to {method} {route} breaks openapi.json: {breach}", parts.status);
            Problem::internal(detail).into_response()
        }
    }
}

/// What of an answer the document does not describe.
fn breach(method: &Method, route: &str, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Option<String> {
    // An answer to HEAD is that of GET without its body.
    let name = if method == Method::HEAD { "get".to_owned() } else { method.as_str().to_ascii_lowercase() };
    let operation = DOCUMENT["paths"].get(route).and_then(|item| item.get(&name));
    let refusal =
        json!({"content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}});
    let answer = match operation {
        None if status.is_client_error() || status.is_server_error() => &refusal,
        None => return Some("the document has no such operation".to_owned()),
        Some(operation) => match operation["responses"].get(status.as_str()) {
            Some(answer) => resolved(answer),
            None => return Some(format!("the operation has no answer {}", status.as_u16())),
        },
    };
    let Some(content) = answer.get("content") else {
        return (!body.is_empty()).then(|| "the document says that the answer has no body".to_owned());
    };
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    let Some(described) = content.get(essence) else {
        return content.get("*/*").is_none().then(|| format!("the answer may not have the media type {media_type:?}"));
    };
    if !essence.ends_with("json") || method == Method::HEAD {
        return None;
    }
    let Ok(value) = serde_json::from_slice::<Value>(body) else { return Some("the body is no JSON".to_owned()) };
    let validator = match validator(&described["schema"]) {
        Ok(validator) => validator,
        Err(error) => return Some(format!("the schema of the answer is wrong: {error}")),
    };
    let faults: Vec<String> =
        validator.iter_errors(&value).take(5).map(|error| format!("{}: {error}", error.instance_path())).collect();
    (!faults.is_empty()).then(|| faults.join("; "))
}

/// An answer, or the shared one that it refers to.
fn resolved(answer: &Value) -> &Value {
    let name = answer["$ref"].as_str().and_then(|name| name.strip_prefix("#/components/responses/"));
    name.map_or(answer, |name| &DOCUMENT["components"]["responses"][name])
}

fn validator(schema: &Value) -> Result<Arc<Validator>, String> {
    let key = schema.to_string();
    let known = || VALIDATORS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(validator) = known().get(&key) {
        return Ok(Arc::clone(validator));
    }
    let mut schema = schema.clone();
    let mut named = Map::new();
    collect(&schema, &mut named);
    close(&mut schema, false);
    let whole = json!({"allOf": [schema], "components": {"schemas": named}});
    let built = jsonschema::options().should_validate_formats(true).build(&whole).map_err(|error| error.to_string())?;
    let validator = Arc::new(built);
    known().insert(key, Arc::clone(&validator));
    Ok(validator)
}

/// Adds the schemas that `schema` refers to, and those that these refer to, to `named`.
fn collect(schema: &Value, named: &mut Map<String, Value>) {
    match schema {
        Value::Object(fields) => {
            let name = fields.get("$ref").and_then(Value::as_str);
            if let Some(name) = name.and_then(|name| name.strip_prefix("#/components/schemas/"))
                && !named.contains_key(name)
            {
                let target = &DOCUMENT["components"]["schemas"][name];
                let mut closed = target.clone();
                close(&mut closed, false);
                named.insert(name.to_owned(), closed);
                collect(target, named);
            }
            fields.values().for_each(|value| collect(value, named));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, named)),
        _ => {}
    }
}

/// Lets an object have no fields but those that its schema names. A schema is open to others of the object where it is a part of it
/// (`is_part`).
fn close(schema: &mut Value, is_part: bool) {
    match schema {
        Value::Object(fields) => {
            for (name, value) in fields.iter_mut() {
                match value {
                    Value::Array(parts) if name == "allOf" => parts.iter_mut().for_each(|part| close(part, true)),
                    value => close(value, false),
                }
            }
            if fields.contains_key("$ref") && !is_part {
                fields.insert("unevaluatedProperties".to_owned(), Value::Bool(false));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| close(item, false)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const JSON: &str = "application/json";
    const PROBLEM: &str = "application/problem+json";

    fn found(method: &Method, route: &str, status: u16, media_type: &'static str, body: &Value) -> String {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
        let status = StatusCode::from_u16(status).expect("a status");
        breach(method, route, status, &headers, body.to_string().as_bytes()).unwrap_or_default()
    }

    fn problem(status: u16) -> Value {
        json!({"type": "about:blank", "title": "t", "status": status, "detail": "d"})
    }

    #[test]
    fn an_answer_may_only_have_what_the_document_names() {
        let health = json!({"status": "ok", "version": "1"});
        assert_eq!(found(&Method::GET, "/healthz", 200, JSON, &health), "");
        assert_eq!(found(&Method::HEAD, "/healthz", 200, JSON, &health), "");
        for (status, media_type, body, fault) in [
            (200, JSON, json!({"status": "ok", "version": "1", "more": 1}), "more"),
            (200, JSON, json!({"status": "ok"}), "version"),
            (200, JSON, json!({"status": 1, "version": "1"}), "/status"),
            (200, "text/plain", health.clone(), "text/plain"),
            (201, JSON, health.clone(), "no answer 201"),
            (503, PROBLEM, json!({"status": 503}), "title"),
        ] {
            let found = found(&Method::GET, "/healthz", status, media_type, &body);
            assert!(found.contains(fault), "{found:?} does not name {fault}");
        }
    }

    #[test]
    fn what_is_nested_is_held_to_it_as_well() {
        let pause = json!({"agent": null, "by": null, "note": null, "since": "2026-11-28T09:00:00Z"});
        let paused = |pause: Value| json!({"outcome": "paused", "items": [pause]});
        let found = |body| found(&Method::POST, "/api/v1/pause", 200, JSON, &body);
        assert_eq!(found(paused(pause.clone())), "");
        let with = |name: &str, value: Value| {
            let mut changed = pause.clone();
            changed[name] = value;
            changed
        };
        assert!(found(paused(with("more", json!(1)))).contains("more"));
        assert!(found(paused(with("since", json!("yesterday")))).contains("yesterday"));
        assert!(found(json!({"outcome": "stopped", "items": []})).contains("stopped"));
    }

    #[test]
    fn what_no_operation_answers_is_a_problem() {
        for route in ["", "/healthz"] {
            assert_eq!(found(&Method::DELETE, route, 405, PROBLEM, &problem(405)), "");
            assert!(!found(&Method::DELETE, route, 405, JSON, &json!({})).is_empty());
            assert!(!found(&Method::DELETE, route, 200, JSON, &json!({})).is_empty());
        }
    }
}
