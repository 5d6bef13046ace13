//! All faults of a plan at once, its calls held against the schemas of their tools.

use std::sync::Arc;

use jsonschema::error::ValidationErrorKind;
use jsonschema::{ValidationError, Validator};
use serde_json::{Map, Value};

use super::files::{FILES, TaskFile, file_in};
use super::handover::PARENT;
use super::id::TaskId;
use super::json::Size;
use super::plan::{DEPS, Plan, PlanStep, has_references, is_one_reference, referenced};
use super::schema_words::{allowed, kind};
use super::spelling::meant;
use super::tool::ToolSpec;

/// Most faults in the arguments of one step that are told.
const MAX_FAULTS_OF_STEP: usize = 8;
/// Most characters of a value that an error shows.
const SHOWN_CHARS: usize = 80;
/// Longest JSON, in bytes, that becomes text with line breaks.
const PRETTY_BYTES: usize = 64 * 1024;
/// Fields of a reference to an artifact, which replaces an output that was too long.
const OFFLOADED: [&str; 3] = ["artifact", "bytes", "preview"];

/// A tool that a plan may name.
#[derive(Clone, Debug)]
pub struct KnownTool {
    /// Its description.
    pub spec: Arc<ToolSpec>,
    /// The schema of its arguments, compiled.
    pub schema: Arc<Validator>,
}

/// Everything that is wrong with a given plan that may use `tools`: its size, names, dependencies, arguments and references. Empty
/// for a right one. A plan that is too large is not checked any further.
#[must_use]
pub fn plan_faults(plan: &Plan, tools: &[KnownTool]) -> Vec<String> {
    if let Err(error) = plan.check_size() {
        return vec![error.to_string()];
    }
    let specs: Vec<&ToolSpec> = tools.iter().map(|tool| tool.spec.as_ref()).collect();
    let names: Vec<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
    let mut faults: Vec<String> = plan.faults(&names).iter().map(ToString::to_string).collect();
    for step in &plan.steps {
        let tool = tools.iter().find(|tool| step.tool.as_ref() == Some(&tool.spec.name));
        faults.extend(tool.into_iter().flat_map(|tool| faults_of_call(step, &tool.spec, &tool.schema)));
        let texts = step.texts().into_iter().flat_map(referenced);
        faults.extend(texts.filter_map(|reference| missing_field(step, reference, &plan.steps, &specs)));
    }
    faults
}

/// References of a given plan to results of tasks that `depends_on` does not name; they would point at nothing when the step runs.
#[must_use]
pub fn missing_dependencies(plan: &Plan, depends_on: &[TaskId]) -> Vec<String> {
    let known: Vec<String> = depends_on.iter().map(ToString::to_string).collect();
    let mut faults = Vec::new();
    for step in &plan.steps {
        for reference in step.texts().into_iter().flat_map(referenced) {
            let mut path = reference.split('.');
            let (first, id) = (path.next().unwrap_or_default(), path.next().unwrap_or_default());
            if first == DEPS && id != PARENT && !known.iter().any(|known| known == id) {
                let id: String = id.chars().take(SHOWN_CHARS).collect();
                faults.push(format!(
                    "step {:?}: ${{deps.{id}…}} refers to a task that this one does not depend on: add its id to depends_on \
                     (qron add --after)",
                    step.id
                ));
            }
        }
    }
    faults.truncate(MAX_FAULTS_OF_STEP);
    faults
}

