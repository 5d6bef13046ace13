//! The API, described: for programs as OpenAPI, for models as Markdown, for people as a page that needs no other server.

use std::sync::LazyLock;

use axum::Extension;
use axum::body::Bytes;
use axum::http::header;
use axum::response::IntoResponse;

use crate::api::without_secrets::WrittenWithout;

/// What the page may load and do: nothing but the files of this API, and requests to it.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
    font-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";

static OPENAPI: LazyLock<Bytes> = LazyLock::new(|| serde_json::to_vec(&*super::DOCUMENT).unwrap_or_default().into());
static FOR_MODELS: LazyLock<Bytes> = LazyLock::new(|| super::for_models().into());

/// Shows this API as an OpenAPI 3.1 document.
#[utoipa::path(
    get,
    path = "/openapi.json",
    operation_id = "getOpenApi",
    tag = "Documentation",
    responses((status = 200, description = "The document.", body = Object)),
)]
pub(super) async fn openapi() -> impl IntoResponse {
    // It is made from the code, which holds no secret.
    (Extension(WrittenWithout), [(header::CONTENT_TYPE, "application/json")], OPENAPI.clone())
}

/// Shows this API in a page of Markdown, for language models.
#[utoipa::path(
    get,
    path = "/llms.txt",
    operation_id = "getLlmsText",
    tag = "Documentation",
    responses((status = 200, description = "The page.", body = String, content_type = "text/plain")),
)]
pub(super) async fn llms() -> impl IntoResponse {
    (Extension(WrittenWithout), [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], FOR_MODELS.clone())
}

/// Shows this API in a page for people, who can try each operation there.
#[utoipa::path(
    get,
    path = "/docs",
    operation_id = "getDocs",
    tag = "Documentation",
    responses((status = 200, description = "The page.", body = String, content_type = "text/html")),
)]
pub(super) async fn docs() -> impl IntoResponse {
    page_file("text/html; charset=utf-8", include_str!("docs/index.html"))
}

/// Serves the script of the page `/docs`.
#[utoipa::path(
    get,
    path = "/docs/page.js",
    operation_id = "getDocsScript",
    tag = "Documentation",
    responses((status = 200, description = "The script.", body = String, content_type = "text/javascript")),
)]
pub(super) async fn docs_script() -> impl IntoResponse {
    page_file("text/javascript; charset=utf-8", include_str!("docs/page.js"))
}

/// Serves the style of the page `/docs`.
#[utoipa::path(
    get,
    path = "/docs/page.css",
    operation_id = "getDocsStyle",
    tag = "Documentation",
    responses((status = 200, description = "The style.", body = String, content_type = "text/css")),
)]
pub(super) async fn docs_style() -> impl IntoResponse {
    page_file("text/css; charset=utf-8", include_str!("docs/page.css"))
}

/// A file of the page.
fn page_file(media_type: &'static str, text: &'static str) -> impl IntoResponse {
    let headers = [(header::CONTENT_TYPE, media_type), (header::CONTENT_SECURITY_POLICY, PAGE_POLICY)];
    (Extension(WrittenWithout), headers, text)
}
