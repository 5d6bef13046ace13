//! Which keys there are and what type each has, read off the defaults themselves.

use std::sync::LazyLock;

use figment::value::{Dict, Empty, Num, Value};

use super::DEFAULT_TOML;
use super::layer::{self, Layer};
use crate::domain::spelling::nearest;
use crate::domain::url::HIDDEN;

/// Sections whose keys are names that the user chooses; what stands below a name is the same for all of them.
const NAMED: [&str; 8] = [
    "model.prices",
    FREE,
    "tools.files.folders",
    "tools.sql",
    "limits.keys",
    "limits.agents",
    "limits.users",
    "agents",
];

/// The section in which any key with any value may stand below a name.
const FREE: &str = "model.extra_body";

/// Whether `path` is a name in [`FREE`] or stands below one.
fn is_free(path: &str) -> bool {
    path.strip_prefix(FREE).is_some_and(|rest| rest.starts_with('.'))
}

/// An example of the whole: the defaults with the examples in their comments, and `*` in the place of names.
static EXAMPLE: LazyLock<Dict> = LazyLock::new(|| {
    // It cannot fail: the text is compiled in, and a test reads it.
    let mut example = layer::parse(&with_examples(), "the examples").map(|layer| layer.values).unwrap_or_default();
    for path in NAMED {
        forget_names(&mut example, &path.split('.').collect::<Vec<_>>());
    }
    example
});

