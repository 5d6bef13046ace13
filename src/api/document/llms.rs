//! The API in a page of Markdown, made from the document.

use std::fmt::Write as _;

use serde_json::Value;

/// The page: what qron is, how to call it, and each operation in a line.
pub(super) fn page(document: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let info = &document["info"];
    let mut page =
        format!("# {}\n\n> {}\n\n{}\n", text(&info["title"]), text(&info["summary"]), text(&info["description"]));
    page.push_str(
        "\nWhere the setting `api.token` is set, send the header `Authorization: Bearer TOKEN`. Bodies and answers of each operation: \
         [OpenAPI 3.1](/openapi.json).\n",
    );
    for tag in document["tags"].as_array().into_iter().flatten() {
        // Writing to a string cannot fail.
        write!(page, "\n## {}\n\n{}\n\n", text(&tag["name"]), text(&tag["description"])).unwrap_or_default();
        let of_tag = super::operations(document).filter(|(.., operation)| operation["tags"][0] == tag["name"]);
        for (path, method, operation) in of_tag {
            let (id, summary) = (text(&operation["operationId"]), text(&operation["summary"]));
            writeln!(page, "- `{} {path}` ({id}): {summary}", method.to_uppercase()).unwrap_or_default();
        }
    }
    page
}
