//! `save_artifact` and `read_artifact`: artifacts that stay with the task, read back whole or in pages.

use async_trait::async_trait;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::inputs::{
    TEXT_OR_JSON, argument_fault, base64_bytes, base64_fault, blocking, constant, content_as_text, object, parse,
    refused, store_failure,
};
use super::{Tool, ToolContext};
use crate::clock;
use crate::domain::failure::Failure;
use crate::domain::id::TaskId;
use crate::domain::passages::{self, Extent, Passages};
use crate::domain::tool::{Effect, ToolResult, ToolSpec};
use crate::store::{Artifact, Store};

const MAX_NAME: usize = 255;
/// Longest query, in characters.
const MAX_QUERY: usize = 1_000;

/// The tool `save_artifact`.
pub struct SaveArtifact {
    store: Store,
}

impl SaveArtifact {
    /// Writes to `store`.
    #[must_use]
    pub const fn new(store: Store) -> Self {
        Self { store }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SaveArguments {
    name: String,
    content: String,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    encoding: Encoding,
}

#[derive(Clone, Copy, Default, Deserialize)]
enum Encoding {
    #[default]
    #[serde(rename = "utf-8")]
    Utf8,
    #[serde(rename = "base64")]
    Base64,
}

#[async_trait]
impl Tool for SaveArtifact {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: "save_artifact".into(),
            description:
                "Keeps content as an artifact of this task, for people and later steps; the same name replaces \
                          it. Answers {\"artifact\": name, \"bytes\", \"sha256\"}."
                    .into(),
            parameters: object(
                &json!({
                    "name": { "type": "string", "minLength": 1, "maxLength": MAX_NAME, "description": "e.g. \"report.md\"" },
                    "content": { "type": TEXT_OR_JSON, "description": "text; JSON is written as its text" },
                    "media_type": {
                        "type": "string", "maxLength": 127, "pattern": "^[A-Za-z0-9.+_-]+/[A-Za-z0-9.+_-]+$",
                        "description": "when absent: application/json for JSON, else text/plain"
                    },
                    "encoding": { "type": "string", "enum": ["utf-8", "base64"], "description": "of content; utf-8 when absent" },
                }),
                &["name", "content"],
            ),
            output: object(
                &json!({
                    "artifact": { "type": "string" }, "bytes": { "type": "integer" }, "sha256": { "type": "string" },
                }),
                &["artifact", "bytes", "sha256"],
            ),
            effect: Effect::Write,
            idempotent: true,
        }
    }

    fn prepare(&self, mut arguments: Value) -> Value {
        // Models write "markdown"; the kind is a help for people, and no reason to lose a text.
        let is_typed = |kind: &Value| kind.as_str().is_none_or(|kind| kind.contains('/'));
        if let Some(fields) = arguments.as_object_mut() {
            fields.retain(|name, value| name != "media_type" || is_typed(value));
        }
        if content_as_text(&mut arguments) && arguments.get("media_type").is_none_or(Value::is_null) {
            arguments["media_type"] = "application/json".into();
        }
        arguments
    }

    fn fault(&self, arguments: &Value) -> Option<String> {
        base64_fault("save_artifact", arguments)
    }

    async fn call(&self, context: &ToolContext, arguments: Value) -> ToolResult {
        let SaveArguments { name, content: given, media_type, encoding } = parse(arguments)?;
        let bytes = match encoding {
            Encoding::Utf8 => given.into_bytes(),
            Encoding::Base64 => base64_bytes(&given).map_err(Failure::invalid)?,
        };
        let media_type = media_type.as_deref().unwrap_or("text/plain");
        let saved = self
            .store
            .save_artifact(context.task_id, &context.step, &name, media_type, &bytes, clock::now())
            .await
            .map_err(|error| store_failure(&error))?;
        Ok(json!({ "artifact": saved.name, "bytes": saved.size, "sha256": saved.sha256 }))
    }
}

/// The tool `read_artifact`.
pub struct ReadArtifact {
    store: Store,
    /// A page is made to fit into this, or it would become an artifact again.
    max_output_bytes: usize,
}

