//! Artifacts in answers of the API.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::store::Artifact;

/// An artifact, without its content.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Artifact)]
pub struct ArtifactView {
    /// Name within the task.
    pub name: String,
    /// Path of its content in the API.
    #[serde(rename = "ref", default)]
    pub reference: String,
    /// Media type.
    pub media_type: String,
    /// Size, in bytes.
    pub size: u64,
    /// SHA-256 of its content, hexadecimal.
    pub sha256: String,
    /// Step that made it.
    pub step: String,
    /// When it was written.
    pub created_at: String,
}

impl From<Artifact> for ArtifactView {
    fn from(artifact: Artifact) -> Self {
        Self {
            reference: format!("/api/v1/tasks/{}/artifacts/{}", artifact.task_id, escaped(&artifact.name)),
            name: artifact.name,
            media_type: artifact.media_type,
            size: artifact.size,
            sha256: artifact.sha256,
            step: artifact.step,
            created_at: artifact.created_at.to_rfc3339(),
        }
    }
}

/// `text` for a path or a parameter of a header: all but letters, digits, `-`, `.`, `_` and `~` as percent signs and hexadecimal digits.
pub(in crate::api) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            safe.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            write!(safe, "%{byte:02X}").unwrap_or_default();
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_escaped_for_a_path() {
        assert_eq!(escaped("Größe 1;\"x\".csv"), "Gr%C3%B6%C3%9Fe%201%3B%22x%22.csv");
        assert_eq!(escaped("a-b_c.d~1"), "a-b_c.d~1");
    }
}
