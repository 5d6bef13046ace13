//! Which secrets the sources of the configuration hold, and which files with secrets others may read.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use figment::value::{Dict, Value};

use super::show::{is_secret, is_url, whole};
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
            // Other texts are for people and models: what follows a question mark there is no secret.
            if is_url(path) {
                found.extend(url::secrets_in(path, text));
            }
            if is_secret(path) && !(is_url(path) && text.contains("://")) {
                found.extend(Secret::new(path, text));
            }
        }
        Value::Num(_, number) if is_secret(path) => {
            found.extend(whole(*number).and_then(|number| Secret::new(path, &number)));
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
            "file {} holds a secret and has mode {mode:04o}: every user of this machine can read it; close it with: chmod 600 {path}, or, when Kubernetes mounts it, with defaultMode: 0400 in the volume",
            path.display(),
            path = path.display()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::layer::parse;

    fn names(file: &str) -> Vec<String> {
        let layer = parse(file, "a test").expect("TOML");
        secrets(&layer.values).iter().map(|secret| secret.name().to_owned()).collect()
    }

    #[test]
    fn text_for_people_and_models_holds_no_secret() {
        for text in [
            "Look things up at https://wiki.example/. Is it urgent? Write to the team first.",
            "See https://x.example: mail the-team or ops@x.org",
            "https://jira.example/list?keyspace=production",
            "https://wiki.example/?api_key=the-key-of-the-wiki",
            "https://wiki.example/?everything",
        ] {
            let of_agent = format!("[agents.x]\nrole = \"{text}\"\ninstructions = \"{text}\"\n");
            assert_eq!(names(&of_agent), [""; 0], "{text}");
        }
        let of_url = |url: &str| names(&format!("[store]\nurl = \"{url}\"\n[model]\nbase_url = \"{url}\"\n"));
        for parameter in ["keyspace", "assignee", "keyword", "author", "country_code", "passage", "signal", "monkey"] {
            assert_eq!(of_url(&format!("https://jira.example/list?{parameter}=production")), [""; 0], "{parameter}");
        }
        for parameter in ["api_key", "api-key", "X.Api.Key", "accessToken", "APIKEY", "user_password"] {
            assert_eq!(of_url(&format!("https://h/?{parameter}=production")).len(), 2, "{parameter}");
        }
        assert_eq!(of_url("https://h/?canary-12"), ["query of model.base_url", "query of store.url"]);
        assert_eq!(names("[tools.sql.s]\nurl = \"postgres://u:canary-1@h/d\"\n"), ["password of tools.sql.s.url"]);
    }
}
