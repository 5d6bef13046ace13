//! What the document says of all operations: who may call, which refusals stand before every handler, how times and pages are written.

use serde_json::{Map, Value, json};
use utoipa::PartialSchema as _;

use super::METHODS;
use crate::api::door;
use crate::api::error::Problem;

/// What this API is, in the words of a person who has never seen it.
const ABOUT: &str = "\
qron runs tasks for agents: each task has a goal in plain words, and an agent, driven by a language model or by a plan of tool calls, \
carries it out when it is due. This API submits tasks and schedules, shows what became of them, and steers the agents.

- Bodies are JSON. Ids are text. Times are RFC 3339 in UTC.
- A field that is absent and a field that is null say the same.
- An error is a problem document (RFC 9457) whose `detail` says what is wrong and what to do. A 4xx has changed nothing.
- After a 503 a part may have been done: send the request again.
- A list answers `items`, and `next` while there is more: send it as `after`.";

/// Groups of operations, in the order in which a newcomer needs them.
const TAGS: [(&str, &str); 9] = [
    ("Tasks", "A task has a goal and is carried out by an agent. Submit tasks, find them, change them."),
    ("Schedules", "A schedule creates a task whenever it fires: at intervals, by a cron expression, or once."),
    ("Files and artifacts", "Files are given to a task before it runs. Artifacts are what its run made."),
    ("Approvals", "Questions that a task asks a person before it runs, or before it calls a tool."),
    ("Dead letters", "A task that failed for good has a dead letter, which says why."),
    ("Agents", "Who carries out tasks, and with which tools."),
    ("Operation", "Pause and resume agents, and remove what is old."),
    ("Probes", "For load balancers and monitoring."),
    ("Documentation", "This API, described for programs, models and people."),
];

/// The refusals that stand before every handler: status, name, description.
const REFUSALS: [(&str, &str, &str); 9] = [
    ("400", "BadRequest", "The request does not read as it must. `detail` and `errors` name each fault."),
    ("401", "Unauthorized", "The token is missing or wrong."),
    ("403", "Forbidden", "A page of another site, or an agent, sent the request."),
    ("409", "Conflict", "What is stored cannot be read. `detail` names it."),
    ("413", "TooLarge", "The body is larger than the configuration allows."),
    ("421", "Misdirected", "The header `Host` names another host, and this API listens on the loopback address alone."),
    ("429", "TooMany", "There are too many requests. `Retry-After` says when to send it again."),
    ("500", "Fault", "A fault of qron. Its log says more."),
    (
        "503",
        "Unavailable",
        "The store does not answer, or the request took too long. A part may have been done: send it again.",
    ),
];
/// The refusal of a body that is not JSON.
const NOT_JSON: (&str, &str, &str) =
    ("415", "NotJson", "The body is not JSON. Send the header `Content-Type: application/json`.");

/// Fields that hold a time, beside those whose names end in `_at`.
const TIMES: [&str; 11] = [
    "as_of",
    "at",
    "created_before",
    "end",
    "estimated_end",
    "last_fire",
    "next_try",
    "paused_since",
    "since",
    "start",
    "until",
];

/// Completes the document that the handlers describe.
pub(super) fn add_to(document: &mut Value) {
    name_pages(document);
    document["components"]["schemas"]["Problem"] = serde_json::to_value(Problem::schema()).unwrap_or_default();
    if let Some(paths) = document["paths"].as_object_mut() {
        for (path, item) in paths {
            for method in METHODS {
                if let Some(operation) = item.get_mut(method) {
                    complete(path, operation);
                }
            }
        }
    }
    if let Some(schemas) = document["components"]["schemas"].as_object_mut() {
        schemas.values_mut().for_each(mark_times);
    }
    let components = &mut document["components"];
    components["responses"] = REFUSALS
        .iter()
        .chain([&NOT_JSON])
        .map(|(status, name, description)| ((*name).to_owned(), refusal(status, description)))
        .collect::<Map<String, Value>>()
        .into();
    components["securitySchemes"] = json!({"token": {
        "type": "http",
        "scheme": "bearer",
        "description": "The value of the setting `api.token` of the qron that answers. Without that setting no token is needed.",
    }});
    document["info"] = json!({
        "title": "qron",
        "summary": "Cron for agents, on Qdrant.",
        "description": ABOUT,
        "version": env!("CARGO_PKG_VERSION"),
        "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
    });
    document["servers"] = json!([{"url": "/", "description": "The qron that serves this document."}]);
    document["security"] = json!([{"token": []}, {}]);
    document["tags"] =
        TAGS.iter().map(|(name, description)| json!({"name": name, "description": description})).collect();
}

