//! `qron openapi`: writes the OpenAPI document of the HTTP API of this version.

use super::{CliError, output};
use crate::api::document;

/// Writes the document as the file `openapi.json` of the repository holds it.
pub(super) fn run() -> Result<(), CliError> {
    output::raw(&document::text())
}
