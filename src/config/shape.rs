//! Which keys there are and what type each has, read off the defaults themselves.

use std::sync::LazyLock;

use figment::value::{Dict, Empty, Num, Value};

use super::layers::{self, Layer};
use crate::domain::url::HIDDEN;

/// Sections whose keys are names that the user chooses. Their values follow these examples.
const NAMED: &str = r#"
[model.prices."*"]
prompt = 0.5
completion = 0.5

[tools.sql."*"]
url = ""
max_rows = 1
timeout_ms = 1
max_connections = 1
functions = [""]

[limits.keys."*"]
max_running = 1
starts = 1
per_s = 1

[limits.agents."*"]
max_running = 1
starts = 1
per_s = 1

[limits.users."*"]
max_queued = 1

[agents."*"]
role = ""
instructions = ""
capabilities = [""]
tools = [""]
needs_approval = [""]
delegates_to = [""]
model = ""
capacity = 1

[agents."*".budget]
max_steps = 1
max_model_calls = 1
max_tokens = 1
max_cost_usd = 0.5
max_replans = 1
max_turns_per_step = 1
max_duration_s = 1
"#;

/// An example of the whole: the defaults, with what users may name under `*`.
static EXAMPLE: LazyLock<Dict> = LazyLock::new(|| {
    // Neither can fail: both texts are compiled in, and a test reads them.
    let mut example = layers::defaults().map(|layer| layer.values).unwrap_or_default();
    let named = layers::parse(NAMED, "the examples").map(|layer| layer.values).unwrap_or_default();
    if let Some(Value::Dict(_, agents)) = example.get_mut("agents") {
        agents.clear();
    }
    merge(&mut example, named);
    example
});

fn merge(into: &mut Dict, from: Dict) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Dict(_, into)), Value::Dict(_, from)) => merge(into, from),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

fn example_of<'a>(within: &'a Dict, key: &str) -> Option<&'a Value> {
    within.get(key).or_else(|| within.get("*"))
}

/// Reports keys that do not exist and values of the wrong type, and takes them out of `layer`.
pub(super) fn check(layer: &mut Layer, problems: &mut Vec<String>) {
    let source = layer.source.clone();
    check_section(&mut layer.values, &EXAMPLE, &mut Vec::new(), &source, problems);
}

fn check_section(values: &mut Dict, example: &Dict, path: &mut Vec<String>, source: &str, problems: &mut Vec<String>) {
    values.retain(|key, value| {
        path.push(key.clone());
        let full = path.join(".");
        let keep = match (example_of(example, key), value) {
            (None, _) => {
                problems
                    .push(format!("unknown key {full} ({source}): {}", valid_keys(example, &path[..path.len() - 1])));
                false
            }
            (Some(Value::Dict(_, example)), Value::Dict(_, section)) => {
                check_section(section, example, path, source, problems);
                true
            }
            (Some(example), value) => match fit(value, example) {
                Ok(()) => true,
                Err(expected) => {
                    problems.push(format!("{full} = {} ({source}): expected {expected}", shown(&full, value)));
                    false
                }
            },
        };
        path.pop();
        keep
    });
}

fn valid_keys(example: &Dict, path: &[String]) -> String {
    let keys: Vec<&str> = example.keys().filter(|key| *key != "*").map(String::as_str).collect();
    match path {
        [] => format!("valid sections are {}", keys.join(", ")),
        _ => format!("valid in [{}] are {}", path.join("."), keys.join(", ")),
    }
}

/// A wrong value as it is told; never that of a secret, nor what stands in the place of a section, which may be one.
pub(super) fn shown(path: &str, value: &Value) -> String {
    let path_of_keys: Vec<&str> = path.split('.').collect();
    let is_hidden = super::show::is_secret(path) || !is_setting(&path_of_keys);
    if is_hidden { HIDDEN.to_owned() } else { super::show::inline(value) }
}

/// Whether `value` has the type of `example`; `Err` says which it should have. Where a list is wanted, a text becomes one.
fn fit(value: &mut Value, example: &Value) -> Result<(), String> {
    if let (Value::String(_, text), Value::Array(..)) = (&*value, example) {
        *value = Value::from(items(text));
    }
    let fits = match (&*value, example) {
        (Value::String(..), Value::String(..)) | (Value::Bool(..), Value::Bool(..)) => true,
        (Value::Num(_, number), Value::Num(_, Num::F32(_) | Num::F64(_))) => {
            number.to_f64().is_some() || is_integer(*number)
        }
        (Value::Num(_, number), Value::Num(..)) => {
            is_integer(*number) && value.to_i128().is_none_or(|number| number >= 0)
        }
        // Every list of the settings is one of texts.
        (Value::Array(_, items), Value::Array(..)) => items.iter().all(|item| matches!(item, Value::String(..))),
        _ => false,
    };
    if !fits {
        return Err(expected(example));
    }
    Ok(())
}

/// The items of a list that is written as a text: several are separated by commas.
fn items(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
}

const fn is_integer(number: Num) -> bool {
    !matches!(number, Num::F32(_) | Num::F64(_))
}

fn expected(example: &Value) -> String {
    match example {
        Value::String(..) | Value::Char(..) => "a text in quotes".to_owned(),
        Value::Bool(..) => "true or false".to_owned(),
        Value::Num(_, number) if is_integer(*number) => "a whole number, zero or more".to_owned(),
        Value::Num(..) => "a number".to_owned(),
        Value::Array(..) => r#"a text such as a or a,b, or a list of texts, e.g. ["a", "b"]"#.to_owned(),
        Value::Dict(..) => "a section of keys".to_owned(),
        Value::Empty(_, Empty::None | Empty::Unit) => "nothing".to_owned(),
    }
}

/// Whether `path` names a setting, and not a section.
pub(super) fn is_setting(path: &[&str]) -> bool {
    setting(path).is_some_and(|example| !matches!(example, Value::Dict(..)))
}

/// The example of the setting or section at `path`.
fn setting(path: &[&str]) -> Option<&'static Value> {
    let (last, sections) = path.split_last()?;
    let within = sections.iter().try_fold(&*EXAMPLE, |dict, key| example_of(dict, key)?.as_dict())?;
    example_of(within, last)
}

/// The text of a variable as the type that the setting at `path` has. Unknown settings keep their text: they are
/// reported as unknown later.
pub(super) fn typed(path: &[&str], text: &str) -> Result<Value, String> {
    let Some(example) = setting(path) else { return Ok(Value::from(text)) };
    if matches!(example, Value::String(..)) {
        return Ok(Value::from(text));
    }
    // A list has brackets. Anything else is its only item, or several: the name of a model may look like a number.
    if matches!(example, Value::Array(..)) && !text.trim_start().starts_with('[') {
        return Ok(Value::from(items(text)));
    }
    if let (Value::Bool(..), Some(truth)) = (example, truth(text)) {
        return Ok(Value::from(truth));
    }
    // The parser never fails: what it does not understand is a text.
    let mut value: Value = text.trim().parse().unwrap_or_else(|never| match never {});
    fit(&mut value, example).map(|()| value)
}

/// What a variable says that is true or false, in the words that people use; `None` for other words.
pub(crate) fn truth(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "y" | "on" => Some(true),
        "false" | "0" | "no" | "n" | "off" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_hold_every_section() {
        for key in ["store", "agents", "model", "tools", "log"] {
            assert!(EXAMPLE.contains_key(key), "{key}");
        }
        assert!(EXAMPLE["agents"].as_dict().is_some_and(|agents| agents.contains_key("*")));
    }
}