/// Calls a page of things by their name, `TaskPage` where the code has a generic listing, and lets it refer to them by it.
fn name_pages(document: &mut Value) {
    if let Some(schemas) = document["components"]["schemas"].as_object_mut() {
        for (name, mut schema) in std::mem::take(schemas) {
            let Some(item) = name.strip_prefix("Page_") else {
                schemas.insert(name, schema);
                continue;
            };
            // The schema of a generic type holds those of its parameters.
            let reference = json!({"$ref": format!("#/components/schemas/{item}")});
            let inner = std::mem::replace(&mut schema["properties"]["items"]["items"], reference);
            schemas.entry(item).or_insert(inner);
            schemas.insert(format!("{item}Page"), schema);
        }
    }
    each_object(document, &mut |object| {
        if let Some(Value::String(reference)) = object.get_mut("$ref")
            && let Some(item) = reference.strip_prefix("#/components/schemas/Page_")
        {
            *reference = format!("#/components/schemas/{item}Page");
        }
    });
}

/// Calls `change` for every object within `value`.
fn each_object(value: &mut Value, change: &mut impl FnMut(&mut Map<String, Value>)) {
    match value {
        Value::Object(object) => {
            change(object);
            object.values_mut().for_each(|value| each_object(value, change));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| each_object(item, change)),
        _ => {}
    }
}

/// Adds the refusals that stand before the handler, and the form of those that it makes itself.
fn complete(path: &str, operation: &mut Value) {
    let needs_token = door::needs_token(path);
    if !needs_token {
        operation["security"] = json!([{}]);
    }
    for parameter in operation.get_mut("parameters").and_then(Value::as_array_mut).into_iter().flatten() {
        // A parameter is absent, and never null.
        if let Some(kind) = parameter.pointer_mut("/schema/type")
            && let Value::Array(kinds) = kind
            && let Some(other) = kinds.iter().find(|kind| *kind != "null")
        {
            *kind = other.clone();
        }
    }
    if let Some(file) = operation.pointer_mut("/requestBody/content/*~1*/schema") {
        *file = bytes();
    }
    if let Some(file) = operation.pointer_mut("/responses/200/content/*~1*/schema") {
        *file = bytes();
    }
    let takes_json = operation["requestBody"]["content"].get("application/json").is_some();
    let Some(answers) = operation["responses"].as_object_mut() else { return };
    for (status, answer) in answers.iter_mut() {
        if status.starts_with(['4', '5']) && answer.get("content").is_none() {
            let description = answer["description"].as_str().unwrap_or_default().to_owned();
            *answer = refusal(status, &description);
        }
    }
    let stands_before = |status: &str| match status {
        "401" => needs_token,
        "409" => path.starts_with("/api/"),
        "429" => door::is_counted(path),
        _ => true,
    };
    let refusals = REFUSALS.iter().filter(|(status, ..)| stands_before(status));
    for (status, name, _) in refusals.chain(takes_json.then_some(&NOT_JSON)) {
        let shared = || json!({"$ref": format!("#/components/responses/{name}")});
        answers.entry(*status).or_insert_with(shared);
    }
}

/// Bytes of any kind.
fn bytes() -> Value {
    json!({"type": "string", "contentMediaType": "application/octet-stream"})
}

/// An answer with a problem document.
fn refusal(status: &str, description: &str) -> Value {
    let problem = json!({"schema": {"$ref": "#/components/schemas/Problem"}});
    let mut answer = json!({"description": description, "content": {"application/problem+json": problem}});
    if ["429", "503"].contains(&status) {
        answer["headers"] = json!({"Retry-After": {
            "description": "Seconds after which the same request may succeed.",
            "schema": {"type": "integer", "minimum": 0},
        }});
    }
    answer
}

/// Says of the fields of `schema` that are named like times, and hold text, that they hold times.
fn mark_times(schema: &mut Value) {
    each_object(schema, &mut |object| {
        let Some(fields) = object.get_mut("properties").and_then(Value::as_object_mut) else { return };
        for (name, field) in fields {
            let is_text = field["type"] == "string" || field["type"] == json!(["string", "null"]);
            if is_text && (name.ends_with("_at") || TIMES.contains(&name.as_str())) {
                field["format"] = json!("date-time");
            }
        }
    });
}
