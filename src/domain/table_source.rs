//! Where the table of a `query_table` call is: in the call, in a file, in an artifact, or at an address.

use serde_json::Value;

use super::plan::has_references;

/// Name of the tool that queries tables.
pub const QUERY_TABLE: &str = "query_table";
/// Name of the tool whose rights a table at an address takes.
pub const HTTP_REQUEST: &str = "http_request";

/// Whether `table` is the address of a table or the name of a file, and no table: one word with `://` or a dot.
#[must_use]
pub fn is_name(table: &str) -> bool {
    let is_word = !table.trim().is_empty() && !table.contains(char::is_whitespace) && !table.contains(['{', '[', '$']);
    is_word && (table.contains("://") || (table.contains('.') && !table.contains([',', ';'])))
}

/// Moves an address or a name that a model wrote as the `table` of a call of `tool` to `url` or `path`, where it belongs.
///
/// Only for arguments before their references are replaced: what a page or a file says must never become an address.
pub fn move_name(tool: &str, arguments: &mut Value) {
    let Some(fields) = arguments.as_object_mut().filter(|_| tool == QUERY_TABLE) else { return };
    let named = fields.get("table").and_then(Value::as_str).filter(|table| is_name(table) && !has_references(table));
    let Some(named) = named.map(str::to_owned) else { return };
    let place = if named.contains("://") { "url" } else { "path" };
    let is_free = |value: &Value| value.is_null() || value.as_str() == Some("");
    if fields.get(place).is_none_or(is_free) {
        fields.insert(place.to_owned(), named.into());
    }
    fields.remove("table");
}

/// Whether a call of `tool` queries a table and says nowhere which: no place, and in place of the table nothing or a single word.
#[must_use]
pub fn names_no_table(tool: &str, arguments: &Value) -> bool {
    let is_missing = |name: &str| match arguments.get(name) {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.trim().is_empty(),
        Some(_) => false,
    };
    let is_word = |text: &str| text.chars().all(|c| c.is_alphanumeric() || c == '_');
    let has_table = !is_missing("table") && !arguments["table"].as_str().is_some_and(is_word);
    // A path without an ending is the name that the model gave to the table.
    let is_no_path = is_missing("path") || arguments["path"].as_str().is_some_and(is_word);
    tool == QUERY_TABLE && !has_table && is_no_path && is_missing("url") && is_missing("artifact")
}

/// Whether a call of `tool` queries a table by nothing but the last part of the path of `address`, such as `sales.csv`.
#[must_use]
pub fn names_file_of(address: &str, tool: &str, arguments: &Value) -> bool {
    let path = address.split(['?', '#']).next().unwrap_or_default();
    let Some((_, file)) = path.rsplit_once('/').filter(|(_, file)| file.contains('.')) else { return false };
    let text = |name: &str| arguments.get(name).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty());
    let named: Vec<&str> = ["table", "path"].into_iter().filter_map(text).collect();
    let is_elsewhere = text("url").is_some() || text("artifact").is_some();
    tool == QUERY_TABLE && !is_elsewhere && !named.is_empty() && named.iter().all(|named| *named == file)
}

/// Whether a call of `tool` with `arguments` makes a request to an address, as [`HTTP_REQUEST`] does.
#[must_use]
pub fn makes_request(tool: &str, arguments: &Value) -> bool {
    tool == QUERY_TABLE && arguments.get("url").is_some_and(|url| !url.is_null() && url.as_str() != Some(""))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_name_that_a_model_wrote_as_the_table_is_moved_where_it_belongs() {
        for (written, moved) in [
            (json!({"table": "https://a.example/x.csv"}), json!({"url": "https://a.example/x.csv"})),
            (json!({"table": "sales.csv", "path": null}), json!({"path": "sales.csv"})),
            (json!({"table": "sales.csv", "path": ""}), json!({"path": "sales.csv"})),
            (json!({"table": "sales.csv", "path": "sales.csv"}), json!({"path": "sales.csv"})),
            (json!({"table": "${page.body}"}), json!({"table": "${page.body}"})),
            (json!({"table": "https://a.example/${page.id}"}), json!({"table": "https://a.example/${page.id}"})),
            (json!({"table": "a,b\n1,2"}), json!({"table": "a,b\n1,2"})),
            (json!({"table": [{"a": 1.5}]}), json!({"table": [{"a": 1.5}]})),
            (json!({"table": "3.5;1"}), json!({"table": "3.5;1"})),
        ] {
            let mut arguments = written.clone();
            move_name(QUERY_TABLE, &mut arguments);
            assert_eq!(arguments, moved, "{written}");
            let mut arguments = written.clone();
            move_name("sql_query", &mut arguments);
            assert_eq!(arguments, written);
        }
    }

    #[test]
    fn the_file_at_an_address_is_known_by_its_name() {
        for (address, arguments, is_named) in [
            ("https://a.example/x/sales.csv?v=2", json!({"table": "sales.csv", "path": null}), true),
            ("https://a.example/x/sales.csv", json!({"path": "sales.csv"}), true),
            ("https://a.example/x/sales.csv", json!({"table": "costs.csv"}), false),
            ("https://a.example/x/sales.csv", json!({"table": "sales.csv", "url": "https://b.example/"}), false),
            ("https://a.example/sales", json!({"table": "sales"}), false),
            ("https://a.example/", json!({"table": ""}), false),
        ] {
            assert_eq!(names_file_of(address, QUERY_TABLE, &arguments), is_named, "{address} {arguments}");
            assert!(!names_file_of(address, "sql_query", &arguments));
        }
    }

    #[test]
    fn a_query_without_a_table_is_told_from_one_with_a_table() {
        for none in [json!({}), json!({"table": "data", "path": null}), json!({"table": "", "path": "data", "url": ""})]
        {
            assert!(names_no_table(QUERY_TABLE, &none), "{none}");
            assert!(!names_no_table("sql_query", &none));
        }
        for one in [
            json!({"table": "a,b\n1,2"}),
            json!({"path": "a.csv"}),
            json!({"url": "http://x"}),
            json!({"artifact": "a"}),
            json!({"table": [{"a": 1}]}),
        ] {
            assert!(!names_no_table(QUERY_TABLE, &one), "{one}");
        }
    }

    #[test]
    fn only_a_table_at_an_address_makes_a_request() {
        assert!(makes_request(QUERY_TABLE, &json!({"url": "https://a.example"})));
        for arguments in [json!({"url": ""}), json!({"url": null}), json!({"path": "a.csv"})] {
            assert!(!makes_request(QUERY_TABLE, &arguments), "{arguments}");
        }
        assert!(!makes_request("calculate", &json!({"url": "https://a.example"})));
    }
}
