//! `openapi.json` is what the code says, describes everything, and agrees with docs/api.md.

use std::collections::BTreeSet;

use qron::api::document;
use qron::domain::task::{SpecLimits, TaskFilter};
use serde_json::Value;

use super::read;

const METHODS: [&str; 5] = ["get", "put", "post", "delete", "patch"];

/// The operations: path, method, description.
fn operations(document: &Value) -> Vec<(&str, &str, &Value)> {
    let paths = document["paths"].as_object().expect("paths");
    let operations = paths.iter().flat_map(|(path, item)| {
        METHODS.iter().filter_map(move |method| Some((path.as_str(), *method, item.get(method)?)))
    });
    operations.collect()
}

fn operation<'a>(document: &'a Value, id: &str) -> &'a Value {
    let found = operations(document).into_iter().find(|(.., operation)| operation["operationId"] == id);
    found.unwrap_or_else(|| panic!("no operation {id}")).2
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Calls `look` for every object within `value`, with the place of the object.
fn each_object(place: &str, value: &Value, look: &mut impl FnMut(&str, &serde_json::Map<String, Value>)) {
    match value {
        Value::Object(fields) => {
            look(place, fields);
            fields.iter().for_each(|(name, value)| each_object(&format!("{place}/{name}"), value, look));
        }
        Value::Array(items) => items.iter().for_each(|item| each_object(place, item, look)),
        _ => {}
    }
}

#[test]
fn the_committed_document_is_that_of_the_code() {
    let made = document::text();
    let committed = read("openapi.json");
    let differs = made.lines().zip(committed.lines()).position(|(made, committed)| made != committed);
    assert!(
        made == committed,
        "openapi.json differs from the code (line {}); write it anew: target/debug/qron openapi > openapi.json",
        differs.map_or(0, |line| line + 1)
    );
}

#[test]
fn every_operation_says_what_it_does_takes_and_answers() {
    let document = document::document();
    let tags: BTreeSet<&str> = items(&document["tags"]).iter().map(|tag| text(&tag["name"])).collect();
    let mut ids = BTreeSet::new();
    let mut used = BTreeSet::new();
    for (path, method, operation) in operations(&document) {
        let id = text(&operation["operationId"]);
        let place = format!("{method} {path} ({id})");
        assert!(!id.is_empty() && ids.insert(id), "{place}: the operation id is missing or not its own");
        let summary = text(&operation["summary"]);
        assert!(summary.ends_with('.') && !summary.contains('\n') && summary.len() <= 100, "{place}: {summary:?}");
        let tag = text(&operation["tags"][0]);
        assert!(tags.contains(tag), "{place}: the tag {tag:?} is unknown");
        used.insert(tag);

        let parameters = items(&operation["parameters"]);
        for parameter in parameters {
            assert!(!text(&parameter["description"]).is_empty(), "{place}: {parameter} has no description");
            assert!(parameter["schema"].is_object(), "{place}: {parameter} has no schema");
        }
        let of_path = parameters.iter().filter(|parameter| parameter["in"] == "path");
        let of_path: BTreeSet<&str> = of_path.map(|parameter| text(&parameter["name"])).collect();
        let named = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
        assert_eq!(of_path, named.collect(), "{place}");
        for content in operation["requestBody"]["content"].as_object().into_iter().flat_map(|content| content.values())
        {
            assert!(content["schema"].is_object(), "{place}: the body has no schema");
        }

        let answers = operation["responses"].as_object().expect("answers");
        assert!(answers.keys().any(|status| status.starts_with('2')), "{place}: no success is described");
        for (status, answer) in answers {
            if let Some(shared) = text(&answer["$ref"]).strip_prefix("#/components/responses/") {
                assert!(document["components"]["responses"][shared].is_object(), "{place}: no answer {shared}");
                continue;
            }
            assert!(!text(&answer["description"]).is_empty(), "{place}: {status} has no description");
            let has_body = answer["content"].as_object().is_some_and(|content| !content.is_empty());
            assert_eq!(has_body, status != "204", "{place}: the body of {status}");
            if status.starts_with(['4', '5']) && path != "/readyz" {
                let problem = &answer["content"]["application/problem+json"]["schema"]["$ref"];
                assert_eq!(problem, "#/components/schemas/Problem", "{place}: {status}");
            }
        }
    }
    assert_eq!(used, tags, "a tag without operations");
}