/// The defaults with their commented examples, which are lines such as `# [limits.agents.generalist]` and `# starts = 100`.
fn with_examples() -> String {
    let is_example = |line: &str| {
        let key = line.split(" = ").next().unwrap_or_default();
        line.starts_with('[') || (key.len() < line.len() && key.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
    };
    let line = |line: &'static str| line.strip_prefix("# ").filter(|line| is_example(line)).unwrap_or(line);
    DEFAULT_TOML.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// Merges all that stands below the names of the section at `path` into one example under `*`.
fn forget_names(example: &mut Dict, path: &[&str]) {
    let Some((key, rest)) = path.split_first() else { return };
    let Some(Value::Dict(_, section)) = example.get_mut(*key) else { return };
    if !rest.is_empty() {
        return forget_names(section, rest);
    }
    let mut any = Dict::new();
    for value in std::mem::take(section).into_values() {
        if let Value::Dict(_, of_name) = value {
            merge(&mut any, of_name);
        }
    }
    section.insert("*".to_owned(), Value::from(any));
}

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
                let valid = with_hint(valid_keys(example, &path[..path.len() - 1]), example, key);
                problems.push(format!("unknown key {full} ({source}): {valid}"));
                false
            }
            (Some(Value::Dict(..)), Value::Dict(..)) if is_free(&full) => true,
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

/// Ends of the names of settings that are lengths of time.
const UNITS: [&str; 2] = ["_ms", "_s"];

/// `valid`, which names the valid keys, behind the one that the misspelt `key` nearly is.
fn with_hint(valid: String, example: &Dict, key: &str) -> String {
    let known = || example.keys().filter(|key| *key != "*").map(String::as_str);
    // The unit may be what is too much.
    let without_unit = || UNITS.iter().find_map(|unit| key.strip_suffix(unit)).and_then(|key| nearest(key, known()));
    match nearest(key, known()).or_else(without_unit) {
        Some(meant) => format!("did you mean {meant:?}? ({valid})"),
        None => valid,
    }
}

/// The paths of all settings whose names are fixed.
pub(super) fn settings() -> Vec<String> {
    fn collect(path: &str, section: &Dict, found: &mut Vec<String>) {
        for (key, value) in section.iter().filter(|(key, _)| *key != "*") {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            match value {
                Value::Dict(_, section) => collect(&path, section, found),
                _ => found.push(path),
            }
        }
    }
    let mut found = Vec::new();
    collect("", &EXAMPLE, &mut found);
    found
}

fn valid_keys(example: &Dict, path: &[String]) -> String {
    let keys: Vec<&str> = example.keys().filter(|key| *key != "*").map(String::as_str).collect();
    match path {
        [] => format!("the sections are: {}", keys.join(", ")),
        _ => format!("the keys of [{}] are: {}", path.join("."), keys.join(", ")),
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
        *value = Value::from(items(text).ok_or_else(|| expected(example))?);
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

/// The items of a list that is written as a text: several are separated by commas. `None` for a text with brackets or quotes that
/// is no list: one that was cut off would else be taken for names.
fn items(text: &str) -> Option<Vec<String>> {
    let text = text.trim();
    if text.starts_with(['"', '\'']) {
        let list: Value = format!("[{text}]").parse().unwrap_or_else(|never| match never {});
        return list.into_array()?.into_iter().map(|item| item.as_str().map(str::to_owned)).collect();
    }
    let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
    let is_broken = |item: &str| item.starts_with('[') || item.ends_with(']') || item.contains('"');
    items.map(|item| (!is_broken(item)).then(|| item.to_owned())).collect()
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
        Value::Dict(..) => "a section of keys, in a variable as { key = value }".to_owned(),
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
    if is_free(&path.join(".")) {
        return Ok(text.trim().parse().unwrap_or_else(|never| match never {}));
    }
    let Some(example) = setting(path) else { return Ok(Value::from(text)) };
    if matches!(example, Value::String(..)) {
        return Ok(Value::from(text));
    }
    // A list has brackets. Anything else is its only item, or several: the name of a model may look like a number.
    if matches!(example, Value::Array(..)) && !text.trim_start().starts_with('[') {
        return items(text).map(Value::from).ok_or_else(|| expected(example));
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
    use std::collections::BTreeSet;

    use serde::de::value::Error;
    use serde::de::{DeserializeOwned, Deserializer, Error as _, Visitor};
    use serde::forward_to_deserialize_any;

    use super::*;
    use crate::domain::agent::AgentProfile;
    use crate::domain::approval::ApprovalPolicy;
    use crate::domain::budget::Budget;
    use crate::domain::limit::{Limit, Limits, UserLimit};
    use crate::domain::retry::RetryPolicy;
    use crate::domain::tree::TreeBudget;
    use crate::{api, llm, scheduler, store, telemetry, tools, worker};

    /// Reads which keys a type has.
    struct KeysOf<'a>(&'a mut &'static [&'static str]);

    impl<'de> Deserializer<'de> for KeysOf<'_> {
        type Error = Error;

        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
            Err(Error::custom("it is no struct"))
        }

        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _: &'static str,
            fields: &'static [&'static str],
            _: V,
        ) -> Result<V::Value, Error> {
            *self.0 = fields;
            Err(Error::custom("only its keys are wanted"))
        }

        forward_to_deserialize_any! {
            bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
            newtype_struct seq tuple tuple_struct map enum identifier ignored_any
        }
    }

    /// The keys of `T` stand in `config/default.toml`, and no others.
    fn assert_same_keys<T: DeserializeOwned>(path: &str) {
        let mut fields: &[&str] = &[];
        assert!(T::deserialize(KeysOf(&mut fields)).is_err());
        let path_of_keys: Vec<&str> = path.split('.').collect();
        let section = setting(&path_of_keys).and_then(Value::as_dict).unwrap_or_else(|| panic!("no section {path}"));
        // The name of an agent is the key of its section.
        let fields = fields.iter().copied().filter(|field| !(path == "agents.*" && *field == "name"));
        let shown: BTreeSet<&str> = section.keys().map(String::as_str).collect();
        assert_eq!(fields.collect::<BTreeSet<_>>(), shown, "[{path}] of config/default.toml and its struct");
    }

    #[test]
    fn the_default_file_has_every_key_of_every_struct_and_no_other() {
        assert_same_keys::<store::Settings>("store");
        assert_same_keys::<qdrant_embedded::Settings>("embedded");
        assert_same_keys::<scheduler::Settings>("scheduler");
        assert_same_keys::<worker::Settings>("worker");
        assert_same_keys::<RetryPolicy>("retry");
        assert_same_keys::<ApprovalPolicy>("approvals");
        assert_same_keys::<TreeBudget>("tree");
        assert_same_keys::<scheduler::RetentionSettings>("retention");
        assert_same_keys::<Limits>("limits");
        assert_same_keys::<llm::Settings>("model");
        assert_same_keys::<RetryPolicy>("model.retry");
        assert_same_keys::<llm::Price>("model.prices.*");
        assert_same_keys::<llm::EmbeddingSettings>("embeddings");
        assert_same_keys::<crate::agent::MemorySettings>("memory");
        assert_same_keys::<tools::Settings>("tools");
        assert_same_keys::<store::ArtifactSettings>("artifacts");
        assert_same_keys::<api::Settings>("api");
        assert_same_keys::<telemetry::Settings>("log");
        for path in ["limits.keys.*", "limits.agents.*"] {
            assert_same_keys::<Limit>(path);
        }
        assert_same_keys::<UserLimit>("limits.users.*");
        assert_same_keys::<tools::HttpSettings>("tools.http");
        assert_same_keys::<tools::FileSettings>("tools.files");
        assert_same_keys::<tools::OpenedFolder>("tools.files.folders.*");
        assert_same_keys::<tools::DatabaseSettings>("tools.sql.*");
        assert_same_keys::<AgentProfile>("agents.*");
        assert_same_keys::<Budget>("agents.*.budget");
    }

    #[test]
    fn the_commented_budget_is_the_default_one() {
        let budget = setting(&["agents", "*", "budget"]).expect("an example").clone();
        assert_eq!(budget.deserialize::<Budget>().expect("a budget"), Budget::default());
    }
}
