//! `qron tools`: lists the tools with their arguments and outputs.

use clap::Args;
use serde_json::Value;

use super::client::Client;
use super::{CliError, output};
use crate::api::views::Listing;
use crate::api::views::tools::ToolView;
use crate::domain::schema_words::kind;
use crate::domain::tool::Effect;

#[derive(Debug, Args)]
pub(super) struct Tools {
    /// Only these tools; all by default
    names: Vec<String>,
    /// Write Markdown
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

impl Tools {
    pub(super) async fn run(self, client: &Client) -> Result<(), CliError> {
        let mut listing: Listing<ToolView> = client.get(&["tools"], &[]).await?;
        if let Some(name) = self.names.iter().find(|name| listing.items.iter().all(|tool| tool.name != **name)) {
            let known: Vec<&str> = listing.items.iter().map(|tool| tool.name.as_str()).collect();
            return Err(CliError::Usage(format!("no tool is called {name:?}; the tools are: {}", known.join(", "))));
        }
        listing.items.retain(|tool| self.names.is_empty() || self.names.contains(&tool.name));
        if self.json {
            return output::json(&listing);
        }
        let write = if self.markdown { markdown } else { text };
        listing.items.iter().flat_map(write).try_for_each(|line| output::line(&line))
    }
}

/// One argument of a tool, described in words.
struct Argument<'a> {
    name: &'a str,
    kind: String,
    meaning: &'a str,
}

/// The arguments that a schema describes, the required ones first.
fn arguments(schema: &Value) -> Vec<Argument<'_>> {
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let properties = schema["properties"].as_object().into_iter().flatten();
    let mut arguments: Vec<Argument<'_>> = properties
        .map(|(name, property)| {
            let needed = if required.contains(&name.as_str()) { ", required" } else { "" };
            let meaning = property["description"].as_str().unwrap_or_default();
            Argument { name, kind: kind(property) + needed, meaning }
        })
        .collect();
    arguments.sort_by_key(|argument| required.iter().position(|name| *name == argument.name).unwrap_or(usize::MAX));
    arguments
}

/// A field of the output of a tool, described in words.
struct Field<'a> {
    /// As a reference names it below its step: `files.N.path`.
    path: String,
    kind: String,
    meaning: &'a str,
}

/// The fields that the schema of an output names, those inside of others too.
fn fields(schema: &Value) -> Vec<Field<'_>> {
    let mut found = Vec::new();
    collect_fields("", schema, &mut found);
    found
}

fn collect_fields<'a>(prefix: &str, schema: &'a Value, found: &mut Vec<Field<'a>>) {
    let required = schema["required"].as_array().map(Vec::as_slice).unwrap_or_default();
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{prefix}{name}");
        let absent = if required.iter().any(|other| other == name) { "" } else { ", may be absent" };
        let meaning = property["description"].as_str().unwrap_or_default();
        found.push(Field { path: path.clone(), kind: kind(property) + absent, meaning });
        collect_fields(&format!("{path}."), property, found);
        collect_fields(&format!("{path}.N."), &property["items"], found);
    }
}

/// What a call can change, and whether qron repeats a call that a crash interrupted.
fn describe_effect(tool: &ToolView) -> String {
    let effect = match tool.effect {
        Effect::Read => "only reads",
        Effect::Write => "changes data that qron stores",
        Effect::External => "may change something outside qron",
    };
    let repetition = match tool.parameters.pointer("/properties/method") {
        _ if tool.idempotent => "is repeated",
        Some(_) => "is repeated when its method is GET, HEAD or OPTIONS",
        None => "is not repeated",
    };
    format!("It {effect}; a call that a crash interrupted {repetition}.")
}

fn text(tool: &ToolView) -> Vec<String> {
    let mut lines = vec![tool.name.clone(), format!("  {}", tool.description), format!("  {}", describe_effect(tool))];
    let agents = if tool.agents.is_empty() { "no agent of this replica".to_owned() } else { tool.agents.join(", ") };
    lines.push(format!("  Used by: {agents}"));
    for Argument { name, kind, meaning } in arguments(&tool.parameters) {
        let meaning = if meaning.is_empty() { String::new() } else { format!(": {meaning}") };
        lines.push(format!("    {name} ({kind}){meaning}"));
    }
    lines.push("  Its output:".to_owned());
    for Field { path, kind, meaning } in fields(&tool.output) {
        let meaning = if meaning.is_empty() { String::new() } else { format!(": {meaning}") };
        lines.push(format!("    {path} ({kind}){meaning}"));
    }
    lines.push(String::new());
    lines
}

fn markdown(tool: &ToolView) -> Vec<String> {
    let cell = |text: &str| text.replace('|', "\\|");
    let mut lines = vec![format!("### {}", tool.name), String::new(), tool.description.clone(), String::new()];
    lines.extend(["| argument | type | meaning |", "|---|---|---|"].map(str::to_owned));
    let rows = arguments(&tool.parameters).into_iter();
    lines.extend(
        rows.map(|Argument { name, kind, meaning }| format!("| `{name}` | {} | {} |", cell(&kind), cell(meaning))),
    );
    lines.extend(["", "| field of its output | type | meaning |", "|---|---|---|"].map(str::to_owned));
    let rows = fields(&tool.output).into_iter();
    lines.extend(
        rows.map(|Field { path, kind, meaning }| format!("| `{path}` | {} | {} |", cell(&kind), cell(meaning))),
    );
    lines.extend([String::new(), describe_effect(tool), String::new()]);
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_of_an_output_are_named_as_references_name_them() {
        let item = json!({ "properties": { "path": { "type": "string" } }, "required": ["path"] });
        let schema = json!({
            "properties": { "files": { "type": "array", "items": item }, "left": { "type": ["integer", "null"] } },
            "required": ["files"],
        });
        let found: Vec<String> =
            fields(&schema).iter().map(|field| format!("{}: {}", field.path, field.kind)).collect();
        let expected =
            ["files: list of JSON values", "files.N.path: text", "left: whole number or null, may be absent"];
        assert_eq!(found, expected);
        assert!(fields(&json!(true)).is_empty());
    }

    #[test]
    fn required_arguments_come_first_in_their_own_order() {
        let schema = json!({
            "properties": { "a": {}, "b": { "description": "why" }, "c": {} }, "required": ["c", "b"],
        });
        let found: Vec<String> =
            arguments(&schema).iter().map(|argument| format!("{} {}", argument.name, argument.kind)).collect();
        assert_eq!(found, ["c any JSON, required", "b any JSON, required", "a any JSON"]);
    }
}
