//! Which value a problem is about, and where that came from.

use figment::Figment;
use figment::value::Value;

use super::{shape, show};
use crate::domain::url::HIDDEN;

/// The port on which Qdrant speaks REST.
const REST_PORT: u16 = 6333;

/// `problem`, which begins with the key of a setting, with the value of that setting and its source behind the key. Secrets stay
/// hidden. A problem about something else stays as it is.
pub(super) fn with_source(problem: &str, merged: &Figment) -> String {
    let key = problem.split([' ', ':']).next().unwrap_or_default();
    let (path, rest) = (key.replace('"', ""), &problem[key.len()..]);
    let (Ok(value), Some(source)) = (merged.find_value(&path), merged.find_metadata(&path)) else {
        return problem.to_owned();
    };
    let source = format!(" ({})", source.name);
    if rest.starts_with(" = ") {
        let end = [" is ", " can "].iter().filter_map(|verb| rest.find(verb)).min().unwrap_or(rest.len());
        return format!("{key}{}{source}{}", &rest[..end], &rest[end..]);
    }
    let is_shown = !matches!(&value, Value::Dict(..)) && value.as_str() != Some("");
    let shown = match value.as_str() {
        _ if !is_shown => String::new(),
        Some(text) if show::is_url(&path) && may_hide_secret(text) => format!(" = {HIDDEN}"),
        _ => format!(" = {}", shape::shown(&path, &value)),
    };
    format!("{key}{shown}{source}{rest}")
}

/// Whether `text`, which should be a URL, is none in which the secrets are found.
fn may_hide_secret(text: &str) -> bool {
    let is_url = reqwest::Url::parse(text).is_ok_and(|url| url.has_host());
    !is_url && text.contains(['@', '?', '#', '='])
}

/// A warning when `url`, the setting `store.url`, has the port on which Qdrant speaks REST.
pub(super) fn rest_port(url: &str, merged: &Figment) -> Option<String> {
    let parsed = reqwest::Url::parse(url).ok().filter(|url| url.port() == Some(REST_PORT))?;
    let host = parsed.host_str().unwrap_or_default();
    let problem = format!(
        "store.url has port {REST_PORT}, on which Qdrant speaks REST; qron speaks gRPC: did you mean {}://{host}:{}?",
        parsed.scheme(),
        REST_PORT + 1
    );
    Some(with_source(&problem, merged))
}