/// References of a plan to files that its task does not have. A step called `files` takes the name from them.
#[must_use]
pub fn missing_files(steps: &[PlanStep], files: &[TaskFile]) -> Vec<String> {
    if steps.iter().any(|step| step.id == FILES) {
        return Vec::new();
    }
    let missing = |reference: &str| match file_in(reference) {
        Some(name) => files.iter().all(|file| file.name != name),
        None => reference == FILES,
    };
    let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
    let there = if names.is_empty() { "has no files".to_owned() } else { format!("has {}", names.join(", ")) };
    let faults = steps.iter().flat_map(|step| {
        let references = step.texts().into_iter().flat_map(referenced).filter(|reference| missing(reference));
        references.map(|reference| {
            let reference: String = reference.chars().take(SHOWN_CHARS).collect();
            format!(
                "step {:?}: ${{{reference}}} names no file of the task, which {there}: write ${{files.NAME}}, and give a file \
                 with qron add --file",
                step.id
            )
        })
    });
    let waits = steps.iter().filter(|step| step.depends_on.iter().any(|id| id == FILES));
    let waits = waits.map(|step| format!("step {:?} depends on unknown step {FILES:?}", step.id));
    faults.chain(waits).take(MAX_FAULTS_OF_STEP).collect()
}

fn tool_of<'a>(step: &PlanStep, tools: &[&'a ToolSpec]) -> Option<&'a ToolSpec> {
    let name = step.tool.as_deref()?;
    tools.iter().copied().find(|tool| tool.name == name)
}

/// Faults in the arguments of `step`, which calls `tool`, that no value of a reference can correct. A text that is one
/// reference stands for any value, a text that has references for any text.
#[must_use]
pub fn argument_faults(step: &PlanStep, tool: &ToolSpec) -> Vec<String> {
    jsonschema::validator_for(&tool.parameters)
        .map_or_else(|_| Vec::new(), |schema| faults_of_call(step, tool, &schema))
}

fn faults_of_call(step: &PlanStep, tool: &ToolSpec, schema: &Validator) -> Vec<String> {
    let mut given = match &step.arguments {
        Value::Null => Value::Object(Map::new()),
        Value::Object(_) => step.arguments.clone(),
        // A fault of the plan itself.
        _ => return Vec::new(),
    };
    // As the call will be made.
    stringify_for(&mut given, &tool.parameters);
    let closed = schema.iter_errors(&given).filter(|error| !is_open(error));
    closed.flat_map(|error| describe(step, tool, &error)).take(MAX_FAULTS_OF_STEP).collect()
}

/// Whether the error may disappear once the references are resolved.
fn is_open(error: &ValidationError<'_>) -> bool {
    let value = error.instance().as_ref();
    match error.kind() {
        ValidationErrorKind::Required { .. } | ValidationErrorKind::AdditionalProperties { .. } => false,
        ValidationErrorKind::Type { .. } => value.as_str().is_some_and(is_one_reference),
        _ => has_reference(value),
    }
}

fn has_reference(value: &Value) -> bool {
    match value {
        Value::String(text) => has_references(text),
        Value::Array(items) => items.iter().any(has_reference),
        Value::Object(fields) => fields.values().any(has_reference),
        _ => false,
    }
}

/// One schema error in sentences: one for each unknown argument.
fn describe(step: &PlanStep, tool: &ToolSpec, error: &ValidationError<'_>) -> Vec<String> {
    let (id, name) = (&step.id, &tool.name);
    let path = error.instance_path().as_str().trim_start_matches('/').replace('/', ".");
    let at_top = path.is_empty();
    match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected } if at_top => {
            unexpected.iter().map(|key| unknown_argument(step, tool, key)).collect()
        }
        ValidationErrorKind::Required { property } if at_top => {
            let property = property.as_str().unwrap_or_default();
            let kind = kind(&tool.parameters["properties"][property]);
            vec![format!("step {id:?}: {name} requires the argument {property:?} ({kind})")]
        }
        _ if at_top => vec![format!("step {id:?}: the arguments of {name}: {error}")],
        _ => {
            let value = shown(error.instance().as_ref());
            let rule = rule(error, &tool.parameters);
            vec![format!("step {id:?}: the argument {path:?} of {name} is {value}; {rule}")]
        }
    }
}

