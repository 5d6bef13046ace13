//! Variables that look like one of qron, or like one that it might read, and are none: they would go unnoticed.

use super::layer::{PREFIX, WELL_KNOWN};
use super::secret_files::{SUFFIX, Variable};
use super::shape::{self, truth};
use crate::domain::spelling::nearest;

/// Variables that are no settings, without `QRON_`.
const OWN: [&str; 3] = ["CONFIG", "NO_MODEL", "URL"];
/// Fewest characters of a name that is compared with settings: platforms make short ones, such as `QRON_PORT`, of the name of a
/// service.
const MIN_CHARS: usize = 6;
/// What people call a setting by another name, without `QRON_`.
const OTHER_NAMES: [(&str, &str); 5] = [
    ("API_HOST", "api.address"),
    ("API_KEY", "api.token"),
    ("API_PORT", "api.address"),
    ("LOG", "log.filter"),
    ("LOG_LEVEL", "log.filter"),
];
/// Variables of other programs that a setting is expected of, and the setting.
const EXPECTED: [(&str, [&str; 2]); 19] = [
    ("OLLAMA_BASE_URL", BASE_URL),
    ("OLLAMA_HOST", BASE_URL),
    ("OPENAI_API_BASE", BASE_URL),
    ("OPENAI_API_BASE_URL", BASE_URL),
    ("OPENAI_API_HOST", BASE_URL),
    ("OPENAI_API_URL", BASE_URL),
    ("OPENAI_BASE", BASE_URL),
    ("OPENAI_ENDPOINT", BASE_URL),
    ("OPENAI_HOST", BASE_URL),
    ("OPENAI_URL", BASE_URL),
    ("OPENAI_API_TOKEN", ["model", "api_key"]),
    ("OPENAI_KEY", ["model", "api_key"]),
    ("OPENAI_TOKEN", ["model", "api_key"]),
    ("OPENAI_MODEL", ["model", "models"]),
    ("OPENAI_MODEL_NAME", ["model", "models"]),
    ("QDRANT_ENDPOINT", ["store", "url"]),
    ("QDRANT_HOST", ["store", "url"]),
    ("QDRANT_KEY", ["store", "api_key"]),
    ("RUST_LOG", ["log", "filter"]),
];
const BASE_URL: [&str; 2] = ["model", "base_url"];

/// Reports variables that begin with `QRON_` and nearly name a setting or another variable of qron, and a `QRON_NO_MODEL` that is
/// neither on nor off. Other names belong to other programs.
pub(super) fn check(variables: &[Variable], problems: &mut Vec<String>) {
    for Variable { name, value, .. } in variables {
        let Some(rest) = single(name) else { continue };
        if OWN.contains(&rest) {
            if rest == "NO_MODEL" && truth(value).is_none() {
                problems.push(format!("variable {name} = {value:?}: use 1, true, yes or on; or 0, false, no or off"));
            }
            continue;
        }
        if let Some(meant) = meant(rest) {
            problems.push(format!("variable {name} names no setting: write it {meant}"));
        }
    }
}

/// A warning for each variable that begins with `QRON_` and is called as the key of a setting, without its section.
pub(super) fn without_section(variables: &[Variable]) -> Vec<String> {
    let given = variables.iter().filter(|variable| !variable.value.trim().is_empty());
    let names = given.map(|variable| variable.name.as_str());
    let singles = names.filter_map(|name| Some((name, single(name).filter(|rest| !OWN.contains(rest))?)));
    let unmeant = singles.filter(|(_, rest)| meant(rest).is_none());
    let warning = |(name, rest): (&str, &str)| {
        Some(format!(
            "variable {name} is none that qron reads, so it changes nothing: did you mean {}?",
            with_key(rest)?
        ))
    };
    unmeant.filter_map(warning).collect()
}

