//! `get_state` and `set_state`: values that outlive a task, with expiry.
//!
//! A key belongs to the task that set it, or is shared by all tasks of one user. Nothing is shared between users.

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};

use super::inputs::{ANY_TYPE, object, parse, store_failure};
use super::{Tool, ToolContext};
use crate::clock;
use crate::domain::failure::Failure;
use crate::domain::tool::{Effect, ToolResult, ToolSpec};
use crate::store::Store;

/// Longest key, in characters.
const MAX_KEY: usize = 256;
/// Largest value, in bytes of JSON.
const MAX_VALUE: usize = 64 * 1024;
/// Longest time to live: a year, in seconds.
const MAX_TTL_S: u32 = 31_536_000;

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Scope {
    #[default]
    Shared,
    Task,
}

impl Scope {
    /// The scope in the store. The kind comes first, so that no user can be called like a task.
    fn of(self, context: &ToolContext) -> String {
        match (self, &context.user) {
            (Self::Task, _) => format!("task:{}", context.task_id),
            (Self::Shared, Some(user)) => format!("user:{user}"),
            (Self::Shared, None) => "shared".to_owned(),
        }
    }
}

fn key_schema() -> Value {
    json!({ "type": "string", "minLength": 1, "maxLength": MAX_KEY })
}

fn scope_schema() -> Value {
    json!({
        "type": "string", "enum": ["shared", "task"],
        "description": "shared with all tasks of the same user, or this task alone; shared when absent"
    })
}

/// The tool `get_state`.
pub struct GetState {
    store: Store,
}

impl GetState {
    /// Reads from `store`.
    #[must_use]
    pub const fn new(store: Store) -> Self {
        Self { store }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GetArguments {
    key: String,
    #[serde(default)]
    scope: Scope,
}

#[async_trait]
impl Tool for GetState {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: "get_state".into(),
            description: "Gets the value under a key that set_state has kept. Answers {\"found\", \"value\"}.".into(),
            parameters: object(&json!({ "key": key_schema(), "scope": scope_schema() }), &["key"]),
            output: object(&json!({ "found": { "type": "boolean" }, "value": {} }), &["found", "value"]),
            effect: Effect::Read,
            idempotent: true,
            untrusted: true,
        }
    }

    async fn call(&self, context: &ToolContext, arguments: Value) -> ToolResult {
        let GetArguments { key, scope } = parse(arguments)?;
        let found = self.store.state(&scope.of(context), &key, clock::now()).await;
        let found = found.map_err(|error| store_failure(&error))?;
        Ok(json!({ "found": found.is_some(), "value": found }))
    }
}

/// The tool `set_state`.
pub struct SetState {
    store: Store,
}

impl SetState {
    /// Writes to `store`.
    #[must_use]
    pub const fn new(store: Store) -> Self {
        Self { store }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetArguments {
    key: String,
    value: Value,
    #[serde(default)]
    scope: Scope,
    #[serde(default)]
    ttl_s: Option<u32>,
}

#[async_trait]
impl Tool for SetState {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: "set_state".into(),
            description:
                "Remembers a value or number under a key, for later steps and tasks. Answers {\"expires_at\"}.".into(),
            parameters: object(
                &json!({
                    "key": key_schema(),
                    "value": { "type": ANY_TYPE, "description": "any JSON value, up to 64 KiB" },
                    "scope": scope_schema(),
                    "ttl_s": {
                        "type": "integer", "minimum": 1, "maximum": MAX_TTL_S,
                        "description": "seconds until it expires; never when absent"
                    },
                }),
                &["key", "value"],
            ),
            output: object(&json!({ "expires_at": { "type": ["string", "null"] } }), &["expires_at"]),
            effect: Effect::Write,
            idempotent: true,
            untrusted: false,
        }
    }

    async fn call(&self, context: &ToolContext, arguments: Value) -> ToolResult {
        let SetArguments { key, value, scope, ttl_s } = parse(arguments)?;
        let bytes = value.to_string().len();
        if bytes > MAX_VALUE {
            let reason = format!("the value of {key:?} has {bytes} bytes; at most {MAX_VALUE} fit, use save_artifact");
            return Err(Failure::invalid(reason));
        }
        let expires_at = ttl_s.map(|ttl_s| clock::now().plus_millis(i64::from(ttl_s) * 1000));
        let written = self.store.set_state(&scope.of(context), &key, &value, expires_at).await;
        written.map_err(|error| store_failure(&error))?;
        Ok(json!({ "expires_at": expires_at.map(crate::domain::time::Timestamp::to_rfc3339) }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::inputs::test_context;
    use super::*;

    #[test]
    fn scopes_of_different_owners_never_meet() {
        let nobody = test_context();
        let named = |user: &str| ToolContext { user: Some(user.to_owned()), ..test_context() };
        assert_eq!(Scope::Shared.of(&nobody), "shared");
        assert_eq!(Scope::Shared.of(&named("ada")), "user:ada");
        assert_eq!(Scope::Shared.of(&named("task:7")), "user:task:7");
        assert_eq!(Scope::Task.of(&named("ada")), "task:7");
    }
}
