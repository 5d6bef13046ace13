//! Artifacts in answers of the API.

use serde::{Deserialize, Serialize};

use crate::store::Artifact;

/// An artifact, without its content.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ArtifactView {
    /// Name within the task.
    pub name: String,
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
            name: artifact.name,
            media_type: artifact.media_type,
            size: artifact.size,
            sha256: artifact.sha256,
            step: artifact.step,
            created_at: artifact.created_at.to_rfc3339(),
        }
    }
}