/// A warning for each variable of another program that a setting may be expected of, unless `is_set` says that the setting has
/// another source.
pub(super) fn of_others(variables: &[Variable], is_set: impl Fn(&[&str]) -> bool) -> Vec<String> {
    let mut warnings = Vec::new();
    for Variable { name, .. } in variables.iter().filter(|variable| !variable.value.trim().is_empty()) {
        let Some(path) = expected(name).filter(|path| !is_set(path)) else { continue };
        let read = WELL_KNOWN.iter().find(|(_, setting)| *setting == path);
        let read = read.map_or_else(|| variable(&path.join(".")), |(name, _)| (*name).to_owned());
        let example = if path == BASE_URL { ", e.g. http://127.0.0.1:11434/v1" } else { "" };
        warnings.push(format!("qron does not read the variable {name}: use {read} for {}{example}", path.join(".")));
    }
    warnings
}

/// The setting that is expected of the variable `name` of another program.
fn expected(name: &str) -> Option<[&'static str; 2]> {
    let is_read = WELL_KNOWN.iter().any(|(known, _)| *known == name);
    let listed = EXPECTED.iter().find(|(known, _)| *known == name).map(|(_, path)| *path);
    let misspelt = || {
        let program = name.split_inclusive('_').next().filter(|first| ["OPENAI_", "QDRANT_"].contains(first))?;
        let of_program = WELL_KNOWN.iter().filter(|(known, _)| known.starts_with(program));
        let known = nearest(name, of_program.map(|(known, _)| *known))?;
        WELL_KNOWN.iter().find(|(name, _)| *name == known).map(|(_, path)| *path)
    };
    if is_read { None } else { listed.or_else(misspelt) }
}

/// What to write instead of a variable that has two underscores after `QRON` and names no section, such as `QRON__TOKEN`.
pub(super) fn instead_of(rest: &str) -> Option<String> {
    let own = OWN.iter().find(|name| name.eq_ignore_ascii_case(rest)).map(|name| format!("QRON_{name}"));
    let setting = shape::settings().into_iter().find(|path| path.replace('.', "_").eq_ignore_ascii_case(rest));
    own.or_else(|| setting.map(|path| variable(&path))).or_else(|| with_key(rest))
}

/// What follows `QRON_` in the name of a variable that is no setting by its form.
fn single(name: &str) -> Option<&str> {
    name.strip_prefix("QRON_").filter(|_| !name.starts_with(PREFIX))
}

/// The variable that `QRON_` and `rest` nearly names.
fn meant(rest: &str) -> Option<String> {
    if rest.contains("__") {
        return Some(format!("{PREFIX}{rest}, with two underscores after QRON"));
    }
    let (name, suffix) = without_suffix(rest);
    let own = || nearest(rest, OWN).map(|name| format!("QRON_{name}"));
    if name.len() < MIN_CHARS {
        return own();
    }
    let settings = shape::settings();
    let named = settings.iter().find(|path| path.replace('.', "_").eq_ignore_ascii_case(name));
    let setting = named.map(String::as_str).or_else(|| nearest(name, settings.iter().map(String::as_str)));
    let of_setting =
        |path: &str| format!("{}{suffix}, with two underscores after QRON and between section and key", variable(path));
    setting.map(of_setting).or_else(own)
}

/// `rest` and the suffix of a variable that names the file of a value, empty without one.
fn without_suffix(rest: &str) -> (&str, &'static str) {
    rest.strip_suffix(SUFFIX).map_or((rest, ""), |name| (name, SUFFIX))
}

/// The variables of the settings whose key is `rest`, or that people call so.
fn with_key(rest: &str) -> Option<String> {
    let (rest, suffix) = without_suffix(rest);
    let rest = rest.to_lowercase();
    let is_meant = |key: &str| key == rest || key.strip_suffix('s').is_some_and(|key| key == rest);
    let settings = shape::settings();
    let with_key = settings.iter().filter(|path| path.rsplit('.').next().is_some_and(is_meant));
    let other = OTHER_NAMES.iter().filter(|(name, _)| name.eq_ignore_ascii_case(&rest)).map(|(_, path)| variable(path));
    let names = other.chain(with_key.map(|path| variable(path))).map(|name| format!("{name}{suffix}"));
    let names: Vec<String> = names.collect();
    (!names.is_empty()).then(|| names.join(" or "))
}

/// The variable of the setting at `path`.
fn variable(path: &str) -> String {
    format!("{PREFIX}{}", path.to_uppercase().replace('.', "__"))
}