impl ReadArtifact {
    /// Reads from `store`, pages of at most `max_output_bytes`.
    #[must_use]
    pub const fn new(store: Store, max_output_bytes: usize) -> Self {
        Self { store, max_output_bytes }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReadArguments {
    name: String,
    #[serde(default)]
    task_id: Option<TaskId>,
    #[serde(default)]
    offset: usize,
    #[serde(default)]
    length: Option<usize>,
    #[serde(default)]
    query: Option<String>,
}

#[async_trait]
impl Tool for ReadArtifact {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: "read_artifact".into(),
            description: "Reads an artifact of this task, or of another task of the same user. A large one comes in \
                          pages: go on at next_offset, or ask for the parts that fit a query. Answers {\"content\", \"encoding\", \"bytes\", \"next_offset\"}."
                .into(),
            parameters: object(
                &json!({
                    "name": { "type": "string", "minLength": 1, "maxLength": MAX_NAME },
                    "task_id": { "type": "string", "description": "the task it belongs to; this one when absent" },
                    "offset": { "type": "integer", "minimum": 0, "description": "first byte; 0 when absent" },
                    "length": { "type": "integer", "minimum": 1, "description": "most bytes; as many as fit when absent" },
                    "query": {
                        "type": "string", "minLength": 1, "maxLength": MAX_QUERY,
                        "description": "words that the wanted parts of a text hold: in place of a page, those parts come"
                    },
                }),
                &["name"],
            ),
            output: object(
                &json!({
                    "name": { "type": "string" },
                    "media_type": { "type": "string" },
                    "bytes": { "type": "integer", "description": "of the whole artifact" },
                    "offset": { "type": "integer", "description": "where content begins" },
                    "content": { "type": "string" },
                    "encoding": { "type": "string", "enum": ["utf-8", "base64"] },
                    "next_offset": {
                        "type": ["integer", "null"], "description": "where to read on; null when nothing is left out"
                    },
                    "fits": {
                        "type": "boolean",
                        "description": "with a query: whether content fits it; when not, it is the first page"
                    },
                }),
                &["name", "media_type", "bytes", "offset", "content", "encoding", "next_offset"],
            ),
            effect: Effect::Read,
            idempotent: true,
        }
    }

    fn fault(&self, arguments: &Value) -> Option<String> {
        let id = constant(arguments, "task_id")?;
        let fault = || argument_fault("read_artifact", "task_id", format!("{id:?} is no id of a task"));
        id.parse::<TaskId>().is_err().then(fault)
    }

    async fn call(&self, context: &ToolContext, arguments: Value) -> ToolResult {
        let ReadArguments { name, task_id, offset, length, query } = parse(arguments)?;
        let task = task_id.unwrap_or(context.task_id);
        let missing = || Failure::invalid(format!("task {task} has no artifact {name:?}"));
        if task != context.task_id {
            let owner = self.store.task(task).await.map_err(|error| store_failure(&error))?;
            // A task of another user and a task that does not exist must look the same.
            if owner.is_none_or(|owner| owner.spec.user != context.user) {
                refused("read_artifact", context, format!("task {task} is not of the same user, or does not exist"));
                return Err(missing());
            }
        }
        let found = self.store.artifact(task, &name).await.map_err(|error| store_failure(&error))?;
        let (artifact, bytes) = found.ok_or_else(missing)?;
        let (length, max_bytes) = (length.unwrap_or(usize::MAX), self.max_output_bytes);
        match query {
            None => page(&artifact, &bytes, offset, length, max_bytes),
            Some(query) => blocking(move || parts(&artifact, &bytes, &query, length.min(max_bytes / 2))).await,
        }
    }
}

/// The parts of a text that fit `query`, in at most `max_bytes`.
fn parts(artifact: &Artifact, bytes: &[u8], query: &str, max_bytes: usize) -> ToolResult {
    let text = str::from_utf8(bytes)
        .map_err(|_| Failure::invalid(format!("artifact {:?} is no text: read it without a query", artifact.name)))?;
    let Passages { text: content, extent } = match serde_json::from_str::<Value>(text) {
        Ok(value @ (Value::Object(_) | Value::Array(_))) => passages::of_value(&value, query, max_bytes),
        _ => passages::of(text, query, max_bytes),
    };
    let mut answer = match extent {
        Extent::Beginning => page(artifact, bytes, 0, max_bytes, usize::MAX)?,
        // The parts are no page: reading on begins at the beginning.
        Extent::Whole | Extent::Fitting => json!({
            "name": artifact.name, "media_type": artifact.media_type, "bytes": artifact.size, "offset": 0,
            "content": content, "encoding": "utf-8", "next_offset": (extent == Extent::Fitting).then_some(0),
        }),
    };
    answer["fits"] = (extent != Extent::Beginning).into();
    Ok(answer)
}

