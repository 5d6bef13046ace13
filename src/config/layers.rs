//! Where settings come from: the compiled-in file, the user's file, the environment.

use std::path::Path;

use figment::Figment;
use figment::error::Kind;
use figment::value::{Dict, Value};

use super::layer::{Layer, PREFIX, WELL_KNOWN, parse};
use super::secret_files::Variable;
use super::{ConfigError, DEFAULT_TOML, misnamed, shape, show};
use crate::domain::url::HIDDEN;

/// The compiled-in defaults.
pub(super) fn defaults() -> Result<Layer, ConfigError> {
    parse(DEFAULT_TOML, "the defaults").map_err(ConfigError::one)
}

/// The settings of a TOML file; none without one.
pub(super) fn file(path: Option<&Path>, problems: &mut Vec<String>) -> Result<Vec<Layer>, ConfigError> {
    let Some(path) = path else { return Ok(Vec::new()) };
    let text = std::fs::read_to_string(path).map_err(|error| {
        ConfigError::one(format!(
            "configuration file {} cannot be read: {error}; check --config or QRON_CONFIG",
            path.display()
        ))
    })?;
    match parse(&text, &format!("file {}", path.display())) {
        Ok(layer) => Ok(vec![Layer { file: Some(path.to_owned()), ..layer }]),
        Err(problem) => {
            problems.push(problem);
            Ok(Vec::new())
        }
    }
}

/// One layer for each variable, so that each problem names its variable; qron's own last.
pub(super) fn environment(variables: &[Variable], problems: &mut Vec<String>) -> Vec<Layer> {
    let mut layers = Vec::new();
    for (name, path) in WELL_KNOWN {
        // The last of several holds; an empty one says nothing.
        let variable = variables.iter().rev().find(|variable| variable.name == name);
        if let Some(variable) = variable.filter(|variable| !variable.value.trim().is_empty()) {
            let values = nest(&path, Value::from(variable.value.trim()));
            layers.push(Layer { source: name.to_owned(), file: variable.file.clone(), values });
        }
    }
    for Variable { name, value, file } in variables {
        let Some(path) = name.strip_prefix(PREFIX) else {
            continue;
        };
        let path = path.to_lowercase();
        let keys: Vec<&str> = path.split("__").collect();
        if keys.len() < 2 || keys.iter().any(|key| key.is_empty()) {
            let instead =
                misnamed::instead_of(&path).unwrap_or_else(|| "QRON__SECTION__KEY, e.g. QRON__API__ADDRESS".to_owned());
            problems.push(format!("variable {name} names no setting: use {instead}"));
            continue;
        }
        match shape::typed(&keys, value) {
            Ok(value) => {
                let values = nest(&keys, value);
                layers.push(Layer { source: format!("variable {name}"), file: file.clone(), values });
            }
            Err(expected) => {
                let key = keys.join(".");
                // Files hold secrets.
                let shown = match file {
                    Some(_) => HIDDEN.to_owned(),
                    None => shape::shown(&key, &Value::from(value.as_str())),
                };
                problems.push(format!("{key} = {shown} (variable {name}): expected {expected}"));
            }
        }
    }
    layers
}

fn nest(path: &[&str], value: Value) -> Dict {
    let mut dict = Dict::new();
    if let [first, rest @ ..] = path {
        let inner = if rest.is_empty() { value } else { Value::from(nest(rest, value)) };
        dict.insert((*first).to_owned(), inner);
    }
    dict
}

/// What is wrong with a secret, without what was found.
fn expected(kind: &Kind) -> String {
    match kind {
        Kind::InvalidType(_, expected) | Kind::InvalidValue(_, expected) | Kind::InvalidLength(_, expected) => {
            format!("expected {expected}")
        }
        _ => "the value cannot be read: use a text in quotes".to_owned(),
    }
}

/// What to write instead of the address at `key`, which names a host or lacks a port.
fn no_address(merged: &Figment, key: &str) -> String {
    let written: String = merged.extract_inner(key).unwrap_or_default();
    let port = written.rsplit_once(':').map_or(written.as_str(), |(_, port)| port).parse::<u16>();
    let usual = if key.starts_with("embedded.") { 6334 } else { 8080 };
    let example = format!("127.0.0.1:{}", port.unwrap_or(usual));
    let host = if written.starts_with("localhost") { "; localhost is 127.0.0.1" } else { "" };
    format!("this is no socket address: use an IP and a port, and no host name, e.g. {example}{host}")
}

/// An error of reading a section of `merged`, with key, value and source.
pub(super) fn describe(error: &figment::Error, merged: &Figment) -> String {
    // The path begins inside the section and ends with the section itself.
    let mut path = error.path.clone();
    if let Some(section) = path.pop() {
        path.insert(0, section);
    }
    let key = path.join(".");
    let value = merged.find_value(&key).ok().filter(|value| !matches!(value, Value::Dict(..)));
    let value = value.map_or(String::new(), |value| format!(" = {}", shape::shown(&key, &value)));
    let source = error.metadata.as_ref().map_or(String::new(), |metadata| format!(" ({})", metadata.name));
    if show::is_secret(&key) {
        return format!("{key}{value}{source}: {}", expected(&error.kind));
    }
    let reason = error.kind.to_string().replace("``", "`");
    let reason = reason.replace("invalid socket address syntax", &no_address(merged, &key));
    format!("{key}{value}{source}: {reason}")
}
