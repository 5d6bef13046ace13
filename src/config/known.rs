//! Which secrets the sources of the configuration hold, and which files with secrets others may read.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use figment::value::{Dict, Value};

use super::show::is_secret;
use crate::domain::redaction::Secret;
use crate::domain::url;

/// Folders where container platforms mount secrets, readable by all who are in the container.
const MOUNTED: [&str; 2] = ["/run/", "/var/run/"];

/// The secrets among `values`, whatever their type: a wrong one is told, and must not be shown either.
pub(super) fn secrets(values: &Dict) -> Vec<Secret> {
    let mut found = Vec::new();
    collect("", values, &mut found);
    found
}

fn collect(path: &str, section: &Dict, found: &mut Vec<Secret>) {
    for (key, value) in section {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        collect_value(&path, value, found);
    }
}

fn collect_value(path: &str, value: &Value, found: &mut Vec<Secret>) {
    match value {
        Value::Dict(_, section) => collect(path, section, found),
        Value::Array(_, items) => items.iter().for_each(|item| collect_value(path, item, found)),
        Value::String(_, text) => {
            let name = path.rsplit('.').next().unwrap_or_default();
            // Other texts are for people and models: what follows a question mark there is no secret.
            if matches!(name, "url" | "base_url") {
                found.extend(url::secrets_in(path, text));
            }
            if is_secret(path) && !(name == "url" && text.contains("://")) {
                found.extend(Secret::new(path, text));
            }
        }
        Value::Num(..) if is_secret(path) => {
            let number = value.to_i128().map(|number| number.to_string());
            found.extend(number.and_then(|number| Secret::new(path, &number)));
        }
        _ => {}
    }
}

/// A warning for each of `secrets` that ordinary text may hold.
pub(super) fn mistakable(secrets: &[Secret]) -> Vec<String> {
    let weak = secrets.iter().filter(|secret| !secret.is_unmistakable());
    let warning = |secret: &Secret| {
        format!(
            "the value of {} reads like ordinary text: qron takes it out of logs and errors, and not out of tasks, prompts and \
             answers; use 12 or more random letters and digits",
            secret.name()
        )
    };
    weak.map(warning).collect()
}

/// A warning when every user of this machine may read the file at `path`, which holds a secret.
pub(super) fn exposed(path: &Path) -> Option<String> {
    let metadata = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?;
    let mode = metadata.permissions().mode() & 0o777;
    let is_mounted = path.to_str().is_some_and(|path| MOUNTED.iter().any(|folder| path.starts_with(folder)));
    (mode & 0o004 != 0 && !is_mounted).then(|| {
        format!(
            "file {} holds a secret and has mode {mode:04o}: every user of this machine can read it; close it with: chmod 600 {path}",
            path.display(),
            path = path.display()
        )
    })
}
