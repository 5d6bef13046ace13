//! URLs for display, and the secrets in them. Works on text, because text that is no URL may hold a password, too.

use super::redaction::Secret;

/// Replacement of a hidden part.
pub const HIDDEN: &str = "***";
/// Words in the names of parameters that hold a secret, lower case.
const SECRET_NAMES: [&str; 17] = [
    "key",
    "apikey",
    "token",
    "accesstoken",
    "authtoken",
    "secret",
    "pass",
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "sig",
    "signature",
    "auth",
    "cred",
    "credential",
    "credentials",
];

/// Hides user, password, the values of the query and the fragment of `text`, if it is a URL or nearly one; in other
/// text only users and passwords.
#[must_use]
pub fn redacted(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return without_scheme(text) };
    let rest = match userinfo_end(rest) {
        Some(end) => format!("{HIDDEN}{}", &rest[end..]),
        None => rest.to_owned(),
    };
    // Within a sentence, a question mark begins no query.
    if text.chars().any(char::is_whitespace) {
        return format!("{scheme}://{rest}");
    }
    let (rest, fragment) = split(&rest, '#');
    let (place, query) = split(rest, '?');
    let query = query.map_or_else(String::new, |query| format!("?{}", hidden_query(query)));
    let fragment =
        if fragment.is_some_and(|fragment| !fragment.is_empty()) { format!("#{HIDDEN}") } else { String::new() };
    format!("{scheme}://{place}{query}{fragment}")
}

/// `user:password@host` with both hidden; other text as it is.
fn without_scheme(text: &str) -> String {
    match text.rsplit_once('@') {
        Some((before, host)) if before.contains(':') && !text.contains(char::is_whitespace) => {
            format!("{HIDDEN}@{host}")
        }
        _ => text.to_owned(),
    }
}

/// The secrets in the URL `text`, each named by `name` with its part: the password, a user without password, and the
/// values of parameters with a secret's name. Each is returned as written and decoded.
#[must_use]
pub fn secrets_in(name: &str, text: &str) -> Vec<Secret> {
    let Some((_, rest)) = text.split_once("://") else { return Vec::new() };
    let mut values = Vec::new();
    let end = userinfo_end(rest);
    if let Some(end) = end {
        let (user, password) = split(&rest[..end], ':');
        // Databases are often set up with a user whose password is the name.
        let value = password.filter(|password| *password != user).or(password.is_none().then_some(user));
        values.extend(value.map(|value| (format!("password of {name}"), value)));
    }
    let (rest, _) = split(&rest[end.unwrap_or(0)..], '#');
    let parameters = split(rest, '?').1.into_iter().flat_map(|query| query.split('&'));
    values.extend(parameters.filter_map(|parameter| match split(parameter, '=') {
        (key, Some(value)) if is_secret_name(key) => Some((format!("{key} of {name}"), value)),
        (value, None) => Some((format!("query of {name}"), value)),
        _ => None,
    }));
    let both = values.iter().flat_map(|(name, value)| [Secret::new(name, value), Secret::new(name, &decoded(value))]);
    let mut secrets: Vec<Secret> = both.flatten().collect();
    secrets.dedup();
    secrets
}

/// Where the user and password end that `rest`, what follows the scheme, begins with. A password may hold a `/`, `?` or `#`
/// that its writer did not escape: then what is before it has no port.
fn userinfo_end(rest: &str) -> Option<usize> {
    let is_end = |letter: char| matches!(letter, '/' | '?' | '#') || letter.is_whitespace();
    let authority = &rest[..rest.find(is_end).unwrap_or(rest.len())];
    if let Some(end) = authority.rfind('@') {
        return Some(end);
    }
    let (_, port) = authority.rsplit_once(':')?;
    let is_port = port.is_empty() || port.bytes().all(|byte| byte.is_ascii_digit() || byte == b']');
    if is_port { None } else { rest.rfind('@') }
}

fn hidden_query(query: &str) -> String {
    let hide = |parameter: &str| match split(parameter, '=') {
        (key, Some(value)) if !value.is_empty() => format!("{key}={HIDDEN}"),
        (key, Some(_)) => format!("{key}="),
        ("", None) => String::new(),
        (_, None) => HIDDEN.to_owned(),
    };
    query.split('&').map(hide).collect::<Vec<_>>().join("&")
}