/// The part of `bytes` from `offset` that fits, as text where all of it is text.
fn page(artifact: &Artifact, bytes: &[u8], offset: usize, length: usize, max_bytes: usize) -> ToolResult {
    if offset > bytes.len() {
        let size = bytes.len();
        return Err(Failure::invalid(format!(
            "offset {offset} is behind the end of {:?}: {size} bytes",
            artifact.name
        )));
    }
    let text = str::from_utf8(bytes).ok();
    let start = text.map_or(offset, |text| text.floor_char_boundary(offset));
    let mut length = length.min(max_bytes).min(bytes.len() - start);
    loop {
        let mut end = start + length;
        if let Some(text) = text {
            end = text.floor_char_boundary(end);
            if end == start {
                end = text.ceil_char_boundary(start + 1).min(text.len());
            }
        }
        let (content, encoding) = match text {
            Some(text) => (text[start..end].to_owned(), "utf-8"),
            None => (BASE64_STANDARD.encode(&bytes[start..end]), "base64"),
        };
        let answer = json!({
            "name": artifact.name, "media_type": artifact.media_type, "bytes": artifact.size, "offset": start,
            "content": content, "encoding": encoding,
            "next_offset": (end < bytes.len()).then_some(end),
        });
        // Escapes and base64 make it longer than its bytes.
        if length <= 1 || answer.to_string().len() <= max_bytes {
            return Ok(answer);
        }
        length -= length.div_ceil(4);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::Timestamp;

    fn artifact(size: usize) -> Artifact {
        Artifact {
            id: uuid::Uuid::nil(),
            task_id: TaskId::Number(1),
            step: "s".into(),
            name: "a".into(),
            media_type: "text/plain".into(),
            size: size as u64,
            sha256: String::new(),
            created_at: Timestamp::default(),
        }
    }

    fn read_all(bytes: &[u8], length: usize, max_bytes: usize) -> Vec<u8> {
        let (mut offset, mut all) = (0, Vec::new());
        loop {
            let page = page(&artifact(bytes.len()), bytes, offset, length, max_bytes).expect("a page");
            assert!(page.to_string().len() <= max_bytes, "{page}");
            let content = page["content"].as_str().expect("content");
            match page["encoding"].as_str() {
                Some("utf-8") => all.extend_from_slice(content.as_bytes()),
                _ => all.extend(BASE64_STANDARD.decode(content).expect("base64")),
            }
            let Some(next) = page["next_offset"].as_u64() else { return all };
            let next = usize::try_from(next).expect("an offset");
            assert!(next > offset);
            offset = next;
        }
    }

    #[test]
    fn pages_put_together_are_the_artifact() {
        let text = "äöü\n\"quoted\"\u{1}".repeat(200);
        let bytes: Vec<u8> = (0..=255).cycle().take(2000).collect();
        for (length, max_bytes) in [(usize::MAX, 1000), (1, 1000), (7, 300), (usize::MAX, 1_000_000)] {
            assert_eq!(read_all(text.as_bytes(), length, max_bytes), text.as_bytes());
            assert_eq!(read_all(&bytes, length, max_bytes), bytes);
        }
        assert_eq!(read_all(b"", usize::MAX, 1000), b"");
    }

    #[test]
    fn a_query_that_fits_nothing_says_so_and_gives_the_first_page() {
        let text = "Shelf holds boxes that are counted by two persons.\n".repeat(100);
        let found =
            |query: &str, text: &str| parts(&artifact(text.len()), text.as_bytes(), query, 1000).expect("parts");
        let nothing = found("refund", &text);
        assert_eq!(
            (&nothing["fits"], &nothing["next_offset"], &nothing["offset"]),
            (&json!(false), &json!(1000), &json!(0))
        );
        assert_eq!(nothing["content"], text[..1000]);
        let fitting = found("refund", &format!("{text}A refund takes 3 days.\n{text}"));
        assert!(fitting["content"].as_str().is_some_and(|content| content.contains("3 days")), "{fitting}");
        assert_eq!((&fitting["fits"], &fitting["next_offset"]), (&json!(true), &json!(0)));
        let whole = found("refund", "short");
        assert_eq!((&whole["fits"], &whole["next_offset"]), (&json!(true), &json!(null)));
    }

    #[test]
    fn an_offset_behind_the_end_is_named() {
        let failure = page(&artifact(3), b"abc", 4, 1, 1000).expect_err("behind the end");
        assert!(failure.message.contains("offset 4"), "{failure}");
    }
}
