//! `vector_search`: nearest points of any collection of the store but qron's own.
//!
//! qron's own hold the tasks, memories and state of every user, so no filter that a model writes may decide who sees
//! them.

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::inputs::{object, parse, refused, store_failure};
use super::{Tool, ToolContext};
use crate::domain::tool::{Effect, ToolResult, ToolSpec};
use crate::store::Store;

const NAME: &str = "vector_search";
/// Points of an answer that names no number.
const DEFAULT_LIMIT: u32 = 10;
/// Most points of one answer.
const MAX_LIMIT: u32 = 100;
/// Longest vector, as Qdrant allows.
const MAX_DIMENSIONS: usize = 65_536;

/// The tool `vector_search`.
pub struct VectorSearch {
    store: Store,
}

impl VectorSearch {
    /// Searches `store`.
    #[must_use]
    pub const fn new(store: Store) -> Self {
        Self { store }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Arguments {
    collection: String,
    vector: Vec<f32>,
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
        ToolSpec {
            name: NAME.into(),
            description: "Finds the points of a Qdrant collection nearest to a vector. Answers {\"points\": [{\"id\", \
                          \"score\", \"payload\"}]}, best first."
                .into(),
            parameters: object(
                &json!({
                    "collection": { "type": "string", "pattern": "^[A-Za-z0-9._-]{1,255}$" },
                    "vector": {
                        "type": "array", "items": { "type": "number" }, "minItems": 1, "maxItems": MAX_DIMENSIONS
                    },
                    "using": { "type": "string", "description": "name of the vector; the unnamed one when absent" },
                    "filter": {
                        "type": "object",
                        "description": "Qdrant filter: {\"must\": [{\"key\": \"city\", \"match\": {\"value\": \"Rome\"}}]}, \
                                        also should, must_not, range and has_id"
                    },
                    "limit": { "type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "description": "10 when absent" },
                }),
                &["collection", "vector"],
            ),
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
        }
    }

    async fn call(&self, context: &ToolContext, arguments: Value) -> ToolResult {
        let Arguments { collection, vector, using, filter, limit } = parse(arguments)?;
        if self.store.owns_collection(&collection) {
            let reason = format!("collection {collection:?} is qron's own and holds the data of every user");
            return Err(refused(NAME, context, reason));
        }
        let limit = limit.unwrap_or(DEFAULT_LIMIT);
        let filter = filter.map(Value::Object);
        let points = self.store.search_collection(&collection, using.as_deref(), vector, filter, limit).await;
        let points = points.map_err(|error| store_failure(&error))?;
        Ok(json!({ "points": points }))
    }
}
