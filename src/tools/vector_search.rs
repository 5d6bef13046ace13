//! `vector_search`: points nearest to a vector or a text, of any collection of the store but qron's own.
//!
//! qron's own hold the tasks, memories and state of every user, so no filter that a model writes may decide who sees
//! them.

use std::sync::Arc;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::inputs::{argument_fault, constant, is_given, object, parse, refused, store_failure};
use super::{Tool, ToolContext};
use crate::domain::failure::Failure;
use crate::domain::tool::{Effect, ToolResult, ToolSpec};
use crate::store::Store;

pub(super) const NAME: &str = "vector_search";
/// Points of an answer that names no number.
const DEFAULT_LIMIT: u32 = 10;
/// Most points of one answer.
const MAX_LIMIT: u32 = 100;
/// Longest vector, as Qdrant allows.
const MAX_DIMENSIONS: usize = 65_536;

const BOTH: &str = "both vector and text are given: give one of them";
const NEITHER: &str = "neither vector nor text is given: give one of them";

/// Longest text that is searched for, in characters.
const MAX_TEXT: usize = 8_000;

/// What turns a text into a vector of its meaning.
#[async_trait]
pub trait TextEmbedder: Send + Sync {
    /// The vector of `text`.
    ///
    /// # Errors
    /// Why there is none.
    async fn embed(&self, text: String) -> Result<Vec<f32>, Failure>;
}

/// The tool `vector_search`.
pub struct VectorSearch {
    store: Store,
    embedder: Option<Arc<dyn TextEmbedder>>,
}

impl VectorSearch {
    /// Searches `store`; for texts too when there is an embedder.
    #[must_use]
    pub const fn new(store: Store, embedder: Option<Arc<dyn TextEmbedder>>) -> Self {
        Self { store, embedder }
    }

    /// The vector that a call asks for, given or made from its text.
    async fn vector(&self, vector: Option<Vec<f32>>, text: Option<String>) -> Result<Vec<f32>, Failure> {
        match (vector, text, &self.embedder) {
            (Some(vector), None, _) => Ok(vector),
            (None, Some(text), Some(embedder)) => embedder.embed(text).await,
            (Some(_), Some(_), _) => Err(Failure::invalid(BOTH)),
            (None, None, Some(_)) => Err(Failure::invalid(NEITHER)),
            (None, _, None) => {
                Err(Failure::invalid("vector is missing; texts are searched for when embeddings.model is set"))
            }
        }
    }
}

fn own_collection(name: &str) -> String {
    format!("collection {name:?} is qron's own and holds the data of every user")
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Arguments {
    collection: String,
    #[serde(default)]
    vector: Option<Vec<f32>>,
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    using: Option<String>,
    #[serde(default)]
    filter: Option<Map<String, Value>>,
    #[serde(default)]
    limit: Option<u32>,
}

#[async_trait]
impl Tool for VectorSearch {
    fn spec(&self) -> ToolSpec {
        let mut properties = json!({
            "collection": { "type": "string", "pattern": "^[A-Za-z0-9._-]{1,255}$" },
            "vector": { "type": "array", "items": { "type": "number" }, "minItems": 1, "maxItems": MAX_DIMENSIONS },
            "using": { "type": "string", "description": "name of the vector; the unnamed one when absent" },
            "filter": {
                "type": "object",
                "description": "Qdrant filter: {\"must\": [{\"key\": \"city\", \"match\": {\"value\": \"Rome\"}}]}, \
                                also should, must_not, range and has_id"
            },
            "limit": { "type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "description": "10 when absent" },
        });
        let (nearest, required) = if self.embedder.is_some() {
            properties["text"] = json!({
                "type": "string", "minLength": 1, "maxLength": MAX_TEXT,
                "description": "instead of vector: what to look for, in words; the collection must hold vectors of the same embeddings model"
            });
            ("a text or a vector", &["collection"][..])
        } else {
            ("a vector", &["collection", "vector"][..])
        };
        ToolSpec {
            name: NAME.into(),
            description: format!(
                "Finds the points of a Qdrant collection nearest to {nearest}. Answers {{\"points\": [{{\"id\", \"score\", \
                 \"payload\"}}]}}, best first."
            ),
            parameters: object(&properties, required),
            output: object(
                &json!({
                    "points": { "type": "array", "items": object(
                        &json!({
                            "id": { "type": ["string", "null"] },
                            "score": { "type": "number" },
                            "payload": { "type": "object" },
                        }),
                        &["id", "score", "payload"],
                    )},
                }),
                &["points"],
            ),
            effect: Effect::Read,
            idempotent: true,
            untrusted: true,
        }
    }

    fn is_usable(&self) -> bool {
        // No other tool gives a model a vector.
        self.embedder.is_some()
    }

    fn fault(&self, arguments: &Value) -> Option<String> {
        let collection = constant(arguments, "collection").filter(|name| self.store.owns_collection(name));
        if let Some(collection) = collection {
            return Some(argument_fault(NAME, "collection", own_collection(collection)));
        }
        match (is_given(arguments, "vector"), is_given(arguments, "text")) {
            (true, true) => Some(format!("{NAME}: {BOTH}")),
            (false, false) => Some(format!("{NAME}: {NEITHER}")),
            _ => None,
        }
    }

    async fn call(&self, context: &ToolContext, arguments: Value) -> ToolResult {
        let Arguments { collection, vector, text, using, filter, limit } = parse(arguments)?;
        if self.store.owns_collection(&collection) {
            return Err(refused(NAME, context, own_collection(&collection)));
        }
        let vector = self.vector(vector, text).await?;
        let limit = limit.unwrap_or(DEFAULT_LIMIT);
        let filter = filter.map(Value::Object);
        let points = self.store.search_collection(&collection, using.as_deref(), vector, filter, limit).await;
        let points = points.map_err(|error| store_failure(&error))?;
        Ok(json!({ "points": points }))
    }
}