/// Whether a word of `name` says that it is of a secret: `api_key`, `X-Sig` and `accessToken`, not `keyspace` or `author`.
fn is_secret_name(name: &str) -> bool {
    let mut words = vec![String::new()];
    let mut was_lower = false;
    for letter in name.chars() {
        if !letter.is_alphanumeric() || (letter.is_uppercase() && was_lower) {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut().filter(|_| letter.is_alphanumeric()) {
            word.extend(letter.to_lowercase());
        }
        was_lower = letter.is_lowercase();
    }
    // A code with another word beside it is one of a country, a language or an error.
    words == ["code"] || words.iter().any(|word| SECRET_NAMES.contains(&word.as_str()))
}

fn split(text: &str, at: char) -> (&str, Option<&str>) {
    text.split_once(at).map_or((text, None), |(before, after)| (before, Some(after)))
}

/// `text` without percent-encoding.
fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let code = bytes.get(at + 1..at + 3).filter(|_| bytes[at] == b'%').and_then(|code| str::from_utf8(code).ok());
        if let Some(byte) = code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            decoded.push(byte);
            at += 3;
        } else {
            decoded.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_user_password_query_and_fragment() {
        for (url, expected) in [
            ("http://u:p@host:1/x@y", "http://***@host:1/x@y"),
            ("http://sk-key@host", "http://***@host"),
            ("http://host/x@y", "http://host/x@y"),
            ("http://host:80/x@y", "http://host:80/x@y"),
            ("http://[::1]:6334", "http://[::1]:6334"),
            ("http://u:p@[::1]:6334/", "http://***@[::1]:6334/"),
            ("http://u:p/w@host:1/x", "http://***@host:1/x"),
            ("http://u:p?w@host", "http://***@host"),
            ("http://u:p#w@host", "http://***@host"),
            ("http://u:p@w@host", "http://***@host"),
            ("postgres://u:p@h/d?sslmode=require", "postgres://***@h/d?sslmode=***"),
            ("https://h/v1?api_key=sk&x=1", "https://h/v1?api_key=***&x=***"),
            ("https://h/v1?sk-bare", "https://h/v1?***"),
            ("https://h?&a=&b", "https://h?&a=&***"),
            ("https://h/#sk", "https://h/#***"),
            ("https://h/?a=b#sk?c=d", "https://h/?a=***#***"),
            ("u:p@h:1", "***@h:1"),
            ("me@example.com", "me@example.com"),
            ("note: me@example.com", "note: me@example.com"),
            ("plain", "plain"),
            ("", ""),
            ("see http://u:p@h/?q now", "see http://***@h/?q now"),
            ("See https://x.example: mail the-team or ops@x.org", "See https://x.example: mail the-team or ops@x.org"),
        ] {
            assert_eq!(redacted(url), expected, "{url}");
        }
    }

    #[test]
    fn the_secrets_of_a_url_are_known_as_they_are_written_and_decoded() {
        let secrets = |url: &str| format!("{:?}", secrets_in("store.url", url));
        for (url, expected) in [
            ("http://user:canary-1@h/", "[Secret(password of store.url)]"),
            ("http://user:can%61ry-1@h/", "[Secret(password of store.url), Secret(password of store.url)]"),
            ("http://sk-canary-1@h/", "[Secret(password of store.url)]"),
            ("http://h/?api_key=canary-1&version=2024-01-01", "[Secret(api_key of store.url)]"),
            ("http://h/?X-Sig=canary-1#x", "[Secret(X-Sig of store.url)]"),
            (
                "http://h/?accessToken=canary-1&APIKey=canary-2",
                "[Secret(accessToken of store.url), Secret(APIKey of store.url)]",
            ),
            ("http://h/?code=canary-1&country_code=de-canary-2", "[Secret(code of store.url)]"),
            ("https://jira.example/list?keyspace=production&author=somebody-1", "[]"),
            ("http://h/?canary-12", "[Secret(query of store.url)]"),
            ("postgres://reporting:reporting@h/d", "[]"),
            ("postgres://postgres:postgres@h/d", "[]"),
            ("http://host:6334/path", "[]"),
            ("canary-1", "[]"),
        ] {
            assert_eq!(secrets(url), expected, "{url}");
        }
    }
}