fn unknown_argument(step: &PlanStep, tool: &ToolSpec, key: &str) -> String {
    let properties = tool.parameters["properties"].as_object();
    let known: Vec<&str> = properties.into_iter().flat_map(Map::keys).map(String::as_str).collect();
    let hint = meant(key, known.iter().copied()).map_or_else(String::new, |name| format!(" (did you mean {name:?}?)"));
    let takes = if known.is_empty() { "no arguments".to_owned() } else { known.join(", ") };
    let key = shown(&Value::from(key));
    format!("step {:?}: {} has no argument {key}{hint}; it takes {takes}", step.id, tool.name)
}

/// What the value must be, by the part of the schema that it breaks.
fn rule(error: &ValidationError<'_>, parameters: &Value) -> String {
    let broken = error.schema_path().as_str();
    let schema = broken.rsplit_once('/').and_then(|(around, _)| parameters.pointer(around));
    match (error.kind(), schema) {
        (ValidationErrorKind::MinLength { limit }, _) => format!("it must have at least {limit} characters"),
        (ValidationErrorKind::MaxLength { limit }, _) => format!("it may have at most {limit} characters"),
        (ValidationErrorKind::MinItems { limit }, _) => format!("it must have at least {limit} items"),
        (ValidationErrorKind::MaxItems { limit }, _) => format!("it may have at most {limit} items"),
        (ValidationErrorKind::Pattern { pattern }, _) => format!("it must match {pattern}"),
        (ValidationErrorKind::AdditionalProperties { unexpected }, _) => {
            format!("it may not have {}", unexpected.join(", "))
        }
        (_, Some(schema)) => format!("it must be {}", with_article(&allowed(schema))),
        _ => error.masked().to_string(),
    }
}

fn with_article(kind: &str) -> String {
    let article = match kind.split([' ', ',']).next() {
        Some("whole" | "number" | "list") => "a ",
        Some("object") => "an ",
        _ => "",
    };
    format!("{article}{kind}")
}

/// The beginning of a value as JSON.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// The fault of a `reference` in `step` to a field that the tool of the step it points at does not answer.
#[must_use]
pub fn missing_field(step: &PlanStep, reference: &str, steps: &[PlanStep], tools: &[&ToolSpec]) -> Option<String> {
    let (id, path) = reference.split_once('.')?;
    let field = path.split('.').next()?;
    let tool = tool_of(steps.iter().find(|other| other.id == id)?, tools)?;
    let fields = output_fields(&tool.description).filter(|fields| !fields.contains(&field))?;
    if OFFLOADED.contains(&field) {
        return None;
    }
    Some(format!("step {:?}: ${{{reference}}}: {} answers only {}", step.id, tool.name, fields.join(", ")))
}

/// The output fields of a tool, as its description names them; `None` when it names none.
fn output_fields(description: &str) -> Option<Vec<&str>> {
    let (_, object) = description.split_once("Answers {")?;
    if !object.starts_with('"') {
        return None;
    }
    let mut fields = Vec::new();
    let (mut depth, mut rest) = (1_u32, object);
    while let Some(at) = rest.find(['"', '{', '[', '}', ']']) {
        let (mark, after) = rest[at..].split_at(1);
        rest = after;
        match mark {
            "\"" => {
                let (name, after) = rest.split_once('"')?;
                if depth == 1 {
                    fields.push(name);
                }
                rest = after;
            }
            "{" | "[" => depth += 1,
            _ => depth -= 1,
        }
        if depth == 0 {
            return Some(fields);
        }
    }
    None
}

/// Turns values in `value` into text where `schema` requires text: JSON, indented unless it is too long.
pub fn stringify_for(value: &mut Value, schema: &Value) {
    if schema["type"] == "string" && !matches!(value, Value::Null | Value::String(_)) {
        // Indentation makes text of many small values many times as long.
        let is_short = Size::of(value).text <= PRETTY_BYTES;
        let pretty = is_short.then(|| serde_json::to_string_pretty(value).ok()).flatten();
        *value = Value::String(pretty.unwrap_or_else(|| value.to_string()));
        return;
    }
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                stringify_for(field, &schema["properties"][name.as_str()]);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| stringify_for(item, &schema["items"])),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
