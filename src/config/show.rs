//! Settings as text: TOML with the secrets left out.

use figment::Figment;
use figment::value::{Dict, Num, Value};

use crate::domain::url::{self, HIDDEN};

/// Whether the setting at `path` is never shown.
pub(super) fn is_secret(path: &str) -> bool {
    let key = path.rsplit('.').next().unwrap_or(path);
    matches!(key, "api_key" | "token") || (key == "url" && path.starts_with("tools.sql."))
}

/// Whether the setting at `path` is a URL, which may hold secrets.
pub(super) fn is_url(path: &str) -> bool {
    matches!(path.rsplit('.').next(), Some("url" | "base_url"))
}

/// The merged settings as TOML.
pub(super) fn toml(merged: &Figment) -> String {
    let mut lines = Vec::new();
    if let Ok(Value::Dict(_, dict)) = merged.find_value("") {
        write_section(&mut lines, "", &dict);
    }
    lines.push(String::new());
    lines.join("\n").trim_start().to_owned()
}

fn write_section(lines: &mut Vec<String>, path: &str, section: &Dict) {
    let join = |key: &str| if path.is_empty() { quoted_key(key) } else { format!("{path}.{}", quoted_key(key)) };
    let (inner, plain): (Vec<_>, Vec<_>) = section.iter().partition(|(_, value)| matches!(value, Value::Dict(..)));
    if !path.is_empty() {
        lines.push(format!("\n[{path}]"));
    }
    for (key, value) in plain {
        let shown = match value {
            Value::String(_, secret) if is_secret(&join(key)) && !secret.is_empty() => quoted(HIDDEN),
            value if is_url(&join(key)) => inline(value),
            // Text for people and models stays as it is: what follows a question mark there is no secret.
            value => line(value, quoted),
        };
        lines.push(format!("{} = {shown}", quoted_key(key)));
    }
    for (key, value) in inner {
        if let Value::Dict(_, dict) = value {
            write_section(lines, &join(key), dict);
        }
    }
}

fn quoted_key(key: &str) -> String {
    let bare = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if bare { key.to_owned() } else { quoted(key) }
}

/// A TOML basic string: JSON's escapes are among TOML's, which wants DEL escaped as well.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}

/// A whole number as text; `None` for a fraction. Numbers of files have a sign, those of variables have none.
pub(super) fn whole(number: Num) -> Option<String> {
    let signed = number.to_i128().map(|number| number.to_string());
    signed.or_else(|| number.to_u128().map(|number| number.to_string()))
}

/// A value on one line; a URL without its secrets.
pub(super) fn inline(value: &Value) -> String {
    line(value, |text| quoted(&url::redacted(text)))
}

/// A value on one line, its texts as `of_text` writes them.
fn line(value: &Value, of_text: fn(&str) -> String) -> String {
    match value {
        Value::String(_, text) => of_text(text),
        Value::Char(_, c) => quoted(&c.to_string()),
        Value::Bool(_, yes) => yes.to_string(),
        Value::Num(_, Num::F32(number)) => format!("{number:?}"),
        Value::Num(_, Num::F64(number)) => format!("{number:?}"),
        Value::Num(_, number) => whole(*number).unwrap_or_default(),
        Value::Array(_, items) => {
            format!("[{}]", items.iter().map(|item| line(item, of_text)).collect::<Vec<_>>().join(", "))
        }
        Value::Dict(..) => "{…}".to_owned(),
        Value::Empty(..) => quoted(""),
    }
}
