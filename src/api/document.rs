//! The routes of the API, and the OpenAPI document that describes them.
//!
//! Every handler carries its description (`#[utoipa::path]`), and a route is made from both; tests/architecture refuses a route
//! without one. What stands before every handler, and so belongs to every operation, is added by `common`.

use std::sync::LazyLock;

use axum::extract::DefaultBodyLimit;
use serde_json::{Map, Value};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouterExt as _};
use utoipa_axum::routes;

use super::{
    Shared, agents, approvals, artifacts, bulk, control, dead_letters, files, health, schedules, search, tasks, tools,
};

mod common;
mod llms;
mod reference;

/// Methods of an operation, as the document names them.
pub(super) const METHODS: [&str; 5] = ["get", "put", "post", "delete", "patch"];

/// The document as [`document`] makes it. It never changes while the process lives.
pub(super) static DOCUMENT: LazyLock<Value> = LazyLock::new(document);

/// All routes, each with its description. A file that is uploaded has at most `max_file` bytes.
pub(super) fn routes(max_file: usize) -> OpenApiRouter<Shared> {
    let v1 = OpenApiRouter::default()
        .routes(routes!(tasks::submit, tasks::list::list))
        .routes(routes!(bulk::bulk))
        .routes(routes!(tasks::list::counts))
        .routes(routes!(tasks::show))
        .routes(routes!(tasks::steps))
        .routes(routes!(tasks::list::children))
        .routes(routes!(tasks::cancel))
        .routes(routes!(tasks::retry))
        .routes(routes!(tasks::reprioritise))
        .routes(routes!(tasks::snooze))
        .routes(routes!(approvals::approve))
        .routes(routes!(approvals::deny))
        .routes(routes!(approvals::list))
        .routes(routes!(control::list))
        .routes(routes!(control::pause))
        .routes(routes!(control::resume))
        .routes(routes!(control::prune))
        .routes(routes!(files::upload).layer(DefaultBodyLimit::max(max_file)))
        .routes(routes!(artifacts::list))
        .routes(routes!(artifacts::content))
        .routes(routes!(dead_letters::list))
        .routes(routes!(dead_letters::requeue_many))
        .routes(routes!(dead_letters::purge_many))
        .routes(routes!(dead_letters::show, dead_letters::purge))
        .routes(routes!(dead_letters::requeue))
        .routes(routes!(schedules::create, schedules::list))
        .routes(routes!(schedules::firings::preview_new))
        .routes(routes!(schedules::replace, schedules::edit, schedules::show, schedules::remove))
        .routes(routes!(schedules::pause))
        .routes(routes!(schedules::resume))
        .routes(routes!(schedules::firings::trigger))
        .routes(routes!(schedules::firings::backfill))
        .routes(routes!(schedules::firings::preview))
        .routes(routes!(schedules::plan::show))
        .routes(routes!(schedules::plan::pin))
        .routes(routes!(schedules::plan::forget))
        .routes(routes!(agents::list))
        .routes(routes!(tools::list))
        .routes(routes!(search::search));
    OpenApiRouter::default()
        .nest("/api/v1", v1)
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
        .routes(routes!(health::metrics))
        .routes(routes!(reference::openapi))
        .routes(routes!(reference::llms))
        .routes(routes!(reference::docs))
        .routes(routes!(reference::docs_script))
        .routes(routes!(reference::docs_style))
}

/// The OpenAPI document of this version, without a running API.
#[must_use]
pub fn document() -> Value {
    let (_, described) = routes(0).split_for_parts();
    let mut described = serde_json::to_value(described).unwrap_or_default();
    common::add_to(&mut described);
    described.sort_all_objects();
    // The order in which a person reads; the rest is in the order of the alphabet.
    let mut document = Map::new();
    for part in ["openapi", "info", "servers", "security", "tags", "paths", "components"] {
        if let Some(value) = described.get_mut(part) {
            document.insert(part.to_owned(), value.take());
        }
    }
    Value::Object(document)
}

/// The document as the file `openapi.json` holds it.
#[must_use]
pub fn text() -> String {
    let mut text = serde_json::to_string_pretty(&*DOCUMENT).unwrap_or_default();
    text.push('\n');
    text
}

/// The API in a page of Markdown, for language models.
#[must_use]
pub fn for_models() -> String {
    llms::page(&DOCUMENT)
}

/// The operations of `document`: path, method, description.
pub(super) fn operations(document: &Value) -> impl Iterator<Item = (&str, &str, &Value)> {
    let paths = document.get("paths").and_then(Value::as_object);
    paths.into_iter().flatten().flat_map(|(path, item)| {
        METHODS.iter().filter_map(move |method| Some((path.as_str(), *method, item.get(method)?)))
    })
}