#[test]
fn every_type_is_a_noun_with_described_fields() {
    let document = document::document();
    let schemas = document["components"]["schemas"].as_object().expect("schemas");
    let mut undescribed = Vec::new();
    for (name, schema) in schemas {
        assert!(!name.ends_with("View") && name.chars().all(char::is_alphanumeric), "{name}");
        if schema.get("description").is_none() {
            undescribed.push(name.clone());
        }
        each_object(name, schema, &mut |place, object| {
            for (field, schema) in object.get("properties").and_then(Value::as_object).into_iter().flatten() {
                // A choice of null and something carries its description inside.
                if !schema.to_string().contains("\"description\":") {
                    undescribed.push(format!("{place}.{field}"));
                }
            }
        });
        jsonschema::meta::validate(schema).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    assert!(undescribed.is_empty(), "without a description: {undescribed:?}");
}

#[test]
fn every_reference_leads_somewhere_and_every_type_is_used() {
    let document = document::document();
    let mut used = BTreeSet::new();
    each_object("", &document, &mut |place, object| {
        if let Some(reference) = object.get("$ref").and_then(Value::as_str) {
            let pointer = reference.strip_prefix('#').expect("a reference within the document");
            assert!(document.pointer(pointer).is_some(), "{place}: {reference} is not there");
            used.insert(reference.to_owned());
        }
    });
    for kind in ["schemas", "responses"] {
        for name in document["components"][kind].as_object().expect("components").keys() {
            assert!(used.contains(&format!("#/components/{kind}/{name}")), "no operation uses {name}");
        }
    }
}

#[test]
fn descriptions_are_for_people_who_do_not_know_the_code() {
    let document = document::document();
    each_object("", &document, &mut |place, object| {
        let said = ["summary", "description"].iter().filter_map(|name| object.get(*name)?.as_str());
        for said in said {
            for code in ["[`", "::", "`None`", "`Some`", "# Errors"] {
                assert!(!said.contains(code), "{place}: {said:?} speaks of the code");
            }
        }
    });
}

#[test]
fn conditions_are_those_of_a_filter() {
    let document = document::document();
    let names: BTreeSet<&str> = TaskFilter::NAMES.into_iter().collect();
    let counted = items(&operation(&document, "countTasks")["parameters"]);
    assert_eq!(counted.iter().map(|parameter| text(&parameter["name"])).collect::<BTreeSet<_>>(), names);
    let fields = document["components"]["schemas"]["BulkFilter"]["properties"].as_object().expect("fields");
    let with_all: BTreeSet<&str> = names.into_iter().chain(["all"]).collect();
    assert_eq!(fields.keys().map(String::as_str).collect::<BTreeSet<_>>(), with_all);
}

#[test]
fn limits_of_a_task_are_those_that_a_submission_is_held_to() {
    let document = document::document();
    let fields = &document["components"]["schemas"]["NewTask"]["properties"];
    let limits = SpecLimits::API;
    let number = |field: &str, limit: &str| {
        let value = &fields[field][limit];
        value.as_f64().unwrap_or_else(|| panic!("{field}.{limit} is {value}")).to_string()
    };
    let lengths = [("goal", limits.goal_chars), ("unique_key", limits.unique_key_chars)];
    let names = ["agent", "user", "concurrency_key"].map(|name| (name, limits.name_chars.clone()));
    for (field, chars) in lengths.into_iter().chain(names) {
        assert_eq!(number(field, "minLength"), chars.start().to_string(), "{field}");
        assert_eq!(number(field, "maxLength"), chars.end().to_string(), "{field}");
    }
    assert_eq!(number("priority", "maximum"), limits.priority.end().to_string());
    assert_eq!(number("max_attempts", "maximum"), limits.max_attempts.end().to_string());
    assert_eq!(number("timeout_s", "maximum"), limits.timeout_s.end().to_string());
    for (field, most) in
        [("tags", limits.max_tags), ("capabilities", limits.max_capabilities), ("depends_on", limits.max_dependencies)]
    {
        assert_eq!(number(field, "maxItems"), most.to_string(), "{field}");
    }
}

#[test]
fn the_page_names_each_operation_and_no_other() {
    let document = document::document();
    let described: BTreeSet<String> = operations(&document)
        .into_iter()
        .map(|(path, method, _)| format!("{} {path}", method.to_uppercase()))
        .collect();
    let page = read("docs/api.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" | ")).map(|(first, _)| first);
    let spans = rows.flat_map(|first| first.split('`').skip(1).step_by(2));
    let named =
        spans.filter(|span| METHODS.iter().any(|method| span.starts_with(&format!("{} /", method.to_uppercase()))));
    let named: BTreeSet<String> = named.map(|span| span.split('?').next().unwrap_or_default().to_owned()).collect();
    assert_eq!(named, described, "docs/api.md (left) and openapi.json (right)");
}

#[test]
fn models_are_told_of_every_operation() {
    let page = document::for_models();
    assert!(page.starts_with("# qron\n\n> "), "{page}");
    for (path, method, operation) in operations(&document::document()) {
        let line = format!("- `{} {path}` ({}): ", method.to_uppercase(), text(&operation["operationId"]));
        assert!(page.contains(&line), "llms.txt lacks {line}");
    }
}
